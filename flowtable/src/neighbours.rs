//! Who asks for which addresses of its own network by ARP (RFC 826), and is not answered.
//!
//! In a container network whoever looks for neighbours shows here and nowhere else: to an address that nobody holds the
//! kernel sends no packet, it asks for its hardware address and gives up. An ordinary program asks for the few it was told
//! of, and is answered.
//!
//! ARP frames alone pay for it: a look through the rows, and through the addresses of one.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::directory::{AttachmentId, ScopeId};
use crate::observation::{ArpFacts, Observation};
use crate::units::Timestamp;
use crate::workload::Workload;

/// Senders told apart; further ones take the place of who asked for few in vain and has asked nothing for a minute, or
/// found nothing at all: who has been quiet for longest.
pub const ASKERS_MAX: usize = 256;
/// Addresses of one sender that are remembered; of more the latest are.
pub const ASKED_MAX: usize = 64;
/// Span in which addresses must be asked for to count together.
const WINDOW: i64 = 60 * Timestamp::SECOND;
/// Silence after which an address does not answer. A neighbour on the same machine takes microseconds, one on a local
/// network a millisecond.
const PATIENCE: i64 = 50 * Timestamp::MILLISECOND;
/// The same where so many are asked for at once that there is no room to wait.
const PATIENCE_WITHOUT_ROOM: i64 = 10 * Timestamp::MILLISECOND;
/// Fewest addresses without an answer that are kept as a finding might need them.
const KEPT_MIN: usize = 2;
/// Addresses without an answer that make a sweep where nobody says otherwise: a sender of as many keeps its row.
pub const SWEEP_MIN: usize = 10;

/// One sender, and the addresses it asked for in vain so far.
#[derive(Clone, Copy, Debug)]
struct Asker {
    scope: ScopeId,
    /// Who sent; 0 where the capture does not say, or the host did.
    attachment: AttachmentId,
    is_host: bool,
    /// The address it says it has: the latest.
    address: Ipv4Addr,
    asked: [Asked; ASKED_MAX],
    held: usize,
    /// The most addresses that were silent at once.
    most: usize,
    frames: u64,
    heard_at: Timestamp,
    first_at: Timestamp,
    last_at: Timestamp,
    first_frame: u64,
    last_frame: u64,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    target: Ipv4Addr,
    at: Timestamp,
    frame: u64,
}

/// Why a sender may make room, the readiest first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Leave {
    /// It found nothing, and is quiet.
    Nothing,
    /// It asked for few in vain, and is quiet: what it asks for from here on counts anew.
    Few,
    /// It has found nothing so far.
    Lately,
}

const NOTHING: Asked = Asked { target: Ipv4Addr::UNSPECIFIED, at: Timestamp(0), frame: 0 };

/// Addresses of its own network that one sender asked for within a minute and that nobody answered for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seeking {
    /// The network.
    pub scope: ScopeId,
    /// Who asked; 0 where the capture does not say, or the host did.
    pub attachment: AttachmentId,
    /// Whether the host asked, by its bridge.
    pub is_host: bool,
    /// The address it says it has.
    pub address: Ipv4Addr,
    /// How many, at most, within a minute; [`ASKED_MAX`] stands for as many or more.
    pub addresses: usize,
    /// Requests it sent since the first of them.
    pub frames: u64,
    /// Time of the first.
    pub first_at: Timestamp,
    /// Time of the last.
    pub last_at: Timestamp,
    /// Number of the first in the capture.
    pub first_frame: u64,
    /// Number of the last.
    pub last_frame: u64,
}

/// Everybody who asked in vain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sought {
    /// Who, in the order of first frames.
    pub rows: Vec<Seeking>,
    /// Requests of senders that found no row.
    pub beyond: u64,
}

/// Everybody who asks for neighbours, at most [`ASKERS_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    rows: Vec<Asker>,
    /// Requests of senders that found no row.
    beyond: u64,
}

impl Neighbours {
    /// Builds an empty list that will not have to grow.
    pub(crate) fn new() -> Self {
        Self { rows: Vec::with_capacity(ASKERS_MAX), beyond: 0 }
    }

    /// Lets time pass: who was not answered for long enough by now has asked in vain.
    pub(crate) fn tick(&mut self, at: Timestamp) {
        for row in &mut self.rows {
            row.count(at);
        }
    }

    /// Returns who asked in vain up to the latest tick, in the order of their first frames.
    pub fn sought(&self) -> Sought {
        let mut rows: Vec<Seeking> =
            self.rows.iter().filter(|row| row.most >= KEPT_MIN).map(Asker::seeking).collect();
        rows.sort_by_key(|row| row.first_frame);
        Sought { rows, beyond: self.beyond }
    }

    /// Takes a request or an answer in.
    pub(crate) fn note(
        &mut self,
        seen: &Observation,
        arp: &ArpFacts,
        scope: ScopeId,
        attachment: AttachmentId,
        is_host: bool,
    ) {
        if !arp.is_request {
            // Whoever asked for the address of who answers was answered.
            // Networks of interfaces that nobody named are read off the frames, and one may look like several.
            let is_here = |row: &Asker| {
                row.scope == scope || (row.attachment == AttachmentId(0) && attachment == AttachmentId(0))
            };
            let asker = |row: &&mut Asker| is_here(row) && row.address == arp.target;
            for row in self.rows.iter_mut().filter(asker) {
                row.count(seen.at);
                row.forget(arp.sender);
            }
            return;
        }
        // Who announces its own address asks nobody, nor does who looks whether one is free before it takes it: its probes
        // come from 0.0.0.0 (RFC 5227, 2.1.1).
        if arp.sender == arp.target || arp.sender.is_unspecified() {
            return;
        }
        let is_named = is_host || attachment != AttachmentId(0);
        let is_it = |row: &&mut Asker| {
            let is_sender = if is_named { row.is_host == is_host } else { row.address == arp.sender };
            row.scope == scope && row.attachment == attachment && is_sender
        };
        if let Some(row) = self.rows.iter_mut().find(is_it) {
            row.ask(seen, arp);
            return;
        }
        let row = Asker::new(seen, arp, scope, attachment, is_host);
        if self.rows.len() < ASKERS_MAX {
            self.rows.push(row);
            return;
        }
        self.tick(seen.at);
        let leaving = self.rows.iter_mut().filter_map(|row| Some((row.leave(seen.at)?, row)));
        match leaving.min_by_key(|(leave, row)| (*leave, row.heard_at)) {
            Some((_, leaving)) => *leaving = row,
            None => self.beyond += 1,
        }
    }
}

impl Asker {
    fn new(
        seen: &Observation,
        arp: &ArpFacts,
        scope: ScopeId,
        attachment: AttachmentId,
        is_host: bool,
    ) -> Self {
        let mut asked = [NOTHING; ASKED_MAX];
        if let Some(first) = asked.first_mut() {
            *first = Asked { target: arp.target, at: seen.at, frame: seen.frame };
        }
        Self {
            scope,
            attachment,
            is_host,
            address: arp.sender,
            asked,
            held: 1,
            most: 0,
            frames: 1,
            heard_at: seen.at,
            first_at: seen.at,
            last_at: seen.at,
            first_frame: seen.frame,
            last_frame: seen.frame,
        }
    }

    fn ask(&mut self, seen: &Observation, arp: &ArpFacts) {
        self.count(seen.at);
        self.address = arp.sender;
        self.frames += 1;
        self.heard_at = self.heard_at.max(seen.at);
        if self.list().iter().any(|asked| asked.target == arp.target) {
            return;
        }
        if self.held == ASKED_MAX {
            self.count_within(seen.at, PATIENCE_WITHOUT_ROOM);
            self.asked.copy_within(1.., 0);
            self.held -= 1;
        }
        if let Some(free) = self.asked.get_mut(self.held) {
            *free = Asked { target: arp.target, at: seen.at, frame: seen.frame };
            self.held += 1;
        }
    }

    /// Returns whether, and how readily, it makes room for another.
    fn leave(&self, at: Timestamp) -> Option<Leave> {
        let is_quiet = at.since(self.heard_at) > WINDOW;
        match self.most {
            0..KEPT_MIN if is_quiet => Some(Leave::Nothing),
            KEPT_MIN..SWEEP_MIN if is_quiet => Some(Leave::Few),
            0..KEPT_MIN => Some(Leave::Lately),
            KEPT_MIN.. => None,
        }
    }

    fn list(&self) -> &[Asked] {
        self.asked.get(..self.held).unwrap_or_default()
    }

    fn forget(&mut self, answered: Ipv4Addr) {
        self.keep(|asked| asked.target != answered);
    }

    fn keep(&mut self, wanted: impl Fn(&Asked) -> bool) {
        let mut kept = 0;
        for number in 0..self.held {
            if let Some(asked) = self.asked.get(number).copied().filter(&wanted)
                && let Some(place) = self.asked.get_mut(kept)
            {
                *place = asked;
                kept += 1;
            }
        }
        self.held = kept;
    }

    /// Counts the addresses that are silent by now.
    fn count(&mut self, at: Timestamp) {
        self.count_within(at, PATIENCE);
    }

    fn count_within(&mut self, at: Timestamp, patience: i64) {
        // Those asked for within a minute of the latest, however long ago that was.
        let newest = self.list().last().map_or(at, |asked| asked.at);
        self.keep(|asked| newest.since(asked.at) <= WINDOW);
        let silent = || self.list().iter().filter(|asked| at.since(asked.at) >= patience);
        let count = silent().count();
        let (Some(first), Some(last)) = (silent().next().copied(), silent().next_back().copied()) else {
            return;
        };
        if count < KEPT_MIN {
            return;
        }
        // It goes on for as long as it is half as many.
        if count * 2 >= self.most {
            (self.last_at, self.last_frame) = (last.at, last.frame);
        }
        if count > self.most {
            if self.most < KEPT_MIN {
                (self.first_at, self.first_frame) = (first.at, first.frame);
            }
            self.most = count;
        }
    }

    fn seeking(&self) -> Seeking {
        Seeking {
            scope: self.scope,
            attachment: self.attachment,
            is_host: self.is_host,
            address: self.address,
            addresses: self.most,
            frames: self.frames,
            first_at: self.first_at,
            last_at: self.last_at,
            first_frame: self.first_frame,
            last_frame: self.last_frame,
        }
    }
}

/// A search for neighbours with names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighbourSweep {
    /// The network's name; empty where the capture does not say.
    pub network: String,
    /// The container that asked; `None` for the host, and where nobody knows.
    pub asker: Option<Arc<Workload>>,
    /// Whether the host asked.
    pub is_host: bool,
    /// The address it says it has.
    pub address: Ipv4Addr,
    /// Addresses that were silent, within a minute; [`ASKED_MAX`] stands for as many or more.
    pub addresses: usize,
    /// Requests it sent.
    pub frames: u64,
    /// Time of the first.
    pub first_at: Timestamp,
    /// Time of the last.
    pub last_at: Timestamp,
    /// Number of the first in the capture.
    pub first_frame: u64,
    /// Number of the last.
    pub last_frame: u64,
}

impl Seeking {
    /// Binds names to it.
    pub fn named(&self, names: &crate::workload::Names) -> NeighbourSweep {
        NeighbourSweep {
            network: names.scopes.get(&self.scope).map_or_else(String::new, |name| name.to_string()),
            asker: names.attachments.get(&self.attachment).cloned(),
            is_host: self.is_host,
            address: self.address,
            addresses: self.addresses,
            frames: self.frames,
            first_at: self.first_at,
            last_at: self.last_at,
            first_frame: self.first_frame,
            last_frame: self.last_frame,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Network, NonIp};

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 20, 0, last)
    }

    /// Tells of a request, or of an answer, by milliseconds.
    fn tell(list: &mut Neighbours, is_request: bool, from: u8, to: u8, at: i64) {
        let arp = ArpFacts { is_request, sender: address(from), target: address(to) };
        let network = Network::NonIp(NonIp::Arp(Some(arp)));
        let at = Timestamp(at * Timestamp::MILLISECOND);
        let seen = Observation { at, frame: 1, network, ..Observation::UNREAD };
        list.note(&seen, &arp, ScopeId(1), AttachmentId(u32::from(from)), false);
    }

    fn found(list: &mut Neighbours, at: i64) -> Vec<(u32, usize)> {
        list.tick(Timestamp(at * Timestamp::MILLISECOND));
        list.sought().rows.into_iter().map(|row| (row.attachment.0, row.addresses)).collect()
    }

    #[test]
    fn addresses_count_that_were_silent_for_a_moment_within_one_minute() {
        let asks = |apart: i64| {
            let mut list = Neighbours::new();
            (0..20).for_each(|number: u8| tell(&mut list, true, 7, 100 + number, i64::from(number) * apart));
            list
        };
        #[rustfmt::skip]
        let cases = [
            // milliseconds apart, asked when, silent
            (    1,     30, vec![]),
            (   10,    190, vec![(7, 15)]),
            (   10,    300, vec![(7, 20)]),
            (   10, 90_000, vec![(7, 20)]),
            (3_000, 59_000, vec![(7, 20)]),
            (6_000, 990_000, vec![(7, 11)]),
        ];
        for (apart, at, expected) in cases {
            assert_eq!(found(&mut asks(apart), at), expected, "{apart} ms apart, at {at}");
        }
    }

    #[test]
    fn who_is_answered_or_asks_for_one_address_again_and_again_or_announces_its_own_looks_for_nobody() {
        let mut list = Neighbours::new();
        for number in 0..100_u8 {
            let at = i64::from(number) * 100;
            tell(&mut list, true, 7, 100 + number, at);
            tell(&mut list, false, 100 + number, 7, at + 1);
            tell(&mut list, true, 8, 9, at);
            tell(&mut list, true, 200 + number % 10, 200 + number % 10, at);
        }
        assert_eq!(found(&mut list, 20_000), []);
    }

    #[test]
    fn who_asks_for_more_than_are_remembered_is_not_lost_in_the_crowd() {
        let mut list = Neighbours::new();
        // A thousand in a second, none of which stays for long enough.
        for number in 0..1_000_u16 {
            let [high, low] = number.to_be_bytes();
            let arp =
                ArpFacts { is_request: true, sender: address(7), target: Ipv4Addr::new(10, 0, high, low) };
            let network = Network::NonIp(NonIp::Arp(Some(arp)));
            let at = Timestamp(i64::from(number) * Timestamp::MILLISECOND);
            let seen = Observation { at, frame: 1, network, ..Observation::UNREAD };
            list.note(&seen, &arp, ScopeId(1), AttachmentId(7), false);
        }
        assert!(list.sought().rows[0].addresses >= 50, "{list:?}");
    }

    #[test]
    fn who_probes_for_a_free_address_looks_for_nobody() {
        let mut list = Neighbours::new();
        for number in 0..40_u8 {
            let arp = ArpFacts { is_request: true, sender: Ipv4Addr::UNSPECIFIED, target: address(number) };
            let at = Timestamp(i64::from(number) * Timestamp::SECOND);
            let network = Network::NonIp(NonIp::Arp(Some(arp)));
            let seen = Observation { at, frame: 1, network, ..Observation::UNREAD };
            list.note(&seen, &arp, ScopeId(1), AttachmentId(0), false);
        }
        assert_eq!((found(&mut list, 60_000), list.rows.len()), (vec![], 0));
    }

    #[test]
    fn an_answer_from_another_network_counts_where_neither_end_is_named() {
        #[rustfmt::skip]
        let cases = [
            // asker, answerer, network of the answer, silent
            (0, 0, 1, 0),
            (0, 0, 2, 0),
            (7, 9, 1, 0),
            (7, 9, 2, 20),
            (7, 0, 2, 20),
            (0, 9, 2, 20),
        ];
        for (asker, answerer, elsewhere, silent) in cases {
            let mut list = Neighbours::new();
            for number in 0..20_u8 {
                let at = Timestamp(i64::from(number) * 40 * Timestamp::MILLISECOND);
                let ask = ArpFacts { is_request: true, sender: address(7), target: address(100 + number) };
                let answer = ArpFacts { is_request: false, sender: ask.target, target: ask.sender };
                for (arp, scope, from) in [(ask, 1, asker), (answer, elsewhere, answerer)] {
                    let network = Network::NonIp(NonIp::Arp(Some(arp)));
                    let seen = Observation { at, frame: 1, network, ..Observation::UNREAD };
                    list.note(&seen, &arp, ScopeId(scope), AttachmentId(from), false);
                }
            }
            let sum: usize = found(&mut list, 9_000).iter().map(|(_, silent)| silent).sum();
            assert_eq!(sum, silent, "{asker} asks, {answerer} answers in network {elsewhere}");
        }
    }

    /// Lets as many senders as there are rows ask for some addresses each, and another sweep so much later.
    fn crowd(each: u8, later: i64) -> (Vec<(u32, usize)>, u64) {
        let mut list = Neighbours::new();
        let mut ask = |sender: u32, target: u8, at: i64| {
            let arp = ArpFacts { is_request: true, sender: address(9), target: address(target) };
            let at = Timestamp(at * Timestamp::MILLISECOND);
            let network = Network::NonIp(NonIp::Arp(Some(arp)));
            let seen = Observation { at, frame: 1, network, ..Observation::UNREAD };
            list.note(&seen, &arp, ScopeId(1), AttachmentId(sender), false);
        };
        for sender in 0..256 {
            (0..each).for_each(|number| ask(1_000 + sender, 20 + number, i64::from(number) * 60));
        }
        (0..40).for_each(|number| ask(7, 100 + number, later + i64::from(number) * 60));
        let found = found(&mut list, later + 9_000);
        (found.into_iter().filter(|(sender, _)| *sender == 7).collect(), list.beyond)
    }

    #[test]
    fn who_asked_for_few_in_vain_an_hour_ago_hides_no_sweep() {
        let hour = 3_600_000;
        assert_eq!(crowd(2, hour), (vec![(7, 40)], 0));
        assert_eq!(crowd(9, hour), (vec![(7, 40)], 0));
        // Within the minute they may go on; and each of so many has swept.
        assert_eq!(crowd(2, 30_000), (vec![], 40));
        assert_eq!(crowd(10, hour), (vec![], 40));
    }

    #[test]
    fn who_found_nothing_makes_room_and_who_seeks_stays() {
        let mut list = Neighbours::new();
        (0..80).for_each(|number| tell(&mut list, true, 7, 100 + number, i64::from(number)));
        for sender in 1_000..2_000_u32 {
            let arp = ArpFacts { is_request: true, sender: address(9), target: address(1) };
            let network = Network::NonIp(NonIp::Arp(Some(arp)));
            let at = Timestamp(i64::from(sender) * Timestamp::SECOND);
            let seen = Observation { at, frame: 1, network, ..Observation::UNREAD };
            list.note(&seen, &arp, ScopeId(1), AttachmentId(sender), false);
        }
        assert_eq!((list.rows.len(), list.beyond), (ASKERS_MAX, 0));
        assert_eq!(found(&mut list, 2_000_000), [(7, ASKED_MAX)]);
    }
}
