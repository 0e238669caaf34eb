//! Networks of compose projects: services that are called by the same ones share one with them.
//!
//! Everybody on a network can call everybody on it, so a network says more than was seen; how much more, it says itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Allowed, Caller, plain};
use crate::suggest::quoted;

/// A network: who is on it.
struct Network {
    name: String,
    members: BTreeSet<String>,
    /// Whether somebody on it talks to the outside.
    is_open: bool,
}

pub(super) fn write(allowed: &Allowed, title: &str) -> String {
    let mut out = allowed.head(title, "Networks for compose files, one document for each project");
    let projects: BTreeSet<&String> =
        allowed.services.iter().map(|(project, _)| project).filter(|project| !project.is_empty()).collect();
    for project in projects {
        write_project(&mut out, allowed, project);
    }
    out
}

fn write_project(out: &mut String, allowed: &Allowed, project: &str) {
    let services: BTreeSet<&String> =
        allowed.services.iter().filter(|(of, _)| of == project).map(|(_, service)| service).collect();
    let networks = networks(allowed, project, &services);
    let on = |service: &str| -> Vec<&Network> {
        networks.iter().filter(|network| network.members.contains(service)).collect()
    };
    let _ = write!(out, "---\nname: {}\nservices:\n", quoted(project));
    for service in &services {
        let names: Vec<&str> = on(service).iter().map(|network| network.name.as_str()).collect();
        let _ = writeln!(out, "  {}: {{networks: [{}]}}", quoted(service), names.join(", "));
    }
    out.push_str("networks:\n");
    for network in &networks {
        let members: Vec<String> = network.members.iter().map(|member| quoted(member)).collect();
        let _ = writeln!(
            out,
            "  {}: {{internal: {}}}   # {}; pairs that were not seen to talk: {}",
            network.name,
            !network.is_open,
            members.join(", "),
            unseen(allowed, project, network)
        );
    }
}

/// Puts responders that are called by the same services on one network with them; a network within another goes.
fn networks(allowed: &Allowed, project: &str, services: &BTreeSet<&String>) -> Vec<Network> {
    let mut by_callers: BTreeMap<BTreeSet<&String>, BTreeSet<&String>> = BTreeMap::new();
    for ((of, responder), callers) in allowed.calls.iter().filter(|((of, _), _)| of == project) {
        let own: BTreeSet<&String> = callers
            .keys()
            .filter_map(|caller| match caller {
                Caller::Service(from, service) if from == of && service != responder => Some(service),
                Caller::Service(..) | Caller::External | Caller::Host => None,
            })
            .collect();
        if !own.is_empty() {
            by_callers.entry(own).or_default().insert(responder);
        }
    }
    let mut groups: Vec<(String, BTreeSet<String>)> = by_callers
        .into_iter()
        .map(|(callers, responders)| {
            let first = responders.first().map_or(String::new(), |it| (*it).clone());
            (first, callers.into_iter().chain(responders).cloned().collect())
        })
        .collect();
    groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    let mut networks: Vec<Network> = Vec::new();
    let is_open =
        |members: &BTreeSet<String>| members.iter().any(|member| talks_outside(allowed, project, member));
    for (first, members) in groups {
        if !networks.iter().any(|known| members.is_subset(&known.members)) {
            let name = format!("to-{}", plain(&allowed.services, &(String::new(), first), '-'));
            let name = if networks.iter().any(|known| known.name == name) {
                format!("{name}-{}", networks.len())
            } else {
                name
            };
            networks.push(Network { name, is_open: is_open(&members), members });
        }
    }
    let alone: BTreeSet<String> = services
        .iter()
        .filter(|service| !networks.iter().any(|network| network.members.contains(**service)))
        .map(|service| (*service).clone())
        .collect();
    for service in alone {
        let name = format!("only-{}", plain(&allowed.services, &(String::new(), service.clone()), '-'));
        let members = BTreeSet::from([service]);
        networks.push(Network { name, is_open: is_open(&members), members });
    }
    networks
}

/// Whether a service is called from outside, calls somebody there, or talks to another project.
fn talks_outside(allowed: &Allowed, project: &str, service: &str) -> bool {
    let own = (project.to_owned(), service.to_owned());
    let is_called = allowed.calls.get(&own).is_some_and(|callers| {
        callers.keys().any(|caller| match caller {
            Caller::Service(from, _) => from != project,
            Caller::External | Caller::Host => true,
        })
    });
    is_called || allowed.outgoing.contains(&own)
}

/// Counts the ordered pairs of a network that were not seen to talk.
fn unseen(allowed: &Allowed, project: &str, network: &Network) -> usize {
    let is_seen = |from: &String, to: &String| {
        let caller = Caller::Service(project.to_owned(), from.clone());
        allowed
            .calls
            .get(&(project.to_owned(), to.clone()))
            .is_some_and(|callers| callers.contains_key(&caller))
    };
    let pairs = network.members.iter().flat_map(|from| network.members.iter().map(move |to| (from, to)));
    pairs.filter(|(from, to)| from != to && !is_seen(from, to)).count()
}
