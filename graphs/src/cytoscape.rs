//! The map as Cytoscape.js and Cytoscape Desktop read it: elements with places, boxes as parents.
//!
//! # Sources
//!
//! js.cytoscape.org, "Notation": `elements.nodes[].data` with `id`, `parent`; `position` is a node's middle.

use serde_json::{Value, json};

use crate::map::Map;

impl Map {
    /// Writes the map as Cytoscape's JSON, for the layout `preset`.
    ///
    /// # Errors
    ///
    /// None that this type can cause.
    pub fn to_cytoscape(&self) -> Result<String, serde_json::Error> {
        let stacked = self.stacked(|_| true);
        let mut nodes: Vec<Value> = Vec::new();
        for group in self.groups.iter().filter(|group| group.services > 0) {
            nodes.push(json!({
                "data": {"id": format!("box {}", group.id), "label": group.title, "kind": "box"},
                "classes": "box",
            }));
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let group = self.groups.get(node.group);
            let parent = group.filter(|group| group.services > 0).map(|group| format!("box {}", group.id));
            let corner = stacked.corner_of(node);
            nodes.push(json!({
                "data": {
                    "id": format!("n{number}"), "name": node.id, "label": node.title, "kind": node.kind,
                    "parent": parent, "project": node.project,
                    "containers": node.replicas.len() as u64 + node.replicas_left_out,
                    "sent_bytes": node.sent_bytes, "received_bytes": node.received_bytes,
                    "width": node.width, "height": node.height,
                },
                "position": {"x": corner.0 + node.width / 2, "y": corner.1 + node.height / 2},
                "classes": node.kind.name(),
            }));
        }
        let edges: Vec<Value> = self
            .edges
            .iter()
            .map(|edge| {
                json!({
                    "data": {
                        "id": edge.edge.id, "source": format!("n{}", edge.from_node),
                        "target": format!("n{}", edge.to_node), "label": edge.edge.port.to_string(),
                        "verdict": edge.edge.verdict, "said": edge.word, "documented_by": edge.edge.documented_by,
                        "findings": edge.edge.findings, "connections": edge.edge.connections.attempted(),
                        "failed": edge.edge.connections.failed(), "sent_bytes": edge.edge.sent.bytes,
                        "received_bytes": edge.edge.received.bytes,
                    },
                    "classes": edge.look,
                })
            })
            .collect();
        serde_json::to_string(&json!({
            "data": {"from": self.from, "at": self.at, "completeness": self.completeness},
            "elements": {"nodes": nodes, "edges": edges},
        }))
    }
}
