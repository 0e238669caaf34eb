//! What happens to containers besides packets, in the words of Docker's events.

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// Something that happened to a container.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Happening {
    /// When, by Docker's clock, which is the host's.
    pub at: Timestamp,
    /// Docker's id of the container.
    pub container_id: String,
    /// Its name; empty where nobody knew it yet.
    #[serde(default)]
    pub container: String,
    /// `project/service`; empty where nobody knew it yet.
    #[serde(default)]
    pub service: String,
    /// Image reference as run.
    #[serde(default)]
    pub image: String,
    /// What.
    #[serde(flatten)]
    pub change: Change,
    /// How often since it was told last: of what happens again and again, once a minute is told.
    #[serde(default = "once")]
    pub times: u64,
}

/// What happened. Command lines are no part of it: they hold passwords.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Change {
    /// Its first process runs.
    Start,
    /// Somebody, or its health check, ran another program in it.
    Exec,
    /// Its first process ended.
    Die {
        /// Its exit code, where Docker said it.
        exit_code: Option<i32>,
    },
    /// The kernel ended a process of it for want of memory.
    Oom,
    /// Its health check says something else.
    HealthStatus {
        /// `healthy`, `unhealthy`, or another word of Docker's.
        status: String,
    },
    /// It was connected to a network.
    NetworkConnect {
        /// The network's name.
        network: String,
    },
    /// It was disconnected from a network.
    NetworkDisconnect {
        /// The network's name.
        network: String,
    },
    /// A service runs an image it did not run before.
    NewImage {
        /// The image's id.
        image_id: String,
        /// What the service ran before.
        previous: Vec<String>,
    },
}

fn once() -> u64 {
    1
}
