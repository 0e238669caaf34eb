//! Judgement: what was documented, held against what was seen.
//!
//! # Where it sits
//!
//! The operator's word enters as [`Contract`]s; documented ports also come with the workloads of a
//! [`Snapshot`](portolan_flowtable::Snapshot). [`Contract::assess`] moves a snapshot's conversations into an
//! [`Assessment`]: a [`Verdict`] on each, [`Finding`]s for what somebody should hear about. A [`Register`]
//! remembers which findings are known and turns assessments into [`Alert`]s.
//!
//! # Invariants
//!
//! - **Pure.** No clock, no I/O, no thread: texts and snapshots come in, values go out. Two runs over the same
//!   input are byte-identical.
//! - **Nothing is guessed.** A conversation whose ends or roles are not proven is `unattributed`, never a finding.
//! - **Total.** Every conversation gets a verdict; every verdict that is a finding names what it was held against.
//! - **Bounded.** Findings, warnings, errors and remembered findings have limits, each with a counter.
//!
//! # Example
//!
//! ```
//! use portolan_flowtable::Snapshot;
//! use portolan_policy::{Alert, Contract, ContractError, Register};
//!
//! fn news(text: &str, snapshot: Snapshot, register: &mut Register) -> Result<Vec<Alert>, Vec<ContractError>> {
//!     let contract = Contract::parse(text, "contract.toml")?;
//!     Ok(register.update(&contract.assess(snapshot)))
//! }
//! ```
#![forbid(unsafe_code)]

mod assess;
mod assessment;
pub mod baseline;
mod catalogue;
mod compose;
mod contract;
mod expected;
mod export;
mod exposures;
mod facts;
pub mod findings;
mod icmp;
mod joins;
mod listeners;
mod neighbours;
mod pending;
mod register;
pub mod rhythm;
mod rules;
mod scan;
mod selector;
mod stable;
mod standard;
mod stolen;
mod suggest;
mod thresholds;
mod tightness;
mod verdict;
mod words;

pub use assess::{Beside, FINDINGS_MAX, wireshark_filter};
pub use assessment::*;
pub use catalogue::{StandardRule, standard_rules};
pub use compose::{
    ComposeFile, ComposeNetwork, ComposePort, ComposeService, Published, UnreadCompose, Unresolved,
};
pub use contract::{Contract, ContractError};
pub use expected::{EXPECTED_EDGES_MAX, ExpectedEdge, ExpectedEnd};
pub use export::Form;
pub use facts::{Change, Link, LinkWord};
pub use pending::Pending;
pub use register::{REGISTER_MAX, Register};
pub use rules::{Action, Mode, Relation, RuleUse};
pub use scan::ScanLimits;
pub use thresholds::Threshold;
pub use tightness::{COMBINATIONS_MAX, Grant, Tightness};
pub use verdict::{Charge, Intent, Ruling};
