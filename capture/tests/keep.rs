//! What is kept of a frame parses to what the whole frame parses to, and no payload is kept.

#![expect(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use portolan_capture::keep::{Keep, kept_bytes};
use portolan_capture::{Frame, LinkType, MergedFiles, ParseOptions, Polled, Tap, parse};
use portolan_flowtable::{Direction, InterfaceId, Network, Timestamp};
use proptest::prelude::*;

/// Every four bytes of it are looked for.
const SECRET: &[u8] = b"\xc3\xd5\xe7\xf9 the launch code is 0000-1111-2222 \xf9\xe7\xd5\xc3";

/// Snaplens at which frames are cut before anybody asks what to keep; the recorder's among them.
const SNAPLENS: [usize; 9] = [0, 13, 20, 34, 41, 54, 66, 96, 276];

/// Frames looked at of one file.
const FRAMES_MAX: u64 = 100_000;

const KEEPS: [Keep; 3] = [
    Keep { payload: false, dns: false, tls_hello: false },
    Keep { payload: false, dns: true, tls_hello: true },
    Keep { payload: true, dns: false, tls_hello: false },
];

#[test]
fn every_frame_of_every_capture_gives_the_same_observation() {
    let (mut files, mut frames, mut kept, mut captured) = (0, 0, 0_usize, 0_usize);
    for path in captures_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")) {
        let Ok(mut tap) = MergedFiles::open(&[path.to_str().unwrap()]) else { continue };
        files += 1;
        let mut each = |frame: &Frame<'_>| {
            // Millions of empty records are a bomb's.
            if frame.number > FRAMES_MAX {
                return;
            }
            frames += 1;
            captured += frame.bytes.len();
            kept += kept_bytes(frame, Keep::default());
            for keep in KEEPS {
                holds(frame, keep)
                    .unwrap_or_else(|what| panic!("{} {}: {what}", path.display(), frame.number));
            }
            for snaplen in SNAPLENS.into_iter().filter(|snaplen| *snaplen < frame.bytes.len()) {
                let cut = Frame { bytes: &frame.bytes[..snaplen], ..*frame };
                holds(&cut, Keep::default()).unwrap_or_else(|what| {
                    panic!("{} {} at {snaplen}: {what}", path.display(), frame.number)
                });
            }
        };
        while tap.poll(&mut each).unwrap() != Polled::End {}
    }
    println!("{frames} frames of {files} files: {kept} of {captured} bytes kept");
    assert!(files > 250 && frames > 20_000, "only {frames} frames of {files} files");
}

#[test]
fn headers_of_every_kind_end_where_the_payload_begins() {
    let kinds = kinds();
    for (name, link, bytes, short) in &kinds {
        let frame = frame(bytes, *link);
        assert!(parse(&frame, &ParseOptions::default()).is_ok(), "{name}");
        let secret = bytes.windows(SECRET.len()).position(|part| part == SECRET).unwrap();
        let kept = kept_bytes(&frame, Keep::default());
        assert_eq!(kept, secret - short, "{name}");
        assert!(!betrays(&bytes[..kept]), "{name}");
        holds(&frame, Keep::default()).unwrap_or_else(|what| panic!("{name}: {what}"));
    }
    assert!(kinds.len() > 40, "only {} kinds", kinds.len());
}

#[test]
fn what_cannot_be_parsed_is_kept_as_far_as_it_proves_that() {
    let whole = ethernet(0x0800, &ipv4(6, &tcp(&[], SECRET)));
    let mut version = whole.clone();
    version[14] = 0x95;
    let mut llc = ethernet(2, &[0x42, 0x42]);
    llc.extend(SECRET);
    let labels = [0, 0, 0x10, 64].repeat(128);
    #[rustfmt::skip]
    let cases = [
        // refused for            link                bytes                                  kept
        ("its link type",         LinkType(60_000),   SECRET.to_vec(),                       0),
        ("a cut link header",     LinkType::ETHERNET, whole[..9].to_vec(),                   9),
        ("a cut IP header",       LinkType::ETHERNET, whole[..30].to_vec(),                  30),
        ("its version",           LinkType::ETHERNET, version,                               34),
        ("an LLC header too short for what follows", LinkType::ETHERNET, llc,                16),
        ("labels without end",    LinkType::ETHERNET, ethernet(0x8847, &[labels.as_slice(), SECRET].concat()), 526),
    ];
    for (name, link, bytes, expected) in cases {
        let frame = frame(&bytes, link);
        assert!(parse(&frame, &ParseOptions::default()).is_err(), "{name}");
        assert_eq!(kept_bytes(&frame, Keep::default()), expected, "{name}");
        holds(&frame, Keep::default()).unwrap_or_else(|what| panic!("{name}: {what}"));
    }
}

#[test]
fn of_a_tunnel_that_carries_no_packet_one_byte_shows_that_it_carries_something() {
    let bytes = ethernet(0x0800, &ipv4(4, SECRET));
    let frame = frame(&bytes, LinkType::ETHERNET);
    assert_eq!(kept_bytes(&frame, Keep::default()), 14 + 20 + 1);
    holds(&frame, Keep::default()).unwrap();
}

#[test]
fn what_only_begins_like_ip_below_a_label_keeps_no_more_than_the_answer_needs() {
    // An Ethernet pseudowire without a control word: addresses that begin with 4 or 6, an ethertype, an IP packet.
    let pseudowire = |first: u8, destination: &[u8]| {
        let mut inside = vec![first, 0xc8];
        inside.extend(destination);
        inside.extend([2, 0, 0, 0, 0, 7, 0x08, 0]);
        inside.extend(ipv4(17, &udp(53, 53, &SECRET.repeat(4))));
        let mut bytes = ethernet(0x8847, &[0, 0, 0x11, 64]);
        bytes.extend(inside);
        bytes
    };
    #[rustfmt::skip]
    let cases = [
        // what                                        bytes                                         kept
        ("without options",                            pseudowire(0x45, &[0xff, 0xee, 1, 2]),        18 + 20),
        ("with forty bytes of options",                pseudowire(0x4f, &[0xff, 0xee, 1, 2]),        18 + 20),
        ("as IPv6",                                    pseudowire(0x60, &[1, 2, 0xff, 0xee]),        18 + 40),
    ];
    for (what, bytes, kept) in cases {
        let frame = frame(&bytes, LinkType::ETHERNET);
        assert!(matches!(parse(&frame, &ParseOptions::default()).unwrap().network, Network::Ip(_)), "{what}");
        for keep in [Keep::default(), Keep { dns: true, tls_hello: true, payload: false }] {
            assert_eq!(kept_bytes(&frame, keep), kept, "{what}");
            holds(&frame, keep).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
        }
    }
    // A packet below a label is kept as any other.
    let packet = ipv4(17, &udp(9, 9, SECRET));
    let bytes = [ethernet(0x8847, &[0, 0, 0x11, 64]), packet].concat();
    assert_eq!(kept_bytes(&frame(&bytes, LinkType::ETHERNET), Keep::default()), 18 + 28);
}

#[test]
fn whatever_lies_below_a_label_answers_the_same_when_it_is_cut() {
    let mut state = 7_u64;
    let mut octet = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    for round in 0..20_000 {
        let mut bytes = ethernet(0x8847, &[0, 0, 0x11, 64]);
        bytes.extend((0..100).map(|_| octet()));
        let nibble = if round % 2 == 0 { 0x40 } else { 0x60 };
        bytes[18] = nibble | bytes[18] & 0x0f;
        // Every protocol that is looked into, often.
        let protocols = [1, 4, 6, 17, 41, 47, 51, 58, 132, 0, 43, 44, 60];
        let at = if nibble == 0x40 { 18 + 9 } else { 18 + 6 };
        if round % 3 > 0 {
            bytes[at] = protocols[round % protocols.len()];
        }
        holds(&frame(&bytes, LinkType::ETHERNET), Keep::default())
            .unwrap_or_else(|wrong| panic!("{bytes:x?}: {wrong}"));
    }
}

#[test]
fn tunnels_deeper_than_are_followed_are_still_refused_and_keep_no_payload() {
    for depth in 7..12 {
        let mut packet = ipv4(6, &tcp(&[], SECRET));
        for _ in 0..depth {
            packet = ipv4(4, &packet);
        }
        let frame = frame(&packet, LinkType::RAW);
        let innermost = ParseOptions { innermost: true, fingerprint: false };
        assert_eq!(parse(&frame, &innermost).is_err(), depth > 8, "{depth}");
        holds(&frame, Keep::default()).unwrap();
        assert!(!betrays(&packet[..kept_bytes(&frame, Keep::default())]));
    }
}

#[test]
fn a_packet_without_a_length_claims_the_same_however_it_is_cut() {
    let mut packet = ipv4(6, &tcp(&[], SECRET));
    packet[2..4].copy_from_slice(&[0, 0]);
    for link in 0..LINKINGS {
        let (link_type, mut bytes) = linked(link, &packet);
        // Behind what PPPoE and LLC say is theirs.
        bytes.extend([0; 30]);
        for original_bytes in [0, 60, bytes.len(), 150_000] {
            let original_bytes = u32::try_from(original_bytes).unwrap();
            let frame = Frame { original_bytes, ..frame(&bytes, link_type) };
            holds(&frame, Keep::default()).unwrap_or_else(|what| panic!("link {link}: {what}"));
            assert!(!betrays(&bytes[..kept_bytes(&frame, Keep::default())]));
        }
    }
}

#[test]
fn an_option_adds_what_it_names_and_nothing_else() {
    const NONE: Keep = Keep { payload: false, dns: false, tls_hello: false };
    let dns = Keep { dns: true, ..NONE };
    let hello = Keep { tls_hello: true, ..NONE };
    let record = [[22, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3].as_slice(), SECRET].concat();
    let server = [[22, 3, 3, 0, 6, 2, 0, 0, 2, 3, 3].as_slice(), SECRET].concat();
    let long = [22, 3, 1, 4, 0, 1, 0, 3, 252];
    let over_tcp = |payload: &[u8]| ethernet(0x0800, &ipv4(6, &tcp(&[], payload)));
    let question = ethernet(0x0800, &ipv4(17, &udp(40_000, 53, SECRET)));
    let mut padded = question.clone();
    padded.extend([0; 6]);
    let mut zone = over_tcp(SECRET);
    zone[34..36].copy_from_slice(&53_u16.to_be_bytes());
    let tunnelled = ethernet(0x0800, &ipv4(4, &ipv4(17, &udp(53, 40_000, SECRET))));
    #[rustfmt::skip]
    let cases = [
        // frame                                keep   headers          payload
        ("a DNS question",         &question,   NONE,  14 + 20 + 8,       0),
        ("a DNS question",         &question,   dns,   14 + 20 + 8,       SECRET.len()),
        ("a DNS question",         &question,   hello, 14 + 20 + 8,       0),
        ("padding behind it",      &padded,     dns,   14 + 20 + 8,       SECRET.len()),
        ("DNS over TCP",           &zone,       dns,   14 + 20 + 20,      SECRET.len()),
        ("DNS in a tunnel",        &tunnelled,  dns,   14 + 20 + 20 + 8,  SECRET.len()),
        ("other TCP",              &over_tcp(SECRET),  dns,   14 + 20 + 20,  0),
        ("other TCP",              &over_tcp(SECRET),  hello, 14 + 20 + 20,  0),
        ("a ClientHello",          &over_tcp(&record), NONE,  14 + 20 + 20,  0),
        ("a ClientHello",          &over_tcp(&record), dns,   14 + 20 + 20,  0),
        ("a ClientHello",          &over_tcp(&record), hello, 14 + 20 + 20,  11),
        ("a ServerHello",          &over_tcp(&server), hello, 14 + 20 + 20,  0),
        ("a ClientHello cut off",  &over_tcp(&long),   hello, 14 + 20 + 20,  9),
        ("less than its type",     &over_tcp(&long[..5]), hello, 14 + 20 + 20,  0),
    ];
    for (name, bytes, keep, headers, payload) in cases {
        let frame = frame(bytes, LinkType::ETHERNET);
        assert_eq!(kept_bytes(&frame, keep), headers + payload, "{name} {keep:?}");
        holds(&frame, keep).unwrap();
        let all = Keep { payload: true, ..keep };
        assert_eq!(kept_bytes(&frame, all), bytes.len(), "{name}");
    }
}

#[test]
fn an_arp_message_is_kept_whole_unless_it_lies_about_its_length() {
    let message = [[0, 1, 8, 0, 6, 4, 0, 1].as_slice(), &[7; 20], SECRET].concat();
    #[rustfmt::skip]
    let cases = [
        // lengths of addresses  kept behind the link header
        ([6, 4],                 28),
        ([20, 16],               80),
        ([255, 4],               8),
        ([6, 255],               8),
    ];
    for (lengths, expected) in cases {
        let mut message = message.clone();
        message[4..6].copy_from_slice(&lengths);
        message.resize(400, 0);
        let bytes = ethernet(0x0806, &message);
        assert_eq!(kept_bytes(&frame(&bytes, LinkType::ETHERNET), Keep::default()), 14 + expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_bytes_on_any_link_give_the_same_answer(
        link in prop::sample::select(LINKS.as_slice()),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        original_bytes in prop_oneof![any::<u32>(), 0_u32..300],
        keep in prop::sample::select(KEEPS.as_slice()),
    ) {
        let frame = Frame { original_bytes, ..frame(&bytes, link) };
        prop_assert_eq!(holds(&frame, keep), Ok(()));
    }

    #[test]
    fn any_damage_to_a_healthy_frame_gives_the_same_answer(
        (_, link, mut bytes, _) in prop::sample::select(kinds()),
        changes in prop::collection::vec((0_usize..120, prop_oneof![any::<u8>(), Just(0), Just(255)]), 0..5),
        snaplen in 0_usize..400,
        behind in 0_u32..100,
        keep in prop::sample::select(KEEPS.as_slice()),
    ) {
        for (position, value) in changes {
            if let Some(byte) = bytes.get_mut(position) {
                *byte = value;
            }
        }
        let original_bytes = u32::try_from(bytes.len()).unwrap() + behind;
        bytes.truncate(snaplen);
        let frame = Frame { original_bytes, ..frame(&bytes, link) };
        prop_assert_eq!(holds(&frame, keep), Ok(()));
    }

    #[test]
    fn however_headers_are_stacked_no_payload_is_kept(
        (protocol, transport, short) in prop::sample::select(transports()),
        is_ipv6: bool,
        around in prop::collection::vec(0..TUNNELS, 0..4),
        link in 0..LINKINGS,
        snaplen in prop_oneof![Just(usize::MAX), 0_usize..400],
        padding in 0_usize..20,
    ) {
        let mut packet = if is_ipv6 { ipv6(protocol, &transport) } else { ipv4(protocol, &transport) };
        for tunnel in around {
            packet = tunnelled(tunnel, &packet);
        }
        let (link, mut bytes) = linked(link, &packet);
        bytes.resize(bytes.len() + padding, 0);
        bytes.truncate(snaplen);
        let frame = frame(&bytes, link);
        prop_assert_eq!(holds(&frame, Keep::default()), Ok(()));
        let kept = kept_bytes(&frame, Keep::default());
        prop_assert!(!betrays(&bytes[..kept]));
        if let Some(secret) = bytes.windows(SECRET.len()).position(|part| part == SECRET) {
            prop_assert_eq!(kept, secret - short);
        }
    }
}

/// Checks that what is kept is within the frame and parses to the same.
fn holds(frame: &Frame<'_>, keep: Keep) -> Result<(), String> {
    let kept = kept_bytes(frame, keep);
    let Some(bytes) = frame.bytes.get(..kept) else {
        return Err(format!("{kept} bytes kept of {}", frame.bytes.len()));
    };
    let cut = Frame { bytes, ..*frame };
    for innermost in [false, true] {
        let options = ParseOptions { innermost, fingerprint: false };
        let (found, wanted) = (parse(&cut, &options), parse(frame, &options));
        if found != wanted {
            return Err(format!("{kept} bytes kept: got {found:?} want {wanted:?}"));
        }
    }
    // Who cuts what was cut must find room in it.
    let again = kept_bytes(&cut, keep);
    if again > kept {
        return Err(format!("{kept} bytes kept, and {again} of them"));
    }
    Ok(())
}

fn betrays(bytes: &[u8]) -> bool {
    SECRET.windows(4).any(|part| bytes.windows(part.len()).any(|kept| kept == part))
}

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

/// Name, link type, bytes with the secret as payload, and how many bytes before it are not kept either.
type Kind = (String, LinkType, Vec<u8>, usize);

fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (protocol, transport, short) in transports() {
        for packet in [ipv4(protocol, &transport), ipv6(protocol, &transport)] {
            let name = format!("protocol {protocol} over IPv{}, {} bytes", packet[0] >> 4, transport.len());
            let ethertype = if is_ipv6(&packet) { 0x86dd } else { 0x0800 };
            kinds.push((name, LinkType::ETHERNET, ethernet(ethertype, &packet), short));
        }
    }
    let packet = ipv4(6, &tcp(&[], SECRET));
    for tunnel in 0..TUNNELS {
        kinds.push((format!("tunnel {tunnel}"), LinkType::RAW, tunnelled(tunnel, &packet), 0));
    }
    for link in 0..LINKINGS {
        let (link_type, bytes) = linked(link, &packet);
        kinds.push((format!("link {link}"), link_type, bytes, 0));
    }
    let mut options = ipv4(17, &udp(1, 2, SECRET));
    options[0] = 0x46;
    options.splice(20..20, [0x94, 4, 0, 0]);
    options[3] += 4;
    let mut later = ipv4(6, SECRET);
    later[7] = 5;
    let mut first = ipv4(6, &tcp(&[], SECRET));
    first[6] = 0x20;
    let later6 = ipv6(44, &[[6, 0, 0, 8, 0, 0, 0, 9].as_slice(), SECRET].concat());
    let extended =
        [[43, 0, 1, 4, 0, 0, 0, 0].as_slice(), &[6, 0, 0, 0, 0, 0, 0, 0], &tcp(&[], SECRET)].concat();
    let arp = [[0, 1, 8, 0, 6, 4, 0, 1].as_slice(), &[7; 20], SECRET].concat();
    let other = [[0x42, 0x42, 0x03].as_slice(), SECRET].concat();
    let others = [
        ("IPv4 options", LinkType::RAW, options),
        ("a later fragment", LinkType::RAW, later),
        ("a first fragment", LinkType::RAW, first),
        ("a later IPv6 fragment", LinkType::RAW, later6),
        ("IPv6 extension headers", LinkType::RAW, ipv6(0, &extended)),
        ("ARP", LinkType::ETHERNET, ethernet(0x0806, &arp)),
        ("LLDP", LinkType::ETHERNET, ethernet(0x88cc, SECRET)),
        ("spanning tree", LinkType::ETHERNET, ethernet(0x0030, &other)),
    ];
    kinds.extend(others.map(|(name, link, bytes)| (name.to_owned(), link, bytes, 0)));
    kinds
}

/// Protocol, header and secret, and how many bytes before the secret are not kept.
fn transports() -> Vec<(u8, Vec<u8>, usize)> {
    let with = |header: &[u8]| [header, SECRET].concat();
    let error = |kind: u8, quote: &[u8]| [[kind, 1, 0, 0, 0, 0, 0, 0].as_slice(), quote].concat();
    vec![
        (6, tcp(&[], SECRET), 0),
        (6, tcp(&[2, 4, 5, 0xb4, 34, 6, 1, 2, 3, 4, 1, 1], SECRET), 0),
        (17, udp(40_000, 8_125, SECRET), 0),
        (132, with(&[0, 7, 0, 80, 1, 1, 1, 1, 2, 2, 2, 2]), 0),
        (1, with(&[8, 0, 0, 0, 0, 1, 0, 1]), 0),
        (58, with(&[128, 0, 0, 0, 0, 1, 0, 1]), 0),
        (1, error(3, &ipv4(17, &udp(4_000, 8_125, SECRET))), 0),
        (1, error(11, &ipv4(6, &tcp(&[], SECRET))), 12),
        (1, error(3, &ipv4(132, &with(&[0, 7, 0, 80, 1, 1, 1, 1, 2, 2, 2, 2]))), 0),
        (58, error(1, &ipv6(17, &udp(4_000, 8_125, SECRET))), 0),
        // ESP: nobody can say where its payload begins.
        (50, with(&[1, 2, 3, 4, 0, 0, 0, 1]), 8),
    ]
}

const TUNNELS: usize = 5;

fn tunnelled(kind: usize, inner: &[u8]) -> Vec<u8> {
    let ethertype: u16 = if is_ipv6(inner) { 0x86dd } else { 0x0800 };
    let [high, low] = ethertype.to_be_bytes();
    match kind {
        0 => ipv4(if is_ipv6(inner) { 41 } else { 4 }, inner),
        1 => ipv6(47, &[[0x20, 0, high, low, 0, 0, 0, 9].as_slice(), inner].concat()),
        2 => ipv4(47, &[[0, 0, 0x65, 0x58].as_slice(), &ethernet(ethertype, inner)].concat()),
        3 => {
            let body = [[8, 0, 0, 0, 0, 0, 42, 0].as_slice(), &ethernet(ethertype, inner)].concat();
            ipv4(17, &udp(50_000, 4_789, &body))
        }
        _ => {
            let body = [[1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 4].as_slice(), &ethernet(ethertype, inner)];
            ipv6(17, &udp(50_000, 6_081, &body.concat()))
        }
    }
}

const LINKINGS: usize = 8;

fn linked(kind: usize, packet: &[u8]) -> (LinkType, Vec<u8>) {
    let ethertype: u16 = if is_ipv6(packet) { 0x86dd } else { 0x0800 };
    let ppp: u8 = if is_ipv6(packet) { 0x57 } else { 0x21 };
    let [high, low] = ethertype.to_be_bytes();
    let behind = |header: &[u8]| [header, packet].concat();
    let length = |more: usize| u16::try_from(packet.len() + more).unwrap().to_be_bytes();
    match kind {
        0 => (LinkType::ETHERNET, ethernet(ethertype, packet)),
        1 => (LinkType::ETHERNET, ethernet(0x88a8, &behind(&[0, 7, 0x81, 0, 0, 8, high, low]))),
        2 => (LinkType::ETHERNET, ethernet(0x8847, &behind(&[0, 0, 0x10, 64, 0, 0, 0x11, 64]))),
        3 => {
            let [l0, l1] = length(2);
            (LinkType::ETHERNET, ethernet(0x8864, &behind(&[0x11, 0, 0, 1, l0, l1, 0, ppp])))
        }
        4 => {
            let snap = [0xaa, 0xaa, 3, 0, 0, 0, high, low];
            (LinkType::ETHERNET, ethernet(u16::from_be_bytes(length(snap.len())), &behind(&snap)))
        }
        5 => {
            let header = [high, low, 0, 0, 0, 0, 0, 42, 0, 1, 4, 6, 2, 0, 0, 0, 0, 9, 0, 0];
            (LinkType::LINUX_SLL2, behind(&header))
        }
        6 => (LinkType::PPP_HDLC, behind(&[0xff, 3, 0, ppp])),
        _ => (LinkType::RAW, packet.to_vec()),
    }
}

fn is_ipv6(packet: &[u8]) -> bool {
    packet[0] >> 4 == 6
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

fn tcp(options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap() << 4;
    let header = [0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, words, 0x18, 4, 0, 0, 0, 0, 0];
    [header.as_slice(), options, payload].concat()
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let header = [source, destination, length, 0].map(u16::to_be_bytes).concat();
    [header.as_slice(), payload].concat()
}

fn frame(bytes: &[u8], link: LinkType) -> Frame<'_> {
    Frame {
        bytes,
        link,
        at: Timestamp(1),
        beyond_seconds: 0,
        is_timed: true,
        number: 1,
        interface: InterfaceId(3),
        direction: Direction::Unstated,
        original_bytes: u32::try_from(bytes.len()).unwrap(),
    }
}

/// Everything under a folder that may be a capture.
fn captures_in(folder: &Path) -> Vec<PathBuf> {
    let mut captures = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_text = matches!(
            path.extension().and_then(|end| end.to_str()),
            Some("tsv" | "md" | "py" | "json" | "ndjson" | "toml" | "txt")
        );
        if path.is_dir() {
            captures.extend(captures_in(&path));
        } else if !is_text {
            captures.push(path);
        }
    }
    captures.sort();
    captures
}
