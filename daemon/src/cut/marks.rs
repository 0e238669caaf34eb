//! Which flows and which frames are wanted.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use portolan_capture::FileInterface;
use portolan_flowtable::{Flow, Network, Observation, Packet, Port, Protocol, Timestamp};

use crate::replay::Watch;

/// How long after a flow's last frame an ICMP error may still speak of it: hosts that find no neighbour say so after
/// a few seconds.
const ERROR_SPAN: i64 = 10 * Timestamp::SECOND;
/// How far from a flow's frames its packets may be sighted at another interface.
const SIGHTING_SPAN: i64 = 100 * Timestamp::MILLISECOND;

/// The first replay: which total every flow became part of, four bytes a flow.
#[derive(Debug, Default)]
pub(super) struct Ties {
    totals: Vec<u32>,
    members: Vec<Vec<u32>>,
}

impl Watch for Ties {
    fn flow(&mut self, flow: &Flow, total: u32) {
        let Ok(number) = usize::try_from(flow.id) else { return };
        if self.totals.len() <= number {
            self.totals.resize(number + 1, u32::MAX);
        }
        if let Some(entry) = self.totals.get_mut(number) {
            *entry = total;
        }
    }

    fn end(&mut self, members: Vec<Vec<u32>>, _interfaces: &[FileInterface]) {
        self.members = members;
    }
}

impl Ties {
    /// Returns the flows of conversations.
    pub(super) fn flows(&self, conversations: &BTreeSet<usize>) -> BTreeSet<u64> {
        let members = conversations.iter().filter_map(|number| self.members.get(*number));
        let wanted: BTreeSet<u32> = members.flatten().copied().collect();
        let flows = (0_u64..).zip(&self.totals).filter(|(_, total)| wanted.contains(total));
        flows.map(|(flow, _)| flow).collect()
    }
}

/// A set of frame numbers, one bit a frame.
#[derive(Debug, Default)]
struct Frames {
    words: Vec<u64>,
}

impl Frames {
    fn insert(&mut self, frame: u64) {
        let Ok(word) = usize::try_from(frame / 64) else { return };
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(bits) = self.words.get_mut(word) {
            *bits |= 1 << (frame % 64);
        }
    }

    fn contains(&self, frame: u64) -> bool {
        let word = usize::try_from(frame / 64).ok().and_then(|word| self.words.get(word));
        word.is_some_and(|bits| bits & (1 << (frame % 64)) != 0)
    }
}

/// The second replay: the frames that were counted in the wanted flows, and when those flows were.
#[derive(Debug)]
pub(super) struct Marks {
    flows: BTreeSet<u64>,
    counted: Frames,
    wanted: Frames,
    spans: HashMap<u64, (Tuple, Timestamp, Timestamp)>,
    interfaces: Vec<FileInterface>,
}

/// Two ends and a protocol, the same for both directions.
type Tuple = ([(IpAddr, Option<Port>); 2], Protocol);

impl Marks {
    pub(super) fn new(flows: BTreeSet<u64>) -> Self {
        Self {
            flows,
            counted: Frames::default(),
            wanted: Frames::default(),
            spans: HashMap::new(),
            interfaces: Vec::new(),
        }
    }

    /// Returns the interfaces of the captures.
    pub(super) fn interfaces(&self) -> &[FileInterface] {
        &self.interfaces
    }

    /// Puts what is wanted in an order in which frames can be held against it.
    pub(super) fn finish(self) -> Wanted {
        let mut spans: HashMap<Tuple, Vec<(Timestamp, Timestamp)>> = HashMap::new();
        for (tuple, first, last) in self.spans.into_values() {
            spans.entry(tuple).or_default().push((first, last));
        }
        for spans in spans.values_mut() {
            spans.sort_unstable();
        }
        Wanted { counted: self.counted, frames: self.wanted, spans }
    }
}

impl Watch for Marks {
    fn follows_frames(&self) -> bool {
        true
    }

    fn flow(&mut self, flow: &Flow, _total: u32) {
        if self.flows.contains(&flow.id) {
            let [a, b] = flow.ends.map(|end| (end.address, end.port));
            self.spans.insert(flow.id, (tuple(a, b, flow.protocol), flow.first_at, flow.last_at));
        }
    }

    fn counted(&mut self, frame: u64, flow: u64) {
        self.counted.insert(frame);
        if self.flows.contains(&flow) {
            self.wanted.insert(frame);
        }
    }

    fn end(&mut self, _members: Vec<Vec<u32>>, interfaces: &[FileInterface]) {
        self.interfaces = interfaces.to_vec();
    }
}

/// What the frames of a further reading are held against.
#[derive(Debug)]
pub(super) struct Wanted {
    counted: Frames,
    frames: Frames,
    spans: HashMap<Tuple, Vec<(Timestamp, Timestamp)>>,
}

impl Wanted {
    /// Returns whether a frame was counted in a wanted flow: that is exact.
    pub(super) fn is_counted_in(&self, frame: u64) -> bool {
        self.frames.contains(frame)
    }

    /// Returns whether a frame that is not counted in a wanted flow belongs to one all the same: an ICMP error that
    /// quotes it, or, where `every_sighting` is asked for, one of its packets at another interface.
    pub(super) fn is_about(&self, seen: &Observation, every_sighting: bool) -> bool {
        let Network::Ip(packet) = &seen.network else { return false };
        let is_counted = self.counted.contains(seen.frame);
        if !is_counted && !every_sighting {
            return false;
        }
        quoted(packet).is_some_and(|tuple| self.is_within(&tuple, seen.at, 0, ERROR_SPAN))
            || !is_counted && self.is_within(&of_packet(packet), seen.at, SIGHTING_SPAN, SIGHTING_SPAN)
    }

    fn is_within(&self, tuple: &Tuple, at: Timestamp, before: i64, after: i64) -> bool {
        let Some(spans) = self.spans.get(tuple) else { return false };
        let begun = spans.partition_point(|(first, _)| first.since(at) <= before);
        let latest = begun.checked_sub(1).and_then(|index| spans.get(index));
        latest.is_some_and(|(_, last)| at.since(*last) <= after)
    }
}

fn tuple(a: (IpAddr, Option<Port>), b: (IpAddr, Option<Port>), protocol: Protocol) -> Tuple {
    (if a <= b { [a, b] } else { [b, a] }, protocol)
}

fn of_packet(packet: &Packet) -> Tuple {
    let (source, destination) = (packet.ports.map(|it| it.0), packet.ports.map(|it| it.1));
    tuple((packet.source, source), (packet.destination, destination), packet.protocol)
}

fn quoted(packet: &Packet) -> Option<Tuple> {
    let quoted = packet.icmp?.quoted?;
    let (source, destination) = (quoted.ports.map(|it| it.0), quoted.ports.map(|it| it.1));
    Some(tuple((quoted.source, source), (quoted.destination, destination), quoted.protocol))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::{KnowledgeArgs, ReadArgs};
    use crate::replay::{Knowledge, Request, replay_watched};

    /// Counts frames by flow.
    #[derive(Default)]
    struct Counts(HashMap<u64, u64>);

    impl Watch for Counts {
        fn follows_frames(&self) -> bool {
            true
        }

        fn flow(&mut self, _flow: &Flow, _total: u32) {}

        fn counted(&mut self, _frame: u64, flow: u64) {
            *self.0.entry(flow).or_default() += 1;
        }
    }

    #[test]
    fn each_conversation_has_as_many_frames_as_its_flows_in_another_replay() {
        let pcaps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
        let mut conversations = 0;
        for case in [
            "shop",
            "shop-bridge",
            "spoofed-source",
            "fragments",
            "port-scan",
            "table-full",
            "open-before-start",
        ] {
            let folder = pcaps.join(case);
            let there = |names: &[&str]| -> Vec<_> {
                names.iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect()
            };
            let files = [there(&["capture.pcapng", "capture.pcap"])[0].clone()];
            let knowledge = Knowledge::read(&KnowledgeArgs {
                roster: there(&["docker-inspect.json", "roster.toml", "interfaces.toml"]),
                contract: there(&["contract.toml"]),
                ..KnowledgeArgs::default()
            })
            .unwrap();
            let flows_max = if case == "table-full" { 64 } else { 131_072 };
            let read = ReadArgs { flows_max, flows_kept: 100, ..ReadArgs::default() };
            let request = Request {
                files: &files,
                knowledge: &knowledge,
                read: &read,
                conversations: None,
                shows_progress: false,
                each_turn: None,
            };
            let (mut ties, mut counts) = (Ties::default(), Counts::default());
            let replayed = replay_watched(&request, Some(&mut ties)).unwrap();
            replay_watched(&request, Some(&mut counts)).unwrap();
            let judged = &replayed.publication.assessment.judged;
            assert_eq!(ties.members.len(), judged.len(), "{case}");
            for (number, judged) in judged.iter().enumerate() {
                let conversation = &judged.conversation;
                let flows = ties.flows(&BTreeSet::from([number]));
                let frames: u64 = flows.iter().filter_map(|flow| counts.0.get(flow)).sum();
                assert_eq!(
                    frames,
                    conversation.sent.frames + conversation.received.frames,
                    "{case}: {conversation:?}"
                );
                conversations += 1;
            }
        }
        assert!(conversations > 60, "{conversations}");
    }
}
