//! What a person may do to a baseline. Evidence never undoes it.

use portolan_flowtable::Timestamp;

use super::profile::whole_seconds;
use super::{Baseline, EDGES_MAX, Edge, Evidence, FORBIDDEN_MAX, Forbidden, Origin, Profile, ProfileKey};

/// Something a person does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// Promotes the service, whatever its evidence; what is supported is learned.
    Promote,
    /// Makes one edge part of the baseline, seen or not. What is forbidden has to be permitted first.
    Learn(Edge),
    /// Forgets one edge; seen again, it is a candidate.
    Forget(Edge),
    /// Forgets everything that was learned, and begins anew. What is forbidden stays so.
    Reset,
    /// Forbids an edge: no learning brings it back.
    Forbid {
        /// Which.
        edge: Edge,
        /// Who says so.
        by: String,
        /// Why.
        reason: String,
    },
    /// Takes that back.
    Permit(Edge),
    /// Stops learning.
    Freeze,
    /// Goes on learning.
    Thaw,
}

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acted {
    /// Profiles that are other than before.
    pub changed: Vec<ProfileKey>,
}

/// Why it was not done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ActError {
    /// Nobody has that name.
    #[error("the baseline has no service {service:?}{}: portolan baseline show lists them", hint(.nearest.as_deref()))]
    UnknownService {
        /// The name.
        service: String,
        /// The nearest one there is.
        nearest: Option<String>,
    },
    /// The service was not run from that image.
    #[error("the baseline has no image {image:?} of {service}: portolan baseline show lists them")]
    UnknownImage {
        /// The service.
        service: String,
        /// The image.
        image: String,
    },
    /// It never was there.
    #[error("{service} has no edge {edge}: portolan baseline show {service} lists them")]
    UnknownEdge {
        /// The service.
        service: String,
        /// The edge.
        edge: Edge,
    },
    /// It is forbidden.
    #[error("{edge} is forbidden for {service}: take that back first with portolan baseline permit")]
    Forbidden {
        /// The service.
        service: String,
        /// The edge.
        edge: Edge,
    },
    /// There are too many already.
    #[error("{service} has as many edges as a profile holds: forget some first")]
    NoRoom {
        /// The service.
        service: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |name| format!("; did you mean {name:?}?"))
}

impl Baseline {
    /// Does something to every profile that `SERVICE` or `SERVICE@IMAGE` names; all of them or none.
    ///
    /// # Errors
    ///
    /// Returns which name is unknown, or why it cannot be done.
    pub fn act(&mut self, named: &str, act: &Act, now: Timestamp) -> Result<Acted, ActError> {
        let keys = self.named(named)?;
        let mut changed = Vec::new();
        let mut applied = Vec::new();
        let mut is_known = false;
        for key in keys {
            let Some(profile) = self.profiles.get(&key) else { continue };
            let mut after = profile.clone();
            is_known |= after.act(&key.service, act, now)?;
            if after != *profile {
                changed.push(key.clone());
                applied.push((key, after));
            }
        }
        if !is_known && let Act::Forget(edge) | Act::Permit(edge) = act {
            let service = named.split('@').next().unwrap_or(named).to_owned();
            return Err(ActError::UnknownEdge { service, edge: edge.clone() });
        }
        self.profiles.extend(applied);
        Ok(Acted { changed })
    }

    /// Returns the profiles that `SERVICE` or `SERVICE@IMAGE` names: the image by its id, the beginning of it, its
    /// reference or its tag.
    ///
    /// # Errors
    ///
    /// Returns which of the two names is unknown.
    pub fn named(&self, named: &str) -> Result<Vec<ProfileKey>, ActError> {
        let (service, image) = match named.split_once('@') {
            Some((service, image)) => (service, Some(image)),
            None => (named, None),
        };
        let short = |known: &str| known.rsplit('/').next() == Some(service);
        let mut keys: Vec<&ProfileKey> =
            self.profiles.keys().filter(|known| known.service == service).collect();
        if keys.is_empty() {
            keys = self.profiles.keys().filter(|known| short(&known.service)).collect();
            let is_one = keys.iter().all(|key| Some(&key.service) == keys.first().map(|key| &key.service));
            if !is_one {
                keys.clear();
            }
        }
        if keys.is_empty() {
            // Whoever leaves the project out means the service.
            let asked_of = |known: &'_ str| -> usize {
                let own =
                    if service.contains('/') { known } else { known.rsplit('/').next().unwrap_or(known) };
                strsim::damerau_levenshtein(own, service)
            };
            let slips_max = (service.chars().count() / 3).max(1);
            let nearest = self
                .profiles
                .keys()
                .map(|known| (asked_of(&known.service), &known.service))
                .min()
                .filter(|(slips, _)| *slips <= slips_max)
                .map(|(_, name)| name.clone());
            return Err(ActError::UnknownService { service: service.to_owned(), nearest });
        }
        let Some(image) = image else { return Ok(keys.into_iter().cloned().collect()) };
        let is_it = |key: &&ProfileKey| {
            let reference = self.profiles.get(*key).map_or("", |profile| profile.reference.as_str());
            let digest = key.image.strip_prefix("sha256:").unwrap_or(&key.image);
            let wanted = image.strip_prefix("sha256:").unwrap_or(image);
            key.image == image
                || reference == image
                || reference.rsplit_once(':').is_some_and(|(_, tag)| tag == image)
                || (wanted.len() >= DIGITS_MIN && digest.starts_with(wanted))
        };
        let of_image: Vec<ProfileKey> = keys.into_iter().filter(is_it).cloned().collect();
        if of_image.is_empty() {
            return Err(ActError::UnknownImage { service: service.to_owned(), image: image.to_owned() });
        }
        Ok(of_image)
    }
}

/// Fewest digits that may stand for an image.
const DIGITS_MIN: usize = 4;

impl Profile {
    /// Returns whether the profile knew what the act is about.
    fn act(&mut self, service: &str, act: &Act, now: Timestamp) -> Result<bool, ActError> {
        let service = || service.to_owned();
        match act {
            Act::Promote => {
                for evidence in self.edges.values_mut() {
                    evidence.is_learned |= evidence.is_supported();
                }
                self.promote(now);
            }
            Act::Learn(edge) => {
                if self.forbidden.contains_key(edge) {
                    return Err(ActError::Forbidden { service: service(), edge: edge.clone() });
                }
                if !self.edges.contains_key(edge) && self.edges.len() >= EDGES_MAX {
                    return Err(ActError::NoRoom { service: service() });
                }
                let now = whole_seconds(now);
                let unseen =
                    Evidence { origin: Origin::Person, first_at: now, last_at: now, ..Evidence::default() };
                self.edges.entry(edge.clone()).or_insert(unseen).is_learned = true;
            }
            Act::Forget(edge) => return Ok(self.edges.remove(edge).is_some()),
            Act::Reset => self.reset(),
            Act::Forbid { edge, by, reason } => {
                if !self.forbidden.contains_key(edge) && self.forbidden.len() >= FORBIDDEN_MAX {
                    return Err(ActError::NoRoom { service: service() });
                }
                self.edges.remove(edge);
                let forbidden = Forbidden { at: whole_seconds(now), by: by.clone(), reason: reason.clone() };
                self.forbidden.insert(edge.clone(), forbidden);
            }
            Act::Permit(edge) => return Ok(self.forbidden.remove(edge).is_some()),
            Act::Freeze => self.is_frozen = true,
            Act::Thaw => self.is_frozen = false,
        }
        Ok(true)
    }
}
