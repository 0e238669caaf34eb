//! The command line's way to a daemon: one GET, blocking, bounded in time and size.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Where a daemon may be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Server {
    /// A socket file on this host.
    Socket(PathBuf),
    /// `http://host:port`.
    Http {
        /// Host name or address, an IPv6 address in brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// `https://host:port`.
    Https {
        /// Host name or address, an IPv6 address in brackets; the name its certificate must have.
        host: String,
        /// Port.
        port: u16,
    },
}

impl Default for Server {
    fn default() -> Self {
        Self::Socket(PathBuf::from("/run/portolan/portolan.sock"))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Http { host, port } => write!(f, "http://{host}:{port}"),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// What was given names no server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} names no daemon: give a socket file or http://HOST:PORT, or https:// likewise")]
pub struct UnknownServer(pub String);

/// Reads `/path/to.sock`, `./to.sock`, `unix:/path/to.sock`, `http://host` or `http://host:port`, and the two last with
/// `https`.
impl FromStr for Server {
    type Err = UnknownServer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownServer(text.to_owned());
        if let Some(path) =
            text.strip_prefix("unix:").or_else(|| text.starts_with(['/', '.']).then_some(text))
        {
            return if path.is_empty() { Err(unknown()) } else { Ok(Self::Socket(PathBuf::from(path))) };
        }
        let (authority, is_tls) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(authority), _) => (authority, false),
            (None, Some(authority)) => (authority, true),
            (None, None) => return Err(unknown()),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let is_plain = |host: &str| {
            let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
            let is_bracketed = name.len() != host.len();
            !name.is_empty()
                && name.bytes().all(|byte| {
                    byte.is_ascii_alphanumeric() || b".-_".contains(&byte) || (is_bracketed && byte == b':')
                })
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| unknown())?),
            Some(_) | None => (authority, crate::http::PORT),
        };
        let host = if is_plain(host) { host.to_owned() } else { return Err(unknown()) };
        Ok(if is_tls { Self::Https { host, port } } else { Self::Http { host, port } })
    }
}

/// How to ask.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    /// Whom.
    pub server: Server,
    /// For `Authorization: Bearer`.
    pub token: Option<String>,
    /// For `Authorization: Basic`, as `name:password`, where there is no token.
    pub password: Option<String>,
    /// PEM file with the authorities servers may be certified by; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// For the whole of one answer.
    pub timeout: Duration,
    /// Largest answer taken, in bytes.
    pub bytes_max: usize,
}

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Content type, or empty.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("no daemon answers at {server}: start one with: sudo portolan run")]
    Nobody {
        /// Where.
        server: Server,
    },
    /// Somebody is there, and we may not ask.
    #[error(
        "not permitted to ask the daemon at {server}: run this with sudo, or join the group of that file"
    )]
    NotPermitted {
        /// Where.
        server: Server,
    },
    /// It did not answer in time.
    #[error("the daemon at {server} did not answer within {} s: look at its log", timeout.as_secs_f32())]
    Slow {
        /// Where.
        server: Server,
        /// How long was waited.
        timeout: Duration,
    },
    /// It answered too much.
    #[error(
        "the answer of {server} is larger than {bytes_max} bytes: keep fewer flow records with exporter.flows_kept"
    )]
    TooLarge {
        /// Where.
        server: Server,
        /// The limit.
        bytes_max: usize,
    },
    /// What answered is not a daemon of ours.
    #[error("what answers at {server} is not a portolan daemon: check --server ({detail})")]
    Foreign {
        /// Where.
        server: Server,
        /// What was odd.
        detail: &'static str,
    },
    /// Nobody vouches for it, or it does not speak TLS.
    #[error(
        "no trusted TLS connection to {server} ({detail}): check that it serves https, and name its authority with \
         --ca-file FILE; on the daemon's own host ask its socket instead"
    )]
    Untrusted {
        /// Where.
        server: Server,
        /// Why.
        detail: String,
    },
    /// No authority could be read.
    #[error("no certificate of an authority can be read from {}: name a PEM file with --ca-file FILE", path.display())]
    NoAuthorities {
        /// The file.
        path: PathBuf,
    },
    /// The daemon said no, and why.
    #[error("the daemon at {server} refused: {}", crate::escape::terminal(sentence))]
    Refused {
        /// Where.
        server: Server,
        /// Status code.
        status: u16,
        /// Its sentence.
        sentence: String,
    },
    /// The connection failed otherwise.
    #[error("the connection to {server} failed")]
    Failed {
        /// Where.
        server: Server,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Client {
    /// Builds a client with ten seconds of patience and room for 256 MiB.
    pub fn new(server: Server) -> Self {
        Self {
            server,
            token: None,
            password: None,
            ca_file: None,
            timeout: Duration::from_secs(10),
            bytes_max: 256 << 20,
        }
    }

    /// Asks for `path`, with its query, and returns the answer, if it is a good one.
    ///
    /// # Errors
    ///
    /// Returns a [`ClientError`] that names the server and what to do; [`ClientError::Refused`] for every status but
    /// 200.
    pub fn get(&self, path: &str) -> Result<Answer, ClientError> {
        let answer = self.ask(path)?;
        self.good(answer)
    }

    /// Returns an answer if it is a good one.
    fn good(&self, answer: Answer) -> Result<Answer, ClientError> {
        if answer.status == 200 {
            return Ok(answer);
        }
        let told: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
        let sentence = told.as_ref().and_then(|told| told.get("error")?.as_str());
        let sentence = sentence.map_or_else(|| format!("status {}", answer.status), str::to_owned);
        Err(ClientError::Refused { server: self.server.clone(), status: answer.status, sentence })
    }

    /// Asks for `path` and returns the answer, whatever its status.
    ///
    /// # Errors
    ///
    /// Returns a [`ClientError`] where there is none.
    pub fn ask(&self, path: &str) -> Result<Answer, ClientError> {
        self.request("GET", path)
    }

    /// Gives an order: `what` with its named values. Only a socket takes any.
    ///
    /// # Errors
    ///
    /// The same as those of [`Client::get`].
    pub fn order(&self, what: &str, with: &[(&str, &str)]) -> Result<Answer, ClientError> {
        let query: Vec<String> =
            with.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        let answer = self.request("POST", &format!("{}{what}?{}", crate::http::ORDERS, query.join("&")))?;
        self.good(answer)
    }

    fn request(&self, method: &str, path: &str) -> Result<Answer, ClientError> {
        let until = Instant::now() + self.timeout;
        let mut stream = match &self.server {
            Server::Https { host, .. } => {
                // What is wrong with the authorities is found before anybody is bothered.
                let config = self.tls()?;
                let stream = self.connect(until).map_err(|error| self.error(error, true))?;
                self.secured(stream, config, host)?
            }
            Server::Socket(_) | Server::Http { .. } => {
                Channel::Plain(self.connect(until).map_err(|error| self.error(error, true))?)
            }
        };
        let token = match (&self.token, &self.password) {
            (Some(token), _) => format!("Authorization: Bearer {}\r\n", encoded(token)),
            (None, Some(password)) => format!("Authorization: Basic {}\r\n", STANDARD.encode(password)),
            (None, None) => String::new(),
        };
        let host = match &self.server {
            Server::Socket(_) => "localhost".to_owned(),
            Server::Http { host, port } | Server::Https { host, port } => format!("{host}:{port}"),
        };
        let request = format!(
            "{method} {} HTTP/1.1\r\nHost: {host}\r\n{token}Connection: close\r\n\r\n",
            encoded(path)
        );
        stream.write_all(request.as_bytes()).map_err(|error| self.error(error, false))?;
        let bytes = self.read(&mut stream)?;
        let foreign = |detail| ClientError::Foreign { server: self.server.clone(), detail };
        parse(&bytes).map_err(foreign)
    }

    fn connect(&self, until: Instant) -> io::Result<Timely> {
        match &self.server {
            Server::Socket(path) => Ok(Timely { stream: Stream::Unix(UnixStream::connect(path)?), until }),
            Server::Http { host, port } | Server::Https { host, port } => {
                let mut refusal = io::Error::from(io::ErrorKind::NotFound);
                for address in (bare(host), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, left(until)?) {
                        Ok(stream) => return Ok(Timely { stream: Stream::Tcp(stream), until }),
                        Err(error) => refusal = error,
                    }
                }
                Err(refusal)
            }
        }
    }

    fn secured(&self, stream: Timely, config: ClientConfig, host: &str) -> Result<Channel, ClientError> {
        let untrusted = |detail: String| ClientError::Untrusted { server: self.server.clone(), detail };
        let name =
            ServerName::try_from(bare(host).to_owned()).map_err(|error| untrusted(error.to_string()))?;
        let connection =
            ClientConnection::new(Arc::new(config), name).map_err(|error| untrusted(error.to_string()))?;
        Ok(Channel::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    fn tls(&self) -> Result<ClientConfig, ClientError> {
        let no_authorities = |path: &Path| ClientError::NoAuthorities { path: path.to_owned() };
        let known = SYSTEM_AUTHORITIES.iter().map(Path::new);
        let system =
            known.clone().find(|path| path.exists()).or(known.clone().next()).unwrap_or(Path::new("/"));
        let path = self.ca_file.as_deref().unwrap_or(system);
        let pem = std::fs::read(path).map_err(|_| no_authorities(path))?;
        let mut roots = RootCertStore::empty();
        // One that is not understood is not trusted; the others are.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        if roots.is_empty() {
            return Err(no_authorities(path));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| {
            ClientError::Untrusted { server: self.server.clone(), detail: error.to_string() }
        })?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    fn read(&self, stream: &mut Channel) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        let mut block = vec![0; 64 << 10];
        loop {
            match stream.read(&mut block) {
                Ok(0) => return Ok(bytes),
                Ok(count) => bytes.extend_from_slice(block.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever refuses a request may close before everything was read; what came before it counts.
                Err(error) if is_end(error.kind()) && !bytes.is_empty() => return Ok(bytes),
                Err(error) => return Err(self.error(error, false)),
            }
            if bytes.len() > self.bytes_max {
                return Err(ClientError::TooLarge { server: self.server.clone(), bytes_max: self.bytes_max });
            }
        }
    }

    fn error(&self, error: io::Error, is_connecting: bool) -> ClientError {
        let server = self.server.clone();
        let kind = error.kind();
        if matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
            ClientError::Slow { server, timeout: self.timeout }
        } else if let Some(tls) =
            error.get_ref().and_then(|it| it.downcast_ref::<tokio_rustls::rustls::Error>())
        {
            ClientError::Untrusted { server, detail: tls.to_string() }
        } else if kind == io::ErrorKind::PermissionDenied {
            ClientError::NotPermitted { server }
        } else if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) && is_connecting
        {
            ClientError::Nobody { server }
        } else {
            ClientError::Failed { server, source: error }
        }
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A stream that ends when the time is up, however little comes at once.
struct Timely {
    stream: Stream,
    until: Instant,
}

impl Read for Timely {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = Some(left(self.until)?);
        match &mut self.stream {
            Stream::Unix(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(into)),
            Stream::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(into)),
        }
    }
}

impl Write for Timely {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = Some(left(self.until)?);
        match &mut self.stream {
            Stream::Unix(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
            Stream::Tcp(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Channel {
    Plain(Timely),
    Tls(Box<StreamOwned<ClientConnection, Timely>>),
}

impl Channel {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

/// Where distributions keep the authorities they trust: Debian, Fedora, Alpine, openSUSE.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Whether the other side is gone, politely or not. An answer says its own length.
fn is_end(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof)
}

/// Returns a host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Returns the time left, which is never 0: a timeout of 0 would mean none.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Encodes what would end a line or a word of the request.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_graphic() {
            encoded.push(character);
        } else {
            let mut bytes = [0; 4];
            encoded.extend(character.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")));
        }
    }
    encoded
}

/// Encodes a value of a query whole: what would end it too.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    let encode =
        |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

fn parse(bytes: &[u8]) -> Result<Answer, &'static str> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no HTTP header")?;
    let (head, body) = bytes.split_at(end);
    let body = body.get(4..).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| "a header that is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or("no HTTP/1.1 status")?;
    let status = status.get(..3).and_then(|code| code.parse().ok()).ok_or("no status code")?;
    let (mut content_type, mut length) = (String::new(), None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-type") {
            value.trim().clone_into(&mut content_type);
        } else if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>().map_err(|_| "a length that is no number")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("an encoding the daemon does not use");
        }
    }
    if length.is_some_and(|length| length != body.len()) {
        return Err("an answer cut short");
    }
    let body = String::from_utf8(body.to_vec()).map_err(|_| "an answer that is no text")?;
    Ok(Answer { status, content_type, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_people_write_them() {
        let http = |host: &str, port| Some(Server::Http { host: host.to_owned(), port });
        let socket = |path: &str| Some(Server::Socket(PathBuf::from(path)));
        #[rustfmt::skip]
        let cases = [
            // text                          expected
            ("/run/p.sock",                  socket("/run/p.sock")),
            ("unix:/run/p.sock",             socket("/run/p.sock")),
            ("http://web-03",                http("web-03", 9414)),
            ("http://127.0.0.1:80/",         http("127.0.0.1", 80)),
            ("http://[::1]:80",              http("[::1]", 80)),
            ("http://[::1]",                 http("[::1]", 9414)),
            ("http://",                      None),
            ("unix:",                        None),
            ("web-03:9414",                  None),
            ("https://web-03",               Some(Server::Https { host: "web-03".to_owned(), port: 9414 })),
            ("https://[::1]:1",              Some(Server::Https { host: "[::1]".to_owned(), port: 1 })),
            ("ftp://web-03",                 None),
            ("http://host:port",             None),
            ("http://host:1:2",              None),
            ("http://a\r\nX: y",             None),
            ("http://user@host",             None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn nothing_ends_the_request_early() {
        assert_eq!(encoded("/api?group=a b\r\nX: \u{e9}"), "/api?group=a%20b%0D%0AX:%20%C3%A9");
        assert_eq!(encoded("/api/v1/flows?limit=5&after=6"), "/api/v1/flows?limit=5&after=6");
    }

    #[test]
    fn answers_that_are_none_are_told_apart() {
        #[rustfmt::skip]
        let cases: [(&[u8], Result<u16, &str>); 7] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",  Ok(200)),
            (b"HTTP/1.1 503 No\r\n\r\n",                         Ok(503)),
            (b"SSH-2.0-OpenSSH_9.2\r\n",                         Err("no HTTP header")),
            (b"HTTP/1.0 200 OK\r\n\r\n",                         Err("no HTTP/1.1 status")),
            (b"HTTP/1.1 2\r\n\r\n",                              Err("no status code")),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",  Err("an answer cut short")),
            (b"HTTP/1.1 200 OK\r\n\r\n\xff",                     Err("an answer that is no text")),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                parse(bytes).map(|answer| answer.status),
                expected,
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
