//! A contract from what was seen: the smallest readable one that expects every conversation that was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{Peer, ServicePort};

use crate::assessment::{Assessment, Judged};

/// Most attempts that are listed as left out.
const LEFT_OUT_MAX: usize = 50;
/// Words a contract reads as something else than a service.
const WORDS: [&str; 4] = ["host", "external", "multicast", "any"];

impl Assessment {
    /// Writes a contract under which nothing that was answered here is a finding. Forged senders, guessed roles and
    /// attempts nobody answered are not taken in; the latter are listed. `title` says what was seen.
    pub fn suggest(&self, title: &str) -> String {
        let mut seen: BTreeMap<String, BTreeMap<ServicePort, BTreeSet<String>>> = BTreeMap::new();
        let mut doubtful: BTreeSet<(String, ServicePort, String)> = BTreeSet::new();
        let mut left_out: BTreeSet<String> = BTreeSet::new();
        for judged in &self.judged {
            let Some((initiator, service)) = ends(judged) else { continue };
            let port = judged.conversation.port;
            if judged.conversation.connections.answered == 0 {
                left_out.insert(format!("{} -> {} {port}", quoted(&initiator), quoted(&service)));
                continue;
            }
            if judged.verdict.is_finding() || judged.finding.is_some() {
                doubtful.insert((service.clone(), port, initiator.clone()));
            }
            seen.entry(service).or_default().entry(port).or_default().insert(initiator);
        }
        let mut out = format!("# Suggested from what was seen: {}.\n", one_line(title));
        let _ = writeln!(
            out,
            "# The capture is {}. Review each line: what was seen is not therefore right.",
            self.snapshot.completeness.word()
        );
        for (service, ports) in &seen {
            let mut groups: BTreeMap<&BTreeSet<String>, Vec<ServicePort>> = BTreeMap::new();
            for (port, initiators) in ports {
                groups.entry(initiators).or_default().push(*port);
            }
            let mut groups: Vec<_> = groups.into_iter().collect();
            groups.sort_by_key(|(_, ports)| ports.first().copied());
            for (initiators, ports) in groups {
                let _ = write!(out, "\n[[service]]\nservice = {}\n", quoted(service));
                let ports: Vec<String> = ports.iter().map(|port| quoted(&port.to_string())).collect();
                let _ = writeln!(out, "ports = [{}]", ports.join(", "));
                let names: Vec<String> = initiators.iter().map(|name| quoted(name)).collect();
                let _ = writeln!(out, "initiators = [{}]", names.join(", "));
                for (_, port, initiator) in doubtful.iter().filter(|(of, port, who)| {
                    of == service && ports.contains(&quoted(&port.to_string())) && initiators.contains(who)
                }) {
                    let _ = writeln!(out, "# a finding so far: {} on {port}", quoted(initiator));
                }
            }
        }
        // What was answered as well is expected by now.
        let is_expected = |line: &String| {
            seen.iter().any(|(service, ports)| {
                ports.iter().any(|(port, initiators)| {
                    initiators
                        .iter()
                        .any(|who| format!("{} -> {} {port}", quoted(who), quoted(service)) == *line)
                })
            })
        };
        left_out.retain(|line| !is_expected(line));
        if !left_out.is_empty() {
            out.push_str("\n# Tried and never answered, so not taken in:\n");
        }
        for line in left_out.iter().take(LEFT_OUT_MAX) {
            let _ = writeln!(out, "#   {line}");
        }
        if left_out.len() > LEFT_OUT_MAX {
            let _ = writeln!(out, "#   ... {} more", left_out.len() - LEFT_OUT_MAX);
        }
        out
    }
}

/// Returns who called whom, as a contract names them; `None` for what no contract can expect.
pub(crate) fn ends(judged: &Judged) -> Option<(String, String)> {
    let conversation = &judged.conversation;
    let has_port = conversation.port.protocol.has_ports() && conversation.port.port.is_some();
    let is_known = conversation.claim == Claim::Own || conversation.claim == Claim::Unlisted;
    if !has_port || !is_known || conversation.is_proxy_leg || !conversation.evidence.is_proof() {
        return None;
    }
    let responder = conversation.responder.workload()?;
    let initiator = match &conversation.initiator {
        Peer::Workload { workload, .. } => {
            let name = workload.qualified();
            // A container may be called `host`, or like a selector.
            let is_plain = !WORDS.contains(&name.as_str())
                && !name.contains(':')
                && name.parse::<std::net::IpAddr>().is_err();
            if is_plain { name } else { format!("container:{}", workload.container) }
        }
        Peer::Host { .. } => "host".to_owned(),
        Peer::External { .. } => "external".to_owned(),
        Peer::Unclaimed { .. } | Peer::Group { .. } | Peer::Ambiguous { .. } | Peer::Bare { .. } => {
            return None;
        }
    };
    Some((initiator, responder.qualified()))
}

/// Writes a text as a TOML string on one line: names come from containers and may hold anything.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\U{:08X}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

fn one_line(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).collect()
}
