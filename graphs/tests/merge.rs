//! Several hosts as one graph: what crosses between them counts once, and what cannot be told stays apart.
#[expect(dead_code, reason = "the shop is drawn elsewhere")]
mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use portolan_flowtable::conversation::{Conversation, Peer};
use portolan_flowtable::flow::Claim;
use portolan_flowtable::{Completeness, Port, Protocol, PublishedPort, Tally, Timestamp, Workload};
use portolan_graphs::{Apart, Boxes, Crossing, Fleet, Graph, Group, HostView, Merged, NodeKind, Reason};
use portolan_policy::{Contract, Verdict};
use proptest::prelude::*;
use support::{SECOND, START, address, peer, snapshot, talk, workload};

const WEB: &str = "10.0.0.3";
const DB: &str = "10.0.0.4";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn outside(text: &str) -> Peer {
    Peer::External { address: ip(text), names: Default::default() }
}

fn published(on: &str, host_port: u16, owner: &Workload, port: u16) -> PublishedPort {
    PublishedPort {
        host_address: ip(on),
        host_port: Port(host_port),
        protocol: Protocol::TCP,
        container_port: Port(port),
        container_id: owner.container_id.clone(),
        from: Timestamp(START - 100 * SECOND),
        until: None,
    }
}

/// A call that came in by a published port.
fn came(from: &str, to: &Arc<Workload>, port: u16, host_port: u16, answered: u64) -> Conversation {
    let mut call = talk(outside(from), peer(to, 9), port, answered, 0);
    call.via = Some(format!("host:{host_port}"));
    call
}

fn view(
    host: &str,
    addresses: &[&str],
    workloads: Vec<Arc<Workload>>,
    conversations: Vec<Conversation>,
    published: Vec<PublishedPort>,
) -> HostView {
    let mut snapshot = snapshot(workloads, conversations);
    snapshot.published = published;
    HostView {
        host: host.to_owned(),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        assessment: Contract::default().assess(snapshot),
    }
}

/// Two services of web-03 call the database of db-01, and so does somebody outside of both.
fn web_03() -> HostView {
    let (web, cart) = (workload("web-1", "shop/web", &[80]), workload("cart-1", "shop/cart", &[8080]));
    let conversations = vec![
        talk(peer(&web, 2), peer(&cart, 3), 8080, 60, 0),
        talk(peer(&web, 2), outside(DB), 5433, 7, 0),
        talk(peer(&cart, 3), outside(DB), 5433, 5, 0),
        talk(peer(&cart, 3), outside("203.0.113.9"), 443, 2, 0),
        came("203.0.113.7", &web, 80, 8080, 31),
        talk(Peer::Host { address: address(1) }, peer(&web, 2), 80, 1, 0),
    ];
    let bindings = vec![published("0.0.0.0", 8080, &web, 80)];
    view("web-03", &[WEB], vec![web, cart], conversations, bindings)
}

fn db_01() -> HostView {
    // The same names as on the other host.
    let (db, web) = (workload("db-1", "shop/db", &[5432]), workload("web-1", "shop/web", &[80]));
    let conversations = vec![
        came(WEB, &db, 5432, 5433, 12),
        came("203.0.113.7", &db, 5432, 5433, 3),
        talk(peer(&web, 4), peer(&db, 9), 5432, 2, 0),
        talk(Peer::Host { address: address(1) }, peer(&db, 9), 5432, 1, 0),
    ];
    let bindings = vec![published("0.0.0.0", 5433, &db, 5432)];
    view("db-01", &[DB], vec![db, web], conversations, bindings)
}

fn fleet(views: impl IntoIterator<Item = HostView>) -> Fleet {
    let join = |fleet: Fleet, view| fleet.join(Fleet::of(view)).expect("hosts of different names");
    views.into_iter().fold(Fleet::default(), join)
}

fn merged(views: impl IntoIterator<Item = HostView>) -> Merged {
    fleet(views).merge()
}

fn edges(merged: &Merged) -> Vec<(String, u64, Verdict)> {
    let graph = merged.graph(Group::Service);
    graph.edges.iter().map(|edge| (edge.id.clone(), edge.connections.answered, edge.verdict)).collect()
}

#[test]
fn a_call_that_both_hosts_saw_is_one_edge_with_both_sightings() {
    let merged = merged([web_03(), db_01()]);
    let of = |id: &str| {
        let edges = edges(&merged);
        edges
            .into_iter()
            .find(|(edge, _, _)| edge == id)
            .unwrap_or_else(|| panic!("no {id} in {:#?}", self::edges(&merged)))
    };
    for (id, answered, verdict) in [
        ("web-03:shop/web -> db-01:shop/db:5432/tcp via host:5433", 7, Verdict::Unjudged),
        ("web-03:shop/cart -> db-01:shop/db:5432/tcp via host:5433", 5, Verdict::Unjudged),
        // Somebody else's calls stay outside's.
        ("external -> db-01:shop/db:5432/tcp via host:5433", 3, Verdict::Unjudged),
        ("web-03:shop/cart -> external:443/tcp", 2, Verdict::Unjudged),
        ("db-01:shop/web -> db-01:shop/db:5432/tcp", 2, Verdict::Unjudged),
        ("web-03:host -> web-03:shop/web:80/tcp", 1, Verdict::Unjudged),
        ("db-01:host -> db-01:shop/db:5432/tcp", 1, Verdict::Unjudged),
    ] {
        assert_eq!(of(id), (id.to_owned(), answered, verdict));
    }
    assert_eq!(edges(&merged).len(), 9);
    let graph = merged.graph(Group::Service);
    let documented = graph
        .edges
        .iter()
        .find(|edge| edge.source == "web-03:shop/web" && edge.port.port == Some(Port(5432)));
    assert_eq!(
        documented.map(|edge| edge.documented_by.as_str()),
        Some("image EXPOSE"),
        "the called host says so"
    );

    let crossings = merged.crossings(Group::Service);
    let seen = |crossing: &Crossing| {
        let there = crossing.at_called.expect("both saw it");
        (crossing.at_caller.connections.answered, there.connections.answered, crossing.shared_by)
    };
    assert_eq!(crossings.iter().map(seen).collect::<Vec<_>>(), [(7, 12, 1), (5, 12, 1)]);
    assert_eq!(merged.apart(), []);
    let ids: BTreeSet<&str> = graph.edges.iter().map(|edge| edge.id.as_str()).collect();
    assert!(crossings.iter().all(|crossing| ids.contains(crossing.edge.as_str())));
    assert_eq!(merged.seen_twice, Tally { frames: 12 * 9, bytes: 12 * 4_740 });
}

/// Builds a host that calls another's port 8080 at `called` once, by `own` addresses.
fn caller(host: &str, own: &[&str], called: &str) -> HostView {
    let web = workload("web-1", "shop/web", &[]);
    let call = talk(peer(&web, 2), outside(called), 8080, 1, 0);
    view(host, own, vec![web], vec![call], vec![])
}

/// Builds a host that publishes 8080 on `on`, and saw a call by each of `seen`.
fn server(host: &str, own: &[&str], on: &[&str], seen: &[&str]) -> HostView {
    let api = workload("api-1", "shop/api", &[80]);
    let calls = seen.iter().map(|from| came(from, &api, 80, 8080, 1)).collect();
    let bindings = on.iter().map(|on| published(on, 8080, &api, 80)).collect();
    view(host, own, vec![api], calls, bindings)
}

#[test]
fn what_cannot_be_told_stays_apart_and_says_why() {
    let gateway = "172.17.0.1";
    #[rustfmt::skip]
    let cases: [(&str, Vec<HostView>, usize, &[Reason]); 12] = [
        // what                            hosts                                                                                        crossings, reasons
        ("by a bound address",             vec![caller("a", &[WEB], DB), server("b", &[DB], &[DB], &[WEB])],                            1, &[]),
        ("by any address",                 vec![caller("a", &[WEB], DB), server("b", &[DB], &["0.0.0.0"], &[WEB])],                     1, &[]),
        ("without a sighting there",       vec![caller("a", &[WEB], DB), server("b", &[DB], &["0.0.0.0"], &[])],                        1, &[]),
        ("not masqueraded",                vec![caller("a", &[WEB], DB), server("b", &[DB], &["0.0.0.0"], &["172.20.0.2"])],            1, &[]),
        ("of two hosts",                   vec![caller("a", &[WEB], DB), server("b", &[DB], &["0.0.0.0"], &[]), server("c", &[DB], &["0.0.0.0"], &[])], 0, &[Reason::SeveralHosts]),
        ("of two that bound it",           vec![caller("a", &[WEB], DB), server("b", &[], &[DB], &[]), server("c", &[], &[DB], &[])],   0, &[Reason::SeveralHosts]),
        ("everywhere, wherever that is",   vec![caller("a", &[WEB], DB), server("b", &[], &["0.0.0.0"], &[WEB])],                       0, &[Reason::AddressesUnknown]),
        ("whoever calls",                  vec![caller("a", &[], DB), server("b", &[DB], &["0.0.0.0"], &[WEB])],                        0, &[Reason::CallerUnknown]),
        ("callers with one address",       vec![caller("a", &[WEB, "10.0.0.5"], DB), caller("c", &[WEB], "203.0.113.1"), server("b", &[DB], &["0.0.0.0"], &[WEB])], 0, &[Reason::CallerShared]),
        ("networks of both hosts",         vec![caller("a", &[WEB, gateway], gateway), server("b", &[DB, gateway], &["0.0.0.0"], &[])], 0, &[Reason::SeveralHosts]),
        ("nobody's address",               vec![caller("a", &[WEB], "10.9.9.9"), server("b", &[DB], &["0.0.0.0"], &[])],                0, &[]),
        ("on loopback alone",              vec![caller("a", &[WEB], DB), server("b", &[DB], &["127.0.0.1"], &[])],                      0, &[]),
    ];
    for (what, views, crossings, reasons) in cases {
        let before: Tally = views
            .iter()
            .map(|view| total(&Graph::draw(&view.assessment, Group::Service)))
            .fold(Tally::default(), |sum, it| sum + it);
        let merged = merged(views);
        assert_eq!(merged.crossings(Group::Service).len(), crossings, "{what}: {:?}", merged.apart());
        let told: Vec<Reason> = merged.apart().iter().map(|apart| apart.reason).collect();
        assert_eq!(told, reasons, "{what}");
        assert_eq!(total(&merged.graph(Group::Service)) + merged.seen_twice, before, "{what}");
    }
}

#[test]
fn what_stays_apart_is_told_in_a_sentence() {
    let views = [caller("a", &[WEB], DB), server("b", &[], &["0.0.0.0"], &[])];
    let said: Vec<String> = merged(views).apart().iter().map(Apart::to_string).collect();
    assert_eq!(
        said,
        [
            "a called 10.0.0.4 at 8080/tcp: b publishes that port on every address, and its picture does not say which it has"
        ]
    );
}

#[test]
fn a_port_that_changed_hands_meanwhile_is_nobodys() {
    let mut there = server("b", &[DB], &["0.0.0.0"], &[]);
    let other = workload("other-1", "shop/other", &[80]);
    let snapshot = &mut there.assessment.snapshot;
    snapshot.published.push(published("0.0.0.0", 8080, &other, 80));
    let told = merged([caller("a", &[WEB], DB), there.clone()]);
    assert_eq!(told.apart()[0].reason, Reason::SeveralContainers);
    assert_eq!(told.apart()[0].fitting, ["api-1", "id-of-other-1"]);

    // Long before, it is the one that held it then.
    there.assessment.snapshot.published[1].until = Some(Timestamp(START - 50 * SECOND));
    assert_eq!(merged([caller("a", &[WEB], DB), there]).crossings(Group::Service).len(), 1);
}

#[test]
fn a_call_of_none_of_a_hosts_containers_is_the_hosts() {
    let idle = view("a", &[WEB], vec![], vec![], vec![]);
    let merged = merged([idle, server("b", &[DB], &["0.0.0.0"], &[WEB])]);
    let graph = merged.graph(Group::Service);
    assert_eq!(graph.edges[0].id, "a:host -> b:shop/api:80/tcp via host:8080");
    let host = graph.nodes.iter().find(|node| node.id == "a:host").expect("a node");
    assert_eq!((host.kind, host.title.as_str()), (NodeKind::Host, "a:host"));
    assert_eq!(
        merged.assessment.judged[0].decided_by,
        "b: nothing says who may call; port: image EXPOSE; 10.0.0.3 is a, and none of its containers was seen to call"
    );
}

#[test]
fn a_forged_call_goes_over_to_nobody() {
    let mut forged = caller("a", &[WEB], DB);
    forged.assessment.judged[0].conversation.claim = Claim::Spoofed;
    let merged = merged([forged, server("b", &[DB], &["0.0.0.0"], &[])]);
    assert_eq!(merged.crossings(Group::Service), []);
}

#[test]
fn names_of_hosts_and_services_cannot_pass_for_each_other() {
    let of = |host: &str, container: &str, service: &str| {
        let one = workload(container, service, &[80]);
        let call = talk(Peer::Host { address: address(1) }, peer(&one, 2), 80, 1, 0);
        view(host, &[], vec![one], vec![call], vec![])
    };
    let hosts =
        [of("a", "b:c", "b:c"), of("a:b", "c", "c"), of("h", "host", "host"), of("network", "x", "host/x")];
    for group in Group::ALL {
        let graph = merged(hosts.clone()).graph(group);
        let kinds = |kind| graph.nodes.iter().filter(|node| node.kind == kind).count();
        assert_eq!((kinds(NodeKind::Host), kinds(NodeKind::Workload)), (4, 4), "{group:?} {:?}", graph.nodes);
    }
}

#[test]
fn one_host_has_one_picture() {
    let one = Fleet::of(web_03());
    assert_eq!(one.clone().join(one.clone()), Ok(one.clone()), "the same twice is once");
    let mut later = web_03();
    later.assessment.snapshot.at = Timestamp(START + 60 * SECOND);
    let error = one.join(Fleet::of(later)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "two different pictures of web-03, of 2026-11-20T13:58:41.000000000Z and of 2026-11-20T13:59:00.000000000Z: one \
         picture a host; leave one out, or, if they are two hosts, give them different names: a daemon is named after its \
         machine (hostnamectl set-hostname NAME), a capture after its file (rename it and replay it again)"
    );
}

#[test]
fn numbers_of_files_stop_at_the_top() {
    let high = |host: &str| {
        let mut view = caller(host, &[], DB);
        let assessment = &mut view.assessment;
        (assessment.findings_left_out, assessment.joins_left_out) = (u64::MAX, u64::MAX);
        let snapshot = &mut assessment.snapshot;
        (snapshot.kernel_dropped, snapshot.conversations_folded) = (Some(u64::MAX), u64::MAX);
        snapshot.withheld = Tally { frames: u64::MAX, bytes: u64::MAX };
        view
    };
    let both = merged([high("web-03"), high("db-01")]).assessment;
    assert_eq!([both.findings_left_out, both.joins_left_out], [u64::MAX; 2]);
    assert_eq!(
        (both.snapshot.kernel_dropped, both.snapshot.conversations_folded),
        (Some(u64::MAX), u64::MAX)
    );
    assert_eq!(both.snapshot.withheld, Tally { frames: u64::MAX, bytes: u64::MAX });
    let mut unknown = high("db-01");
    unknown.assessment.snapshot.kernel_dropped = None;
    let both = merged([high("web-03"), unknown]).assessment;
    assert_eq!(both.snapshot.kernel_dropped, None, "what one host does not know, all do not");
}

#[test]
fn a_merged_picture_is_as_complete_as_each_of_them() {
    let whole = merged([web_03(), db_01()]);
    assert_eq!(whole.assessment.snapshot.completeness, Completeness::Complete);
    let mut silent = db_01();
    silent.assessment.snapshot.completeness =
        Completeness::Unknown { reasons: vec!["a classic pcap".to_owned()] };
    assert_eq!(
        merged([web_03(), silent]).assessment.snapshot.completeness,
        Completeness::Unknown { reasons: vec!["db-01: a classic pcap".to_owned()] }
    );
}

/// `UPDATE_GOLDEN=1` rewrites them; read the difference.
#[test]
fn two_hosts_are_written_in_every_form_as_recorded() {
    let merged = merged([db_01(), web_03()]);
    let graph = merged.graph(Group::Service);
    let map = || merged.map(graph.clone(), Boxes::Project);
    for (name, text) in [
        ("graph.json", merged.to_json(&graph).expect("JSON")),
        ("graph.dot", graph.to_dot()),
        ("graph.mmd", graph.to_mermaid()),
        ("graph.graphml", graph.to_graphml()),
        ("map.svg", map().to_svg(0)),
        ("map.cyjs", map().to_cytoscape().expect("JSON")),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/merge").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("written");
        }
        let recorded = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(recorded == text, "{name} differs from {}; UPDATE_GOLDEN=1 rewrites it", path.display());
    }
}

fn total(graph: &Graph) -> Tally {
    graph.edges.iter().fold(Tally::default(), |sum, edge| sum + edge.sent + edge.received)
}

/// Addresses of hosts, of which some are two hosts', and of nobody.
const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "172.17.0.1"];

prop_compose! {
    fn any_view(host: &'static str)(
        addresses in prop::sample::subsequence(ADDRESSES.to_vec(), 0..=2),
        calls in prop::collection::vec((0..2_usize, 0..4_usize, 8080..8082_u16, 1..9_u64, any::<bool>()), 0..6),
        came_in in prop::collection::vec((0..4_usize, 0..2_usize, 1..9_u64), 0..5),
        bound in prop::collection::vec((0..5_usize, 8080..8082_u16, 0..2_usize), 0..3),
    ) -> HostView {
        let own = [workload("one-1", "shop/one", &[80]), workload("two-1", "shop/two", &[])];
        let out = calls.into_iter().map(|(from, to, port, count, is_answered)| {
            let (answered, refused) = if is_answered { (count, 0) } else { (0, count) };
            talk(peer(&own[from], 2), outside(ADDRESSES[to]), port, answered, refused)
        });
        let back = came_in.into_iter().map(|(from, to, count)| came(ADDRESSES[from], &own[to], 80, 8080, count));
        let conversations = out.chain(back).collect();
        let bound = bound.into_iter().map(|(on, port, owner)| {
            published(ADDRESSES.get(on).unwrap_or(&"0.0.0.0"), port, &own[owner], 80)
        });
        let bound = bound.collect();
        view(host, &addresses, own.to_vec(), conversations, bound)
    }
}

proptest! {
    #[test]
    fn the_order_of_hosts_and_their_grouping_is_nothing(
        (a, b, c) in (any_view("a"), any_view("b"), any_view("c")),
    ) {
        let [a, b, c] = [a, b, c].map(Fleet::of);
        let join = |one: &Fleet, other: &Fleet| one.clone().join(other.clone()).expect("different hosts");
        let all = join(&join(&a, &b), &c);
        let text = |fleet: &Fleet| {
            let merged = fleet.merge();
            Group::ALL.map(|group| merged.to_json(&merged.graph(group)).expect("JSON"))
        };
        for other in [join(&a, &join(&b, &c)), join(&join(&c, &b), &a), join(&join(&b, &a), &join(&c, &b)), join(&all, &all)] {
            prop_assert_eq!(text(&other), text(&all));
            prop_assert_eq!(&other, &all);
        }
    }

    #[test]
    fn every_byte_counts_once_and_every_end_is_a_node(
        views in (any_view("a"), any_view("b"), any_view("c")),
    ) {
        let views = [views.0, views.1, views.2];
        let before = views.iter().fold(Tally::default(), |sum, view| sum + total(&Graph::draw(&view.assessment, Group::Service)));
        let merged = merged(views);
        for group in Group::ALL {
            let graph = merged.graph(group);
            prop_assert_eq!(total(&graph) + merged.seen_twice, before);
            let nodes: BTreeSet<&str> = graph.nodes.iter().map(|node| node.id.as_str()).collect();
            prop_assert_eq!(nodes.len(), graph.nodes.len());
            prop_assert!(graph.edges.iter().all(|edge| nodes.contains(edge.source.as_str()) && nodes.contains(edge.target.as_str())));
            let ids: BTreeSet<&str> = graph.edges.iter().map(|edge| edge.id.as_str()).collect();
            prop_assert_eq!(ids.len(), graph.edges.len());
            for crossing in merged.crossings(group) {
                prop_assert!(ids.contains(crossing.edge.as_str()), "{}", crossing.edge);
            }
        }
    }
}

#[test]
fn in_a_picture_no_line_lies_upon_what_is_written() {
    let merged = merged([db_01(), web_03()]);
    let svg = merged.map(merged.graph(Group::Service), Boxes::Project).to_svg(0);
    // The legend below has lines and words of its own.
    let (map, _) = svg.split_once("</g>\n<path").expect("a legend");
    let (last_line, first_text) = (map.rfind("marker-end"), map.find("<text"));
    assert!(last_line.expect("lines") < first_text.expect("texts"), "{svg}");
}

#[test]
fn a_card_has_room_for_what_its_ports_say() {
    let merged = merged([db_01(), web_03()]);
    let map = merged.map(merged.graph(Group::Service), Boxes::Project);
    let db = map.nodes.iter().find(|node| node.id == "db-01:shop/db").expect("a card");
    let row = db.rows.iter().find(|row| row.word == "foreign database").expect("a row");
    assert_eq!(row.label, "5432/tcp via host:5433");
    assert!(db.width - 34 >= 7 * (row.label.len() + row.word.len()) as i64, "{}", db.width);
}
