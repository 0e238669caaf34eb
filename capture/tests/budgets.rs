//! How deep headers are followed, kind by kind: each depth from 0 to 200 has one outcome, stated here.

#![expect(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::net::IpAddr;

use portolan_capture::keep::{Keep, kept_bytes};
use portolan_capture::{Frame, LinkType, ParseOptions, parse};
use portolan_flowtable::{Direction, Fragment, InterfaceId, Network, Port, Protocol, Rejected, Timestamp};

const DEPTH_MAX: usize = 200;

/// What became of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// A packet with its ports.
    Read,
    /// A packet of the addresses that were reached, without ports.
    Addressed,
    /// Refused for its depth.
    TooDeep,
}

use Outcome::{Addressed, Read, TooDeep};

/// Kinds of headers, and the depths from which on each outcome holds: outermost, innermost.
type Case = (&'static str, fn(usize) -> Vec<u8>, &'static [(usize, Outcome)], &'static [(usize, Outcome)]);

#[rustfmt::skip]
const CASES: [Case; 16] = [
    // within each other            built by          outermost                     innermost
    ("802.1Q tags",                 vlan,             &[(0, Read), (21, TooDeep)],  &[(0, Read), (21, TooDeep)]),
    ("802.1ad and 802.1Q in turns", vlan_mixed,       &[(0, Read), (21, TooDeep)],  &[(0, Read), (21, TooDeep)]),
    ("MPLS labels",                 mpls,             &[(0, Read), (129, TooDeep)], &[(0, Read), (129, TooDeep)]),
    ("hop-by-hop options",          hop_by_hop,       &[(0, Read), (129, Addressed)], &[(0, Read), (129, Addressed)]),
    ("destination options",         destination,      &[(0, Read), (129, Addressed)], &[(0, Read), (129, Addressed)]),
    ("routing headers",             routing,          &[(0, Read), (129, Addressed)], &[(0, Read), (129, Addressed)]),
    ("atomic fragment headers",     atomic,           &[(0, Read), (129, Addressed)], &[(0, Read), (129, Addressed)]),
    ("AH over IPv6",                ah_6,             &[(0, Read), (129, Addressed)], &[(0, Read), (129, Addressed)]),
    ("AH over IPv4",                ah_4,             &[(0, Read), (129, Addressed)], &[(0, Read), (129, Addressed)]),
    ("four kinds in turns",         extensions_mixed, &[(0, Read), (129, Addressed)], &[(0, Read), (129, Addressed)]),
    ("IPv4 in IPv4",                ip_in_ip,         &[(0, Read), (1, Addressed)], &[(0, Read), (9, TooDeep)]),
    ("IPv6 in IPv6",                ip6_in_ip6,       &[(0, Read), (1, Addressed)], &[(0, Read), (9, TooDeep)]),
    ("GRE",                         gre,              &[(0, Read), (1, Addressed)], &[(0, Read), (9, TooDeep)]),
    ("VXLAN",                       vxlan,            &[(0, Read)],                 &[(0, Read), (9, TooDeep)]),
    ("Geneve",                      geneve,           &[(0, Read)],                 &[(0, Read), (9, TooDeep)]),
    ("tags within VXLAN",           vxlan_tags,       &[(0, Read)],                 &[(0, Read), (21, Read)]),
];

#[test]
fn each_kind_of_header_is_followed_to_its_stated_depth() {
    for (name, build, outermost, innermost) in CASES {
        for depth in 0..=DEPTH_MAX {
            let bytes = build(depth);
            for (is_innermost, stated) in [(false, outermost), (true, innermost)] {
                let wanted = stated.iter().rev().find(|(from, _)| depth >= *from).unwrap().1;
                let found = outcome(&bytes, is_innermost);
                assert_eq!(found, wanted, "{depth} {name}, innermost: {is_innermost}");
            }
        }
    }
}

#[test]
fn what_is_kept_of_any_depth_has_the_same_outcome() {
    for (name, build, _, _) in CASES {
        for depth in 0..=DEPTH_MAX {
            let bytes = build(depth);
            let kept = kept_bytes(&frame(&bytes), Keep::default());
            let cut = Frame { bytes: &bytes[..kept], ..frame(&bytes) };
            for innermost in [false, true] {
                let options = ParseOptions { innermost, fingerprint: false };
                assert_eq!(parse(&cut, &options), parse(&frame(&bytes), &options), "{depth} {name}");
            }
        }
    }
}

#[test]
fn a_frame_cut_at_any_byte_of_its_depth_is_refused_as_cut_or_read() {
    for (name, build, _, _) in CASES {
        for depth in [1, 8, 20] {
            let bytes = build(depth);
            for end in 0..bytes.len() {
                let cut = Frame { bytes: &bytes[..end], ..frame(&bytes) };
                for innermost in [false, true] {
                    let reason = parse(&cut, &ParseOptions { innermost, fingerprint: false })
                        .map_err(|error| error.reason());
                    // Too deep where as many headers were there, whatever was cut behind them.
                    assert!(
                        !matches!(reason, Err(Rejected::Malformed | Rejected::UnknownLinkType)),
                        "{name} to byte {end}: {reason:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_fragment_of_a_datagram_is_accounted_to_its_addresses() {
    // 200 fragments of 8 bytes; the first alone has ports.
    for number in 0..=DEPTH_MAX {
        let offset = u16::try_from(number).unwrap();
        let is_last = number == DEPTH_MAX;
        let mut packet = ipv4(17, &UDP);
        packet[6..8].copy_from_slice(&(offset | if is_last { 0 } else { 0x2000 }).to_be_bytes());
        let bytes = ethernet(0x0800, &packet);
        let seen = parse(&frame(&bytes), &ParseOptions::default()).unwrap();
        let Network::Ip(packet) = seen.network else { panic!("no packet") };
        assert_eq!(packet.source, address(1));
        assert_eq!(packet.ports.is_some(), number == 0, "{number}");
        assert_eq!(
            packet.fragment,
            if number == 0 { Fragment::First { id: 9 } } else { Fragment::Later { id: 9 } }
        );
    }
}

/// What becomes of a frame; its addresses and bytes are checked where it is read.
fn outcome(bytes: &[u8], innermost: bool) -> Outcome {
    let seen = match parse(&frame(bytes), &ParseOptions { innermost, fingerprint: false }) {
        Ok(seen) => seen,
        Err(error) => {
            assert_eq!(error.reason(), Rejected::TooDeep, "{error}");
            return TooDeep;
        }
    };
    assert_eq!(seen.wire_bytes as usize, bytes.len());
    let Network::Ip(packet) = seen.network else { panic!("no packet: {seen:?}") };
    assert!([address(1), six(0xfd)].contains(&packet.source), "{packet:?}");
    match packet.ports {
        Some(ports) => {
            assert!(packet.protocol == Protocol::UDP && ports.0 == Port(40_000), "{packet:?}");
            Read
        }
        None => Addressed,
    }
}

const UDP: [u8; 8] = [0x9c, 0x40, 0, 99, 0, 8, 0, 0];

fn vlan(depth: usize) -> Vec<u8> {
    ethernet_tagged(&vec![0x8100; depth])
}

fn vlan_mixed(depth: usize) -> Vec<u8> {
    ethernet_tagged(&(0..depth).map(|at| [0x88a8, 0x8100, 0x9100][at % 3]).collect::<Vec<_>>())
}

fn ethernet_tagged(tags: &[u16]) -> Vec<u8> {
    let mut ethertype = 0x0800_u16;
    let mut content = ipv4(17, &UDP);
    for tag in tags.iter().rev() {
        content = [&[0, 7][..], &ethertype.to_be_bytes(), &content].concat();
        ethertype = *tag;
    }
    ethernet(ethertype, &content)
}

fn mpls(depth: usize) -> Vec<u8> {
    let packet = ipv4(17, &UDP);
    if depth == 0 {
        return ethernet(0x0800, &packet);
    }
    let mut labels = [0, 1, 0x00, 64].repeat(depth);
    let bottom = labels.len() - 2;
    labels[bottom] = 1;
    ethernet(0x8847, &[labels, packet].concat())
}

fn hop_by_hop(depth: usize) -> Vec<u8> {
    extended(&vec![0; depth])
}

fn destination(depth: usize) -> Vec<u8> {
    extended(&vec![60; depth])
}

fn routing(depth: usize) -> Vec<u8> {
    extended(&vec![43; depth])
}

fn atomic(depth: usize) -> Vec<u8> {
    extended(&vec![44; depth])
}

fn ah_6(depth: usize) -> Vec<u8> {
    extended(&vec![51; depth])
}

fn extensions_mixed(depth: usize) -> Vec<u8> {
    extended(&(0..depth).map(|at| [0, 43, 60, 44][at % 4]).collect::<Vec<_>>())
}

fn extended(kinds: &[u8]) -> Vec<u8> {
    let (first, headers) = chain(kinds);
    ethernet(0x86dd, &ipv6(first, &headers))
}

fn ah_4(depth: usize) -> Vec<u8> {
    let (first, headers) = chain(&vec![51; depth]);
    ethernet(0x0800, &ipv4(first, &headers))
}

/// Extension headers of these kinds and a UDP header behind them; returns the first one's number too.
fn chain(kinds: &[u8]) -> (u8, Vec<u8>) {
    let mut next = 17;
    let mut headers = UDP.to_vec();
    for kind in kinds.iter().rev() {
        let header: &[u8] = match kind {
            // AH: its length in words of four bytes, less two.
            51 => &[next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2],
            // A fragment header that says it is the whole datagram.
            44 => &[next, 0, 0, 0, 0, 0, 0, 5],
            43 => &[next, 0, 4, 0, 0, 0, 0, 0],
            _ => &[next, 0, 1, 4, 0, 0, 0, 0],
        };
        headers = [header, &headers].concat();
        next = *kind;
    }
    (next, headers)
}

fn ip_in_ip(depth: usize) -> Vec<u8> {
    nested(depth, |packet| ipv4(4, packet))
}

fn gre(depth: usize) -> Vec<u8> {
    nested(depth, |packet| ipv4(47, &[&[0, 0, 8, 0][..], packet].concat()))
}

fn vxlan(depth: usize) -> Vec<u8> {
    nested(depth, |packet| ipv4(17, &over_udp(4789, &[0x08, 0, 0, 0, 0, 0, 7, 0], &ethernet(0x0800, packet))))
}

fn geneve(depth: usize) -> Vec<u8> {
    nested(depth, |packet| {
        ipv4(17, &over_udp(6081, &[0, 0, 0x65, 0x58, 0, 0, 7, 0], &ethernet(0x0800, packet)))
    })
}

/// Tags of the frame that a tunnel carries: where they are too deep, the tunnel is left closed.
fn vxlan_tags(depth: usize) -> Vec<u8> {
    let inside = ethernet_tagged(&vec![0x8100; depth]);
    ethernet(0x0800, &ipv4(17, &over_udp(4789, &[0x08, 0, 0, 0, 0, 0, 7, 0], &inside)))
}

fn over_udp(port: u16, header: &[u8], frame: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + header.len() + frame.len()).unwrap();
    let udp = [40_000, port, length, 0].map(u16::to_be_bytes).concat();
    [udp.as_slice(), header, frame].concat()
}

fn nested(depth: usize, wrap: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut packet = ipv4(17, &UDP);
    for _ in 0..depth {
        packet = wrap(&packet);
    }
    ethernet(0x0800, &packet)
}

fn ip6_in_ip6(depth: usize) -> Vec<u8> {
    let mut packet = ipv6(17, &UDP);
    for _ in 0..depth {
        packet = ipv6(41, &packet);
    }
    ethernet(0x86dd, &packet)
}

fn ethernet(ethertype: u16, content: &[u8]) -> Vec<u8> {
    [[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2].as_slice(), &ethertype.to_be_bytes(), content].concat()
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let header = [0x45, 0, high, low, 0, 9, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    [header.as_slice(), payload].concat()
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [[0x60, 0, 0, 0, high, low, next, 64].as_slice(), &[0xfd; 16], &[0xfe; 16], payload].concat()
}

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn six(byte: u8) -> IpAddr {
    [byte; 16].into()
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame {
        bytes,
        link: LinkType::ETHERNET,
        at: Timestamp(1),
        beyond_seconds: 0,
        is_timed: true,
        number: 1,
        interface: InterfaceId(3),
        direction: Direction::Unstated,
        original_bytes: u32::try_from(bytes.len()).unwrap(),
    }
}
