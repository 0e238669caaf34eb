//! The dry run: the verdicts another contract would give, beside those that hold.

use portolan_flowtable::Peer;
use serde::{Deserialize, Serialize};

use crate::assess::Beside;
use crate::assessment::{Assessment, Verdict};
use crate::contract::Contract;
use crate::verdict::Intent;

/// How a conversation would stand by a contract that is not in force.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// How.
    pub verdict: Verdict,
    /// The line that would decide, or why nothing would.
    pub decided_by: String,
}

impl Contract {
    /// Notes beside each conversation of an assessment how it would stand by this contract. Findings stay those of the
    /// contract in force.
    pub fn pend(&self, assessment: &mut Assessment, beside: Beside<'_>) {
        let snapshot = &assessment.snapshot;
        let ends = assessment
            .judged
            .iter()
            .flat_map(|judged| [&judged.conversation.initiator, &judged.conversation.responder])
            .filter_map(Peer::workload);
        let workloads = snapshot.workloads.iter().chain(ends);
        let intent = Intent::of(self, snapshot.at, workloads).with_baseline(beside.baseline);
        let rulings: Vec<Pending> = assessment
            .judged
            .iter()
            .map(|judged| intent.judge(&judged.conversation))
            .map(|ruling| Pending { verdict: ruling.verdict, decided_by: ruling.decided_by })
            .collect();
        for (judged, pending) in assessment.judged.iter_mut().zip(rulings) {
            judged.pending = Some(pending);
        }
    }
}
