//! The graph as Grafana's node graph takes it.

use std::collections::BTreeSet;

use portolan_exporter::frames::grafana;
use portolan_flowtable::Timestamp;
use portolan_graphs::{Graph, Group};
use portolan_policy::Verdict;
use serde_json::Value;

use crate::fixture::{HOSTILE, external, judged, publication, service};

fn frames(conversations: Vec<portolan_policy::Judged>) -> Value {
    let graph = Graph::draw(&publication(2, conversations).assessment, Group::Service);
    serde_json::from_str(&grafana(&graph).unwrap()).unwrap()
}

#[test]
fn every_end_of_an_edge_is_a_node_whatever_its_name() {
    let mut conversations = vec![judged(external(), service("shop", "web"), 80, 4_096)];
    for name in HOSTILE {
        conversations.push(judged(service(name, name), service(name, "cart"), 8080, 1_000));
    }
    let frames = frames(conversations);
    let ids: BTreeSet<&str> =
        frames["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    let edges = frames["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 1 + HOSTILE.len());
    for edge in edges {
        for end in ["source", "target"] {
            assert!(ids.contains(edge[end].as_str().unwrap()), "{edge}");
        }
    }
}

#[test]
fn verdicts_differ_in_colour_and_word() {
    let mut fault = judged(service("shop", "web"), service("shop", "cart"), 9229, 2_000_000);
    fault.verdict = Verdict::UndocumentedPort;
    let mut new = judged(service("shop", "web"), service("shop", "db"), 5432, 100);
    new.verdict = Verdict::NewEdge;
    let mut failed = judged(service("shop", "batch"), service("shop", "cache"), 6379, 100);
    failed.conversation.connections.answered = 0;
    failed.conversation.connections.refused = 6;
    let plain = judged(service("shop", "web"), service("shop", "cart"), 8080, 100);
    let frames = frames(vec![fault, new, failed, plain]);
    let mut rows: Vec<_> = frames["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| {
            [&edge["secondarystat"], &edge["color"], &edge["strokedasharray"], &edge["thickness"]]
                .map(|value| value.to_string().replace('"', ""))
                .join(" | ")
        })
        .collect();
    rows.sort();
    assert_eq!(
        rows,
        [
            "5432/tcp new edge | #1f60c4 | 10 4 | 1",
            "6379/tcp unjudged | #8e8e8e | 3 3 | 1",
            "8080/tcp unjudged | #7b93a8 |  | 1",
            "9229/tcp undocumented port | #c4162a |  | 4",
        ]
    );
    for node in frames["nodes"].as_array().unwrap() {
        let arcs = node["arc__fault"].as_f64().unwrap() + node["arc__plain"].as_f64().unwrap();
        assert!((arcs - 1.0).abs() < 1e-9, "{node}");
    }
    let cart = frames["nodes"].as_array().unwrap().iter().find(|node| node["id"] == "shop/cart").unwrap();
    assert_eq!(
        (&cart["arc__fault"], &cart["title"], &cart["subtitle"]),
        (&0.5.into(), &"cart".into(), &"shop".into())
    );
    let first = frames["edges"][0]["detail__first_seen"].as_str().unwrap();
    assert!(first.parse::<Timestamp>().is_ok(), "{first}");
}
