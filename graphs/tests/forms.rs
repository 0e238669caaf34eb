//! The graph and its forms over a small shop, and over names that try to break out of them.
mod support;

use std::collections::BTreeSet;

use portolan_flowtable::conversation::Peer;
use portolan_flowtable::{Outcomes, Tally};
use portolan_graphs::{Boxes, Graph, Group, Map, NodeKind, OTHER, SCHEMA};
use portolan_policy::{Assessment, Contract, Verdict};
use support::{address, peer, shop, snapshot, talk, workload};

fn assessment() -> Assessment {
    Contract::parse(support::CONTRACT, "contract.toml").expect("a contract").assess(shop())
}

/// A service and a project of every name somebody might attack with.
fn hostile() -> Assessment {
    let names = [
        "a\"];evil[label=\"x",
        "back\\slash\\",
        "two\nlines\r\u{2028}more",
        "right\u{202e}left",
        "&#8238;&lt;script&gt;</title>",
        "`ticks` %% ## | ]] )) }}",
        "end",
        "<img src=x onerror=alert(1)>",
        "bell\u{7}null\u{0}escape\u{1b}[31m",
        "",
    ];
    let mut workloads = Vec::new();
    let mut conversations = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let last = u8::try_from(number).expect("a few") + 2;
        let one = workload(name, &format!("{name}/{name}"), &[80]);
        let long = workload(&name.repeat(300), &format!("{name}/{}", name.repeat(300)), &[80]);
        let mut call = talk(peer(&one, last), peer(&long, last + 100), 80, 1, 0);
        call.via = Some(format!("host:{name}"));
        conversations.push(call);
        workloads.extend([one, long]);
    }
    Contract::default().assess(snapshot(workloads, conversations))
}

fn total(graph: &Graph) -> Tally {
    graph.edges.iter().fold(Tally::default(), |sum, edge| sum + edge.sent + edge.received)
}

fn expected_total(assessment: &Assessment) -> Tally {
    let edges = assessment.judged.iter().filter(|judged| judged.verdict != Verdict::Backscatter);
    edges.fold(Tally::default(), |sum, judged| sum + judged.conversation.sent + judged.conversation.received)
}

#[test]
fn every_end_is_a_node_and_nothing_is_lost_at_any_grouping_and_limit() {
    for assessment in [assessment(), hostile()] {
        for group in Group::ALL {
            for edges_max in [0, 1, 3, 5_000] {
                let graph = Graph::draw_at_most(&assessment, group, edges_max);
                let nodes: BTreeSet<&str> = graph.nodes.iter().map(|node| node.id.as_str()).collect();
                assert_eq!(nodes.len(), graph.nodes.len(), "ids are unique");
                for edge in &graph.edges {
                    assert!(nodes.contains(edge.source.as_str()), "{group:?} {}", edge.source);
                    assert!(nodes.contains(edge.target.as_str()), "{group:?} {}", edge.target);
                }
                assert_eq!(total(&graph), expected_total(&assessment), "{group:?} at most {edges_max}");
                let ids: BTreeSet<&str> = graph.edges.iter().map(|edge| edge.id.as_str()).collect();
                assert_eq!(ids.len(), graph.edges.len(), "ids of edges are unique");
                let own = graph.edges.iter().filter(|edge| edge.source != OTHER).count();
                assert!(own <= edges_max);
                assert_eq!(graph.edges_folded > 0, nodes.contains(OTHER));
            }
        }
    }
}

#[test]
fn folding_keeps_what_has_a_finding() {
    let graph = Graph::draw_at_most(&assessment(), Group::Service, 3);
    let kept: BTreeSet<Verdict> =
        graph.edges.iter().filter(|edge| edge.source != OTHER).map(|edge| edge.verdict).collect();
    let grave = [Verdict::SpoofedSource, Verdict::UnexpectedPeer, Verdict::UndocumentedPort];
    assert_eq!(kept, BTreeSet::from(grave));
    assert_eq!(graph.edges_folded, 12);
}

#[test]
fn replicas_share_a_node_by_service_and_not_by_container() {
    let by_service = Graph::draw(&assessment(), Group::Service);
    let cart = by_service.nodes.iter().find(|node| node.id == "shop/cart").unwrap();
    assert_eq!(cart.containers, 2);
    assert_eq!(cart.title, "cart");
    let edge = by_service.edges.iter().find(|edge| edge.id == "shop/web -> shop/cart:8080/tcp").unwrap();
    assert_eq!(edge.connections.answered, 112);
    assert_eq!(edge.rtt_p50, Some(110_000));
    let by_container = Graph::draw(&assessment(), Group::Container);
    let to_cart =
        by_container.edges.iter().filter(|edge| edge.target.starts_with("cart-") && edge.source == "web-1");
    assert_eq!(to_cart.count(), 3);
}

#[test]
fn a_forged_conversation_is_drawn_from_its_true_sender_and_backscatter_not_at_all() {
    let graph = Graph::draw(&assessment(), Group::Service);
    let forged: Vec<&str> = graph
        .edges
        .iter()
        .filter(|edge| edge.verdict == Verdict::SpoofedSource)
        .map(|edge| edge.source.as_str())
        .collect();
    assert_eq!(forged, ["shop/reports"]);
    assert!(!graph.edges.iter().any(|edge| edge.source == "shop/db"), "the victim opened nothing");
}

#[test]
fn a_documented_service_without_traffic_is_a_node_with_its_idle_ports() {
    let graph = Graph::draw(&assessment(), Group::Service);
    let mail = graph.nodes.iter().find(|node| node.id == "shop/mail").unwrap();
    assert!(mail.is_silent());
    assert_eq!(mail.idle_ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["25/tcp"]);
    let external: Vec<_> = graph.nodes.iter().filter(|node| node.kind == NodeKind::External).collect();
    assert_eq!(external.len(), 1, "the outside is one node");
}

#[test]
fn a_container_called_host_is_not_the_host() {
    let trickster = workload("host", "host", &[]);
    let victim = workload("db", "db", &[5432]);
    let calls = vec![
        talk(peer(&trickster, 3), peer(&victim, 4), 5432, 1, 0),
        talk(Peer::Host { address: address(1) }, peer(&victim, 4), 5432, 1, 0),
    ];
    let assessment = Contract::default().assess(snapshot(vec![trickster, victim], calls));
    for group in [Group::Service, Group::Container, Group::Project] {
        let graph = Graph::draw(&assessment, group);
        let ids: Vec<&str> = graph.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["db", "host", "workload:host"], "{group:?}");
    }
}

#[test]
fn the_order_of_conversations_does_not_matter() {
    let forward = assessment();
    let mut backward = forward.clone();
    backward.judged.reverse();
    for group in Group::ALL {
        assert_eq!(Graph::draw(&forward, group), Graph::draw(&backward, group));
    }
}

/// Splits DOT into statements, reading quoted strings as Graphviz does.
///
/// Returns node ids, edges and how deep braces went; panics where the text is not what the writer may write.
fn read_dot(text: &str) -> (BTreeSet<String>, Vec<(String, String)>, usize) {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '"' => {
                let mut string = String::from("\"");
                loop {
                    match rest.next().expect("a string ends") {
                        '\\' => {
                            let escaped = rest.next().expect("an escape has a second character");
                            assert!("\\\"n".contains(escaped), "escape \\{escaped}");
                            string.extend(['\\', escaped]);
                        }
                        '"' => break,
                        inside => {
                            assert!(!inside.is_control(), "control character in a string");
                            assert!(!('\u{202a}'..='\u{202e}').contains(&inside), "direction override");
                            string.push(inside);
                        }
                    }
                }
                for (at, _) in string.match_indices('&') {
                    assert!(string[at..].starts_with("&amp;"), "character reference in {string}");
                }
                tokens.push(string);
            }
            '{' | '}' | '[' | ']' | ';' | ',' | '=' => tokens.push(character.to_string()),
            blank if blank.is_whitespace() => {}
            letter => {
                let mut word = letter.to_string();
                while let Some(next) =
                    rest.next_if(|next| !next.is_whitespace() && !"\"{}[];,=".contains(*next))
                {
                    word.push(next);
                }
                tokens.push(word);
            }
        }
    }
    let (mut depth, mut deepest, mut in_attributes) = (0_usize, 0, false);
    let (mut nodes, mut edges) = (BTreeSet::new(), Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.checked_sub(1).expect("braces match"),
            "[" => in_attributes = true,
            "]" => in_attributes = false,
            "->" => edges.push((tokens[at - 1].clone(), tokens[at + 1].clone())),
            string if string.starts_with('"') && !in_attributes => {
                let is_statement = tokens.get(at + 1).is_some_and(|next| next == "[");
                if is_statement && tokens[at - 1] != "->" {
                    assert!(nodes.insert(string.to_owned()), "node {string} twice");
                }
            }
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    assert_eq!(depth, 0, "braces match");
    (nodes, edges, deepest)
}

#[test]
fn dot_holds_every_node_and_every_edge_between_declared_nodes_whatever_their_names() {
    for assessment in [assessment(), hostile()] {
        for group in Group::ALL {
            let graph = Graph::draw(&assessment, group);
            let (nodes, edges, deepest) = read_dot(&graph.to_dot());
            assert_eq!(nodes.len(), graph.nodes.len(), "{group:?}");
            assert!(edges.iter().all(|(source, target)| nodes.contains(source) && nodes.contains(target)));
            let pairs: BTreeSet<_> = graph.edges.iter().map(|edge| (&edge.source, &edge.target)).collect();
            assert_eq!(edges.iter().collect::<BTreeSet<_>>().len(), pairs.len(), "{group:?}");
            assert!(deepest <= 2);
        }
    }
}

#[test]
fn dot_shows_each_verdict_by_colour_line_and_word() {
    let dot = Graph::draw(&assessment(), Group::Service).to_dot();
    let line = |words: &str| {
        let found = dot.lines().find(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("no line has {words:?}")).trim().to_owned()
    };
    let fault = r##"color="#c00000", fontcolor="#c00000", penwidth=2.6"##;
    assert_eq!(
        line("unexpected peer"),
        format!(r##""shop/reports" -> "shop/db" [label="unexpected peer\n5432/tcp\n3×, 14 KiB", {fault}];"##)
    );
    assert!(line("undocumented port").contains(fault));
    assert!(line("spoofed source").contains(fault));
    assert_eq!(dot.matches(r#""shop/web" -> "shop/cart""#).count(), 2, "looks are not mixed");
    assert!(line("refused").contains(r#"arrowhead="teetee""#));
    assert!(line("blocked").contains("#999999"));
    assert!(line("host or docker-proxy").contains("dotted"));
    assert_eq!(
        line("\"shop/cart\" -> \"shop/db\""),
        r#""shop/cart" -> "shop/db" [label="5432/tcp\n57×, 264 KiB"];"#
    );
    assert!(line("idle: 25/tcp").contains("dotted"));
    assert!(line("2026-11-20").contains("complete"));
}

#[test]
fn ports_of_one_look_between_two_nodes_are_one_line_that_spells_out_the_first() {
    let (client, server) = (workload("a", "p/a", &[]), workload("b", "p/b", &[1]));
    let calls = (0..20).map(|port| talk(peer(&client, 2), peer(&server, 3), 9_000 + port, 1, 0)).collect();
    let assessment = Contract::default().assess(snapshot(vec![client, server], calls));
    let graph = Graph::draw(&assessment, Group::Service);
    assert_eq!(graph.edges.len(), 20);
    let dot = graph.to_dot();
    assert_eq!(read_dot(&dot).1.len(), 1);
    assert!(dot.contains(r"undocumented port\n9000/tcp  1×, 4.6 KiB\n9001/tcp"), "{dot}");
    assert!(dot.contains(r"\nand 14 more"), "{dot}");
}

#[test]
fn two_names_that_look_the_same_stay_two_nodes() {
    let names = ["a\u{202e}b", "a<U+202E>b", " 0", " 1", "\u{202e}0"];
    let workloads: Vec<_> = names.iter().map(|name| workload(name, name, &[80])).collect();
    let graph = Graph::draw(&Contract::default().assess(snapshot(workloads, vec![])), Group::Service);
    assert_eq!(graph.nodes.len(), names.len());
    assert_eq!(read_dot(&graph.to_dot()).0.len(), names.len());
}

#[test]
fn what_a_project_says_to_itself_is_one_line() {
    let graph = Graph::draw(&assessment(), Group::Project);
    let dot = graph.to_dot();
    let loops: Vec<&str> = dot.lines().filter(|line| line.contains("\"shop\" -> \"shop\"")).collect();
    assert_eq!(loops.len(), 1);
    assert!(loops[0].contains(r"5432/tcp  60×, 278 KiB  unexpected peer\n9229/tcp"), "{}", loops[0]);
    assert!(loops[0].contains("penwidth"), "the gravest look wins: {}", loops[0]);
}

#[test]
fn an_edge_names_its_network_only_where_it_lies_in_one() {
    let (client, server) = (workload("a", "p/a", &[]), workload("b", "p/b", &[80]));
    let through = |network: &str| {
        let mut call = talk(peer(&client, 2), peer(&server, 3), 80, 1, 0);
        network.clone_into(&mut call.network);
        call
    };
    let network_of = |calls| {
        let assessment = Contract::default().assess(snapshot(vec![], calls));
        Graph::draw(&assessment, Group::Service).edges[0].network.clone()
    };
    assert_eq!(network_of(vec![through("one"), through("one")]), "one");
    assert_eq!(network_of(vec![through("one"), through("two"), through("one")]), "");
}

#[test]
fn mermaid_holds_nothing_but_its_own_syntax_and_entity_codes() {
    for assessment in [assessment(), hostile()] {
        for group in Group::ALL {
            let graph = Graph::draw(&assessment, group);
            let text = graph.to_mermaid();
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("flowchart LR"));
            let (mut nodes, mut links, mut open) = (0, 0, 0_usize);
            for line in lines.map(str::trim) {
                let (label_free, labels) = without_labels(line);
                for label in labels {
                    let is_safe = |c: char| c.is_alphanumeric() || " -_./:,×#;<>…+".contains(c);
                    assert!(label.replace("<br/>", "").chars().all(is_safe), "{label}");
                    assert!(!label.replace("<br/>", "").contains(['<', '>']), "{label}");
                }
                if line.starts_with("subgraph ") {
                    open += 1;
                } else if line == "end" {
                    open = open.checked_sub(1).expect("end closes a subgraph");
                } else if label_free.contains("|") {
                    links += 1;
                } else if label_free.starts_with('n') {
                    nodes += 1;
                } else {
                    let known = ["%% ", "linkStyle ", "classDef ", "class n"];
                    assert!(known.iter().any(|start| line.starts_with(start)), "{line}");
                }
            }
            assert_eq!((open, nodes), (0, graph.nodes.len()), "{group:?}");
            assert!(links > 0);
        }
    }
}

/// Returns a line without what stands between quotes, and that.
fn without_labels(line: &str) -> (String, Vec<String>) {
    let parts: Vec<&str> = line.split('"').collect();
    assert_eq!(parts.len() % 2, 1, "quotes match in {line}");
    let outside = parts.iter().step_by(2).copied().collect();
    (outside, parts.iter().skip(1).step_by(2).map(|label| (*label).to_owned()).collect())
}

#[test]
fn mermaid_styles_the_links_it_means() {
    let text = Graph::draw(&assessment(), Group::Service).to_mermaid();
    let links: Vec<&str> = text.lines().filter(|line| line.contains('|')).collect();
    let style = text.lines().find(|line| line.contains("stroke:#c00000")).unwrap().trim();
    let numbers = style.split(' ').nth(1).unwrap();
    let styled: Vec<&str> =
        numbers.split(',').map(|number| links[number.parse::<usize>().unwrap()]).collect();
    assert_eq!(styled.len(), 3);
    assert!(styled.iter().all(|link| link.contains("==>")), "{styled:?}");
}

#[test]
fn json_carries_schema_and_stable_names_and_is_read_back() {
    for assessment in [assessment(), hostile()] {
        let graph = Graph::draw(&assessment, Group::Service);
        let text = graph.to_json().unwrap();
        assert!(!text.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["schema"], SCHEMA);
        assert_eq!(value["group"], "service");
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            keys(&value["nodes"][0]),
            [
                "containers",
                "id",
                "idle_ports",
                "is_undeclared",
                "kind",
                "networks",
                "project",
                "received_bytes",
                "sent_bytes",
                "title"
            ]
        );
        assert_eq!(
            keys(&value["edges"][0]),
            [
                "connections",
                "documented_by",
                "findings",
                "first_at",
                "id",
                "is_guess",
                "is_proxy_leg",
                "last_at",
                "network",
                "port",
                "received",
                "rtt_p50",
                "sent",
                "severity",
                "source",
                "target",
                "verdict",
                "via"
            ]
        );
        assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph);
    }
}

#[test]
fn every_edge_of_the_map_ends_at_a_row_and_nothing_is_lost() {
    for assessment in [assessment(), hostile()] {
        for group in [Group::Service, Group::Container] {
            for boxes in [Boxes::Project, Boxes::Network] {
                let graph = Graph::draw(&assessment, group);
                let map = Map::draw(&assessment, group, boxes);
                assert_eq!(map, Map::draw(&assessment, group, boxes), "two drawings are the same");
                let drawn: BTreeSet<&str> = map.edges.iter().map(|edge| edge.edge.id.as_str()).collect();
                assert_eq!(drawn, graph.edges.iter().map(|edge| edge.id.as_str()).collect());
                let shown: BTreeSet<&str> = map.nodes.iter().map(|node| node.id.as_str()).collect();
                assert_eq!(shown, graph.nodes.iter().map(|node| node.id.as_str()).collect());
                for edge in &map.edges {
                    let (from, to) = (&map.nodes[edge.from_node], &map.nodes[edge.to_node]);
                    assert_eq!((&from.id, &to.id), (&edge.edge.source, &edge.edge.target));
                    assert!(edge.row < to.rows.len(), "{} has row {}", to.id, edge.row);
                    let row = &to.rows[edge.row];
                    assert!(row.look == edge.look || row.look == "more", "{row:?} {}", edge.look);
                    let of_group = edge.group_row.map(|row| map.groups[to.group].rows[row].look);
                    assert_eq!(of_group.is_some(), from.group != to.group);
                }
                for node in &map.nodes {
                    let group = &map.groups[node.group];
                    assert!(node.x >= 0 && node.x + node.width <= group.width, "{node:?} {group:?}");
                    assert!(node.y >= 0 && node.y + node.height <= group.height, "{node:?} {group:?}");
                }
            }
        }
    }
}

#[test]
fn outside_stands_left_where_it_calls_and_right_where_it_is_called() {
    let web = workload("web-1", "shop/web", &[80]);
    let outside =
        || Peer::External { address: "203.0.113.9".parse().expect("an address"), names: Default::default() };
    let talks = vec![talk(outside(), peer(&web, 2), 80, 1, 0), talk(peer(&web, 2), outside(), 443, 1, 0)];
    let map =
        Map::draw(&Contract::default().assess(snapshot(vec![web], talks)), Group::Service, Boxes::Project);
    let column = |id: &str| map.groups.iter().find(|group| group.id == id).map(|group| group.column);
    assert_eq!(
        (column("external>"), column("project:shop"), column(">external")),
        (Some(0), Some(1), Some(2))
    );
    let web = workload("web-1", "shop/web", &[80]);
    let talks = vec![talk(peer(&web, 2), outside(), 443, 1, 0)];
    let map =
        Map::draw(&Contract::default().assess(snapshot(vec![web], talks)), Group::Service, Boxes::Project);
    let ids: Vec<&str> = map.groups.iter().map(|group| group.id.as_str()).collect();
    assert!(
        ids.contains(&">external") && !ids.contains(&"external>"),
        "who calls nobody does not stand left: {ids:?}"
    );
}

#[test]
fn the_picture_and_graphml_are_well_formed_and_hold_no_name_as_markup() {
    for assessment in [assessment(), hostile()] {
        let graph = Graph::draw(&assessment, Group::Service);
        let map = Map::draw(&assessment, Group::Service, Boxes::Project);
        for text in [graph.to_graphml(), map.to_svg(0)] {
            let mut open: Vec<&str> = Vec::new();
            for tag in text.split('<').skip(1) {
                let tag = tag.split('>').next().unwrap_or_default();
                let name = tag.split([' ', '/', '\n']).next().unwrap_or_default();
                if let Some(closed) = tag.strip_prefix('/') {
                    assert_eq!(open.pop(), Some(closed));
                } else if !tag.ends_with('/') && !tag.starts_with('?') {
                    open.push(name);
                }
                assert!(!["img", "script", "a", "image", "foreignObject"].contains(&name), "{tag}");
                assert!(!tag.contains("onerror=") && !tag.contains(" href="), "{tag}");
            }
            assert_eq!(open, Vec::<&str>::new());
            assert!(!text.contains('\u{202e}') && !text.contains('\0'));
        }
    }
}

#[test]
fn the_picture_shows_each_look_by_colour_line_and_word_with_a_legend() {
    let map = Map::draw(&assessment(), Group::Service, Boxes::Project);
    let svg = map.to_svg(0);
    for look in map.edges.iter().map(|edge| edge.look).collect::<BTreeSet<_>>() {
        assert!(svg.contains(&format!("class=\"{look}\"")), "{look}");
    }
    for words in
        ["undocumented, unexpected", "refused, blocked, unanswered", "new", "expected", "direction guessed"]
    {
        assert!(svg.contains(words), "{words}");
    }
    assert!(svg.contains(">▲ ") && svg.contains("complete"), "a sign beside the word, and the completeness");
}

#[test]
fn cytoscape_has_every_node_with_its_place_and_every_edge_with_both_ends() {
    let map = Map::draw(&hostile(), Group::Service, Boxes::Project);
    let json: serde_json::Value = serde_json::from_str(&map.to_cytoscape().expect("JSON")).expect("JSON");
    let nodes = json["elements"]["nodes"].as_array().expect("nodes");
    let ids: BTreeSet<&str> = nodes.iter().filter_map(|node| node["data"]["id"].as_str()).collect();
    assert_eq!(ids.len(), nodes.len());
    for node in nodes.iter().filter(|node| node["classes"] != "box") {
        assert!(node["position"]["x"].is_i64(), "{node}");
        let parent = &node["data"]["parent"];
        assert!(parent.is_null() || ids.contains(parent.as_str().expect("a parent")), "{node}");
    }
    let edges = json["elements"]["edges"].as_array().expect("edges");
    assert_eq!(edges.len(), map.edges.len());
    for edge in edges {
        assert!(ids.contains(edge["data"]["source"].as_str().expect("a source")), "{edge}");
        assert!(ids.contains(edge["data"]["target"].as_str().expect("a target")), "{edge}");
    }
}

#[test]
fn a_difference_names_what_came_what_went_and_what_is_judged_otherwise() {
    let (before, after) = (assessment(), assessment());
    let (was, mut is) = (Graph::draw(&before, Group::Service), Graph::draw(&after, Group::Service));
    assert!(was.difference(&is).is_empty(), "the same graph");
    for edge in &mut is.edges {
        edge.sent.bytes += 1_000;
    }
    assert!(was.difference(&is).is_empty(), "figures only grow");
    let gone = is.edges.remove(0);
    let place = is.edges.iter().position(|edge| edge.verdict == Verdict::Documented).expect("one");
    is.edges[place].verdict = Verdict::NewEdge;
    let difference = was.difference(&is);
    assert_eq!(difference.removed, [was.edges[0].clone()]);
    assert_eq!((difference.added.len(), difference.changed.len()), (0, 1));
    assert_eq!(
        (difference.changed[0].was, difference.changed[0].is),
        (Verdict::Documented, Verdict::NewEdge)
    );
    assert_eq!(difference.unchanged, is.edges.len() - 1);
    let text = difference.to_text();
    assert!(text.contains(&format!("- {}", gone.id)), "{text}");
    assert!(text.contains("documented, then new edge"), "{text}");
    assert!(text.contains("0 added, 1 removed, 1 changed"), "{text}");
    is.edges[place].verdict = Verdict::Allowed;
    assert_eq!(was.difference(&is).changed.len(), 1, "another verdict that looks the same");
    let place = was.edges.iter().position(|edge| edge.verdict == Verdict::Documented).expect("one");
    let (mut blocked, mut unexpected) = (was.clone(), was.clone());
    for graph in [&mut blocked, &mut unexpected] {
        graph.edges[place].connections = Outcomes { blocked: 3, ..Outcomes::default() };
    }
    unexpected.edges[place].verdict = Verdict::UnexpectedPeer;
    let id = &was.edges[place].id;
    #[rustfmt::skip]
    let cases = [
        // earlier     later         says
        (&blocked,     &unexpected,  "documented, then unexpected peer\n"),
        (&was,         &blocked,     "blocked since\n"),
        (&unexpected,  &was,         "unexpected peer, then documented; blocked no more\n"),
    ];
    for (earlier, later, says) in cases {
        let text = earlier.difference(later).to_text();
        assert!(text.contains(&format!("~ {id}   {says}")), "{says}{text}");
    }
    let back = is.difference(&was);
    assert_eq!((back.added.len(), back.removed.len()), (1, 0), "the other way round");
}

#[test]
fn the_legend_of_a_narrow_picture_lies_within_it_and_what_is_unseen_is_said() {
    let number = |text: &str, name: &str| -> i64 {
        let value = text.split_once(&format!("{name}=\"")).expect("a place").1;
        value.split('"').next().and_then(|it| it.parse().ok()).expect("a number")
    };
    let assessment = assessment();
    let mut graph = Graph::draw(&assessment, Group::Service);
    graph.edges.truncate(1);
    let Graph { edges, nodes, .. } = &mut graph;
    nodes.retain(|node| edges.iter().any(|edge| edge.source == node.id || edge.target == node.id));
    let map = Map::of(graph, &assessment, Boxes::Project);
    let svg = map.to_svg(0);
    let (width, height) = (number(&svg, " width"), number(&svg, " height"));
    let foot = svg.split_once("</g>\n<path").expect("a legend").1;
    let words: Vec<&str> = foot.split("<text class=\"n\" ").skip(1).collect();
    assert_eq!(words.len(), 7, "six looks and the caption");
    for said in words {
        let shown = said.split_once('>').and_then(|(_, rest)| rest.split_once('<')).expect("words").0;
        // Letters of 11 pixels are 6 wide.
        let right = number(said, "x") + 6 * shown.chars().count() as i64;
        assert!(right <= width && number(said, "y") < height, "{shown}: {right} of {width}");
    }
    assert!(!svg.contains("unseen") && map.to_svg(1).contains(", 1 container unseen"));
    assert!(map.to_svg(2).contains(", 2 containers unseen"));
}

#[test]
fn no_card_of_the_picture_lies_upon_another() {
    for assessment in [assessment(), hostile()] {
        for (group, boxes) in [(Group::Service, Boxes::Project), (Group::Container, Boxes::Network)] {
            let svg = Map::draw(&assessment, group, boxes).to_svg(0);
            let cards: Vec<[i64; 4]> = svg
                .split("class=\"card\" ")
                .skip(1)
                .map(|rest| {
                    ["x", "y", "width", "height"].map(|name| {
                        let value = rest.split_once(&format!("{name}=\"")).expect("a place").1;
                        value.split('"').next().and_then(|it| it.parse().ok()).expect("a number")
                    })
                })
                .collect();
            assert!(cards.len() > 3);
            for (number, [x, y, width, height]) in cards.iter().enumerate() {
                for [x2, y2, width2, height2] in &cards[number + 1..] {
                    let is_apart =
                        x + width <= *x2 || x2 + width2 <= *x || y + height <= *y2 || y2 + height2 <= *y;
                    assert!(is_apart, "{x},{y} and {x2},{y2}");
                }
            }
        }
    }
}
