use etherparse::PacketBuilder;
use portolan_flowtable::{Direction, Fragment, IcmpFacts, InterfaceId, Port, Protocol, TcpFacts, Timestamp};
use proptest::prelude::*;

use super::*;

const LINKS: [LinkType; 14] = [
    LinkType::NULL,
    LinkType::ETHERNET,
    LinkType::PPP,
    LinkType::RAW_12,
    LinkType::RAW_14,
    LinkType::PPP_HDLC,
    LinkType::PPP_ETHER,
    LinkType::RAW,
    LinkType::LOOP,
    LinkType::LINUX_SLL,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType::LINUX_SLL2,
    LinkType(60_000),
];

proptest! {
    #[test]
    fn no_bytes_on_any_link_type_cause_a_panic(
        link in prop::sample::select(LINKS.as_slice()),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        original in any::<u32>(),
        innermost: bool,
        fingerprint: bool,
    ) {
        let options = ParseOptions { innermost, fingerprint };
        let _ = parse(&frame(&bytes, link, original), &options);
    }

    #[test]
    fn no_damage_to_a_healthy_frame_causes_a_panic_and_both_paths_read_the_same(
        (link, bytes) in damaged_frame(),
        cut in 0_u32..100,
        innermost: bool,
    ) {
        let original = u32::try_from(bytes.len()).unwrap() + cut;
        let frame = frame(&bytes, link, original);
        let options = ParseOptions { innermost, fingerprint: false };
        // Whatever stood in its place before.
        let mut seen = parse(&whole(&tcp(), LinkType::ETHERNET), &options).unwrap();
        let mut walked = Observation::UNREAD;
        if fast::parse(&frame, &mut seen).is_some() {
            prop_assert_eq!(walk(&frame, &options, &mut walked), Ok(()));
            prop_assert_eq!(seen, walked);
        }
    }
}

#[test]
fn the_fast_path_takes_plain_frames_and_leaves_the_rest() {
    let mut taken = Vec::new();
    for (name, link, bytes) in healthy() {
        let frame = frame(&bytes, link, u32::try_from(bytes.len()).unwrap());
        let mut seen = Observation::UNREAD;
        if fast::parse(&frame, &mut seen).is_some() {
            taken.push(name);
        }
        assert!(walk(&frame, &ParseOptions::default(), &mut seen).is_ok(), "{name}");
    }
    assert_eq!(taken, ["tcp", "udp over ipv6", "tagged tcp", "cooked tcp", "cooked udp over ipv6"]);
}

#[test]
fn a_frame_cut_by_snaplen_parses_once_its_headers_are_whole() {
    let bytes = tcp();
    #[rustfmt::skip]
    let cases = [
        // kept  outcome
        (0,      "rejected"),
        (13,     "rejected"),
        (33,     "rejected"),
        (34,     "no ports"),
        (37,     "no ports"),
        (38,     "ports"),
        (49,     "ports"),
        (50,     "control bits"),
        (54,     "control bits"),
    ];
    for (kept, expected) in cases {
        let frame = frame(&bytes[..kept], LinkType::ETHERNET, 1_000);
        let outcome = match parse(&frame, &ParseOptions::default()).map(|seen| seen.network) {
            Err(error) => {
                assert_eq!(error.reason(), Rejected::Truncated);
                "rejected"
            }
            Ok(Network::Ip(Packet { ports: None, .. })) => "no ports",
            Ok(Network::Ip(Packet { tcp: None, .. })) => "ports",
            Ok(Network::Ip(_)) => "control bits",
            Ok(Network::NonIp(_)) => "no packet",
        };
        assert_eq!(outcome, expected, "{kept} bytes kept");
    }
}

#[test]
fn bytes_are_those_of_an_ethernet_wire_whatever_the_tap() {
    let ip = &tcp()[14..];
    let sll = [[0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0, 8, 0].as_slice(), ip].concat();
    let sll2 = cooked(4, ip, 0x0800);
    #[rustfmt::skip]
    let cases = [
        // link                 bytes           wire bytes          interface  direction             sender
        (LinkType::ETHERNET,    tcp(),          14 + ip.len(),      3,         Direction::Unstated,  [2, 0, 0, 0, 0, 1]),
        (LinkType::LINUX_SLL,   sll,            14 + ip.len(),      3,         Direction::Outgoing,  [2, 0, 0, 0, 0, 7]),
        (LinkType::LINUX_SLL2,  sll2,           14 + ip.len(),      42,        Direction::Outgoing,  [2, 0, 0, 0, 0, 9]),
        (LinkType::RAW,         ip.to_vec(),    ip.len(),           3,         Direction::Unstated,  [0; 6]),
    ];
    for (link, bytes, wire_bytes, interface, direction, sender) in cases {
        let seen = parse(&whole(&bytes, link), &ParseOptions::default()).unwrap();
        assert_eq!(seen.wire_bytes as usize, wire_bytes, "{link}");
        assert_eq!(seen.interface, InterfaceId(interface), "{link}");
        assert_eq!(seen.direction, direction, "{link}");
        assert_eq!(seen.source_mac, MacAddr(sender), "{link}");
    }
}

#[test]
fn every_packet_type_but_outgoing_came_in() {
    for (packet_type, expected) in [
        (0, Direction::Incoming),
        (1, Direction::Incoming),
        (2, Direction::Incoming),
        (3, Direction::Incoming),
        (4, Direction::Outgoing),
    ] {
        let bytes = cooked(packet_type, &tcp()[14..], 0x0800);
        let seen = parse(&whole(&bytes, LinkType::LINUX_SLL2), &ParseOptions::default()).unwrap();
        assert_eq!(seen.direction, expected, "{packet_type}");
    }
}

#[test]
fn two_sightings_of_a_packet_share_a_fingerprint_and_no_others_do() {
    let bytes = tcp();
    let mut routed = bytes.clone();
    routed[22] -= 1;
    routed[24] ^= 0xff;
    routed[50] ^= 0xff;
    let mut padded = bytes.clone();
    padded.extend([0xee; 6]);
    let mut next = bytes.clone();
    next[41] += 1;
    let first = fingerprint(&bytes, LinkType::ETHERNET);
    assert_ne!(first, 0);
    #[rustfmt::skip]
    let cases = [
        ("routed, offloaded",  routed,                          LinkType::ETHERNET,    true),
        ("padded",             padded,                          LinkType::ETHERNET,    true),
        ("cooked",             cooked(0, &bytes[14..], 0x0800), LinkType::LINUX_SLL2,  true),
        ("next segment",       next,                            LinkType::ETHERNET,    false),
    ];
    for (name, bytes, link, expected) in cases {
        assert_eq!(fingerprint(&bytes, link) == first, expected, "{name}");
    }
}

#[test]
fn an_icmp_error_names_the_packet_it_refuses() {
    let quoted = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 63).udp(4_000, 53);
    let mut quote = Vec::new();
    quoted.write(&mut quote, &[]).unwrap();
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
        .icmpv4_raw(3, 3, [0; 4])
        .write(&mut bytes, &quote)
        .unwrap();
    let packet = packet_of(&bytes, ParseOptions::default());
    let Some(IcmpFacts { kind: 3, code: 3, quoted: Some(quoted) }) = packet.icmp else {
        panic!("{packet:?}");
    };
    assert_eq!(quoted.source.to_string(), "10.0.0.1");
    assert_eq!(quoted.destination.to_string(), "10.0.0.2");
    assert_eq!((quoted.protocol, quoted.ports), (Protocol::UDP, Some((Port(4_000), Port(53)))));
    assert_eq!(packet.ports, None);
}

#[test]
fn a_fragments_place_is_told_and_only_the_first_has_ports() {
    #[rustfmt::skip]
    let cases: [(u16, Fragment, bool); 4] = [
        // flags and offset  place                            has ports
        (0x4000,             Fragment::Whole,                 true),
        (0x2000,             Fragment::First { id: 0x1234 },  true),
        (0x2001,             Fragment::Later { id: 0x1234 },  false),
        (0x0001,             Fragment::Later { id: 0x1234 },  false),
    ];
    for (field, fragment, has_ports) in cases {
        let mut bytes = tcp();
        bytes[18..20].copy_from_slice(&0x1234_u16.to_be_bytes());
        bytes[20..22].copy_from_slice(&field.to_be_bytes());
        let packet = packet_of(&bytes, ParseOptions::default());
        assert_eq!((packet.fragment, packet.ports.is_some()), (fragment, has_ports), "{field:#06x}");
    }
}

#[test]
fn a_big_tcp_frame_without_an_ip_length_has_the_payload_of_what_is_left() {
    let mut bytes = tcp();
    bytes[16..18].copy_from_slice(&[0, 0]);
    let original = 14 + 20 + 20 + 150_000;
    let seen = parse(&frame(&bytes, LinkType::ETHERNET, original), &ParseOptions::default()).unwrap();
    let Network::Ip(Packet { tcp: Some(TcpFacts { payload_bytes, .. }), .. }) = seen.network else {
        panic!("{seen:?}");
    };
    assert_eq!(payload_bytes, 150_000);
    assert_eq!(seen.wire_bytes, original);
}

#[test]
fn an_ipv6_packet_that_claims_no_payload_has_none_unless_it_is_longer_than_it_can_say() {
    let mut bytes = udp6();
    bytes[18..20].copy_from_slice(&[0, 0]);
    #[rustfmt::skip]
    let cases = [
        // on the wire     ports
        (62,               None),
        (54 + 65_535,      None),
        (54 + 65_536,      Some((Port(40_000), Port(53)))),
    ];
    for (original, ports) in cases {
        let seen = parse(&frame(&bytes, LinkType::ETHERNET, original), &ParseOptions::default()).unwrap();
        let Network::Ip(packet) = seen.network else { panic!("{seen:?}") };
        assert_eq!((packet.protocol, packet.ports), (Protocol::UDP, ports), "{original}");
    }
}

#[test]
fn an_ipv6_packet_is_one_whatever_the_link_layer_calls_it() {
    for (link, bytes) in [
        (LinkType::ETHERNET, [&tcp()[..14], &udp6()[14..]].concat()),
        (LinkType::LINUX_SLL2, cooked(0, &udp6()[14..], 0x0800)),
        (LinkType::IPV4, udp6()[14..].to_vec()),
    ] {
        let seen = parse(&whole(&bytes, link), &ParseOptions::default()).unwrap();
        let Network::Ip(packet) = seen.network else { panic!("{seen:?}") };
        assert_eq!((packet.source.is_ipv6(), packet.ports), (true, Some((Port(40_000), Port(53)))), "{link}");
    }
}

#[test]
fn innermost_looks_through_tunnels_and_outermost_says_there_is_one() {
    let inner = tcp();
    let mut bytes = Vec::new();
    let mut body = vec![8, 0, 0, 0, 0, 0, 42, 0];
    body.extend(&inner);
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 3], [2, 0, 0, 0, 0, 4])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(55_555, 4_789)
        .write(&mut bytes, &body)
        .unwrap();
    let outermost = packet_of(&bytes, ParseOptions::default());
    assert_eq!((outermost.protocol, outermost.is_tunnel), (Protocol::UDP, true));
    let innermost = packet_of(&bytes, ParseOptions { innermost: true, fingerprint: false });
    assert_eq!((innermost.protocol, innermost.is_tunnel), (Protocol::TCP, false));
    assert_eq!(innermost.source.to_string(), "10.0.0.1");
}

#[test]
fn a_tunnel_with_a_source_route_is_looked_through() {
    let (_, link, bytes) = healthy().into_iter().find(|(name, _, _)| name.contains("source route")).unwrap();
    let options = ParseOptions { innermost: true, fingerprint: false };
    let seen = parse(&whole(&bytes, link), &options).unwrap();
    let Network::Ip(packet) = seen.network else { panic!("{seen:?}") };
    assert_eq!(packet.protocol, Protocol::TCP);
    // The length of a route entry may claim anything.
    for length in 0..=u8::MAX {
        let mut lying = bytes.clone();
        lying[31] = length;
        assert!(parse(&whole(&lying, link), &options).is_ok());
    }
}

#[test]
fn nesting_has_an_end() {
    let mut tagged = vec![2; 12];
    for _ in 0..200 {
        tagged.extend([0x81, 0x00, 0x00, 0x01]);
    }
    let mut labelled = [[2; 12].as_slice(), &[0x88, 0x47]].concat();
    labelled.extend([0; 800]);
    let tunnelled = [0x45, 0, 1, 0x90, 0, 0, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2].repeat(20);
    #[rustfmt::skip]
    let cases = [
        (tagged,     LinkType::ETHERNET,  Layer::Vlan),
        (labelled,   LinkType::ETHERNET,  Layer::Mpls),
        (tunnelled,  LinkType::RAW,       Layer::Tunnel),
    ];
    for (bytes, link, layer) in cases {
        let error = parse(&whole(&bytes, link), &ParseOptions { innermost: true, fingerprint: false });
        assert_eq!(error, Err(ParseError::TooDeep { layer }));
        assert_eq!(error.unwrap_err().reason(), Rejected::TooDeep);
    }
}

#[test]
fn a_link_type_nobody_reads_is_named() {
    let error = parse(&whole(&[0; 60], LinkType(195)), &ParseOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "link type 195 cannot be read; portolan reads Ethernet, Linux cooked (SLL, SLL2), raw IP, NULL, LOOP and PPP"
    );
    assert_eq!(error.reason(), Rejected::UnknownLinkType);
}

fn damaged_frame() -> impl Strategy<Value = (LinkType, Vec<u8>)> {
    let changes = prop::collection::vec((0_usize..90, any::<u8>()), 0..4);
    (prop::sample::select(healthy()), changes, 0_usize..200).prop_map(
        |((_, link, mut bytes), changes, keep)| {
            for (position, value) in changes {
                if let Some(byte) = bytes.get_mut(position) {
                    *byte = value;
                }
            }
            bytes.truncate(keep);
            (link, bytes)
        },
    )
}

/// Frames of many kinds, the plain ones first.
fn healthy() -> Vec<(&'static str, LinkType, Vec<u8>)> {
    let tagged = |tag: [u8; 4], bytes: &[u8]| [&bytes[..12], &tag, &bytes[12..]].concat();
    let mut vxlan = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(4_789, 4_789)
        .write(&mut vxlan, &[[8, 0, 0, 0, 0, 0, 1, 0].as_slice(), &tcp()].concat())
        .unwrap();
    let mut fragment = tcp();
    fragment[20] = 0x20;
    let mut extended = udp6()[14..].to_vec();
    extended[6] = 44;
    extended.splice(40..40, [17, 0, 0, 1, 0, 0, 0, 7]);
    extended[5] += 8;
    let mut gre =
        vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 47, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2, 0x20, 0, 0x08, 0, 0, 0, 0, 1];
    gre.extend(&tcp()[14..]);
    // A source route of one entry and the null entry (RFC 1701).
    let routed =
        [&gre[..20], &[0x40, 0, 0x08, 0, 0, 0, 0, 0, 8, 0, 0, 4, 9, 9, 9, 9, 0, 0, 0, 0], &gre[28..]]
            .concat();
    vec![
        ("tcp", LinkType::ETHERNET, tcp()),
        ("udp over ipv6", LinkType::ETHERNET, udp6()),
        ("tagged tcp", LinkType::ETHERNET, tagged([0x81, 0, 0, 7], &tcp())),
        ("cooked tcp", LinkType::LINUX_SLL2, cooked(3, &tcp()[14..], 0x0800)),
        ("cooked udp over ipv6", LinkType::LINUX_SLL2, cooked(4, &udp6()[14..], 0x86dd)),
        ("double tagged", LinkType::ETHERNET, tagged([0x88, 0xa8, 0, 7], &tagged([0x81, 0, 0, 8], &tcp()))),
        ("vxlan", LinkType::ETHERNET, vxlan),
        ("fragment", LinkType::ETHERNET, fragment),
        ("ipv6 called ipv4", LinkType::LINUX_SLL2, cooked(0, &udp6()[14..], 0x0800)),
        ("extended", LinkType::RAW, extended),
        ("gre", LinkType::RAW, gre),
        ("gre with a source route", LinkType::RAW, routed),
        (
            "mpls",
            LinkType::ETHERNET,
            tagged([0x88, 0x47, 0, 0], &[&[0; 12], [0x11, 64].as_slice(), &tcp()[14..]].concat()),
        ),
    ]
}

fn tcp() -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(40_000, 80, 7, 1_000)
        .syn()
        .write(&mut bytes, b"payload")
        .unwrap();
    bytes
}

fn udp6() -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv6([0xfd; 16], [0xfe; 16], 64)
        .udp(40_000, 53)
        .write(&mut bytes, b"payload")
        .unwrap();
    bytes
}

/// A LINUX_SLL2 frame of interface 42.
fn cooked(packet_type: u8, network: &[u8], ethertype: u16) -> Vec<u8> {
    let [high, low] = ethertype.to_be_bytes();
    let header = [high, low, 0, 0, 0, 0, 0, 42, 0, 1, packet_type, 6, 2, 0, 0, 0, 0, 9, 0, 0];
    [header.as_slice(), network].concat()
}

fn packet_of(bytes: &[u8], options: ParseOptions) -> Packet {
    match parse(&whole(bytes, LinkType::ETHERNET), &options).unwrap().network {
        Network::Ip(packet) => packet,
        Network::NonIp(other) => panic!("{other:?}"),
    }
}

fn fingerprint(bytes: &[u8], link: LinkType) -> u64 {
    parse(&whole(bytes, link), &ParseOptions { innermost: false, fingerprint: true }).unwrap().fingerprint
}

fn whole(bytes: &[u8], link: LinkType) -> Frame<'_> {
    frame(bytes, link, u32::try_from(bytes.len()).unwrap())
}

fn frame(bytes: &[u8], link: LinkType, original_bytes: u32) -> Frame<'_> {
    Frame {
        bytes,
        link,
        at: Timestamp(1),
        beyond_seconds: 0,
        is_timed: true,
        number: 1,
        interface: InterfaceId(3),
        direction: Direction::Unstated,
        original_bytes,
    }
}

#[test]
fn arp_says_who_asks_for_whom_where_it_is_whole_and_of_ipv4_over_ethernet() {
    let message = |operation: u8| -> Vec<u8> {
        let ends = [[2, 0, 0, 0, 0, 7].as_slice(), &[10, 0, 0, 7], &[0; 6], &[10, 0, 0, 9]].concat();
        [[0, 1, 8, 0, 6, 4, 0, operation].as_slice(), &ends].concat()
    };
    let facts = |is_request| {
        Some(ArpFacts { is_request, sender: [10, 0, 0, 7].into(), target: [10, 0, 0, 9].into() })
    };
    let other = |at: usize, octet: u8| {
        let mut bytes = message(1);
        bytes[at] = octet;
        bytes
    };
    #[rustfmt::skip]
    let cases = [
        ("a request",          0x06, message(1),                facts(true)),
        ("an answer",          0x06, message(2),                facts(false)),
        ("padded",             0x06, [message(1), vec![0; 18]].concat(), facts(true)),
        ("RARP",               0x35, message(3),                None),
        ("InfiniBand",         0x06, other(1, 32),              None),
        ("IPv6 addresses",     0x06, other(5, 16),              None),
        ("cut by an octet",    0x06, message(1)[..27].to_vec(), None),
        ("cut to nothing",     0x06, Vec::new(),                None),
    ];
    for (name, ethertype, message, expected) in cases {
        let kind = if ethertype == 0x35 { 0x80 } else { 0x08 };
        let bytes = [[0xff; 12].as_slice(), &[kind, ethertype], &message].concat();
        let network =
            parse(&frame(&bytes, LinkType::ETHERNET, 60), &ParseOptions::default()).map(|seen| seen.network);
        assert_eq!(network, Ok(Network::NonIp(NonIp::Arp(expected))), "{name}");
    }
}
