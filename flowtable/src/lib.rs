//! The flow table: who is talking to whom, and how much.
//!
//! # Where it sits
//!
//! `capture` turns frames into [`Observation`]s, `identity` says what each interface is
//! ([`InterfaceTable`]) and who holds which address ([`Directory`]); they meet in
//! [`FlowTable::observe`]. Between batches the table pushes [`Delta`]s to the control plane, where
//! [`Conversations`] adds them up and hands a [`Snapshot`] downstream once per tick. Nothing downstream
//! ever writes back.
//!
//! # Invariants
//!
//! - **No clock.** Time only enters through [`Observation::at`] and `now` parameters, so a replayed
//!   capture and a live one behave the same.
//! - **Once.** A frame is metered where the vantage rule says ([`InterfaceTable::sighting`]), and nowhere
//!   else; any other sighting is evidence of delivery and never added to a flow's bytes.
//! - **Conservation.** Every frame handed in ends in exactly one counter of the [`Ledger`].
//! - **One writer.** Only the data plane touches a slot; the control plane sees copies.
//! - **No names.** Attachments are numbers here. Names bind when a snapshot is taken.

pub mod confinement;
pub mod conversation;
pub mod delta;
pub mod directory;
pub mod dns_names;
pub mod flow;
pub mod history;
pub mod icmp;
pub mod indicators;
pub mod interfaces;
mod key;
pub mod ledger;
pub mod lifecycle;
pub mod missed;
pub mod naming;
pub mod neighbours;
pub mod observation;
pub mod plain;
mod progress;
mod quantiles;
mod sequence;
pub mod table;
pub mod theft;
pub mod units;
pub mod workload;

pub use confinement::{Confinement, Mount, NamespaceKind, SharedNamespace};
pub use conversation::{Conversation, Conversations, Outcomes, Peer, Snapshot};
pub use delta::{Delta, DeltaSink, EndReason};
pub use directory::{AttachmentId, Directory, Holder, ScopeId};
pub use dns_names::{DnsCounts, DnsName, DnsNames};
pub use flow::{End, Flow, IcmpError, InitiatorEvidence, Outcome, Side};
pub use history::{ConnState, History};
pub use interfaces::{InterfaceEntry, InterfaceId, InterfaceTable, Role, Sighting};
pub use ledger::{Blindness, Completeness, Ledger, NotCounted, Rejected, Tally};
pub use missed::{Missed, Missing};
pub use naming::Occasion;
pub use neighbours::{NeighbourSweep, Neighbours, Seeking, Sought};
pub use observation::{
    ArpFacts, Direction, Fragment, IcmpFacts, MacAddr, Network, NonIp, Observation, Packet, TcpFacts,
};
pub use table::{FlowTable, Limits};
pub use theft::{MacHolder, StolenMac, Theft, Thefts};
pub use units::{Port, Protocol, ServicePort, Timestamp};
pub use workload::{
    DocumentSource, DocumentedPort, Listening, ListeningPort, Names, Provenance, PublishedPort, Workload,
};
