//! The baseline at work: what it learned, and what is published of it.

use portolan_exporter::BaselineRow;
use portolan_flowtable::Timestamp;
use portolan_policy::Assessment;
use portolan_policy::baseline::{Baseline, Profile, ProfileKey, Stage, WINDOW};

/// Sentences on what is missing that are published of each service.
const MISSING_MAX: usize = 8;

/// A baseline, whether it learns, and what was published of it last.
#[derive(Debug)]
pub(super) struct Learner {
    baseline: Baseline,
    learns: bool,
    rows: Vec<BaselineRow>,
    /// Window the rows are of; none where somebody changed the baseline since.
    rows_of: Option<i64>,
}

impl Learner {
    pub(super) fn new(baseline: Baseline, learns: bool) -> Self {
        Self { baseline, learns, rows: Vec::new(), rows_of: None }
    }

    pub(super) fn learns(&self) -> bool {
        self.learns
    }

    pub(super) fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    pub(super) fn baseline_mut(&mut self) -> &mut Baseline {
        self.rows_of = None;
        &mut self.baseline
    }

    pub(super) fn learn(&mut self, assessment: &Assessment) {
        if self.learns && !self.baseline.learn(assessment).is_empty() {
            self.rows_of = None;
        }
    }

    /// Returns what is published: taken anew in each window, and when somebody changed it. Counting all edges in every
    /// tick would cost more than it tells.
    pub(super) fn rows(&mut self, at: Timestamp) -> Vec<BaselineRow> {
        let window = at.0.div_euclid(WINDOW);
        if self.rows_of != Some(window) || self.rows.len() != self.baseline.profiles().len() {
            self.rows_of = Some(window);
            let enough = *self.baseline.enough();
            let profiles = self.baseline.profiles().iter();
            self.rows = profiles
                .map(|(key, profile)| {
                    let missing = match profile.stage {
                        Stage::Learning => profile.missing(at, &enough),
                        Stage::Promoted => Vec::new(),
                    };
                    row(key, profile, missing.iter().take(MISSING_MAX).map(ToString::to_string).collect())
                })
                .collect();
        }
        self.rows.clone()
    }
}

/// Writes what is published of one service.
pub(crate) fn row(key: &ProfileKey, profile: &Profile, missing: Vec<String>) -> BaselineRow {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let learned = profile.edges.values().filter(|evidence| evidence.is_learned).count();
    BaselineRow {
        service: key.service.clone(),
        image: key.image.clone(),
        reference: profile.reference.clone(),
        stage: if profile.is_frozen { "frozen" } else { profile.stage.word() }.to_owned(),
        watched_until: profile.until,
        learned: count(learned),
        candidates: count(profile.edges.len() - learned),
        forbidden: count(profile.forbidden.len()),
        draws: profile.draws,
        novelty: profile.novelty().bound,
        missing,
    }
}
