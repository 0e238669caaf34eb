//! The graph for machines.
//!
//! ```json
//! {
//!   "schema": 1,
//!   "group": "service",
//!   "nodes": [{"id": "shop/db", "kind": "workload", "title": "db", "project": "shop", "networks": ["shop_default"],
//!              "containers": 2, "sent_bytes": 1, "received_bytes": 2, "is_undeclared": false,
//!              "idle_ports": [{"port": 9187, "protocol": "tcp"}]}],
//!   "edges": [{"id": "shop/cart -> shop/db:5432/tcp", "source": "shop/cart", "target": "shop/db",
//!              "port": {"port": 5432, "protocol": "tcp"}, "network": "shop_default", "via": null,
//!              "verdict": "documented", "documented_by": "compose.yaml:31", "findings": [], "severity": null,
//!              "sent": {"frames": 1, "bytes": 2}, "received": {"frames": 1, "bytes": 2},
//!              "connections": {"answered": 1, "refused": 0, "unanswered": 0, "blocked": 0, "pending": 0},
//!              "rtt_p50": 110000, "first_at": "2026-11-20T13:58:00.000000000Z", "last_at": "...",
//!              "is_guess": false, "is_proxy_leg": false}],
//!   "edges_folded": 0, "from": "...", "at": "...", "completeness": {"state": "complete"}
//! }
//! ```
//!
//! `joins` lists what joins containers without a packet ([`portolan_policy::Join`]); it is missing where nothing does.
//!
//! Names never change their meaning; a later schema only adds. Nodes are sorted by `id`, edges by `source`,
//! `target`, `port` and `via`; `source` and `target` are ids of nodes. Times are RFC 3339 in UTC, round trips in
//! nanoseconds.

use serde::Serialize;

use crate::graph::Graph;

/// Version of the form.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Form<'a> {
    schema: u32,
    #[serde(flatten)]
    graph: &'a Graph,
}

impl Graph {
    /// Writes the graph as one line of JSON without a line feed.
    ///
    /// # Errors
    ///
    /// None that this type can cause: it holds no map with keys other than text, and writing goes to memory.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Form { schema: SCHEMA, graph: self })
    }
}
