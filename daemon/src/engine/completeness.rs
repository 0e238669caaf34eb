//! Whether anything was missed.

use portolan_flowtable::units::grouped;
use portolan_flowtable::{Blindness, Completeness, Ledger};

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
    /// Damage of the capture files, and vantages that count twice: sentences without a full stop.
    pub remarks: Vec<String>,
}

/// Weighs losses, and says them in words.
pub fn judge_completeness(source: &Source, losses: &Losses, ledger: &Ledger) -> Completeness {
    let mut reasons = losses.remarks.clone();
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
    match (reasons.is_empty() && losses.blind.is_empty(), is_silent) {
        (true, false) => Completeness::Complete,
        (true, true) => {
            Completeness::Unknown { reasons: vec!["this kind of capture carries no drop counts".to_owned()] }
        }
        (false, _) => Completeness::Incomplete { reasons, blind: losses.blind.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_source_is_unknown_and_a_drop_is_incomplete() {
        let ledger = Ledger::default();
        let none = Losses::default();
        assert_eq!(judge_completeness(&Source::Live, &none, &ledger), Completeness::Complete);
        assert_eq!(judge_completeness(&Source::Silent, &none, &ledger).word(), "unknown");
        let evicted = Ledger { flows_evicted: 1, ..ledger };
        assert_eq!(judge_completeness(&Source::Live, &none, &evicted).word(), "incomplete");
        let some = Losses { dropped: Some(7), ..Losses::default() };
        assert_eq!(judge_completeness(&Source::Live, &some, &ledger).word(), "incomplete");
    }
}
