//! Graphs as DOT, Mermaid and JSON, read by readers of their own.

use std::collections::{BTreeMap, BTreeSet};

use portolan_exporter::Publication;
use portolan_graphs::{Graph, Group};

use super::named;
use super::text::{as_drawn, is_fit_for_a_terminal};

/// A graph of any names is drawn with these names and no others, in every form and grouping.
pub fn graph_outputs(bytes: &[u8]) {
    // One limit for each input: drawing takes most of the time.
    drawn_alike(&named::of_bytes(bytes), LIMITS[bytes.len() % LIMITS.len()]);
}

/// Most edges drawn.
const LIMITS: [usize; 3] = [0, 2, usize::MAX];

/// Panics unless nodes and edges come back out of every drawing of a publication.
pub fn names_survive(publication: &Publication) {
    for edges_max in LIMITS {
        drawn_alike(publication, edges_max);
    }
}

fn drawn_alike(publication: &Publication, edges_max: usize) {
    for group in Group::ALL {
        let graph = Graph::draw_at_most(&publication.assessment, group, edges_max);
        let json = graph.to_json().expect("a graph is no map of other keys");
        is_json_of(&graph, &json);
        is_dot_of(&graph, &graph.to_dot());
        is_mermaid_of(&graph, &graph.to_mermaid());
    }
}

/// Panics unless this JSON is that graph.
pub fn is_json_of(graph: &Graph, text: &str) {
    assert_eq!(&serde_json::from_str::<Graph>(text).expect("a graph"), graph);
}

/// What a drawing holds, in our words: labels of nodes, pairs of labels that an arrow joins, labels of clusters.
#[derive(Debug, Default, Eq, PartialEq)]
struct Drawn {
    nodes: Vec<String>,
    pairs: BTreeSet<(String, String)>,
    clusters: BTreeSet<String>,
}

impl Drawn {
    fn of(graph: &Graph) -> Self {
        let titles: BTreeMap<&str, String> =
            graph.nodes.iter().map(|node| (node.id.as_str(), as_drawn(&node.title))).collect();
        let ends = |id: &str| titles.get(id).cloned().unwrap_or_else(|| panic!("{id:?} is no node"));
        let projects = graph.nodes.iter().map(|node| node.project.as_str());
        let mut nodes: Vec<String> = titles.values().cloned().collect();
        nodes.sort();
        Self {
            nodes,
            pairs: graph.edges.iter().map(|edge| (ends(&edge.source), ends(&edge.target))).collect(),
            clusters: projects.filter(|project| !project.is_empty()).map(as_drawn).collect(),
        }
    }
}

/// Panics unless this DOT draws that graph.
pub fn is_dot_of(graph: &Graph, text: &str) {
    is_fit_for_a_terminal(text, false);
    let mut drawn = Drawn::default();
    let mut titles: BTreeMap<String, String> = BTreeMap::new();
    let mut arrows = Vec::new();
    let mut is_in_cluster = false;
    for line in text.lines().skip(1) {
        let tokens = tokens(line);
        match tokens.as_slice() {
            [
                Token::Text(id),
                Token::Mark('['),
                Token::Word("label"),
                Token::Mark('='),
                Token::Text(label),
                ..,
            ] => {
                let title = lines_of(label).remove(0);
                assert!(titles.insert(id.clone(), title).is_none(), "two nodes {id:?}");
            }
            [Token::Text(from), Token::Word("->"), Token::Text(to), Token::Mark('['), ..] => {
                arrows.push((from.clone(), to.clone()));
            }
            [Token::Word("subgraph"), Token::Word(_), Token::Mark('{')] => is_in_cluster = true,
            [Token::Word("label"), Token::Mark('='), Token::Text(label), Token::Mark(';')]
                if is_in_cluster =>
            {
                drawn.clusters.insert(lines_of(label).join("\n"));
            }
            [Token::Mark('}')] => is_in_cluster = false,
            [
                Token::Mark('{'),
                Token::Word("rank"),
                Token::Mark('='),
                Token::Word("source"),
                Token::Mark(';'),
                Token::Text(_),
                Token::Mark(';'),
                Token::Mark('}'),
            ] => {}
            [Token::Word("graph" | "node" | "edge" | "style" | "label"), ..] | [] => {}
            other => panic!("{other:?} in {line}"),
        }
    }
    drawn.nodes = titles.values().cloned().collect();
    drawn.nodes.sort();
    drawn.pairs = arrows.into_iter().map(|(from, to)| (titles[&from].clone(), titles[&to].clone())).collect();
    assert_eq!(drawn, Drawn::of(graph), "{text}");
}

#[derive(Debug)]
enum Token<'a> {
    Word(&'a str),
    Text(String),
    Mark(char),
}

/// Words, quoted texts and marks of one line of DOT. Of its escapes only `\"` is undone, as the language has it.
fn tokens(line: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '"' => {
                let mut text = String::new();
                let mut end = 1;
                loop {
                    match rest[end..].chars().next().unwrap_or_else(|| panic!("an open quote: {line}")) {
                        '"' => break,
                        '\\' if rest[end + 1..].starts_with('"') => {
                            text.push('"');
                            end += 2;
                        }
                        '\\' => {
                            let next = rest[end + 1..].chars().next().expect("a letter behind the backslash");
                            text.extend(['\\', next]);
                            end += 1 + next.len_utf8();
                        }
                        plain => {
                            text.push(plain);
                            end += plain.len_utf8();
                        }
                    }
                }
                (Token::Text(text), end + 1)
            }
            '{' | '}' | '[' | ']' | '=' | ';' | ',' => (Token::Mark(first), 1),
            ' ' => {
                rest = rest.trim_start();
                continue;
            }
            _ => {
                let end = rest.find(['"', '{', '}', '[', ']', '=', ';', ',', ' ']).unwrap_or(rest.len());
                (Token::Word(&rest[..end]), end)
            }
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    tokens
}

/// The lines of a label: `\n` ends one, `\\` is a backslash, character references are read.
fn lines_of(label: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut letters = label.chars();
    while let Some(letter) = letters.next() {
        let last = lines.last_mut().expect("a line");
        match letter {
            '\\' => match letters.next() {
                Some('n') => lines.push(String::new()),
                Some('\\') => last.push('\\'),
                other => panic!("an escape nobody wrote, {other:?}: {label}"),
            },
            '&' => {
                let reference: String = letters.by_ref().take_while(|letter| *letter != ';').collect();
                assert_eq!(reference, "amp", "{label}");
                last.push('&');
            }
            plain => last.push(plain),
        }
    }
    lines
}

/// Panics unless this Mermaid draws that graph.
pub fn is_mermaid_of(graph: &Graph, text: &str) {
    is_fit_for_a_terminal(text, false);
    let mut drawn = Drawn::default();
    let mut titles: BTreeMap<&str, String> = BTreeMap::new();
    let mut arrows = Vec::new();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("flowchart LR"));
    for line in lines {
        let line = line.trim();
        if line.starts_with("%%") {
            continue;
        }
        let (head, label, tail) = match line.split_once('"') {
            Some((head, rest)) => {
                let (label, tail) = rest.split_once('"').unwrap_or_else(|| panic!("an open quote: {line}"));
                (head, plain(label), tail)
            }
            None => (line, String::new(), ""),
        };
        assert!(!tail.contains('"'), "{line}");
        match head.split(['[', '(', '{', ' ']).next().unwrap_or_default() {
            "classDef" | "class" | "linkStyle" | "end" => assert!(tail.is_empty(), "{line}"),
            "subgraph" => {
                drawn.clusters.insert(label);
            }
            node if is_number(node) && head.contains('|') => {
                let to = tail.strip_prefix("| ").unwrap_or_else(|| panic!("no end: {line}"));
                arrows.push((node, to));
            }
            node if is_number(node) => {
                assert!(titles.insert(node, label).is_none(), "{line}");
            }
            other => panic!("{other:?} in {line}"),
        }
    }
    drawn.nodes = titles.values().cloned().collect();
    drawn.nodes.sort();
    drawn.pairs = arrows.into_iter().map(|(from, to)| (titles[from].clone(), titles[to].clone())).collect();
    assert_eq!(drawn, Drawn::of(graph), "{text}");
}

fn is_number(node: &str) -> bool {
    node.strip_prefix('n')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit()))
}

/// A label without its entity codes.
fn plain(label: &str) -> String {
    let mut text = String::new();
    let mut rest = label;
    while let Some(at) = rest.find('#') {
        text.push_str(&rest[..at]);
        let (code, behind) =
            rest[at + 1..].split_once(';').unwrap_or_else(|| panic!("no end of code: {label}"));
        text.push(code.parse().ok().and_then(char::from_u32).unwrap_or_else(|| panic!("no code: {label}")));
        rest = behind;
    }
    text.push_str(rest);
    text
}
