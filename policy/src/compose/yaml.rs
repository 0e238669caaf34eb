//! YAML as a tree in which everything knows its line: what compose files are read from.
//!
//! Anchors, aliases and merge keys are resolved, as they are part of YAML itself. How much that may unfold to is
//! limited: a file of a few lines can stand for a billion nodes.
//!
//! # Sources
//!
//! YAML 1.2.2; the merge key, yaml.org/type/merge.html (YAML 1.1, which compose keeps to).

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle};

/// Most bytes of one file.
pub(super) const BYTES_MAX: usize = 1 << 20;
/// Most nodes a file may unfold to.
const NODES_MAX: usize = 200_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
    /// A tag that is not YAML's own, as `!reset`.
    pub(super) tag: Option<String>,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A text, and whether it stood there without quotes.
    Scalar(String, bool),
    /// A list.
    List(Vec<Node>),
    /// Keys with their values, in order; of a key given twice, both.
    Map(Vec<(Node, Node)>),
}

/// Something is no YAML, or too much of it.
#[derive(Debug)]
pub(super) struct Misread {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
}

impl Node {
    /// Returns the text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, _) => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Returns whether nothing is written there: `key:`, `~`, `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, true) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Returns the entries of a map, those that were merged in included: what is written in the map itself wins.
    pub(super) fn entries(&self) -> BTreeMap<&str, (&Node, &Node)> {
        let mut found = BTreeMap::new();
        self.collect(&mut found, 0);
        found
    }

    fn collect<'n>(&'n self, found: &mut BTreeMap<&'n str, (&'n Node, &'n Node)>, depth: usize) {
        let Value::Map(entries) = &self.value else { return };
        if depth > DEPTH_MAX {
            return;
        }
        let is_merge = |key: &Node| matches!(&key.value, Value::Scalar(text, true) if text == "<<");
        for (key, value) in entries.iter().filter(|(key, _)| !is_merge(key)) {
            if let Some(text) = key.text() {
                found.entry(text).or_insert((key, value));
            }
        }
        for (_, merged) in entries.iter().filter(|(key, _)| is_merge(key)) {
            match &merged.value {
                Value::Map(_) => merged.collect(found, depth + 1),
                Value::List(all) => all.iter().for_each(|one| one.collect(found, depth + 1)),
                Value::Scalar(..) => {}
            }
        }
    }

    /// Returns the elements of a list.
    pub(super) fn elements(&self) -> &[Node] {
        match &self.value {
            Value::List(elements) => elements,
            Value::Scalar(..) | Value::Map(_) => &[],
        }
    }

    /// Returns what it is, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(..) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(..) => 0,
            Value::List(elements) => elements.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|(key, value)| key.size() + value.size()).sum(),
        }
    }
}

/// A collection that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<Node>,
}

/// Reads the first document of a text; `None` where it is empty.
pub(super) fn read(text: &str) -> Result<Option<Node>, Misread> {
    let misread = |line, column, message: &str| Misread { line, column, message: message.to_owned() };
    if text.len() > BYTES_MAX {
        return Err(misread(1, 1, "it is larger than a MiB"));
    }
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: BTreeMap<usize, (Node, usize)> = BTreeMap::new();
    let mut nodes = 0_usize;
    let mut document = None;
    for next in Parser::new_from_str(text) {
        let (event, span) = match next {
            Ok(found) => found,
            Err(error) => {
                let at = error.marker();
                let message = error.info();
                let message = if message.is_empty() { "this is no YAML".to_owned() } else { message };
                return Err(Misread { line: at.line().max(1), column: at.col() + 1, message });
            }
        };
        let (line, column) = (span.start.line().max(1), span.start.col() + 1);
        let foreign = |tag: Option<std::borrow::Cow<'_, granit_parser::Tag>>| {
            tag.map(|tag| tag.to_string()).filter(|tag| !tag.contains("yaml.org,2002:"))
        };
        let (finished, anchor) = match event {
            Event::Scalar(value, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain;
                let value = Value::Scalar(value.into_owned(), is_plain);
                (Node { value, line, column, tag: foreign(tag) }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let node = Node { value: Value::List(Vec::new()), line, column, tag: foreign(tag) };
                open.push(Open { node, anchor, key: None });
                if open.len() > DEPTH_MAX {
                    return Err(misread(line, column, "it is nested too deeply"));
                }
                continue;
            }
            Event::MappingStart(_, anchor, tag) => {
                let node = Node { value: Value::Map(Vec::new()), line, column, tag: foreign(tag) };
                open.push(Open { node, anchor, key: None });
                if open.len() > DEPTH_MAX {
                    return Err(misread(line, column, "it is nested too deeply"));
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(closed) => (closed.node, closed.anchor),
                None => continue,
            },
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some((node, size)) => {
                    nodes = nodes.saturating_add(*size);
                    if nodes > NODES_MAX {
                        return Err(misread(line, column, "its aliases unfold to too much"));
                    }
                    (node.clone(), 0)
                }
                None => return Err(misread(line, column, "this alias refers to itself")),
            },
            Event::DocumentEnd if document.is_some() => break,
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::UnresolvedAlias(_) => continue,
            #[allow(unreachable_patterns, reason = "the parser may be built with comments for another crate")]
            _ => continue,
        };
        nodes += 1;
        if nodes > NODES_MAX {
            return Err(misread(line, column, "it holds too much"));
        }
        if anchor > 0 {
            let size = finished.size();
            anchors.insert(anchor, (finished.clone(), size));
        }
        match open.last_mut() {
            None => document = Some(finished),
            Some(parent) => match (&mut parent.node.value, parent.key.take()) {
                (Value::List(elements), _) => elements.push(finished),
                (Value::Map(entries), Some(key)) => entries.push((key, finished)),
                (Value::Map(_), None) => parent.key = Some(finished),
                (Value::Scalar(..), _) => {}
            },
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_knows_its_line_and_aliases_and_merges_are_resolved() {
        let text = "base: &base\n  ports: [\"80:80\"]\n  image: a\nweb:\n  <<: *base\n  image: b\n";
        let root = read(text).unwrap().unwrap();
        let web = root.entries()["web"].1;
        let entries = web.entries();
        assert_eq!(entries["image"].1.text(), Some("b"));
        let ports = entries["ports"].1;
        assert_eq!(
            (ports.elements()[0].text(), ports.elements()[0].line, ports.elements()[0].column),
            (Some("80:80"), 2, 11)
        );
    }

    #[test]
    fn a_few_lines_do_not_unfold_to_a_billion_nodes() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(", ")));
        }
        assert_eq!(read(&text).unwrap_err().message, "its aliases unfold to too much");
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(read(&deep).unwrap_err().message, "it is nested too deeply");
    }

    #[test]
    fn what_is_no_yaml_has_a_place() {
        let misread = read("a: b\n  c: [\n").unwrap_err();
        assert_eq!(misread.line, 2, "{}", misread.message);
        assert!(read("").unwrap().is_none());
    }
}
