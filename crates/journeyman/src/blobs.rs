//! Where checkpoints go: a folder, or a bucket whose settings stand in the configuration or in the variables that other
//! tools of S3 read.

use std::time::Duration;

use store::BlobTarget;

use crate::config::Settings;
use crate::environment::Environment;

/// How long a server tries a request to a bucket again. A call may be waiting for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Who this machine is. Of use together only: a token of one with the key of another is refused.
const CREDENTIALS: [(&str, &str); 9] = [
    ("access_key_id", "AWS_ACCESS_KEY_ID"),
    ("secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("token", "AWS_SESSION_TOKEN"),
    ("web_identity_token_file", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    ("role_arn", "AWS_ROLE_ARN"),
    ("role_session_name", "AWS_ROLE_SESSION_NAME"),
    ("container_credentials_relative_uri", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    ("container_credentials_full_uri", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ("container_authorization_token_file", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
];

/// Where the bucket is. Of two variables for the same the later holds.
const PLACES: [(&str, &str); 4] = [
    ("region", "AWS_DEFAULT_REGION"),
    ("region", "AWS_REGION"),
    ("endpoint", "AWS_ENDPOINT_URL"),
    ("endpoint", "AWS_ENDPOINT_URL_S3"),
];

/// What is configured. What the configuration says of the bucket comes before what the environment says of every bucket.
pub(crate) fn target(settings: &Settings, environment: &Environment, patience: Duration) -> BlobTarget {
    let Some(url) = &settings.blobs.url else {
        return BlobTarget::Folder(settings.server.data.join("blobs"));
    };
    let configured = &settings.blobs.options;
    let is_credential = |name: &str| {
        let name = name.strip_prefix("aws_").unwrap_or(name);
        name == "session_token" || CREDENTIALS.iter().any(|(own, _)| *own == name)
    };
    let has_credentials = configured.keys().any(|name| is_credential(name));
    let credentials = CREDENTIALS.iter().filter(|_| !has_credentials);
    let given = credentials.chain(&PLACES);
    let given = given
        .filter_map(|(name, variable)| Some(((*name).to_owned(), environment.get(variable)?.to_owned())));
    let configured = configured.iter().map(|(name, value)| (name.clone(), value.clone()));
    BlobTarget::Bucket { url: url.clone(), options: given.chain(configured).collect(), patience }
}

/// Says what several nodes of one database need, and nobody sees before it is too late.
pub(crate) fn tell(settings: &Settings, target: &BlobTarget) {
    if let (Some(_), BlobTarget::Folder(folder)) = (&settings.database.url, target) {
        let folder = folder.display();
        tracing::info!(
            "checkpoints are kept in {folder}: other nodes of this database must mount the same, or name a bucket"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Common;
    use crate::config::Config;

    /// The settings of a bucket, with these lines in the configuration and these variables.
    fn options(lines: &str, variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("[blobs]\nurl = \"s3://b\"\n[blobs.options]\n{lines}")).unwrap();
        let flags = Common { config: Some(file.path().to_path_buf()), ..Common::default() };
        let environment = Environment::of(variables);
        let settings = Config::load(&environment, &flags, None).unwrap().settings;
        match target(&settings, &environment, PATIENCE) {
            BlobTarget::Bucket { options, .. } => options,
            BlobTarget::Folder(folder) => panic!("a folder: {}", folder.display()),
        }
    }

    #[test]
    fn credentials_come_from_one_place_and_the_configuration_goes_before_the_environment() {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "token"),
            ("AWS_REGION", "there"),
            ("AWS_PROFILE", "ignored"),
        ];
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let given = [("access_key_id", "id"), ("secret_access_key", "secret"), ("token", "token")];
        let region = [("region", "there")];
        assert_eq!(options("", &variables), pairs(&[&given[..], &region].concat()));
        let own = [("aws_access_key_id", "own"), ("region", "here"), ("secret_access_key", "other")];
        let lines = own.map(|(name, value)| format!("{name} = \"{value}\"\n")).concat();
        assert_eq!(options(&lines, &variables), pairs(&[&region[..], &own].concat()));
    }
}
