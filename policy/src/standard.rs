//! Standard rules that one conversation suffices for: doors that are rarely meant to be open.
//!
//! They speak besides the verdict, whatever it is, unless a rule of the operator allows the conversation. What a contract
//! or a compose file expects between two containers is meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_flowtable::{Conversation, Peer, Protocol, ServicePort, Workload};

use crate::assessment::{FindingKind, Severity, Verdict};
use crate::contract::Contract;
use crate::verdict::Charge;

/// Ports databases and caches answer on, by IANA's registry or their own documentation.
const DATABASES: [(u16, &str); 16] = [
    (1433, "Microsoft SQL Server"),
    (1521, "Oracle"),
    (2379, "etcd"),
    (3306, "MySQL"),
    (5432, "PostgreSQL"),
    (5984, "CouchDB"),
    (6379, "Redis"),
    (7474, "Neo4j"),
    (7687, "Neo4j"),
    (8086, "InfluxDB"),
    (8529, "ArangoDB"),
    (9042, "Cassandra"),
    (9200, "Elasticsearch"),
    (11211, "memcached"),
    (26257, "CockroachDB"),
    (27017, "MongoDB"),
];
/// Docker's API over TCP, without and with TLS.
const DOCKER_API: [u16; 2] = [2375, 2376];
/// Where clouds tell a machine who it is, credentials included: AWS, Azure, Google and others; AWS over IPv6; Alibaba.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];
/// Protocols that carry passwords in the clear: RFC 959, RFC 854, BSD r-commands, RFC 1350.
const CLEARTEXT: [(u16, Protocol, &str); 6] = [
    (21, Protocol::TCP, "FTP"),
    (23, Protocol::TCP, "Telnet"),
    (512, Protocol::TCP, "rexec"),
    (513, Protocol::TCP, "rlogin"),
    (514, Protocol::TCP, "rsh"),
    (69, Protocol::UDP, "TFTP"),
];
/// The group of addresses that names the resolvers containers are meant to ask.
const RESOLVERS: &str = "resolvers";

/// Returns what the standard rules find at fault with a conversation whose ends are named and whose roles are proven.
pub(crate) fn charges(
    contract: &Contract,
    conversation: &Conversation,
    verdict: Verdict,
    is_meant: bool,
) -> Vec<Charge> {
    let port = conversation.port;
    let mut charges = Vec::new();
    let mut charge = |kind, severity, against: String| {
        charges.push(Charge { kind, severity: reached(conversation, severity), against })
    };
    let from = conversation.initiator.workload();
    let to = conversation.responder.workload();
    // Whoever is unexpected by the operator's own word is a finding already.
    let is_said = verdict == Verdict::UnexpectedPeer;
    if !is_said
        && let (Some(name), Some(owner)) = (database(port), to)
        && let Some(stranger) = stranger(&conversation.initiator, owner, is_meant)
    {
        let whose =
            if owner.project.is_empty() { owner.qualified() } else { format!("project {}", owner.project) };
        charge(
            FindingKind::ForeignDatabase,
            Severity::High,
            format!("{name} of {whose}, called by {stranger}"),
        );
    }
    let is_api = port.protocol == Protocol::TCP && port.port.is_some_and(|port| DOCKER_API.contains(&port.0));
    if from.is_some() && is_api && !is_meant {
        charge(
            FindingKind::DockerApi,
            Severity::High,
            "whoever reaches Docker's API is root on its host".to_owned(),
        );
    }
    let address = conversation.responder.address().to_canonical();
    if let (Some(caller), Peer::External { .. }) = (from, &conversation.responder) {
        if let Some(place) = contract.compose.is_internal(&caller.project, &caller.service) {
            let against = format!("{place}: every network of {} is internal", caller.qualified());
            charge(FindingKind::InternalOutbound, Severity::High, against);
        }
        if is_dns(port)
            && let Some(resolvers) = contract.groups.get(RESOLVERS)
            && !resolvers.iter().any(|range| range.contains(&address))
        {
            charge(
                FindingKind::ForeignResolver,
                Severity::Medium,
                format!("{address} is not in group:{RESOLVERS}"),
            );
        }
    }
    if conversation.connections.answered > 0
        && (from.is_some() || to.is_some())
        && let Some(name) = cleartext(port)
    {
        charge(FindingKind::CleartextAdmin, Severity::Medium, format!("{name} sends passwords in the clear"));
    }
    charges
}

/// Returns what is at fault with a call to where clouds hand out credentials. The address is link-local, so it belongs to
/// nobody the roster knows, and the call cannot be judged otherwise.
pub(crate) fn metadata(conversation: &Conversation) -> Option<Charge> {
    let address = conversation.responder.address().to_canonical();
    let is_it = METADATA.contains(&address) && conversation.evidence.is_proof();
    (is_it && conversation.initiator.workload().is_some()).then(|| Charge {
        kind: FindingKind::CloudMetadata,
        severity: reached(conversation, Severity::High),
        against: format!("{address} hands out the machine's credentials"),
    })
}

/// As grave as said where somebody answered, low where it was only tried.
fn reached(conversation: &Conversation, severity: Severity) -> Severity {
    if conversation.connections.answered > 0 { severity } else { Severity::Low }
}

/// Returns who it is that does not belong to the project of a database, if it is somebody.
fn stranger(initiator: &Peer, owner: &Workload, is_meant: bool) -> Option<String> {
    match initiator {
        Peer::External { address, .. } if !is_meant => Some(format!("{address} outside")),
        Peer::Workload { workload, .. } if !is_meant && workload.project != owner.project => {
            Some(workload.qualified())
        }
        Peer::Workload { .. }
        | Peer::External { .. }
        | Peer::Host { .. }
        | Peer::Unclaimed { .. }
        | Peer::Group { .. }
        | Peer::Ambiguous { .. }
        | Peer::Bare { .. } => None,
    }
}

fn database(port: ServicePort) -> Option<&'static str> {
    let number = port.port.filter(|_| port.protocol == Protocol::TCP)?.0;
    DATABASES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

fn is_dns(port: ServicePort) -> bool {
    (port.protocol == Protocol::UDP || port.protocol == Protocol::TCP)
        && port.port.is_some_and(|port| port.0 == 53)
}

fn cleartext(port: ServicePort) -> Option<&'static str> {
    let is_it = |(known, protocol, _): &&(u16, Protocol, &str)| {
        port.protocol == *protocol && port.port.is_some_and(|port| port.0 == *known)
    };
    CLEARTEXT.iter().find(is_it).map(|(_, _, name)| *name)
}
