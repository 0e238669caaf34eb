//! Which flows and edges are asked for, in words like those of Hubble's command line.

use std::collections::BTreeMap;

use clap::Args;
use portolan_exporter::{FlowRecord, Publication};
use portolan_flowtable::{Outcome, Protocol, ServicePort, Timestamp};
use portolan_graphs::{Edge, Graph};
use portolan_policy::Verdict;

use crate::cli::judge::{Since, parse_since};
use crate::error::Failure;

/// Filters. Of one filter any value may fit, of several filters all must.
#[derive(Clone, Debug, Default, Args)]
pub struct SelectArgs {
    /// Opened by this service, with or without its project; * stands for anything; repeatable
    #[arg(long, value_name = "SERVICE")]
    pub from_service: Vec<String>,
    /// Opened to this service; repeatable
    #[arg(long, value_name = "SERVICE")]
    pub to_service: Vec<String>,
    /// At either end this service; repeatable
    #[arg(long, value_name = "SERVICE")]
    pub service: Vec<String>,
    /// To this service port: 5432, 5432/tcp; repeatable
    #[arg(long, value_name = "PORT")]
    pub to_port: Vec<String>,
    /// With this outcome (answered, refused, unanswered, blocked) or verdict (documented, undocumented_port, ...);
    /// repeatable
    #[arg(long, value_name = "WORD")]
    pub verdict: Vec<String>,
    /// In this container network; repeatable
    #[arg(long, value_name = "NETWORK")]
    pub network: Vec<String>,
    /// Those that the filters above do not fit
    #[arg(long)]
    pub not: bool,
    /// Last seen since then: 5m, 1h, or a time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<Since>,
}

/// What is held against the filters of a flow or an edge.
struct Subject<'a> {
    from: &'a str,
    to: &'a str,
    port: ServicePort,
    words: [&'static str; 2],
    network: &'a str,
    last_at: Timestamp,
}

impl SelectArgs {
    /// Checks what was written.
    ///
    /// # Errors
    ///
    /// Returns which value means nothing, and what would.
    pub fn check(&self) -> Result<(), Failure> {
        for port in &self.to_port {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            if number.parse::<u16>().is_err() || protocol.parse::<Protocol>().is_err() {
                return Err(Failure::usage(format!("--to-port {port}: write 5432 or 5432/tcp")));
            }
        }
        for word in &self.verdict {
            if !OUTCOMES.contains(&word.as_str()) && !VERDICTS.iter().any(|verdict| verdict.name() == word) {
                let verdicts = VERDICTS.map(Verdict::name).join(", ");
                let outcomes = OUTCOMES.join(", ");
                return Err(Failure::usage(format!("--verdict {word}: one of {outcomes}, or of {verdicts}")));
            }
        }
        Ok(())
    }

    /// Returns whether everything is asked for.
    pub fn is_everything(&self) -> bool {
        let Self { from_service, to_service, service, to_port, verdict, network, not: _, since } = self;
        [from_service, to_service, service, to_port, verdict, network].iter().all(|values| values.is_empty())
            && since.is_none()
    }

    /// Leaves out the flows that are not asked for. What a flow's edge is judged counts as the flow's verdict.
    pub fn flows(&self, publication: &mut Publication) {
        let verdicts: BTreeMap<(String, String, ServicePort), Verdict> = publication
            .graph
            .edges
            .iter()
            .map(|edge| ((edge.source.clone(), edge.target.clone(), edge.port), edge.verdict))
            .collect();
        let now = publication.assessment.snapshot.at;
        publication.flows.retain(|flow| {
            let port = ServicePort { port: flow.dest.port, protocol: flow.proto };
            let key = (flow.src.service.to_string(), flow.dest.service.to_string(), port);
            let verdict = verdicts.get(&key).map_or("", |verdict| verdict.name());
            self.fits(&Subject { words: [outcome(flow), verdict], ..Subject::of_flow(flow, port) }, now)
        });
    }

    /// Leaves out the edges that are not asked for, and the nodes that then have none.
    pub fn graph(&self, graph: &mut Graph) {
        if self.is_everything() {
            return;
        }
        let now = graph.at;
        graph.edges.retain(|edge| self.fits(&Subject::of_edge(edge), now));
        let edges = &graph.edges;
        graph.nodes.retain(|node| edges.iter().any(|edge| edge.source == node.id || edge.target == node.id));
    }

    fn fits(&self, subject: &Subject<'_>, now: Timestamp) -> bool {
        let any = |values: &[String], fits: &dyn Fn(&str) -> bool| {
            values.is_empty() || values.iter().any(|value| fits(value))
        };
        let is_asked = any(&self.from_service, &|name| is_service(name, subject.from))
            && any(&self.to_service, &|name| is_service(name, subject.to))
            && any(&self.service, &|name| is_service(name, subject.from) || is_service(name, subject.to))
            && any(&self.to_port, &|port| {
                subject.port.to_string() == port
                    || subject.port.port.is_some_and(|number| number.0.to_string() == port)
            })
            && any(&self.verdict, &|word| subject.words.contains(&word))
            && any(&self.network, &|network| matches(network, subject.network));
        // Without a filter there is nothing to turn round.
        let is_turned = self.not && !Self { since: None, ..self.clone() }.is_everything();
        let since = match self.since {
            Some(Since::At(at)) => at,
            Some(Since::Ago(span)) => now.plus(-i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)),
            None => Timestamp(i64::MIN),
        };
        is_asked != is_turned && subject.last_at >= since
    }
}

impl<'a> Subject<'a> {
    fn of_flow(flow: &'a FlowRecord, port: ServicePort) -> Self {
        let FlowRecord { src, dest, network, last_at, .. } = flow;
        Self { from: &src.service, to: &dest.service, port, words: ["", ""], network, last_at: *last_at }
    }

    fn of_edge(edge: &'a Edge) -> Self {
        let failed = edge.connections;
        // What its connections came to, where they all came to the same.
        let word = match (failed.answered, failed.refused, failed.unanswered, failed.blocked) {
            (1.., 0, 0, 0) => "answered",
            (0, 1.., 0, 0) => "refused",
            (0, 0, 1.., 0) => "unanswered",
            (0, 0, 0, 1..) => "blocked",
            _ => "",
        };
        Self {
            from: &edge.source,
            to: &edge.target,
            port: edge.port,
            words: [word, edge.verdict.name()],
            network: &edge.network,
            last_at: edge.last_at,
        }
    }
}

/// Returns the word for how far a flow got.
pub fn outcome(flow: &FlowRecord) -> &'static str {
    match flow.outcome {
        Outcome::Pending => "pending",
        Outcome::Answered => "answered",
        Outcome::Refused => "refused",
        Outcome::Unanswered => "unanswered",
        Outcome::Blocked => "blocked",
    }
}

/// Returns whether a service is meant by a name: `shop/db`, `db` without its project, `shop/*`.
fn is_service(name: &str, service: &str) -> bool {
    matches(name, service) || service.rsplit_once('/').is_some_and(|(_, short)| matches(name, short))
}

/// Returns whether a text fits a pattern, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = left.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    left.ends_with(tail)
}

const OUTCOMES: [&str; 5] = ["pending", "answered", "refused", "unanswered", "blocked"];

const VERDICTS: [Verdict; 13] = [
    Verdict::Documented,
    Verdict::Allowed,
    Verdict::Learned,
    Verdict::Unjudged,
    Verdict::Undeclared,
    Verdict::Unattributed,
    Verdict::UndocumentedPort,
    Verdict::UnexpectedPeer,
    Verdict::Denied,
    Verdict::Forbidden,
    Verdict::NewEdge,
    Verdict::SpoofedSource,
    Verdict::Backscatter,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        #[rustfmt::skip]
        let cases = [
            // pattern       text          expected
            ("shop/db",      "shop/db",    true),
            ("shop/d",       "shop/db",    false),
            ("shop/*",       "shop/db",    true),
            ("*/db",         "shop/db",    true),
            ("*",            "",           true),
            ("s*o*d*",       "shop/db",    true),
            ("s*x*d*",       "shop/db",    false),
            ("a*a",          "a",          false),
            ("*é*",          "café/x",     true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(
            is_service("db", "shop/db") && is_service("shop/db", "shop/db") && is_service("d*", "shop/db")
        );
        assert!(!is_service("shop", "shop/db") && is_service("host", "host"));
    }
}
