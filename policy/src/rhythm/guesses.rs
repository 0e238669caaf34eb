//! Guessed passwords: one peer that opens a login port again and again, each time for a moment and a few bytes.
//!
//! Nothing is read of what is said: a server that turns a password down ends the connection soon, and whoever guesses
//! opens another. So does a client that logs in, does one thing and leaves; how often it does so tells them apart.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use portolan_flowtable::history::Letter;
use portolan_flowtable::{Flow, Outcome, Peer, Port, Protocol, ServicePort, TcpFacts, Timestamp};

use crate::rules::Ports;

/// Most pairs of ends and port that are followed.
const PAIRS_MAX: usize = 2_048;
/// Silence after which room is made of a pair that guessed, where all room is taken.
const HOLD: i64 = 24 * 3_600 * Timestamp::SECOND;
/// Longest connection that may be a guess: a server waits some seconds before it says no.
const SPAN_MAX: i64 = 30 * Timestamp::SECOND;
/// Most bytes of one that may be a guess, both ways and all headers: SSH agrees on keys with some 5,000.
const BYTES_MAX: u64 = 16_384;

/// Ports where a password opens a shell, a desktop, files, mail or a machine: IANA's registry, 902 by VMware's own
/// documentation. All of them are in the lists of tools that guess (THC Hydra).
const LOGINS: [(u16, &str); 17] = [
    (21, "FTP"),
    (22, "SSH"),
    (23, "Telnet"),
    (110, "POP3"),
    (143, "IMAP"),
    (389, "LDAP"),
    (445, "SMB"),
    (512, "rexec"),
    (513, "rlogin"),
    (636, "LDAP over TLS"),
    (902, "VMware authentication"),
    (993, "IMAP over TLS"),
    (995, "POP3 over TLS"),
    (3389, "RDP"),
    (5900, "VNC"),
    (5985, "WinRM"),
    (5986, "WinRM over TLS"),
];
/// Ports of databases that ask for a password. Programs without a pool log in there for every request, so they count for
/// callers alone that a database is not meant for.
const DATABASES: [(u16, &str); 6] = [
    (1433, "Microsoft SQL Server"),
    (1521, "Oracle"),
    (3306, "MySQL"),
    (5432, "PostgreSQL"),
    (6379, "Redis"),
    (27017, "MongoDB"),
];

/// From where on connections are called guesses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GuessLimits {
    /// So many of one peer to one port.
    pub connections: usize,
    /// Within so many nanoseconds.
    pub window: i64,
    /// Login ports somebody named, in place of those that are known.
    pub(crate) ports: Option<Vec<Ports>>,
}

impl Default for GuessLimits {
    fn default() -> Self {
        Self { connections: 20, window: 60 * Timestamp::SECOND, ports: None }
    }
}

/// What a port is to somebody who guesses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// Somebody named it.
    Named,
    /// Known for logins: whoever calls.
    Login(&'static str),
    /// Known for a database: strangers alone.
    Database(&'static str),
}

impl GuessLimits {
    /// Returns what a port is; `None` for one where nobody guesses.
    pub(crate) fn door(&self, port: ServicePort) -> Option<Door> {
        let Port(number) = port.port.filter(|_| port.protocol == Protocol::TCP)?;
        if let Some(named) = &self.ports {
            return named.iter().any(|ports| ports.covers(port)).then_some(Door::Named);
        }
        let of =
            |list: &[(u16, &'static str)]| list.iter().find(|(known, _)| *known == number).map(|it| it.1);
        of(&LOGINS).map(Door::Login).or_else(|| of(&DATABASES).map(Door::Database))
    }
}

/// Returns whether a flow is over and may have been a guess: both ends spoke, shortly and little.
pub fn may_be_guess(flow: &Flow) -> bool {
    let [a, b] = flow.tcp_flags;
    let is_over = a & b & TcpFacts::FIN != 0 || (a | b) & TcpFacts::RST != 0;
    let has_spoken = |side| flow.history.has(side, Letter::Payload);
    flow.protocol == Protocol::TCP
        && is_over
        && flow.outcome == Outcome::Answered
        && has_spoken(flow.initiator.other())
        && flow.last_at.since(flow.first_at) <= SPAN_MAX
        && flow.bytes.iter().sum::<u64>() <= BYTES_MAX
}

/// Who calls whom on what. Ends are containers' ids, or addresses.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Pair {
    initiator: End,
    responder: End,
    port: ServicePort,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum End {
    Container(String),
    Address(IpAddr),
}

impl End {
    fn of(peer: &Peer) -> Self {
        peer.workload()
            .map_or_else(|| Self::Address(peer.address()), |of| Self::Container(of.container_id.clone()))
    }
}

/// The guesses of one pair: the latest, as many as make a finding, and what was found.
#[derive(Clone, Debug, Default)]
struct Followed {
    latest: VecDeque<Timestamp>,
    found: Option<Guessing>,
}

/// Guesses that were found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Guessing {
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
    /// How many there were in all.
    pub(super) connections: u64,
}

/// Connections to login ports that may be guesses, by who made them.
#[derive(Clone, Debug, Default)]
pub(super) struct Guesses {
    pairs: BTreeMap<Pair, Followed>,
    /// Before this nobody has been silent for long enough to make room: nobody is looked for.
    no_room_before: Timestamp,
}

impl Guesses {
    /// Takes a short connection in, by when it ended. Returns `false` where there was no room to follow it.
    pub(super) fn add(
        &mut self,
        initiator: &Peer,
        responder: &Peer,
        port: ServicePort,
        at: Timestamp,
        limits: &GuessLimits,
    ) -> bool {
        if limits.door(port).is_none() {
            return true;
        }
        let pair = Pair { initiator: End::of(initiator), responder: End::of(responder), port };
        if !self.pairs.contains_key(&pair)
            && self.pairs.len() >= PAIRS_MAX
            && !self.make_room(at, limits.window)
        {
            return false;
        }
        self.pairs.entry(pair).or_default().add(at, limits);
        true
    }

    /// Returns the guesses of a pair, where there are any.
    pub(super) fn of(&self, initiator: &Peer, responder: &Peer, port: ServicePort) -> Option<&Guessing> {
        let pair = Pair { initiator: End::of(initiator), responder: End::of(responder), port };
        self.pairs.get(&pair)?.found.as_ref()
    }

    /// Returns whether nobody guesses.
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.values().all(|followed| followed.found.is_none())
    }

    /// Lets every pair go that was silent for long enough. Returns whether one was.
    fn make_room(&mut self, at: Timestamp, window: i64) -> bool {
        if at < self.no_room_before {
            return false;
        }
        self.pairs.retain(|_, followed| at <= followed.until(window));
        self.no_room_before = self.pairs.values().map(|it| it.until(window)).min().unwrap_or_default();
        self.pairs.len() < PAIRS_MAX
    }
}

impl Followed {
    fn add(&mut self, at: Timestamp, limits: &GuessLimits) {
        // Of one tick they come in the order of their opening, not of their end.
        let place = self.latest.iter().rposition(|earlier| *earlier <= at).map_or(0, |place| place + 1);
        self.latest.insert(place, at);
        while self.latest.len() > limits.connections {
            self.latest.pop_front();
        }
        if let Some(found) = &mut self.found {
            found.first_at = found.first_at.min(at);
            found.last_at = found.last_at.max(at);
            found.connections = found.connections.saturating_add(1);
            return;
        }
        let (Some(first), Some(last)) = (self.latest.front(), self.latest.back()) else { return };
        if self.latest.len() >= limits.connections && last.since(*first) <= limits.window {
            let connections = u64::try_from(self.latest.len()).unwrap_or(u64::MAX);
            self.found = Some(Guessing { first_at: *first, last_at: *last, connections });
        }
    }

    /// Returns from when on it makes room for others, if it stays silent.
    fn until(&self, window: i64) -> Timestamp {
        let silence = if self.found.is_some() { HOLD } else { window };
        self.latest.back().copied().unwrap_or_default().plus(silence)
    }
}
