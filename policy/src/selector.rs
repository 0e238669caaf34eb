//! Whom a contract means: selectors of services and patterns of initiators.

use std::net::IpAddr;

use ipnet::IpNet;
use portolan_flowtable::{Peer, Workload};

/// A pattern in which `*` stands for any text and `?` for any one character.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Glob(Vec<char>);

impl std::fmt::Display for Glob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{letter}"))
    }
}

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.chars().collect())
    }

    /// Returns whether the whole of `text` fits. Costs at most pattern times text steps.
    pub(crate) fn fits(&self, text: &str) -> bool {
        let pattern = &self.0;
        let text: Vec<char> = text.chars().collect();
        let (mut at_pattern, mut at_text) = (0, 0);
        // Where to go on when a guess about the last star was wrong: behind the star, one character later.
        let mut retry: Option<(usize, usize)> = None;
        while at_text < text.len() {
            match pattern.get(at_pattern) {
                Some('*') => {
                    at_pattern += 1;
                    retry = Some((at_pattern, at_text));
                }
                Some(wanted) if *wanted == '?' || text.get(at_text) == Some(wanted) => {
                    at_pattern += 1;
                    at_text += 1;
                }
                Some(_) | None => {
                    let Some((behind_star, tried)) = retry else { return false };
                    at_pattern = behind_star;
                    at_text = tried + 1;
                    retry = Some((behind_star, at_text));
                }
            }
        }
        pattern.iter().skip(at_pattern).all(|left| *left == '*')
    }

    /// Returns whether it fits an image reference, with or without the tag and digest.
    fn fits_image(&self, image: &str) -> bool {
        self.fits(image) || self.fits(repository(image))
    }
}

/// Returns an image reference without tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let name_from = image.rfind('/').map_or(0, |slash| slash + 1);
    match image.get(name_from..).and_then(|name| name.find(':')) {
        Some(colon) => image.get(..name_from + colon).unwrap_or(image),
        None => image,
    }
}

/// One property a workload must have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Trait {
    /// `project/service`, or a service of any project.
    Service(String),
    /// Image reference.
    Image(Glob),
    /// Label, with its value where one is given.
    Label(String, Option<String>),
    /// Name of a network it is on.
    Network(String),
    /// Compose or stack project.
    Project(String),
    /// Container name.
    Container(Glob),
    /// Id or registry digest of the image: `sha256:` and 64 digits.
    Digest(String),
    /// User it runs as, a name or a number.
    User(String),
    /// Whether it runs privileged.
    Privileged,
    /// A capability it may use, without `CAP_`.
    Capability(String),
}

/// As a contract writes it.
impl std::fmt::Display for Trait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(name) => f.write_str(name),
            Self::Image(glob) => write!(f, "image:{glob}"),
            Self::Label(key, None) => write!(f, "label:{key}"),
            Self::Label(key, Some(value)) => write!(f, "label:{key}={value}"),
            Self::Network(name) => write!(f, "network:{name}"),
            Self::Project(name) => write!(f, "project:{name}"),
            Self::Container(glob) => write!(f, "container:{glob}"),
            Self::Digest(digest) => write!(f, "digest:{digest}"),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Privileged => f.write_str("privileged"),
            Self::Capability(name) => write!(f, "capability:{name}"),
        }
    }
}

impl Trait {
    pub(crate) fn is_of(&self, workload: &Workload) -> bool {
        match self {
            Self::Service(name) => *name == workload.service || is_qualified(name, workload),
            Self::Image(glob) => glob.fits_image(&workload.image),
            Self::Label(key, None) => workload.labels.contains_key(key),
            Self::Label(key, Some(value)) => workload.labels.get(key) == Some(value),
            Self::Network(name) => workload.networks.contains(name),
            Self::Project(name) => workload.project == *name,
            Self::Container(glob) => glob.fits(&workload.container),
            Self::Digest(digest) => workload.image_id == *digest || workload.image_digests.contains(digest),
            Self::User(user) => workload.confinement.as_ref().is_some_and(|it| it.user == *user),
            Self::Privileged => workload.confinement.as_ref().is_some_and(|it| it.is_privileged),
            Self::Capability(name) => workload.confinement.as_ref().is_some_and(|it| it.has_capability(name)),
        }
    }
}

/// Returns whether `name` is `project/service` of a workload; asked for every pair of rule and conversation, so without
/// building the text.
fn is_qualified(name: &str, workload: &Workload) -> bool {
    let service = name.strip_prefix(workload.project.as_str()).and_then(|rest| rest.strip_prefix('/'));
    !workload.project.is_empty() && service == Some(workload.service.as_str())
}

/// Somebody a contract expects to call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Initiator {
    /// A workload with this property.
    Workload(Trait),
    /// The Docker host.
    Host,
    /// Anybody outside the container networks.
    External,
    /// Whoever holds an address of this range.
    Addresses(IpNet),
    /// Whoever holds an address of one of these ranges, by the name of a group.
    Group(Vec<IpNet>),
    /// Whoever outside is called that, as far as the other end was told: by the name it asked for, or one that name is an
    /// alias of.
    Dns(Glob),
    /// A group of addresses, as a responder.
    Multicast,
    /// Anybody with a name, and anybody without.
    Any,
}

impl Initiator {
    /// Returns whether `peer` is meant. Ends nobody could name are never meant by a name.
    pub(crate) fn is(&self, peer: &Peer) -> bool {
        match self {
            Self::Workload(property) => peer.workload().is_some_and(|workload| property.is_of(workload)),
            Self::Host => matches!(peer, Peer::Host { .. }),
            Self::External => matches!(peer, Peer::External { .. }),
            Self::Addresses(range) => range.contains(&canonical(peer.address())),
            Self::Group(ranges) => ranges.iter().any(|range| range.contains(&canonical(peer.address()))),
            Self::Dns(pattern) => peer.names().iter().any(|claim| {
                std::iter::once(&claim.name).chain(&claim.aliases).any(|name| pattern.fits(name))
            }),
            Self::Multicast => matches!(peer, Peer::Group { .. }),
            Self::Any => true,
        }
    }
}

/// An IPv4 address that came mapped into IPv6 is still that IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_fit_whole_texts() {
        let cases = [
            ("*", "", true),
            ("*", "anything", true),
            ("post*", "postgres", true),
            ("post*", "compost", false),
            ("*gres", "postgres", true),
            ("p?stgres", "postgres", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("", "", true),
            ("", "x", false),
            ("?", "", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Glob::new(pattern).fits(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn an_image_pattern_without_a_tag_takes_any_tag_or_digest() {
        let cases = [
            ("postgres", "postgres:16", true),
            ("postgres", "postgres@sha256:abc", true),
            ("postgres:15", "postgres:16", false),
            ("registry:5000/team/*", "registry:5000/team/db:1", true),
            ("registry:5000/db", "registry:5000/db", true),
            ("postgres", "evil/postgres:16", false),
        ];
        for (pattern, image, expected) in cases {
            assert_eq!(Glob::new(pattern).fits_image(image), expected, "{pattern} on {image}");
        }
    }

    #[test]
    fn a_pattern_full_of_stars_ends_in_time() {
        let pattern = "*a".repeat(200);
        assert!(!Glob::new(&pattern).fits(&"b".repeat(5_000)));
    }
}
