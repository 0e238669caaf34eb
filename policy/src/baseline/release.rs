//! Two profiles held against each other, and several made one.

use std::collections::BTreeMap;

use super::profile::{Evidence, Origin, Profile, ProfileKey, Stage};
use super::{ActError, Baseline, EDGES_MAX, Edge, PROFILES_MAX};

/// What another image of a service does that the first did not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReleaseDiff {
    /// Edges of the second alone.
    pub added: BTreeMap<Edge, Evidence>,
    /// Edges of the first that were never seen with the second.
    pub missing: BTreeMap<Edge, Evidence>,
    /// Edges of both.
    pub kept: usize,
}

/// A profile that is not there, or not the only one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnknownProfile {
    /// No such service or image.
    #[error(transparent)]
    Unknown(#[from] ActError),
    /// Several fit.
    #[error("{named:?} may be {}: name the image, as in {named}@v1.3", .images.join(" or "))]
    Several {
        /// What was asked for.
        named: String,
        /// What it may be.
        images: Vec<String>,
    },
}

impl Baseline {
    /// Returns the one profile that `SERVICE@IMAGE` names.
    ///
    /// # Errors
    ///
    /// Returns that it names none or several.
    pub fn profile(&self, named: &str) -> Result<(&ProfileKey, &Profile), UnknownProfile> {
        let keys = self.named(named)?;
        let found: Vec<_> = keys.iter().filter_map(|key| self.profiles.get_key_value(key)).collect();
        match found.as_slice() {
            [one] => Ok(*one),
            several => Err(UnknownProfile::Several {
                named: named.to_owned(),
                images: several.iter().map(|(key, profile)| self.title(key, profile)).collect(),
            }),
        }
    }

    /// Returns what an image is called: its reference, with the beginning of its id where several of the service bear
    /// that; its id where it has none.
    pub fn image_title(&self, key: &ProfileKey, profile: &Profile) -> String {
        let reference = &profile.reference;
        if reference.is_empty() {
            return key.image.clone();
        }
        let is_twin = |(other, it): (&ProfileKey, &Profile)| {
            other.service == key.service && other != key && it.reference == *reference
        };
        let digest = key.image.strip_prefix("sha256:").unwrap_or(&key.image);
        if self.profiles.iter().any(is_twin) {
            format!("{reference} ({})", digest.get(..12).unwrap_or(digest))
        } else {
            reference.clone()
        }
    }

    /// Writes `shop/orders@orders:v1.3`; where another build bears that too, `shop/orders@` and the beginning of its id,
    /// which names it.
    fn title(&self, key: &ProfileKey, profile: &Profile) -> String {
        let image = self.image_title(key, profile);
        let named = match image.strip_suffix(')').and_then(|image| image.rsplit_once(" (")) {
            Some((_, digest)) => digest.to_owned(),
            None => image,
        };
        format!("{}@{named}", key.service)
    }

    /// Adds what another host learned of the same services. The order of hosts does not matter.
    pub fn merge(&mut self, other: Self) {
        for (key, profile) in other.profiles {
            match self.profiles.remove(&key) {
                Some(known) => self.profiles.insert(key, merged(known, profile)),
                None if self.profiles.len() >= PROFILES_MAX => {
                    self.turned_away += 1;
                    None
                }
                None => self.profiles.insert(key, profile),
            };
        }
        self.turned_away += other.turned_away;
        self.forgotten += other.forgotten;
    }
}

impl ReleaseDiff {
    /// Compares two profiles.
    pub fn between(first: &Profile, second: &Profile) -> Self {
        let is_seen = |evidence: &Evidence| evidence.origin != Origin::Inherited;
        let lacks = |edge: &Edge, profile: &Profile| !profile.edges.get(edge).is_some_and(is_seen);
        let of = |profile: &Profile, other: &Profile| -> BTreeMap<Edge, Evidence> {
            let own = profile.edges.iter().filter(|(_, evidence)| is_seen(evidence));
            own.filter(|(edge, _)| lacks(edge, other)).map(|(edge, it)| (edge.clone(), *it)).collect()
        };
        let added = second
            .edges
            .iter()
            .filter(|(edge, evidence)| is_seen(evidence) && !first.edges.contains_key(*edge))
            .map(|(edge, evidence)| (edge.clone(), *evidence))
            .collect();
        let kept = second
            .edges
            .iter()
            .filter(|(edge, evidence)| is_seen(evidence) && first.edges.contains_key(*edge));
        Self { added, kept: kept.count(), missing: of(first, second) }
    }

    /// Returns whether both do the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.missing.is_empty()
    }
}

/// Makes two profiles of one service and image, learned on two hosts, one.
fn merged(one: Profile, other: Profile) -> Profile {
    let mut edges = one.edges;
    for (edge, evidence) in other.edges {
        edges
            .entry(edge)
            .and_modify(|known| {
                *known = Evidence {
                    is_learned: known.is_learned || evidence.is_learned,
                    origin: known.origin.max(evidence.origin),
                    draws: known.draws.saturating_add(evidence.draws),
                    runs: known.runs.saturating_add(evidence.runs),
                    first_at: known.first_at.min(evidence.first_at),
                    last_at: known.last_at.max(evidence.last_at),
                    first_draw: known.first_draw.min(evidence.first_draw),
                }
            })
            .or_insert(evidence);
    }
    let mut forbidden = one.forbidden;
    for (edge, words) in other.forbidden {
        forbidden
            .entry(edge)
            .and_modify(|known| {
                if words < *known {
                    known.clone_from(&words);
                }
            })
            .or_insert(words);
    }
    // Whoever forbids it speaks for both.
    edges.retain(|edge, _| !forbidden.contains_key(edge));
    let mut left_out = one.left_out.saturating_add(other.left_out);
    while edges.len() > EDGES_MAX {
        edges.pop_last();
        left_out = left_out.saturating_add(1);
    }
    let stage = one.stage.min(other.stage);
    let mut hours = one.hours;
    hours.merge(other.hours);
    let text = |one: String, other: String| one.max(other);
    Profile {
        // What one host has not seen enough of is not enough for both.
        stage,
        is_frozen: one.is_frozen || other.is_frozen,
        reference: text(one.reference, other.reference),
        parent: text(one.parent, other.parent),
        since: one.since.min(other.since),
        until: one.until.max(other.until),
        promoted_at: one.promoted_at.max(other.promoted_at).filter(|_| stage == Stage::Promoted),
        draws: one.draws.saturating_add(other.draws),
        windows: one.windows.saturating_add(other.windows),
        hours,
        starts: one.starts.saturating_add(other.starts),
        started_at: one.started_at.max(other.started_at),
        left_out,
        edges,
        forbidden,
    }
}
