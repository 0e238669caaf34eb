//! What is learned: one edge of one service, seen from that service.

use std::fmt;
use std::str::FromStr;

use portolan_flowtable::{Port, Protocol, ServicePort};

/// Whether the service calls or is called.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// The peer calls the service.
    From,
    /// The service calls the peer.
    To,
}

impl Direction {
    /// Returns the word it is written with: `from` or `to`.
    pub fn word(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::To => "to",
        }
    }
}

/// One edge of a service: who is at the other end, who opens, on which service port.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Edge {
    /// Whether the service calls or is called.
    pub direction: Direction,
    /// `project/service`, `host`, or `external` for everything outside.
    pub peer: String,
    /// The responder's port.
    pub port: ServicePort,
}

/// As people write it: `to shop/db:5432/tcp`.
impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", self.direction.word(), self.peer, self.port)
    }
}

/// Something is no edge, with what one looks like.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no edge of a service: write 'to shop/db:5432/tcp' or 'from host:8080/tcp'")]
pub struct NoEdge(pub String);

impl FromStr for Edge {
    type Err = NoEdge;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NoEdge(text.to_owned());
        let (word, rest) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let direction = match word {
            "from" => Direction::From,
            "to" => Direction::To,
            _ => return Err(wrong()),
        };
        let (peer, port) = rest.trim().rsplit_once(':').ok_or_else(wrong)?;
        let port = read_port(port).ok_or_else(wrong)?;
        if peer.is_empty() {
            return Err(wrong());
        }
        Ok(Self { direction, peer: peer.to_owned(), port })
    }
}

/// Reads `5432/tcp`; without a protocol it is TCP.
pub(super) fn read_port(text: &str) -> Option<ServicePort> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol: Protocol = protocol.parse().ok()?;
    let port = Port(number.parse().ok()?);
    Some(ServicePort { port: Some(port), protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_read_as_it_is_written() {
        #[rustfmt::skip]
        let cases = [
            ("to shop/db:5432/tcp",       Some("to shop/db:5432/tcp")),
            ("from host:8080",            Some("from host:8080/tcp")),
            ("from external:53/udp",      Some("from external:53/udp")),
            ("to fd00::1:53/udp",         Some("to fd00::1:53/udp")),
            ("shop/db:5432/tcp",          None),
            ("to shop/db",                None),
            ("to :5432/tcp",              None),
            ("to shop/db:65536/tcp",      None),
            ("to shop/db:5432/tcpx",      None),
            ("",                          None),
        ];
        for (text, expected) in cases {
            let read = text.parse::<Edge>().ok().map(|edge| edge.to_string());
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
    }
}
