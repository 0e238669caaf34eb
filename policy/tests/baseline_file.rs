//! The reviewable file: the same bytes again, damage named, merging and comparing.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up is a failed test")]

use portolan_flowtable::{Port, Protocol, ServicePort, Timestamp};
use portolan_policy::baseline::{
    Act, ActError, Baseline, DamagedBaseline, Direction, Edge, Enough, Evidence, Forbidden, Hours, Origin,
    Profile, ReleaseDiff, Stage,
};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Baseline, DamagedBaseline> {
    Baseline::parse(text, "baseline.toml", Enough::default())
}

/// What a person writes: a line says no more than that the edge is fine.
const WRITTEN: &str = r#"
version = 1

[[service]]
name = "shop/orders"
image = "sha256:aaaa1111"
reference = "orders:v1.3"
stage = "promoted"
learned = [
  { to = "shop/db", port = "5432/tcp" },
  { from = "shop/web", port = "8080/tcp" },
]
forbidden = [
  { to = "external", port = "22/tcp", at = "2026-11-20T14:02:00Z", by = "uid 0", reason = "no shells" },
]

[[service]]
name = "shop/orders"
image = "sha256:bbbb2222"
reference = "orders:v1.4"
parent = "sha256:aaaa1111"
learned = [
  { to = "shop/db", port = "5432/tcp", origin = "inherited" },
  { from = "shop/web", port = "8080/tcp", origin = "confirmed", draws = 3 },
]
candidates = [
  { to = "external", port = "443/tcp", origin = "release", draws = 1, runs = 1, first_at = "2026-11-20T14:02:00Z", last_at = "2026-11-20T14:02:00Z" },
  { to = "shop/cache", port = "6379/tcp", origin = "release", draws = 1, runs = 1, first_at = "2026-11-20T14:02:00Z", last_at = "2026-11-20T14:02:00Z" },
]
"#;

fn edge(text: &str) -> Edge {
    text.parse().unwrap()
}

#[test]
fn a_release_diff_prints_the_edges_that_came_with_it() {
    let baseline = parse(WRITTEN).unwrap();
    let (_, first) = baseline.profile("orders@v1.3").unwrap();
    let (_, second) = baseline.profile("shop/orders@sha256:bbbb").unwrap();
    let diff = ReleaseDiff::between(first, second);
    let words = |edges: &std::collections::BTreeMap<Edge, Evidence>| {
        edges.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(words(&diff.added), ["to external:443/tcp", "to shop/cache:6379/tcp"]);
    assert_eq!(words(&diff.missing), ["to shop/db:5432/tcp"]);
    assert_eq!(diff.kept, 1);
    let several = baseline.profile("orders").unwrap_err().to_string();
    assert_eq!(
        several,
        "\"orders\" may be shop/orders@orders:v1.3 or shop/orders@orders:v1.4: name the image, as in orders@v1.3"
    );
}

#[test]
fn what_is_wrong_is_named_by_its_line() {
    let service = "version = 1\n[[service]]\nname = \"a\"\n";
    #[rustfmt::skip]
    let cases = [
        ("",                                                      "baseline.toml:1: it lacks version = 1: is it a baseline?"),
        ("version = 9\n",                                         "baseline.toml: a baseline of form 9, this portolan reads form 1"),
        ("version = 1\nservices = 3\n",                           "baseline.toml:2: unknown key \"services\": one of version, checksum, service"),
        ("version = 1\n[service]\nname = \"a\"\n",               "baseline.toml:2: service is written as [[service]], once for each"),
        ("version = 1\nservice = 3\n",                            "baseline.toml:2: service is written as [[service]], once for each"),
        ("version = 1\n[[service]]\nimage = \"x\"\n",             "baseline.toml:2: a service without a name"),
        (&format!("{service}stage = \"done\"\n"),                 "baseline.toml:4: stage \"done\": learning or promoted"),
        (&format!("{service}hours = \"25:00\"\n"),                "baseline.toml:4: hours \"25:00\": write 00:00-03:50, 07:10"),
        (&format!("{service}windows = -1\n"),                     "baseline.toml:4: windows has to be a whole number from 0 on"),
        (&format!("{service}watched_since = \"then\"\n"),         "baseline.toml:4: \"then\" is no time: write 2026-11-20T14:02:00Z"),
        (&format!("{service}learned = [ {{ to = \"b\" }} ]\n"),   "baseline.toml:4: port \"\": write 5432/tcp"),
        (&format!("{service}learned = [ {{ port = \"1\" }} ]\n"), "baseline.toml:4: an edge has either from or to, with a name"),
        (&format!("{service}learned = [ 5 ]\n"),                  "baseline.toml:4: learned has to be a list of edges in braces"),
        (&format!("{service}[[service]]\nname = \"a\"\n"),        "baseline.toml:4: \"a\" with the same image stands here twice"),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn a_byte_that_turned_over_is_noticed_and_an_edit_without_checksum_is_taken() {
    let text = parse(WRITTEN).unwrap().to_text();
    let damaged = text.replace("5432/tcp", "5433/tcp");
    let expected = DamagedBaseline::Checksum { name: "baseline.toml".to_owned() };
    assert_eq!(parse(&damaged).unwrap_err(), expected);
    let edited: String = damaged
        .lines()
        .filter(|line| !line.starts_with("checksum"))
        .fold(String::new(), |text, line| text + line + "\n");
    assert!(parse(&edited).unwrap().to_text().contains("5433/tcp"));
}

#[test]
fn no_text_makes_the_reader_panic() {
    let text = parse(WRITTEN).unwrap().to_text();
    for cut in 0..text.len() {
        if let Some(part) = text.get(..cut) {
            assert!(parse(part).is_err(), "{cut}");
        }
    }
}

#[test]
fn forbidden_stays_forbidden_until_somebody_permits_it() {
    let now = Timestamp(1_795_132_800 * Timestamp::SECOND);
    let mut baseline = parse(WRITTEN).unwrap();
    let forbid =
        Act::Forbid { edge: edge("to shop/db:5432"), by: "uid 7".to_owned(), reason: "no".to_owned() };
    assert_eq!(baseline.act("orders", &forbid, now).unwrap().changed.len(), 2);
    let refused = baseline.act("orders@v1.4", &Act::Learn(edge("to shop/db:5432")), now).unwrap_err();
    assert!(matches!(refused, ActError::Forbidden { .. }));
    baseline.act("orders", &Act::Reset, now).unwrap();
    for number in 0..1_000 {
        let (key, _) = baseline.profile("orders@v1.4").unwrap();
        let key = key.clone();
        let mut profile = baseline.profiles()[&key].clone();
        profile.see(&edge("to shop/db:5432"), now.plus(number * 600 * Timestamp::SECOND));
        assert!(profile.edges.is_empty());
    }
    let read = parse(&baseline.to_text()).unwrap();
    assert_eq!(read.profiles(), baseline.profiles());
    baseline.act("orders", &Act::Permit(edge("to shop/db:5432")), now).unwrap();
    baseline.act("orders", &Act::Learn(edge("to shop/db:5432")), now).unwrap();
    let said = baseline.act("ordrs", &Act::Freeze, now).unwrap_err().to_string();
    assert!(
        said.starts_with("the baseline has no service \"ordrs\"; did you mean \"shop/orders\"?"),
        "{said}"
    );
    assert!(matches!(
        baseline.act("orders", &Act::Forget(edge("to x:1")), now),
        Err(ActError::UnknownEdge { .. })
    ));
}

fn instants() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000).prop_map(|seconds| Timestamp(seconds * Timestamp::SECOND))
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]/[a-c]", "\\PC{1,8}", Just("a\"\\\u{202e}\n\u{7f}é".to_owned())]
}

fn edges() -> impl Strategy<Value = Edge> {
    (
        any::<bool>(),
        names(),
        1_u16..5,
        prop_oneof![Just(Protocol::TCP), Just(Protocol::UDP), Just(Protocol(99))],
    )
        .prop_map(|(is_to, peer, port, protocol)| Edge {
            direction: if is_to { Direction::To } else { Direction::From },
            peer,
            port: ServicePort { port: Some(Port(port)), protocol },
        })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    (any::<bool>(), 0_usize..5, 0_u64..99, 0_u64..99, instants(), instants(), 0_u64..999).prop_map(
        |(is_learned, origin, draws, runs, first_at, last_at, first_draw)| Evidence {
            is_learned,
            origin: Origin::ALL[origin],
            draws,
            runs,
            first_at,
            last_at,
            first_draw,
        },
    )
}

fn profiles() -> impl Strategy<Value = Profile> {
    let seen = prop::collection::btree_map(edges(), evidence(), 0..6);
    let forbidden = (instants(), names(), names()).prop_map(|(at, by, reason)| Forbidden { at, by, reason });
    let forbidden = prop::collection::btree_map(edges(), forbidden, 0..3);
    let flags = (any::<bool>(), any::<bool>(), names(), prop::option::of(instants()));
    (seen, forbidden, flags, instants(), 0_u64..1_000, prop::collection::vec(instants(), 0..30)).prop_map(
        |(mut edges, forbidden, (is_promoted, is_frozen, reference, promoted_at), since, draws, watched)| {
            edges.retain(|edge, _| !forbidden.contains_key(edge));
            let mut hours = Hours::default();
            watched.into_iter().for_each(|at| hours.add(at));
            Profile {
                stage: if is_promoted { Stage::Promoted } else { Stage::Learning },
                is_frozen,
                parent: reference.clone(),
                reference,
                since,
                until: since,
                promoted_at: promoted_at.filter(|_| is_promoted),
                draws,
                windows: draws,
                hours,
                starts: 0,
                edges,
                forbidden,
                ..Profile::default()
            }
        },
    )
}

fn baselines() -> impl Strategy<Value = Baseline> {
    prop::collection::btree_map(("[a-b]", "[x-y]"), profiles(), 0..4).prop_map(|profiles| {
        let mut text = String::from("version = 1\n");
        for (service, image) in profiles.keys() {
            text.push_str(&format!("[[service]]\nname = \"{service}\"\nimage = \"{image}\"\n"));
        }
        let mut baseline = parse(&text).unwrap();
        for ((service, image), profile) in profiles {
            baseline.replace(&service, &image, profile);
        }
        baseline
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_written_again_byte_for_byte(baseline in baselines()) {
        let text = baseline.to_text();
        let read = parse(&text).unwrap();
        prop_assert_eq!(read.profiles(), baseline.profiles());
        prop_assert_eq!(read.to_text(), text);
    }

    #[test]
    fn merging_does_not_depend_on_the_order_of_hosts(a in baselines(), b in baselines(), c in baselines()) {
        let merged = |parts: [&Baseline; 3]| {
            let mut all = Baseline::new(Enough::default());
            parts.into_iter().cloned().for_each(|part| all.merge(part));
            all.to_text()
        };
        let forward = merged([&a, &b, &c]);
        prop_assert_eq!(&merged([&c, &a, &b]), &forward);
        prop_assert_eq!(&merged([&b, &c, &a]), &forward);
    }
}
