//! Numbers that must not be confused, each with the little knowledge that belongs to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in nanoseconds since 1970-01-01 00:00:00 UTC, as the capture stamped it.
///
/// Holds the years 1678 to 2261; a source that says otherwise is clamped by its reader.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// One second, in the unit of this type.
    pub const SECOND: i64 = 1_000_000_000;
    /// One millisecond, in the unit of this type.
    pub const MILLISECOND: i64 = 1_000_000;

    /// Builds an instant from whole seconds and nanoseconds, clamped to what the type holds.
    pub fn from_parts(seconds: i64, nanoseconds: i64) -> Self {
        Self(seconds.saturating_mul(Self::SECOND).saturating_add(nanoseconds))
    }

    /// Returns `self - earlier` in nanoseconds, negative where `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the instant `nanoseconds` later.
    #[must_use]
    pub fn plus(self, nanoseconds: i64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }

    /// Returns seconds since the epoch as a floating-point number, for expositions.
    #[expect(clippy::cast_precision_loss, reason = "an exposition holds no more")]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    fn civil(self) -> jiff::Timestamp {
        // Every i64 of nanoseconds lies within jiff's years -9999 to 9999.
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

/// RFC 3339 in UTC with nine decimals, so that sorting the text sorts the instants.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.9}", self.civil())
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let instant: jiff::Timestamp = text.parse()?;
        let clamped = instant.as_nanosecond().clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Ok(Self(i64::try_from(clamped).unwrap_or_default()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A transport port.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Port(pub u16);

impl Port {
    /// First port Linux hands out to clients (`net.ipv4.ip_local_port_range`).
    /// RFC 6335, section 6, sets aside 49152 and up only.
    pub const EPHEMERAL_FIRST: Self = Self(32_768);

    /// Returns whether a client may have been given this port.
    pub fn is_ephemeral(self) -> bool {
        self >= Self::EPHEMERAL_FIRST
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An IP protocol number (IANA "Protocol Numbers").
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP (RFC 792).
    pub const ICMP: Self = Self(1);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// SCTP (RFC 9260).
    pub const SCTP: Self = Self(132);

    /// Returns whether this is ICMP or ICMPv6.
    pub fn is_icmp(self) -> bool {
        self == Self::ICMP || self == Self::ICMPV6
    }

    /// Returns whether the protocol's headers carry ports that are read here.
    pub fn has_ports(self) -> bool {
        self == Self::TCP || self == Self::UDP || self == Self::SCTP
    }
}

/// `tcp`, `udp`, `sctp`, `icmp`, `icmp6`, or `ip-N` for any other number.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TCP => f.pad("tcp"),
            Self::UDP => f.pad("udp"),
            Self::ICMP => f.pad("icmp"),
            Self::ICMPV6 => f.pad("icmp6"),
            Self::SCTP => f.pad("sctp"),
            Self(number) => f.pad(&format!("ip-{number}")),
        }
    }
}

/// A protocol's name was none of `tcp`, `udp`, `sctp`, `icmp`, `icmp6`, `ip-0` to `ip-255`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown protocol {0:?}: expected tcp, udp, sctp, icmp, icmp6 or ip-N")]
pub struct UnknownProtocol(pub String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tcp" => Ok(Self::TCP),
            "udp" => Ok(Self::UDP),
            "icmp" => Ok(Self::ICMP),
            "icmp6" => Ok(Self::ICMPV6),
            "sctp" => Ok(Self::SCTP),
            other => other
                .strip_prefix("ip-")
                .and_then(|number| number.parse().ok())
                .map(Self)
                .ok_or_else(|| UnknownProtocol(text.to_owned())),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Protocol and port a responder serves on; written `5432/tcp`.
///
/// Protocols without ports (ICMP), fragments whose first part was never seen, and the fold of a scan's many
/// ports carry `None`, written `icmp`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ServicePort {
    /// The port, where the protocol has one and it was readable.
    pub port: Option<Port>,
    /// The transport protocol.
    pub protocol: Protocol,
}

impl ServicePort {
    /// Builds `port/protocol`.
    pub fn new(port: u16, protocol: Protocol) -> Self {
        Self { port: Some(Port(port)), protocol }
    }
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => f.pad(&format!("{port}/{}", self.protocol)),
            None => self.protocol.fmt(f),
        }
    }
}

/// Writes a count with thousands separated: `4,813`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_in_utc_with_nine_decimals_and_read_back() {
        let at = Timestamp(1_214_528_320_099_921_000);
        assert_eq!(at.to_string(), "2008-06-27T00:58:40.099921000Z");
        assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
    }

    #[test]
    fn the_extremes_of_time_are_written_and_do_not_panic() {
        for at in [Timestamp(i64::MIN), Timestamp(i64::MAX)] {
            assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        }
    }

    #[test]
    fn protocols_are_read_as_they_are_written() {
        for number in 0..=255 {
            let protocol = Protocol(number);
            assert_eq!(protocol.to_string().parse::<Protocol>(), Ok(protocol));
        }
        assert_eq!("tpc".parse::<Protocol>(), Err(UnknownProtocol("tpc".into())));
    }

    #[test]
    fn thousands_are_separated() {
        for (count, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(count), expected);
        }
    }
}
