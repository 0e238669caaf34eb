//! What a packet costs, from a frame's bytes to its flow's counters. Throughput is in packets.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use portolan_benches::traffic::{self, Shape, Traffic};
use portolan_capture::{MergedFiles, ParseOptions, Polled, Tap, parse};
use portolan_flowtable::directory::BareDirectory;
use portolan_flowtable::{Delta, FlowTable, Limits, Network, Observation, Packet};

/// Frames decoded before they are metered together, as the daemon does.
const BATCH: usize = 32;

fn main() {
    divan::main();
}

fn observations(traffic: &Traffic) -> Vec<Observation> {
    traffic.frames().filter_map(|frame| parse(&frame, &ParseOptions::default()).ok()).collect()
}

/// Makes a segment the one that follows it.
fn move_on(seen: &mut Observation) {
    if let Network::Ip(Packet { tcp: Some(tcp), .. }) = &mut seen.network {
        tcp.sequence = tcp.sequence.wrapping_add(tcp.payload_bytes);
    }
}

fn packets(count: usize) -> ItemsCount {
    ItemsCount::new(count)
}

mod parse_frame {
    use super::*;

    /// A cooked frame with TCP over IPv4: the fast path.
    #[divan::bench]
    fn known_flow(bencher: Bencher<'_, '_>) {
        let traffic = Traffic::data(Shape { flows: 1_000, data_frames: 4, is_seen_twice: false, seed: 1 }, 0);
        bencher.counter(packets(traffic.len())).bench_local(|| {
            for frame in traffic.frames() {
                let _ = black_box(parse(black_box(&frame), &ParseOptions::default()));
            }
        });
    }

    /// The same frame layer by layer, with the hash that tells its sightings.
    #[divan::bench]
    fn fingerprint(bencher: Bencher<'_, '_>) {
        let traffic = Traffic::data(Shape { flows: 1_000, data_frames: 4, is_seen_twice: false, seed: 1 }, 0);
        let options = ParseOptions { fingerprint: true, innermost: false };
        bencher.counter(packets(traffic.len())).bench_local(|| {
            for frame in traffic.frames() {
                let _ = black_box(parse(black_box(&frame), &options));
            }
        });
    }
}

mod observe {
    use super::*;

    /// A packet of a flow that is there; flows take turns, so each packet finds another slot.
    #[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 30)]
    fn known_flow(bencher: Bencher<'_, '_>, flows: u32) {
        let shape = Shape { flows, data_frames: 1, is_seen_twice: false, seed: 1 };
        let interfaces = traffic::interfaces();
        let mut table = FlowTable::new(Limits::default(), 1);
        let mut deltas: Vec<Delta> = Vec::with_capacity(2 * flows as usize);
        table.observe(&observations(&Traffic::opening(shape)), &interfaces, &BareDirectory);
        table.drain(&mut deltas);
        let mut data = observations(&Traffic::data(shape, 1_000_000));
        bencher
            .counter(packets(data.len()))
            .with_inputs(|| {
                let these = data.clone();
                data.iter_mut().for_each(move_on);
                these
            })
            .bench_local_refs(|data| {
                for batch in data.chunks(BATCH) {
                    table.observe(black_box(batch), &interfaces, &BareDirectory);
                }
            });
    }

    /// A handshake's three packets, of which the first opens a flow.
    #[divan::bench(sample_count = 20)]
    fn new_flow(bencher: Bencher<'_, '_>) {
        let shape = Shape { flows: 20_000, data_frames: 0, is_seen_twice: false, seed: 1 };
        let interfaces = traffic::interfaces();
        let opening = observations(&Traffic::opening(shape));
        bencher
            .counter(packets(opening.len()))
            .with_inputs(|| FlowTable::new(Limits::default(), 1))
            .bench_local_refs(|table| {
                for batch in opening.chunks(BATCH) {
                    table.observe(black_box(batch), &interfaces, &BareDirectory);
                }
            });
    }

    /// The same frame at its receiver's veth: evidence of delivery, counted nowhere.
    #[divan::bench(sample_count = 30)]
    fn second_sighting(bencher: Bencher<'_, '_>) {
        let shape = Shape { flows: 10_000, data_frames: 1, is_seen_twice: true, seed: 1 };
        let interfaces = traffic::interfaces();
        let mut table = FlowTable::new(Limits::default(), 1);
        table.observe(&observations(&Traffic::opening(shape)), &interfaces, &BareDirectory);
        let data: Vec<_> =
            observations(&Traffic::data(shape, 1_000_000)).into_iter().skip(1).step_by(2).collect();
        bencher.counter(packets(data.len())).bench_local(|| {
            for batch in data.chunks(BATCH) {
                table.observe(black_box(batch), &interfaces, &BareDirectory);
            }
        });
    }
}

mod replay {
    use super::*;

    /// A whole file: read, parsed, metered, handed over.
    #[divan::bench(args = [1_000, 50_000], sample_count = 10)]
    fn whole_file(bencher: Bencher<'_, '_>, flows: u32) {
        let shape = Shape { flows, data_frames: 300_000 / flows, is_seen_twice: false, seed: 1 };
        let traffic = Traffic::new(shape);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("traffic.pcap").display().to_string();
        std::fs::write(&path, traffic.to_pcap()).expect("a capture");
        let interfaces = traffic::interfaces();
        bencher
            .counter(packets(traffic.len()))
            .with_inputs(|| (FlowTable::new(Limits::default(), 1), Vec::<Delta>::with_capacity(200_000)))
            .bench_local_refs(|(table, deltas)| {
                let mut tap = MergedFiles::open(&[&path]).expect("a capture");
                let mut batch = Vec::with_capacity(BATCH);
                loop {
                    let polled = tap.poll(&mut |frame| {
                        batch.extend(parse(frame, &ParseOptions::default()).ok());
                        if batch.len() == BATCH {
                            table.observe(&batch, &interfaces, &BareDirectory);
                            batch.clear();
                        }
                    });
                    if !matches!(polled, Ok(Polled::Frames(_))) {
                        break;
                    }
                }
                table.observe(&batch, &interfaces, &BareDirectory);
                table.drain(deltas);
                assert_eq!(table.ledger().delivered.frames, traffic.len() as u64);
            });
    }
}
