//! Who is met while a graph is drawn: each peer becomes a node once, however often it speaks.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_flowtable::{Peer, Workload};
use portolan_policy::{Assessment, ListenerClass};

use crate::drafts::{Drafts, Key};
use crate::graph::{Group, Node, NodeKind, OTHER};

/// Place of a node among those met.
pub(crate) type NodeAt = u32;

/// What tells peers apart before they are named.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Face<'a> {
    /// What is known of a container, by where it stands in memory, and the network it was met in where nodes are networks.
    Container(usize, &'a str),
    /// An address, and the host it was met on where there are several.
    Address(IpAddr, &'a str),
    Kind(NodeKind, &'a str),
}

/// Nodes by who was met.
#[derive(Debug)]
pub(crate) struct Cast<'a> {
    group: Group,
    faces: BTreeMap<Face<'a>, NodeAt>,
    ids: BTreeMap<String, NodeAt>,
    nodes: Vec<Node>,
    /// Containers each node stands for.
    containers: Vec<BTreeSet<&'a str>>,
}

impl<'a> Cast<'a> {
    pub(crate) fn new(group: Group) -> Self {
        Self {
            group,
            faces: BTreeMap::new(),
            ids: BTreeMap::new(),
            nodes: Vec::new(),
            containers: Vec::new(),
        }
    }

    /// Returns the node of a peer. Among several hosts, what is neither a container nor outside of all of them bears its
    /// `host`'s name (empty for an only host); containers bear it already.
    pub(crate) fn meet_on(&mut self, host: &'a str, peer: &'a Peer, network: &'a str) -> NodeAt {
        let face = match peer {
            Peer::Workload { workload, .. } => return self.introduce(workload, network),
            Peer::Host { .. } => Face::Kind(NodeKind::Host, host),
            Peer::External { .. } => Face::Kind(NodeKind::External, ""),
            Peer::Unclaimed { .. } => Face::Kind(NodeKind::Unclaimed, host),
            Peer::Group { .. } => Face::Kind(NodeKind::Multicast, host),
            Peer::Ambiguous { .. } => Face::Kind(NodeKind::Ambiguous, host),
            Peer::Bare { address } => Face::Address(*address, host),
        };
        if let Some(known) = self.faces.get(&face) {
            return *known;
        }
        let mut node = node_of(peer, self.group, network);
        if !host.is_empty() && node.kind != NodeKind::External {
            node.id = prefixed(host, &node.id);
            node.title.clone_from(&node.id);
        }
        let at = self.add(node);
        self.faces.insert(face, at);
        at
    }

    /// Returns the node of a container.
    pub(crate) fn introduce(&mut self, workload: &'a Workload, network: &'a str) -> NodeAt {
        let network = if self.group == Group::Network { network } else { "" };
        let face = Face::Container(std::ptr::from_ref(workload).addr(), network);
        if let Some(known) = self.faces.get(&face) {
            return *known;
        }
        let at = self.add(workload_node(workload, self.group, network));
        if let Some(containers) = self.containers.get_mut(at as usize) {
            containers.insert(&workload.container_id);
        }
        self.faces.insert(face, at);
        at
    }

    /// Returns the node that stands for everything of a kind.
    pub(crate) fn stand_in(&mut self, id: &str, kind: NodeKind) -> NodeAt {
        self.add(plain_node(id, kind, id))
    }

    fn add(&mut self, node: Node) -> NodeAt {
        if let Some(at) = self.ids.get(&node.id) {
            if let Some(known) = self.nodes.get_mut(*at as usize) {
                join_networks(known, &node);
            }
            return *at;
        }
        let at = NodeAt::try_from(self.nodes.len()).unwrap_or(NodeAt::MAX);
        self.ids.insert(node.id.clone(), at);
        self.nodes.push(node);
        self.containers.push(BTreeSet::new());
        at
    }

    /// Returns a node's id.
    pub(crate) fn id(&self, at: NodeAt) -> &str {
        self.nodes.get(at as usize).map_or("", |node| node.id.as_str())
    }

    /// Compares edges by source, target, port and via.
    pub(crate) fn in_order(&self, a: &Key<'_>, b: &Key<'_>) -> Ordering {
        let ids = |key: &Key<'_>| (key.source, key.target);
        let by_id = |a, b| if a == b { Ordering::Equal } else { self.id(a).cmp(self.id(b)) };
        let ((source, target), (other_source, other_target)) = (ids(a), ids(b));
        by_id(source, other_source)
            .then_with(|| by_id(target, other_target))
            .then_with(|| (a.port, a.via).cmp(&(b.port, b.via)))
    }

    /// Returns the nodes, sorted by id: those of the edges shown, with what was sent on them, and every workload.
    pub(crate) fn settle(
        &self,
        drafts: &Drafts<'_>,
        shown: &[(Key<'_>, usize)],
        assessment: &Assessment,
    ) -> Vec<Node> {
        let mut nodes: Vec<(bool, Node)> =
            self.nodes.iter().map(|node| (node.kind == NodeKind::Workload, node.clone())).collect();
        let mut count = |at: NodeAt, sent: u64, received: u64| {
            if let Some((is_shown, node)) = nodes.get_mut(at as usize) {
                *is_shown = true;
                node.sent_bytes = node.sent_bytes.saturating_add(sent);
                node.received_bytes = node.received_bytes.saturating_add(received);
            }
        };
        for (key, at) in shown {
            let (sent, received) = drafts.bytes(*at);
            count(key.source, sent, received);
            count(key.target, received, sent);
        }
        for ((_, node), containers) in nodes.iter_mut().zip(&self.containers) {
            node.containers = u64::try_from(containers.len()).unwrap_or(u64::MAX);
        }
        if self.group == Group::Service {
            let place = |service: &str| self.ids.get(&guarded(service)).map(|at| *at as usize);
            for service in &assessment.undeclared {
                if let Some((_, node)) = place(service).and_then(|at| nodes.get_mut(at)) {
                    node.is_undeclared = true;
                }
            }
            let idle = |class| class == ListenerClass::DocumentedIdle;
            for listener in assessment.listeners.iter().filter(|listener| idle(listener.class)) {
                if let Some((_, node)) = place(&listener.service).and_then(|at| nodes.get_mut(at)) {
                    node.idle_ports.push(listener.port);
                }
            }
        }
        let mut nodes: Vec<Node> =
            nodes.into_iter().filter_map(|(is_shown, node)| is_shown.then_some(node)).collect();
        nodes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        nodes
    }
}

fn join_networks(known: &mut Node, more: &Node) {
    for network in &more.networks {
        if let Err(place) = known.networks.binary_search(network) {
            known.networks.insert(place, network.clone());
        }
    }
}

/// Ids that stand for something else than a workload.
const RESERVED: [&str; 6] = ["host", "external", "unclaimed", "multicast", "ambiguous", OTHER];

/// Returns a workload's name so that it cannot pass for the host, the outside or an address: a container may be
/// called `host`.
pub(crate) fn guarded(name: &str) -> String {
    let is_taken = RESERVED.contains(&name) || name.parse::<std::net::IpAddr>().is_ok() || name.is_empty();
    if is_taken { format!("workload:{name}") } else { name.to_owned() }
}

/// Returns a name as it is called among several hosts: `web-03:shop/web`.
///
/// What is in front of the first colon is the host, whatever hosts and services are called.
pub(crate) fn prefixed(host: &str, name: &str) -> String {
    format!("{}:{name}", host.replace('%', "%25").replace(':', "%3A"))
}

fn plain_node(id: &str, kind: NodeKind, title: &str) -> Node {
    Node {
        id: id.to_owned(),
        kind,
        title: title.to_owned(),
        project: String::new(),
        networks: Vec::new(),
        containers: 0,
        sent_bytes: 0,
        received_bytes: 0,
        is_undeclared: false,
        idle_ports: Vec::new(),
    }
}

fn node_of(peer: &Peer, group: Group, network: &str) -> Node {
    let plain = |kind| {
        let name = peer.service();
        plain_node(&name, kind, &name)
    };
    match peer {
        Peer::Workload { workload, .. } => workload_node(workload, group, network),
        Peer::Host { .. } => plain(NodeKind::Host),
        Peer::External { .. } => plain(NodeKind::External),
        Peer::Unclaimed { .. } => plain(NodeKind::Unclaimed),
        Peer::Group { .. } => plain(NodeKind::Multicast),
        Peer::Ambiguous { .. } => plain(NodeKind::Ambiguous),
        Peer::Bare { .. } => plain(NodeKind::Address),
    }
}

fn workload_node(workload: &Workload, group: Group, network: &str) -> Node {
    let named = |id: &str, title: &str| plain_node(&guarded(id), NodeKind::Workload, title);
    let mut node = match group {
        Group::Service => named(&workload.qualified(), &workload.service),
        Group::Container => named(&workload.container, &workload.container),
        // Outside any project a service stands for itself.
        Group::Project if workload.project.is_empty() => named(&workload.service, &workload.service),
        Group::Project => named(&workload.project, &workload.project),
        Group::Network => {
            let only = workload.networks.first().filter(|_| workload.networks.len() == 1);
            let name = if network.is_empty() { only.map_or("", String::as_str) } else { network };
            let title = if name.is_empty() { "unknown network" } else { name };
            return plain_node(&format!("network:{name}"), NodeKind::Workload, title);
        }
    };
    node.networks.clone_from(&workload.networks);
    node.networks.sort();
    node.networks.dedup();
    match group {
        Group::Service | Group::Container => node.project.clone_from(&workload.project),
        Group::Project | Group::Network => {}
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_cannot_take_a_reserved_name() {
        let cases = [
            ("shop/web", "shop/web"),
            ("host", "workload:host"),
            ("10.0.0.1", "workload:10.0.0.1"),
            ("", "workload:"),
        ];
        for (name, expected) in cases {
            assert_eq!(guarded(name), expected);
        }
    }
}
