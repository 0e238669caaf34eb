//! What containers use besides the network, in the words of Docker's statistics: vocabulary alone.

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// What one container uses. What its engine does not say is `None`, never 0.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Indicators {
    /// Memory in use, page cache that can be given up at once left out, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor time since the container started, all processors together, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_nanoseconds: Option<u64>,
    /// Read from block devices since it started, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_read_bytes: Option<u64>,
    /// Written to block devices since it started, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_written_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

/// What one container used at an instant.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// When it was answered, by the host's clock.
    pub at: Timestamp,
    /// Docker's id of the container.
    pub container_id: String,
    /// Its name.
    pub container: String,
    /// The name replicas share, without the project.
    pub service: String,
    /// Its project, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// What it used.
    #[serde(flatten)]
    pub indicators: Indicators,
}

impl Reading {
    /// Returns `project/service`, or `service` where there is no project.
    pub fn qualified(&self) -> String {
        if self.project.is_empty() {
            self.service.clone()
        } else {
            format!("{}/{}", self.project, self.service)
        }
    }
}

/// All running containers, asked once.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// When the last of them was asked.
    pub at: Timestamp,
    /// Those that answered, in the order of their ids.
    pub readings: Vec<Reading>,
    /// Containers that were asked and did not answer with anything that can be read.
    #[serde(default)]
    pub unanswered: u64,
    /// Containers beyond the most that are asked.
    #[serde(default)]
    pub left_out: u64,
}
