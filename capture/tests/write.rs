//! What is written as pcapng is read back as it was given, and a hostile text or a length that does not fit does no
//! harm.

#![expect(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use portolan_capture::write::{Captured, Counts, FRAME_BYTES_MAX, NewInterface, PcapngWriter, Section};
use portolan_capture::{FileInterface, FileTap, Frame, LinkType, Polled, Tap};
use portolan_flowtable::{Direction, InterfaceId, Timestamp};
use proptest::prelude::*;

/// A frame as it comes back from a file.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Seen {
    interface: u32,
    link: LinkType,
    at: Timestamp,
    bytes: Vec<u8>,
    original_bytes: u32,
    direction: Direction,
}

struct Read {
    frames: Vec<Seen>,
    interfaces: Vec<FileInterface>,
    kernel_dropped: Option<u64>,
}

#[test]
fn a_written_file_reads_back_with_every_field() {
    let mut writer = begun();
    let veth = NewInterface {
        link: LinkType::LINUX_SLL2,
        snaplen: 276,
        name: "veth1a2b3c4",
        description: "shop/web on shop_front",
    };
    assert_eq!(writer.add_interface(&veth).unwrap(), 0);
    let first = frame(0, 1_700_000_000_123_456_789, b"abcde", Direction::Incoming);
    writer.frame(&first).unwrap();
    // An interface may come while frames are written.
    let bridge = NewInterface { link: LinkType::ETHERNET, snaplen: 0, name: "br-shop", description: "" };
    assert_eq!(writer.add_interface(&bridge).unwrap(), 1);
    let others = [
        frame(1, i64::MAX, b"", Direction::Outgoing),
        frame(0, 0, b"abcdefgh", Direction::Unstated),
        frame(1, 1, &[7; 9_000], Direction::Unstated),
    ];
    for other in &others {
        writer.frame(other).unwrap();
    }
    writer.names(&[("10.0.0.2".parse().unwrap(), "web"), ("fd00::2".parse().unwrap(), "web")]).unwrap();
    for (interface, dropped) in [(0, 3), (1, 4)] {
        writer.statistics(interface, &Counts { dropped: Some(dropped), ..Counts::default() }).unwrap();
    }
    let read = read_back(writer);
    let links = [LinkType::LINUX_SLL2, LinkType::ETHERNET];
    let wanted: Vec<Seen> =
        [first].iter().chain(&others).map(|given| seen(given, links[given.interface as usize])).collect();
    assert_eq!(read.frames, wanted);
    let interface = |id, name: &str, description: Option<&str>, link, snaplen| FileInterface {
        id: InterfaceId(FileInterface::FIRST.0 + id),
        name: Some(name.to_owned()),
        description: description.map(str::to_owned),
        link,
        snaplen,
        section: 1,
        file: 0,
    };
    let interfaces = [
        interface(0, "veth1a2b3c4", Some("shop/web on shop_front"), LinkType::LINUX_SLL2, 276),
        interface(1, "br-shop", None, LinkType::ETHERNET, 0),
    ];
    assert_eq!(read.interfaces, interfaces);
    assert_eq!(read.kernel_dropped, Some(7));
}

#[test]
fn statistics_state_what_is_known_and_nothing_else() {
    let at = Timestamp(0x1111_2222_3333_4444);
    let all = Counts {
        at,
        started_at: Some(Timestamp(1)),
        ended_at: Some(at),
        received: Some(7),
        dropped: Some(8),
        delivered: Some(9),
    };
    let time = [0x22, 0x22, 0x11, 0x11, 0x44, 0x44, 0x33, 0x33];
    let one = [0, 0, 0, 0, 1, 0, 0, 0];
    let option =
        |code: u16, value: [u8; 8]| [code.to_le_bytes().as_slice(), &8_u16.to_le_bytes(), &value].concat();
    let options = [
        option(2, one),
        option(3, time),
        option(4, 7_u64.to_le_bytes()),
        option(5, 8_u64.to_le_bytes()),
        option(8, 9_u64.to_le_bytes()),
        vec![0; 4],
    ];
    let cases = [(all, options.concat()), (Counts { at, ..Counts::default() }, Vec::new())];
    for (counts, options) in cases {
        let mut writer = begun();
        let interface = NewInterface { link: LinkType::ETHERNET, snaplen: 0, name: "any", description: "" };
        writer.add_interface(&interface).unwrap();
        let before = usize::try_from(writer.written_bytes()).unwrap();
        writer.statistics(0, &counts).unwrap();
        let length = u32::try_from(24 + options.len()).unwrap().to_le_bytes();
        let wanted = [[5, 0, 0, 0].as_slice(), &length, &[0; 4], &time, &options, &length].concat();
        assert_eq!(writer.into_inner()[before..], wanted);
    }
}

#[test]
fn every_block_is_one_write_and_its_end_is_known() {
    let mut writer = PcapngWriter::new(Pieces::default(), &Section::default()).unwrap();
    let mut ends = vec![writer.written_bytes()];
    let interface = NewInterface { link: LinkType::ETHERNET, snaplen: 0, name: "eth0", description: "x" };
    writer.add_interface(&interface).unwrap();
    ends.push(writer.written_bytes());
    writer.frame(&frame(0, 5, b"abc", Direction::Incoming)).unwrap();
    ends.push(writer.written_bytes());
    writer.names(&[("10.0.0.1".parse().unwrap(), "a")]).unwrap();
    ends.push(writer.written_bytes());
    writer.statistics(0, &Counts::default()).unwrap();
    ends.push(writer.written_bytes());
    assert_eq!(ends, writer.get_mut().ends);

    // A disk that is full in the middle of a block: what was whole stays so.
    writer.get_mut().room = 10;
    let whole = writer.written_bytes();
    let error = writer.frame(&frame(0, 6, b"abc", Direction::Incoming)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(writer.written_bytes(), whole);
    let mut bytes = writer.into_inner().bytes;
    assert_eq!(bytes.len() as u64, whole + 10);
    bytes.truncate(usize::try_from(whole).unwrap());
    assert_eq!(read(&bytes).frames.len(), 1);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_of_it_is_written() {
    let mut writer = begun();
    let ethernet = NewInterface { link: LinkType::ETHERNET, snaplen: 0, name: "", description: "" };
    writer.add_interface(&ethernet).unwrap();
    let whole = writer.written_bytes();
    let long = vec![0; FRAME_BYTES_MAX + 1];
    let refusals = [
        writer.add_interface(&NewInterface { link: LinkType(65_536), ..ethernet }).unwrap_err(),
        writer.frame(&frame(1, 0, b"", Direction::Unstated)).unwrap_err(),
        writer.frame(&frame(0, 0, &long, Direction::Unstated)).unwrap_err(),
        writer.statistics(1, &Counts::default()).unwrap_err(),
    ];
    let said: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "link type 65536 has no number in a capture file",
            "interface 1 is not described; there are 1",
            "a frame of 262,145 captured bytes is longer than readers take (262,144)",
            "interface 1 is not described; there are 1",
        ]
    );
    assert!(refusals.iter().all(|error| error.kind() == ErrorKind::InvalidInput));
    assert_eq!(writer.written_bytes(), whole);
    writer.frame(&frame(0, 0, &long[1..], Direction::Unstated)).unwrap();
    let read = read_back(writer);
    assert_eq!(read.frames[0].bytes.len(), FRAME_BYTES_MAX);
    assert_eq!(read.interfaces[0].name, None);
}

#[test]
fn a_time_before_1970_is_written_as_zero_and_counted() {
    let mut writer = begun();
    let interface = NewInterface { link: LinkType::ETHERNET, snaplen: 0, name: "eth0", description: "" };
    writer.add_interface(&interface).unwrap();
    for at in [-1, i64::MIN, 0, 1] {
        writer.frame(&frame(0, at, b"", Direction::Unstated)).unwrap();
    }
    assert_eq!(writer.times_before_1970(), 2);
    let times: Vec<i64> = read_back(writer).frames.iter().map(|seen| seen.at.0).collect();
    assert_eq!(times, [0, 0, 0, 1]);
}

#[test]
fn a_hostile_text_is_cut_and_commands_nothing() {
    #[rustfmt::skip]
    let cases = [
        // given                          written
        ("veth\0\u{1b}[31m".to_owned(),   "veth\u{fffd}\u{fffd}[31m".to_owned()),
        ("a\u{202e}b\u{2066}c\n".into(),  "a\u{fffd}b\u{fffd}c\u{fffd}".into()),
        ("ü".repeat(200),                 "ü".repeat(128)),
        (format!("a{}", "ü".repeat(200)), format!("a{}", "ü".repeat(127))),
        ("x".repeat(70_000),              "x".repeat(256)),
    ];
    for (given, written) in cases {
        let mut writer = PcapngWriter::new(
            Vec::new(),
            &Section { application: &given, os: &given, hardware: &given, comment: &given },
        )
        .unwrap();
        let interface =
            NewInterface { link: LinkType::ETHERNET, snaplen: 0, name: &given, description: &given };
        writer.add_interface(&interface).unwrap();
        assert!(writer.written_bytes() < 6 * 4_200, "{} bytes", writer.written_bytes());
        let bytes = writer.into_inner();
        assert_eq!(read(&bytes).interfaces[0].name.as_deref(), Some(written.as_str()));
        for commanding in ["\u{1b}", "\u{202e}", "\u{2066}", "\n["] {
            assert!(!contains(&bytes, commanding.as_bytes()), "{given:?}");
        }
    }
}

#[test]
fn a_name_for_an_address_is_made_of_harmless_characters() {
    let address: IpAddr = "192.0.2.7".parse().unwrap();
    #[rustfmt::skip]
    let cases = [
        // given              written
        ("shop_web-1.local",  "shop_web-1.local"),
        ("shop/web",          "shop_web"),
        ("a\0b\u{1b}c",       "a_b_c"),
        ("grün \u{202e}",     "gr_n__"),
    ];
    for (given, written) in cases {
        let mut writer = begun();
        writer.names(&[(address, ""), (address, given)]).unwrap();
        let record = [&[192, 0, 2, 7], written.as_bytes(), &[0]].concat();
        let length = u16::try_from(record.len()).unwrap();
        let whole = [&[1, 0], length.to_le_bytes().as_slice(), &record].concat();
        assert!(contains(&writer.into_inner(), &whole), "{given:?}");
    }
    let mut writer = begun();
    let before = writer.written_bytes();
    writer.names(&[(address, "")]).unwrap();
    assert_eq!(writer.written_bytes(), before);
}

#[test]
fn more_names_than_a_block_should_hold_go_into_several() {
    let mut writer = PcapngWriter::new(Pieces::default(), &Section::default()).unwrap();
    let name = "n".repeat(1_000);
    let names: Vec<(IpAddr, &str)> =
        (0..1_000_u16).map(|last| (IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, last]), name.as_str())).collect();
    writer.names(&names).unwrap();
    let out = writer.into_inner();
    assert_eq!(out.ends.len(), 6);
    assert!(out.ends.windows(2).all(|pair| pair[1] - pair[0] < 66_000), "{:?}", out.ends);
    // Each is cut to the length of a domain name, and ended.
    let kept = [[b'n'; 253].as_slice(), &[0]].concat();
    assert_eq!(out.bytes.windows(kept.len()).filter(|part| *part == kept).count(), 1_000);
}

#[test]
fn an_interface_that_speaks_for_the_socket_states_the_files_drops() {
    const ANY: u32 = 0;
    const ETH: u32 = 1;
    #[rustfmt::skip]
    let cases = [
        // frames of              drops stated          the file's
        (vec![ETH],               vec![(ANY, 5)],            Some(5)),
        (vec![ETH],               vec![(ANY, 5), (ETH, 7)],  Some(5)),
        (vec![ETH],               vec![(ANY, 0)],            Some(0)),
        (vec![],                  vec![(ANY, 5)],            Some(5)),
        (vec![ETH],               vec![(ANY, 5), (ANY, 9)],  Some(9)),
        (vec![ETH],               vec![],                    None),
        (vec![ETH],               vec![(ETH, 7)],            Some(7)),
        // An `any` with frames is an interface like others.
        (vec![ANY, ETH],          vec![(ANY, 5)],            None),
        (vec![ANY, ETH],          vec![(ANY, 5), (ETH, 7)],  Some(12)),
    ];
    for (frames, drops, wanted) in cases {
        let read = read(&recording("any", &frames, &drops));
        assert_eq!(read.kernel_dropped, wanted, "{frames:?} {drops:?}");
        // Another name speaks for nobody.
        if frames == [ETH] && drops == [(ANY, 5)] {
            assert_eq!(self::read(&recording("any0", &frames, &drops)).kernel_dropped, None);
        }
    }
}

#[test]
fn a_section_speaks_for_itself_only() {
    let spoken = recording("any", &[1], &[(0, 5)]);
    let ordinary = recording("eth7", &[1], &[(1, 7)]);
    let silent = recording("eth7", &[1], &[]);
    assert_eq!(read(&[spoken.clone(), ordinary].concat()).kernel_dropped, Some(12));
    assert_eq!(read(&[spoken.clone(), spoken.clone()].concat()).kernel_dropped, Some(10));
    assert_eq!(read(&[spoken, silent].concat()).kernel_dropped, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_frames_read_back_as_they_were_given(
        links in prop::collection::vec(0_u32..65_536, 1..5),
        given in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..i64::MAX, prop::collection::vec(any::<u8>(), 0..400), any::<u32>(), 0_usize..3),
            0..40,
        ),
        name in "\\PC{0,20}",
    ) {
        let mut writer = begun();
        for link in &links {
            let link = LinkType(*link);
            writer.add_interface(&NewInterface { link, snaplen: 0, name: &name, description: &name }).unwrap();
        }
        let mut wanted = Vec::new();
        for (index, at, bytes, original_bytes, direction) in &given {
            let index = index.index(links.len());
            let direction = [Direction::Unstated, Direction::Incoming, Direction::Outgoing][*direction];
            let interface = u32::try_from(index).unwrap();
            let at = Timestamp(*at);
            writer.frame(&Captured { interface, at, bytes, original_bytes: *original_bytes, direction }).unwrap();
            wanted.push(Seen {
                interface,
                link: LinkType(links[index]),
                at,
                bytes: bytes.clone(),
                original_bytes: *original_bytes,
                direction,
            });
        }
        let read = read_back(writer);
        prop_assert_eq!(read.frames, wanted);
        prop_assert_eq!(read.interfaces.len(), links.len());
    }
}

fn begun() -> PcapngWriter<Vec<u8>> {
    let section =
        Section { application: "portolan", os: "Linux", hardware: "x86_64", comment: "headers only" };
    PcapngWriter::new(Vec::new(), &section).unwrap()
}

/// A file of two interfaces, the first of them named, the second `eth0`.
fn recording(name: &str, frames: &[u32], drops: &[(u32, u64)]) -> Vec<u8> {
    let mut writer = begun();
    for name in [name, "eth0"] {
        let interface = NewInterface { link: LinkType::ETHERNET, snaplen: 0, name, description: "" };
        writer.add_interface(&interface).unwrap();
    }
    for interface in frames {
        writer.frame(&frame(*interface, 1, b"x", Direction::Unstated)).unwrap();
    }
    for (interface, dropped) in drops {
        let counts = Counts { dropped: Some(*dropped), received: Some(100), ..Counts::default() };
        writer.statistics(*interface, &counts).unwrap();
    }
    writer.into_inner()
}

fn frame(interface: u32, at: i64, bytes: &[u8], direction: Direction) -> Captured<'_> {
    Captured { interface, at: Timestamp(at), bytes, original_bytes: 9_014, direction }
}

fn seen(given: &Captured<'_>, link: LinkType) -> Seen {
    Seen {
        interface: given.interface,
        link,
        at: given.at,
        bytes: given.bytes.to_vec(),
        original_bytes: given.original_bytes,
        direction: given.direction,
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn read_back(writer: PcapngWriter<Vec<u8>>) -> Read {
    let written_bytes = writer.written_bytes();
    let bytes = writer.into_inner();
    assert_eq!(bytes.len() as u64, written_bytes);
    read(&bytes)
}

fn read(bytes: &[u8]) -> Read {
    static FILES: AtomicU64 = AtomicU64::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("portolan-write-{}-{number}.pcapng", std::process::id()));
    fs::write(&path, bytes).unwrap();
    let mut tap = FileTap::open(path.to_str().unwrap()).unwrap();
    let mut frames = Vec::new();
    let mut each = |frame: &Frame<'_>| {
        assert!(frame.is_timed);
        assert_eq!(frame.beyond_seconds, 0);
        frames.push(Seen {
            interface: frame.interface.0 - FileInterface::FIRST.0,
            link: frame.link,
            at: frame.at,
            bytes: frame.bytes.to_vec(),
            original_bytes: frame.original_bytes,
            direction: frame.direction,
        });
    };
    while tap.poll(&mut each).unwrap() != Polled::End {}
    fs::remove_file(&path).unwrap();
    assert!(tap.damage().is_none(), "{:?}", tap.damage());
    Read { frames, interfaces: tap.interfaces().to_vec(), kernel_dropped: tap.kernel_dropped() }
}

/// An output that notes where each write ends, and takes no more than it has room for.
struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<u64>,
    room: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), room: usize::MAX }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        if taken == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        self.room -= taken;
        self.bytes.extend_from_slice(&bytes[..taken]);
        self.ends.push(self.bytes.len() as u64);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
