//! The certificate authority of one session: what the proxy shows a sandbox in place of a host's own certificate.
//!
//! Only that session's sandbox trusts it, so its key is worth nothing elsewhere. The key never leaves the egress process
//! and its folder, where it is kept so that sandboxes go on trusting the process that follows one that died.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use api::ids::SessionId;
use api::time::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use crate::limits::LEAF_AGE_MAX_MS;
use crate::limits::LEAVES_MAX;
use crate::policy::Hostname;
use crate::tls;

/// Variables that lead programs to a file of trusted authorities, because each library has its own.
const VARIABLES: [&str; 9] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
];

/// What a sandbox's programs are told, so that they trust the authorities in the file at `path` inside. The file is a
/// [`bundle`], since most variables replace the authorities that a program trusts otherwise.
pub fn variables(path: &str) -> BTreeMap<String, String> {
    VARIABLES.iter().map(|name| ((*name).to_owned(), path.to_owned())).collect()
}

/// The authorities that this system trusts and a session's own, as PEM. Reads a folder of files.
pub fn bundle(certificate_pem: &str) -> String {
    let mut bundle = String::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        bundle.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(&certificate);
        for line in text.as_bytes().chunks(64) {
            bundle.push_str(&String::from_utf8_lossy(line));
            bundle.push('\n');
        }
        bundle.push_str("-----END CERTIFICATE-----\n");
    }
    bundle.push_str(certificate_pem);
    bundle
}

/// Days for which a certificate is valid from its issue. The life of a session is well within the authority's.
const CA_DAYS: u32 = 3650;
const LEAF_DAYS: u32 = 30;
const DAY: Duration = Duration::from_hours(24);
/// Two openings at once would make two authorities of one session.
static OPENING: Mutex<()> = Mutex::new(());

/// The authority of a session.
#[derive(Debug)]
pub struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    pem: String,
    /// Configurations with a certificate for a name, and when it was issued.
    leaves: Mutex<HashMap<Hostname, (Timestamp, Arc<ServerConfig>)>>,
}

impl Authority {
    /// The authority of a session, kept in `folder`; made when there is none.
    pub fn open(folder: &Path, session: &SessionId, now: Timestamp) -> io::Result<Self> {
        let path = path(folder, session);
        let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::read(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(&path, now),
            Err(error) => Err(error),
        }
    }

    /// Removes what is kept of a session's authority.
    pub fn forget(folder: &Path, session: &SessionId) -> io::Result<()> {
        match std::fs::remove_file(path(folder, session)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The certificate that the sandbox is to trust, as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    fn read(text: &str) -> io::Result<Self> {
        let key = KeyPair::from_pem(text).map_err(io::Error::other)?;
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).map_err(io::Error::other)?;
        let start = text.find("-----BEGIN CERTIFICATE-----").unwrap_or_default();
        Ok(Self { key, certificate, pem: text[start..].to_owned(), leaves: Mutex::default() })
    }

    fn make(path: &Path, now: Timestamp) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = issuer_params();
        limit_validity(&mut params, now, CA_DAYS)?;
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        let text = zeroize::Zeroizing::new(format!("{}{}", key.serialize_pem(), certificate.pem()));
        let new = path.with_extension("new");
        drop(std::fs::remove_file(&new));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        let (pem, certificate) = (certificate.pem(), certificate.der().clone());
        Ok(Self { key, certificate, pem, leaves: Mutex::default() })
    }

    /// How a server of a name speaks TLS that shows a certificate of this authority.
    pub(crate) fn server_config(&self, name: &Hostname, now: Timestamp) -> io::Result<Arc<ServerConfig>> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = |issued: Timestamp| now.millis_since(issued) < LEAF_AGE_MAX_MS;
        if let Some((issued, config)) = leaves.get(name)
            && is_current(*issued)
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.issue(name, now)?);
        if leaves.len() >= LEAVES_MAX {
            leaves.clear();
        }
        leaves.insert(name.clone(), (now, Arc::clone(&config)));
        Ok(config)
    }

    fn issue(&self, name: &Hostname, now: Timestamp) -> io::Result<ServerConfig> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new([name.to_string()]).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, name.to_string());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        limit_validity(&mut params, now, LEAF_DAYS)?;
        let issuer_params = issuer_params();
        let issuer = Issuer::from_params(&issuer_params, &self.key);
        let leaf = params.signed_by(&key, &issuer).map_err(io::Error::other)?;
        let chain = vec![leaf.der().clone(), self.certificate.clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key.into()))
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![tls::HTTP2.to_vec(), tls::HTTP1.to_vec()];
        Ok(config)
    }
}

fn path(folder: &Path, session: &SessionId) -> PathBuf {
    folder.join(format!("{}.ca", session.as_str()))
}

/// What issues certificates: the same for every session but for its key.
fn issuer_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Journeyman session egress");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

/// Sets how long a certificate that is issued now is valid: from a day before, because clocks differ.
fn limit_validity(params: &mut CertificateParams, now: Timestamp, days: u32) -> io::Result<()> {
    let micros = u64::try_from(now.0).map_err(io::Error::other)?;
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_micros(micros);
    params.not_before = now - DAY;
    params.not_after = now + DAY * days;
    Ok(())
}
