//! What of the traffic is recorded: everything, one service, or one edge.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use portolan_flowtable::{AttachmentId, Network, Observation, Packet, Port, Protocol, Workload};
use portolan_identity::Picture;

/// What is asked for, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Choice {
    /// Everything.
    #[default]
    All,
    /// What one service sends and receives.
    Service(String),
    /// What two of them say to each other, in both directions.
    Edge {
        /// Who opens.
        initiator: String,
        /// Who answers.
        responder: String,
        /// Where.
        port: Option<Port>,
        /// By which protocol.
        protocol: Option<Protocol>,
    },
}

/// A text was no edge.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no edge: write 'reports -> db:5432/tcp', 'shop/reports -> shop/db' or '172.18.0.2 -> db'")]
pub struct UnknownChoice(String);

impl FromStr for Choice {
    type Err = UnknownChoice;

    /// Reads an edge: `reports -> db:5432/tcp`, port and protocol optional.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || UnknownChoice(text.to_owned());
        let (initiator, called) = text.split_once("->").ok_or_else(wrong)?;
        let (initiator, called) = (initiator.trim(), called.trim());
        // An IPv6 address has colons of its own: a port behind one is written in brackets, [fd00::2]:80.
        let (responder, port) = match called.parse::<IpAddr>() {
            Ok(_) => (called, None),
            Err(_) => match called.rsplit_once(':') {
                Some((responder, port)) => (responder, Some(port)),
                None => (called, None),
            },
        };
        let responder = responder.trim_start_matches('[').trim_end_matches(']');
        if initiator.is_empty() || responder.is_empty() {
            return Err(wrong());
        }
        let (port, protocol) = match port {
            None => (None, None),
            Some(port) => {
                let (port, protocol) = match port.split_once('/') {
                    Some((port, protocol)) => (port, Some(protocol.parse().map_err(|_| wrong())?)),
                    None => (port, None),
                };
                (Some(Port(port.parse().map_err(|_| wrong())?)), protocol)
            }
        };
        Ok(Self::Edge { initiator: initiator.to_owned(), responder: responder.to_owned(), port, protocol })
    }
}

/// As reports write an edge; empty for everything.
impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Service(name) => write!(f, "service {name}"),
            Self::Edge { initiator, responder, port, protocol } => {
                write!(f, "edge {initiator} -> {responder}")?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                protocol.map_or(Ok(()), |protocol| write!(f, "/{protocol}"))
            }
        }
    }
}

/// A name's interfaces and addresses in one picture.
#[derive(Clone, Debug, Default)]
struct Party {
    attachments: BTreeSet<AttachmentId>,
    addresses: BTreeSet<IpAddr>,
}

impl Party {
    fn of(name: &str, picture: &Picture) -> Self {
        let mut party = Self::default();
        if let Ok(address) = name.parse() {
            party.addresses.insert(address);
            return party;
        }
        let names = &picture.names;
        let is_it = |workload: &Workload| {
            workload.service == name || workload.container == name || workload.qualified() == name
        };
        let of = names.attachments.iter().filter(|(_, workload)| is_it(workload));
        party.attachments = of.map(|(attachment, _)| *attachment).collect();
        for ((_, address), bindings) in &names.addresses {
            if bindings.iter().any(|binding| party.attachments.contains(&binding.attachment)) {
                party.addresses.insert(*address);
            }
        }
        party
    }

    fn is_empty(&self) -> bool {
        self.attachments.is_empty() && self.addresses.is_empty()
    }
}

/// A choice with the addresses it stands for.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    choice: Choice,
    one: Party,
    other: Party,
}

impl Chosen {
    /// Looks the names up.
    pub(super) fn new(choice: Choice, picture: &Picture) -> Self {
        let (one, other) = match &choice {
            Choice::All => (Party::default(), Party::default()),
            Choice::Service(name) => (Party::of(name, picture), Party::default()),
            Choice::Edge { initiator, responder, .. } => {
                (Party::of(initiator, picture), Party::of(responder, picture))
            }
        };
        Self { choice, one, other }
    }

    /// Looks the names up again.
    pub(super) fn look_up(&mut self, picture: &Picture) {
        *self = Self::new(std::mem::take(&mut self.choice), picture);
    }

    /// Returns whether nothing is known of one of the names.
    pub(super) fn is_nobody(&self) -> bool {
        match &self.choice {
            Choice::All => false,
            Choice::Service(_) => self.one.is_empty(),
            Choice::Edge { .. } => self.one.is_empty() || self.other.is_empty(),
        }
    }

    /// Returns whether a frame belongs to what is asked for: by the addresses it carries or quotes, and by the veth it
    /// came in by, whatever address it claims there.
    pub(super) fn selects(&self, seen: &Observation, sender: AttachmentId) -> bool {
        let Network::Ip(packet) = &seen.network else { return matches!(self.choice, Choice::All) };
        match &self.choice {
            Choice::All => true,
            Choice::Service(_) => {
                let is_its = |address: &IpAddr| self.one.addresses.contains(address);
                let quoted = packet.icmp.and_then(|icmp| icmp.quoted);
                self.one.attachments.contains(&sender)
                    || is_its(&packet.source)
                    || is_its(&packet.destination)
                    || quoted.is_some_and(|it| is_its(&it.source) || is_its(&it.destination))
            }
            Choice::Edge { port, protocol, .. } => {
                let fits = |ends: &Ends| {
                    protocol.is_none_or(|protocol| protocol == ends.protocol)
                        && (ends.is_between(&self.one, &self.other, *port)
                            || ends.reversed().is_between(&self.one, &self.other, *port))
                };
                let quoted = packet.icmp.and_then(|icmp| icmp.quoted).map(|it| Ends {
                    source: it.source,
                    destination: it.destination,
                    ports: it.ports,
                    protocol: it.protocol,
                });
                let is_forged = self.one.attachments.contains(&sender)
                    && self.other.addresses.contains(&packet.destination);
                is_forged || fits(&Ends::of(packet)) || quoted.as_ref().is_some_and(fits)
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Ends {
    source: IpAddr,
    destination: IpAddr,
    ports: Option<(Port, Port)>,
    protocol: Protocol,
}

impl Ends {
    fn of(packet: &Packet) -> Self {
        let Packet { source, destination, ports, protocol, .. } = *packet;
        Self { source, destination, ports, protocol }
    }

    fn reversed(self) -> Self {
        let ports = self.ports.map(|(source, destination)| (destination, source));
        Self { source: self.destination, destination: self.source, ports, ..self }
    }

    /// A packet without ports, a later fragment, fits any port.
    fn is_between(&self, from: &Party, to: &Party, port: Option<Port>) -> bool {
        from.addresses.contains(&self.source)
            && to.addresses.contains(&self.destination)
            && port.zip(self.ports).is_none_or(|(port, (_, called))| port == called)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_read_as_reports_write_it() {
        let edge = |initiator: &str, responder: &str, port: Option<u16>, protocol| Choice::Edge {
            initiator: initiator.to_owned(),
            responder: responder.to_owned(),
            port: port.map(Port),
            protocol,
        };
        #[rustfmt::skip]
        let cases = [
            ("reports -> db:5432/tcp",        Some(edge("reports", "db", Some(5_432), Some(Protocol::TCP)))),
            ("shop/reports->shop/db",         Some(edge("shop/reports", "shop/db", None, None))),
            ("batch -> metrics:8125",         Some(edge("batch", "metrics", Some(8_125), None))),
            ("10.0.0.1 -> fd00::2",           Some(edge("10.0.0.1", "fd00::2", None, None))),
            ("10.0.0.1 -> [fd00::2]:80/udp",  Some(edge("10.0.0.1", "fd00::2", Some(80), Some(Protocol::UDP)))),
            ("reports db",                    None),
            (" -> db",                        None),
            ("a -> db:port",                  None),
            ("a -> db:5432/tpc",              None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Choice>().ok(), expected, "{text}");
        }
    }
}
