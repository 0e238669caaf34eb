//! The command line's way to a daemon: one GET, blocking, bounded in time and size.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

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
        }
    }
}

/// What was given names no server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} names no daemon: give a socket file or http://HOST:PORT")]
pub struct UnknownServer(pub String);

/// Reads `/path/to.sock`, `./to.sock`, `unix:/path/to.sock`, `http://host` or `http://host:port`.
impl FromStr for Server {
    type Err = UnknownServer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownServer(text.to_owned());
        if let Some(path) =
            text.strip_prefix("unix:").or_else(|| text.starts_with(['/', '.']).then_some(text))
        {
            return if path.is_empty() { Err(unknown()) } else { Ok(Self::Socket(PathBuf::from(path))) };
        }
        let authority = text.strip_prefix("http://").ok_or_else(unknown)?;
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
        if is_plain(host) { Ok(Self::Http { host: host.to_owned(), port }) } else { Err(unknown()) }
    }
}

/// How to ask.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    /// Whom.
    pub server: Server,
    /// For `Authorization: Bearer`.
    pub token: Option<String>,
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
        Self { server, token: None, timeout: Duration::from_secs(10), bytes_max: 256 << 20 }
    }

    /// Asks for `path`, with its query, and returns the answer, if it is a good one.
    ///
    /// # Errors
    ///
    /// Returns a [`ClientError`] that names the server and what to do; [`ClientError::Refused`] for every status but
    /// 200.
    pub fn get(&self, path: &str) -> Result<Answer, ClientError> {
        let answer = self.ask(path)?;
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
        let until = Instant::now() + self.timeout;
        let mut stream = self.connect(until).map_err(|error| self.error(error, true))?;
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {}\r\n", encoded(token)));
        let token = token.unwrap_or_default();
        let host = match &self.server {
            Server::Socket(_) => "localhost".to_owned(),
            Server::Http { host, port } => format!("{host}:{port}"),
        };
        let request =
            format!("GET {} HTTP/1.1\r\nHost: {host}\r\n{token}Connection: close\r\n\r\n", encoded(path));
        stream.write_all(request.as_bytes()).map_err(|error| self.error(error, false))?;
        let bytes = self.read(&mut stream, until)?;
        let foreign = |detail| ClientError::Foreign { server: self.server.clone(), detail };
        parse(&bytes).map_err(foreign)
    }

    fn connect(&self, until: Instant) -> io::Result<Stream> {
        match &self.server {
            Server::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(self.timeout))?;
                Ok(Stream::Unix(stream))
            }
            Server::Http { host, port } => {
                let name = host.trim_start_matches('[').trim_end_matches(']');
                let mut refusal = io::Error::from(io::ErrorKind::NotFound);
                for address in (name, *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, left(until)?) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(self.timeout))?;
                            return Ok(Stream::Tcp(stream));
                        }
                        Err(error) => refusal = error,
                    }
                }
                Err(refusal)
            }
        }
    }

    fn read(&self, stream: &mut Stream, until: Instant) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        let mut block = vec![0; 64 << 10];
        loop {
            let read = left(until).and_then(|left| stream.read_within(&mut block, left));
            match read {
                Ok(0) => return Ok(bytes),
                Ok(count) => bytes.extend_from_slice(block.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever refuses a request may close before everything was read; what came before it counts.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !bytes.is_empty() => {
                    return Ok(bytes);
                }
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

impl Stream {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
    }

    fn read_within(&mut self, into: &mut [u8], left: Duration) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(left)).and_then(|()| stream.read(into)),
            Self::Tcp(stream) => stream.set_read_timeout(Some(left)).and_then(|()| stream.read(into)),
        }
    }
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
            ("https://web-03",               None),
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
