//! One immutable picture of who is who, replaced whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_flowtable::{InterfaceTable, Names, Timestamp};
use serde::{Deserialize, Serialize};

use crate::directory::RosterDirectory;

/// Everything the planes ask of identity, from one instant. Parts are shared, so a clone is cheap.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// Interface to role, scope and attachment, for the data plane.
    pub interfaces: Arc<InterfaceTable>,
    /// Kernel index to interface name, for whoever writes interfaces down. A link that is gone keeps its name for as
    /// long as it keeps its row in `interfaces`.
    pub interface_names: Arc<BTreeMap<u32, String>>,
    /// Address to holder, for the data plane.
    pub directory: Arc<RosterDirectory>,
    /// Attachment to workload, for the control plane.
    pub names: Arc<Names>,
    /// Moves whenever any answer may have changed; wraps.
    pub epoch: u16,
    /// How much is known, for the vitals.
    pub counts: Counts,
    /// How Docker is doing.
    pub docker: DockerState,
}

/// How much is known, as the vitals print it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Containers that run, or ran within the roster's time.
    pub containers: u64,
    /// Those whose traffic can be observed from the host's interfaces.
    pub observable: u64,
    /// Observable ones matched to their veth; offline to an interface or an address.
    pub matched: u64,
    /// The others by container name, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unobservable: Vec<(String, String)>,
    /// How they were matched: `netns id`, `interface index`, `roster`, `address`, `nothing`.
    pub identity_by: String,
    /// Interfaces of containers by role, named or not.
    pub attachments: u64,
    /// Of these, the ones nobody could name.
    pub attachments_unnamed: u64,
}

/// How Docker is doing, as far as the picture depends on it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DockerState {
    /// Whether it has answered a full listing.
    pub is_listed: bool,
    /// Set while the picture may be out of date, with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<String>,
    /// Since when it is stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Timestamp>,
    /// Full listings taken.
    pub lists: u64,
    /// Events seen.
    pub events: u64,
    /// Engine version, `20.10.24`.
    pub version: String,
    /// API version in use, `1.41`.
    pub api_version: String,
}
