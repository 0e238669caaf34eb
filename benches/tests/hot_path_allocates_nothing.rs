//! A packet costs no allocation: not when its flow is known, not when it opens one, not when it cannot be read, and
//! not when what it added is handed over.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portolan_benches::captures::{self, Kind};
use portolan_benches::traffic::{self, Shape, Traffic};
use portolan_capture::{Frame, LinkType, MergedFiles, ParseOptions, Polled, Tap, parse};
use portolan_daemon::engine::{Meter, Who};
use portolan_flowtable::directory::BareDirectory;
use portolan_flowtable::{Delta, DeltaSink, FlowTable, InterfaceTable, Ledger, Limits, Timestamp};
use portolan_identity::Roster;

/// The system's allocator, counting what each thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    // While a thread ends there is nothing left to count in.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: every call is the system allocator's own; counting touches a plain cell of this thread and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`, which is passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: `block` came from this allocator, that is from the system's.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Deltas go where there is room made for them, as in the ring of a live tap.
struct Sink(Vec<Delta>);

impl DeltaSink for Sink {
    fn push(&mut self, delta: Delta) -> Result<(), Box<Delta>> {
        self.0.push(delta);
        Ok(())
    }

    fn room(&self) -> usize {
        self.0.capacity() - self.0.len()
    }
}

const FLOWS: u32 = 4_000;
const SHAPE: Shape = Shape { flows: FLOWS, data_frames: 4, is_seen_twice: true, seed: 7 };

/// Counts what `work` asks of the allocator.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ASKED.with(Cell::get);
    work();
    ASKED.with(Cell::get) - before
}

fn limits() -> Limits {
    Limits { flows_max: 16_384, ..Limits::default() }
}

fn observe(table: &mut FlowTable, traffic: &Traffic, interfaces: &InterfaceTable) {
    for frame in traffic.frames() {
        if let Ok(seen) = parse(&frame, &ParseOptions::default()) {
            table.observe(std::slice::from_ref(&seen), interfaces, &BareDirectory);
        }
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![0; 100]))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn parsing_allocates_nothing() {
    let traffic = Traffic::new(SHAPE);
    let options = [
        ParseOptions::default(),
        ParseOptions { fingerprint: true, innermost: false },
        ParseOptions { fingerprint: true, innermost: true },
    ];
    let count = allocations(|| {
        for frame in traffic.frames() {
            for options in &options {
                assert!(parse(std::hint::black_box(&frame), options).is_ok());
            }
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn refusing_a_frame_allocates_nothing() {
    let traffic = Traffic::new(Shape { flows: 20, data_frames: 1, ..SHAPE });
    let mut table = FlowTable::new(limits(), 1);
    let links = [
        LinkType::LINUX_SLL2,
        LinkType::ETHERNET,
        LinkType::RAW,
        LinkType::NULL,
        LinkType::PPP,
        LinkType(9_999),
    ];
    let count = allocations(|| {
        for frame in traffic.frames() {
            for link in links {
                for kept in 0..frame.bytes.len() {
                    let cut = Frame { bytes: &frame.bytes[..kept], link, ..frame };
                    if let Err(error) = parse(&cut, &ParseOptions::default()) {
                        table.reject(error.reason(), cut.at, cut.original_bytes);
                    }
                }
            }
        }
    });
    assert_eq!(count, 0);
    assert!(table.ledger().delivered.frames > 1_000);
}

#[test]
fn known_and_new_flows_allocate_nothing() {
    let (opening, data) = (Traffic::opening(SHAPE), Traffic::data(SHAPE, 100_000));
    let interfaces = traffic::interfaces();
    let mut table = FlowTable::new(limits(), 1);
    let count = allocations(|| observe(&mut table, &opening, &interfaces));
    assert_eq!(count, 0, "opening {FLOWS} flows");
    assert_eq!(table.live(), FLOWS as usize);
    let count = allocations(|| observe(&mut table, &data, &interfaces));
    assert_eq!(count, 0, "data on {FLOWS} flows");
    assert_eq!(table.live(), FLOWS as usize);
}

#[test]
fn a_full_table_allocates_nothing() {
    let crowd = Traffic::new(Shape { flows: 30_000, data_frames: 1, ..SHAPE });
    let interfaces = traffic::interfaces();
    let mut table = FlowTable::new(Limits { flows_max: 1_024, ..Limits::default() }, 1);
    let count = allocations(|| observe(&mut table, &crowd, &interfaces));
    assert_eq!(count, 0);
    assert!(table.ledger().overflow.frames > 0, "the crowd must not fit");
}

#[test]
fn handing_over_allocates_nothing() {
    let traffic = Traffic::new(SHAPE);
    let interfaces = traffic::interfaces();
    let mut table = FlowTable::new(limits(), 1);
    let mut sink = Sink(Vec::with_capacity(3_000));
    let mut handed = 0;
    for round in 0..3 {
        observe(&mut table, &traffic, &interfaces);
        let count = allocations(|| {
            // The ring is smaller than what is due: the rest stays for the next time.
            for _ in 0..4 {
                table.tick(Timestamp(i64::MAX / 2 * i64::from(round == 2)), None);
                table.drain(&mut sink);
                handed += sink.0.len();
                sink.0.clear();
            }
        });
        assert_eq!(count, 0, "round {round}");
    }
    assert!(handed >= 3 * FLOWS as usize, "{handed} deltas");
}

/// The daemon's own walk: engine time, batches of 32, a roster that is asked who holds an address, ticks.
#[test]
fn the_meter_allocates_nothing() {
    let file = Roster::parse("bench.toml", traffic::roster().as_bytes()).expect("a roster");
    let picture = Roster::merge([file].into()).picture_at(Timestamp(i64::MAX / 4), 1);
    let who = Who::Roster(picture.directory);
    let mut meter = Meter::new(limits(), 1, Arc::new(traffic::interfaces()), who);
    let mut sink = Sink(Vec::with_capacity(2 * FLOWS as usize));
    let (opening, data) = (Traffic::opening(SHAPE), Traffic::data(SHAPE, 100_000));
    let mut pass = |traffic: &Traffic| {
        allocations(|| {
            for frame in traffic.frames() {
                match parse(&frame, &ParseOptions::default()) {
                    Ok(seen) => meter.frame(seen, &mut sink),
                    Err(error) => meter.reject(error.reason(), frame.at, frame.original_bytes),
                }
            }
            meter.tick(None, None, &mut sink);
            sink.0.clear();
        })
    };
    assert_eq!(pass(&opening), 0, "opening {FLOWS} flows");
    assert_eq!(pass(&data), 0, "data on {FLOWS} flows");
}

/// A frame on its own.
struct Kept {
    bytes: Vec<u8>,
    frame: Frame<'static>,
}

impl Kept {
    fn frame(&self) -> Frame<'_> {
        Frame { bytes: &self.bytes, ..self.frame }
    }
}

fn frames_of(path: &Path) -> Vec<Kept> {
    let mut frames = Vec::new();
    let mut tap = MergedFiles::open(&[path.display().to_string()]).expect("a capture");
    while let Ok(Polled::Frames(_)) = tap.poll(&mut |frame| {
        let Frame {
            link, at, beyond_seconds, is_timed, number, interface, direction, original_bytes, ..
        } = *frame;
        let rest = Frame {
            bytes: &[],
            link,
            at,
            beyond_seconds,
            is_timed,
            number,
            interface,
            direction,
            original_bytes,
        };
        frames.push(Kept { bytes: frame.bytes.to_vec(), frame: rest });
    }) {}
    frames
}

/// Captures below a folder.
fn captures_in(folder: &Path) -> Vec<PathBuf> {
    let mut captures = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            captures.extend(captures_in(&path));
        } else if path.extension().is_some_and(|ending| ending == "pcap" || ending == "pcapng") {
            captures.push(path);
        }
    }
    captures
}

/// Frames through parser and meter. Returns what they allocated, and the accounts.
fn metered<'f>(flows_max: usize, frames: impl Iterator<Item = Frame<'f>>) -> (u64, Ledger) {
    let limits = Limits { flows_max, ..Limits::default() };
    let mut meter = Meter::new(limits, 1, Arc::new(InterfaceTable::plain()), Who::Bare(BareDirectory));
    let mut sink = Sink(Vec::with_capacity(200_000));
    let count = allocations(|| {
        for frame in frames {
            match parse(&frame, &ParseOptions::default()) {
                Ok(seen) => meter.frame(seen, &mut sink),
                Err(error) => meter.reject(error.reason(), frame.at, frame.original_bytes),
            }
        }
    });
    meter.tick(None, None, &mut sink);
    let ledger = meter.settle(&mut sink);
    (count, ledger)
}

/// Link types, tunnels within tunnels, fragments, IPv6 extensions, damage: whatever other programs were tested with.
#[test]
fn odd_frames_allocate_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
    let mut seen = 0;
    for part in ["oracle-cases", "fragments", "spoofed-source"] {
        for path in captures_in(&folder.join(part)) {
            let frames = frames_of(&path);
            let (count, ledger) = metered(4_096, frames.iter().map(Kept::frame));
            assert_eq!(count, 0, "{}", path.display());
            assert_eq!(ledger.delivered.frames, frames.len() as u64, "{}", path.display());
            seen += frames.len();
        }
    }
    assert!(seen > 5_000, "{seen} frames");
}

/// Every seventh segment missing, every eleventh twice: holes stay open, and packets go the long way.
#[test]
fn lossy_flows_allocate_nothing() {
    let traffic = Traffic::new(Shape { flows: 500, data_frames: 60, is_seen_twice: false, seed: 3 });
    let interfaces = traffic::interfaces();
    let mut table = FlowTable::new(limits(), 1);
    let mut sink = Sink(Vec::with_capacity(1_000));
    let count = allocations(|| {
        for (at, frame) in traffic.frames().enumerate() {
            let Ok(seen) = parse(&frame, &ParseOptions::default()) else { continue };
            for _ in 0..[1, 2][usize::from(at % 11 == 0)] * usize::from(at % 7 != 0) {
                table.observe(std::slice::from_ref(&seen), &interfaces, &BareDirectory);
            }
        }
        table.drain(&mut sink);
    });
    assert_eq!(count, 0);
    let resent = sink.0.iter().flat_map(|delta| delta.flow.retransmissions).sum::<u64>();
    assert!(resent > 1_000, "{resent} resent");
}

/// Each kind of traffic that speed is measured on; IPv6 is in two of them, and a flood pushes out what it brought.
#[test]
fn measured_captures_allocate_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in Kind::ALL {
        let path = folder.path().join(kind.name());
        let mut file = std::fs::File::create(&path).expect("a file");
        let truth = captures::write(kind, 60_000, 6_000, captures::SEED, &mut file).expect("a capture");
        let frames = frames_of(&path);
        let flows_max = if kind == Kind::Syn { 8_192 } else { 32_768 };
        let (count, ledger) = metered(flows_max, frames.iter().map(Kept::frame));
        assert_eq!(count, 0, "{}", kind.name());
        assert_eq!(ledger.accepted().frames, truth.packets, "{}", kind.name());
        assert_eq!(ledger.flows_evicted > 0, kind == Kind::Syn, "{}", kind.name());
    }
}
