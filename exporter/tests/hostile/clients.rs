//! A thousand hostile connections of eight kinds, and one honest scraper among them.
//!
//! The hostile side is a process of its own, so that its descriptors are not the server's.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portolan_exporter::client::{Client, Server};
use portolan_exporter::http::{Patience, ServeOptions, plain_graph_forms, serve};
use portolan_exporter::{OwnMetrics, Publication};
use portolan_flowtable::Timestamp;
use rcgen::{CertificateParams, KeyPair, SanType};
use tokio::sync::watch;

/// Connections held against each port.
const HOSTILE: usize = 1_000;
/// Scrapes the honest client makes meanwhile, of each port.
const SCRAPES: usize = 40;
/// What each hostile connection does.
const KINDS: [&str; 8] = [
    "idle",
    "a header byte by byte",
    "half a request line",
    "a header bomb",
    "a reader who does not read",
    "a pipelined flood",
    "garbage",
    "half a TLS handshake",
];
/// Where the hostile side is told to go.
const TARGET: &str = "PORTOLAN_HOSTILE_TARGET";

#[test]
fn a_thousand_hostile_connections_keep_no_scrape_from_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let web_config = certified(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let before = sockets();
    for is_tls in [false, true] {
        let (shutdown, ending) = watch::channel(false);
        let (_publisher, receiver) = watch::channel(Arc::new(large()));
        let own = OwnMetrics::new();
        let options = ServeOptions {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            web_config: is_tls.then(|| web_config.clone()),
            ..ServeOptions::default()
        };
        let served = runtime.block_on(serve(options, receiver, plain_graph_forms(), own, ending)).unwrap();
        let address = served.addresses[0];
        let (host, port) = ("127.0.0.1".to_owned(), address.port());
        let server = if is_tls { Server::Https { host, port } } else { Server::Http { host, port } };
        // Ten seconds are what an answer may take.
        let honest = Client { ca_file: Some(folder.path().join("server.pem")), ..Client::new(server) };
        assert!(honest.get("/metrics").is_ok());

        let mut hostile = Hostile::start(address);
        let most = Patience::default().connections_max;
        let mut slowest = Duration::ZERO;
        for scrape in 0..SCRAPES {
            let asked = Instant::now();
            let answer = honest.get("/metrics");
            slowest = slowest.max(asked.elapsed());
            let answer = answer.unwrap_or_else(|error| panic!("tls {is_tls}, scrape {scrape}: {error:?}"));
            assert!(answer.body.contains("portolan_ticks_total"), "scrape {scrape}");
            // Besides the connections: listener, and one between acceptance and its place.
            assert!(sockets() <= before + most + 8, "{} sockets", sockets());
            std::thread::sleep(Duration::from_millis(50));
        }
        let opened = hostile.end();
        assert!(opened >= HOSTILE as u64, "only {opened} connections were opened");
        let closed = honest.get("/metrics").unwrap().body;
        let closed =
            closed.lines().find(|line| line.contains("connections_closed_total{reason=\"displaced\"}"));
        let told = format!(
            "tls {is_tls}: {SCRAPES} of {SCRAPES} scrapes answered, slowest {} ms; {opened} hostile connections of {} \
             kinds; {}",
            slowest.as_millis(),
            KINDS.len(),
            closed.unwrap_or_default()
        );
        std::io::stderr().write_all(format!("{told}\n").as_bytes()).unwrap();
        shutdown.send(true).unwrap();
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), served.ended()).await })
            .unwrap();
        assert!(within(|| sockets() <= before + 2), "{} sockets, {before} before", sockets());
    }
}

/// Runs as the hostile side.
#[test]
#[ignore = "run by a_thousand_hostile_connections_keep_no_scrape_from_its_answer"]
fn hostile_side() {
    let target: SocketAddr = std::env::var(TARGET).unwrap().parse().unwrap();
    let opened = AtomicU64::new(0);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for kind in KINDS {
            let (opened, is_over) = (&opened, &is_over);
            scope.spawn(move || {
                let mut held: Vec<Option<TcpStream>> = (0..HOSTILE / KINDS.len()).map(|_| None).collect();
                while !is_over.load(Ordering::Relaxed) {
                    for place in &mut held {
                        if !place.as_mut().is_some_and(|stream| press(kind, stream)) {
                            *place = open(kind, target);
                            opened.fetch_add(u64::from(place.is_some()), Ordering::Relaxed);
                        }
                    }
                    // Held, and held anew at once; without taking the processors from the server, which no limit of the
                    // server's could give back.
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
        // The end of its input is its end, also when the test was killed.
        let _ = std::io::stdin().read(&mut [0]);
        is_over.store(true, Ordering::Relaxed);
    });
    println!("opened {}", opened.load(Ordering::Relaxed));
}

/// Opens a connection and says what its kind says first.
fn open(kind: &str, target: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(1)).ok()?;
    stream.set_nonblocking(true).ok()?;
    let large = "GET /api/v1/findings HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let first: &[u8] = match kind {
        "half a request line" => b"GET /met",
        "a reader who does not read" => large.as_bytes(),
        "half a TLS handshake" => &hello,
        "garbage" => &[0x80, 0xff, 0, 13, 10, 13, 10],
        _ => b"",
    };
    let _ = stream.write_all(first);
    Some(stream)
}

/// Goes on with it; returns whether it is still open.
fn press(kind: &str, stream: &mut TcpStream) -> bool {
    let flood = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    let bomb = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}", "X-Bomb: xxxxxxxxxxxxxxxx\r\n".repeat(200));
    let further: &[u8] = match kind {
        "a header byte by byte" => b"x",
        "a header bomb" => bomb.as_bytes(),
        "a pipelined flood" => flood.as_bytes(),
        "garbage" => &[0xfe; 64],
        _ => b"",
    };
    let is_stuck = |kind: ErrorKind| kind == ErrorKind::WouldBlock;
    if !further.is_empty() && stream.write(further).is_err_and(|error| !is_stuck(error.kind())) {
        let _ = stream.shutdown(Shutdown::Both);
        return false;
    }
    let mut byte = [0];
    let seen =
        if kind == "a reader who does not read" { stream.peek(&mut byte) } else { stream.read(&mut byte) };
    match seen {
        Ok(count) => count > 0,
        Err(error) => is_stuck(error.kind()),
    }
}

struct Hostile(Child);

impl Hostile {
    fn start(target: SocketAddr) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "clients::hostile_side", "--ignored", "--nocapture", "--test-threads", "1"])
            .env(TARGET, target.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Ends it and returns how many connections it opened.
    fn end(&mut self) -> u64 {
        drop(self.0.stdin.take());
        let mut told = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(self.0.wait().unwrap().success(), "{told}");
        let count = told.lines().find_map(|line| line.split_once("opened ")).expect("a count").1;
        count.trim().parse().unwrap()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        // Already ended, unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A publication whose findings are an answer of a megabyte.
fn large() -> Publication {
    let mut publication = Publication::empty("host", "0.1.0", Timestamp(1_000_000_000));
    publication.assessment.contract = "x".repeat(1 << 20);
    publication
}

/// Writes a web configuration file with a certificate that is its own authority.
fn certified(folder: &Path) -> std::path::PathBuf {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
    std::fs::write(folder.join("server.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    let path = folder.join("web.yml");
    std::fs::write(&path, "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n").unwrap();
    path
}

/// Counts this process's sockets.
fn sockets() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// Tries until it is so; half a minute is far more than it takes.
fn within(mut is_so: impl FnMut() -> bool) -> bool {
    (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        is_so()
    })
}
