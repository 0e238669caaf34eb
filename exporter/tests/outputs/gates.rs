//! Who is answered what: every route by every way in, and the socket's folder.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portolan_exporter::http::ServeOptions;

use crate::fixture::{empty, loaded};
use crate::http::Host;

const TOKEN: &str = "0123456789abcdef";
/// Every route, its plain answer, and whether an orchestrator asks for it without credentials.
#[rustfmt::skip]
const ROUTES: [(&str, u16, bool); 15] = [
    ("/",                   200, false),
    ("/map.css",            200, false),
    ("/map.js",             200, false),
    ("/icon.svg",           200, false),
    ("/api/v1/map",         200, false),
    ("/api/v1/snapshots",   200, false),
    ("/metrics",            200, false),
    ("/-/healthy",          200, true),
    ("/-/ready",            503, true),
    ("/api/v1/graph",       200, false),
    ("/api/v1/flows",       200, false),
    ("/api/v1/findings",    200, false),
    ("/api/v1/status",      200, false),
    ("/api/v1/publication", 200, false),
    ("/nothing",            404, false),
];

#[test]
fn every_route_asks_for_the_right_host_the_right_method_and_the_right_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let web_config = folder.path().join("web.yml");
    let hash = bcrypt::hash("right", 4).unwrap();
    std::fs::write(&web_config, format!("basic_auth_users:\n  ann: {hash}\n")).unwrap();
    let basic = |text: &str| format!("Authorization: Basic {}\r\n", STANDARD.encode(text));
    let (right, wrong) = (basic("ann:right"), basic("ann:wrong"));
    let stranger = basic("eve:right");
    #[rustfmt::skip]
    let hosts = [
        // header                               is ours
        ("Host: localhost\r\n",                 true),
        ("Host: 127.0.0.1:1\r\n",               true),
        ("Host: attacker.example\r\n",          false),
        ("Host: 203.0.113.9\r\n",               false),
        ("",                                    false),
    ];
    #[rustfmt::skip]
    let methods = [
        // method    is answered
        ("GET",      true),
        ("HEAD",     true),
        ("POST",     false),
        ("PUT",      false),
        ("DELETE",   false),
        ("OPTIONS",  false),
    ];
    #[rustfmt::skip]
    let credentials = [
        // header                                                  token  passwords  both asked for
        (String::new(),                                            [false, false,    false]),
        (format!("Authorization: Bearer {TOKEN}\r\n"),             [true,  false,    true]),
        (format!("authorization: bearer {TOKEN}\r\n"),             [true,  false,    true]),
        (format!("Authorization: Bearer {TOKEN}0\r\n"),            [false, false,    false]),
        ("Authorization: Bearer 0123456789abcdeX\r\n".to_owned(),  [false, false,    false]),
        (format!("Authorization: {TOKEN}\r\n"),                    [false, false,    false]),
        (right,                                                    [false, true,     true]),
        (wrong,                                                    [false, false,    false]),
        (stranger,                                                 [false, false,    false]),
        ("Authorization: Basic \r\n".to_owned(),                   [false, false,    false]),
        ("Authorization: Basic %%%\r\n".to_owned(),                [false, false,    false]),
    ];
    let mut asked = 0;
    for (case, (has_token, has_users)) in [(true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        let host = Host::new(loaded(), |options| {
            options.token = has_token.then(|| TOKEN.to_owned());
            options.web_config = has_users.then(|| web_config.clone());
        });
        for (path, plain, is_probe) in ROUTES {
            for (named, is_ours) in hosts {
                for (method, is_answered) in methods {
                    for (credential, admitted) in &credentials {
                        let expected = match (is_ours, is_answered, is_probe || admitted[case]) {
                            (false, _, _) => 421,
                            (true, false, _) => 405,
                            (true, true, false) => 401,
                            (true, true, true) => plain,
                        };
                        let request = format!(
                            "{method} {path} HTTP/1.1\r\n{named}{credential}Connection: close\r\n\r\n"
                        );
                        let answer = host.raw(&request);
                        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{request}\n{answer}");
                        let is_asked_for = answer.contains("www-authenticate: Bearer");
                        assert_eq!(is_asked_for, expected == 401 && has_token, "{request}\n{answer}");
                        let is_asked_for = answer.contains("www-authenticate: Basic realm=\"portolan\"");
                        assert_eq!(is_asked_for, expected == 401 && has_users, "{request}\n{answer}");
                        asked += 1;
                    }
                }
            }
        }
        host.end();
    }
    assert_eq!(asked, 3 * 15 * 5 * 6 * 11);
}

#[test]
fn the_sockets_folder_is_nobody_elses_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let made = |name: &str, mode: u32| {
        std::fs::create_dir_all(at(name)).unwrap();
        std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    made("own", 0o700);
    made("group", 0o770);
    made("all", 0o707);
    made("sticky", 0o1777);
    made("open", 0o700);
    made("open/inner", 0o700);
    made("open", 0o777);
    symlink(at("own"), at("link")).unwrap();
    std::fs::write(at("file"), "").unwrap();
    #[rustfmt::skip]
    let cases = [
        // socket               expected
        ("own/p.sock",          ""),
        ("made/deep/p.sock",    ""),
        ("group/p.sock",        "others may write in"),
        ("all/p.sock",          "others may write in"),
        ("sticky/p.sock",       "others may write in"),
        ("open/inner/p.sock",   "others may write in"),
        ("link/p.sock",         "is not a folder itself"),
        ("file/p.sock",         "is not a folder itself"),
    ];
    for (socket, expected) in cases {
        let told = refusal(&at(socket)).unwrap_or_default();
        assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{socket}: {told}");
        assert!(expected.is_empty() || told.contains("--socket"), "{told}");
    }
    assert_eq!(std::fs::metadata(at("made/deep")).unwrap().mode() & 0o777, 0o700);
    // Only root can give a folder away.
    if std::os::unix::fs::chown(at("own"), Some(65_534), None).is_ok() {
        let told = refusal(&at("own/p.sock")).unwrap();
        assert!(told.contains("belongs to another user") && told.contains("--socket"), "{told}");
    }
}

#[test]
fn what_is_not_our_own_stale_socket_is_left_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.sock");
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();

    symlink(&precious, &path).unwrap();
    assert!(refusal(&path).unwrap().contains("is not a socket"));
    assert_eq!(std::fs::read_link(&path).unwrap(), precious);
    std::fs::remove_file(&path).unwrap();

    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(refusal(&path).unwrap().contains("another daemon answers at"));
    assert!(path.exists());
    drop(other);

    // Ours goes with us; what somebody put in its place does not.
    let host = Host::new(empty(), |options| options.socket = Some(path.clone()));
    std::fs::remove_file(&path).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    host.end();
    assert!(path.exists());
}

fn refusal(socket: &Path) -> Option<String> {
    let with_socket = |options: &mut ServeOptions| {
        options.listen = Vec::new();
        options.socket = Some(socket.to_owned());
    };
    match Host::try_new(empty(), with_socket) {
        Ok(host) => {
            host.end();
            None
        }
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn nobody_is_told_of_publications_who_may_not_ask_for_them() {
    let host = Host::new(empty(), |options| options.token = Some(TOKEN.to_owned()));
    #[rustfmt::skip]
    let cases = [
        // header                                                  status
        ("Host: localhost\r\n".to_owned(),                         "401"),
        (format!("Host: attacker.example\r\nAuthorization: Bearer {TOKEN}\r\n"), "421"),
        (format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}0\r\n"), "401"),
    ];
    for (header, status) in cases {
        let answer = host.raw(&format!("GET /api/v1/stream HTTP/1.1\r\n{header}\r\n"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && !answer.contains("event: tick"),
            "{answer}"
        );
    }
    host.end();
}
