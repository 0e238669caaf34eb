//! Kinds of ICMP messages that conversations began with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most kinds of one conversation that are told apart.
const KINDS_MAX: usize = 16;

/// Type and code of a message (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct IcmpKind {
    /// Type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Code.
    pub code: u8,
}

/// Written `8/0`.
impl fmt::Display for IcmpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.code)
    }
}

/// The kinds of message that the flows of a conversation began with: what was asked, not what was answered.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct IcmpKinds {
    /// Each once, ascending.
    pub kinds: Vec<IcmpKind>,
    /// Whether there were others, beyond the limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_more: bool,
}

impl IcmpKinds {
    /// Returns whether none is known.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty() && !self.is_more
    }

    /// Adds one.
    pub fn insert(&mut self, kind: IcmpKind) {
        let Err(place) = self.kinds.binary_search(&kind) else { return };
        if self.kinds.len() < KINDS_MAX {
            self.kinds.insert(place, kind);
        } else {
            self.is_more = true;
        }
    }

    /// Adds those of another conversation.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.kinds.iter().for_each(|kind| self.insert(*kind));
        self.is_more |= other.is_more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_held_once_and_beyond_the_limit_it_is_said_that_there_are_more() {
        let mut kinds = IcmpKinds::default();
        assert!(kinds.is_empty());
        for kind in [8, 3, 8, 3] {
            kinds.insert(IcmpKind { kind, code: 0 });
        }
        assert_eq!(kinds.kinds.iter().map(ToString::to_string).collect::<Vec<_>>(), ["3/0", "8/0"]);
        (0..=255).for_each(|code| kinds.insert(IcmpKind { kind: 3, code }));
        assert_eq!((kinds.kinds.len(), kinds.is_more), (16, true));
        let mut all = IcmpKinds::default();
        all.merge(&kinds);
        assert_eq!(all, kinds);
    }
}
