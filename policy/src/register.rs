//! The register: a memory of which findings are known, so that each is news once.

use std::collections::BTreeMap;

use crate::assessment::{Alert, AlertState, Assessment, Finding};

/// Most findings remembered.
pub const REGISTER_MAX: usize = 16_384;

/// Remembers findings between assessments.
#[derive(Debug, Default)]
pub struct Register {
    known: BTreeMap<String, Finding>,
    turned_away: u64,
}

impl Register {
    /// Builds an empty register.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an assessment in and returns what is new in it: findings raised, findings that got graver or were said
    /// to be complete and are not, findings that no longer stand. A finding that merely goes on is no news.
    ///
    /// Raised and updated ones come in the assessment's order, then cleared ones by id. While an assessment leaves
    /// findings out, nothing is cleared: what is missing may just have been left out.
    pub fn update(&mut self, assessment: &Assessment) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let mut gone = std::mem::take(&mut self.known);
        for finding in &assessment.findings {
            let state = match gone.remove(&finding.id) {
                None if self.known.contains_key(&finding.id) => continue,
                None if self.known.len() + gone.len() >= REGISTER_MAX => {
                    self.turned_away += 1;
                    continue;
                }
                None => Some(AlertState::Raised),
                Some(before) if before.severity < finding.severity => Some(AlertState::Updated),
                // A loss that is noticed later may touch what was said before.
                Some(before) if before.complete == Some(true) && finding.complete == Some(false) => {
                    Some(AlertState::Updated)
                }
                Some(_) => None,
            };
            self.known.insert(finding.id.clone(), finding.clone());
            if let Some(state) = state {
                alerts.push(Alert { state, finding: finding.clone(), note: None });
            }
        }
        if assessment.findings_left_out > 0 {
            self.known.append(&mut gone);
        } else {
            let cleared = gone.into_values();
            alerts.extend(cleared.map(|finding| Alert { state: AlertState::Cleared, finding, note: None }));
        }
        alerts
    }

    /// Returns findings that stand.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns whether no finding stands.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Returns how often a finding was not announced because [`REGISTER_MAX`] others stand.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }
}
