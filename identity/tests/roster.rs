//! Roster files as people and Docker write them.
#![expect(clippy::unwrap_used, reason = "a test's helper may fail like a test")]

use std::net::IpAddr;
use std::path::Path;

use portolan_flowtable::{Directory, Holder, InterfaceId, MacAddr, Role, ScopeId, ServicePort, Timestamp};
use portolan_flowtable::{Protocol, Provenance};
use portolan_identity::{Picture, Roster, RosterFile};

const NOON: &str = "2026-11-20T15:00:00Z";

fn fixture(name: &str) -> RosterFile {
    Roster::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn toml(text: &str) -> RosterFile {
    Roster::parse("r.toml", text.as_bytes()).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn scope(roster: &Roster, name: &str) -> ScopeId {
    *roster.names().scopes.iter().find(|(_, known)| &***known == name).expect(name).0
}

/// Who holds `address`, asked from within `network`.
fn holder(roster: &Roster, picture: &Picture, network: &str, address: &str) -> String {
    let address: IpAddr = address.parse().unwrap();
    match picture.directory.holder(scope(roster, network), address) {
        Holder::Attachment(attachment) => picture.names.attachments[&attachment].container.clone(),
        other @ (Holder::Host
        | Holder::External
        | Holder::Unclaimed
        | Holder::Group
        | Holder::Ambiguous
        | Holder::Bare) => format!("{other:?}"),
    }
}

#[test]
fn an_old_engine_s_output_gives_names_ports_and_addresses() {
    let roster = Roster::merge(vec![fixture("engine-20.10.json")]);
    let picture = roster.picture_at(at(NOON), 1);
    for (network, address, expected) in [
        ("shop_default", "172.18.0.2", "shop_web_1"),
        ("shop_default", "172.18.0.3", "shop_db_1"),
        ("shop_default", "172.18.0.1", "Host"),
        ("shop_default", "172.18.0.9", "shop_late_1"),
        ("shop_default", "172.18.0.8", "Unclaimed"),
        ("shop_default", "172.17.0.2", "boring_wozniak"),
        ("bridge", "172.17.0.2", "boring_wozniak"),
        ("shop_default", "172.18.255.255", "Group"),
        ("shop_default", "198.51.100.7", "External"),
        ("shop_default", "fe80::42:acff:fe12:3", "shop_db_1"),
    ] {
        assert_eq!(holder(&roster, &picture, network, address), expected, "{network} {address}");
    }
    let named: Vec<_> = picture
        .names
        .workloads
        .iter()
        .map(|workload| format!("{} {:?}", workload.qualified(), workload.provenance))
        .collect();
    assert_eq!(
        named,
        [
            "busybox Image",
            "monitoring ContainerName",
            "offline ContainerName",
            "shop/db Compose",
            "shop_late_1 ContainerName",
            "shop/web Compose",
            "sidecar ContainerName",
            "vpn ContainerName",
        ]
    );
    let web = picture.names.workloads.iter().find(|workload| workload.service == "web").unwrap();
    let ports: Vec<_> = web.documented.iter().map(|port| format!("{} {}", port.first, port.source)).collect();
    assert_eq!(ports, ["80 image EXPOSE", "80 published 0.0.0.0:8080", "9443 run --expose"]);
    let published: Vec<_> =
        picture.names.published.iter().map(|of| (of.host_port.0, of.container_port.0)).collect();
    assert_eq!(published, [(8080, 80)]);
}

#[test]
fn containers_that_cannot_be_observed_are_counted_and_named() {
    let roster = Roster::merge(vec![fixture("engine-20.10.json")]);
    let counts = roster.picture_at(at(NOON), 1).counts;
    let reasons: Vec<_> =
        counts.unobservable.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    assert_eq!(
        reasons,
        [
            "monitoring: host network",
            "offline: no network",
            "sidecar: shares the network of shop_web_1",
            "vpn: macvlan",
        ]
    );
    assert_eq!((counts.containers, counts.observable, counts.matched), (8, 4, 4));
    assert_eq!(counts.identity_by, "address");
    assert_eq!(roster.notes(), ["1 containers had stopped and left no address: passed over"]);
}

#[test]
fn a_new_engine_s_output_gives_the_same() {
    let roster = Roster::merge(vec![fixture("engine-29.json")]);
    let picture = roster.picture_at(at(NOON), 1);
    for (address, expected) in [
        ("172.20.0.2", "shop-web-1"),
        ("172.20.0.3", "shop-db-1"),
        ("fd00:20::3", "shop-db-1"),
        ("fd00:20::1", "Host"),
        ("fd00:20::7", "Unclaimed"),
    ] {
        assert_eq!(holder(&roster, &picture, "shop_default", address), expected, "{address}");
    }
    let Holder::Attachment(db) = picture.directory.holder(ScopeId(1), "172.20.0.3".parse().unwrap()) else {
        panic!("no attachment")
    };
    assert!(picture.directory.is_known_listener(db, ServicePort::new(5432, Protocol::TCP)));
    assert!(!picture.directory.is_known_listener(db, ServicePort::new(5432, Protocol::UDP)));
}

#[test]
fn environment_and_command_are_not_kept() {
    for name in ["engine-20.10.json", "engine-29.json"] {
        let file = fixture(name);
        let everything = format!("{file:?} {:?}", Roster::merge(vec![file.clone()]));
        assert!(everything.contains("nginx"));
        for secret in ["hunter2", "secret"] {
            assert!(!everything.contains(secret), "{name} kept {secret}");
        }
    }
}

#[test]
fn a_binding_holds_from_the_start_of_its_container_on() {
    let roster = Roster::merge(vec![fixture("engine-20.10.json")]);
    // Two seconds earlier, since the first connection may be over before Docker notes the start.
    let before = roster.picture_at(at("2026-11-20T13:57:58Z"), 1);
    assert_eq!(holder(&roster, &before, "shop_default", "172.18.0.2"), "Unclaimed");
    let after = roster.picture_at(at("2026-11-20T13:57:58.2Z"), 2);
    assert_eq!(holder(&roster, &after, "shop_default", "172.18.0.2"), "shop_web_1");
    assert_eq!(roster.changes(), [at("2026-11-20T13:57:58.123456789Z")]);
    assert_eq!(after.epoch, 2);
    assert_eq!(
        roster.bound_after(at("2026-11-20T13:00:00Z")),
        ["boring_wozniak", "shop_db_1", "shop_web_1", "vpn"]
    );
    assert!(roster.bound_after(at(NOON)).is_empty());
}

const SHOP: &str = r#"
[[network]]
name = "shop"
subnets = ["172.18.0.0/16", "fd00::/64"]
gateway = "172.18.0.1"

[[interface]]
index = 7
name = "veth7"
role = "container"
container = "web-1"

[[interface]]
index = 0x08
role = "container"
network = "shop"
container = "db-1"

[[interface]]
index = 3
role = "bridge"
network = "shop"
mac = "02:42:00:00:00:01"

[[interface]]
name = "eth0"
role = "other"

[[address]]
address = "172.18.0.2"
container = "web-1"
service = "web"
project = "shop"
image = "nginx:1.27"
ports = ["8080/tcp", "7000-7010/udp"]
labels = { tier = "front" }

[[address]]
addresses = ["172.18.0.3", "fd00::3"]
network = "shop"
container = "db-1"
until = "2026-11-20T14:00:00Z"

[[address]]
address = "172.18.0.3"
network = "shop"
container = "job-1"
from = 2026-11-20T14:00:00Z

[[host]]
address = "192.0.2.1"
"#;

#[test]
fn a_written_roster_gives_roles_names_and_times() {
    let roster = Roster::merge(vec![toml(SHOP)]);
    let picture = roster.picture_at(at("2026-11-20T13:59:00Z"), 1);
    let shop = scope(&roster, "shop");
    for (address, expected) in [
        ("172.18.0.2", "web-1"),
        ("172.18.0.3", "db-1"),
        ("fd00::3", "db-1"),
        ("172.18.0.1", "Host"),
        ("192.0.2.1", "Host"),
        ("172.18.0.4", "Unclaimed"),
    ] {
        assert_eq!(holder(&roster, &picture, "shop", address), expected, "{address}");
    }
    let later = roster.picture_at(at("2026-11-20T14:00:00Z"), 2);
    assert_eq!(holder(&roster, &later, "shop", "172.18.0.3"), "job-1");
    assert_eq!(roster.changes(), [at("2026-11-20T14:00:00Z")]);

    let web = picture.interfaces.get(InterfaceId(7));
    assert_eq!((web.role, web.scope, web.is_fresh), (Role::Container, shop, false));
    assert_eq!(picture.names.attachments[&web.attachment].qualified(), "shop/web");
    assert_eq!(
        picture.directory.holder(shop, "172.18.0.2".parse().unwrap()),
        Holder::Attachment(web.attachment)
    );
    let bridge = picture.interfaces.get(InterfaceId(3));
    assert_eq!((bridge.role, bridge.mac), (Role::Bridge, MacAddr([2, 0x42, 0, 0, 0, 1])));
    assert_eq!(picture.interfaces.get(InterfaceId(99)).role, Role::Unknown);
    let eth0 = roster.interfaces().iter().find(|row| row.name.as_deref() == Some("eth0")).unwrap();
    assert_eq!((eth0.index, eth0.entry.role), (None, Role::Foreign));

    let workload = &picture.names.attachments[&web.attachment];
    assert_eq!((workload.provenance, workload.labels["tier"].as_str()), (Provenance::Roster, "front"));
    let ports: Vec<_> =
        workload.documented.iter().map(|of| format!("{}-{} {}", of.first, of.last, of.source)).collect();
    assert_eq!(ports, ["7000-7010 r.toml:35", "8080-8080 r.toml:35"]);
    let counts = picture.counts;
    assert_eq!((counts.containers, counts.matched, counts.identity_by.as_str()), (3, 3, "roster"));
}

#[test]
fn several_files_are_joined_into_one() {
    let more = toml(
        "[[address]]\naddress = \"172.18.0.3\"\ncontainer = \"shop_db_1\"\nservice = \"ledger\"\n\
         ports = \"5433\"\n[[address]]\naddress = \"172.18.0.8\"\nservice = \"legacy\"\n",
    );
    for files in [
        vec![fixture("engine-20.10.json"), more.clone()],
        vec![fixture("engine-20.10.json"), fixture("engine-20.10.json"), fixture("engine-29.json"), more],
    ] {
        let roster = Roster::merge(files);
        let picture = roster.picture_at(at(NOON), 1);
        assert_eq!(holder(&roster, &picture, "shop_default", "172.18.0.3"), "shop_db_1");
        assert_eq!(holder(&roster, &picture, "bridge", "172.18.0.8"), "legacy");
        let db = picture.names.workloads.iter().find(|of| of.container == "shop_db_1").unwrap();
        assert_eq!((db.qualified().as_str(), db.provenance), ("shop/ledger", Provenance::Roster));
        let ports: Vec<_> = db.documented.iter().map(|of| format!("{} {}", of.first, of.source)).collect();
        assert_eq!(ports, ["5432 image EXPOSE", "5433 r.toml:5"]);
    }
}

#[test]
fn two_containers_at_one_address_at_one_time_are_ambiguous() {
    let roster = Roster::merge(vec![toml(
        "[[address]]\naddress = \"10.0.0.2\"\ncontainer = \"a\"\n\
         [[address]]\naddress = \"10.0.0.2\"\ncontainer = \"b\"\n",
    )]);
    let picture = roster.picture_at(at(NOON), 1);
    assert_eq!(picture.directory.holder(ScopeId(0), "10.0.0.2".parse().unwrap()), Holder::Ambiguous);
}

#[test]
fn a_roster_of_another_host_is_noticed() {
    let roster = Roster::merge(vec![toml(SHOP)]);
    let seen = |text: &'static str| move |address: IpAddr| address == text.parse::<IpAddr>().unwrap();
    assert!(roster.any_address_in(seen("fd00::3")));
    assert!(!roster.any_address_in(seen("172.18.0.1")), "every Docker host has such a gateway");
    assert_eq!(
        roster.addresses().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["172.18.0.2", "172.18.0.3", "fd00::3"]
    );
}

#[test]
fn a_mistake_is_told_with_its_place_and_a_hint() {
    for (text, expected) in [
        (
            "[[network]]\nname = \"a\"\ngatewey = []\n",
            "r:3:1: unknown key \"gatewey\"; did you mean \"gateway\"?",
        ),
        ("[[adress]]\n", "r:1:3: unknown table \"adress\"; did you mean \"address\"?"),
        (
            "[[interface]]\nindex = 1\nrole = \"contianer\"\n",
            "r:3:8: unknown role \"contianer\"; did you mean \"container\"?",
        ),
        (
            "[[interface]]\nindex = 1\nrole = \"uplink\"\n",
            "r:3:8: unknown role \"uplink\"; known are container, bridge, other",
        ),
        ("[[interface]]\nrole = \"other\"\n", "r:1:1: an interface needs an index or a name"),
        ("[[interface]]\nindex = -1\nrole = \"other\"\n", "r:2:9: index must be a number from 0 to 16777215"),
        (
            "[[interface]]\nindex = 1\nrole = \"bridge\"\n",
            "r:1:1: a bridge needs its mac: it tells what the host sent from what it forwarded",
        ),
        ("[[address]]\naddress = \"172.18.0\"\n", "r:2:11: \"172.18.0\" is no IP address"),
        ("[[address]]\naddress = 7\n", "r:2:11: address must be a string, not an integer"),
        (
            "[[address]]\naddress = \"10.0.0.1\"\n",
            "r:1:1: an address row needs a container, an id or a service: who holds it?",
        ),
        (
            "[[address]]\naddress = \"10.0.0.1\"\nservice = \"a\"\nports = [\n \"80\",\n \"http\"]\n",
            "r:6:2: \"http\" is no port: expected \"8080/tcp\" or \"7000-7010/udp\"",
        ),
        (
            "[[address]]\naddress = \"10.0.0.1\"\nservice = \"a\"\nfrom = \"today\"\n",
            "r:4:8: \"today\" is no RFC 3339 time: expected \"2026-11-20T13:58:00Z\"",
        ),
        (
            "[[network]]\nname = \"ä\"\nsubnet = \"x\"\n",
            "r:3:10: \"x\" is no subnet: expected ADDRESS/LENGTH, as in \"172.18.0.0/16\"",
        ),
        ("[network]\nname = \"a\"\n", "r:1:1: network must be written as [[network]]"),
        ("[[network]]\n", "r:1:1: name is missing"),
        ("network = [", "r:1:12: no TOML: "),
        ("[{\"Id\": 1},\n {\"Id\" 2}]", "r:2:8: no output of docker inspect: expected `:`"),
        ("[{\"Id\": \"a\"", "r:1:11: cut off in the middle: EOF while parsing an object"),
        ("[]\n[{\"Mountpoint\": \"/x\"}]", "r:1:1: valid JSON, but no container, network or image"),
        (" \n", "roster r is empty; write one with: docker inspect"),
        ("\0\u{1}", "roster r is neither TOML nor the output of docker inspect: it is not text"),
    ] {
        let error = Roster::parse("r", text.as_bytes()).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text:?}\n  gave {error}\n  not  {expected}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Roster::read(Path::new("/no/such/roster.toml")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read roster /no/such/roster.toml: "), "{error}");
}

#[test]
fn files_are_read_as_shells_leave_them() {
    let plain =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/engine-29.json"))
            .unwrap();
    let wide = |unit: fn(u16) -> [u8; 2]| {
        let marked = format!("\u{feff}{plain}");
        marked.encode_utf16().flat_map(unit).collect::<Vec<u8>>()
    };
    for (what, bytes) in [
        ("byte order mark", format!("\u{feff}{plain}").into_bytes()),
        ("two files with marks", format!("\u{feff}{plain}\r\n\u{feff}[]").into_bytes()),
        ("UTF-16LE", wide(u16::to_le_bytes)),
        ("UTF-16BE", wide(u16::to_be_bytes)),
        ("carriage returns", plain.replace('\n', "\r\n").into_bytes()),
        ("a complaint before", format!("Error: No such object: x\n{plain}").into_bytes()),
        (
            "a complaint after",
            format!("{plain}\nError response from daemon: no such image: x\n").into_bytes(),
        ),
        ("one object a line", {
            let array: Vec<serde_json::Value> = serde_json::from_str(&plain).unwrap();
            array.iter().map(|object| format!("{object}\n")).collect::<String>().into_bytes()
        }),
    ] {
        let file = Roster::parse("r", &bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        let roster = Roster::merge(vec![file]);
        assert_eq!(roster.names().workloads.len(), 2, "{what}");
    }
}

#[test]
fn a_restarted_container_s_generations_are_kept_apart() {
    let first =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/engine-29.json"))
            .unwrap();
    let second = first
        .replace("2026-11-20T13:58:00.123456789Z", "2026-11-20T14:30:00Z")
        .replace("172.20.0.3", "172.20.0.4");
    let files = [first, second].map(|text| Roster::parse("r", text.as_bytes()).unwrap());
    let roster = Roster::merge(files.to_vec());
    for (time, three, four) in [
        ("2026-11-20T14:00:00Z", "shop-db-1", "Unclaimed"),
        ("2026-11-20T14:40:00Z", "Unclaimed", "shop-db-1"),
    ] {
        let picture = roster.picture_at(at(time), 1);
        assert_eq!(holder(&roster, &picture, "shop_default", "172.20.0.3"), three, "{time}");
        assert_eq!(holder(&roster, &picture, "shop_default", "172.20.0.4"), four, "{time}");
    }
}

#[test]
fn an_address_that_is_handed_on_at_once_is_never_ambiguous() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/engine-29.json"))
            .unwrap();
    // The database ended a second before its successor started, with its address fixed by the operator.
    let ended = text
        .replace("\"Running\": true", "\"Running\": false")
        .replace("\"FinishedAt\": \"0001-01-01T00:00:00Z\"", "\"FinishedAt\": \"2026-11-20T14:29:59Z\"");
    let next = text
        .replace("2026-11-20T13:58:00.123456789Z", "2026-11-20T14:30:00Z")
        .replace("000012\"", "000099\"")
        .replace("shop-db-1", "shop-db-2");
    let roster =
        Roster::merge([ended, next].map(|text| Roster::parse("r", text.as_bytes()).unwrap()).to_vec());
    for (time, holds) in [
        ("2026-11-20T14:29:58.9Z", "shop-db-1"),
        ("2026-11-20T14:29:59Z", "shop-db-2"),
        ("2026-11-20T14:30:00Z", "shop-db-2"),
    ] {
        let picture = roster.picture_at(at(time), 1);
        assert_eq!(holder(&roster, &picture, "shop_default", "172.20.0.3"), holds, "{time}");
    }
}

#[test]
fn merging_is_the_same_every_time() {
    let once = || {
        let roster = Roster::merge(vec![fixture("engine-20.10.json"), fixture("engine-29.json"), toml(SHOP)]);
        let mut attachments: Vec<_> =
            roster.names().attachments.iter().map(|(id, of)| (*id, of.container.clone())).collect();
        attachments.sort();
        format!("{attachments:?} {:?} {:?}", roster.names().workloads, roster.interfaces())
    };
    let first = once();
    for _ in 0..5 {
        assert_eq!(once(), first);
    }
}
