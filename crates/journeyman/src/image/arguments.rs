//! The command line of `image`.

use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;

use crate::cli::Common;

#[derive(Subcommand)]
pub(crate) enum Image {
    /// Builds an image from Debian packages
    Build(Build),
    /// Takes in an OCI layout, an archive of `docker save`, or the tar of a root file system
    Import(Import),
    /// Takes in an image from a registry
    Pull(Pull),
    /// Lists images
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Shows all that is known of an image
    Show {
        #[command(flatten)]
        common: Common,
        /// Name of the image
        name: String,
    },
    /// Removes an image; a server or `gc` frees the room that it takes, once no session stands on it
    Remove {
        #[command(flatten)]
        common: Common,
        /// Name of the image
        name: String,
    },
    /// Removes the layers that no image needs any more, and that no session stands on
    Gc {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) common: Common,
    /// What to call the image
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
    /// Release of the distribution
    #[arg(long, default_value = "bookworm")]
    pub(crate) suite: String,
    /// How much is installed
    #[arg(long, value_enum, default_value = "standard")]
    pub(crate) set: Set,
    /// Packages besides those of the set, with commas between them
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) packages: Vec<String>,
    /// Where packages come from; may be repeated [default: the sources of this machine's own apt]
    #[arg(long = "mirror", value_name = "URL")]
    pub(crate) mirrors: Vec<String>,
    /// Keys that the mirror signs with [default: those of this machine's own apt]
    #[arg(long, value_name = "FILE")]
    pub(crate) keyring: Option<PathBuf>,
}

/// How much an image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    /// What a shell, git and Python need
    Minimal,
    /// With compilers, Node.js, and what agents reach for daily
    Standard,
    /// With the other languages, databases, and programs for documents and media
    Full,
}

#[derive(Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The folder or file
    pub(crate) path: PathBuf,
    /// What to call the image
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
    /// Which image, where there are several
    #[arg(long)]
    pub(crate) reference: Option<String>,
}

#[derive(Args)]
pub(crate) struct Pull {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image, as HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:DIGEST
    pub(crate) reference: String,
    /// What to call it here
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
    /// User of the registry [default: as in the configuration of docker]
    #[arg(long, requires = "password_file")]
    pub(crate) user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// Plain HTTP to a registry that is not on this machine
    #[arg(long)]
    pub(crate) insecure: bool,
}

impl Image {
    /// The flags that every one of these commands has.
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Build(Build { common, .. })
            | Self::Import(Import { common, .. })
            | Self::Pull(Pull { common, .. })
            | Self::List { common }
            | Self::Show { common, .. }
            | Self::Remove { common, .. }
            | Self::Gc { common } => common,
        }
    }
}
