//! What the daemon answered, as far as it is shown.

use portolan_flowtable::Timestamp;
use portolan_graphs::{Edge, Graph};
use portolan_policy::Finding;
use serde::Deserialize;

/// One look at the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Host it runs on.
    pub host: String,
    /// When, in engine time.
    pub at: Timestamp,
    /// `complete`, `incomplete` or `unknown`.
    pub completeness: &'static str,
    /// Containers known, and those observable from here.
    pub containers: (u64, u64),
    /// Findings that stand, gravest first.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub findings_left_out: u64,
    /// Edges between services.
    pub edges: Vec<Edge>,
}

#[derive(Deserialize)]
struct Findings {
    findings: Vec<Finding>,
    #[serde(default)]
    findings_left_out: u64,
}

#[derive(Deserialize)]
struct Status {
    vitals: Vitals,
}

#[derive(Deserialize)]
struct Vitals {
    host: String,
    containers: u64,
    containers_observable: u64,
}

impl Picture {
    /// Reads the answers of `/api/v1/graph`, `/api/v1/findings` and `/api/v1/status`. They may be of neighbouring
    /// rounds.
    ///
    /// # Errors
    ///
    /// Returns what is not as expected.
    pub fn read(graph: &str, findings: &str, status: &str) -> Result<Self, serde_json::Error> {
        let graph: Graph = serde_json::from_str(graph)?;
        let findings: Findings = serde_json::from_str(findings)?;
        let Status { vitals } = serde_json::from_str(status)?;
        Ok(Self {
            host: vitals.host,
            at: graph.at,
            completeness: graph.completeness.word(),
            containers: (vitals.containers, vitals.containers_observable),
            findings: findings.findings,
            findings_left_out: findings.findings_left_out,
            edges: graph.edges,
        })
    }
}
