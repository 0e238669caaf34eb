//! The docket: every finding from the time it is raised until it is closed, over restarts.
//!
//! # Where it sits
//!
//! A [`Register`](crate::Register) remembers what stands within one run. A [`Docket`] does so for a daemon: it holds
//! findings for a while behind their traffic, takes what people say about them, and can be written down and read
//! back. The stages of a finding stand in `docs/findings.md`.
//!
//! # Invariants
//!
//! - **Nothing twice.** What was raised is not raised again while it stands, whoever restarts.
//! - **Nothing lost.** An acknowledgement or a suppression lives as long as what it speaks of.
//! - **Each change is an alert**, with who said so and why, where somebody did.
//! - **Bounded.** At most [`REGISTER_MAX`] findings; further ones are counted.

mod acts;
mod reconsider;

use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::{Blindness, Snapshot, Timestamp};
use serde::{Deserialize, Serialize};

use crate::assessment::{Alert, AlertState, Assessment, Finding};
use crate::register::REGISTER_MAX;

pub use acts::{FindingAct, FindingError};

/// How long a finding stands behind its traffic where nobody says otherwise.
pub const HOLD: i64 = 24 * 3_600 * Timestamp::SECOND;

/// Who said something about a finding, and why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Who: `uid 1000`.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// Until when it holds; `None` for as long as the finding does.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// Where a finding stands.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// Somebody should look.
    #[default]
    Open,
    /// Somebody has looked. It comes back where it becomes graver.
    Acknowledged {
        /// Who, and why.
        note: Note,
    },
    /// Nobody wants to hear of it until then.
    Suppressed {
        /// Who, why, and until when.
        note: Note,
    },
}

/// One finding and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The finding, with all it ever rested on.
    pub finding: Finding,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// What it rested on before this run: connections and frames.
    #[serde(skip)]
    earlier: (u64, u64),
    /// Since when it was known before this run.
    #[serde(skip)]
    carried: Option<Timestamp>,
}

/// A docket as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocketRecord {
    /// Form of the record.
    pub portolan_findings: u32,
    /// When it was written.
    pub saved_at: Timestamp,
    /// Every finding, by id.
    pub entries: Vec<Entry>,
}

/// Form of the record; fields are only ever added within one.
pub const DOCKET_FORM: u32 = 1;

/// Every finding that stands, has been acknowledged or is suppressed.
#[derive(Clone, Debug)]
pub struct Docket {
    hold: i64,
    entries: BTreeMap<String, Entry>,
    gap: Option<Blindness>,
    turned_away: u64,
    revision: u64,
    /// Hash of the contract that findings of earlier runs were last held against.
    reconsidered_by: Option<String>,
}

impl Docket {
    /// Builds an empty docket that holds findings for `hold` nanoseconds behind their last frame.
    pub fn new(hold: i64) -> Self {
        Self { hold, entries: BTreeMap::new(), gap: None, turned_away: 0, revision: 0, reconsidered_by: None }
    }

    /// Goes on with what was written down; `now` is when this run began. Between the two nobody looked.
    pub fn resume(record: DocketRecord, hold: i64, now: Timestamp) -> Self {
        let gap = Blindness {
            from: record.saved_at.min(now),
            until: now,
            frames: None,
            cause: "portolan was not running".to_owned(),
        };
        let entries = record.entries.into_iter().take(REGISTER_MAX).map(|mut entry| {
            entry.earlier = (entry.finding.connections, entry.finding.frames);
            entry.carried = Some(entry.finding.first_at);
            if entry.finding.last_at >= gap.from {
                entry.finding.complete = entry.finding.complete.map(|_| false);
            }
            (entry.finding.id.clone(), entry)
        });
        Self { entries: entries.collect(), gap: Some(gap), ..Self::new(hold) }
    }

    /// Returns the docket as it is to be written down.
    pub fn record(&self, now: Timestamp) -> DocketRecord {
        DocketRecord {
            portolan_findings: DOCKET_FORM,
            saved_at: now,
            entries: self.entries.values().cloned().collect(),
        }
    }

    /// Returns when nobody looked, between the run before and this one.
    pub fn gap(&self) -> Option<&Blindness> {
        self.gap.as_ref()
    }

    /// Returns a number that grows with each change worth writing down.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns every finding and where it stands, by id.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Returns how often a finding was not announced because [`REGISTER_MAX`] others stand.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// Takes an assessment in. Leaves in it the findings that are open, those of earlier runs included, and returns
    /// the news.
    pub fn update(&mut self, assessment: &mut Assessment) -> Vec<Alert> {
        let now = assessment.snapshot.at;
        let present = present(&assessment.snapshot);
        let mut alerts = Vec::new();
        let mut before = std::mem::take(&mut self.entries);
        for finding in std::mem::take(&mut assessment.findings) {
            if self.is_quiet(&finding, now)
                || is_ended(&finding, present.as_ref())
                || self.entries.contains_key(&finding.id)
            {
                continue;
            }
            let known = before.remove(&finding.id);
            if known.is_none() && self.entries.len() + before.len() >= REGISTER_MAX {
                self.turned_away += 1;
                continue;
            }
            let (entry, state) = self.taken(known, finding, now);
            if let Some(state) = state {
                alerts.push(Alert { state, finding: entry.finding.clone(), note: None });
            }
            self.entries.insert(entry.finding.id.clone(), entry);
        }
        for (id, entry) in before {
            let state = if self.is_quiet(&entry.finding, now) {
                AlertState::Cleared
            } else if is_ended(&entry.finding, present.as_ref()) {
                AlertState::Ended
            } else if entry.carried.is_some() || assessment.findings_left_out > 0 {
                let (entry, is_back) = woken(entry, now);
                if is_back {
                    let finding = entry.finding.clone();
                    alerts.push(Alert { state: AlertState::Raised, finding, note: None });
                }
                self.entries.insert(id, entry);
                continue;
            } else {
                AlertState::Cleared
            };
            alerts.push(Alert { state, finding: entry.finding, note: None });
        }
        self.revision += u64::from(!alerts.is_empty());
        let open = self.entries.values().filter(|entry| entry.standing == Standing::Open);
        assessment.findings = open.map(|entry| entry.finding.clone()).collect();
        assessment.findings.sort_by(|a, b| {
            b.severity
                .cmp(&a.severity)
                .then_with(|| a.first_at.cmp(&b.first_at))
                .then_with(|| a.id.cmp(&b.id))
        });
        alerts
    }

    /// Takes a listed finding in, and says what is new about it.
    fn taken(&self, known: Option<Entry>, finding: Finding, now: Timestamp) -> (Entry, Option<AlertState>) {
        let Some(known) = known else {
            let entry = Entry { finding, standing: Standing::Open, earlier: (0, 0), carried: None };
            return (entry, Some(AlertState::Raised));
        };
        let (known, is_back) = woken(known, now);
        let mut finding = finding;
        let is_over_gap = known.carried.is_some_and(|first_at| first_at < finding.first_at);
        if let Some(first_at) = known.carried {
            finding.first_at = finding.first_at.min(first_at);
        }
        finding.connections = finding.connections.saturating_add(known.earlier.0);
        finding.frames = finding.frames.saturating_add(known.earlier.1);
        // Between the runs nobody looked.
        if is_over_gap {
            finding.complete = finding.complete.map(|_| false);
        }
        let is_graver = known.finding.severity < finding.severity;
        let has_lost =
            known.finding.complete == Some(true) && finding.complete == Some(false) && !is_over_gap;
        let standing = match known.standing {
            Standing::Acknowledged { .. } if is_graver => Standing::Open,
            Standing::Acknowledged { note } => Standing::Acknowledged { note },
            other @ (Standing::Open | Standing::Suppressed { .. }) => other,
        };
        let is_heard = standing == Standing::Open;
        let state = match (is_back, is_graver || has_lost) {
            (true, _) => Some(AlertState::Raised),
            (false, true) if is_heard => Some(AlertState::Updated),
            (false, _) => None,
        };
        (Entry { finding, standing, earlier: known.earlier, carried: known.carried }, state)
    }

    fn is_quiet(&self, finding: &Finding, now: Timestamp) -> bool {
        now.since(finding.last_at) > self.hold
    }
}

/// Returns an entry whose suppression may have run out, and whether it did.
fn woken(mut entry: Entry, now: Timestamp) -> (Entry, bool) {
    let is_over = match &entry.standing {
        Standing::Suppressed { note } => note.until.is_some_and(|until| until <= now),
        Standing::Open | Standing::Acknowledged { .. } => false,
    };
    if is_over {
        entry.standing = Standing::Open;
    }
    (entry, is_over)
}

/// Returns the containers there are; `None` where nobody can say, as before Docker's first answer.
fn present(snapshot: &Snapshot) -> Option<BTreeSet<String>> {
    let is_known = snapshot.has_roster && snapshot.stale.is_none() && !snapshot.workloads.is_empty();
    is_known.then(|| snapshot.workloads.iter().map(|workload| workload.container.clone()).collect())
}

/// Returns whether every container at one of its ends is gone.
fn is_ended(finding: &Finding, present: Option<&BTreeSet<String>>) -> bool {
    let is_gone = |names: &[String]| {
        !names.is_empty() && present.is_some_and(|present| names.iter().all(|name| !present.contains(name)))
    };
    is_gone(&finding.initiator_containers) || is_gone(&finding.responder_containers)
}
