//! What the daemon writes down while it runs, and when: at once what a person said, now and then what it learned.

use std::path::{Path, PathBuf};

use portolan_flowtable::Timestamp;

use crate::config::Config;
use crate::engine::Chart;
use crate::error::Failure;
use crate::keep;
use crate::live::Session;

/// Pause between two writings of what is learned; as much of it may be lost where the host loses power.
const PAUSE: i64 = 60 * Timestamp::SECOND;
/// Pause between two writings of what is usual, which changes by half hours.
const RHYTHM_PAUSE: i64 = 600 * Timestamp::SECOND;

/// The files of one daemon, and what was written to them last.
#[derive(Debug)]
pub(crate) struct Kept {
    baseline: Option<PathBuf>,
    findings: Option<PathBuf>,
    written_at: Timestamp,
    rhythm_at: Timestamp,
    revision: u64,
    text: String,
    has_failed: bool,
}

impl Kept {
    /// Reads what the run before left, and hands it to the session.
    ///
    /// # Errors
    ///
    /// Returns what cannot be read, or was written wrongly by a person.
    pub(crate) fn load(config: &Config, now: Timestamp, session: &mut Session) -> Result<Self, Failure> {
        let named = |path: &Path| Some(path.to_owned()).filter(|path| !path.as_os_str().is_empty());
        let kept = Self {
            baseline: named(&config.baseline.file),
            findings: named(&config.findings.file),
            written_at: now,
            rhythm_at: now,
            revision: 0,
            text: String::new(),
            has_failed: false,
        };
        let chart = session.chart_mut();
        if let Some(path) = &kept.baseline {
            let baseline = keep::baseline_or_quarantine(path, config.baseline.enough(), now)?;
            chart.set_baseline(baseline, config.baseline.learn);
        }
        let hold = config.findings.hold();
        chart.set_docket(match &kept.findings {
            Some(path) => keep::docket(path, hold, now)?,
            None => portolan_policy::findings::Docket::new(hold),
        });
        if let Some(path) = &kept.findings {
            chart.set_rhythm(keep::rhythm(&keep::rhythm_beside(path), now)?);
        }
        Ok(kept)
    }

    /// Writes down what has changed: findings with each change, the rest once a minute, everything at the end. A
    /// failure is said once, until writing works again.
    pub(crate) fn save(&mut self, chart: &Chart, now: Timestamp, is_last: bool) {
        let revision = chart.docket().map_or(0, portolan_policy::findings::Docket::revision);
        let is_due = is_last || now.since(self.written_at) >= PAUSE;
        if !is_due && revision == self.revision {
            return;
        }
        if is_last {
            self.rhythm_at = Timestamp(i64::MIN);
        }
        let written = self.write(chart, now);
        if let (Err(error), false) = (&written, self.has_failed) {
            crate::say(&format!("portolan: {error}\n  it is tried again; until then a restart forgets"));
        }
        self.has_failed = written.is_err();
    }

    /// Writes everything down.
    ///
    /// # Errors
    ///
    /// Returns which file cannot be written, and why.
    pub(crate) fn write(&mut self, chart: &Chart, now: Timestamp) -> Result<(), String> {
        self.written_at = now;
        // One that cannot be written does not keep the other from it.
        let mut written = Ok(());
        if let (Some(path), Some(docket)) = (&self.findings, chart.docket()) {
            written = keep::write_docket(path, docket, now).map_err(|failure| failure.message);
        }
        self.revision = chart.docket().map_or(0, portolan_policy::findings::Docket::revision);
        if let Some(path) = self.findings.as_ref().filter(|_| now.since(self.rhythm_at) >= RHYTHM_PAUSE) {
            self.rhythm_at = now;
            let rhythm = keep::write_rhythm(&keep::rhythm_beside(path), chart.rhythm());
            written = written.and(rhythm.map_err(|failure| failure.message));
        }
        if let (Some(path), Some(baseline)) = (&self.baseline, chart.baseline()) {
            let text = baseline.to_text();
            if text != self.text {
                keep::write(path, &text).map_err(|failure| failure.message)?;
                self.text = text;
            }
        }
        written
    }
}
