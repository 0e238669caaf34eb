//! TLS, client certificates and passwords, by the web configuration file.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portolan_exporter::client::{Client, ClientError, Server};
use portolan_exporter::http::{Patience, ServeOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, version};

use crate::fixture::{empty, loaded, parse};
use crate::http::Host;

/// A folder with an authority, what it certified, and a web configuration file.
struct Folder {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Folder {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = Self { folder: tempfile::tempdir().unwrap(), authority };
        std::fs::write(folder.path("ca.pem"), folder.authority.pem()).unwrap();
        folder.certify("server", vec![SanType::IpAddress("127.0.0.1".parse().unwrap()), dns("localhost")]);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `name.pem` and `name.key`.
    fn certify(&self, name: &str, names: Vec<SanType>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn write(&self, text: &str) -> PathBuf {
        let path = self.path("web.yml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn host(&self, text: &str) -> Host {
        let path = self.write(text);
        Host::new(loaded(), |options| options.web_config = Some(path))
    }

    fn client(&self, host: &Host) -> Client {
        let server = Server::Https { host: "127.0.0.1".to_owned(), port: host.address.port() };
        Client { ca_file: Some(self.path("ca.pem")), ..Client::new(server) }
    }

    /// Asks for `/-/healthy` over TLS, with a certificate if one is named, and returns everything that comes back.
    fn ask(&self, host: &Host, client: Option<&str>, versions: Versions) -> Result<String, std::io::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                config.with_client_auth_cert(vec![chain], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TcpStream::connect(host.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

type Versions = &'static [&'static tokio_rustls::rustls::SupportedProtocolVersion];
const BOTH: Versions = &[&version::TLS13, &version::TLS12];
const NEWER: Versions = &[&version::TLS13];
const OLDER: Versions = &[&version::TLS12];

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

#[test]
fn a_scrape_over_tls_is_the_same_scrape() {
    let folder = Folder::new();
    let host = folder.host(TLS);
    let client = folder.client(&host);
    let samples = parse(&client.get("/metrics").unwrap().body);
    assert!(samples.keys().any(|(name, _)| name == "portolan_edge_bytes_total"));
    for versions in [BOTH, OLDER] {
        assert!(folder.ask(&host, None, versions).unwrap().starts_with("HTTP/1.1 200 "));
    }
    // By another name, by another authority, or in the clear it is not to be had.
    let stranger = Folder::new();
    let refused = Client { ca_file: Some(stranger.path("ca.pem")), ..client }.get("/metrics").unwrap_err();
    assert!(matches!(refused, ClientError::Untrusted { .. }), "{refused}");
    assert!(refused.to_string().contains("--ca-file FILE"), "{refused}");
    let plain = host.client().ask("/metrics").unwrap();
    assert_eq!(plain.status, 400);
    assert!(plain.body.contains("write https:// instead"), "{}", plain.body);
    host.end();
}

#[test]
fn who_speaks_https_to_a_plain_port_is_told() {
    let folder = Folder::new();
    let host = Host::new(empty(), |_| {});
    let refused = folder.client(&host).get("/metrics").unwrap_err().to_string();
    assert!(refused.contains("check that it serves https"), "{refused}");
    host.end();
}

#[test]
fn versions_and_suites_are_those_of_the_file() {
    let folder = Folder::new();
    #[rustfmt::skip]
    let cases = [
        // further lines                                                   TLS 1.2  TLS 1.3
        ("",                                                               true,    true),
        ("  min_version: TLS13\n",                                         false,   true),
        ("  max_version: TLS12\n",                                         true,    false),
        ("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n",   true,    true),
        ("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n",     false,   true),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",                    false,   true),
        ("  curve_preferences: [CurveP384]\n",                             true,    true),
        ("  prefer_server_cipher_suites: false\n",                         true,    true),
    ];
    for (lines, older, newer) in cases {
        let host = folder.host(&format!("{TLS}{lines}"));
        assert_eq!(folder.ask(&host, None, OLDER).is_ok(), older, "TLS 1.2: {lines}");
        assert_eq!(folder.ask(&host, None, NEWER).is_ok(), newer, "TLS 1.3: {lines}");
        host.end();
    }
}

#[test]
fn client_certificates_are_asked_for_as_the_file_says() {
    let folder = Folder::new();
    folder.certify("scraper", vec![dns("scraper.example")]);
    folder.certify("other", vec![dns("other.example")]);
    let stranger = Folder::new();
    stranger.certify("stranger", vec![dns("scraper.example")]);
    for end in ["pem", "key"] {
        let name = format!("stranger.{end}");
        std::fs::copy(stranger.path(&name), folder.path(&name)).unwrap();
    }
    let authority = "client_ca_file: ca.pem";
    let sans = "client_allowed_sans: [scraper.example]";
    #[rustfmt::skip]
    let cases = [
        // client_auth_type             further        none   certified  other  uncertified
        ("NoClientCert",                "",            [true,  true,  true,  true]),
        ("RequestClientCert",           "",            [true,  true,  true,  true]),
        ("RequireAnyClientCert",        "",            [false, true,  true,  true]),
        ("RequireClientCert",           "",            [false, true,  true,  true]),
        ("RequireAnyClientCert",        sans,          [false, true,  false, true]),
        ("VerifyClientCertIfGiven",     authority,     [true,  true,  true,  false]),
        ("RequireAndVerifyClientCert",  authority,     [false, true,  true,  false]),
        ("RequireAndVerifyClientCert",  "client_ca_file: ca.pem\n  client_allowed_sans: [x, scraper.example]", [false, true, false, false]),
    ];
    for (auth, further, expected) in cases {
        let host = folder.host(&format!("{TLS}  client_auth_type: {auth}\n  {further}\n"));
        let clients = [None, Some("scraper"), Some("other"), Some("stranger")];
        for versions in [BOTH, OLDER] {
            let answered = clients.map(|client| folder.ask(&host, client, versions).is_ok());
            assert_eq!(answered, expected, "{auth} {further}");
        }
        host.end();
    }
}

#[test]
fn certificates_and_users_are_renewed_without_a_restart() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let told = || TOLD.lock().unwrap().clone();
    let folder = Folder::new();
    let path = folder.write(TLS);
    let host = Host::new(loaded(), |options| {
        options.web_config = Some(path);
        options.notice = |line| TOLD.lock().unwrap().push(line.to_owned());
    });
    let client = folder.client(&host);
    assert_eq!(client.ask("/metrics").unwrap().status, 200);

    // A new authority, which only a new certificate is by.
    let renewed = Folder::new();
    for name in ["ca.pem", "server.pem", "server.key"] {
        std::fs::copy(renewed.path(name), folder.path(name)).unwrap();
    }
    assert!(within(|| client.ask("/metrics").is_ok_and(|answer| answer.status == 200)), "{:?}", told());
    assert!(told().last().unwrap().ends_with("web.yml read again"), "{:?}", told());

    folder.write(&format!("{TLS}basic_auth_users:\n  ann: {}\n", bcrypt::hash("one", 4).unwrap()));
    assert!(within(|| client.ask("/metrics").unwrap().status == 401));

    // What is wrong is told once, and changes nothing.
    folder.write("basic_auth_users: 7\n");
    assert!(within(|| {
        assert_eq!(client.ask("/metrics").unwrap().status, 401);
        told().last().unwrap().contains("what was read before stays in force")
    }));
    let count = told().len();
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(client.ask("/metrics").unwrap().status, 401);
    assert_eq!(told().len(), count, "{:?}", told());
    host.end();
}

#[test]
fn no_change_of_the_file_opens_what_only_it_guards() {
    let folder = Folder::new();
    let users = format!("basic_auth_users:\n  ann: {}\n", bcrypt::hash("x", 4).unwrap());
    for (is_open, expected) in [(false, 401), (true, 200)] {
        let path = folder.write(&users);
        let host = Host::new(loaded(), |options| {
            options.listen = vec!["0.0.0.0:0".parse().unwrap()];
            options.is_open = is_open;
            options.web_config = Some(path);
        });
        assert_eq!(host.client().ask("/metrics").unwrap().status, 401);
        folder.write("basic_auth_users:\n");
        // Beyond the time in which every change is found.
        std::thread::sleep(Duration::from_millis(1_500));
        assert_eq!(host.client().ask("/metrics").unwrap().status, expected, "open {is_open}");
        host.end();
    }
}

#[test]
fn headers_of_the_file_replace_ours() {
    let folder = Folder::new();
    let headers = "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: sameorigin\n    \
                   Strict-Transport-Security: max-age=60\n    X-XSS-Protection:\n";
    let host = folder.host(&format!("{TLS}{headers}"));
    let answer = folder.ask(&host, None, BOTH).unwrap();
    assert!(answer.contains("\r\nx-frame-options: sameorigin\r\n"), "{answer}");
    assert!(answer.contains("\r\nstrict-transport-security: max-age=60\r\n"), "{answer}");
    assert!(answer.contains("\r\nx-content-type-options: nosniff\r\n"), "{answer}");
    assert!(!answer.to_lowercase().contains("deny") && !answer.contains("x-xss-protection"), "{answer}");
    host.end();
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_its_remedy() {
    let folder = Folder::new();
    let other = Folder::new();
    std::fs::copy(other.path("server.key"), folder.path("other.key")).unwrap();
    std::fs::write(folder.path("empty.pem"), "").unwrap();
    let hash = bcrypt::hash("x", 4).unwrap();
    #[rustfmt::skip]
    let cases = [
        // file                                                          expected
        (": [",                                                          "YAML: "),
        ("tls_server_confg: {}",                                         "YAML: "),
        ("tls_server_config:\n  cert_fil: x",                            "YAML: "),
        ("rate_limit:\n  interval: 1s\n  burst: 5",                      "rate_limit: is not offered: leave it out"),
        ("tls_server_config:\n  cert_file: server.pem",                  "tls_server_config.key_file: is missing: give a PEM file"),
        ("tls_server_config:\n  key_file: server.key",                   "tls_server_config.cert_file: is missing: give a PEM file"),
        ("tls_server_config:\n  cert: x\n  cert_file: server.pem",       "tls_server_config.cert: cert_file is given too: keep one"),
        ("tls_server_config:\n  cert_file: none.pem\n  key_file: server.key", "tls_server_config.cert_file: "),
        ("tls_server_config:\n  cert_file: .\n  key_file: server.key",   "tls_server_config.cert_file: "),
        ("tls_server_config:\n  cert_file: empty.pem\n  key_file: server.key", "tls_server_config.cert_file: holds no certificate"),
        ("tls_server_config:\n  cert_file: server.pem\n  key_file: empty.pem", "tls_server_config.key_file: holds no private key"),
        ("tls_server_config:\n  cert_file: server.pem\n  key_file: other.key", "tls_server_config.key_file: is not the key of the certificate"),
        ("TLS  min_version: TLS11",                                      "tls_server_config.min_version: TLS11 is not offered"),
        ("TLS  max_version: SSL3",                                       "tls_server_config.max_version: SSL3 is no version"),
        ("TLS  min_version: TLS13\n  max_version: TLS12",                "tls_server_config.min_version: is later than max_version"),
        ("TLS  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]",           "tls_server_config.cipher_suites: TLS_RSA_WITH_AES_128_CBC_SHA is not offered"),
        ("TLS  curve_preferences: [CurveP521]",                          "tls_server_config.curve_preferences: CurveP521 is not offered"),
        ("TLS  client_auth_type: Maybe",                                 "tls_server_config.client_auth_type: Maybe is none"),
        ("TLS  client_auth_type: RequireAndVerifyClientCert",            "tls_server_config.client_ca_file: is missing"),
        ("TLS  client_ca_file: ca.pem",                                  "tls_server_config.client_ca_file: is given, and nobody is asked"),
        ("TLS  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: empty.pem", "tls_server_config.client_ca_file: holds no certificate"),
        ("TLS  client_allowed_sans: [x]",                                "tls_server_config.client_allowed_sans: needs a certificate"),
        ("basic_auth_users:\n  ann: secret",                             "basic_auth_users.ann: is not a bcrypt hash"),
        ("basic_auth_users:\n  ann: HASH\n  ann: HASH",                  "YAML: "),
        ("http_server_config:\n  headers:\n    Server: x",               "http_server_config.headers.Server: cannot be set"),
        ("http_server_config:\n  headers:\n    X-Frame-Options: maybe",  "http_server_config.headers.X-Frame-Options: cannot be maybe"),
        ("http_server_config:\n  headers:\n    X-XSS-Protection: \"a\\nb\"", "http_server_config.headers.X-XSS-Protection: is no header value"),
    ];
    for (text, expected) in cases {
        let path = folder.write(&text.replace("TLS  ", &format!("{TLS}  ")).replace("HASH", &hash));
        let options = ServeOptions { web_config: Some(path.clone()), ..ServeOptions::default() };
        let told = options.check().unwrap_err().to_string();
        assert!(told.starts_with(&format!("{}: {expected}", path.display())), "{text}\n{told}");
        assert!(!told.contains("secret") && !told.contains(&hash), "{told}");
    }
    let missing = ServeOptions { web_config: Some(folder.path("none.yml")), ..ServeOptions::default() };
    let told = missing.check().unwrap_err().to_string();
    assert!(told.contains("none.yml: the file: cannot be read"), "{told}");
}

#[test]
fn passwords_and_checked_certificates_open_other_addresses_and_nothing_less() {
    let folder = Folder::new();
    let hash = bcrypt::hash("x", 4).unwrap();
    #[rustfmt::skip]
    let cases = [
        // file                                                                                       may be served
        (String::new(),                                                                               false),
        (TLS.to_owned(),                                                                              false),
        (format!("{TLS}  client_auth_type: RequireAnyClientCert\n"),                                  false),
        (format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n"),     false),
        (format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"),  true),
        (format!("basic_auth_users:\n  ann: {hash}\n"),                                               true),
        ("basic_auth_users:\n".to_owned(),                                                            false),
    ];
    for (text, expected) in cases {
        let listen = vec!["0.0.0.0:9414".parse().unwrap()];
        let options =
            ServeOptions { listen, web_config: Some(folder.write(&text)), ..ServeOptions::default() };
        assert_eq!(options.check().is_ok(), expected, "{text}");
    }
}

#[test]
fn the_socket_file_asks_neither_for_tls_nor_for_a_password() {
    let folder = Folder::new();
    let path = folder.write(&format!("{TLS}basic_auth_users:\n  ann: {}\n", bcrypt::hash("x", 4).unwrap()));
    let socket = folder.path("run/portolan.sock");
    let host = Host::new(loaded(), |options| {
        options.web_config = Some(path);
        options.socket = Some(socket.clone());
    });
    assert!(Client::new(Server::Socket(socket)).get("/metrics").is_ok());
    assert_eq!(folder.client(&host).ask("/metrics").unwrap().status, 401);
    let known = Client { password: Some("ann:x".to_owned()), ..folder.client(&host) };
    assert_eq!(known.ask("/metrics").unwrap().status, 200);
    host.end();
}

#[test]
fn half_a_handshake_is_cut_like_half_a_request() {
    let folder = Folder::new();
    let path = folder.write(TLS);
    let host = Host::new(empty(), |options| {
        options.web_config = Some(path);
        options.patience = Patience { header: Duration::from_millis(200), ..Patience::default() };
    });
    // Nothing, the head of a record, a record without its end, garbage in a record.
    let beginnings: [&[u8]; 4] = [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00", &[0x16; 600]];
    for beginning in beginnings {
        let mut stream = TcpStream::connect(host.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(beginning).unwrap();
        // The end comes by itself, perhaps behind an alert.
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(ended.is_ok_and(|count| count < 64), "{beginning:?}");
    }
    host.end();
}

#[test]
fn promtool_takes_the_same_files() {
    let folder = Folder::new();
    let users = format!("basic_auth_users:\n  ann: {}\n", bcrypt::hash("x", 10).unwrap());
    let headers = "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n";
    let certified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  min_version: TLS12\n  \
                     cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  curve_preferences: [X25519]\n";
    #[rustfmt::skip]
    let cases = [
        // file                                        expected
        (format!("{TLS}{certified}{headers}{users}"),  true),
        (TLS.to_owned(),                               true),
        (format!("{TLS}  client_ca_file: ca.pem\n"),   false),
        ("basic_auth_users:\n  ann: x\n".to_owned(),   false),
        ("tls_server_confg: {}\n".to_owned(),          false),
    ];
    for (text, expected) in cases {
        let path = folder.write(&text);
        assert_eq!(promtool(&path), expected, "promtool: {text}");
        let options = ServeOptions { web_config: Some(path), ..ServeOptions::default() };
        assert_eq!(options.check().is_ok(), expected, "portolan: {text}");
    }
}

fn promtool(path: &Path) -> bool {
    let checked = Command::new("promtool").args(["check", "web-config"]).arg(path).output();
    checked.expect("promtool is needed: apt-get install prometheus").status.success()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// Tries until it is so; half a minute is far more than it takes.
fn within(mut is_so: impl FnMut() -> bool) -> bool {
    (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        is_so()
    })
}
