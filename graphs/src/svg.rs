//! The map as a picture for reports: one SVG that needs nothing beside itself.
//!
//! It shows what the page in the browser shows before anything is clicked, in light colours. Every look differs in
//! colour, line and word. Texts are escaped; there is no script, no link and no image in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::graph::NodeKind;
use crate::map::{Card, Map, MapEdge, MapGroup, MapNode, ROW, Row, Stacked, width_of};
use crate::style::caption;
use crate::xml::escaped;

const STYLE: &str = "\
text{font:13px 'Liberation Sans','Helvetica Neue',Arial,sans-serif;fill:#18212d}\
.b{font-weight:700}.n,.w{font-size:11px;fill:#566273}.p{font-size:12px}\
.h{paint-order:stroke;stroke:#f8fafc;stroke-width:6px;stroke-linejoin:round}\
.card{fill:#fff;stroke:#9aa5b3}.box{fill:#f8fafc;stroke:#d7dde5}\
.external .card{stroke-width:3;stroke:#b4bcc8}.host .card{stroke:#566273;stroke-width:2}\
.unclaimed .card,.ambiguous .card{stroke-dasharray:5 4;stroke:#566273}\
.faulty .card{stroke:#b42318;stroke-width:1.6}\
path{fill:none}.plain,.guess,.proxy{stroke:#6d7a8c}.fault{stroke:#b42318}.new{stroke:#0b5cad;stroke-dasharray:12 5}\
.failed{stroke:#697586;stroke-dasharray:7 3 1.5 3}.guess{stroke-dasharray:5 4}.proxy{stroke-dasharray:1.5 4}\
text.r-fault{fill:#b42318;font-weight:700}text.r-new{fill:#0b5cad;font-weight:700}text.r-failed{fill:#697586}\
text.r-idle,text.r-more{fill:#566273}\
rect.r-fault{fill:#fdecea}rect.r-new{fill:#e6f0fb}";

/// Looks with what the legend says of them.
const LEGEND: [(&str, &str); 6] = [
    ("plain", "expected"),
    ("fault", "▲ undocumented, unexpected"),
    ("new", "◆ new"),
    ("failed", "✕ refused, blocked, unanswered"),
    ("guess", "direction guessed"),
    ("proxy", "host or docker-proxy"),
];

/// From one line of the legend to the next.
const LEGEND_LINE: i64 = 20;

impl Map {
    /// Writes the map as SVG. `containers_unseen` cannot be observed; the picture says so beside its completeness.
    pub fn to_svg(&self, containers_unseen: u64) -> String {
        let stacked = self.stacked(|group| group.is_open);
        let width = (stacked.width + 48).max(760);
        let legend = placed_legend(width);
        let lines = legend.last().map_or(0, |(_, line)| *line);
        let foot = 74 + LEGEND_LINE * lines;
        let height = stacked.height + 48 + foot;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" aria-label=\"Map of who calls whom\">\n<style>{STYLE}</style>\n\
             <defs>"
        );
        for (look, colour) in [
            ("plain", "#6d7a8c"),
            ("guess", "#6d7a8c"),
            ("proxy", "#6d7a8c"),
            ("fault", "#b42318"),
            ("new", "#0b5cad"),
        ] {
            let _ = write!(
                text,
                "<marker id=\"h-{look}\" viewBox=\"0 0 8 8\" refX=\"6\" refY=\"4\" markerWidth=\"9\" \
                 markerHeight=\"9\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 .5 7.5 4 0 7.5z\" \
                 style=\"fill:{colour}\"/></marker>"
            );
        }
        text.push_str(
            "<marker id=\"h-failed\" viewBox=\"0 0 8 12\" refX=\"4\" refY=\"6\" markerWidth=\"8\" \
             markerHeight=\"12\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M2 0v12M6 0v12\" \
             style=\"stroke:#697586;stroke-width:2\"/></marker></defs>\n\
             <rect width=\"100%\" height=\"100%\" style=\"fill:#fff\"/>\n<g transform=\"translate(24 24)\">\n",
        );
        for (number, group) in self.groups.iter().enumerate() {
            draw_box(&mut text, group, number, &stacked);
        }
        self.draw_lines(&mut text, &stacked);
        // What is written is above all lines.
        for (number, group) in self.groups.iter().enumerate() {
            draw_heading(&mut text, group, number, &stacked);
        }
        for (number, group) in self.groups.iter().enumerate() {
            if let Some(card) = stacked.closed(number) {
                draw_closed(&mut text, group, card);
            }
        }
        for node in &self.nodes {
            if let Some(card) = stacked.card_of(node) {
                draw_node(&mut text, node, card);
            }
        }
        text.push_str("</g>\n");
        self.draw_foot(&mut text, height - foot, &legend, containers_unseen);
        text.push_str("</svg>\n");
        text
    }

    fn draw_lines(&self, text: &mut String, stacked: &Stacked) {
        let mut lines: BTreeMap<(Card, Card, usize), Vec<usize>> = BTreeMap::new();
        for (number, edge) in self.edges.iter().enumerate() {
            let (Some(from), Some(to)) = (self.nodes.get(edge.from_node), self.nodes.get(edge.to_node))
            else {
                continue;
            };
            let (source, target) = (stacked.card_or_box(from), stacked.card_or_box(to));
            let is_closed = stacked.closed(to.group).is_some();
            if is_closed && from.group == to.group {
                continue;
            }
            let row = if is_closed { edge.group_row.unwrap_or(0) } else { edge.row };
            lines.entry((source, target, row)).or_default().push(number);
        }
        for ((from, to, row), numbers) in lines {
            let edges: Vec<_> = numbers.iter().filter_map(|number| self.edges.get(*number)).collect();
            let Some(first) = edges.first() else { continue };
            let bends = self.bends_of(first, stacked);
            let bytes: u64 = edges
                .iter()
                .map(|edge| edge.edge.sent.bytes.saturating_add(edge.edge.received.bytes))
                .fold(0, u64::saturating_add);
            let width = line_width(bytes, self.at.0.saturating_sub(self.from.0), first.look);
            let _ = writeln!(
                text,
                "<path class=\"{look}\" style=\"stroke-width:{}.{}\" marker-end=\"url(#h-{look})\" d=\"{}\"/>",
                width / 10,
                width % 10,
                way(from, to, row, &bends, first.from_node == first.to_node),
                look = first.look,
            );
        }
    }

    /// Returns the points an edge runs through, on the picture.
    fn bends_of(&self, edge: &MapEdge, stacked: &Stacked) -> Vec<(i64, i64)> {
        let within = |node: usize, bends: &[i64]| -> Vec<(i64, i64)> {
            let group = self.nodes.get(node).map(|node| node.group);
            let Some(corner) = group.and_then(|group| stacked.open(group)) else { return Vec::new() };
            let pairs = bends.chunks_exact(2);
            pairs.filter_map(|pair| Some((pair.first()? + corner.x, pair.get(1)? + corner.y))).collect()
        };
        let target = self.nodes.get(edge.to_node).filter(|_| edge.group_row.is_some());
        let above = target.map_or_else(Vec::new, |node| stacked.above(node.group));
        [within(edge.from_node, &edge.bends), above, within(edge.to_node, &edge.bends_in)].concat()
    }

    fn draw_foot(&self, text: &mut String, top: i64, legend: &[(i64, i64)], containers_unseen: u64) {
        for ((look, words), (left, line)) in LEGEND.into_iter().zip(legend) {
            let y = top + 20 + LEGEND_LINE * line;
            let _ = writeln!(
                text,
                "<path class=\"{look}\" style=\"stroke-width:{}\" marker-end=\"url(#h-{look})\" d=\"M{left} {y}h28\"/>\
                 <text class=\"n\" x=\"{}\" y=\"{}\">{words}</text>",
                if look == "fault" { 2.6 } else { 1.5 },
                left + 36,
                y + 4,
            );
        }
        let lines = legend.last().map_or(0, |(_, line)| *line);
        let mut caption = caption(self.from, self.at, &self.completeness, self.edges_folded);
        if let (Some(first), 1..) = (caption.first_mut(), containers_unseen) {
            let plural = if containers_unseen == 1 { "container" } else { "containers" };
            let _ = write!(first, ", {containers_unseen} {plural} unseen");
        }
        let _ = writeln!(
            text,
            "<text class=\"n\" x=\"24\" y=\"{}\">{}</text>",
            top + 52 + LEGEND_LINE * lines,
            escaped(&caption.join("; "))
        );
    }
}

/// Returns where each of the legend's looks begins, and on which of its lines.
fn placed_legend(width: i64) -> Vec<(i64, i64)> {
    let (mut left, mut line) = (24, 0);
    let place = |(_, words): (&str, &str)| {
        let taken = 62 + width_of(words) * 9 / 10;
        if left > 24 && left + taken > width {
            (left, line) = (24, line + 1);
        }
        let placed = (left, line);
        left += taken;
        placed
    };
    LEGEND.into_iter().map(place).collect()
}

fn draw_box(text: &mut String, group: &MapGroup, number: usize, stacked: &Stacked) {
    let Some(card) = stacked.open(number).filter(|_| group.services > 0) else { return };
    let Card { x, y, width, height } = card;
    let _ = writeln!(
        text,
        "<rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"10\"/>"
    );
}

/// Writes a box's name; a line behind it leaves a gap around it.
fn draw_heading(text: &mut String, group: &MapGroup, number: usize, stacked: &Stacked) {
    let Some(card) = stacked.open(number).filter(|_| group.services > 0) else { return };
    let Card { x, y, width, .. } = card;
    let plural = if group.services == 1 { "service" } else { "services" };
    let _ = writeln!(
        text,
        "<g class=\"h\"><text class=\"b\" x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"n\" text-anchor=\"end\" x=\"{}\" y=\"{}\">{} {plural}</text></g>",
        x + 18,
        y + 21,
        escaped(&group.title),
        x + width - 18,
        y + 21,
        group.services
    );
}

fn draw_closed(text: &mut String, group: &MapGroup, card: Card) {
    let faulty = if group.findings > 0 { " faulty" } else { "" };
    let note = format!("{} services, {} containers", group.services, group.containers);
    let _ = write!(text, "<g class=\"closed{faulty}\">");
    draw_card(text, card, 7, &group.title, &note, &group.rows);
    text.push_str("</g>\n");
}

fn draw_node(text: &mut String, node: &MapNode, card: Card) {
    let faulty = if node.rows.iter().any(|row| row.look == "fault") { " faulty" } else { "" };
    let round = match node.kind {
        NodeKind::External => 20,
        NodeKind::Host => 2,
        NodeKind::Workload
        | NodeKind::Unclaimed
        | NodeKind::Multicast
        | NodeKind::Ambiguous
        | NodeKind::Address
        | NodeKind::Other => 7,
    };
    let _ = write!(text, "<g class=\"{}{faulty}\">", node.kind.name());
    draw_card(text, card, round, &node.label, &node.note, &node.rows);
    text.push_str("</g>\n");
}

fn draw_card(text: &mut String, card: Card, round: i64, label: &str, note: &str, rows: &[Row]) {
    let Card { x, y, width, height } = card;
    let _ = write!(
        text,
        "<rect class=\"card\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{round}\"/>\
         <text class=\"b\" x=\"{}\" y=\"{}\">{}</text>",
        x + 12,
        y + if note.is_empty() { 25 } else { 18 },
        escaped(label)
    );
    if !note.is_empty() {
        let _ = write!(text, "<text class=\"n\" x=\"{}\" y=\"{}\">{}</text>", x + 12, y + 32, escaped(note));
    }
    for (place, row) in rows.iter().enumerate() {
        let top = y + 40 + ROW * place as i64;
        let sign = match row.look {
            "fault" => "▲",
            "new" => "◆",
            "failed" => "✕",
            "idle" => "○",
            _ => "●",
        };
        let _ = write!(
            text,
            "<rect class=\"r-{look}\" style=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"18\" rx=\"4\"/>\
             <text class=\"p r-{look}\" x=\"{}\" y=\"{}\">{sign} {}</text>",
            if matches!(row.look, "fault" | "new") { "" } else { "fill:none" },
            x + 3,
            top + 1,
            width - 6,
            x + 10,
            top + 14,
            escaped(&row.label),
            look = row.look,
        );
        if !row.word.is_empty() {
            let _ = write!(
                text,
                "<text class=\"w r-{}\" text-anchor=\"end\" x=\"{}\" y=\"{}\">{}</text>",
                row.look,
                x + width - 10,
                top + 14,
                escaped(&row.word)
            );
        }
    }
}

/// Width of a line in tenths of a pixel: a step for each tenfold of bytes a second.
fn line_width(bytes: u64, nanoseconds: i64, look: &str) -> u64 {
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0).max(1);
    let rate = bytes / seconds / 50 + 1;
    let width = 12 + 6 * u64::from(rate.ilog10());
    let least = match look {
        "fault" => 26,
        "new" => 20,
        _ => 12,
    };
    width.clamp(least, 55)
}

/// Returns the way of a line: level where it leaves and where it arrives.
fn way(from: Card, to: Card, row: usize, bends: &[(i64, i64)], is_loop: bool) -> String {
    let end = (to.x - 5, to.y + 40 + ROW * row as i64 + ROW / 2);
    let top = from.y + 20;
    if is_loop {
        let out = from.x - 42;
        return format!("M{} {top}C{out} {top} {out} {} {} {}", from.x, end.1, end.0, end.1);
    }
    let start = (from.x + from.width, top);
    // Each point with the way the line runs through it.
    let mut points = vec![(start, 1)];
    if let (Some(first), Some(last)) = (bends.first(), bends.last()) {
        let along = if first.0 <= last.0 { 1 } else { -1 };
        points.extend(bends.iter().map(|point| (*point, along)));
    } else if end.0 < start.0 + 12 {
        // Back, or to another card of the column: through the gap beside the one it goes to.
        let (from_foot, to_foot) = (from.y + from.height, to.y + to.height);
        let y = if from_foot <= to.y {
            to.y - 9
        } else if to_foot <= from.y {
            to_foot + 9
        } else {
            from_foot.max(to_foot) + 12
        };
        points.push((((start.0 + end.0) / 2, y), -1));
    }
    points.push((end, 1));
    let mut path = format!("M{} {}", start.0, start.1);
    for pair in points.windows(2) {
        let [((x, y), along), ((to_x, to_y), to_along)] = pair else { continue };
        let ahead = (to_x - x) * along;
        let pull = (ahead.abs() / 2).clamp(if ahead > 0 { 10 } else { 34 }, 110);
        let (one, other) = (x + along * pull, to_x - to_along * pull);
        let _ = write!(path, "C{one} {y} {other} {to_y} {to_x} {to_y}");
    }
    path
}
