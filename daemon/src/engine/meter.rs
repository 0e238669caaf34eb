//! The data plane: batches of observations into the flow table.

use std::net::IpAddr;
use std::sync::Arc;

use portolan_capture::dns::Spoken;
use portolan_flowtable::directory::BareDirectory;
use portolan_flowtable::dns_names::Speaker;
use portolan_flowtable::{
    AttachmentId, DeltaSink, Directory, FlowTable, Holder, InterfaceId, InterfaceTable, Ledger, Limits,
    Network, NotCounted, Observation, Packet, Rejected, Role, ScopeId, ServicePort, Sighting, Sought, Tally,
    Thefts, Timestamp,
};
use portolan_identity::RosterDirectory;

use super::overheard::{Heard, Overheard, Waiting};
use super::shortfalls::Shortfalls;

/// Observations decoded before they are metered together.
const BATCH: usize = 32;
/// Deltas the data plane may hand over from one command of the control plane to the next. Counted by the data plane
/// itself, not by how fast the other reads: a replay hands over at the same places.
pub const DELTAS_PER_COMMAND: usize = 32_768;
/// Largest step of engine time between two frames.
const STEP_MAX: i64 = 60 * Timestamp::SECOND;
/// Backward steps below this are no jump of a clock: frames of several processors, and frames that wait in the
/// kernel's ring while the wall clock closes a tick.
const JITTER: i64 = Timestamp::SECOND;

/// Who is asked for the holder of an address.
#[derive(Clone, Debug)]
pub enum Who {
    /// Nobody: addresses stand for themselves.
    Bare(BareDirectory),
    /// A roster.
    Roster(Arc<RosterDirectory>),
}

impl Directory for Who {
    fn holder(&self, scope: ScopeId, address: IpAddr) -> Holder {
        match self {
            Self::Bare(bare) => bare.holder(scope, address),
            Self::Roster(roster) => roster.holder(scope, address),
        }
    }

    fn is_known_listener(&self, attachment: AttachmentId, port: ServicePort) -> bool {
        match self {
            Self::Bare(bare) => bare.is_known_listener(attachment, port),
            Self::Roster(roster) => roster.is_known_listener(attachment, port),
        }
    }

    fn epoch(&self) -> u16 {
        match self {
            Self::Bare(bare) => bare.epoch(),
            Self::Roster(roster) => roster.epoch(),
        }
    }
}

/// The data plane's state: the flow table, the roles it is given, and engine time.
#[derive(Debug)]
pub struct Meter {
    table: FlowTable,
    interfaces: Arc<InterfaceTable>,
    who: Who,
    batch: Vec<Observation>,
    /// Frames taken in; whether a drain is due is asked at fixed counts of them.
    taken: u64,
    engine_now: Timestamp,
    /// Latest time seen since the clock last jumped.
    previous_at: Option<Timestamp>,
    skew: i64,
    shortfalls: Shortfalls,
    overheard: Overheard,
    waiting: Waiting,
    /// How long a frame may wait for the role of its interface.
    hold: i64,
    /// Whether what merely grew stays in the table until the end.
    keeps_growth: bool,
}

impl Meter {
    /// Builds a meter. `seed` is fixed in replay and random live.
    pub fn new(limits: Limits, seed: u64, interfaces: Arc<InterfaceTable>, who: Who) -> Self {
        Self {
            table: FlowTable::new(limits, seed),
            interfaces,
            who,
            batch: Vec::with_capacity(BATCH),
            taken: 0,
            engine_now: Timestamp(0),
            previous_at: None,
            skew: 0,
            shortfalls: Shortfalls::default(),
            overheard: Overheard::with_room(),
            waiting: Waiting::with_room(),
            hold: limits.hold,
            keeps_growth: false,
        }
    }

    /// From here on hands over flows of which more than counters changed, and the rest when all is settled: for
    /// somebody who reads the answer once.
    pub fn keep_growth(&mut self) {
        self.keeps_growth = true;
    }

    /// Takes one frame in; meters the batch when it is full.
    ///
    /// Batches end at fixed counts of frames, wherever they were flushed in between: a replay hands over at the same
    /// places as the live run did.
    #[inline]
    pub fn frame(&mut self, seen: Observation, deltas: &mut impl DeltaSink) {
        self.follow_time(seen.at, deltas);
        self.batch.push(seen);
        self.taken += 1;
        self.drain_where_due(deltas);
    }

    /// Meters a full batch, and hands over what piled up.
    #[inline]
    fn drain_where_due(&mut self, deltas: &mut impl DeltaSink) {
        if !self.taken.is_multiple_of(BATCH as u64) {
            return;
        }
        self.flush();
        if self.table.wants_drain() {
            if self.keeps_growth {
                // What opened since may end before the tick, and is told once.
                self.table.drain_endings(deltas);
            } else {
                self.table.drain(deltas);
            }
        }
    }

    /// Takes frames in from where they were read into: what [`Meter::frame`] makes of them one by one, without a copy.
    pub fn frames<S: AsRef<Observation>>(&mut self, frames: &[S], deltas: &mut impl DeltaSink) {
        let mut rest = frames;
        while !rest.is_empty() {
            let until_due = BATCH - usize::try_from(self.taken % BATCH as u64).unwrap_or(0);
            let most = rest.len().min(until_due);
            let steady = rest.iter().take(most).take_while(|seen| self.is_step(seen.as_ref().at)).count();
            let (batch, after) = rest.split_at(steady);
            if batch.is_empty() {
                // The first frame of all, or a jump of the clock.
                let Some((jump, after)) = rest.split_first() else { return };
                self.frame(*jump.as_ref(), deltas);
                rest = after;
                continue;
            }
            self.flush();
            self.table.observe(batch, &self.interfaces, &self.who);
            self.taken += batch.len() as u64;
            self.drain_where_due(deltas);
            rest = after;
        }
    }

    /// Moves engine time by a step that is no jump; false, and nothing changed, for any other.
    #[inline]
    fn is_step(&mut self, at: Timestamp) -> bool {
        let Some(previous) = self.previous_at else { return false };
        let step = at.since(previous);
        if !(-JITTER..=STEP_MAX).contains(&step) {
            return false;
        }
        if step > 0 {
            self.previous_at = Some(at);
            self.engine_now = self.engine_now.plus(step);
        }
        true
    }

    /// From here on keeps which flow each counted frame went to.
    pub fn trace(&mut self) {
        self.table.trace();
    }

    /// Hands over (frame, flow) of the frames counted since the last time.
    pub fn traced(&mut self) -> impl Iterator<Item = (u64, u64)> {
        self.table.traced()
    }

    /// Keeps what a frame says of names, where it counts: who sent it and who gets it is settled here.
    #[cold]
    pub fn overhear(&mut self, seen: &Observation, spoken: Spoken<'_>) {
        // An answer may be known before its question: whatever comes behind a packet that waits, waits too.
        if !self.waiting.is_empty() || self.interfaces.sighting(seen) == Sighting::Unknown {
            return self.waiting.keep(seen, spoken, &mut self.overheard);
        }
        Self::attribute(&mut self.overheard, &self.interfaces, &self.who, seen, spoken);
    }

    /// Looks again at packets whose interface was nobody's; `hold` is how long they may wait.
    fn hear_waiting(&mut self, hold: i64) {
        let Self { waiting, overheard, interfaces, who, .. } = self;
        let (now, skew) = (self.engine_now, self.skew);
        waiting.release(|seen, spoken| {
            let is_known = interfaces.sighting(seen) != Sighting::Unknown;
            if !is_known && now.since(seen.at.plus(skew.saturating_neg())) < hold {
                return false;
            }
            Self::attribute(overheard, interfaces, who, seen, spoken);
            true
        });
    }

    /// Keeps a packet with who said it to whom.
    fn attribute(
        overheard: &mut Overheard,
        interfaces: &InterfaceTable,
        who: &Who,
        seen: &Observation,
        spoken: Spoken<'_>,
    ) {
        let Network::Ip(Packet { source, destination, protocol, ports: Some(ports), .. }) = seen.network
        else {
            return;
        };
        let (scope, sender) = match interfaces.sighting(seen) {
            Sighting::Sent { scope, attachment, .. } => (scope, Holder::Attachment(attachment)),
            Sighting::SentByHost { scope } | Sighting::Plain { scope } => (scope, who.holder(scope, source)),
            Sighting::Delivered { .. } | Sighting::Second | Sighting::Foreign => return,
            Sighting::Unknown => return overheard.miss(),
        };
        let receiver = who.holder(scope, destination);
        let heard = Heard {
            at: seen.at,
            scope,
            sender: Speaker { holder: sender, address: source, port: ports.0 },
            receiver: Speaker { holder: receiver, address: destination, port: ports.1 },
            protocol,
            bytes: 0,
        };
        overheard.keep(heard, spoken);
    }

    /// Hands over what was overheard since the last time.
    pub fn take_overheard(&mut self) -> Overheard {
        self.overheard.take()
    }

    /// Counts a frame that could not be read.
    pub fn reject(&mut self, reason: Rejected, at: Timestamp, wire_bytes: u32) {
        self.table.reject(reason, at, wire_bytes);
    }

    /// Counts a frame left out before it could be metered.
    pub fn leave_out(&mut self, reason: NotCounted, wire_bytes: u32) {
        self.table.leave_out(reason, wire_bytes);
    }

    /// Counts frames that somebody else left out, and a recording does not hold.
    pub fn leave_out_many(&mut self, reason: NotCounted, left_out: Tally) {
        self.table.leave_out_many(reason, left_out);
    }

    /// Returns whether an interface is known to carry no container's traffic.
    pub fn is_foreign(&self, interface: InterfaceId) -> bool {
        self.interfaces.get(interface).role == Role::Foreign
    }

    /// Meters what is waiting in the batch.
    pub fn flush(&mut self) {
        self.table.observe(&self.batch, &self.interfaces, &self.who);
        self.batch.clear();
    }

    /// Takes new roles and bindings, between batches; frames held for a role are looked at again.
    pub fn set_roles(&mut self, interfaces: Arc<InterfaceTable>, who: Who) {
        self.flush();
        self.interfaces = interfaces;
        self.who = who;
        self.table.release(self.engine_now, &self.interfaces, &self.who);
    }

    /// Closes a tick: held frames, silent flows, overdue attempts; hands deltas over and returns the accounts.
    ///
    /// `now` is the wall clock where frames may be absent (live); `None` takes the last frame's time.
    pub fn tick(
        &mut self,
        now: Option<Timestamp>,
        last_loss: Option<Timestamp>,
        deltas: &mut impl DeltaSink,
    ) -> Ledger {
        self.flush();
        if let Some(now) = now {
            self.follow_time(now, deltas);
        }
        self.table.release(self.engine_now, &self.interfaces, &self.who);
        self.table.tick(self.engine_now, last_loss);
        // Here and at the end alone: a replay looks again at the same places as the live run did.
        self.hear_waiting(self.hold);
        self.hand_over(deltas);
        self.date_missed()
    }

    /// Gives up on held frames and hands every delta over: the last step of settlement.
    pub fn settle(&mut self, deltas: &mut impl DeltaSink) -> Ledger {
        self.flush();
        self.table.release(self.engine_now, &self.interfaces, &self.who);
        self.table.give_up_held();
        self.hear_waiting(0);
        self.table.drain(deltas);
        self.date_missed()
    }

    /// Hands over what was left in the table because the ring was full.
    pub fn drain(&mut self, deltas: &mut impl DeltaSink) -> Ledger {
        self.table.drain(deltas);
        *self.table.ledger()
    }

    /// Returns the accounts so far.
    pub fn ledger(&self) -> Ledger {
        *self.table.ledger()
    }

    /// Returns whether deltas wait because the ring was full.
    pub fn is_drained(&self) -> bool {
        self.table.waiting() == 0
    }

    /// Returns whose frames most often found no room in the table.
    pub fn overflow_most(&self) -> Option<(AttachmentId, Tally)> {
        self.table.overflow_most()
    }

    /// Returns the hardware addresses that others than their holders sent from.
    pub fn thefts(&self) -> &Thefts {
        self.table.thefts()
    }

    /// Returns who asked for addresses of its own network in vain, up to the last tick.
    pub fn sought(&self) -> Sought {
        self.table.neighbours().sought()
    }

    /// Returns when frames were missed that had arrived, up to the last tick.
    pub fn shortfalls(&self) -> &Shortfalls {
        &self.shortfalls
    }

    fn date_missed(&mut self) -> Ledger {
        let missed = self.table.take_missed();
        let ledger = *self.table.ledger();
        self.shortfalls.note(&missed, &ledger);
        ledger
    }

    /// Returns (live flows, slots).
    pub fn occupancy(&self) -> (usize, usize) {
        (self.table.live(), self.table.capacity())
    }

    /// Returns the last frame's time.
    pub fn last_at(&self) -> Option<Timestamp> {
        self.previous_at
    }

    fn hand_over(&mut self, deltas: &mut impl DeltaSink) {
        if self.keeps_growth {
            self.table.drain_changes(deltas);
        } else {
            self.table.drain(deltas);
        }
    }

    /// Moves engine time by each positive step, capped; a jump changes the skew between the two times.
    #[inline]
    fn follow_time(&mut self, at: Timestamp, deltas: &mut impl DeltaSink) {
        let Some(previous) = self.previous_at else {
            self.previous_at = Some(at);
            self.engine_now = at;
            return;
        };
        let step = at.since(previous);
        if (-JITTER..=0).contains(&step) {
            return;
        }
        self.previous_at = Some(at);
        let taken = step.clamp(0, STEP_MAX);
        self.engine_now = self.engine_now.plus(taken);
        if taken != step {
            self.flush();
            self.table.drain(deltas);
            self.skew = at.since(self.engine_now);
            self.table.set_skew(self.skew);
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::{Delta, Direction, Fragment, MacAddr, Network, Packet, Port, Protocol};

    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp(1_000 * Timestamp::SECOND + milliseconds * Timestamp::MILLISECOND)
    }

    fn datagram(at: Timestamp) -> Observation {
        Observation {
            at,
            is_timed: true,
            frame: 1,
            interface: InterfaceId(1),
            direction: Direction::Unstated,
            source_mac: MacAddr::default(),
            wire_bytes: 60,
            fingerprint: 0,
            network: Network::Ip(Packet {
                source: [10, 0, 0, 1].into(),
                destination: [10, 0, 0, 2].into(),
                protocol: Protocol::UDP,
                ports: Some((Port(40_000), Port(53))),
                tcp: None,
                icmp: None,
                fragment: Fragment::Whole,
                vlan: None,
                is_tunnel: false,
            }),
        }
    }

    fn meter() -> Meter {
        let limits = Limits { flows_max: 64, ..Limits::default() };
        Meter::new(limits, 1, Arc::new(InterfaceTable::plain()), Who::Bare(BareDirectory))
    }

    #[test]
    fn frames_that_waited_while_the_wall_clock_closed_a_tick_do_not_speed_time_up() {
        let mut meter = meter();
        let mut deltas: Vec<Delta> = Vec::new();
        for second in 0..600 {
            meter.frame(datagram(at(second * 1_000)), &mut deltas);
            meter.tick(Some(at(second * 1_000 + 500)), None, &mut deltas);
            // In the ring for 50 ms when the tick was closed.
            meter.frame(datagram(at(second * 1_000 + 450)), &mut deltas);
        }
        assert_eq!((meter.skew, meter.engine_now), (0, at(599_500)));
        meter.settle(&mut deltas);
        assert_eq!(deltas.last().map(|delta| delta.flow.last_at), Some(at(599_450)));
    }

    #[test]
    fn a_clock_that_jumps_ends_no_flow_and_times_stay_true() {
        for jump in
            [3_600_000, -3_600_000, i64::MAX / Timestamp::MILLISECOND, i64::MIN / Timestamp::MILLISECOND]
        {
            let after = Timestamp(at(0).0.saturating_add(jump.saturating_mul(Timestamp::MILLISECOND)));
            let mut meter = meter();
            let mut deltas: Vec<Delta> = Vec::new();
            meter.frame(datagram(at(0)), &mut deltas);
            meter.frame(datagram(after), &mut deltas);
            meter.frame(datagram(after.plus(1)), &mut deltas);
            let ledger = meter.tick(None, None, &mut deltas);
            assert_eq!((ledger.flows_opened, ledger.metered.frames), (1, 3), "{jump}");
            assert_eq!(deltas.last().map(|delta| delta.flow.last_at), Some(after.plus(1)), "{jump}");
            assert!(meter.engine_now <= at(60_001), "{jump}");
        }
    }
}
