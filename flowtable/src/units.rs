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

    /// Returns it as [`Display`](fmt::Display) writes it, in ASCII.
    ///
    /// A result holds hundreds of thousands of instants. Days become dates by centuries, years and months of a calendar
    /// whose years begin in March, so that leap days come last (Howard Hinnant, "chrono-Compatible Low-Level Date
    /// Algorithms", `civil_from_days`).
    pub fn letters(self) -> [u8; Self::LETTERS] {
        let (seconds, nanoseconds) = (self.0.div_euclid(Self::SECOND), self.0.rem_euclid(Self::SECOND));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // 719,468 days lie between 0000-03-01 and 1970-01-01. Every i64 of nanoseconds lies in the years 1677 to 2262.
        let quarters = 4 * (days + 719_468) + 3;
        let (century, of_century) = (quarters / 146_097, quarters % 146_097 / 4);
        let (year, of_year) = ((4 * of_century + 3) / 1_461, (4 * of_century + 3) % 1_461 / 4);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let is_next_year = month >= 10;
        let year = 100 * century + year + i64::from(is_next_year);
        let month = if is_next_year { month - 9 } else { month + 3 };
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let fields = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, second / 3_600),
            (14..16, second / 60 % 60),
            (17..19, second % 60),
            (20..29, nanoseconds),
        ];
        for (place, mut number) in fields {
            for digit in text.get_mut(place).unwrap_or_default().iter_mut().rev() {
                // Less than ten.
                *digit += u8::try_from(number % 10).unwrap_or(0);
                number /= 10;
            }
        }
        text
    }

    /// Length of the text.
    pub const LETTERS: usize = 30;
}

/// RFC 3339 in UTC with nine decimals, so that sorting the text sorts the instants.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.letters()).map_err(|_| fmt::Error)?)
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
        serializer.serialize_str(std::str::from_utf8(&self.letters()).map_err(serde::ser::Error::custom)?)
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
    fn instants_are_written_as_jiff_writes_them() {
        let by_jiff = |at: i64| {
            let civil = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap();
            format!("{civil:.9}")
        };
        let second = Timestamp::SECOND;
        // Around the ends of days in every year there is, leap days and centuries among them.
        let days =
            (-106_751..106_751).flat_map(|day: i64| [day * 86_400 * second, day * 86_400 * second - 1]);
        let odd = (0..50_000_i64).map(|step| i64::MIN.wrapping_add(step.wrapping_mul(368_934_881_474_191)));
        for at in days.chain(odd).chain([0, -1, i64::MIN, i64::MAX]) {
            assert_eq!(Timestamp(at).to_string(), by_jiff(at), "{at}");
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
