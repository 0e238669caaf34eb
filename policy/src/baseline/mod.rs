//! The baseline: who talks to whom, learned from what was delivered both ways.
//!
//! # Where it sits
//!
//! [`Baseline::learn`] takes each [`Assessment`](crate::Assessment) in; [`Baseline::opinion`] says how an edge stands,
//! and verdicts ask it behind deny, allow and documented intent. [`Baseline::to_text`] and [`Baseline::parse`] are the
//! reviewable file. What is learned, when it is enough and where that fails stands in `docs/baseline.md`.
//!
//! # Invariants
//!
//! - **Evidence, not a clock.** Time comes with assessments alone. A service is promoted when its evidence is enough,
//!   and says what is missing until then.
//! - **Only exchanges.** Attempts, half-open handshakes, refusals, spoofed and scanning senders, violations, guesses
//!   about roles and blind intervals teach nothing.
//! - **Forbidden stays forbidden.** Nothing that is seen undoes it.
//! - **Bounded.** Profiles, images of a service, edges and forbidden edges have limits; what finds no room is counted,
//!   and keeps its profile from being promoted.

mod acts;
mod edge;
mod hours;
pub(crate) mod learned;
mod lessons;
mod novelty;
mod profile;
mod read;
mod release;
mod text;

use std::collections::BTreeMap;

use portolan_flowtable::Timestamp;

pub use acts::{Act, ActError, Acted};
pub use edge::{Direction, Edge, NoEdge};
pub use hours::{Hours, NoHours};
pub use novelty::{Draws, Novelty};
pub use profile::{
    EDGES_MAX, Enough, Evidence, FORBIDDEN_MAX, Forbidden, Missing, Origin, Profile, ProfileKey, Promote,
    Stage, Taken, WINDOW, percent,
};
pub use read::DamagedBaseline;
pub use release::{ReleaseDiff, UnknownProfile};

use lessons::Growth;

/// Most profiles: services times images.
pub const PROFILES_MAX: usize = 4_096;
/// Most images of one service; of more, the one that was watched longest ago goes.
pub const IMAGES_MAX: usize = 8;
/// Most pairs of ends whose growth is followed between two assessments.
pub const FOLLOWED_MAX: usize = 65_536;

/// What is learned of every service.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    enough: Enough,
    profiles: BTreeMap<ProfileKey, Profile>,
    /// What conversations had carried when they were last looked at.
    followed: BTreeMap<lessons::Talk, Growth>,
    turned_away: u64,
    forgotten: u64,
}

/// How an edge stands with the baseline of its services.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Opinion {
    /// Somebody forbade it, at one of its ends.
    Forbidden {
        /// Whose profile says so.
        service: String,
        /// The edge as that service sees it.
        edge: Edge,
        /// Who, when and why.
        forbidden: Forbidden,
    },
    /// Learned at one of its ends, and nowhere else new.
    Learned,
    /// A promoted service has not learned it.
    New {
        /// Whose profile lacks it.
        service: String,
        /// The edge as that service sees it.
        edge: Edge,
        /// The image it came with, where the service's profile began with that of another.
        release: Option<String>,
    },
    /// Nobody has learned enough to say.
    None,
}

impl Baseline {
    /// Builds a baseline that knows nothing.
    pub fn new(enough: Enough) -> Self {
        Self { enough, ..Self::default() }
    }

    /// Returns when evidence is enough.
    pub fn enough(&self) -> &Enough {
        &self.enough
    }

    /// Says when evidence is enough.
    pub fn set_enough(&mut self, enough: Enough) {
        self.enough = enough;
    }

    /// Returns every profile.
    pub fn profiles(&self) -> &BTreeMap<ProfileKey, Profile> {
        &self.profiles
    }

    /// Puts a profile in the place of one.
    pub fn replace(&mut self, service: &str, image: &str, profile: Profile) {
        let key = ProfileKey { service: service.to_owned(), image: image.to_owned() };
        if self.profiles.contains_key(&key) {
            self.profiles.insert(key, profile);
        }
    }

    /// Returns how often something found no room for a profile, or for its growth to be followed.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// Returns profiles of images that made room for later ones.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Returns how an edge stands: who initiates, who responds (each as service and image, where it is a container),
    /// as their edges are written.
    pub fn opinion(
        &self,
        initiator: Option<&ProfileKey>,
        responder: Option<&ProfileKey>,
        ends: &Ends,
    ) -> Opinion {
        let mut said = Opinion::None;
        for (key, edge) in [(initiator, &ends.to), (responder, &ends.from)] {
            let Some(key) = key else { continue };
            let service = key.service.clone();
            // What somebody forbade holds for every image of the service, one that was never learned included.
            let of_service = ProfileKey { service: key.service.clone(), image: String::new() };
            let known =
                self.profiles.range(of_service..).take_while(|(other, _)| other.service == key.service);
            if let Some(forbidden) = known.filter_map(|(_, profile)| profile.forbidden.get(edge)).next() {
                return Opinion::Forbidden { service, edge: edge.clone(), forbidden: forbidden.clone() };
            }
            let Some(profile) = self.profiles.get(key) else { continue };
            let is_learned = profile.edges.get(edge).is_some_and(|evidence| evidence.is_learned);
            if is_learned && said == Opinion::None {
                said = Opinion::Learned;
            }
            if !is_learned && profile.stage == Stage::Promoted && !matches!(said, Opinion::New { .. }) {
                let release = Some(key.image.clone()).filter(|_| !profile.parent.is_empty());
                said = Opinion::New { service, edge: edge.clone(), release };
            }
        }
        said
    }

    /// Returns the profile of a service and image; one that is not there yet begins with what is known of the image
    /// before. `None` where there is no room.
    fn profile_for(&mut self, key: &ProfileKey, reference: &str) -> Option<&mut Profile> {
        if !self.profiles.contains_key(key) {
            let of_service = ProfileKey { service: key.service.clone(), image: String::new() };
            let images: Vec<(ProfileKey, Timestamp)> = self
                .profiles
                .range(of_service..)
                .take_while(|(known, _)| known.service == key.service)
                .map(|(known, profile)| (known.clone(), profile.until))
                .collect();
            if self.profiles.len() >= PROFILES_MAX && images.is_empty() {
                self.turned_away += 1;
                return None;
            }
            let latest = images.iter().max_by_key(|(known, until)| (*until, known.clone())).cloned();
            let parent = latest.and_then(|(known, _)| Some((self.profiles.get(&known)?.clone(), known)));
            if (images.len() >= IMAGES_MAX || self.profiles.len() >= PROFILES_MAX)
                && let Some((oldest, _)) = images.iter().min_by_key(|(known, until)| (*until, known.clone()))
            {
                self.profiles.remove(oldest);
                self.forgotten += 1;
            }
            let fresh = match parent {
                Some((profile, known)) => profile.inherit(&known.image, reference),
                None => Profile { reference: reference.to_owned(), ..Profile::default() },
            };
            self.profiles.insert(key.clone(), fresh);
        }
        self.profiles.get_mut(key)
    }
}

/// An edge as each of its ends sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ends {
    /// For the initiator: to whom.
    pub to: Edge,
    /// For the responder: from whom.
    pub from: Edge,
}
