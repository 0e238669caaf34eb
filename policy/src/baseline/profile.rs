//! One service's profile: its edges, what they rest on, and whether that is enough.

use std::collections::BTreeMap;
use std::fmt;

use portolan_flowtable::Timestamp;
use portolan_flowtable::units::grouped;

use super::edge::Edge;
use super::hours::Hours;
use super::novelty::{Draws, Novelty};
use crate::words;

/// Most edges of one profile; further ones are counted and keep it from being promoted.
pub const EDGES_MAX: usize = 1_024;
/// Most forbidden edges of one profile.
pub const FORBIDDEN_MAX: usize = 1_024;
/// A draw is an edge and one of these spans: what is said often within one is no more evidence.
pub const WINDOW: i64 = 600 * Timestamp::SECOND;
/// Silence that ends a run.
const RUN_GAP: i64 = HOUR;
const HOUR: i64 = 3_600 * Timestamp::SECOND;
/// What is seen this much apart was not one occasion. Less than a day, so that a daily job may be early.
const APART: i64 = 20 * HOUR;
/// Draws of one run that, over [`APART`], are evidence without a second run.
const DRAWS_OF_A_RUN: u64 = 3;
/// What was not seen again for so long holds nobody up: a weekly job would have come back.
const PATIENCE: i64 = 8 * 24 * HOUR;

/// When a service's evidence is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Enough {
    /// Whether a profile is promoted as soon as it is enough, or waits for a person.
    pub promote: Promote,
    /// The chance that the next edge is new must be at most this, with 95 % confidence.
    pub novelty: f64,
    /// Hours of the day that must have been watched, 0 to 24.
    pub hours: u32,
    /// Container starts that must have been seen.
    pub starts: u64,
}

impl Default for Enough {
    fn default() -> Self {
        Self { promote: Promote::Auto, novelty: 0.01, hours: 24, starts: 1 }
    }
}

/// Who promotes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promote {
    /// Evidence alone.
    #[default]
    Auto,
    /// A person.
    Manual,
}

/// Where an edge comes from.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// Seen with the first image that was watched.
    #[default]
    Seen,
    /// Known from the image before, and not seen with this one.
    Inherited,
    /// Known from the image before, and seen with this one.
    Confirmed,
    /// Not known from the image before: new with this release.
    Release,
    /// Somebody said so.
    Person,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 5] = [Self::Seen, Self::Inherited, Self::Confirmed, Self::Release, Self::Person];

    /// Returns the word it is written with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Inherited => "inherited",
            Self::Confirmed => "confirmed",
            Self::Release => "release",
            Self::Person => "person",
        }
    }
}

/// What an edge rests on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Evidence {
    /// Whether it is part of the baseline; else it is a candidate.
    pub is_learned: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// Ten-minute windows it was seen in: its draws.
    pub draws: u64,
    /// Stretches of them, more than an hour apart.
    pub runs: u64,
    /// First seen, in whole seconds.
    pub first_at: Timestamp,
    /// Last seen, in whole seconds.
    pub last_at: Timestamp,
    /// Number of the service's draw that was its first.
    pub first_draw: u64,
}

impl Evidence {
    /// Returns whether it has been seen often enough, and far enough apart, not to be one occasion.
    pub fn is_supported(&self) -> bool {
        let is_apart = self.last_at.since(self.first_at) >= APART;
        is_apart && (self.runs >= 2 || self.draws >= DRAWS_OF_A_RUN)
    }
}

/// An edge that no learning brings back.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Forbidden {
    /// Since when, in whole seconds.
    pub at: Timestamp,
    /// Who said so: `uid 1000`, `file`.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// How far a profile got.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// What is seen is gathered; nothing unlearned is a finding.
    #[default]
    Learning,
    /// What is not learned is a finding.
    Promoted,
}

impl Stage {
    /// Returns the word it is written with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Promoted => "promoted",
        }
    }
}

/// Whose profile it is.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct ProfileKey {
    /// `project/service`.
    pub service: String,
    /// The image's id (`sha256:...`), or its reference where nobody knows the id.
    pub image: String,
}

/// What is known of one service run from one image.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Profile {
    /// How far it got.
    pub stage: Stage,
    /// Whether nothing is to be learned until somebody says otherwise.
    pub is_frozen: bool,
    /// Image reference as run, for people: `orders:v1.4`.
    pub reference: String,
    /// Image whose profile it began with; empty for the first.
    pub parent: String,
    /// First watched, in whole seconds.
    pub since: Timestamp,
    /// Last watched, in whole seconds.
    pub until: Timestamp,
    /// When it was promoted.
    pub promoted_at: Option<Timestamp>,
    /// Draws: (edge, ten-minute window), and container starts.
    pub draws: u64,
    /// Ten-minute windows watched without a loss.
    pub windows: u64,
    /// Parts of the day that were watched.
    pub hours: Hours,
    /// Container starts seen; several within one window are one.
    pub starts: u64,
    /// The latest of them.
    pub started_at: Timestamp,
    /// What was seen.
    pub edges: BTreeMap<Edge, Evidence>,
    /// What no learning brings back.
    pub forbidden: BTreeMap<Edge, Forbidden>,
    /// Sightings of edges that found no room.
    pub left_out: u64,
}

/// What became of a sighting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// An edge nobody had seen.
    New,
    /// Another draw of a known edge.
    Again,
    /// The same draw as before.
    Same,
    /// Forbidden: it stays so.
    Forbidden,
    /// The profile is frozen.
    Frozen,
    /// There is no room for another edge.
    NoRoom,
}

impl Profile {
    /// Takes a sighting in: a two-way exchange over `edge` at `at`.
    pub fn see(&mut self, edge: &Edge, at: Timestamp) -> Taken {
        if self.forbidden.contains_key(edge) {
            return Taken::Forbidden;
        }
        if self.is_frozen {
            return Taken::Frozen;
        }
        let at = whole_seconds(at);
        if let Some(known) = self.edges.get_mut(edge) {
            if known.origin == Origin::Inherited {
                known.origin = Origin::Confirmed;
            }
            if known.draws > 0 && window(at) <= window(known.last_at) {
                known.last_at = known.last_at.max(at);
                return Taken::Same;
            }
            if known.draws == 0 {
                known.first_at = at;
                known.first_draw = self.draws + 1;
            }
            if known.draws == 0 || at.since(known.last_at) > RUN_GAP {
                known.runs += 1;
            }
            known.draws += 1;
            known.last_at = at;
            self.draws += 1;
            return Taken::Again;
        }
        if self.edges.len() >= EDGES_MAX {
            self.left_out += 1;
            return Taken::NoRoom;
        }
        self.draws += 1;
        let origin = if self.parent.is_empty() { Origin::Seen } else { Origin::Release };
        let evidence = Evidence {
            is_learned: false,
            origin,
            draws: 1,
            runs: 1,
            first_at: at,
            last_at: at,
            first_draw: self.draws,
        };
        self.edges.insert(edge.clone(), evidence);
        Taken::New
    }

    /// Notes that the service was watched at `at`; returns whether that began another window.
    pub fn watch(&mut self, at: Timestamp) -> bool {
        let at = whole_seconds(at);
        if self.windows > 0 && window(at) <= window(self.until) {
            self.until = self.until.max(at);
            return false;
        }
        if self.windows == 0 && self.since == Timestamp::default() {
            self.since = at;
        }
        // The first window behind a gap was not watched from its beginning.
        if self.windows > 0 && window(at) == window(self.until) + 1 {
            self.hours.add(at);
        }
        self.until = at;
        self.windows += 1;
        true
    }

    /// Notes that a container of it was started at `at`. Several within one window are one occasion.
    pub fn start(&mut self, at: Timestamp) {
        let at = whole_seconds(at);
        if self.starts == 0 || window(at) > window(self.started_at) {
            self.starts += 1;
            self.draws += 1;
            self.started_at = at;
        }
    }

    /// Lets evidence take effect: supported edges become learned, and where everything is there and evidence alone
    /// promotes, so does the profile. Returns whether it was promoted.
    pub fn settle(&mut self, now: Timestamp, enough: &Enough) -> bool {
        if self.stage == Stage::Promoted || self.is_frozen {
            return false;
        }
        for evidence in self.edges.values_mut() {
            evidence.is_learned |= evidence.is_supported();
        }
        let is_promoted = enough.promote == Promote::Auto && self.missing(now, enough).is_empty();
        if is_promoted {
            self.promote(now);
        }
        is_promoted
    }

    /// Promotes it, whatever its evidence.
    pub fn promote(&mut self, now: Timestamp) {
        self.stage = Stage::Promoted;
        self.promoted_at = Some(whole_seconds(now));
    }

    /// Returns what is missing before evidence promotes it; nothing, if it is enough.
    pub fn missing(&self, now: Timestamp, enough: &Enough) -> Vec<Missing> {
        let mut missing = Vec::new();
        let watched = self.hours.whole();
        if watched < enough.hours {
            missing.push(Missing::Hours { watched, wanted: enough.hours });
        }
        if self.starts < enough.starts {
            missing.push(Missing::Starts { seen: self.starts, wanted: enough.starts });
        }
        for (edge, evidence) in &self.edges {
            let is_open = !evidence.is_learned
                && !evidence.is_supported()
                && evidence.draws > 0
                && now.since(evidence.last_at) < PATIENCE;
            if is_open {
                missing.push(Missing::Again { edge: edge.clone(), evidence: *evidence });
            }
        }
        let draws = self.tally();
        let novelty = draws.novelty();
        if novelty.bound > enough.novelty {
            let further = draws.further(enough.novelty);
            missing.push(Missing::Novelty { novelty, wanted: enough.novelty, draws: draws.all, further });
        }
        if self.left_out > 0 {
            missing.push(Missing::Room { left_out: self.left_out });
        }
        missing
    }

    /// Returns the chance that the next draw shows an edge nobody has seen.
    pub fn novelty(&self) -> Novelty {
        self.tally().novelty()
    }

    fn tally(&self) -> Draws {
        let of = |number: u64| self.edges.values().filter(|evidence| evidence.draws == number).count();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let late = self.edges.values().filter(|it| it.draws > 0 && it.first_draw > self.draws / 2).count();
        Draws { all: self.draws, once: count(of(1)), twice: count(of(2)), late: count(late) }
    }

    /// Begins the profile of another image of the same service with what is known of this one.
    pub fn inherit(&self, from: &str, reference: &str) -> Self {
        let mut child = self.clone();
        from.clone_into(&mut child.parent);
        reference.clone_into(&mut child.reference);
        for evidence in child.edges.values_mut() {
            if evidence.origin != Origin::Person {
                evidence.origin = Origin::Inherited;
            }
        }
        child
    }

    /// Forgets what was learned; what is forbidden stays so.
    pub fn reset(&mut self) {
        let kept = std::mem::take(self);
        *self = Self { forbidden: kept.forbidden, reference: kept.reference, ..Self::default() };
    }
}

/// One thing that evidence still lacks.
#[derive(Clone, Debug, PartialEq)]
pub enum Missing {
    /// Some hours of the day were never watched.
    Hours {
        /// Hours of the day watched.
        watched: u32,
        /// How many there have to be.
        wanted: u32,
    },
    /// Too few container starts were seen.
    Starts {
        /// How many were.
        seen: u64,
        /// How many there have to be.
        wanted: u64,
    },
    /// An edge was seen on one occasion: a job that comes once a day looks like that on its first.
    Again {
        /// Which.
        edge: Edge,
        /// What it rests on.
        evidence: Evidence,
    },
    /// It is too likely that something new comes.
    Novelty {
        /// How likely.
        novelty: Novelty,
        /// How likely it may be.
        wanted: f64,
        /// Draws so far.
        draws: u64,
        /// Further ones without anything new that would do.
        further: u64,
    },
    /// Edges found no room, so nobody knows them all.
    Room {
        /// Sightings of them.
        left_out: u64,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hours { watched, wanted } => {
                write!(f, "{watched} of {wanted} hours of the day were watched")
            }
            Self::Starts { seen, wanted } => {
                let starts = words::count(*wanted, "container start");
                write!(f, "{seen} of {starts} seen: restart it while it is watched")
            }
            Self::Again { edge, evidence } if evidence.runs < 2 => write!(
                f,
                "{edge} was seen on one occasion, {} to {}: a daily job seen once looks like that; it waits for its \
                 second run",
                minute(evidence.first_at),
                minute(evidence.last_at)
            ),
            Self::Again { edge, evidence } => write!(
                f,
                "{edge} was seen {} within less than 20 hours: it waits to be seen on another day",
                words::count(evidence.runs, "time")
            ),
            Self::Novelty { novelty, wanted, draws, further } => write!(
                f,
                "the chance that the next edge is new is at most {} (95 %, {}), more than {}; {} more without a new \
                 edge would do",
                percent(novelty.bound),
                words::count(*draws, "draw"),
                percent(*wanted),
                grouped(*further)
            ),
            Self::Room { left_out } => {
                write!(f, "there was no room for {} of further edges", words::count(*left_out, "sighting"))
            }
        }
    }
}

/// Writes a share as `0.4 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Writes `2026-11-20 03:00`.
fn minute(at: Timestamp) -> String {
    at.to_string().get(..16).unwrap_or_default().replace('T', " ")
}

pub(super) fn window(at: Timestamp) -> i64 {
    at.0.div_euclid(WINDOW)
}

pub(super) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp(at.0.div_euclid(Timestamp::SECOND).saturating_mul(Timestamp::SECOND))
}
