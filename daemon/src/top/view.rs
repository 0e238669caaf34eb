//! How it is drawn: a title, findings above, edges below, keys at the bottom. Reads without colour: what has a finding
//! bears `!`, what is chosen is reversed.

use portolan_exporter::escape::terminal;
use portolan_flowtable::units::grouped;
use portolan_graphs::Edge;
use portolan_policy::{Finding, Severity};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table, TableState, Wrap};
use unicode_width::UnicodeWidthStr;

use super::table::{Over, Pane, Rate, Top};
use crate::report::{bytes, milliseconds, time_of_day};

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, top: &Top) {
    let findings = top.findings();
    // Findings take what they need, and a third at most; edges the rest.
    let wanted = u16::try_from(findings.len().max(1)).unwrap_or(u16::MAX).saturating_add(1);
    let height = wanted.min((frame.area().height / 3).max(3));
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(height),
        Constraint::Min(2),
        Constraint::Length(1),
    ]);
    let [title, above, below, keys] = parts.areas(frame.area());
    frame.render_widget(title_line(top, title.width), title);
    draw_findings(frame, top, &findings, above);
    let edges = top.edges();
    draw_edges(frame, top, &edges, below);
    frame.render_widget(keys_line(top), keys);
    match top.over() {
        Over::Nothing => {}
        Over::Help => overlay(frame, " Keys ", HELP.iter().map(|line| Line::from(*line)).collect()),
        Over::Details => {
            let (finding, edge) = top.chosen();
            let lines = match top.pane() {
                Pane::Findings => findings
                    .get(finding.min(findings.len().saturating_sub(1)))
                    .map(|found| about_finding(found)),
                Pane::Edges => edges
                    .get(edge.min(edges.len().saturating_sub(1)))
                    .map(|edge| about_edge(edge, top.rate(edge))),
            };
            overlay(frame, " Details ", lines.unwrap_or_else(|| vec![Line::from("nothing is chosen")]));
        }
    }
}

fn title_line(top: &Top, width: u16) -> Line<'static> {
    let state = match (top.missed(), top.is_paused()) {
        (Some(_), _) => "no answer",
        (None, true) => "paused",
        (None, false) => "live",
    };
    let Some(picture) = top.picture() else {
        return Line::from(state);
    };
    let left = format!(
        "portolan top  {}  {} UTC  {}",
        terminal(&picture.host),
        time_of_day(picture.at, false),
        picture.completeness
    );
    let containers = format!("  {} containers, {} observable", picture.containers.0, picture.containers.1);
    let room = usize::from(width).saturating_sub(left.width() + state.width() + 1);
    let middle = if containers.width() <= room { containers } else { String::new() };
    let fill = " ".repeat(room.saturating_sub(middle.width()) + 1);
    let lossy = if picture.completeness == "incomplete" { paint(top, Color::Red) } else { Style::new() };
    let style = Style::new().add_modifier(Modifier::BOLD);
    Line::from(vec![
        Span::styled(left, lossy.patch(style)),
        Span::raw(middle),
        Span::raw(fill),
        Span::styled(state, style),
    ])
}

fn draw_findings(frame: &mut Frame<'_>, top: &Top, findings: &[&Finding], area: Rect) {
    let left_out = top.picture().map_or(0, |picture| picture.findings_left_out);
    let more = if left_out > 0 { format!(", and {} not listed", grouped(left_out)) } else { String::new() };
    let heading = format!("FINDINGS ({}{more})", grouped(findings.len() as u64));
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(heading_line(top, &heading, Pane::Findings), head);
    if findings.is_empty() {
        frame.render_widget(Line::from("  none"), body);
        return;
    }
    let is_wide = area.width >= 100;
    // Who, where and when come before the name of what is wrong.
    let has_kind = area.width >= 64;
    let kinds = findings.iter().map(|finding| finding.kind.words().width()).max().unwrap_or(0);
    let kinds = if has_kind { kinds } else { 0 };
    let when = if is_wide { 19 } else { 8 };
    let room = usize::from(area.width).saturating_sub(7 + kinds + usize::from(when) + 6);
    let rows = findings.iter().map(|finding| {
        let port = finding.port.map_or(String::new(), |port| format!(":{port}"));
        let responder = format!("{}{port}", finding.responder);
        let ends = match (finding.initiator.is_empty(), finding.responder.is_empty()) {
            (true, _) => fitted(&responder, &port, room),
            (false, true) => fitted(&finding.initiator, "", room),
            (false, false) => fitted(&format!("{} -> {responder}", finding.initiator), &port, room),
        };
        let since = time_of_day(finding.first_at, false);
        let style = match finding.severity {
            Severity::High => paint(top, Color::Red),
            Severity::Medium => paint(top, Color::Yellow),
            Severity::Low | Severity::Info => Style::new(),
        };
        Row::new(vec![
            Text::styled(format!(" {}", finding.severity.name()), style),
            Text::raw(if has_kind { finding.kind.words() } else { "" }),
            Text::raw(ends),
            Text::raw(if is_wide {
                terminal(&format!("{} {since}", finding.reached)).into_owned()
            } else {
                since
            }),
        ])
    });
    let widths = [
        Constraint::Length(7),
        Constraint::Length(u16::try_from(kinds).unwrap_or(20)),
        Constraint::Fill(1),
        Constraint::Length(when),
    ];
    let table = Table::new(rows, widths).column_spacing(2).row_highlight_style(chosen(top, Pane::Findings));
    let mut state = TableState::new().with_selected(Some(top.chosen().0.min(findings.len() - 1)));
    frame.render_stateful_widget(table, body, &mut state);
}

/// A column of the edges: its heading, its width, and the least width of the screen it is shown on.
const COLUMNS: [(&str, u16, u16); 6] = [
    ("sent/s", 10, 0),
    ("recv/s", 10, 60),
    ("conns", 8, 76),
    ("failed", 7, 64),
    ("rtt", 9, 96),
    ("seen", 8, 108),
];

fn draw_edges(frame: &mut Frame<'_>, top: &Top, edges: &[&Edge], area: Rect) {
    let all = top.picture().map_or(0, |picture| picture.edges.len());
    let of = if edges.len() == all {
        grouped(all as u64)
    } else {
        format!("{} of {}", grouped(edges.len() as u64), grouped(all as u64))
    };
    let (sort, is_reversed) = top.sort();
    let order = if is_reversed { ", smallest first" } else { "" };
    let heading = format!("EDGES ({of})  by {}{order}", sort.name());
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(heading_line(top, &heading, Pane::Edges), head);
    let shown: Vec<usize> = COLUMNS
        .iter()
        .enumerate()
        .filter(|(_, (_, _, least))| *least <= area.width)
        .map(|(at, _)| at)
        .collect();
    let has_verdict = area.width >= 88;
    // What the figures leave: two parts for the client, three for the server and its port.
    let figures_width: u16 =
        shown.iter().filter_map(|at| COLUMNS.get(*at)).map(|(_, width, _)| width + 1).sum();
    let room = area.width.saturating_sub(figures_width + 3 + if has_verdict { 18 } else { 0 });
    let client = room * 2 / 5;
    let server = room - client;
    let mut widths = vec![Constraint::Length(1), Constraint::Length(client), Constraint::Length(server)];
    let mut headings = vec![String::new(), "client".to_owned(), "server".to_owned()];
    if has_verdict {
        widths.push(Constraint::Length(17));
        headings.push("verdict".to_owned());
    }
    for (name, width, _) in shown.iter().filter_map(|at| COLUMNS.get(*at)) {
        widths.push(Constraint::Length(*width));
        headings.push(format!("{name:>width$}", width = usize::from(*width)));
    }
    let rows = edges.iter().map(|edge| {
        let is_fault = edge.verdict.is_finding();
        let style = if is_fault {
            paint(top, Color::Red)
        } else if edge.is_failed() {
            Style::new().add_modifier(Modifier::DIM)
        } else {
            Style::new()
        };
        let mut cells = vec![
            if is_fault { "!".to_owned() } else { String::new() },
            fitted(&edge.source, "", client.into()),
            fitted(&format!("{}:{}", edge.target, edge.port), &format!(":{}", edge.port), server.into()),
        ];
        if has_verdict {
            cells.push(edge.verdict.words().to_owned());
        }
        let figures = figures(edge, top.rate(edge));
        cells.extend(shown.iter().filter_map(|at| {
            let (figure, (_, width, _)) = (figures.get(*at)?, COLUMNS.get(*at)?);
            Some(format!("{figure:>width$}", width = usize::from(*width)))
        }));
        Row::new(cells).style(style)
    });
    let header = Row::new(headings).style(Style::new().add_modifier(Modifier::UNDERLINED));
    let table = Table::new(rows, widths)
        .header(header)
        .column_spacing(1)
        .row_highlight_style(chosen(top, Pane::Edges));
    let mut state = TableState::new();
    if !edges.is_empty() {
        state.select(Some(top.chosen().1.min(edges.len() - 1)));
    }
    frame.render_stateful_widget(table, body, &mut state);
}

/// Makes a name fit, its end kept: of a port that is cut, another port would be left.
fn fitted(name: &str, end: &str, width: usize) -> String {
    let name = terminal(name);
    if name.width() <= width {
        return name.into_owned();
    }
    let end = terminal(end);
    let head = name.strip_suffix(&*end).unwrap_or(&name);
    let room = width.saturating_sub(end.width() + 1);
    let mut kept = String::new();
    for letter in head.chars() {
        kept.push(letter);
        if kept.width() > room {
            kept.pop();
            break;
        }
    }
    format!("{kept}\u{2026}{end}")
}

fn figures(edge: &Edge, rate: Option<Rate>) -> [String; 6] {
    let rate = |of: fn(Rate) -> f64| rate.map_or("-".to_owned(), |rate| whole_bytes(of(rate)));
    [
        rate(|rate| rate.sent),
        rate(|rate| rate.received),
        grouped(edge.connections.attempted()),
        grouped(edge.connections.failed()),
        edge.rtt_p50.map_or("-".to_owned(), milliseconds),
        time_of_day(edge.last_at, false),
    ]
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "never negative, and shown in three digits"
)]
fn whole_bytes(count: f64) -> String {
    bytes(count.round() as u64)
}

fn about_edge(edge: &Edge, rate: Option<Rate>) -> Vec<Line<'static>> {
    let Edge { connections, .. } = edge;
    let per_second = rate.map_or("not known yet".to_owned(), |rate| {
        format!("{}/s out, {}/s in", whole_bytes(rate.sent), whole_bytes(rate.received))
    });
    let name = format!("{} -> {}:{}", edge.source, edge.target, edge.port);
    let or_nothing = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
    facts(&[
        ("", name.clone()),
        ("verdict", edge.verdict.words().to_owned()),
        ("documented", or_nothing(&edge.documented_by)),
        ("network", or_nothing(&edge.network)),
        ("via", edge.via.clone().unwrap_or_default()),
        (
            "seen",
            format!("{} to {} UTC", time_of_day(edge.first_at, false), time_of_day(edge.last_at, false)),
        ),
        (
            "carried",
            format!("{} out, {} in; {per_second}", bytes(edge.sent.bytes), bytes(edge.received.bytes)),
        ),
        (
            "connections",
            format!(
                "{} answered, {} refused, {} unanswered, {} blocked",
                grouped(connections.answered),
                grouped(connections.refused),
                grouped(connections.unanswered),
                grouped(connections.blocked)
            ),
        ),
        ("round trip", edge.rtt_p50.map_or(String::new(), milliseconds)),
        ("direction", if edge.is_guess { "guessed".to_owned() } else { String::new() }),
        (
            "findings",
            edge.findings
                .iter()
                .map(|id| format!("F-{}", id.get(..6).unwrap_or(id)))
                .collect::<Vec<_>>()
                .join(", "),
        ),
        ("explain", format!("portolan why '{name}'")),
    ])
}

fn about_finding(finding: &Finding) -> Vec<Line<'static>> {
    let port = finding.port.map_or(String::new(), |port| format!(":{port}"));
    let name = format!("{} -> {}{port}", finding.initiator, finding.responder);
    let id = finding.id.get(..6).unwrap_or(&finding.id);
    facts(&[
        ("", format!("{}, {}", finding.kind.words(), finding.severity.name())),
        ("who", name.clone()),
        ("what", finding.summary.clone()),
        ("against", finding.against.clone()),
        ("how far", finding.reached.clone()),
        (
            "seen",
            format!(
                "{} to {} UTC",
                time_of_day(finding.first_at, false),
                time_of_day(finding.last_at, false)
            ),
        ),
        ("from", finding.initiator_containers.join(", ")),
        ("to", finding.responder_containers.join(", ")),
        (
            "explain",
            if finding.port.is_some() {
                format!("portolan why '{name}'")
            } else {
                format!("portolan rules show {}", finding.kind.name())
            },
        ),
        ("seen it", format!("portolan ack F-{id}")),
    ])
}

/// What is known, a line each; what is empty is left out.
fn facts(facts: &[(&'static str, String)]) -> Vec<Line<'static>> {
    let known = facts.iter().filter(|(_, fact)| !fact.is_empty());
    known
        .map(|(name, fact)| {
            let fact = terminal(fact).into_owned();
            match *name {
                "" => Line::styled(fact, Style::new().add_modifier(Modifier::BOLD)),
                name => Line::from(format!("{name:<12} {fact}")),
            }
        })
        .collect()
}

fn overlay(frame: &mut Frame<'_>, title: &'static str, lines: Vec<Line<'static>>) {
    let all = frame.area();
    let widest = lines.iter().map(Line::width).max().unwrap_or(0);
    let width = u16::try_from(widest + 4).unwrap_or(u16::MAX).min(all.width);
    let text_width = usize::from(width.saturating_sub(4).max(1));
    let rows: usize = lines.iter().map(|line| line.width().div_ceil(text_width).max(1)).sum();
    let height = u16::try_from(rows + 2).unwrap_or(u16::MAX).min(all.height);
    let area = Rect { x: (all.width - width) / 2, y: (all.height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(title).padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn keys_line(top: &Top) -> Line<'static> {
    if let Some(why) = top.missed() {
        let first = why.lines().next().unwrap_or_default();
        return Line::styled(terminal(first).into_owned(), paint(top, Color::Red));
    }
    let (filter, is_writing) = top.filter();
    let filter = terminal(filter).into_owned();
    if is_writing {
        return Line::from(format!("filter: {filter}_   Enter keeps it, Esc drops it"));
    }
    let filtered = if filter.is_empty() { String::new() } else { format!("[{filter}]  ") };
    Line::from(format!("{filtered}q quit  / filter  s sort  Tab tables  Enter details  Space pause  ? keys"))
}

fn heading_line(top: &Top, heading: &str, pane: Pane) -> Line<'static> {
    let style = Style::new().add_modifier(Modifier::BOLD);
    let mark = if top.pane() == pane { ">" } else { " " };
    Line::styled(format!("{mark}{heading}"), style)
}

fn chosen(top: &Top, pane: Pane) -> Style {
    if top.pane() == pane { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() }
}

/// A colour, where colours may be used.
fn paint(top: &Top, colour: Color) -> Style {
    if top.is_coloured() { Style::new().fg(colour) } else { Style::new() }
}

const HELP: [&str; 12] = [
    "q            leave",
    "/            filter: words that must all stand in a row (shop db 5432 undocumented)",
    "Esc          drop the filter",
    "s, S         sort edges by the next, the previous column",
    "r            turn the order round",
    "Tab          findings or edges",
    "Up, Down     choose a row; PageUp, PageDown, Home, End; j, k, g, G",
    "Enter        all that is known of the chosen row",
    "Space        pause; the daemon goes on",
    "",
    "!            an edge with a finding",
    "any key      back",
];
