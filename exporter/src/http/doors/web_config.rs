//! The web configuration file: YAML in the schema of Prometheus' exporter-toolkit (docs/web-configuration.md there),
//! so that one file serves every exporter of a host.
//!
//! # Invariants
//!
//! - **Nothing is ignored silently.** What is not offered here (a cipher suite, a curve, `rate_limit`) is refused by
//!   name; only `http2` may say anything, because HTTP/1.1 is what both answers allow.
//! - **No secret in a message.** Errors name file, field and remedy, and quote neither keys nor hashes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio_rustls::rustls::ServerConfig;

use super::passwords::Users;
use super::tls;
use crate::escape;

/// What is wrong in a web configuration file, where, and what to do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: {field}: {problem}", file.display())]
pub struct WebConfigError {
    /// The web configuration file.
    pub file: PathBuf,
    /// The field, with its section.
    pub field: String,
    /// What is wrong with it, and the remedy.
    pub problem: String,
}

/// A wrong field, before the file's name is known to it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Wrong {
    pub(super) field: String,
    pub(super) problem: String,
}

impl Wrong {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// A field of `tls_server_config`.
    pub(super) fn tls(field: &str, problem: impl Into<String>) -> Self {
        Self::new(format!("tls_server_config.{field}"), problem)
    }
}

/// What a web configuration file asks for. By default nothing.
#[derive(Default)]
pub(in crate::http) struct WebConfig {
    pub(in crate::http) tls: Option<Arc<ServerConfig>>,
    /// Whether nobody gets in without a certificate that was checked.
    pub(super) is_by_certificate: bool,
    pub(super) users: Arc<Users>,
    pub(in crate::http) headers: Vec<(HeaderName, HeaderValue)>,
    /// The files that were read besides it.
    pub(super) files: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    tls_server_config: Option<TlsWritten>,
    http_server_config: Option<HttpWritten>,
    basic_auth_users: Option<BTreeMap<String, String>>,
    rate_limit: Option<IgnoredAny>,
}

/// `tls_server_config` as it stands in the file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsWritten {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
    pub(super) client_auth_type: Option<String>,
    pub(super) client_allowed_sans: Option<Vec<String>>,
    pub(super) min_version: Option<String>,
    pub(super) max_version: Option<String>,
    pub(super) cipher_suites: Option<Vec<String>>,
    pub(super) prefer_server_cipher_suites: Option<bool>,
    pub(super) curve_preferences: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpWritten {
    /// HTTP/1.1 is spoken either way.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Option<BTreeMap<String, Option<String>>>,
}

/// PEM texts, as the file holds them or names them.
pub(super) struct Pems {
    pub(super) certificates: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) client_authorities: Option<Vec<u8>>,
}

/// Most bytes read of any of the files.
const BYTES_MAX: u64 = 1 << 20;

impl WebConfig {
    /// Reads the file and what it names.
    pub(super) fn read(path: &Path) -> Result<Self, WebConfigError> {
        let config = bytes_of(path)
            .map_err(|problem| Wrong::new("the file", problem))
            .and_then(|bytes| Self::from_yaml(&bytes, path.parent().unwrap_or(Path::new("."))));
        config.map_err(|Wrong { field, problem }| WebConfigError { file: path.to_owned(), field, problem })
    }

    fn from_yaml(bytes: &[u8], folder: &Path) -> Result<Self, Wrong> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Wrong::new("the file", "is not UTF-8 text: write it as YAML"))?;
        let written: Option<Written> =
            serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
                // Without the snippet, which may quote a key.
                let told = error.without_snippet().to_string();
                Wrong::new("YAML", format!("{}: see docs/doors.md for the schema", escape::terminal(&told)))
            })?;
        let written = written.unwrap_or_default();
        if written.rate_limit.is_some() {
            let problem = "is not offered: leave it out; connections and answers have limits of their own";
            return Err(Wrong::new("rate_limit", problem));
        }
        let mut config = Self::default();
        if let Some(tls) = written.tls_server_config.filter(TlsWritten::says_anything) {
            let pems = tls.pems(folder, &mut config.files)?;
            let (server, is_by_certificate) = tls::server(&tls, &pems)?;
            config.tls = Some(Arc::new(server));
            config.is_by_certificate = is_by_certificate;
        }
        config.users = Arc::new(Users::new(written.basic_auth_users.unwrap_or_default())?);
        let headers = written.http_server_config.and_then(|http| http.headers).unwrap_or_default();
        for (name, value) in headers {
            config.headers.extend(header(&name, value.as_deref().unwrap_or_default())?);
        }
        Ok(config)
    }

    pub(in crate::http) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// What keeps strangers out, in words.
    pub(super) fn guards(&self) -> Vec<&'static str> {
        let certificate = self.is_by_certificate.then_some("client certificate");
        certificate.into_iter().chain(self.has_users().then_some("password")).collect()
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { with_snippet: false }
}

impl TlsWritten {
    fn says_anything(&self) -> bool {
        let Self {
            cert,
            key,
            client_ca,
            cert_file,
            key_file,
            client_ca_file,
            client_auth_type,
            client_allowed_sans,
            min_version,
            max_version,
            cipher_suites,
            prefer_server_cipher_suites,
            curve_preferences,
        } = self;
        [cert, key, client_ca, client_auth_type, min_version, max_version].into_iter().any(Option::is_some)
            || [cert_file, key_file, client_ca_file].into_iter().any(Option::is_some)
            || [client_allowed_sans, cipher_suites, curve_preferences].into_iter().any(Option::is_some)
            || prefer_server_cipher_suites.is_some()
    }

    fn pems(&self, folder: &Path, files: &mut Vec<PathBuf>) -> Result<Pems, Wrong> {
        let mut pem = |name: &str, inline: &Option<String>, file: &Option<PathBuf>| {
            let file = file.as_ref().filter(|file| !file.as_os_str().is_empty());
            match (inline.as_ref().filter(|text| !text.is_empty()), file) {
                (Some(_), Some(_)) => {
                    Err(Wrong::tls(name, format!("{name}_file is given too: keep one of the two")))
                }
                (Some(text), None) => Ok(Some(text.clone().into_bytes())),
                (None, Some(file)) => {
                    // Relative to the configuration file, wherever the daemon was started.
                    let file = folder.join(file);
                    let bytes = bytes_of(&file).map_err(|problem| {
                        Wrong::tls(&format!("{name}_file"), format!("{}: {problem}", file.display()))
                    })?;
                    files.push(file);
                    Ok(Some(bytes))
                }
                (None, None) => Ok(None),
            }
        };
        let missing = |name, what| Wrong::tls(name, format!("is missing: give a PEM file with {what}"));
        Ok(Pems {
            certificates: pem("cert", &self.cert, &self.cert_file)?
                .ok_or_else(|| missing("cert_file", "the server's certificate"))?,
            key: pem("key", &self.key, &self.key_file)?
                .ok_or_else(|| missing("key_file", "its private key"))?,
            client_authorities: pem("client_ca", &self.client_ca, &self.client_ca_file)?,
        })
    }
}

/// Reads a regular file of bounded size, or says why not and what to do.
fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let refused =
        |error: std::io::Error| format!("cannot be read ({error}): give a file the daemon may read");
    // A pipe in its place would hold whoever opens it.
    if !fs::metadata(path).map_err(refused)?.is_file() {
        return Err("is not a regular file: give one".to_owned());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(refused)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("is larger than {BYTES_MAX} bytes: give a smaller one"));
    }
    Ok(bytes)
}

/// Headers a file may set, with the values it may set them to; none means any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// Reads a header; an empty value leaves it as it is.
fn header(name: &str, value: &str) -> Result<Option<(HeaderName, HeaderValue)>, Wrong> {
    let wrong = |problem: String| {
        Wrong::new(format!("http_server_config.headers.{}", escape::terminal(name)), problem)
    };
    let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = HEADERS.iter().map(|(known, _)| *known).collect();
        return Err(wrong(format!("cannot be set: leave it out; these can: {}", known.join(", "))));
    };
    if value.is_empty() {
        return Ok(None);
    }
    if !allowed.is_empty() && !allowed.contains(&value) {
        return Err(wrong(format!(
            "cannot be {}: it may be {}",
            escape::terminal(value),
            allowed.join(" or ")
        )));
    }
    match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        (Ok(name), Ok(value)) => Ok(Some((name, value))),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => Err(wrong("is no header value: write visible ASCII".to_owned())),
    }
}
