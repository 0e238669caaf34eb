//! Journals and the pictures in them.

use std::sync::Arc;

use portolan_daemon::engine::{Chart, ChartOptions, Meter, Source, Who};
use portolan_daemon::journal::{Ending, Journal, Player, Stage};
use portolan_flowtable::InterfaceTable;
use portolan_identity::{PicturePatch, PictureRecord};

use super::flow_table;
use super::input::{Input, MemoryFile};
use super::text::is_fit_for_a_terminal;

/// Flows a journal may ask a table for here; more takes memory and finds nothing.
const FLOWS_MAX: usize = 4_096;
/// Frames played between the rows.
const FRAMES: u64 = 40;

/// A journal is refused at a line, or played over frames to accounts that balance.
pub fn journal(bytes: &[u8]) {
    let file = MemoryFile::new(bytes);
    let path = file.path();
    let path = std::path::Path::new(&path);
    let _ = Journal::parts(path);
    let journal = match Journal::open(path) {
        Ok(journal) => journal,
        Err(error) => return is_fit_for_a_terminal(&error.to_string(), false),
    };
    let begin = journal.begin().clone();
    if begin.limits.flows_max > FLOWS_MAX {
        return;
    }
    let mut meter =
        Meter::new(begin.limits, begin.seed, Arc::new(InterfaceTable::new()), Who::Bare(Default::default()));
    let flows_kept = begin.flows_kept.min(FLOWS_MAX);
    let options = ChartOptions { source: Source::Live, withhold: begin.withhold, flows_kept };
    let mut chart = Chart::new(options, Arc::default(), Arc::default());
    let mut player = Player::new(journal, false, false);
    let mut input = Input::new(bytes);
    let mut turns = 0;
    let mut tell = |turned: portolan_daemon::journal::Turned| {
        turns += 1;
        let vitals = &turned.publication.vitals;
        assert_eq!((vitals.residual_frames, vitals.residual_bytes), (0, 0), "turn {turns}");
    };
    for number in 1..=FRAMES {
        let mut stage = Stage { meter: &mut meter, chart: &mut chart, flow: &mut |_, _| {}, tell: &mut tell };
        if player.play(number, &mut stage).is_err() {
            return;
        }
        meter.frame(flow_table::observation(&mut input, number), player.deltas());
    }
    let ending = Ending { frames: FRAMES, last_at: None, damage: &[] };
    let mut stage = Stage { meter: &mut meter, chart: &mut chart, flow: &mut |_, _| {}, tell: &mut tell };
    let _ = player.finish(&ending, &mut stage);
}

/// A picture and a change to it, one JSON text behind the other: what can be read can be restored, and a change from
/// one picture to another gives the other.
pub fn picture(bytes: &[u8]) {
    let mut texts = bytes.split(|byte| *byte == b'\n');
    let first = texts.next().and_then(|text| serde_json::from_slice::<PictureRecord>(text).ok());
    let Some(first) = first else { return };
    let _ = first.restore();
    let mut next = first.clone();
    for text in texts {
        let Ok(patch) = serde_json::from_slice::<PicturePatch>(text) else { continue };
        next.apply(patch);
        let _ = next.restore();
    }
    let mut patched = first.clone();
    patched.apply(first.patch_to(&next));
    assert_eq!(patched, next);
    assert!(next.patch_to(&next.clone()).is_empty());
    let whole = PictureRecord::of(&next.restore());
    assert_eq!(PictureRecord::of(&whole.restore()), whole);
}
