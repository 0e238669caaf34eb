//! Kinds of ICMP messages as rules write them: `echo-request`, `3/1`, `icmp6:135`.

use std::fmt;

use portolan_flowtable::icmp::{IcmpKind, IcmpKinds};
use portolan_flowtable::{Conversation, Protocol};

use crate::rules::Action;

/// Names as nftables has them, and the types they stand for in ICMP (IANA "ICMP Type Numbers") and ICMPv6 (IANA "ICMPv6
/// type Numbers").
const NAMES: [(&str, Option<u8>, Option<u8>); 14] = [
    ("echo-request", Some(8), Some(128)),
    ("echo-reply", Some(0), Some(129)),
    ("destination-unreachable", Some(3), Some(1)),
    ("packet-too-big", None, Some(2)),
    ("time-exceeded", Some(11), Some(3)),
    ("parameter-problem", Some(12), Some(4)),
    ("redirect", Some(5), Some(137)),
    ("router-solicitation", Some(10), Some(133)),
    ("router-advertisement", Some(9), Some(134)),
    ("nd-neighbor-solicit", None, Some(135)),
    ("nd-neighbor-advert", None, Some(136)),
    ("timestamp-request", Some(13), None),
    ("timestamp-reply", Some(14), None),
    ("address-mask-request", Some(17), None),
];
/// What stands before types of ICMPv6.
const VERSION_SIX: &str = "icmp6:";

/// Why a text is no type or code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NotANumber {
    /// Digits that make more than 255.
    Beyond,
    Other,
}

/// Reads a type or code: digits alone, no sign.
fn number(text: &str) -> Result<u8, NotANumber> {
    if text.is_empty() || !text.bytes().all(|letter| letter.is_ascii_digit()) {
        return Err(NotANumber::Other);
    }
    text.parse().map_err(|_| NotANumber::Beyond)
}

/// Messages of one type, or of one type and code.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct IcmpPattern {
    /// The type in ICMP, where it is one of it.
    four: Option<u8>,
    /// The type in ICMPv6.
    six: Option<u8>,
    code: Option<u8>,
}

impl IcmpPattern {
    /// Reads a name or number, with or without a code.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with it, and what may have been meant.
    pub(crate) fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
        let wrong = |hint| {
            let expected = "expected as in \"echo-request\", \"3/1\" or \"icmp6:135\"";
            (format!("bad ICMP type {text:?}: {expected}"), hint)
        };
        let beyond = |hint| (format!("bad ICMP type {text:?}: types and codes are 0 to 255"), hint);
        let code = match code.map(number) {
            None => None,
            Some(Ok(code)) => Some(code),
            Some(Err(not)) => {
                // What stands before it may have been meant alone, if it means anything.
                let alone = Self::parse(kind).is_ok().then(|| kind.to_owned());
                return Err(if not == NotANumber::Beyond { beyond(alone) } else { wrong(alone) });
            }
        };
        if let Some((_, four, six)) = NAMES.iter().find(|(name, _, _)| *name == kind) {
            return Ok(Self { four: *four, six: *six, code });
        }
        if let Some(digits) = kind.strip_prefix(VERSION_SIX) {
            return match number(digits) {
                Ok(number) => Ok(Self { four: None, six: Some(number), code }),
                Err(NotANumber::Beyond) => Err(beyond(None)),
                Err(NotANumber::Other) => Err(wrong(None)),
            };
        }
        match number(kind) {
            Ok(number) => Ok(Self { four: Some(number), six: None, code }),
            Err(NotANumber::Beyond) => Err(beyond(None)),
            Err(NotANumber::Other) => {
                Err(wrong(crate::contract::nearest(kind, NAMES.map(|(name, _, _)| name))))
            }
        }
    }

    fn fits(&self, protocol: Protocol, kind: IcmpKind) -> bool {
        let wanted = if protocol == Protocol::ICMPV6 { self.six } else { self.four };
        wanted == Some(kind.kind) && self.code.is_none_or(|code| code == kind.code)
    }
}

impl fmt::Display for IcmpPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, four, six)| (*four, *six) == (self.four, self.six));
        match (name, self.four, self.six) {
            (Some((name, _, _)), _, _) => f.write_str(name)?,
            (None, Some(four), _) => write!(f, "{four}")?,
            (None, None, six) => write!(f, "{VERSION_SIX}{}", six.unwrap_or_default())?,
        }
        self.code.map_or(Ok(()), |code| write!(f, "/{code}"))
    }
}

/// Returns whether a rule speaks of a conversation by its ICMP messages. One that denies does if it speaks of any of them,
/// one that allows only if it speaks of all: what is not known is not allowed.
pub(crate) fn covers(patterns: &[IcmpPattern], conversation: &Conversation, action: Action) -> bool {
    let protocol = conversation.port.protocol;
    if !protocol.is_icmp() || patterns.is_empty() {
        return false;
    }
    let is_one = |kind: &IcmpKind| patterns.iter().any(|pattern| pattern.fits(protocol, *kind));
    let IcmpKinds { kinds, is_more } = &conversation.icmp;
    match action {
        Action::Deny => kinds.iter().any(is_one),
        Action::Allow => !kinds.is_empty() && !is_more && kinds.iter().all(is_one),
    }
}
