//! Whether anything was missed.

use portolan_flowtable::units::grouped;
use portolan_flowtable::{Blindness, Completeness, Ledger};

use super::flow_book::Unseen;
use super::shortfalls::Shortfalls;

/// Where frames come from, and what it says about losses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// The live socket: the kernel counts its drops.
    Live,
    /// A capture that states its drops.
    StatedDrops,
    /// A capture that does not.
    Silent,
}

/// What was lost before, beside and after the accounts.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// Frames the kernel or the capturing program dropped.
    pub dropped: Option<u64>,
    /// When.
    pub blind: Vec<Blindness>,
    /// When frames were missed that had arrived.
    pub shortfalls: Shortfalls,
    /// Damage of the capture files, and vantages that count twice: sentences without a full stop.
    pub remarks: Vec<String>,
    /// More about what `shortfalls` counts.
    pub details: Vec<String>,
}

/// Weighs losses, and says them in words.
///
/// Where nobody counted drops, acknowledgments of what was never seen tell of some: not where frames were left out by
/// request, which are acknowledged too.
pub fn judge_completeness(source: &Source, losses: &Losses, ledger: &Ledger, unseen: Unseen) -> Completeness {
    let mut reasons = losses.remarks.clone();
    reasons.extend(losses.details.iter().cloned());
    let mut say = |count: u64, what: &str| {
        if count > 0 {
            reasons.push(format!("{} {what}", grouped(count)));
        }
    };
    say(losses.dropped.unwrap_or(0), "frames dropped before they could be read");
    say(ledger.unknown_link_type.frames, "frames of a link type that cannot be read");
    let unreadable = ledger.all_rejected() - ledger.unknown_link_type;
    say(unreadable.frames, "frames rejected: cut short or malformed");
    say(ledger.unknown_interface.frames, "frames of interfaces nobody could place");
    say(ledger.overflow.frames, "frames found no room in the flow table");
    say(ledger.flows_evicted, "attempts made room for others before they could be answered");
    let is_silent = *source == Source::Silent;
    let is_unseen = is_silent && unseen.flows > 0 && ledger.deselected.frames == 0;
    if is_unseen {
        reasons.push(format!(
            "at least {} of {} were acknowledged and never captured",
            counted(unseen.bytes, "byte"),
            counted(unseen.flows, "flow")
        ));
    }
    // Of what the kernel dropped and of what was missed here it is known when; of everything else it is not. And where
    // nobody counted drops, nothing is known to be whole at any time.
    let dated: u64 = losses.blind.iter().filter_map(|interval| interval.frames).sum();
    let is_undated = is_silent
        || !losses.remarks.is_empty()
        || dated < losses.dropped.unwrap_or(0)
        || !losses.shortfalls.date_all_of(ledger);
    let mut blind = losses.blind.clone();
    blind.extend(losses.shortfalls.intervals());
    blind.sort_by_key(|interval| interval.from);
    match (reasons.is_empty() && losses.blind.is_empty(), is_silent) {
        (true, false) => Completeness::Complete,
        (true, true) => {
            Completeness::Unknown { reasons: vec!["this kind of capture carries no drop counts".to_owned()] }
        }
        (false, _) => Completeness::Incomplete { reasons, blind, is_undated },
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::{Missed, Missing, Timestamp};

    use super::*;

    fn judged(source: &Source, losses: &Losses, ledger: &Ledger) -> Completeness {
        judge_completeness(source, losses, ledger, Unseen::default())
    }

    #[test]
    fn a_silent_source_is_unknown_and_a_drop_is_incomplete() {
        let ledger = Ledger::default();
        let none = Losses::default();
        assert_eq!(judged(&Source::Live, &none, &ledger), Completeness::Complete);
        assert_eq!(judged(&Source::Silent, &none, &ledger).word(), "unknown");
        let evicted = Ledger { flows_evicted: 1, ..ledger };
        assert_eq!(judged(&Source::Live, &none, &evicted).word(), "incomplete");
        let some = Losses { dropped: Some(7), ..Losses::default() };
        assert_eq!(judged(&Source::Live, &some, &ledger).word(), "incomplete");
    }

    #[test]
    fn only_what_was_dropped_at_a_known_time_leaves_the_rest_complete() {
        let hole = Blindness {
            from: Timestamp(10),
            until: Timestamp(20),
            frames: Some(7),
            cause: "ring full".to_owned(),
        };
        let dated = Losses { dropped: Some(7), blind: vec![hole], ..Losses::default() };
        let more = Losses { dropped: Some(8), ..dated.clone() };
        let remarked = Losses { remarks: vec!["a file ended early".to_owned()], ..dated.clone() };
        let evicted = Ledger { flows_evicted: 1, ..Ledger::default() };
        let mut missed = Missed::default();
        missed.note(Missing::Evicted, Timestamp(12), Timestamp(18));
        let mut told = dated.clone();
        told.shortfalls.note(&missed, &evicted);
        told.details.push("3 frames of web found no room in the flow table".to_owned());
        let twice = Ledger { flows_evicted: 2, ..evicted };
        for (losses, ledger, elsewhere) in [
            (&dated, Ledger::default(), true),
            (&more, Ledger::default(), false),
            (&remarked, Ledger::default(), false),
            (&dated, evicted, false),
            (&told, evicted, true),
            (&told, twice, false),
        ] {
            let completeness = judged(&Source::Live, losses, &ledger);
            assert_eq!(
                completeness.between(Timestamp(30), Timestamp(40)),
                Some(elsewhere),
                "{completeness:?}"
            );
            assert_eq!(completeness.between(Timestamp(15), Timestamp(40)), Some(false), "{completeness:?}");
        }
        // Where nobody counted drops, no time is known to be whole.
        let told = Losses { dropped: None, blind: Vec::new(), ..told };
        let silent = judged(&Source::Silent, &told, &evicted);
        assert_eq!(silent.between(Timestamp(30), Timestamp(40)), Some(false), "{silent:?}");
    }

    #[test]
    fn acknowledgments_of_unseen_data_speak_where_nobody_else_does() {
        let unseen = Unseen { bytes: 1_460, flows: 2 };
        let judged = |source, deselected| {
            let mut ledger = Ledger::default();
            ledger.deselected.frames = deselected;
            judge_completeness(&source, &Losses::default(), &ledger, unseen)
        };
        let Completeness::Incomplete { reasons, is_undated: true, .. } = judged(Source::Silent, 0) else {
            panic!("it is complete");
        };
        assert_eq!(reasons, ["at least 1,460 bytes of 2 flows were acknowledged and never captured"]);
        // What was left out by request is acknowledged too; and who counts drops needs no estimate.
        assert_eq!(judged(Source::Silent, 1).word(), "unknown");
        assert_eq!(judged(Source::StatedDrops, 0).word(), "complete");
    }
}
