//! Thousands of containers one after the other, all with one address and one namespace number, each within a
//! millisecond of the one before: every frame is charged to the one that sent it.

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    Completeness, Conversations, Delta, Direction, FlowTable, Fragment, Limits, MacAddr, Names, Network,
    Observation, Occasion, Packet, Port, Protocol, Tally,
};

use super::*;

/// How many, where nobody asks for more: a picture costs what it holds.
const GENERATIONS: u32 = 300;
/// From the start of one to the start of the next.
const LIFE: i64 = 2 * Timestamp::SECOND;
/// From the end of one to the start of the next, at most.
const BETWEEN: i64 = 900_000;
const ADDRESS: &str = "172.18.0.2";
const COLLECTOR: &str = "172.18.0.200";
const COLLECTOR_INDEX: u32 = 50;
/// The port all generations send from.
const ASKER: Port = Port(40_000);
/// The port that tells a generation's frames is its number above this one.
const FIRST_PORT: u32 = 10_000;

/// Table and totals behind the roster, as the daemon puts them together.
struct Planes {
    table: FlowTable,
    conversations: Conversations,
    frames: u64,
    dropped: u64,
}

impl Planes {
    /// Sees a frame of a generation, or loses every fiftieth; returns whether it was seen.
    fn see(
        &mut self,
        picture: &Picture,
        at: Timestamp,
        interface: u32,
        generation: u32,
        is_answer: bool,
    ) -> bool {
        self.frames += 1;
        if self.frames.is_multiple_of(50) {
            self.dropped += 1;
            return false;
        }
        let port = Port(u16::try_from(FIRST_PORT + generation).unwrap());
        let (one, collector): (IpAddr, IpAddr) = (ADDRESS.parse().unwrap(), COLLECTOR.parse().unwrap());
        let ends = [(one, ASKER), (collector, port)];
        let [from, to] = if is_answer { [ends[1], ends[0]] } else { ends };
        let seen = Observation {
            at,
            is_timed: true,
            frame: self.frames,
            interface: InterfaceId(interface),
            direction: Direction::Incoming,
            source_mac: MacAddr([2; 6]),
            wire_bytes: 60 + generation % 1_000,
            fingerprint: 0,
            network: Network::Ip(Packet {
                source: from.0,
                destination: to.0,
                protocol: Protocol::UDP,
                ports: Some((from.1, to.1)),
                tcp: None,
                icmp: None,
                fragment: Fragment::Whole,
                vlan: None,
                is_tunnel: false,
            }),
        };
        self.table.observe(&[seen], &picture.interfaces, &*picture.directory);
        true
    }

    fn tick(&mut self, at: Timestamp) {
        let mut deltas: Vec<Delta> = Vec::new();
        self.table.tick(at, None);
        self.table.drain(&mut deltas);
        for delta in &deltas {
            self.conversations.apply(delta);
        }
    }
}

/// Keeps the names of whoever is gone, as the daemon does: totals outlive their containers.
fn remember(kept: &mut Names, picture: &Picture) {
    let names = &picture.names;
    kept.has_roster = names.has_roster;
    kept.attachments.extend(names.attachments.iter().map(|(id, of)| (*id, Arc::clone(of))));
    for (place, bindings) in &names.addresses {
        let held = kept.addresses.entry(*place).or_default();
        let first = bindings.first().map_or(AttachmentId(u32::MAX), |binding| binding.attachment);
        held.retain(|binding| binding.attachment < first);
        held.extend(bindings.iter().cloned());
    }
}

#[test]
fn of_all_generations_at_one_address_each_is_charged_what_it_sent() {
    let asked = std::env::var("PORTOLAN_GENERATIONS").ok().map(|text| text.parse().unwrap());
    let generations: u32 = asked.unwrap_or(GENERATIONS);
    let mut host = Host::new();
    host.tell(seconds(1));
    host.network(seconds(1));
    host.sandbox("collector", 7);
    host.veth(COLLECTOR_INDEX, 7);
    host.tell(seconds(1));
    host.inspect(container("collector", COLLECTOR, seconds(1)), seconds(2));
    let mut planes = Planes {
        table: FlowTable::new(Limits { flows_max: 8_192, ..Limits::default() }, 1),
        conversations: Conversations::new(),
        frames: 0,
        dropped: 0,
    };
    let mut kept = Names::default();
    let mut sent: BTreeMap<u32, [u64; 2]> = BTreeMap::new();
    // A frame that is still in the ring when its interface is gone, and the next one is there.
    let mut late: Option<(Timestamp, u32, u32)> = None;
    let mut end = seconds(3);
    for generation in 0..generations {
        let start = end.plus(i64::from(generation % 10 + 1) * BETWEEN / 10);
        end = start.plus(LIFE - BETWEEN);
        let name = format!("c{generation}");
        let index = 1_000 + generation;
        host.sandbox(&name, 9);
        host.veth(index, 9);
        let mut picture = host.tell(start);
        let told = sent.entry(generation).or_default();
        told[0] += u64::from(planes.see(&picture, start.plus(50_000), index, generation, false));
        told[1] += u64::from(planes.see(&picture, start.plus(90_000), COLLECTOR_INDEX, generation, true));
        if let Some((at, index, generation)) = late.take() {
            let seen = planes.see(&picture, at, index, generation, false);
            sent.entry(generation).or_default()[0] += u64::from(seen);
        }
        // Docker's answer comes when it comes, but before the end.
        let answer = start.plus(i64::from(generation % 7) * 200 * Timestamp::MILLISECOND + 200_000);
        for step in 0..generation % 5 {
            let at = start.plus(i64::from(step) * 400 * Timestamp::MILLISECOND + 300_000);
            if at >= answer {
                picture = host.inspect(container(&name, ADDRESS, start.plus(1)), answer);
            }
            let seen = planes.see(&picture, at, index, generation, false);
            sent.entry(generation).or_default()[0] += u64::from(seen);
        }
        host.inspect(container(&name, ADDRESS, start.plus(1)), answer);
        if generation % 3 == 0 {
            late = Some((end.plus(-100_000), index, generation));
        }
        host.namespaces.0.lock().unwrap().0.remove(&format!("/netns/{name}"));
        host.gone(index);
        let picture = host.tell(end);
        // Docker says so later, when the next one is there.
        if generation > 0 {
            host.book.container_gone(&format!("id-c{}", generation - 1), end);
        }
        if generation % 10 == 9 {
            planes.tick(end);
            remember(&mut kept, &picture);
            host.book.pass_time(end);
        }
    }
    planes.tick(end);
    remember(&mut kept, &host.book.picture());

    let ledger = *planes.table.ledger();
    let occasion = Occasion {
        at: end,
        ledger,
        kernel_dropped: Some(planes.dropped),
        completeness: Completeness::Complete,
        withhold: 0,
    };
    let snapshot = planes.conversations.snapshot(occasion, &kept);
    let (mut attributed, mut wrong, mut unclaimed) = (0, Vec::new(), 0);
    for conversation in &snapshot.conversations {
        // Where the first frame was lost, the answer was seen first, and the ends are taken for each other.
        let is_turned = conversation.port.port == Some(ASKER);
        let port = if is_turned { conversation.first_source_port } else { conversation.port.port };
        let generation = u32::from(port.unwrap().0) - FIRST_PORT;
        let [to_collector, back] = sent[&generation];
        let name = conversation.initiator.workload().map(|workload| workload.container.as_str());
        let other = conversation.responder.workload().map(|workload| workload.container.as_str());
        let bytes = |frames: u64| Tally { frames, bytes: frames * u64::from(60 + generation % 1_000) };
        let (name, other) = if is_turned { (other, name) } else { (name, other) };
        let both = conversation.sent + conversation.received;
        match name {
            None => unclaimed += 1,
            Some(name)
                if name == format!("c{generation}")
                    && other == Some("collector")
                    && conversation.claim == Claim::Own
                    && both == bytes(to_collector + back) =>
            {
                attributed += both.frames;
            }
            Some(_) => wrong.push(format!("{conversation:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} wrong, the first: {}", wrong.len(), wrong[0]);
    assert_eq!((unclaimed, ledger.overflow.frames, ledger.unknown_interface.frames), (0, 0, 0));
    // A late frame of the very last is not seen at all.
    assert_eq!(attributed, planes.frames - planes.dropped);
    assert_eq!(attributed, ledger.metered.frames);
    println!(
        "{generations} generations: {} frames sent, {} dropped, {attributed} attributed, 0 wrong, 0 unclaimed",
        planes.frames, planes.dropped
    );
}
