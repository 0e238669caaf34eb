//! HTTP over loopback, with friendly and with hostile clients.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portolan_exporter::client::{Client, ClientError, Server};
use portolan_exporter::http::{Patience, ServeError, ServeOptions, Served, plain_graph_forms, serve};
use portolan_exporter::snapshots::{SnapshotOptions, Snapshots};
use portolan_exporter::{Directed, FlowEnd, FlowRecord, OwnMetrics, Publication, escape};
use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    ConnState, IcmpError, InitiatorEvidence, Outcome, Outcomes, Port, Protocol, ServicePort, Tally,
};
use portolan_graphs::Edge;
use portolan_policy::Verdict;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::fixture::{HOSTILE, START, at, empty, host_label, loaded, parse};

/// A server on a free loopback port, and what keeps it alive.
pub(crate) struct Host {
    runtime: Runtime,
    pub(crate) address: SocketAddr,
    publisher: watch::Sender<Arc<Publication>>,
    shutdown: watch::Sender<bool>,
    served: Option<Served>,
}

impl Host {
    pub(crate) fn new(publication: Publication, change: impl FnOnce(&mut ServeOptions)) -> Self {
        Self::try_new(publication, change).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_new(
        publication: Publication,
        change: impl FnOnce(&mut ServeOptions),
    ) -> Result<Self, ServeError> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (publisher, receiver) = watch::channel(Arc::new(publication));
        let (shutdown, ending) = watch::channel(false);
        let mut options =
            ServeOptions { listen: vec!["127.0.0.1:0".parse().unwrap()], ..ServeOptions::default() };
        change(&mut options);
        let serving = serve(options, receiver, plain_graph_forms(), OwnMetrics::new(), ending);
        let served = runtime.block_on(serving)?;
        let address = served.addresses.first().copied().unwrap_or(SocketAddr::from(([0; 4], 0)));
        Ok(Self { runtime, address, publisher, shutdown, served: Some(served) })
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(Server::Http { host: "127.0.0.1".to_owned(), port: self.address.port() })
    }

    /// Sends bytes as they are and returns everything that comes back.
    pub(crate) fn raw(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A refused body may end in a reset after the answer.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn status(&self, path: &str) -> u16 {
        self.client().ask(path).unwrap().status
    }

    pub(crate) fn end(mut self) {
        self.shutdown.send(true).unwrap();
        let served = self.served.take().unwrap();
        self.runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), served.ended()).await })
            .unwrap();
    }
}

#[test]
fn every_route_answers_in_its_own_type() {
    let host = Host::new(with_flows(loaded()), |_| {});
    #[rustfmt::skip]
    let cases = [
        // path                                    status  type
        ("/",                                      200, "text/html; charset=utf-8"),
        ("/map.css",                               200, "text/css; charset=utf-8"),
        ("/map.js",                                200, "text/javascript; charset=utf-8"),
        ("/icon.svg",                              200, "image/svg+xml"),
        ("/api/v1/map",                            200, "application/json"),
        ("/api/v1/map?group=container&boxes=network", 200, "application/json"),
        ("/api/v1/map?group=project",              400, "application/json"),
        ("/api/v1/map?boxes=x",                    400, "application/json"),
        ("/metrics",                               200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/-/healthy",                             200, "text/plain; charset=utf-8"),
        ("/-/ready",                               503, "application/json"),
        ("/api/v1/graph",                          200, "application/json"),
        ("/api/v1/graph?format=json&group=service", 200, "application/json"),
        ("/api/v1/graph?format=svg",               400, "application/json"),
        ("/api/v1/flows",                          200, "application/json"),
        ("/api/v1/flows?limit=0",                  400, "application/json"),
        ("/api/v1/flows?limit=99999999999999999999", 400, "application/json"),
        ("/api/v1/flows?after=x",                  400, "application/json"),
        ("/api/v1/findings",                       200, "application/json"),
        ("/api/v1/findings?limit=1",               400, "application/json"),
        ("/api/v1/status",                         200, "application/json"),
        ("/etc/passwd",                            404, "application/json"),
        ("/../metrics",                            404, "application/json"),
    ];
    for (path, status, content_type) in cases {
        let answer = host.client().ask(path).unwrap();
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (status, content_type),
            "{path}: {}",
            answer.body
        );
        if content_type == "application/json" {
            let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(value.get("error").is_some(), status != 200, "{path}: {}", answer.body);
        }
    }
    host.end();
}

#[test]
fn who_publishes_nothing_for_too_long_is_not_ready_and_its_age_is_shown() {
    let mut publication = empty();
    (publication.vitals.is_capturing, publication.vitals.is_named) = (true, true);
    for (stalls_after, expected) in [(Duration::ZERO, 503), (Duration::MAX, 200)] {
        let host = Host::new(publication.clone(), |options| options.stalls_after = stalls_after);
        let ready = host.client().ask("/-/ready").unwrap();
        assert_eq!((ready.status, ready.body.contains("a thread stalls")), (expected, expected == 503));
        let metrics = host.client().ask("/metrics").unwrap().body;
        let age = metrics
            .lines()
            .find_map(|line| line.strip_prefix("portolan_publication_age_seconds{host=\"web-03\"} "));
        assert!(age.is_some_and(|age| age.parse::<f64>().unwrap() > 0.0), "{metrics}");
        host.end();
    }
}

#[test]
fn readiness_follows_the_publication() {
    let host = Host::new(empty(), |_| {});
    for (is_capturing, is_named, expected) in
        [(false, false, 503), (true, false, 503), (false, true, 503), (true, true, 200)]
    {
        let mut publication = empty();
        publication.vitals.is_capturing = is_capturing;
        publication.vitals.is_named = is_named;
        host.publisher.send(Arc::new(publication)).unwrap();
        assert_eq!(host.status("/-/ready"), expected, "capturing {is_capturing}, named {is_named}");
    }
    assert_eq!(host.status("/-/healthy"), 200);
    host.end();
}

#[test]
fn a_scrape_shows_the_latest_publication_and_counts_requests() {
    let host = Host::new(empty(), |_| {});
    parse(&host.client().get("/metrics").unwrap().body);
    let mut later = loaded();
    later.vitals.ticks = 77;
    host.publisher.send(Arc::new(later)).unwrap();
    let samples = parse(&host.client().get("/metrics").unwrap().body);
    assert_eq!(samples[&("portolan_ticks_total".to_owned(), [host_label()].into())], "77");
    assert!(
        samples
            .keys()
            .any(|(name, labels)| name == "portolan_edge_bytes_total" && labels["server"] == "cart")
    );
    let labels =
        [host_label(), ("route".to_owned(), "metrics".to_owned()), ("code".to_owned(), "200".to_owned())];
    assert_eq!(samples[&("portolan_exporter_http_requests_total".to_owned(), labels.into())], "1");
    host.end();
}

#[test]
fn flows_come_in_pages_without_gap_or_repetition() {
    let host = Host::new(with_flows(empty()), |_| {});
    let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let body = host.client().get(&format!("/api/v1/flows?limit=10{after}")).unwrap().body;
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        seen.extend(page["flows"].as_array().unwrap().iter().map(|flow| flow["flow_id"].as_u64().unwrap()));
        pages += 1;
        match page["next"].as_u64() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (1..=25).collect::<Vec<_>>());
    assert_eq!(pages, 3);
    host.end();
}

#[test]
fn who_asks_wrongly_is_told_what_to_do() {
    let host = Host::new(empty(), |options| options.hosts = vec!["Web-03.example".to_owned()]);
    let port = host.address.port();
    #[rustfmt::skip]
    let cases = [
        // request                                                                         expected
        (format!("GET /-/healthy HTTP/1.1\r\nHost: localhost:{port}\r\n"),                 "200"),
        ("GET /-/healthy HTTP/1.1\r\nHost: LOCALHOST.\r\n".to_owned(),                     "200"),
        ("GET /-/healthy HTTP/1.1\r\nHost: [::1]:80\r\n".to_owned(),                       "200"),
        ("GET /-/healthy HTTP/1.1\r\nHost: web-03.example:1\r\n".to_owned(),               "200"),
        ("HEAD /-/healthy HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(),                     "200"),
        ("GET /metrics HTTP/1.1\r\nHost: attacker.example\r\n".to_owned(),                 "421"),
        ("GET /-/healthy HTTP/1.1\r\nHost: localhost.attacker.example\r\n".to_owned(),     "421"),
        ("GET /metrics HTTP/1.1\r\nHost: 203.0.113.9\r\n".to_owned(),                      "421"),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\n".to_owned(), "421"),
        ("GET http://attacker.example/metrics HTTP/1.1\r\nHost: localhost\r\n".to_owned(), "421"),
        ("GET /metrics HTTP/1.1\r\nHost:\r\n".to_owned(),                                  "421"),
        ("GET /metrics HTTP/1.1\r\n".to_owned(),                                           "421"),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc".to_owned(), "405"),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\n".to_owned(),                            "405"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc".to_owned(),   "413"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n".to_owned(), "413"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n", "x".repeat(20_000)),    "431"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}", "X: y\r\n".repeat(100)),       "431"),
        ("BANANA\r\n".to_owned(),                                                          "400"),
    ];
    for (request, expected) in cases {
        let answer = host.raw(&format!("{request}Connection: close\r\n\r\n"));
        let shown: String = request.chars().take(80).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{shown:?}: {answer}");
        if let Some((_, body)) = answer.split_once("\r\n\r\n")
            && matches!(expected, "421" | "405" | "413")
        {
            assert!(body.starts_with("{\"error\":\""), "{shown:?}: {answer}");
        }
    }
    host.end();
}

#[test]
fn without_the_token_only_the_probes_answer() {
    let token = "0123456789abcdef".to_owned();
    let host = Host::new(loaded(), |options| options.token = Some(token.clone()));
    let ask = |presented: Option<&str>, path: &str| {
        let client = Client { token: presented.map(str::to_owned), ..host.client() };
        client.ask(path).unwrap().status
    };
    #[rustfmt::skip]
    let cases = [
        (None,                      "/metrics",    401),
        (Some("0123456789abcdeX"),  "/metrics",    401),
        (Some("0123456789abcde"),   "/metrics",    401),
        (Some("0123456789abcdef0"), "/",           401),
        (Some("0123456789abcdef"),  "/metrics",    200),
        (None,                      "/-/healthy",  200),
        (None,                      "/-/ready",    503),
        (None,                      "/api/v1/x",   401),
    ];
    for (presented, path, expected) in cases {
        assert_eq!(ask(presented, path), expected, "{presented:?} {path}");
    }
    host.end();
}

#[test]
fn what_should_not_be_served_is_refused_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (address, taken)).unwrap();
    let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let refusal = |change: &dyn Fn(&mut ServeOptions)| match Host::try_new(empty(), change) {
        Ok(_) => "served".to_owned(),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        refusal(&|options| options.listen = vec![taken.0]),
        format!("{} is in use: stop the other program or choose another address with --listen", taken.0)
    );
    assert_eq!(
        refusal(&|options| options.listen = vec!["198.51.100.1:9414".parse().unwrap()]),
        "198.51.100.1:9414 can be reached from other hosts: protect it with --token-file FILE or --web-config FILE, or say --open"
    );
    assert_eq!(
        refusal(&|options| {
            options.listen = vec!["198.51.100.1:9414".parse().unwrap()];
            options.is_open = true;
        }),
        "no interface of this host has the address 198.51.100.1:9414: choose another with --listen"
    );
    assert_eq!(
        refusal(&|options| options.token = Some("short".to_owned())),
        "the token is 5 characters long: give one of at least 16, without spaces"
    );
    assert!(
        refusal(&|options| options.listen = vec![everywhere]).contains("can be reached from other hosts")
    );
    assert_eq!(
        refusal(&|options| {
            options.listen = vec![everywhere];
            options.is_open = true;
        }),
        "served"
    );
}

#[test]
fn the_socket_file_is_private_and_only_a_stale_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/portolan.sock");
    let with_socket = |options: &mut ServeOptions| {
        options.listen = Vec::new();
        options.socket = Some(path.clone());
    };
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let client = Client::new(Server::Socket(path.clone()));
    assert!(matches!(client.get("/metrics"), Err(ClientError::Nobody { .. })));

    let host = Host::new(loaded(), with_socket);
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    parse(&client.get("/metrics").unwrap().body);
    let refused = client.get("/nothing").unwrap_err().to_string();
    assert!(refused.contains("refused: no such page"), "{refused}");
    let second = Host::try_new(empty(), with_socket).err().unwrap().to_string();
    assert!(second.contains("another daemon answers at") && second.contains("--socket"), "{second}");
    assert!(client.get("/metrics").is_ok(), "the first is still there");
    host.end();
    assert!(!path.exists(), "the file goes with the daemon");

    // A daemon that was killed leaves its file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = client.get("/metrics").unwrap_err().to_string();
    assert_eq!(error, format!("no daemon answers at {}: start one with: sudo portolan run", path.display()));
    let host = Host::new(empty(), |options| {
        with_socket(options);
        options.socket_mode = 0o660;
    });
    assert_eq!(mode(&path), 0o660);
    host.end();

    std::fs::write(&path, "precious").unwrap();
    assert!(Host::try_new(empty(), with_socket).err().unwrap().to_string().contains("is not a socket"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    std::fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(Host::try_new(empty(), with_socket).err().unwrap().to_string().contains("others may write in"));
}

#[test]
fn clients_that_never_finish_a_request_are_closed() {
    let host = Host::new(empty(), |options| options.patience = brief());
    #[rustfmt::skip]
    let beginnings = ["", "GET / HTTP/1.1\r\nHost: loc", "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"];
    let mut streams = Vec::new();
    for beginning in beginnings {
        for _ in 0..20 {
            let mut stream = host.connect();
            stream.write_all(beginning.as_bytes()).unwrap();
            streams.push(stream);
        }
    }
    // Each is closed by the server: the read ends by itself, long before its own timeout of a minute.
    for mut stream in streams {
        assert!(is_closed(&mut stream));
    }
    host.end();
}

#[test]
fn a_byte_now_and_then_does_not_hold_a_connection() {
    let host = Host::new(empty(), |options| options.patience = brief());
    let mut stream = host.connect();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let drip = "GET / HTTP/1.1\r\nHost: localhost\r\nX: ".bytes().chain(std::iter::repeat(b'x'));
    let sent = drip.take(2_000).take_while(|byte| {
        let is_sent = stream.write_all(&[*byte]).is_ok();
        let is_open = !matches!(stream.read(&mut [0; 512]), Ok(0))
            && stream.peek(&mut [0]).map_err(|error| error.kind()) != Err(ErrorKind::ConnectionReset);
        is_sent && is_open
    });
    assert!(sent.count() < 2_000, "forty seconds of dripping");
    host.end();
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut() {
    let mut large = empty();
    large.assessment.contract = "x".repeat(32 << 20);
    let host = Host::new(large, |options| options.patience = brief());
    let mut stream = host.connect();
    stream.write_all(b"GET /api/v1/findings HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    // The answer has begun; from here on nobody reads.
    stream.peek(&mut [0]).unwrap();
    assert!(is_let_go(&mut stream));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() < 32 << 20, "all {} bytes came although nobody read", answer.len());
    assert_eq!(host.status("/-/healthy"), 200);
    host.end();
}

#[test]
fn held_connections_keep_nobody_out() {
    let patience = Patience { connections_max: 8, header: Duration::from_secs(3_600), ..brief() };
    let host = Host::new(empty(), |options| options.patience = patience);
    let mut held: Vec<_> = (0..50).map(|_| host.connect()).collect();
    for _ in 0..10 {
        assert_eq!(host.status("/-/healthy"), 200);
    }
    assert!(is_closed(&mut held[0]), "the oldest made room");
    let samples = parse(&host.client().get("/metrics").unwrap().body);
    let labels = [host_label(), ("reason".to_owned(), "displaced".to_owned())];
    let displaced: u64 = samples
        [&("portolan_exporter_http_connections_closed_total".to_owned(), labels.into())]
        .parse()
        .unwrap();
    assert!(displaced >= 42, "{displaced}");
    host.end();
}

#[test]
fn connections_end_in_time_however_busy() {
    let patience =
        Patience { connection: Duration::from_millis(300), farewell: Duration::from_secs(3_600), ..brief() };
    let host = Host::new(empty(), |options| options.patience = patience);
    let mut stream = host.connect();
    let mut rounds = 0;
    while stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n").is_ok()
        && stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0)
        && rounds < 1_000
    {
        rounds += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!((1..1_000).contains(&rounds), "{rounds}");
    host.end();
}

#[test]
fn hostile_names_break_neither_the_page_nor_the_json() {
    let mut publication = with_flows(loaded());
    for (number, name) in HOSTILE.iter().enumerate() {
        publication.graph.edges.push(edge(name, number));
        publication.assessment.warnings.push((*name).to_owned());
    }
    HOSTILE[4].clone_into(&mut publication.vitals.host);
    publication.assessment.snapshot.stale = Some(HOSTILE[5].to_owned());
    let host = Host::new(publication, |_| {});

    // The page is the same for everybody, and what it is made of names nobody else.
    let (page, style, script) = ("/", "/map.css", "/map.js");
    for path in [page, style, script] {
        let text = host.client().get(path).unwrap().body;
        assert!(HOSTILE.iter().all(|name| !text.contains(name)), "{path}");
        for place in [
            "://",
            "//cdn",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
        ] {
            let known = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!known.contains(place), "{path} has {place}");
        }
    }

    for path in ["/api/v1/findings", "/api/v1/flows", "/api/v1/graph", "/api/v1/map", "/api/v1/status"] {
        let body = host.client().get(path).unwrap().body;
        assert!(
            !body.chars().any(|character| escape::is_hostile(character) && character != '\n'),
            "{path}: {body}"
        );
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
    }
    let findings: serde_json::Value =
        serde_json::from_str(&host.client().get("/api/v1/findings").unwrap().body).unwrap();
    assert_eq!(findings["warnings"], serde_json::json!(HOSTILE), "every name comes back as it was");

    let head = host.raw("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'",
        "x-content-type-options: nosniff",
    ] {
        assert!(head.contains(header), "{head}");
    }
    host.end();
}

#[test]
fn an_answer_nobody_takes_is_cut_at_last() {
    let mut large = empty();
    large.assessment.contract = "x".repeat(32 << 20);
    // No stall: the last limit holds alone.
    let patience = Patience {
        stall: Duration::from_secs(3_600),
        connection: Duration::from_millis(300),
        farewell: Duration::from_millis(300),
        ..brief()
    };
    let host = Host::new(large, |options| options.patience = patience);
    let mut stream = host.connect();
    stream.write_all(b"GET /api/v1/findings HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(is_let_go(&mut stream));
    let samples = parse(&host.client().get("/metrics").unwrap().body);
    let labels = [host_label(), ("reason".to_owned(), "deadline".to_owned())];
    let family = "portolan_exporter_http_connections_closed_total".to_owned();
    assert_eq!(samples[&(family, labels.into())], "1");
    host.end();
}

#[test]
fn an_end_is_an_end_with_clients_present() {
    let host = Host::new(empty(), |_| {});
    let mut held: Vec<_> = (0..5).map(|_| host.connect()).collect();
    assert_eq!(host.status("/-/healthy"), 200);
    let address = host.address;
    host.end();
    assert!(held.iter_mut().all(is_closed));
    assert!(TcpStream::connect(address).is_err());
}

/// Times short enough to wait for.
fn brief() -> Patience {
    Patience {
        header: Duration::from_millis(200),
        stall: Duration::from_millis(200),
        // Far beyond what a test waits for: each limit must hold without the help of this one.
        connection: Duration::from_secs(3_600),
        farewell: Duration::from_millis(200),
        ..Patience::default()
    }
}

/// Waits, without reading, until the server has let go: writing to it fails then.
fn is_let_go(stream: &mut TcpStream) -> bool {
    let knocks = (0..3_000).take_while(|_| {
        std::thread::sleep(Duration::from_millis(10));
        stream.write_all(b"x").is_ok()
    });
    knocks.count() < 3_000
}

/// Reads to the end; a timeout is no end.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn with_flows(mut publication: Publication) -> Publication {
    // Out of order, as live and ended flows come.
    for number in (1..=25_u64).rev() {
        publication.flows.push(flow(number));
    }
    publication
}

pub(crate) fn flow(number: u64) -> FlowRecord {
    let end = |ip: &str, port, name: &str| FlowEnd {
        ip: ip.parse().unwrap(),
        port: Some(Port(port)),
        service: format!("shop/{name}").into(),
        container: HOSTILE[usize::try_from(number).unwrap() % HOSTILE.len()].into(),
        image: format!("{name}:latest").into(),
        names: Vec::new(),
    };
    FlowRecord {
        flow_id: number,
        community_id: format!("1:{number}").into(),
        proto: Protocol::TCP,
        src: end("172.20.0.2", 50_001, "web"),
        dest: end("172.20.0.3", 8080, "cart"),
        network: "shop_default".into(),
        evidence: InitiatorEvidence::Handshake,
        claim: Claim::Own,
        outcome: Outcome::Answered,
        sent: Tally { frames: 5, bytes: 500 },
        received: Tally { frames: 4, bytes: 400 },
        first_at: START,
        last_at: at(1),
        first_frame: 1,
        last_frame: 9,
        rtt: Some(80_000),
        ack_rtt: Some(30_000),
        conn_state: ConnState::Sf,
        history: "ShADadFf".into(),
        retransmissions: Directed { sent: 1, received: 0 },
        zero_windows: Directed::default(),
        gaps: Directed::default(),
        icmp_error: Some(IcmpError { kind: 3, code: 4, count: 1 }),
        ended: None,
        dry_run: None,
    }
}

fn edge(name: &str, number: usize) -> Edge {
    Edge {
        id: number.to_string(),
        source: name.to_owned(),
        target: name.to_owned(),
        port: ServicePort::new(80, Protocol::TCP),
        network: name.to_owned(),
        via: Some(name.to_owned()),
        verdict: Verdict::UnexpectedPeer,
        documented_by: name.to_owned(),
        findings: vec![name.to_owned()],
        severity: None,
        sent: Tally { frames: 1, bytes: 60 },
        received: Tally::default(),
        connections: Outcomes::default(),
        rtt_p50: None,
        first_at: START,
        last_at: START,
        is_guess: false,
        is_proxy_leg: false,
        names: Vec::new(),
        names_left_out: 0,
    }
}

#[test]
fn fifty_readers_who_are_slow_keep_nobody_waiting_and_are_told_what_they_skipped() {
    const TICKS: u64 = 3_000;
    let host = Host::new(empty(), |_| {});
    let request = "GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut readers: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut reader = host.connect();
            reader.write_all(request.as_bytes()).unwrap();
            // Its stream has begun once the first byte is here; the rest it leaves lying.
            assert_eq!(reader.read(&mut [0]).unwrap(), 1);
            reader
        })
        .collect();
    for tick in 1..=TICKS {
        let mut publication = empty();
        publication.vitals.ticks = tick;
        // Whoever publishes is done when this returns, whatever the readers do.
        host.publisher.send(Arc::new(publication)).unwrap();
    }
    assert_eq!(host.status("/-/healthy"), 200, "others are answered meanwhile");
    for reader in &mut readers {
        let mut text = String::new();
        let mut part = [0; 4_096];
        while !text.contains(&format!("\"tick\":{TICKS},")) {
            let read = reader.read(&mut part).unwrap();
            assert!(read > 0, "{text}");
            text.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
        let told = text.matches("event: tick").count() as u64;
        let missed: u64 = text
            .split("\"missed\":")
            .skip(1)
            .map(|rest| rest.split(',').next().unwrap().parse::<u64>().unwrap())
            .sum();
        // The first event is of tick 0.
        assert_eq!(told - 1 + missed, TICKS, "every tick was told of or counted as skipped");
    }
    host.end();
}

#[test]
fn a_reader_too_many_is_sent_to_ask_now_and_then() {
    let host = Host::new(empty(), |_| {});
    let request = "GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut readers = Vec::new();
    for _ in 0..64 {
        let mut reader = host.connect();
        reader.write_all(request.as_bytes()).unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap(), 1);
        readers.push(reader);
    }
    let refused = host.raw(request);
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("ask /api/v1/map"), "{refused}");
    host.end();
}

#[test]
fn a_picture_that_stands_for_itself_holds_no_name_as_markup_and_asks_nobody() {
    let mut publication = with_flows(loaded());
    HOSTILE[4].clone_into(&mut publication.vitals.host);
    publication.assessment.findings[0].summary = "</script><script>alert(1)</script>".to_owned();
    let page = portolan_exporter::http::self_contained(&publication).unwrap();
    assert_eq!(page.matches("<script").count(), 2, "its data and its own script");
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("src=") && !page.contains("href=\"/map") && page.contains("script-src 'sha256-"));
    assert!(!page.chars().any(|character| escape::is_hostile(character) && character != '\n'));
    assert_eq!(page, portolan_exporter::http::self_contained(&publication).unwrap());
}

#[test]
fn earlier_times_are_answered_from_snapshots_and_from_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let options = SnapshotOptions {
        directory: folder.path().join("kept"),
        every: Duration::from_secs(10),
        keep: 100,
        max_bytes: u64::MAX,
    };
    let snapshots = Arc::new(Snapshots::open(options).unwrap());
    let mut first = loaded();
    first.vitals.is_named = true;
    let host = Host::new(first.clone(), |options| options.snapshots = Some(Arc::clone(&snapshots)));
    // The first with names is kept, one too soon after it is not, one later is.
    let wait = |count: usize| {
        while snapshots.times().unwrap().len() < count {
            std::thread::yield_now();
        }
    };
    wait(1);
    for seconds in [5, 30] {
        let mut later = empty();
        later.vitals.is_named = true;
        later.assessment.snapshot.at = at(seconds);
        host.publisher.send(Arc::new(later)).unwrap();
        // Whoever is asked now has taken the publication in.
        assert_eq!(host.status("/-/healthy"), 200);
    }
    wait(2);
    let times = [first.assessment.snapshot.at, at(30)];
    assert_eq!(snapshots.times().unwrap(), times);
    let listed: serde_json::Value =
        serde_json::from_str(&host.client().get("/api/v1/snapshots").unwrap().body).unwrap();
    assert_eq!(listed["snapshots"], serde_json::json!(times));
    #[rustfmt::skip]
    let cases = [
        // path                                     status  findings
        (format!("/api/v1/map?at={}", at(9)),       200,    Some(first.assessment.findings.len())),
        (format!("/api/v1/map?at={}", at(31)),      200,    Some(0)),
        (format!("/api/v1/graph?at={}", at(9)),     200,    None),
        (format!("/api/v1/publication?at={}", at(9)), 200,  None),
        (format!("/api/v1/map?at={}", at(-9)),      404,    None),
        ("/api/v1/map?at=yesterday".to_owned(),     400,    None),
        (format!("/api/v1/status?at={}", at(9)),    400,    None),
    ];
    for (path, status, findings) in cases {
        let answer = host.client().ask(&path).unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        if let Some(findings) = findings {
            let map: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(map["findings"].as_array().unwrap().len(), findings, "{path}");
        }
    }
    host.end();
    let host = Host::new(empty(), |_| {});
    let answer = host.client().ask(&format!("/api/v1/graph?at={}", at(9))).unwrap();
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("[snapshots]"), "{}", answer.body);
    host.end();
}
