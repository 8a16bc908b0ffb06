//! The command line: what can be asked of the program.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::image::arguments::Image;

/// An open server for managed agents.
#[derive(Parser)]
#[command(name = "journeyman", version, about, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serves the API
    Serve(Serve),
    /// From nothing to an agent at work: server, agent, environment, session, a real task, its events as they come
    Quickstart(Quickstart),
    /// Runs one task and prints the agent's last message
    Run(Box<Run>),
    /// What this host can do, what is missing, how to get it
    Doctor(Doctor),
    /// Keys that clients authenticate with
    #[command(subcommand)]
    Keys(Keys),
    /// Root file systems for sandboxes
    #[command(subcommand)]
    Image(Image),
    /// The configuration
    #[command(subcommand)]
    Config(Config),
    /// Brings the database to this version's schema and ends
    Migrate(Common),
    /// Makes and ends sandboxes; started by the server
    #[command(hide = true)]
    Spawner {
        /// The data folder
        #[arg(long)]
        data: PathBuf,
        /// What bounds the files of sandboxes
        #[arg(long, default_value = "automatic")]
        disk: String,
    },
    /// Lets the connections of sandboxes out; started by the spawner
    #[command(hide = true)]
    Egress {
        /// As `egress::main` reads them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Flags of every command that works on the server's data.
#[derive(Args, Clone, Default)]
pub(crate) struct Common {
    /// Configuration file [default: journeyman.toml in the current folder, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder of everything that is kept [default: journeyman-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// PostgreSQL to use instead of the embedded SQLite
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,
}

#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8400]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Ends every sandbox when the server stops, instead of leaving them to the next one
    #[arg(long)]
    pub(crate) end_sandboxes: bool,
}

#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Tries every known way out of a sandbox, on this host, and prints what came of it; takes about a minute and needs
    /// the program journeyman-escape beside this one or on PATH
    #[arg(long)]
    pub(crate) escape: bool,
    /// One line of JSON for each attempt
    #[arg(long, requires = "escape")]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Quickstart {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Address to listen on [default: 127.0.0.1:8400, or a free port when that is taken]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Model of the agent
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Leaves the server running afterwards
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Args)]
pub(crate) struct Run {
    /// What the agent is to do
    pub(crate) task: String,
    #[command(flatten)]
    pub(crate) common: Common,
    /// A running server; one is started for the task without it
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Key for that server [default: the one in the environment]
    #[arg(long, requires = "server")]
    pub(crate) key: Option<String>,
    /// Model of the agent
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// System prompt of the agent
    #[arg(long)]
    pub(crate) system: Option<String>,
    /// A tool to give to the agent; may be repeated [default: all]
    #[arg(long = "tool", value_name = "NAME")]
    pub(crate) tools: Vec<String>,
    /// A text, image or PDF file to show to the agent; may be repeated
    #[arg(long = "file", value_name = "PATH")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Makes a key and prints it, once
    Create {
        #[command(flatten)]
        common: Common,
        /// What the key is for
        #[arg(long, default_value = "unnamed")]
        name: String,
    },
    /// Lists keys; their text is not kept
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Ends the validity of a key
    Revoke {
        #[command(flatten)]
        common: Common,
        /// Id of the key, as listed
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Config {
    /// Prints what is in effect and where each value comes from
    Show(Serve),
    /// Prints the commented defaults, a start for a journeyman.toml
    Default,
}
