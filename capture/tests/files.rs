//! Capture files as taps: what is said about those that are none, what is kept of those that are damaged, and how
//! several become one.

#![expect(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portolan_capture::{
    FileInterface, FileTap, Frame, LinkType, MergedFiles, ParseOptions, Polled, Tap, TapError, parse,
};
use portolan_flowtable::{Direction, InterfaceEntry, InterfaceId, InterfaceTable, Role};
use proptest::prelude::*;

/// What a frame says of itself, and what it holds.
type Seen = (u64, i64, u32, Vec<u8>);

#[test]
fn a_file_that_is_no_capture_is_refused_in_one_sentence() {
    let folder = Folder::new("foreign");
    let pcap = classic(&[(1, b"frame")]);
    #[rustfmt::skip]
    let cases = [
        // content                                 said
        (b"".to_vec(),                             "{}: the file is empty; a capture without packets still has a header"),
        (b"hello, this is a text\n".to_vec(),      "{}: not a capture file: it looks like text; expected pcap or pcapng, plain or compressed by gzip or zstd"),
        (b"{\"a\": 1}".to_vec(),                   "{}: not a capture file: it looks like JSON; expected pcap or pcapng, plain or compressed by gzip or zstd"),
        (b"PK\x03\x04zip".to_vec(),                "{}: not a capture file: it looks like a zip archive; unpack it first; expected pcap or pcapng, plain or compressed by gzip or zstd"),
        (vec![0xfe; 64],                           "{}: not a capture file: it looks like binary data of another kind; expected pcap or pcapng, plain or compressed by gzip or zstd"),
        (gzip(b"text within"),                     "{}: not a capture file: it looks like text; expected pcap or pcapng, plain or compressed by gzip or zstd"),
        (gzip(b""),                                "{}: not a capture file: its compressed content is empty; expected pcap or pcapng, plain or compressed by gzip or zstd"),
        (gzip(&gzip(&pcap)),                       "{}: not a capture file: it is compressed twice; decompress it once; expected pcap or pcapng, plain or compressed by gzip or zstd"),
        (zstd(&gzip(&pcap)),                       "{}: not a capture file: it is compressed twice; decompress it once; expected pcap or pcapng, plain or compressed by gzip or zstd"),
        (pcap[..20].to_vec(),                      "{}: truncated in the middle of its header (file ends at byte 20)"),
    ];
    for (content, said) in cases {
        let path = folder.write("case", &content);
        let error = FileTap::open(&path).err().unwrap();
        assert_eq!(error.to_string(), said.replace("{}", &path));
    }
    let missing = folder.path("missing.pcap");
    let error = FileTap::open(&missing).err().unwrap();
    assert_eq!(error.to_string(), format!("{missing}: no such file"));
    let error = FileTap::open(&folder.path("")).err().unwrap();
    assert!(matches!(error, TapError::Directory { .. }), "{error}");
}

#[test]
fn everything_before_a_cut_is_delivered_and_the_cut_is_named() {
    let folder = Folder::new("cut");
    let whole = classic(&[(1, b"first"), (2, b"second"), (3, b"third")]);
    let path = folder.write("cut.pcap", &whole[..whole.len() - 2]);
    let (frames, tap) = drain(&[&path]);
    assert_eq!(frames.len(), 2);
    let said: Vec<String> = tap.damage().map(ToString::to_string).collect();
    let length = whole.len() - 2;
    assert_eq!(
        said,
        [format!(
            "{path}: truncated in the middle of packet 3 (file ends at byte {length}); everything before it was counted"
        )]
    );
    assert_eq!((tap.position(), tap.length()), (length as u64, Some(length as u64)));
}

#[test]
fn a_file_reads_the_same_however_it_is_compressed_and_ordered() {
    let folder = Folder::new("forms");
    let records: [(u32, &[u8]); 3] = [(10, b"a"), (20, b"bb"), (30, b"ccc")];
    let plain = classic(&records);
    let mut swapped = Vec::new();
    for word in plain[..24].chunks(4) {
        swapped.extend(word.iter().rev());
    }
    // Two halves in one word: each keeps its place.
    swapped[4..8].copy_from_slice(&[0, 2, 0, 4]);
    for (seconds, bytes) in records {
        for word in [seconds, 0, u32::try_from(bytes.len()).unwrap(), 100] {
            swapped.extend(word.to_be_bytes());
        }
        swapped.extend(bytes);
    }
    let two_members = [gzip(&plain[..30]), gzip(&plain[30..])].concat();
    let wanted = drain(&[&folder.write("plain", &plain)]).0;
    assert_eq!(wanted.len(), 3);
    for (name, content) in [
        ("gzip", gzip(&plain)),
        ("two gzip members", two_members),
        ("zstd", zstd(&plain)),
        ("big-endian", swapped),
    ] {
        let (found, tap) = drain(&[&folder.write(name, &content)]);
        assert_eq!(found, wanted, "{name}");
        assert_eq!(tap.damage().count(), 0, "{name}");
        assert_eq!(tap.position(), content.len() as u64, "{name}");
    }
}

#[test]
fn the_parts_of_one_recording_follow_each_other_and_none_follows_a_damaged_one() {
    let folder = Folder::new("parts");
    let first = folder.write("1.pcap", &classic(&[(5, b"a"), (4, b"b"), (9, b"c")]));
    let second = folder.write("2.pcap", &classic(&[(8, b"d")]));
    let empty = folder.write("0.pcap", &classic(&[]));
    let order = |paths: &[&str]| {
        let mut tap = MergedFiles::open_in_sequence(paths).unwrap();
        let mut seen = Vec::new();
        while let Polled::Frames(_) =
            tap.poll(&mut |frame| seen.push((frame.number, frame.bytes.to_vec()))).unwrap()
        {}
        seen
    };
    let expected = [b"a", b"b", b"c", b"d"].map(|bytes| bytes.to_vec());
    let expected: Vec<(u64, Vec<u8>)> = (1..).zip(expected).collect();
    assert_eq!(order(&[&first, &second]), expected);
    assert_eq!(order(&[&empty, &first, &empty, &second]), expected);
    let whole = fs::read(&first).unwrap();
    let cut = folder.write("cut.pcap", &whole[..whole.len() - 1]);
    assert_eq!(order(&[&cut, &second]), expected[..2]);
}

#[test]
fn files_are_merged_by_time_and_their_interfaces_stay_apart() {
    let folder = Folder::new("merge");
    let first = folder.write("first.pcap", &classic(&[(10, b"a"), (30, b"b"), (20, b"late")]));
    let second = folder.write("second.pcap", &classic(&[(10, b"c"), (15, b"d"), (40, b"e")]));
    let (frames, tap) = drain(&[&first, &second]);
    let order: Vec<(u64, u32, &[u8])> =
        frames.iter().map(|(number, _, interface, bytes)| (*number, *interface, bytes.as_slice())).collect();
    #[rustfmt::skip]
    assert_eq!(order, [
        (1, 0, b"a".as_slice()),
        (2, 1, b"c"),
        (3, 1, b"d"),
        (4, 0, b"b"),
        (5, 0, b"late"),
        (6, 1, b"e"),
    ]);
    let files: Vec<usize> = tap.interfaces().iter().map(|interface| interface.file).collect();
    assert_eq!(files, [0, 1]);
}

#[test]
fn a_files_interface_is_never_taken_for_one_of_the_kernels() {
    let folder = Folder::new("indexes");
    let mut file = section();
    file.extend(block(1, &[[1, 0, 0, 0, 0, 0, 0, 0].as_slice(), &option(2, b"eth0")].concat()));
    file.extend(block(1, &[[20, 1, 0, 0, 0, 0, 0, 0].as_slice(), &option(2, b"any")].concat()));
    let packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    for index in 0..3 {
        // Kernel indexes 0 to 2, each after a frame of the file's own first interface.
        let header = [8, 0, 0, 0, 0, 0, 0, index, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0];
        let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        for (interface, link) in [(0_u32, ethernet.as_slice()), (1, &header)] {
            let bytes = [link, &packet].concat();
            let length = u32::try_from(bytes.len()).unwrap();
            let fixed = [interface, 0, u32::from(index), length, length].map(u32::to_le_bytes).concat();
            let padding = vec![0; bytes.len().next_multiple_of(4) - bytes.len()];
            file.extend(block(6, &[fixed, bytes, padding].concat()));
        }
    }
    let path = folder.write("mixed.pcapng", &file);
    let mut tap = MergedFiles::open(&[&path, &path]).unwrap();
    let mut seen = Vec::new();
    let mut each = |frame: &Frame<'_>| {
        let interface = parse(frame, &ParseOptions::default()).unwrap().interface;
        seen.push((frame.link, interface));
    };
    while tap.poll(&mut each).unwrap() != Polled::End {}
    let of = |link| -> BTreeSet<InterfaceId> {
        seen.iter().filter(|(of, _)| *of == link).map(|(_, interface)| *interface).collect()
    };
    let (own, kernels) = (of(LinkType::ETHERNET), of(LinkType::LINUX_SLL2));
    assert_eq!((own.len(), kernels.len()), (2, 3));
    assert!(own.is_disjoint(&kernels));
    let described: BTreeSet<InterfaceId> = tap.interfaces().iter().map(|interface| interface.id).collect();
    assert_eq!(described.len(), 4);
    assert!(own.is_subset(&described));
    // A role can be given to each.
    let mut table = InterfaceTable::new();
    for interface in described {
        let entry = InterfaceEntry { role: Role::Foreign, ..InterfaceEntry::default() };
        table.set(interface, entry);
        assert_eq!(table.get(interface), entry);
    }
    for interface in kernels {
        assert_eq!(table.get(interface).role, Role::Unknown);
    }
}

#[test]
fn damage_to_one_file_does_not_end_the_others() {
    let folder = Folder::new("damage");
    let whole = classic(&[(10, b"a"), (20, b"b")]);
    let cut = folder.write("cut.pcap", &whole[..whole.len() - 1]);
    let other = folder.write("other.pcap", &classic(&[(30, b"c"), (40, b"d")]));
    let (frames, tap) = drain(&[&cut, &other]);
    assert_eq!(frames.len(), 3);
    assert_eq!(tap.damage().count(), 1);
}

#[test]
fn a_pcapng_file_tells_interfaces_directions_and_drops() {
    let folder = Folder::new("blocks");
    let mut file = section();
    file.extend(block(
        1,
        &[&[1, 0, 0, 0, 0, 0, 0, 0], option(2, b"eth7").as_slice(), &option(9, &[9])].concat(),
    ));
    for flags in [0_u32, 1, 2] {
        let fixed = [0_u32, 0, 5_000, 4, 60].map(u32::to_le_bytes).concat();
        file.extend(block(6, &[&fixed, b"abcd".as_slice(), &option(2, &flags.to_le_bytes())].concat()));
    }
    let counters = [option(5, &7_u64.to_le_bytes()), option(7, &2_u64.to_le_bytes())].concat();
    file.extend(block(5, &[&[0; 12], counters.as_slice()].concat()));
    let path = folder.write("file.pcapng", &file);

    let mut tap = FileTap::open(&path).unwrap();
    let mut seen = Vec::new();
    let mut each =
        |frame: &Frame<'_>| seen.push((frame.direction, frame.at.0, frame.original_bytes, frame.bytes.len()));
    while tap.poll(&mut each).unwrap() != Polled::End {}
    let row = |direction| (direction, 5_000, 60, 4);
    assert_eq!(seen, [row(Direction::Unstated), row(Direction::Incoming), row(Direction::Outgoing)]);
    let interface = &tap.interfaces()[0];
    assert_eq!((interface.name.as_deref(), interface.link), (Some("eth7"), LinkType::ETHERNET));
    assert_eq!((interface.id, interface.section), (FileInterface::FIRST, 1));
    assert_eq!(tap.kernel_dropped(), Some(9));
    assert!(tap.damage().is_none());
}

#[test]
fn drops_are_unknown_unless_every_interface_with_frames_states_them() {
    let folder = Folder::new("drops");
    let mut file = section();
    for _ in 0..2 {
        file.extend(block(1, &[1, 0, 0, 0, 0, 0, 0, 0]));
    }
    for interface in [0_u32, 1] {
        file.extend(block(6, &[interface, 0, 0, 0, 60].map(u32::to_le_bytes).concat()));
    }
    file.extend(block(5, &[&[0; 12], option(5, &7_u64.to_le_bytes()).as_slice()].concat()));
    let (frames, tap) = drain(&[&folder.write("file.pcapng", &file)]);
    assert_eq!(frames.len(), 2);
    assert_eq!(tap.kernel_dropped(), None);
    let (_, tap) = drain(&[&folder.write("file.pcap", &classic(&[(1, b"a")]))]);
    assert_eq!(tap.kernel_dropped(), None);
}

#[test]
fn a_capture_is_read_from_standard_input() {
    const INSIDE: &str = "PORTOLAN_TEST_STANDARD_INPUT";
    if std::env::var_os(INSIDE).is_some() {
        let (frames, tap) = drain(&["-"]);
        assert_eq!(frames.len(), 2);
        assert_eq!(tap.length(), None);
        let said: Vec<String> = tap.damage().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("standard input: truncated in the middle of packet 3"), "{said:?}");
        return;
    }
    let whole = classic(&[(1, b"a"), (2, b"b"), (3, b"c")]);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_capture_is_read_from_standard_input"])
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&whole[..whole.len() - 1]).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_files_name_cannot_command_the_terminal() {
    let error = FileTap::open("no\u{1b}[31mred\n.pcap").err().unwrap().to_string();
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_damage_to_a_file_causes_a_panic_or_an_endless_loop(
        sample in prop::sample::select(samples()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut content = fs::read(sample).unwrap();
        for (position, value) in changes {
            let position = position.index(content.len());
            content[position] = value;
        }
        if is_cut {
            content.truncate(keep.index(content.len()));
        }
        let folder = Folder::new("fuzz");
        let path = folder.write("file", &content);
        // A record takes 16 bytes at least, before compression; samples are not compressed.
        let records_max = content.len() / 12;
        if let Ok(mut tap) = MergedFiles::open(&[&path, &path]) {
            let (mut frames, mut last) = (0, 0);
            let mut each = |frame: &Frame<'_>| {
                frames += 1;
                assert_eq!(frame.number, last + 1);
                last = frame.number;
                let _ = parse(frame, &ParseOptions { innermost: true, fingerprint: true });
            };
            while tap.poll(&mut each).unwrap() != Polled::End {}
            prop_assert!(frames <= 2 * records_max, "{} frames", frames);
            for damage in tap.damage() {
                prop_assert!(damage.to_string().starts_with(&path));
            }
        }
    }
}

/// Small captures of both formats, each link type and byte order among them.
fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/oracle-cases");
    let mut samples: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| matches!(path.extension().and_then(|end| end.to_str()), Some("pcap" | "pcapng")))
        .filter(|path| fs::metadata(path).unwrap().len() < 30_000)
        .collect();
    samples.sort();
    samples
}

fn drain(paths: &[&str]) -> (Vec<Seen>, MergedFiles) {
    let mut tap = MergedFiles::open(paths).unwrap();
    let mut frames = Vec::new();
    let mut each = |frame: &Frame<'_>| {
        let interface = frame.interface.0 - FileInterface::FIRST.0;
        frames.push((frame.number, frame.at.0, interface, frame.bytes.to_vec()));
    };
    while tap.poll(&mut each).unwrap() != Polled::End {}
    (frames, tap)
}

/// A little-endian pcap file of Ethernet frames, each of 100 original bytes.
fn classic(records: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(u32::to_le_bytes(word));
    }
    for (seconds, bytes) in records {
        for word in [*seconds, 0, u32::try_from(bytes.len()).unwrap(), 100] {
            file.extend(word.to_le_bytes());
        }
        file.extend(*bytes);
    }
    file
}

fn section() -> Vec<u8> {
    block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0], [0xff; 8].as_slice()].concat())
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
    [&kind.to_le_bytes(), length.as_slice(), body, &length].concat()
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    let mut option = [code.to_le_bytes(), length.to_le_bytes()].concat();
    option.extend(value);
    option.resize(option.len().next_multiple_of(4), 0);
    option
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(content, 1).unwrap()
}

/// A folder of this test's own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("portolan-files-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is in the temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
