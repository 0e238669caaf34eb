//! The HTTP server behind its socket file, under any bytes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portolan_exporter::http::{Patience, ServeOptions, Served, plain_graph_forms, serve};
use portolan_exporter::{OwnMetrics, Publication};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::named;
use super::text::{is_fit_for_a_terminal, is_fit_json};

/// Ends a connection that is still whole.
const LAST: &[u8] = b"\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
/// What a connection is given that is not.
const HEADER: Duration = Duration::from_millis(250);

/// A request's bytes are answered or refused; the server stands, and what it says is whole and well-formed.
pub fn http_request(bytes: &[u8]) {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| Server::start(named::of(&named::hostile())));
    for answer in server.ask(bytes) {
        assert_ne!(answer.status, 500, "{}", answer.body);
        match answer.content_type.as_str() {
            "application/json" if !answer.body.is_empty() => {
                is_fit_json(&answer.body);
            }
            _ => is_fit_for_a_terminal(&answer.body.replace('\r', ""), false),
        }
    }
}

/// A server on a socket file of its own.
pub struct Server {
    _runtime: Runtime,
    folder: TempDir,
    _publisher: watch::Sender<Arc<Publication>>,
    _shutdown: watch::Sender<bool>,
    _served: Served,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Without parameters.
    pub content_type: String,
    /// Header fields, as they came.
    pub head: String,
    /// What follows them.
    pub body: String,
}

impl Server {
    /// Serves one publication.
    pub fn start(publication: Publication) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let folder = TempDir::new().expect("a folder");
        let (publisher, receiver) = watch::channel(Arc::new(publication));
        let (shutdown, ending) = watch::channel(false);
        let patience = Patience { header: HEADER, ..Patience::default() };
        let options = ServeOptions {
            listen: Vec::new(),
            socket: Some(Self::place(&folder)),
            patience,
            ..ServeOptions::default()
        };
        let serving = serve(options, receiver, plain_graph_forms(), OwnMetrics::new(), ending);
        let served = runtime.block_on(serving).expect("a socket");
        Self { _runtime: runtime, folder, _publisher: publisher, _shutdown: shutdown, _served: served }
    }

    fn place(folder: &TempDir) -> PathBuf {
        folder.path().join("portolan.sock")
    }

    /// Sends bytes and reads everything that comes back.
    pub fn ask(&self, request: &[u8]) -> Vec<Answer> {
        // Who closes early is not answered: the last request asks for the end.
        let request = [request, LAST].concat();
        let mut stream = UnixStream::connect(Self::place(&self.folder)).expect("the server stands");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        stream.set_write_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        // It may have refused before it read everything.
        let _ = stream.write_all(&request);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no end of an answer"),
            // A refused body may end in a reset behind the answer.
            Ok(_) | Err(_) => answers(&answer),
        }
    }
}

/// Takes a stream of answers apart. An answer to HEAD has no body, and says how long it would be.
fn answers(bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = std::str::from_utf8(&rest[..end]).expect("a head is ASCII").to_owned();
        rest = &rest[end + 4..];
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|digits| digits.parse().ok());
        let field = |name: &str| {
            head.split("\r\n").skip(1).find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let length: usize = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let is_body = !(rest.starts_with(b"HTTP/1.") || rest.len() < length);
        let (body, behind) = if is_body { rest.split_at(length) } else { (&[][..], rest) };
        rest = behind;
        answers.push(Answer {
            status: status.unwrap_or_else(|| panic!("no answer: {first:?}")),
            content_type: field("content-type")
                .unwrap_or_default()
                .split(';')
                .next()
                .unwrap_or_default()
                .to_owned(),
            body: std::str::from_utf8(body).expect("bodies are UTF-8").to_owned(),
            head,
        });
    }
    answers
}
