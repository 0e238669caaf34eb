//! HTTPS, client certificates and passwords of a daemon that has given up everything else, and certificates renewed under it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::Daemon;
use crate::engine::Lab;
use crate::namespace::output;
use crate::unit;

/// A user without any rights, and a group that may ask Docker.
const USER: (u32, u32) = (64_000, 64_001);
/// `wrench`, by bcrypt at its cheapest.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuu7c4fbk4UJ34WImkYXd4d.qaJHm5bDmm";

/// Asks over TLS and prints the certificate's serial number, the status and the last line of the body; or that it was
/// refused. Arguments: address, authority, client's certificate and key or nothing, name and password or nothing.
const ASK: &str = r#"
import base64, http.client, ssl, sys
port, authority, certificate, password = sys.argv[1:5]
context = ssl.create_default_context(cafile=authority)
if certificate:
    context.load_cert_chain(certificate + ".pem", certificate + ".key")
connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=context, timeout=30)
headers = {"Authorization": "Basic " + base64.b64encode(password.encode()).decode()} if password else {}
try:
    connection.connect()
    serial = connection.sock.getpeercert()["serialNumber"].lstrip("0")
    connection.request("GET", "/metrics", headers=headers)
    answer = connection.getresponse()
    lines = [line for line in answer.read().decode().splitlines() if line.startswith("portolan_build_info")]
    print(serial, answer.status, len(lines))
except (ssl.SSLError, ConnectionError) as error:
    print("refused")
"#;

/// Certificates in a folder a service may read.
struct Papers(PathBuf);

impl Papers {
    fn new(lab: &Lab) -> Self {
        let papers = Self(lab.directory().join("papers"));
        fs::create_dir(&papers.0).expect("a folder");
        let new =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"];
        papers
            .openssl(&[&new[..], &["/CN=lab", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"]].concat());
        papers
    }

    fn openssl(&self, arguments: &[&str]) {
        output(Command::new("openssl").current_dir(&self.0).args(arguments));
    }

    /// Writes `NAME.pem` and `NAME.key`, as somebody does who renews them: each in one piece.
    fn certify(&self, name: &str, serial: u32) {
        let request = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"];
        let subject = format!("/CN={name}");
        self.openssl(&[&request[..], &[&subject, "-keyout", "new.key", "-out", "new.csr"]].concat());
        fs::write(self.0.join("names"), "subjectAltName=IP:127.0.0.1\n").expect("a file");
        let serial = serial.to_string();
        let sign = ["x509", "-req", "-in", "new.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2"];
        self.openssl(
            &[&sign[..], &["-extfile", "names", "-set_serial", &serial, "-out", "new.pem"]].concat(),
        );
        for end in ["key", "pem"] {
            self.install(&format!("new.{end}"), &format!("{name}.{end}"));
        }
    }

    fn install(&self, from: &str, to: &str) {
        let from = self.0.join(from);
        fs::set_permissions(&from, fs::Permissions::from_mode(0o644)).expect("a mode");
        fs::rename(from, self.0.join(to)).expect("moved");
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    fn ask(&self, lab: &Lab, certificate: &str, password: &str) -> String {
        let certificate = if certificate.is_empty() { String::new() } else { self.path(certificate) };
        let mut python = lab.in_namespace("python3");
        output(python.args(["-c", ASK, "9414", &self.path("ca.pem"), &certificate, password]))
    }
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn https_client_certificates_and_passwords_hold_inside_the_sandbox_and_are_renewed() {
    let lab = Lab::up();
    lab.build_image();
    lab.docker(["run", "-d", "--name", "one", "lab/peer:1.0", "wait"]);
    let papers = Papers::new(&lab);
    papers.certify("server", 7);
    papers.certify("scraper", 8);
    let text = format!(
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n  \
         client_auth_type: RequireAndVerifyClientCert\nbasic_auth_users:\n  ann: {HASH}\n"
    );
    fs::write(papers.0.join("web.yml"), text).expect("a file");
    open_to_service(&lab, &papers.0);
    let socket = lab.docker_socket().to_string_lossy().into_owned();
    let web = papers.path("web.yml");
    let arguments = ["--docker-socket", &socket, "--web-config", &web, "--sandbox", "strict"];
    let mut daemon: Daemon = unit::spawn(&lab, USER, &arguments);
    daemon.eventually("one is matched", |daemon| daemon.status()["vitals"]["containers_matched"] == 1);
    assert!(
        daemon.said().contains("\nsandbox   strict: no capability, Landlock, seccomp\n"),
        "{}",
        daemon.said()
    );

    assert_eq!(papers.ask(&lab, "scraper", "ann:wrench"), "7 200 1");
    assert_eq!(papers.ask(&lab, "scraper", "ann:hammer"), "7 401 0");
    assert_eq!(papers.ask(&lab, "scraper", ""), "7 401 0");
    assert_eq!(papers.ask(&lab, "", "ann:wrench"), "refused");

    papers.certify("server", 9);
    daemon.eventually("the renewed certificate is shown", |_| {
        papers.ask(&lab, "scraper", "ann:wrench") == "9 200 1"
    });
    // What cannot be used leaves what there was in force, and is told.
    fs::write(papers.0.join("broken"), "no certificate").expect("a file");
    papers.install("broken", "server.pem");
    daemon.eventually("it is told", |daemon| {
        papers.ask(&lab, "scraper", "ann:wrench") == "9 200 1"
            && daemon.errors().contains("holds no certificate in PEM")
    });
    papers.certify("server", 5);
    daemon.eventually("the next one is shown", |_| papers.ask(&lab, "scraper", "ann:wrench") == "5 200 1");
    daemon.end().is_settled();
}

fn open_to_service(lab: &Lab, papers: &Path) {
    for folder in [lab.directory(), papers] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    fs::set_permissions(papers.join("ca.pem"), fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::set_permissions(papers.join("web.yml"), fs::Permissions::from_mode(0o644)).expect("a mode");
    chown(lab.docker_socket(), None, Some(USER.1)).expect("another group");
    fs::set_permissions(lab.docker_socket(), fs::Permissions::from_mode(0o660)).expect("a mode");
}
