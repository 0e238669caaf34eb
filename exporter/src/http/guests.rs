//! The connections of one listener: how many, from where, and who makes room.
//!
//! # Invariants
//!
//! - **Bounded.** Connections in all, connections of one origin, bytes of answers not taken yet. A descriptor is
//!   given back before the next is taken over the limit.
//! - **Room is made by who takes most of it.** First within the origin that is over its own limit, else within the
//!   one that holds most. There, the connection that has been quiet longest goes first; one that takes its answer goes
//!   only if no quiet one may go, and one that waits for us last. So whoever holds connections open, or fills them, keeps nobody else out.
//! - **Everybody gets a moment.** Nobody is let go before there was time to ask, and to be answered: under a flood
//!   newcomers wait in the kernel's queue instead.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Patience;
use super::activity::{Activity, Doing};
use crate::own::OwnMetrics;

/// What answers under way are given at the end.
const FAREWELL: Duration = Duration::from_millis(500);
/// What a newcomer is given to ask, a TLS handshake apart, before it may be let go. Who was answered had it.
const MOMENT_TO_ASK: Duration = Duration::from_millis(200);
/// What a client is given to take its answer.
const MOMENT_TO_TAKE: Duration = Duration::from_secs(2);
/// What we are given to make an answer: waiting for us is nobody's fault.
const MOMENT_TO_ANSWER: Duration = Duration::from_secs(8);
/// Longest wait before it is looked again whether there is room.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where a connection comes from, as far as limits go: an address, or an IPv6 network of 64 bits.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Origin {
    Network(IpAddr),
    Socket,
}

impl Origin {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self::Network(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => Self::Network(v4),
        }
    }
}

/// The connections of one listener.
pub(super) struct Guests {
    limits: Patience,
    own: OwnMetrics,
    places: Arc<Semaphore>,
    opened_at: Instant,
    arrivals: AtomicU64,
    present: Mutex<BTreeMap<u64, Seat>>,
}

/// What a connection is doing.
struct Guest {
    origin: Origin,
    activity: Activity,
}

impl Doing {
    fn moment(self) -> Duration {
        match self {
            Self::Resting => Duration::ZERO,
            Self::Arriving => MOMENT_TO_ASK,
            Self::Taking => MOMENT_TO_TAKE,
            Self::Waiting => MOMENT_TO_ANSWER,
        }
    }
}

/// A connection, and how to end it.
struct Seat {
    guest: Arc<Guest>,
    handle: AbortHandle,
}

/// One connection, for its own conversation.
#[derive(Clone)]
pub(super) struct Place {
    guests: Arc<Guests>,
    guest: Arc<Guest>,
}

impl Guests {
    pub(super) fn new(limits: Patience, own: OwnMetrics) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(limits.connections_max));
        let (opened_at, arrivals) = (Instant::now(), AtomicU64::new(0));
        Arc::new(Self { limits, own, places, opened_at, arrivals, present: Mutex::default() })
    }

    /// Takes a connection in, and lets another go where there is no room.
    pub(super) async fn admit<C, F>(self: &Arc<Self>, origin: Origin, converse: C)
    where
        C: FnOnce(Place) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        while let Err(wait) = self.make_room(origin) {
            sleep(wait.min(LOOK_EVERY)).await;
        }
        // At most for as long as it takes to drop the connection that was just let go.
        let Ok(seat) = Arc::clone(&self.places).acquire_owned().await else {
            return;
        };
        let number = self.arrivals.fetch_add(1, Ordering::Relaxed);
        let guest = Arc::new(Guest { origin, activity: Activity::new() });
        let conversation = converse(Place { guests: Arc::clone(self), guest: Arc::clone(&guest) });
        let (guests, own) = (Arc::clone(self), Arc::clone(&guest));
        // The lock is held until the guest is listed, so it cannot leave before it came.
        let mut present = self.lock();
        let task = tokio::spawn(async move {
            guests.stir(&own);
            conversation.await;
            guests.lock().remove(&number);
            drop(seat);
        });
        present.insert(number, Seat { guest, handle: task.abort_handle() });
    }

    /// Makes room where there is none, or returns how long nobody may be let go.
    fn make_room(&self, origin: Origin) -> Result<(), Duration> {
        let mut present = self.lock();
        let mut crowds: BTreeMap<Origin, usize> = BTreeMap::new();
        for seat in present.values() {
            *crowds.entry(seat.guest.origin).or_default() += 1;
        }
        let own = crowds.get(&origin).copied().unwrap_or(0);
        // By the socket file come those its mode admits; they have the whole of it.
        let crowded = if own >= self.limits.connections_per_origin_max && origin != Origin::Socket {
            Some(origin)
        } else if present.len() >= self.limits.connections_max {
            crowds.into_iter().max_by_key(|(_, crowd)| *crowd).map(|(origin, _)| origin)
        } else {
            None
        };
        let Some(crowded) = crowded else {
            return Ok(());
        };
        let now = self.opened_at.elapsed();
        let mut wait = LOOK_EVERY;
        let mut leaving = None;
        for (number, Seat { guest, .. }) in present.iter().filter(|(_, seat)| seat.guest.origin == crowded) {
            let (doing, since) = guest.activity.doing();
            let since = Duration::from_nanos(since);
            let left = doing.moment().saturating_sub(now.saturating_sub(since));
            if !left.is_zero() {
                wait = wait.min(left);
            } else if leaving.is_none_or(|(first, _)| (doing, since) < first) {
                leaving = Some(((doing, since), *number));
            }
        }
        let Some((_, number)) = leaving else {
            return Err(wait);
        };
        self.let_go(&mut present, Some(number));
        Ok(())
    }

    /// Lets those go that have been taking their answers longest, until `bytes` further fit in, and gives them to
    /// this guest: under the one lock, or two would both find the same room.
    fn make_room_for_bytes(&self, guest: &Guest, bytes: usize) {
        let mut present = self.lock();
        loop {
            let holding = |seat: &&Seat| seat.guest.activity.bytes() > 0;
            let held: usize = present.values().map(|seat| seat.guest.activity.bytes()).sum();
            if held == 0 || held.saturating_add(bytes) <= self.limits.answer_bytes_max {
                return guest.activity.hand(bytes);
            }
            let leaving = present
                .iter()
                .filter(|(_, seat)| holding(seat))
                .min_by_key(|(_, seat)| seat.guest.activity.doing().1)
                .map(|(number, _)| *number);
            self.let_go(&mut present, leaving);
        }
    }

    /// Nanoseconds since the listener opened, which last for centuries.
    fn now(&self) -> u64 {
        u64::try_from(self.opened_at.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn stir(&self, guest: &Guest) {
        guest.activity.stir(self.now());
    }

    fn let_go(&self, present: &mut BTreeMap<u64, Seat>, number: Option<u64>) {
        if let Some(seat) = number.and_then(|number| present.remove(&number)) {
            seat.handle.abort();
            self.own.closed("displaced");
        }
    }

    /// Waits a moment for answers under way, then ends all connections.
    pub(super) async fn see_off(&self) {
        let emptied = async {
            while !self.lock().is_empty() {
                sleep(FAREWELL / 20).await;
            }
        };
        if timeout(FAREWELL, emptied).await.is_err() {
            for seat in self.lock().values() {
                seat.handle.abort();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Seat>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Says that the handshake is over.
    pub(super) fn stir(&self) {
        self.guests.stir(&self.guest);
    }

    /// Says that an answer is being made; it is under way until what is returned is dropped.
    pub(super) fn answering(&self) -> Answering {
        self.guest.activity.ask(self.guests.now());
        Answering { place: self.clone(), bytes: 0, body: Bytes::new() }
    }
}

/// An answer under way.
pub(super) struct Answering {
    place: Place,
    bytes: usize,
    body: Bytes,
}

impl Answering {
    /// Returns the body, which is under way until its last byte was handed to the kernel.
    pub(super) fn hand_out(mut self, body: Bytes) -> Bytes {
        if body.is_empty() {
            return body;
        }
        self.place.guests.make_room_for_bytes(&self.place.guest, body.len());
        self.bytes = body.len();
        self.body = body;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Answering {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Place { guests, guest } = &self.place;
        guest.activity.over(self.bytes, guests.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Origin = Origin::Network(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn table(
        connections_max: usize,
        connections_per_origin_max: usize,
        answer_bytes_max: usize,
    ) -> Arc<Guests> {
        let limits =
            Patience { connections_max, connections_per_origin_max, answer_bytes_max, ..Patience::default() };
        Guests::new(limits, OwnMetrics::new())
    }

    /// Takes one in that stays until it is let go.
    async fn sit(guests: &Arc<Guests>, origin: Origin) -> (u64, Place) {
        let mut place = None;
        guests
            .admit(origin, |own| {
                place = Some(own);
                std::future::pending()
            })
            .await;
        tokio::time::advance(Duration::from_millis(1)).await;
        (guests.lock().keys().next_back().copied().unwrap(), place.unwrap())
    }

    fn present(guests: &Guests) -> Vec<u64> {
        guests.lock().keys().copied().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_quiet_longest_makes_room_and_who_waits_for_us_last() {
        let guests = table(3, 3, 1 << 20);
        let (first, one) = sit(&guests, HERE).await;
        let (second, two) = sit(&guests, HERE).await;
        let (_, _three) = sit(&guests, HERE).await;
        let waiting = one.answering();
        drop(two.answering());
        let (fourth, four) = sit(&guests, HERE).await;
        assert!(!present(&guests).contains(&second), "the second was answered, the third may still ask");
        let (fifth, five) = sit(&guests, HERE).await;
        assert_eq!(present(&guests), [first, fourth, fifth], "the third had its moment");
        let (taking, _waits) = (four.answering().hand_out(Bytes::from_static(b"x")), five.answering());
        tokio::time::advance(MOMENT_TO_TAKE).await;
        let (sixth, six) = sit(&guests, HERE).await;
        assert_eq!(present(&guests), [first, fifth, sixth], "the others wait for us");
        let _waits_too = six.answering();
        let (seventh, _seven) = sit(&guests, HERE).await;
        assert_eq!(present(&guests), [fifth, sixth, seventh], "all wait for us, and the first asked first");
        drop((waiting, taking));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_let_go_before_there_was_time_to_ask_and_to_be_answered() {
        let guests = table(1, 1, 1 << 20);
        sit(&guests, HERE).await;
        let from = Instant::now();
        let (_, two) = sit(&guests, HERE).await;
        assert!(from.elapsed() + Duration::from_millis(1) >= MOMENT_TO_ASK, "{:?}", from.elapsed());
        let _waiting = two.answering();
        let from = Instant::now();
        sit(&guests, HERE).await;
        assert!(from.elapsed() >= MOMENT_TO_ANSWER, "{:?}", from.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_makes_room_for_itself_and_the_largest_for_others() {
        let guests = table(4, 3, 1 << 20);
        let there = Origin::of("192.0.2.1".parse().unwrap());
        let (other, _it) = sit(&guests, there).await;
        let mut places = Vec::new();
        for _ in 0..10 {
            places.push(sit(&guests, HERE).await);
        }
        assert_eq!(guests.lock().len(), 4);
        assert!(present(&guests).contains(&other), "one crowd does not displace another origin");
        let (newcomer, _it) = sit(&guests, Origin::of("192.0.2.2".parse().unwrap())).await;
        assert!(present(&guests).contains(&other) && present(&guests).contains(&newcomer));
        assert_eq!(guests.lock().len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_nobody_takes_make_room_for_others() {
        let guests = table(8, 8, 100);
        let (slow, one) = sit(&guests, HERE).await;
        let (quiet, _two) = sit(&guests, HERE).await;
        let held = one.answering().hand_out(Bytes::from(vec![0; 80]));
        let (third, three) = sit(&guests, HERE).await;
        let small = three.answering().hand_out(Bytes::from(vec![0; 20]));
        assert_eq!(present(&guests), [slow, quiet, third]);
        drop(small);
        let large = three.answering().hand_out(Bytes::from(vec![0; 500]));
        assert_eq!(present(&guests), [quiet, third], "a large one alone is let out all the same");
        assert_eq!((held.len(), large.len()), (80, 500));
    }

    #[test]
    fn an_origin_is_an_address_or_a_network_of_64_bits() {
        #[rustfmt::skip]
        let cases = [
            // one                 other                  same
            ("192.0.2.1",          "192.0.2.1",           true),
            ("192.0.2.1",          "192.0.2.2",           false),
            ("::ffff:192.0.2.1",   "192.0.2.1",           true),
            ("2001:db8::1",        "2001:db8::ffff:1",    true),
            ("2001:db8:0:1::1",    "2001:db8:0:2::1",     false),
        ];
        for (one, other, is_same) in cases {
            let same = Origin::of(one.parse().unwrap()) == Origin::of(other.parse().unwrap());
            assert_eq!(same, is_same, "{one} {other}");
        }
    }
}
