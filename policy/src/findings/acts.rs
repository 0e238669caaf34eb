//! What people say about a finding.

use portolan_flowtable::Timestamp;

use super::{Docket, Note, Standing};
use crate::assessment::{Alert, AlertState};

/// Something a person says about a finding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FindingAct {
    /// Seen; nobody needs to look again unless it becomes graver.
    Acknowledge,
    /// Nobody wants to hear of it until then.
    Suppress {
        /// Until when.
        until: Timestamp,
    },
    /// Takes either back.
    Reopen,
}

/// Why nothing was said.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FindingError {
    /// No finding is called so.
    #[error("no finding {id:?}: portolan findings --handled lists them")]
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// Several are.
    #[error("{id:?} may be {}: give more digits", .ids.join(" or "))]
    Several {
        /// What was asked for.
        id: String,
        /// What it may be.
        ids: Vec<String>,
    },
    /// A suppression needs a reason.
    #[error("a suppression needs a reason: --reason 'why'")]
    NoReason,
    /// It would be over before it began.
    #[error("a suppression has to end in the future, and {until} is past")]
    Past {
        /// The end that was asked for.
        until: Timestamp,
    },
}

/// Fewest digits that may stand for a finding.
const DIGITS_MIN: usize = 4;
/// Most characters of a reason that are kept.
const REASON_MAX: usize = 1_024;

impl Docket {
    /// Notes what somebody says about a finding, which is named by its id or at least its first four digits, with or
    /// without `F-`.
    ///
    /// # Errors
    ///
    /// Returns that no finding, or more than one, is called so, or what the act lacks.
    pub fn act(
        &mut self,
        named: &str,
        act: &FindingAct,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Alert, FindingError> {
        let digits = named.strip_prefix("F-").unwrap_or(named).to_ascii_lowercase();
        let is_named = |id: &&String| digits.len() >= DIGITS_MIN && id.starts_with(&digits);
        let found: Vec<String> = self.entries.keys().filter(is_named).cloned().collect();
        let (id, named) = match found.as_slice() {
            [one] => (one.clone(), named.to_owned()),
            [] => return Err(FindingError::Unknown { id: named.to_owned() }),
            several => {
                return Err(FindingError::Several { id: named.to_owned(), ids: several.to_vec() });
            }
        };
        let Some(entry) = self.entries.get_mut(&id) else { return Err(FindingError::Unknown { id: named }) };
        let reason: String = reason.trim().chars().take(REASON_MAX).collect();
        let mut note = Note { by: by.to_owned(), reason, at: now, until: None };
        let state = match act {
            FindingAct::Acknowledge => {
                entry.standing = Standing::Acknowledged { note: note.clone() };
                AlertState::Acknowledged
            }
            FindingAct::Suppress { .. } if note.reason.is_empty() => return Err(FindingError::NoReason),
            FindingAct::Suppress { until } if *until <= now => {
                return Err(FindingError::Past { until: *until });
            }
            FindingAct::Suppress { until } => {
                note.until = Some(*until);
                entry.standing = Standing::Suppressed { note: note.clone() };
                AlertState::Suppressed
            }
            FindingAct::Reopen => {
                entry.standing = Standing::Open;
                AlertState::Reopened
            }
        };
        self.revision += 1;
        Ok(Alert { state, finding: entry.finding.clone(), note: Some(note) })
    }
}
