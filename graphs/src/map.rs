//! The map: the graph as a person looks at it, with a place for everything.
//!
//! Services stand in boxes by project or network, from left to right along the calls. Each service lists the ports it
//! serves, and an edge ends at its port: what is wrong with an edge is written there, so that no text ever covers
//! another. Outside and host stand on the left where they call and on the right where they are called.
//!
//! Groups are places for themselves: a [`MapNode`] stands relative to its group, and groups stand in columns. Who
//! shows the map opens and closes groups and stacks the columns; nothing else has to be placed anew.

mod details;
mod layered;
mod measure;
mod stacked;
mod stage;

use std::collections::BTreeMap;

use portolan_flowtable::{Completeness, Timestamp};
use portolan_policy::{Assessment, Finding};
use serde::Serialize;

use crate::graph::{Edge, Graph, Group, NodeKind};
use crate::merge::Hosts;
use details::Details;
use stage::Stage;

pub(crate) use measure::width_of;
pub(crate) use stacked::{Card, Stacked};
pub(crate) use stage::{CLOSED_WIDTH, ROW};

/// What stands together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Boxes {
    /// Services of one compose or stack project.
    #[default]
    Project,
    /// Services on the same network alone; those on several stand together.
    Network,
}

/// Everything on the map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Map {
    /// What a node stands for.
    pub group: Group,
    /// What a box stands for.
    pub boxes: Boxes,
    /// The boxes, in the order of their columns.
    pub groups: Vec<MapGroup>,
    /// What stands in them.
    pub nodes: Vec<MapNode>,
    /// Who calls whom.
    pub edges: Vec<MapEdge>,
    /// Edges that were folded into the node `other` because there were too many.
    pub edges_folded: u64,
    /// First frame's time, or the tap's start.
    pub from: Timestamp,
    /// When the picture was taken, in engine time.
    pub at: Timestamp,
    /// Whether anything was missed in between.
    pub completeness: Completeness,
}

/// A box: a project, a network, or one end outside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapGroup {
    /// Stable id: `project:shop`, `external>` where it calls, `>external` where it is called.
    pub id: String,
    /// Name for people; what cannot be seen in it is written out.
    pub title: String,
    /// `workload` for services, else the kind of its one node.
    pub kind: NodeKind,
    /// Column, from the left.
    pub column: usize,
    /// Place in the column, from the top.
    pub order: usize,
    /// Services (or containers) in it.
    pub services: u64,
    /// Containers in it.
    pub containers: u64,
    /// Findings on edges that end or begin in it.
    pub findings: u64,
    /// Whether it is open before anybody says otherwise.
    pub is_open: bool,
    /// Size with its services shown, in pixels.
    pub width: i64,
    /// The same, downwards.
    pub height: i64,
    /// What comes in from other boxes, gravest first: the rows of the box while it is closed.
    pub rows: Vec<Row>,
    /// Height while it is closed.
    pub closed_height: i64,
}

/// A service, or one end outside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapNode {
    /// Id of the graph's node. Outside and host may stand here twice.
    pub id: String,
    /// Number of its box.
    pub group: usize,
    /// What it is.
    pub kind: NodeKind,
    /// Name for people; what cannot be seen in it is written out.
    pub title: String,
    /// The same, as much as fits.
    pub label: String,
    /// Second line: replicas, undeclared, silent.
    pub note: String,
    /// Compose or stack project, or empty.
    pub project: String,
    /// Networks it is on.
    pub networks: Vec<String>,
    /// The containers behind it, by name.
    pub replicas: Vec<Replica>,
    /// Replicas left out of the list.
    pub replicas_left_out: u64,
    /// Bytes it sent.
    pub sent_bytes: u64,
    /// Bytes it received.
    pub received_bytes: u64,
    /// Left edge within the box, in pixels.
    pub x: i64,
    /// Upper edge within the box.
    pub y: i64,
    /// Width.
    pub width: i64,
    /// Height.
    pub height: i64,
    /// Ports it serves, each with how it is called; the ends of edges.
    pub rows: Vec<Row>,
}

/// A line of a box at which edges end.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Row {
    /// How it looks: `fault`, `new`, `failed`, `guess`, `proxy`, `plain`, `idle`, `more`.
    pub look: &'static str,
    /// `5432/tcp`, `3 edges`.
    pub label: String,
    /// What is to be said about it: `unexpected peer`; empty for nothing.
    pub word: String,
}

/// One container of a service.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Replica {
    /// Container name.
    pub name: String,
    /// Image reference as run.
    pub image: String,
    /// Bytes it sent.
    pub sent_bytes: u64,
    /// Bytes it received.
    pub received_bytes: u64,
    /// Why its traffic cannot be observed from here.
    pub unobservable: Option<String>,
}

/// An edge and where it runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapEdge {
    /// What was seen.
    #[serde(flatten)]
    pub edge: Edge,
    /// Verdict for people.
    pub verdict_words: &'static str,
    /// How it looks, as in [`Row::look`].
    pub look: &'static str,
    /// What is to be said about it; empty for nothing.
    pub word: String,
    /// Number of the initiator's node.
    pub from_node: usize,
    /// Number of the responder's node.
    pub to_node: usize,
    /// Row of the responder's node it ends at.
    pub row: usize,
    /// Row of the responder's box it ends at while that is closed; `None` within one box.
    pub group_row: Option<usize>,
    /// Points it runs through between its ends within their box, or until it leaves the initiator's: x and y in turn.
    pub bends: Vec<i64>,
    /// The same from where it enters the responder's box; empty within one box.
    pub bends_in: Vec<i64>,
    /// Which replicas talked, loudest first.
    pub between: Vec<Between>,
    /// Pairs of replicas left out of the list.
    pub between_left_out: u64,
    /// The lines that decided its verdict.
    pub decided_by: Vec<String>,
}

/// What went between two containers, or a container and an address.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Between {
    /// Container of the initiator, or its address.
    pub initiator: String,
    /// Container of the responder, or its address.
    pub responder: String,
    /// Connections answered.
    pub answered: u64,
    /// Connections that failed.
    pub failed: u64,
    /// Bytes both ways.
    pub bytes: u64,
}

impl MapNode {
    /// Returns how many replicas there are, listed or not.
    fn containers_shown(&self) -> u64 {
        (self.replicas.len() as u64).saturating_add(self.replicas_left_out)
    }
}

impl Map {
    /// Draws the map of an assessment.
    pub fn draw(assessment: &Assessment, group: Group, boxes: Boxes) -> Self {
        Self::of(Graph::draw(assessment, group), assessment, boxes)
    }

    /// Draws the map of a graph that was drawn of this assessment.
    pub fn of(graph: Graph, assessment: &Assessment, boxes: Boxes) -> Self {
        Self::of_hosts(graph, assessment, boxes, Hosts::default())
    }

    pub(crate) fn of_hosts(graph: Graph, assessment: &Assessment, boxes: Boxes, hosts: Hosts<'_>) -> Self {
        let mut details = Details::of(assessment, graph.group, hosts);
        let findings: BTreeMap<&str, &Finding> =
            assessment.findings.iter().map(|finding| (finding.id.as_str(), finding)).collect();
        let Graph { group, nodes, edges, edges_folded, from, at, completeness, joins: _, joins_left_out: _ } =
            graph;
        let mut stage = Stage::new(nodes, &edges, boxes, &mut details);
        stage.draw_edges(edges, &findings, &mut details);
        stage.place_nodes();
        stage.place_groups();
        let Stage { groups, nodes, edges, .. } = stage;
        Self { group, boxes, groups, nodes, edges, edges_folded, from, at, completeness }
    }
}
