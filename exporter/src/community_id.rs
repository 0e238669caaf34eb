//! Community ID: one short name for a flow, the same in every tool that computes it.
//!
//! # Sources
//!
//! Community ID Flow Hashing, version 1, <https://github.com/corelight/community-id-spec>. The seed is 0, as in
//! every tool's default.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portolan_flowtable::{Flow, Protocol};
use sha1::{Digest, Sha1};

use crate::text::Text;

/// What stands in the place of a packet's two ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ports {
    /// TCP, UDP, SCTP: source and destination port.
    Transport {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP and ICMPv6: type and code of the message.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
    /// A protocol without ports, or a fragment whose first part was never seen.
    Absent,
}

/// Returns the Community ID of a packet from `source` to `destination`.
///
/// Both directions of a flow give the same text. ICMP messages without an answering type (errors, redirects) have
/// a direction and give two.
pub fn community_id(protocol: Protocol, source: IpAddr, destination: IpAddr, ports: Ports) -> Text {
    let (ports, is_one_way) = match ports {
        Ports::Transport { source, destination } => (Some((source, destination)), false),
        Ports::Icmp { kind, code } => match answering_type(protocol, kind) {
            Some(answer) => (Some((u16::from(kind), u16::from(answer))), false),
            None => (Some((u16::from(kind), u16::from(code))), true),
        },
        Ports::Absent => (None, false),
    };
    let (mut first, mut second) = ([0; 16], [0; 16]);
    let (from, to) = (octets(source, &mut first), octets(destination, &mut second));
    let (from_port, to_port) = ports.map_or((None, None), |(from, to)| (Some(from), Some(to)));
    let is_ordered = is_one_way || (from, from_port) <= (to, to_port);
    let ((first, first_port), (second, second_port)) =
        if is_ordered { ((from, from_port), (to, to_port)) } else { ((to, to_port), (from, from_port)) };

    let mut hash = Sha1::new();
    hash.update(SEED.to_be_bytes());
    hash.update(first);
    hash.update(second);
    hash.update([protocol.0, 0]);
    for port in [first_port, second_port].into_iter().flatten() {
        hash.update(port.to_be_bytes());
    }
    let mut digest = [0; TEXT_BYTES - VERSION.len()];
    // It is as long as 20 bytes are in base 64.
    let written = STANDARD.encode_slice(hash.finalize(), &mut digest).unwrap_or(0);
    Text::ascii(VERSION.iter().chain(digest.iter().take(written)).copied())
}

/// Returns the Community ID of a flow, or `None` where it hangs on an ICMP header that was not there.
///
/// An ICMP flow has that of its first message.
pub fn of_flow(flow: &Flow) -> Option<Text> {
    let (source, destination) = (flow.end(flow.first_sender), flow.end(flow.first_sender.other()));
    let ports = if flow.protocol.is_icmp() {
        Ports::Icmp { kind: flow.icmp_type?, code: flow.icmp_code? }
    } else {
        match (source.port, destination.port) {
            (Some(source), Some(destination)) => {
                Ports::Transport { source: source.0, destination: destination.0 }
            }
            (_, _) => Ports::Absent,
        }
    };
    Some(community_id(flow.protocol, source.address, destination.address, ports))
}

/// Telling deployments apart that watch the same addresses; nobody does.
const SEED: u16 = 0;

/// Version of the specification.
const VERSION: &[u8] = b"1:";
/// `1:` and 20 bytes in base 64.
const TEXT_BYTES: usize = 30;

fn octets(address: IpAddr, into: &mut [u8; 16]) -> &[u8] {
    match address {
        IpAddr::V4(v4) => {
            let (part, _) = into.split_at_mut(4);
            part.copy_from_slice(&v4.octets());
            part
        }
        IpAddr::V6(v6) => {
            *into = v6.octets();
            into
        }
    }
}

/// Returns the ICMP type that answers `kind`, for the types the specification pairs.
fn answering_type(protocol: Protocol, kind: u8) -> Option<u8> {
    let pairs: &[(u8, u8)] = if protocol == Protocol::ICMP {
        // Echo, router advertisement, timestamp, information, address mask.
        &[(8, 0), (9, 10), (13, 14), (15, 16), (17, 18)]
    } else {
        // Echo, listener query, router, neighbour, node information, home agent discovery.
        &[(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)]
    };
    pairs.iter().find_map(|&(one, other)| match kind {
        _ if kind == one => Some(other),
        _ if kind == other => Some(one),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values_are_reproduced() {
        // `baselines/` for `pcaps/combined.pcap.gz` of corelight/community-id-spec (BSD-3-Clause). The two
        // numbers are ports, or for ICMP the type and what the specification puts beside it.
        #[rustfmt::skip]
        let cases = [
            // proto  source                             destination                       numbers        expected
            (58,  "fe80::200:86ff:fe05:80da",            "fe80::260:97ff:fe07:69ea",       Some((135, 136)), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
            (58,  "fe80::260:97ff:fe07:69ea",            "fe80::200:86ff:fe05:80da",       Some((136, 135)), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
            (58,  "fe80::260:97ff:fe07:69ea",            "fe80::200:86ff:fe05:80da",       Some((135, 136)), "1:zavyT/cezQr1fmImYCwYnMXbgck="),
            (58,  "3ffe:501:1800:2345::2",               "3ffe:507:0:1:200:86ff:fe05:80da", Some((3, 0)),    "1:2ObVBgIn28oZvibYZhZMBgh7WdQ="),
            (58,  "3ffe:501:410:0:2c0:dfff:fe47:33e",    "3ffe:507:0:1:200:86ff:fe05:80da", Some((1, 4)),    "1:hLZd0XGWojozrvxqE0dWB1iM6R0="),
            (58,  "3ffe:507:0:1:200:86ff:fe05:80da",     "3ffe:501:0:1001::2",             Some((128, 129)), "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg="),
            (58,  "3ffe:501:0:1001::2",                  "3ffe:507:0:1:200:86ff:fe05:80da", Some((129, 128)), "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg="),
            (58,  "fe80::200:86ff:fe05:80da",            "ff02::2",                        Some((133, 134)), "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0="),
            (58,  "fe80::260:97ff:fe07:69ea",            "ff02::1",                        Some((134, 133)), "1:pkvHqCL88/tg1k4cPigmZXUtL00="),
            (1,   "192.168.0.89",                        "192.168.0.1",                    Some((8, 0)),     "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            (1,   "192.168.0.1",                         "192.168.0.89",                   Some((0, 8)),     "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            // From the tests of corelight/pycommunityid: an error goes from the greater address to the smaller.
            (1,   "192.168.0.89",                        "192.168.0.1",                    Some((20, 0)),    "1:3o2RFccXzUgjl7zDpqmY7yJi8rI="),
            (1,   "192.168.0.89",                        "192.168.0.1",                    Some((20, 1)),    "1:tz/fHIDUHs19NkixVVoOZywde+I="),
            (1,   "10.0.0.1",                            "10.0.0.2",                       Some((11, 0)),    "1:YHxtAirCG//0OzkcVAukqKQN9xM="),
            (6,   "2001:470:e5bf:dead:4957:2174:e82c:4887", "2607:f8b0:400c:c03::1a",      Some((63943, 25)), "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
            (6,   "2607:f8b0:400c:c03::1a", "2001:470:e5bf:dead:4957:2174:e82c:4887",      Some((25, 63943)), "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
            (132, "192.168.170.8",                       "192.168.170.56",                 Some((7, 7)),     "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
            (132, "192.168.170.56",                      "192.168.170.8",                  Some((7, 7)),     "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
            (6,   "128.232.110.120",                     "66.35.250.204",                  Some((34855, 80)), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (6,   "66.35.250.204",                       "128.232.110.120",                Some((80, 34855)), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (17,  "192.168.1.52",                        "8.8.8.8",                        Some((54585, 53)), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            (17,  "8.8.8.8",                             "192.168.1.52",                   Some((53, 54585)), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            (46,  "10.1.12.1",                           "10.1.12.2",                      None,             "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
            (46,  "10.1.12.2",                           "10.1.12.1",                      None,             "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
        ];
        for (number, source, destination, numbers, expected) in cases {
            let protocol = Protocol(number);
            let ports = match numbers {
                None => Ports::Absent,
                Some((kind, code)) if protocol.is_icmp() => {
                    Ports::Icmp { kind: u8::try_from(kind).unwrap(), code: u8::try_from(code).unwrap() }
                }
                Some((source, destination)) => Ports::Transport { source, destination },
            };
            let id = community_id(protocol, source.parse().unwrap(), destination.parse().unwrap(), ports);
            assert_eq!(id, expected, "{source} -> {destination}, protocol {number}, {numbers:?}");
        }
    }

    #[test]
    fn errors_have_a_direction_and_questions_have_none() {
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        #[rustfmt::skip]
        let cases = [
            // kind  back  is the same flow
            (3,      3,    false), // unreachable
            (8,      0,    true),  // echo
            (8,      8,    false), // two who ask each other
        ];
        for (kind, back, expected) in cases {
            let there = community_id(Protocol::ICMP, one, other, Ports::Icmp { kind, code: 0 });
            let back = community_id(Protocol::ICMP, other, one, Ports::Icmp { kind: back, code: 0 });
            assert_eq!(there == back, expected, "type {kind}");
        }
    }

    #[test]
    fn equal_addresses_are_ordered_by_port() {
        let address: IpAddr = "127.0.0.1".parse().unwrap();
        let id = |source, destination| {
            community_id(Protocol::TCP, address, address, Ports::Transport { source, destination })
        };
        assert_eq!(id(1, 2), id(2, 1));
        assert_ne!(id(1, 2), id(1, 3));
    }
}
