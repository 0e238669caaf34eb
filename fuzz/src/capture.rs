//! Frames and capture files.

use portolan_capture::dns::{self, Spoken, spoken};
use portolan_capture::keep::{Keep, kept_bytes};
use portolan_capture::{FileTap, Frame, LinkType, MergedFiles, ParseError, ParseOptions, Polled, Tap, parse};
use portolan_flowtable::{Direction, InterfaceId, Observation, Timestamp};

use super::input::{Input, MemoryFile};

/// Link types by the first byte of an input; the last is nobody's.
pub const LINKS: [LinkType; 14] = [
    LinkType::ETHERNET,
    LinkType::LINUX_SLL2,
    LinkType::LINUX_SLL,
    LinkType::RAW,
    LinkType::NULL,
    LinkType::LOOP,
    LinkType::PPP,
    LinkType::PPP_HDLC,
    LinkType::PPP_ETHER,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType::RAW_12,
    LinkType::RAW_14,
    LinkType(60_000),
];

const KEEPS: [Keep; 4] = [
    Keep { payload: false, dns: false, tls_hello: false },
    Keep { payload: false, dns: true, tls_hello: false },
    Keep { payload: false, dns: false, tls_hello: true },
    Keep { payload: true, dns: false, tls_hello: false },
];

/// Frames read of one capture file; a bomb may hold more.
const FRAMES_MAX: usize = 20_000;

/// A frame is parsed or refused; what is kept of it parses to the same; cutting again cuts nothing more.
pub fn frame(bytes: &[u8]) {
    let frame = frame_of(bytes);
    for innermost in [false, true] {
        for fingerprint in [false, true] {
            let _ = parse(&frame, &ParseOptions { innermost, fingerprint });
        }
    }
    for keep in KEEPS {
        kept_is_enough(&frame, keep);
    }
}

/// A DNS message is read or refused: as one datagram, as a TCP segment of several, and wherever it is cut. Names are fit to
/// print, addresses no more than there are bytes for.
pub fn dns(bytes: &[u8]) {
    for is_tcp in [false, true] {
        for message in (Spoken { bytes, is_tcp }).messages() {
            let Ok(read) = dns::read(message) else { continue };
            assert!(read.addresses.len() <= message.len() / 4, "{read:?}");
            for name in std::iter::once(&read.name).chain(&read.aliases) {
                assert!(name.bytes().all(|byte| (b'!'..=b'~').contains(&byte)), "{name:?}");
                assert!(name.len() <= 4 * 255, "{name:?}");
            }
            for cut in 0..message.len() {
                let _ = dns::read(&message[..cut]);
            }
        }
    }
    // The same bytes as a frame: what is found in it lies in it.
    let frame = frame_of(bytes);
    if let Ok(seen) = parse(&frame, &ParseOptions::default())
        && let Some(spoken) = spoken(&frame, &seen)
    {
        assert!(spoken.bytes.len() <= frame.bytes.len());
    }
}

/// The fast path reads a frame as the walk through its layers does. Who asks for a fingerprint is walked.
pub fn fast_path(bytes: &[u8]) {
    fast_is_walked(&frame_of(bytes));
}

/// The same for one frame.
pub fn fast_is_walked(frame: &Frame<'_>) {
    for innermost in [false, true] {
        let fast = parse(frame, &ParseOptions { innermost, fingerprint: false });
        let walked = parse(frame, &ParseOptions { innermost, fingerprint: true });
        assert_eq!(fast, walked.map(|seen| Observation { fingerprint: 0, ..seen }), "{frame:?}");
    }
}

/// A capture file is read to its end or to its damage, in bounds, twice alike, alone and merged with itself.
pub fn capture_file(bytes: &[u8]) {
    let file = MemoryFile::new(bytes);
    let path = file.path();
    let alone = FileTap::open(&path).map(|tap| read(tap, |tap| tap.damage().map(ToString::to_string)));
    let merged =
        MergedFiles::open(&[&path]).map(|tap| read(tap, |tap| tap.damage().next().map(ToString::to_string)));
    match (alone, merged) {
        (Ok(alone), Ok(merged)) => assert_eq!(alone, merged),
        (Err(alone), Err(merged)) => assert_eq!(alone.to_string(), merged.to_string()),
        (alone, merged) => panic!("{alone:?} alone, {merged:?} merged"),
    }
    if let Ok(twice) = MergedFiles::open(&[&path, &path]) {
        read(twice, |_| None);
    }
}

/// Returns the frame an input describes: link type, how much longer it was on the wire, its bytes.
pub fn frame_of(bytes: &[u8]) -> Frame<'_> {
    let mut input = Input::new(bytes);
    let link = LINKS[usize::from(input.below(14))];
    let claim = input.byte();
    let bytes = input.rest();
    let captured = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let original_bytes = match claim {
        0..=191 => captured,
        192..=223 => captured + u32::from(claim - 191) * 3_000,
        224..=239 => captured / 2,
        240..=247 => 0,
        248..=255 => u32::MAX,
    };
    whole(bytes, link, original_bytes)
}

/// Returns a frame of these bytes.
pub fn whole(bytes: &[u8], link: LinkType, original_bytes: u32) -> Frame<'_> {
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

/// What is kept of a frame parses to what the frame parses to, and holds what is kept of it.
pub fn kept_is_enough(frame: &Frame<'_>, keep: Keep) {
    let kept = kept_bytes(frame, keep);
    assert!(kept <= frame.bytes.len(), "{kept} bytes kept of {}", frame.bytes.len());
    let cut = Frame { bytes: &frame.bytes[..kept], ..*frame };
    for innermost in [false, true] {
        let options = ParseOptions { innermost, fingerprint: false };
        assert_eq!(
            parse(&cut, &options),
            parse(frame, &options),
            "{kept} bytes kept by {keep:?} of {frame:?}"
        );
    }
    assert!(kept_bytes(&cut, keep) <= kept);
}

/// Frames, their captured bytes, how many were refused, and what was said.
fn read<T: Tap>(mut tap: T, damage: impl Fn(&T) -> Option<String>) -> (usize, usize, usize, Option<String>) {
    let (mut frames, mut bytes, mut refused) = (0, 0, 0);
    let mut each = |frame: &Frame<'_>| {
        frames += 1;
        bytes += frame.bytes.len();
        assert_eq!(frame.number, frames as u64);
        let seen: Result<Observation, ParseError> = parse(frame, &ParseOptions::default());
        refused += usize::from(seen.is_err());
    };
    let mut polled = 0;
    loop {
        match tap.poll(&mut each).expect("a file never fails, it is damaged") {
            Polled::Frames(count) => polled += count,
            Polled::Idle => panic!("a file is never idle"),
            Polled::End => break,
        }
        if polled > FRAMES_MAX {
            return (0, 0, 0, None);
        }
    }
    assert_eq!(polled, frames);
    let said = damage(&tap);
    for text in said.iter() {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    (frames, bytes, refused, said)
}
