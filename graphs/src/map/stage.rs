//! The map in the making: boxes, nodes and rows first, then their places.

use std::collections::{BTreeMap, BTreeSet};

use portolan_policy::{Finding, Verdict};

use super::details::Details;
use super::layered::{Gaps, OUTSIDE, Size, place};
use super::measure::{fitting, width_of};
use super::{Between, Boxes, MapEdge, MapGroup, MapNode, Row};
use crate::graph::{Edge, Node, NodeKind};
use crate::style::{Look, look, visible};

/// Height of a node's heading.
const HEADING: i64 = 40;
/// Height of a row.
pub(crate) const ROW: i64 = 20;
/// Space below the last row.
const FOOT: i64 = 8;
/// Space between a box's edge and what stands in it.
const MARGIN: i64 = 16;
/// Height of a box's heading.
const BOX_HEADING: i64 = 34;
/// Width of a closed box.
pub(crate) const CLOSED_WIDTH: i64 = 216;
const WIDTH_MIN: i64 = 112;
const WIDTH_MAX: i64 = 228;
/// The same for a card whose ports have much to say; what is wider is cut.
const ROW_WIDTH_MAX: i64 = 330;
/// Rows of a node; further ports share the last.
const ROWS_MAX: usize = 9;
/// Services up to which every box is open at first.
const OPEN_MAX: usize = 48;
/// Replicas listed for a service.
const REPLICAS_MAX: usize = 64;
/// Pairs of replicas listed for an edge.
const BETWEEN_MAX: usize = 12;
/// Between the columns of a box: room for edges to turn.
const GAPS: Gaps = Gaps { across: 58, down: 18 };

/// Gravity of the look, label, word: what edges share that end at one row.
type RowKey = (u8, String, String);

/// The map in the making.
pub(super) struct Stage {
    pub(super) groups: Vec<MapGroup>,
    pub(super) nodes: Vec<MapNode>,
    pub(super) edges: Vec<MapEdge>,
    /// Number of a node by its id, and by whether it stands there to be called.
    numbers: BTreeMap<(String, bool), usize>,
}

impl Stage {
    pub(super) fn new(nodes: Vec<Node>, edges: &[Edge], boxes: Boxes, details: &mut Details) -> Self {
        let called: BTreeSet<&str> = edges.iter().map(|edge| edge.target.as_str()).collect();
        let calling: BTreeSet<&str> = edges.iter().map(|edge| edge.source.as_str()).collect();
        let mut stage =
            Self { groups: Vec::new(), nodes: Vec::new(), edges: Vec::new(), numbers: BTreeMap::new() };
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for node in nodes {
            if node.kind == NodeKind::Workload {
                let (id, title) = box_of(&node, boxes);
                let group = *known.entry(id.clone()).or_insert_with(|| {
                    stage.groups.push(empty_group(id, title, NodeKind::Workload));
                    stage.groups.len() - 1
                });
                let number = stage.add(&node, group, details);
                stage.numbers.insert((node.id.clone(), false), number);
                stage.numbers.insert((node.id, true), number);
                continue;
            }
            let sides =
                [(false, calling.contains(node.id.as_str())), (true, called.contains(node.id.as_str()))];
            for (is_called, _) in sides.into_iter().filter(|(_, is_there)| *is_there) {
                let id = if is_called { format!(">{}", node.id) } else { format!("{}>", node.id) };
                stage.groups.push(empty_group(id, visible(&node.title), node.kind));
                let number = stage.add(&node, stage.groups.len() - 1, details);
                stage.numbers.insert((node.id.clone(), is_called), number);
            }
        }
        stage
    }

    fn add(&mut self, node: &Node, group: usize, details: &mut Details) -> usize {
        let replicas = details.replicas.remove(&node.id).unwrap_or_default();
        let left_out = replicas.len().saturating_sub(REPLICAS_MAX);
        if let Some(group) = self.groups.get_mut(group) {
            group.services += u64::from(node.kind == NodeKind::Workload);
            group.containers = group.containers.saturating_add(node.containers);
        }
        let title = visible(&node.title);
        let idle = node.idle_ports.iter().map(|port| Row {
            look: "idle",
            label: port.to_string(),
            word: "idle".to_owned(),
        });
        self.nodes.push(MapNode {
            id: node.id.clone(),
            group,
            kind: node.kind,
            label: fitting(&title, WIDTH_MAX - 64),
            title,
            note: note_of(node),
            project: node.project.clone(),
            networks: node.networks.clone(),
            replicas: replicas.into_values().take(REPLICAS_MAX).collect(),
            replicas_left_out: left_out as u64,
            sent_bytes: node.sent_bytes,
            received_bytes: node.received_bytes,
            x: 0,
            y: 0,
            width: 0,
            height: 0,
            rows: idle.collect(),
        });
        self.nodes.len() - 1
    }

    fn number(&self, id: &str, is_called: bool) -> Option<usize> {
        self.numbers.get(&(id.to_owned(), is_called)).copied()
    }

    /// Gives every edge its ends, its look and its row.
    pub(super) fn draw_edges(
        &mut self,
        edges: Vec<Edge>,
        findings: &BTreeMap<&str, &Finding>,
        details: &mut Details,
    ) {
        for edge in edges {
            let ends = (self.number(&edge.source, false), self.number(&edge.target, true));
            let (Some(from_node), Some(to_node)) = ends else { continue };
            let (look, word) = appearance(&edge, findings);
            let mut between: Vec<Between> =
                details.between.remove(&edge.id).unwrap_or_default().into_values().collect();
            between.sort_by(|one, other| {
                (other.bytes, &one.initiator, &one.responder).cmp(&(
                    one.bytes,
                    &other.initiator,
                    &other.responder,
                ))
            });
            let between_left_out = between.len().saturating_sub(BETWEEN_MAX) as u64;
            between.truncate(BETWEEN_MAX);
            let decided_by = details.decided_by.remove(&edge.id).unwrap_or_default().into_iter().collect();
            self.edges.push(MapEdge {
                verdict_words: edge.verdict.words(),
                look,
                word,
                from_node,
                to_node,
                row: 0,
                group_row: None,
                bends: Vec::new(),
                bends_in: Vec::new(),
                between,
                between_left_out,
                decided_by,
                edge,
            });
        }
        self.draw_rows();
        self.draw_group_rows();
    }

    /// Gives each node a row for every port and look, gravest first.
    fn draw_rows(&mut self) {
        let mut rows: BTreeMap<usize, BTreeMap<RowKey, Vec<usize>>> = BTreeMap::new();
        for (number, edge) in self.edges.iter().enumerate() {
            let via = edge.edge.via.as_ref().map(|via| format!(" via {}", visible(via))).unwrap_or_default();
            let key = (gravity(edge.look), format!("{}{via}", edge.edge.port), edge.word.clone());
            rows.entry(edge.to_node).or_default().entry(key).or_default().push(number);
        }
        for (node, rows) in rows {
            let Some(node) = self.nodes.get_mut(node) else { continue };
            let idle = std::mem::take(&mut node.rows);
            let left_over = (rows.len() + idle.len()).saturating_sub(ROWS_MAX);
            let shown = if left_over > 0 { ROWS_MAX - 1 } else { ROWS_MAX };
            let count = rows.len();
            for (place, ((_, label, word), edges)) in rows.into_iter().enumerate() {
                let row = place.min(shown);
                for number in edges {
                    let Some(edge) = self.edges.get_mut(number) else { continue };
                    edge.row = row;
                    if node.rows.len() == row && row < shown {
                        let word = row_word(&word).to_owned();
                        node.rows.push(Row { look: edge.look, label: label.clone(), word });
                    }
                }
            }
            node.rows.extend(idle.into_iter().take(shown.saturating_sub(count)));
            if left_over > 0 {
                let label = format!("{} more", left_over + 1);
                node.rows.push(Row { look: "more", label, word: String::new() });
            }
        }
        for node in &mut self.nodes {
            if node.rows.len() > ROWS_MAX {
                let more = node.rows.len() - ROWS_MAX + 1;
                node.rows.truncate(ROWS_MAX - 1);
                node.rows.push(Row { look: "idle", label: format!("{more} more"), word: "idle".to_owned() });
            }
        }
    }

    /// Gives each box a row for every look that comes in, for as long as it is closed.
    fn draw_group_rows(&mut self) {
        let mut rows: BTreeMap<usize, BTreeMap<(u8, String), Vec<usize>>> = BTreeMap::new();
        let group_of = |nodes: &[MapNode], node: usize| nodes.get(node).map_or(0, |node| node.group);
        for (number, edge) in self.edges.iter().enumerate() {
            let (from, to) = (group_of(&self.nodes, edge.from_node), group_of(&self.nodes, edge.to_node));
            let count = edge.edge.findings.len() as u64;
            for group in BTreeSet::from([from, to]) {
                self.groups.get_mut(group).into_iter().for_each(|group| group.findings += count);
            }
            if from != to {
                let key = (gravity(edge.look), edge.word.clone());
                rows.entry(to).or_default().entry(key).or_default().push(number);
            }
        }
        for (group, rows) in rows {
            let Some(group) = self.groups.get_mut(group) else { continue };
            for (place, ((_, word), edges)) in rows.into_iter().enumerate() {
                let place = place.min(ROWS_MAX - 1);
                let count = edges.len();
                for number in edges {
                    let Some(edge) = self.edges.get_mut(number) else { continue };
                    edge.group_row = Some(place);
                    if group.rows.len() == place {
                        let plural = if count == 1 { "edge" } else { "edges" };
                        let label = format!("{count} {plural}");
                        group.rows.push(Row { look: edge.look, label, word: row_word(&word).to_owned() });
                    }
                }
            }
        }
    }

    /// Places the nodes of each box.
    pub(super) fn place_nodes(&mut self) {
        for node in &mut self.nodes {
            let frame = if node.kind == NodeKind::Workload { 34 } else { 46 };
            let rows = node.rows.iter_mut().map(|row| {
                let gap = if row.word.is_empty() { 0 } else { 10 };
                // What is wrong stands in bold.
                let bold = if matches!(row.look, "fault" | "new") { 110 } else { 98 };
                let word = width_of(&row.word) * bold / 100 + gap;
                row.label = fitting(&row.label, ((ROW_WIDTH_MAX - frame - word) * 100 / bold).max(WIDTH_MIN));
                width_of(&row.label) * bold / 100 + word
            });
            let rows = rows.max().unwrap_or(0) + frame;
            // The heading leaves room for the marks of the replicas.
            let heading =
                width_of(&node.label) * 108 / 100 + if node.containers_shown() > 1 { 30 } else { 0 };
            let heading = (heading.max(width_of(&node.note)) + frame).min(WIDTH_MAX);
            node.width = heading.max(rows).max(WIDTH_MIN);
            let foot = if node.rows.is_empty() { 4 } else { FOOT };
            node.height = HEADING + ROW * node.rows.len() as i64 + foot;
        }
        let open = self.nodes.iter().filter(|node| node.kind == NodeKind::Workload).count() <= OPEN_MAX;
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); self.groups.len()];
        for (number, node) in self.nodes.iter().enumerate() {
            members.get_mut(node.group).into_iter().for_each(|own| own.push(number));
        }
        let mut local = vec![0_usize; self.nodes.len()];
        for own in &members {
            for (place, number) in own.iter().enumerate() {
                local.get_mut(*number).into_iter().for_each(|it| *it = place);
            }
        }
        let mut links: Vec<BTreeSet<(usize, usize)>> = vec![BTreeSet::new(); self.groups.len()];
        for edge in &self.edges {
            let ends = (self.nodes.get(edge.from_node), self.nodes.get(edge.to_node));
            if let (Some(from), Some(to)) = ends
                && from.group == to.group
                && let (Some(one), Some(other)) = (local.get(edge.from_node), local.get(edge.to_node))
            {
                links.get_mut(from.group).into_iter().for_each(|own| {
                    own.insert((*one, *other));
                });
            } else if let (Some(from), Some(to)) = ends
                && let (Some(one), Some(other)) = (local.get(edge.from_node), local.get(edge.to_node))
            {
                links.get_mut(from.group).into_iter().for_each(|own| {
                    own.insert((*one, OUTSIDE));
                });
                links.get_mut(to.group).into_iter().for_each(|own| {
                    own.insert((OUTSIDE, *other));
                });
            }
        }
        let mut bends = Vec::new();
        for ((group, own), links) in self.groups.iter_mut().zip(&members).zip(&links) {
            let sizes: Vec<Size> = own
                .iter()
                .filter_map(|number| self.nodes.get(*number))
                .map(|node| Size { width: node.width, height: node.height })
                .collect();
            let placed = place(&sizes, links, GAPS);
            let is_plain = group.kind != NodeKind::Workload;
            let (left, top) = if is_plain { (0, 0) } else { (MARGIN, BOX_HEADING) };
            for (number, corner) in own.iter().zip(&placed.corners) {
                if let Some(node) = self.nodes.get_mut(*number) {
                    (node.x, node.y) = (corner.0 + left, corner.1 + top);
                }
            }
            group.is_open = open || is_plain;
            group.width = placed.width + 2 * left;
            group.height = placed.height + top + if is_plain { 0 } else { MARGIN };
            // A title that is wider than what stands below it.
            group.width = group.width.max(width_of(&group.title) + 2 * MARGIN + 90 * i64::from(!is_plain));
            let rows = i64::try_from(group.rows.len()).unwrap_or(0);
            group.closed_height = HEADING + ROW * rows + if rows == 0 { 4 } else { FOOT };
            bends.push((placed.bends, left, top));
        }
        let number = |node: usize| local.get(node).copied().unwrap_or(OUTSIDE);
        let within = |group: Option<&MapNode>, link: (usize, usize)| -> Vec<i64> {
            let of_group = group.and_then(|node| bends.get(node.group));
            let points = of_group.and_then(|(bends, left, top)| Some((bends.get(&link)?, left, top)));
            points.map_or_else(Vec::new, |(points, left, top)| {
                points.iter().flat_map(|(x, y)| [x + left, y + top]).collect()
            })
        };
        for edge in &mut self.edges {
            let ends = (self.nodes.get(edge.from_node), self.nodes.get(edge.to_node));
            if edge.group_row.is_none() {
                edge.bends = within(ends.0, (number(edge.from_node), number(edge.to_node)));
            } else {
                edge.bends = within(ends.0, (number(edge.from_node), OUTSIDE));
                edge.bends_in = within(ends.1, (OUTSIDE, number(edge.to_node)));
            }
        }
    }

    /// Gives each box its column and its place in it.
    pub(super) fn place_groups(&mut self) {
        let sizes: Vec<Size> = self
            .groups
            .iter()
            .map(|group| if group.is_open { group.height } else { group.closed_height })
            .map(|height| Size { width: CLOSED_WIDTH, height })
            .collect();
        let group_of = |node: usize| self.nodes.get(node).map_or(0, |node| node.group);
        let links =
            self.edges.iter().map(|edge| (group_of(edge.from_node), group_of(edge.to_node))).collect();
        let placed = place(&sizes, &links, GAPS);
        for (group, (column, order)) in self.groups.iter_mut().zip(placed.columns) {
            (group.column, group.order) = (column, order);
        }
        self.tuck_in(&links);
    }

    /// Moves boxes without a link from columns of their own to below the shortest that are as wide.
    fn tuck_in(&mut self, links: &BTreeSet<(usize, usize)>) {
        let linked: BTreeSet<usize> =
            links.iter().filter(|(from, to)| from != to).flat_map(|(from, to)| [*from, *to]).collect();
        let mut columns: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
        for group in linked.iter().filter_map(|number| self.groups.get(*number)) {
            let (tall, wide) = columns.entry(group.column).or_default();
            let (height, width) = shown_size(group);
            (*tall, *wide) = (*tall + height + GAPS.down, width.max(*wide));
        }
        let alone = self.groups.iter_mut().enumerate().filter(|(number, _)| !linked.contains(number));
        for (number, group) in alone {
            let (height, width) = shown_size(group);
            let best = columns.iter_mut().min_by_key(|(_, (tall, wide))| (*wide < width, *tall));
            if let Some((column, (tall, _))) = best {
                (group.column, group.order) = (*column, BELOW + number);
                *tall += height + GAPS.down;
            }
        }
    }
}

/// Place in a column of what stands below everything that is linked.
const BELOW: usize = 1 << 20;

fn shown_size(group: &MapGroup) -> (i64, i64) {
    if group.is_open { (group.height, group.width) } else { (group.closed_height, CLOSED_WIDTH) }
}

fn empty_group(id: String, title: String, kind: NodeKind) -> MapGroup {
    MapGroup {
        id,
        title,
        kind,
        column: 0,
        order: 0,
        services: 0,
        containers: 0,
        findings: 0,
        is_open: true,
        width: 0,
        height: 0,
        rows: Vec::new(),
        closed_height: 0,
    }
}

/// Returns the id and the title of a service's box.
fn box_of(node: &Node, boxes: Boxes) -> (String, String) {
    match (boxes, node.networks.as_slice()) {
        (Boxes::Project, _) if node.project.is_empty() => ("project:".to_owned(), "no project".to_owned()),
        (Boxes::Project, _) => (format!("project:{}", node.project), visible(&node.project)),
        (Boxes::Network, []) => ("network:".to_owned(), "no network".to_owned()),
        (Boxes::Network, [only]) => (format!("network:{only}"), visible(only)),
        (Boxes::Network, _) => ("networks".to_owned(), "several networks".to_owned()),
    }
}

fn note_of(node: &Node) -> String {
    let mut parts = Vec::new();
    match node.kind {
        NodeKind::Workload if node.containers > 1 => parts.push(format!("{} replicas", node.containers)),
        NodeKind::Workload => {}
        NodeKind::Host => parts.push("this host".to_owned()),
        NodeKind::External => parts.push("outside".to_owned()),
        NodeKind::Unclaimed => parts.push("addresses nobody holds".to_owned()),
        NodeKind::Multicast => parts.push("multicast and broadcast".to_owned()),
        NodeKind::Ambiguous => parts.push("several owners fit".to_owned()),
        NodeKind::Address => parts.push("an address".to_owned()),
        NodeKind::Other => parts.push("edges beyond the limit".to_owned()),
    }
    if node.is_undeclared {
        parts.push("undeclared".to_owned());
    }
    if node.is_silent() {
        parts.push("silent".to_owned());
    }
    parts.join(", ")
}

/// Returns how an edge looks, and the word that goes with it; a finding of a rule marks an edge whose verdict is fine.
fn appearance(edge: &Edge, findings: &BTreeMap<&str, &Finding>) -> (&'static str, String) {
    let gravest =
        edge.findings.iter().filter_map(|id| findings.get(id.as_str())).max_by_key(|it| it.severity);
    match (look(edge), gravest) {
        (Look::Fault(Verdict::NewEdge), _) => ("new", Verdict::NewEdge.words().to_owned()),
        (Look::Fault(verdict), _) => ("fault", verdict.words().to_owned()),
        (Look::Failed(_) | Look::Guess | Look::ProxyLeg | Look::Plain, Some(finding)) => {
            ("fault", finding.kind.words().to_owned())
        }
        (look @ Look::Failed(_), None) => ("failed", look.word().unwrap_or_default().to_owned()),
        (look @ Look::Guess, None) => ("guess", look.word().unwrap_or_default().to_owned()),
        (look @ Look::ProxyLeg, None) => ("proxy", look.word().unwrap_or_default().to_owned()),
        (Look::Plain, None) => ("plain", String::new()),
    }
}

/// Returns what a row says: that it is about a port or a peer can be seen.
fn row_word(word: &str) -> &str {
    match word {
        "undocumented port" => "undocumented",
        "unexpected peer" => "unexpected",
        "spoofed source" => "spoofed",
        "host or docker-proxy" => "proxy",
        "direction guessed" => "guessed",
        other => other,
    }
}

fn gravity(look: &str) -> u8 {
    ["fault", "new", "failed", "plain", "guess", "proxy"]
        .iter()
        .position(|it| *it == look)
        .map_or(6, |at| at as u8)
}
