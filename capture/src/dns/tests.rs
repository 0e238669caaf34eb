use portolan_flowtable::{Direction, InterfaceId, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::frame::LinkType;
use crate::parse::{ParseOptions, parse};

/// A message: flags, question, answer records.
fn message(flags: u16, question: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd];
    bytes.extend(flags.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, 0]);
    bytes.extend(question);
    bytes.extend([0, 1, 0, 1]);
    bytes.extend(records.concat());
    bytes
}

fn record(owner: &[u8], kind: u16, ttl: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(ttl.to_be_bytes());
    bytes.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content);
    bytes
}

/// `text` as labels.
fn labels(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name of the question, compressed.
const QUESTION: [u8; 2] = [0xc0, 12];
const ANSWER: u16 = 0x8180;

#[test]
fn an_address_is_called_what_was_asked_for_and_by_every_name_of_the_chain() {
    let chain = [
        record(&labels("cdn.example.net"), 1, 60, &[203, 0, 113, 9]),
        record(&QUESTION, 5, 300, &labels("Edge.example.NET")),
        record(&labels("edge.example.net"), 5, 30, &labels("cdn.example.net")),
        record(&labels("cdn.example.net"), 28, 90, &Ipv6Addr::LOCALHOST.octets()),
        // Of nobody who was asked for.
        record(&labels("other.example"), 1, 5, &[198, 51, 100, 1]),
    ];
    let read = read(&message(ANSWER, &labels("API.example.com"), &chain)).unwrap();
    assert_eq!(
        read,
        Message {
            id: 0xabcd,
            is_answer: true,
            name: "api.example.com".to_owned(),
            aliases: vec!["edge.example.net".to_owned(), "cdn.example.net".to_owned()],
            addresses: vec!["203.0.113.9".parse().unwrap(), "::1".parse().unwrap()],
            ttl_seconds: 30,
        }
    );
}

#[test]
fn what_is_no_answer_names_nothing() {
    let address = || record(&QUESTION, 1, 60, &[203, 0, 113, 9]);
    let looped =
        [record(&QUESTION, 5, 1, &labels("b.c")), record(&labels("b.c"), 5, 1, &labels("a.b")), address()];
    let mut two_questions = message(ANSWER, &labels("a.b"), &[address()]);
    two_questions[5] = 2;
    let mut beyond = message(ANSWER, &labels("a.b"), &[address()]);
    beyond[7] = 2;
    #[rustfmt::skip]
    let cases = [
        // message                                                                   addresses, or why none is read
        (message(ANSWER, &labels("a.b"), &[address()]),                              Ok(1)),
        (message(0x0100, &labels("a.b"), &[]),                                       Ok(0)), // a question
        (message(0x8183, &labels("a.b"), &[address()]),                              Ok(0)), // NXDOMAIN
        (message(ANSWER, &labels("a.b"), &looped),                                   Ok(0)),
        (message(ANSWER, &labels("a.b"), &[record(&QUESTION, 16, 9, b"text")]),      Ok(0)),
        (message(ANSWER, &labels("a.b"), &[record(&QUESTION, 1, 9, b"123")]),        Err(Unread::Malformed)),
        (message(ANSWER, &labels("a.b"), &[record(&[0xc0, 24], 1, 9, b"1234")]),     Err(Unread::Malformed)), // to itself
        (message(ANSWER, &[0x41, 0], &[]),                                           Err(Unread::Malformed)),
        (message(ANSWER, &labels(&"abcdefg.".repeat(40)), &[]),                      Err(Unread::Malformed)),
        (message(0xa800, &labels("a.b"), &[]),                                       Err(Unread::OfAnotherKind)), // an update
        (two_questions,                                                              Err(Unread::OfAnotherKind)),
        (beyond,                                                                     Err(Unread::Cut)),
    ];
    for (message, expected) in cases {
        assert_eq!(read(&message).map(|read| read.addresses.len()), expected, "{message:02x?}");
    }
}

#[test]
fn no_name_can_steer_whoever_shows_it() {
    let hostile = [6, b'a', 0x1b, b'.', b'\\', 0xe2, b' ', 1, 0x7f, 0];
    let read = read(&message(0x0100, &hostile, &[])).unwrap();
    assert_eq!(read.name, r"a\027\.\\\226\032.\127");
}

#[test]
fn a_time_to_live_is_at_most_seven_days_and_negative_ones_are_none() {
    for (ttl, expected) in [(0, 0), (60, 60), (u32::MAX, 0), (1 << 30, TTL_MAX)] {
        let answer = message(ANSWER, &labels("a.b"), &[record(&QUESTION, 1, ttl, &[1, 2, 3, 4])]);
        assert_eq!(read(&answer).unwrap().ttl_seconds, expected, "{ttl}");
    }
}

#[test]
fn a_message_is_found_behind_udp_and_tcp_headers_and_nowhere_else() {
    let query = message(0x0100, &labels("a.b"), &[]);
    let counted = |message: &[u8]| [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    let two = [counted(&query), counted(&query)].concat();
    let udp = |source: u16, destination: u16| {
        let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        bytes.extend([0, 0, 0, 0]);
        [bytes, query.clone()].concat()
    };
    let tcp = |payload: &[u8]| {
        let mut bytes = [50_000_u16.to_be_bytes(), 53_u16.to_be_bytes()].concat();
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x60, 0x18, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
        [bytes, payload.to_vec()].concat()
    };
    #[rustfmt::skip]
    let cases = [
        (17, udp(50_000, 53), Some((vec![query.clone()], false))),
        (17, udp(53, 50_000), Some((vec![query.clone()], false))),
        (17, udp(54, 50_000), None),
        (6,  tcp(&two),       Some((vec![query.clone(), query.clone()], true))),
        (6,  tcp(&two[..9]),  Some((vec![query[..7].to_vec()], true))),
        (6,  tcp(&[]),        None),
        (17, udp(53, 50_000)[..8].to_vec(), None),
    ];
    for (protocol, packet, expected) in cases {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        bytes.extend(&packet);
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        bytes[2..4].copy_from_slice(&length);
        let frame = Frame {
            bytes: &bytes,
            link: LinkType::RAW,
            at: Timestamp(0),
            beyond_seconds: 0,
            is_timed: true,
            number: 1,
            interface: InterfaceId(0),
            direction: Direction::Unstated,
            original_bytes: u32::try_from(bytes.len()).unwrap(),
        };
        let seen = parse(&frame, &ParseOptions::default()).unwrap();
        let found = spoken(&frame, &seen)
            .map(|spoken| (spoken.messages().map(<[u8]>::to_vec).collect::<Vec<_>>(), spoken.is_tcp));
        assert_eq!(found, expected, "{packet:02x?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), flags in any::<u16>()) {
        let _ = read(&bytes);
        // With a header that is one.
        let _ = read(&message(flags & 0x8fff, &bytes, &[]));
        let spoken = Spoken { bytes: &bytes, is_tcp: true };
        prop_assert!(spoken.messages().map(<[u8]>::len).sum::<usize>() <= bytes.len());
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_names_nothing(cut in 0_usize..1_000) {
        let whole = message(ANSWER, &labels("a.b"), &[record(&QUESTION, 1, 9, &[1, 2, 3, 4])]);
        prop_assert_eq!(read(&whole[..cut % whole.len()]), Err(Unread::Cut));
    }
}
