//! All beacons and levels of one host, fed once a tick.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_flowtable::indicators::Round;
use portolan_flowtable::{Peer, Port, Protocol, ServicePort, Timestamp};
use serde::{Deserialize, Serialize};

use super::beacon::{BEATS_MIN, Beacon, Period};
use super::guesses::{GuessLimits, Guesses, Guessing};
use super::level::{Excess, Level, LevelLimits};
use super::measure::Measure;
use super::resources::Resources;
use crate::stable::StableHash;

/// Most pairs of ends and port whose calls are followed for a period.
const BEACONS_MAX: usize = 8_192;
/// Silence after which room is made of one that has no period, where all room is taken.
const SILENCE: i64 = 3_600 * Timestamp::SECOND;
/// And of one that has: its container is gone, or its beat is over.
const BEATLESS: i64 = 24 * 3_600 * Timestamp::SECOND;
/// Most services whose levels are known.
const SERVICES_MAX: usize = 512;
/// Silence after which room is made of a service, where all room is taken: longer than a week, so that what comes weekly
/// stays known.
const SERVICE_SILENCE: i64 = 8 * 24 * 3_600 * Timestamp::SECOND;
/// Most peers of a service that are known for having been called.
const PEERS_MAX: usize = 2_048;
/// How long an unusual level is told of behind its end.
const HOLD: i64 = 24 * 3_600 * Timestamp::SECOND;
const MINUTE: i64 = 60 * Timestamp::SECOND;
/// Form of the record; fields are only ever added within one.
pub const RHYTHM_FORM: u32 = 1;
/// Ports whose protocols beat by their nature: DNS, NTP.
const BEATING: [u16; 2] = [53, 123];

/// From where on something is a beacon, or unusual.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RhythmLimits {
    /// Intervals that must fit.
    pub beats: usize,
    /// When a level is unusual; the least amount is each measure's own.
    pub level: LevelLimits,
    /// When short connections are guesses.
    pub guess: GuessLimits,
}

impl Default for RhythmLimits {
    fn default() -> Self {
        Self { beats: BEATS_MIN, level: LevelLimits::default(), guess: GuessLimits::default() }
    }
}

/// What makes calls one series: who calls whom on what. The initiator is a container's id, or a bare address.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Series {
    initiator: String,
    responder: IpAddr,
    port: ServicePort,
}

impl Series {
    /// Returns the series a call belongs to, where it may be a beacon's: from a container, or an address of whom nobody
    /// knows more, to somebody outside.
    pub(super) fn of(initiator: &Peer, responder: &Peer, port: ServicePort) -> Option<Self> {
        let initiator = match initiator {
            Peer::Workload { workload, .. } => workload.container_id.clone(),
            Peer::Bare { address } => address.to_string(),
            Peer::Host { .. }
            | Peer::External { .. }
            | Peer::Unclaimed { .. }
            | Peer::Group { .. }
            | Peer::Ambiguous { .. } => return None,
        };
        let responder = match responder {
            Peer::External { address, names: _ } => *address,
            Peer::Bare { address } if is_outside(*address) => *address,
            Peer::Bare { .. }
            | Peer::Workload { .. }
            | Peer::Host { .. }
            | Peer::Unclaimed { .. }
            | Peer::Group { .. }
            | Peer::Ambiguous { .. } => return None,
        };
        let has_ports = port.protocol == Protocol::TCP || port.protocol == Protocol::UDP;
        let is_told = port.port.is_some_and(|Port(number)| !BEATING.contains(&number));
        (has_ports && is_told).then_some(Self { initiator, responder, port })
    }
}

/// Returns whether an address of whom nobody knows more lies on the internet: RFC 1918, RFC 4193, RFC 6598 and RFC 3927 do
/// not.
fn is_outside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_unspecified()
                || is_shared)
        }
        IpAddr::V6(v6) => {
            let [first, ..] = v6.octets();
            // fc00::/7 and fe80::/10.
            let is_local = first & 0xfe == 0xfc || v6.segments()[0] & 0xffc0 == 0xfe80;
            !(is_local || v6.is_loopback() || v6.is_multicast() || v6.is_unspecified())
        }
    }
}

/// A series of calls, and the period it was last found to have.
#[derive(Clone, Debug, Default)]
struct Followed {
    beacon: Beacon,
    first_at: Timestamp,
    found: Option<Beating>,
}

impl Followed {
    /// Returns from when on it makes room for others, if it stays silent.
    fn until(&self) -> Timestamp {
        let silence = if self.found.is_some() { BEATLESS } else { SILENCE };
        self.beacon.last_at().unwrap_or(self.first_at).plus(silence)
    }
}

/// A period, and from when to when it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beating {
    pub(super) period: Period,
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
}

/// What is known of one service.
#[derive(Clone, Debug, Default)]
struct Service {
    levels: [Level; 10],
    /// Peers it called in the minute being counted.
    peers: BTreeSet<u64>,
    /// Peers it ever called.
    known: BTreeSet<u64>,
    unusual: Option<Unusual>,
    /// When it last did anything; `None` where that is not written down, until the first minute is over.
    heard_at: Option<Timestamp>,
}

/// An unusual level, or several at once.
#[derive(Clone, Debug)]
pub(super) struct Unusual {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) measures: BTreeMap<Measure, Excess>,
}

/// Who calls at one interval, and who does more than usual. Grows by what it is told, within limits.
#[derive(Clone, Debug, Default)]
pub struct Rhythm {
    series: BTreeMap<Series, Followed>,
    services: BTreeMap<String, Service>,
    guesses: Guesses,
    minute: Option<i64>,
    turned_away: u64,
    resources: Resources,
    /// Services whose readings found no room, in the latest minute.
    unread: usize,
    /// Before these nobody has been silent for long enough to make room: nobody is looked for.
    no_series_before: Timestamp,
    no_service_before: Timestamp,
}

/// The levels of one service as they are written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Of each measure, and of each half hour of the day, the levels of the latest days.
    pub levels: BTreeMap<Measure, Vec<Vec<u64>>>,
    /// Peers it ever called, by a hash of their names.
    pub known: BTreeSet<u64>,
    /// When it last did anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Timestamp>,
}

/// What is usual, as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RhythmRecord {
    /// Form of the record.
    pub portolan_rhythm: u32,
    /// By `project/service`.
    pub services: BTreeMap<String, ServiceRecord>,
}

impl Rhythm {
    /// Goes on with what was usual before. Periods are found anew.
    pub fn resume(record: RhythmRecord) -> Self {
        let services = record.services.into_iter().take(SERVICES_MAX).map(|(name, mut record)| {
            let levels =
                Measure::ALL.map(|measure| Level::resume(record.levels.remove(&measure).unwrap_or_default()));
            let known = record.known.into_iter().take(PEERS_MAX).collect();
            let heard_at = record.heard_at;
            (name, Service { levels, known, heard_at, ..Service::default() })
        });
        Self { services: services.collect(), ..Self::default() }
    }

    /// Returns what is usual as it is to be written down.
    pub fn record(&self) -> RhythmRecord {
        let services = self.services.iter().map(|(name, service)| {
            let levels = Measure::ALL.into_iter().zip(&service.levels);
            let levels = levels.map(|(measure, level)| (measure, level.days()));
            // Of what nobody reads there is nothing to write down.
            let levels = levels.filter(|(measure, days)| !(measure.is_read() && days.is_empty())).collect();
            let (known, heard_at) = (service.known.clone(), service.heard_at);
            (name.clone(), ServiceRecord { levels, known, heard_at })
        });
        RhythmRecord { portolan_rhythm: RHYTHM_FORM, services: services.collect() }
    }

    /// Notes a flow that opened, by the names of its ends.
    pub fn opened(
        &mut self,
        initiator: &Peer,
        responder: &Peer,
        port: ServicePort,
        at: Timestamp,
        limits: &RhythmLimits,
    ) {
        if let Some(series) = Series::of(initiator, responder, port) {
            self.beat(series, at, limits);
        }
        if let Some(workload) = responder.workload() {
            self.add(&workload.qualified(), Measure::Called, at, 1, limits);
        }
        let Some(workload) = initiator.workload() else { return };
        let name = workload.qualified();
        self.add(&name, Measure::Opened, at, 1, limits);
        let peer = match responder {
            Peer::External { address, names: _ } => address.to_string(),
            Peer::Workload { .. }
            | Peer::Host { .. }
            | Peer::Unclaimed { .. }
            | Peer::Group { .. }
            | Peer::Ambiguous { .. }
            | Peer::Bare { .. } => responder.service(),
        };
        let peer = StableHash::new().field(&peer).number();
        let Some(service) = self.services.get_mut(&name) else { return };
        let is_first_in_minute = service.peers.insert(peer);
        let is_new = !service.known.contains(&peer);
        let has_room = service.known.len() < PEERS_MAX;
        if is_new && has_room {
            service.known.insert(peer);
        }
        if is_first_in_minute {
            self.add(&name, Measure::Peers, at, 1, limits);
        }
        // Where there is no room to remember them, nobody can say which are.
        if is_new && has_room {
            self.add(&name, Measure::NewPeers, at, 1, limits);
        }
    }

    /// Notes a flow that is over and [may have been a guess](super::may_be_guess), by the names of its ends and when it ended.
    pub fn guessed(
        &mut self,
        initiator: &Peer,
        responder: &Peer,
        port: ServicePort,
        at: Timestamp,
        limits: &RhythmLimits,
    ) {
        if !self.guesses.add(initiator, responder, port, at, &limits.guess) {
            self.turned_away = self.turned_away.saturating_add(1);
        }
    }

    /// Notes bytes that a service sent.
    pub fn sent(&mut self, service: &str, bytes: u64, at: Timestamp, limits: &RhythmLimits) {
        self.add(service, Measure::SentBytes, at, bytes, limits);
    }

    /// Takes what containers use, as a round of readings has it. It speaks for the minutes that begin behind it, until
    /// the next one does.
    pub fn indicated(&mut self, round: &Round) {
        self.resources.take(round);
    }

    /// Returns how many services' readings found no room in the latest minute, and were held against nothing.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Notes calls that nobody could follow because there were too many at once.
    pub fn turn_away(&mut self, calls: u64) {
        self.turned_away = self.turned_away.saturating_add(calls);
    }

    /// Returns calls that were not followed because a limit was reached.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// Closes a tick: a minute that is over is held against what is usual.
    pub fn close(&mut self, at: Timestamp, limits: &RhythmLimits) {
        let minute = at.0.div_euclid(MINUTE);
        if self.minute.replace(minute) == Some(minute) {
            return;
        }
        self.read(at, limits);
        for service in self.services.values_mut() {
            service.peers.clear();
            service.heard_at.get_or_insert(at);
            for measure in Measure::TRAFFIC {
                service.add(measure, at, 0, limits);
            }
            service.lapse(at, limits);
            service.go_on(at);
        }
    }

    /// Returns the period of a series, where it was ever found to have one.
    pub(super) fn beating(&self, series: &Series) -> Option<&Beating> {
        self.series.get(series)?.found.as_ref()
    }

    /// Returns the guesses of one end at a port of another, where there were enough to say so.
    pub(super) fn guessing(
        &self,
        initiator: &Peer,
        responder: &Peer,
        port: ServicePort,
    ) -> Option<&Guessing> {
        self.guesses.of(initiator, responder, port)
    }

    /// Returns whether nobody guesses.
    pub(super) fn is_without_guess(&self) -> bool {
        self.guesses.is_empty()
    }

    /// Returns whether no series has a period.
    pub(super) fn is_without_beat(&self) -> bool {
        self.series.values().all(|followed| followed.found.is_none())
    }

    /// Returns the services above their level, and those that were within a day.
    pub(super) fn unusual(&self) -> impl Iterator<Item = (&str, &Unusual)> {
        let services = self.services.iter();
        services.filter_map(|(name, service)| Some((name.as_str(), service.unusual.as_ref()?)))
    }

    fn beat(&mut self, series: Series, at: Timestamp, limits: &RhythmLimits) {
        let is_known = self.series.contains_key(&series);
        if !is_known && self.series.len() >= BEACONS_MAX && !self.make_room_for_series(at) {
            self.turned_away = self.turned_away.saturating_add(1);
            return;
        }
        let followed =
            self.series.entry(series).or_insert_with(|| Followed { first_at: at, ..Followed::default() });
        followed.beacon.call(at);
        if let Some(period) = followed.beacon.period_of(limits.beats) {
            let first_at = followed.found.map_or(followed.first_at, |found| found.first_at);
            followed.found = Some(Beating { period, first_at, last_at: at });
        }
    }

    fn add(&mut self, name: &str, measure: Measure, at: Timestamp, amount: u64, limits: &RhythmLimits) {
        if !self.services.contains_key(name) {
            if self.services.len() >= SERVICES_MAX && !self.make_room_for_service(at) {
                self.turned_away = self.turned_away.saturating_add(1);
                return;
            }
            self.services.insert(name.to_owned(), Service::default());
        }
        if let Some(service) = self.services.get_mut(name) {
            service.heard_at = service.heard_at.max(Some(at));
            service.add(measure, at, amount, limits);
        }
    }

    /// Takes what services use in the minute that begins. Whoever is silent makes no room for it.
    fn read(&mut self, at: Timestamp, limits: &RhythmLimits) {
        let mut unread = BTreeSet::new();
        for (name, measure, amount) in self.resources.amounts(at) {
            if !self.services.contains_key(name) {
                if self.services.len() >= SERVICES_MAX {
                    unread.insert(name);
                    continue;
                }
                self.services.insert(name.to_owned(), Service::default());
            }
            if let Some(service) = self.services.get_mut(name) {
                service.heard_at = service.heard_at.max(Some(at));
                service.add(measure, at, amount, limits);
            }
        }
        self.unread = unread.len();
    }

    /// Lets every series go that was silent for long enough. Returns whether one was.
    fn make_room_for_series(&mut self, at: Timestamp) -> bool {
        if at < self.no_series_before {
            return false;
        }
        self.series.retain(|_, followed| at <= followed.until());
        self.no_series_before = self.series.values().map(Followed::until).min().unwrap_or_default();
        self.series.len() < BEACONS_MAX
    }

    /// Lets the service go that was silent for longest, if that is long enough. Returns whether it was.
    fn make_room_for_service(&mut self, at: Timestamp) -> bool {
        if at < self.no_service_before {
            return false;
        }
        let oldest = self.services.iter().map(|(name, service)| (service.heard_at.unwrap_or(at), name)).min();
        let Some((heard_at, name)) = oldest else { return true };
        let until = heard_at.plus(SERVICE_SILENCE);
        if at <= until {
            self.no_service_before = until;
            return false;
        }
        let name = name.clone();
        self.services.remove(&name);
        true
    }
}

impl Service {
    fn add(&mut self, measure: Measure, at: Timestamp, amount: u64, limits: &RhythmLimits) {
        let Some(level) = self.levels.get_mut(measure.index()) else { return };
        let within = measure.within(&limits.level);
        let excess =
            if measure.is_read() { level.read(at, amount, &within) } else { level.add(at, amount, &within) };
        self.note(measure, at, excess, limits);
    }

    /// Ends what was above and is read no more.
    fn lapse(&mut self, at: Timestamp, limits: &RhythmLimits) {
        for measure in Measure::RESOURCES {
            let level = self.levels.get_mut(measure.index());
            let excess = level.and_then(|level| level.lapse(at, &measure.within(&limits.level)));
            self.note(measure, at, excess, limits);
        }
    }

    fn note(&mut self, measure: Measure, at: Timestamp, excess: Option<Excess>, limits: &RhythmLimits) {
        let Some(excess) = excess else { return };
        // One that begins long behind the end of another is another.
        let quiet = i64::from(limits.level.quiet_minutes).saturating_mul(MINUTE);
        let other = self.unusual.take().filter(|unusual| excess.from.since(unusual.until) <= quiet);
        let other = other.unwrap_or(Unusual { from: excess.from, until: at, measures: BTreeMap::new() });
        let unusual = self.unusual.insert(other);
        unusual.until = unusual.until.max(at);
        unusual.measures.insert(measure, excess);
    }

    /// An unusual level lasts as long as one of its measures is, and is told of for a day behind it.
    fn go_on(&mut self, at: Timestamp) {
        let is_on = self.levels.iter().any(Level::is_above);
        if let Some(unusual) = &mut self.unusual {
            if is_on {
                unusual.until = unusual.until.max(at);
            } else if at.since(unusual.until) > HOLD {
                self.unusual = None;
            }
        }
    }
}
