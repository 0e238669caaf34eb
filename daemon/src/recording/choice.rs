//! What of the traffic is recorded: everything, one service, or one edge.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use portolan_flowtable::directory::is_exempt_source;
use portolan_flowtable::{
    AttachmentId, Directory, Holder, Network, Observation, Packet, Port, Protocol, PublishedPort, ScopeId,
};
use portolan_identity::Picture;

pub use crate::edge::UnknownEdge as UnknownChoice;
use crate::edge::{Edge, is_called};

/// What is asked for, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Choice {
    /// Everything.
    #[default]
    All,
    /// What one service sends and receives.
    Service(String),
    /// What two of them say to each other, in both directions.
    Edge(Edge),
}

impl FromStr for Choice {
    type Err = UnknownChoice;

    /// Reads an edge.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Edge)
    }
}

/// As reports write an edge; empty for everything.
impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Service(name) => write!(f, "service {name}"),
            Self::Edge(edge) => write!(f, "edge {edge}"),
        }
    }
}

/// Whom reports name by what they are, not by who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Host,
    External,
    Unclaimed,
    Multicast,
    Ambiguous,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        match name {
            "host" => Some(Self::Host),
            "external" => Some(Self::External),
            "unclaimed" => Some(Self::Unclaimed),
            "multicast" => Some(Self::Multicast),
            "ambiguous" => Some(Self::Ambiguous),
            _ => None,
        }
    }

    /// Returns what somebody is whom no workload's name fits; `None` for a named workload.
    fn of(holder: Holder, picture: &Picture) -> Option<Self> {
        match holder {
            Holder::Host => Some(Self::Host),
            Holder::External => Some(Self::External),
            Holder::Unclaimed => Some(Self::Unclaimed),
            Holder::Attachment(attachment) => {
                (!picture.names.attachments.contains_key(&attachment)).then_some(Self::Unclaimed)
            }
            Holder::Group => Some(Self::Multicast),
            Holder::Ambiguous => Some(Self::Ambiguous),
            Holder::Bare => None,
        }
    }
}

/// Whom a name stands for in one picture.
#[derive(Clone, Debug, Default)]
struct Party {
    attachments: BTreeSet<AttachmentId>,
    addresses: BTreeSet<IpAddr>,
    /// What it is by the host's address and port.
    published: Vec<PublishedPort>,
    kind: Option<Kind>,
}

impl Party {
    fn of(name: &str, picture: &Picture) -> Self {
        let mut party = Self::default();
        if let Ok(address) = name.parse() {
            party.addresses.insert(address);
            return party;
        }
        party.kind = Kind::named(name);
        let names = &picture.names;
        let of = names.attachments.iter().filter(|(_, workload)| is_called(workload, name));
        party.attachments = of.map(|(attachment, _)| *attachment).collect();
        for ((_, address), bindings) in &names.addresses {
            if bindings.iter().any(|binding| party.attachments.contains(&binding.attachment)) {
                party.addresses.insert(*address);
            }
        }
        let known = names.attachments.values().chain(&names.workloads).chain(&names.former);
        let containers: BTreeSet<&str> = known
            .filter(|workload| is_called(workload, name))
            .map(|workload| workload.container_id.as_str())
            .collect();
        let of = names.published.iter().filter(|port| containers.contains(port.container_id.as_str()));
        party.published = of.cloned().collect();
        if party.kind == Some(Kind::Ambiguous) {
            // A port that several publish is nobody's by name, and reports print it as the host's.
            let of = names.published.iter();
            party.published.extend(of.map(|it| PublishedPort { container_port: it.host_port, ..it.clone() }));
        }
        party
    }

    fn is_empty(&self) -> bool {
        self.attachments.is_empty()
            && self.addresses.is_empty()
            && self.published.is_empty()
            && self.kind.is_none()
    }
}

/// A choice with the addresses it stands for.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    choice: Choice,
    one: Party,
    other: Party,
    picture: Picture,
}

impl Chosen {
    /// Looks the names up.
    pub(super) fn new(choice: Choice, picture: &Picture) -> Self {
        let (one, other) = match &choice {
            Choice::All => (Party::default(), Party::default()),
            Choice::Service(name) => (Party::of(name, picture), Party::default()),
            Choice::Edge(edge) => (Party::of(&edge.initiator, picture), Party::of(&edge.responder, picture)),
        };
        Self { choice, one, other, picture: picture.clone() }
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
            Choice::Edge(_) => self.one.is_empty() || self.other.is_empty(),
        }
    }

    /// Returns whether a frame belongs to what is asked for: by the addresses it carries or quotes, and by the veth it
    /// came in by, whatever address it claims there.
    pub(super) fn selects(&self, seen: &Observation, sender: AttachmentId) -> bool {
        let Network::Ip(packet) = &seen.network else { return matches!(self.choice, Choice::All) };
        let scope = self.picture.interfaces.get(seen.interface).scope;
        let own = Ends::of(packet, scope);
        let quoted = packet.icmp.and_then(|icmp| icmp.quoted).map(|it| Ends {
            source: it.source,
            destination: it.destination,
            ports: it.ports,
            protocol: it.protocol,
            scope,
        });
        match &self.choice {
            Choice::All => true,
            Choice::Service(_) => {
                let is_its = |ends: Ends| {
                    [ends, ends.reversed()].iter().any(|ends| {
                        self.is_at(&self.one, ends.destination, scope)
                            || self.one.published.iter().any(|port| self.is_before(port, ends))
                    })
                };
                self.one.attachments.contains(&sender) || is_its(own) || quoted.is_some_and(is_its)
            }
            Choice::Edge(edge) => {
                let is_its = |ends: Ends| {
                    self.leads_there(edge, &ends, None) || self.leads_there(edge, &ends.reversed(), None)
                };
                self.leads_there(edge, &own, Some(sender)) || is_its(own) || quoted.is_some_and(is_its)
            }
        }
    }

    /// Returns whether a packet goes from the one to the other, straight or by a published port: from the one to the
    /// host, or from the host on to the other. A packet whose ports cannot be read, a later fragment, fits any port;
    /// one whose protocol has none, none.
    fn leads_there(&self, edge: &Edge, ends: &Ends, sender: Option<AttachmentId>) -> bool {
        let is_of_its_kind = edge.protocol.is_none_or(|protocol| protocol == ends.protocol)
            && (edge.port.is_none() || ends.protocol.has_ports());
        if !is_of_its_kind {
            return false;
        }
        let is_opened = match sender {
            Some(sender) => self.one.attachments.contains(&sender),
            None => self.is_at(&self.one, ends.source, ends.scope),
        };
        let is_answered = self.is_at(&self.other, ends.destination, ends.scope);
        if is_opened && is_answered && edge.port.is_none_or(|port| ends.calls(port)) {
            return true;
        }
        let fitting =
            self.other.published.iter().filter(|it| edge.port.is_none_or(|port| port == it.container_port));
        let mut fitting = fitting.filter(|it| it.protocol == ends.protocol);
        fitting.any(|it| {
            is_opened && self.is_before(it, ends)
                || is_answered && ends.calls(it.container_port) && self.is_host(ends.source, ends.scope)
        })
    }

    /// Returns whether a packet goes to a published port at the host's address.
    fn is_before(&self, port: &PublishedPort, ends: &Ends) -> bool {
        port.protocol == ends.protocol
            && ends.calls(port.host_port)
            && (port.host_address.is_unspecified() || port.host_address == ends.destination)
            && self.is_host(ends.destination, ends.scope)
    }

    fn is_at(&self, party: &Party, address: IpAddr, scope: ScopeId) -> bool {
        party.addresses.contains(&address)
            || party.kind.is_some_and(|asked| {
                match Kind::of(self.picture.directory.holder(scope, address), &self.picture) {
                    // The host's link-local addresses are in no list; which packets it sent itself is known by veth alone.
                    Some(Kind::Unclaimed | Kind::External) if is_exempt_source(address) => {
                        asked == Kind::Host || asked == Kind::Unclaimed
                    }
                    kind => kind == Some(asked),
                }
            })
    }

    fn is_host(&self, address: IpAddr, scope: ScopeId) -> bool {
        self.picture.directory.holder(scope, address) == Holder::Host
            || self.picture.names.host_addresses.contains(&address)
    }
}

#[derive(Clone, Copy)]
struct Ends {
    source: IpAddr,
    destination: IpAddr,
    ports: Option<(Port, Port)>,
    protocol: Protocol,
    scope: ScopeId,
}

impl Ends {
    fn of(packet: &Packet, scope: ScopeId) -> Self {
        let Packet { source, destination, ports, protocol, .. } = *packet;
        Self { source, destination, ports, protocol, scope }
    }

    fn reversed(self) -> Self {
        let ports = self.ports.map(|(source, destination)| (destination, source));
        Self { source: self.destination, destination: self.source, ports, ..self }
    }

    /// Returns whether it may go to a port.
    fn calls(&self, port: Port) -> bool {
        self.ports.is_none_or(|(_, called)| port == called)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use portolan_capture::{FileTap, Frame, LinkType, ParseOptions, Polled, Tap, parse};
    use portolan_flowtable::{Direction, InterfaceId, Timestamp};
    use portolan_identity::Roster;

    use super::*;
    use crate::cli::{CutArgs, KnowledgeArgs, ReadArgs};

    fn shop(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/shop").join(name)
    }

    fn rosters() -> Vec<PathBuf> {
        vec![shop("docker-inspect.json"), shop("interfaces.toml")]
    }

    /// How often each packet stands in a capture, and of which packets the choice says yes to a sighting.
    fn packets(path: &Path, chosen: Option<&Chosen>) -> BTreeMap<(i64, Vec<u8>), usize> {
        let mut tap = FileTap::open(path.to_str().unwrap()).unwrap();
        let mut found = BTreeMap::new();
        while tap
            .poll(&mut |frame| {
                let seen = parse(frame, &ParseOptions::default()).unwrap();
                let is_chosen = chosen.is_none_or(|chosen| {
                    let entry = chosen.picture.interfaces.get(seen.interface);
                    chosen.selects(&seen, entry.attachment)
                });
                if is_chosen {
                    *found.entry((frame.at.0, frame.bytes.to_vec())).or_default() += 1;
                }
            })
            .unwrap()
            != Polled::End
        {}
        found
    }

    fn picture() -> Picture {
        let files = rosters().iter().map(|path| Roster::read(path).unwrap()).collect();
        Roster::merge(files).picture_at("2026-11-21T01:57:28Z".parse().unwrap(), 1)
    }

    fn chosen(edge: &str) -> Chosen {
        Chosen::new(edge.parse().unwrap(), &picture())
    }

    #[test]
    fn an_edge_as_reports_print_it_is_recorded_with_all_that_is_cut_out_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = folder.path().join("edge.pcapng");
        // The second leg of a published port's calls is the same packets for all who call it: seven connections.
        let second_leg = 140;
        #[rustfmt::skip]
        let cases = [
            // edge                                   sightings cut  recorded besides         not recorded
            ("cart -> db:5432/tcp",                   1_836,         0,                       0),
            ("web -> metrics:8125/udp",               80,            0,                       0),
            ("batch -> web:icmp",                     20,            0,                       0),
            ("batch -> web:80/tcp  via host:8080",    100,           second_leg,              0),
            ("shop/batch -> shop/web:80",             100,           second_leg,              0),
            // The uplink shows what the outside sends, before its address is translated.
            ("external -> web:80/tcp  via host:8080", 620,           310 + second_leg,        0),
            ("host -> web:80/tcp",                    140,           0,                       0),
            ("toolbox -> external:80/tcp",            80,           0,                       0),
            // Link-local addresses are in no list: those of containers stay with the host's.
            ("host -> multicast:icmp6",               23,            83,                      0),
            // Forged: known by the veth they came in by, and there alone. What they provoke is no edge of reports'.
            ("reports -> cart:8080/tcp",              360,           0,                       320),
        ];
        for (edge, sightings, besides, left_out) in cases {
            let args = CutArgs {
                files: vec![shop("capture.pcap")],
                edge: Some(edge.to_owned()),
                write: write.clone(),
                every_sighting: true,
                knowledge: KnowledgeArgs { roster: rosters(), ..KnowledgeArgs::default() },
                read: ReadArgs { flows_max: 131_072, ..ReadArgs::default() },
                ..CutArgs::default()
            };
            assert_eq!(crate::cut::cut(&args, &mut Vec::new()).unwrap(), 0);
            let cut = packets(&write, None);
            let recorded = packets(&shop("capture.pcap"), Some(&chosen(edge)));
            let both: usize =
                cut.iter().map(|(packet, times)| recorded.get(packet).map_or(0, |of| *of.min(times))).sum();
            let [cut, recorded] = [cut, recorded].map(|of| of.values().sum::<usize>());
            assert_eq!((cut, recorded - both, cut - both), (sightings, besides, left_out), "{edge}");
        }
    }

    #[test]
    fn a_port_asked_for_leaves_out_what_has_none_and_other_ports_of_the_same_two() {
        let capture = shop("capture.pcap");
        let of = |edge: &str| packets(&capture, Some(&chosen(edge))).values().sum::<usize>();
        // Ten pings and their answers, twice each.
        assert_eq!(of("172.20.0.8 -> 172.20.0.4"), 20);
        assert_eq!(of("172.20.0.8 -> 172.20.0.4:80"), 0);
        // Of the same two also 9229/tcp is asked, 10 packets.
        assert_eq!(of("web -> cart") - of("web -> cart:8080"), 20);
    }

    #[test]
    fn later_fragments_and_errors_that_quote_a_packet_belong_to_its_port() {
        let chosen = chosen("batch -> web:80");
        let (batch, host, web) = ([172, 20, 0, 8], [172, 20, 0, 1], [172, 20, 0, 4]);
        let packet = |protocol: u8, fragment: u8, from: [u8; 4], to: [u8; 4], content: &[u8]| {
            let length = u8::try_from(20 + content.len()).unwrap();
            let header = [0x45, 0, 0, length, 0, 9, 0, fragment, 64, protocol, 0, 0];
            [header.as_slice(), &from, &to, content].concat()
        };
        let to_port = |port: u16| [[0x9c, 0x40], port.to_be_bytes(), [0, 0], [0, 7]].concat();
        let error = |quoted: &[u8]| [&[3, 3, 0, 0, 0, 0, 0, 0], quoted].concat();
        let called = |port| packet(6, 0, batch, host, &to_port(port));
        #[rustfmt::skip]
        let cases = [
            // what                         packet                                           is the edge's
            ("a call to the host's port",   called(8_080),                                   true),
            ("one to another",              called(80),                                      false),
            ("by another protocol",         packet(17, 0, batch, host, &to_port(8_080)),     false),
            ("straight to the container",   packet(6, 0, batch, web, &to_port(80)),          true),
            ("there by the host's port",    packet(6, 0, batch, web, &to_port(8_080)),       false),
            ("the host's own leg",          packet(6, 0, host, web, &to_port(80)),           true),
            ("its call of another port",    packet(6, 0, host, web, &to_port(81)),           false),
            ("a later fragment",            packet(6, 5, batch, web, &[0; 8]),               true),
            ("one to the host's port",      packet(6, 5, batch, host, &[0; 8]),              true),
            ("a ping",                      packet(1, 0, batch, web, &[8, 0, 0, 0, 0, 0, 0, 0]), false),
            ("an error about a call",       packet(1, 0, host, batch, &error(&called(8_080))), true),
            ("one about another",           packet(1, 0, host, batch, &error(&called(80))),  false),
        ];
        for (what, bytes, expected) in cases {
            let frame = Frame {
                bytes: &bytes,
                link: LinkType::RAW,
                at: Timestamp(1),
                beyond_seconds: 0,
                is_timed: true,
                number: 1,
                interface: InterfaceId(0),
                direction: Direction::Unstated,
                original_bytes: u32::try_from(bytes.len()).unwrap(),
            };
            let seen = parse(&frame, &ParseOptions::default()).unwrap();
            assert_eq!(chosen.selects(&seen, AttachmentId(0)), expected, "{what}");
        }
    }
}
