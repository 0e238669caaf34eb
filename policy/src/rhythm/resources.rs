//! What services use besides the network, as the latest round of readings has it.

use std::collections::BTreeMap;

use portolan_flowtable::Timestamp;
use portolan_flowtable::indicators::{Indicators, Reading, Round};

use super::measure::Measure;

/// Most readings of a round that are looked at.
const READINGS_MAX: usize = 1_024;
/// How long a round speaks for the minutes behind it: readings are as far apart as five minutes.
const SPEAKS_FOR: i64 = 10 * 60 * Timestamp::SECOND;
/// What amounts of counters are scaled to.
const MINUTE: i128 = 60_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// What each service used when it was looked at last.
#[derive(Clone, Debug, Default)]
pub(super) struct Resources {
    at: Timestamp,
    /// What each container had counted, by its id.
    counted: BTreeMap<String, (Timestamp, Indicators)>,
    services: BTreeMap<String, BTreeMap<Measure, u64>>,
}

impl Resources {
    /// Takes a round in, in place of the one before: what is not in it is not there.
    pub(super) fn take(&mut self, round: &Round) {
        let before = std::mem::take(&mut self.counted);
        self.at = round.at;
        self.services.clear();
        for reading in round.readings.iter().take(READINGS_MAX) {
            let earlier = before.get(&reading.container_id);
            for measure in Measure::RESOURCES {
                let Some(amount) = amount(measure, reading, earlier) else { continue };
                let service = self.services.entry(reading.qualified()).or_default();
                let sum = service.entry(measure).or_default();
                *sum = sum.saturating_add(amount);
            }
            self.counted.insert(reading.container_id.clone(), (reading.at, reading.indicators));
        }
    }

    /// Returns what each service uses at an instant, all its containers together; nothing where it was looked at too
    /// long ago to say.
    pub(super) fn amounts(&self, at: Timestamp) -> impl Iterator<Item = (&str, Measure, u64)> {
        let is_said = (0..=SPEAKS_FOR).contains(&at.since(self.at));
        let services = self.services.iter().filter(move |_| is_said);
        services
            .flat_map(|(name, used)| used.iter().map(|(measure, amount)| (name.as_str(), *measure, *amount)))
    }
}

/// Returns what a reading says of a measure. Of what is counted since a container's start, that is the growth since the
/// reading before, for a minute; a counter that went back began anew, and says nothing yet.
fn amount(measure: Measure, reading: &Reading, earlier: Option<&(Timestamp, Indicators)>) -> Option<u64> {
    let grown = |of: fn(&Indicators) -> Option<u64>| -> Option<u64> {
        let (before_at, before) = earlier?;
        let span = i128::from(reading.at.since(*before_at));
        let growth = i128::from(of(&reading.indicators)?.checked_sub(of(before)?)?);
        (span > 0).then(|| u64::try_from(growth * MINUTE / span).unwrap_or(u64::MAX))
    };
    match measure {
        Measure::Memory => reading.indicators.memory_bytes,
        Measure::CpuTime => grown(|it| it.cpu_nanoseconds).map(|nanoseconds| nanoseconds / MILLISECOND),
        Measure::BlockRead => grown(|it| it.block_read_bytes),
        Measure::BlockWritten => grown(|it| it.block_written_bytes),
        Measure::Pids => reading.indicators.pids,
        Measure::SentBytes | Measure::Opened | Measure::Called | Measure::Peers | Measure::NewPeers => None,
    }
}
