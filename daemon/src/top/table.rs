//! What is shown of a picture: filtered, sorted, with rates; and what keys do.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use portolan_flowtable::Timestamp;
use portolan_graphs::Edge;
use portolan_policy::Finding;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::picture::Picture;

/// What edges are sorted by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Sort {
    /// Edges with a finding first, then by rate.
    #[default]
    Verdict,
    /// Bytes per second.
    Rate,
    /// Bytes so far.
    Bytes,
    /// Connections so far.
    Connections,
    /// Connections that failed.
    Failed,
    /// Round trip.
    RoundTrip,
    /// Seen last.
    Latest,
    /// Client, then server.
    Name,
}

impl Sort {
    const ALL: [Self; 8] = [
        Self::Verdict,
        Self::Rate,
        Self::Bytes,
        Self::Connections,
        Self::Failed,
        Self::RoundTrip,
        Self::Latest,
        Self::Name,
    ];

    /// Returns its name on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Rate => "rate",
            Self::Bytes => "bytes",
            Self::Connections => "connections",
            Self::Failed => "failed",
            Self::RoundTrip => "rtt",
            Self::Latest => "latest",
            Self::Name => "name",
        }
    }

    fn neighbour(self, by: usize) -> Self {
        let place = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL.get((place + by) % Self::ALL.len()).copied().unwrap_or_default()
    }
}

/// Which table has the keys.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pane {
    /// The findings, above.
    Findings,
    /// The edges, below.
    #[default]
    Edges,
}

/// What lies over the tables.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Over {
    /// Nothing.
    #[default]
    Nothing,
    /// All of the chosen row.
    Details,
    /// The keys.
    Help,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Go on.
    Stay,
    /// Leave.
    End,
}

/// Bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// To the server.
    pub sent: f64,
    /// To the client.
    pub received: f64,
}

/// Everything there is to draw.
#[derive(Clone, Debug, Default)]
pub struct Top {
    picture: Option<Picture>,
    /// By edge id; absent until a second picture came.
    rates: BTreeMap<String, Rate>,
    missed: Option<String>,
    filter: String,
    is_writing: bool,
    sort: Sort,
    is_reversed: bool,
    pane: Pane,
    over: Over,
    is_paused: bool,
    chosen: (usize, usize),
    is_coloured: bool,
}

impl Top {
    /// Begins with nothing to show.
    pub fn new(filter: String, is_coloured: bool) -> Self {
        Self { filter, is_coloured, ..Self::default() }
    }

    /// Takes in a picture.
    pub fn take(&mut self, picture: Picture) {
        if let Some(before) = &self.picture {
            let seconds = Timestamp(picture.at.since(before.at)).as_seconds();
            // Asked twice within one round: the rates of before still hold.
            if seconds > 0.0 {
                let known: BTreeMap<&str, &Edge> =
                    before.edges.iter().map(|edge| (&*edge.id, edge)).collect();
                let rate = |edge: &Edge| {
                    let before = known.get(edge.id.as_str());
                    let grown = |of: fn(&Edge) -> u64| {
                        of(edge).saturating_sub(before.map_or(0, |before| of(before))) as f64 / seconds
                    };
                    Rate { sent: grown(|edge| edge.sent.bytes), received: grown(|edge| edge.received.bytes) }
                };
                self.rates = picture.edges.iter().map(|edge| (edge.id.clone(), rate(edge))).collect();
            }
        }
        self.missed = None;
        self.picture = Some(picture);
    }

    /// Notes that the daemon did not answer, and why.
    pub fn miss(&mut self, why: &str) {
        self.missed = Some(why.to_owned());
    }

    /// Does what a key asks for.
    pub fn key(&mut self, key: KeyEvent) -> Step {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Step::End } else { Step::Stay };
        }
        if self.is_writing {
            self.write(key.code);
            return Step::Stay;
        }
        if self.over != Over::Nothing {
            self.over = Over::Nothing;
            return Step::Stay;
        }
        // Any other key means nothing here.
        if let KeyCode::Char(letter) = key.code {
            match letter {
                'q' => return Step::End,
                '/' => self.is_writing = true,
                's' => self.sort = self.sort.neighbour(1),
                'S' => self.sort = self.sort.neighbour(Sort::ALL.len() - 1),
                'r' => self.is_reversed = !self.is_reversed,
                'p' | ' ' => self.is_paused = !self.is_paused,
                'j' => self.go(1),
                'k' => self.go(-1),
                'g' => self.go(isize::MIN),
                'G' => self.go(isize::MAX),
                '?' | 'h' => self.over = Over::Help,
                _ => {}
            }
            return Step::Stay;
        }
        if key.code == KeyCode::Tab || key.code == KeyCode::BackTab {
            self.pane = match self.pane {
                Pane::Findings => Pane::Edges,
                Pane::Edges => Pane::Findings,
            };
        } else if key.code == KeyCode::Enter {
            self.over = Over::Details;
        } else if key.code == KeyCode::Esc {
            self.filter.clear();
        } else {
            let steps = [
                (KeyCode::Down, 1),
                (KeyCode::Up, -1),
                (KeyCode::PageDown, 10),
                (KeyCode::PageUp, -10),
                (KeyCode::Home, isize::MIN),
                (KeyCode::End, isize::MAX),
            ];
            if let Some((_, by)) = steps.iter().find(|(code, _)| *code == key.code) {
                self.go(*by);
            }
        }
        Step::Stay
    }

    fn write(&mut self, code: KeyCode) {
        if let KeyCode::Char(letter) = code {
            if self.filter.len() < FILTER_MAX {
                self.filter.push(letter);
            }
        } else if code == KeyCode::Backspace {
            self.filter.pop();
        } else if code == KeyCode::Esc {
            self.filter.clear();
            self.is_writing = false;
        } else if code == KeyCode::Enter {
            self.is_writing = false;
        }
    }

    fn go(&mut self, by: isize) {
        let rows = match self.pane {
            Pane::Findings => self.findings().len(),
            Pane::Edges => self.edges().len(),
        };
        let chosen = match self.pane {
            Pane::Findings => &mut self.chosen.0,
            Pane::Edges => &mut self.chosen.1,
        };
        *chosen = (*chosen).min(rows.saturating_sub(1)).saturating_add_signed(by).min(rows.saturating_sub(1));
    }

    /// Returns the latest picture.
    pub fn picture(&self) -> Option<&Picture> {
        self.picture.as_ref()
    }

    /// Returns the findings the filter lets through, gravest first.
    pub fn findings(&self) -> Vec<&Finding> {
        let all = self.picture.iter().flat_map(|picture| &picture.findings);
        all.filter(|finding| {
            let port = finding.port.map_or(String::new(), |port| format!(":{port}"));
            self.fits(&format!(
                "{} -> {}{port} {} {}",
                finding.initiator,
                finding.responder,
                finding.kind.words(),
                finding.severity.name()
            ))
        })
        .collect()
    }

    /// Returns the edges the filter lets through, sorted.
    pub fn edges(&self) -> Vec<&Edge> {
        let all = self.picture.iter().flat_map(|picture| &picture.edges);
        let mut edges: Vec<&Edge> = all
            .filter(|edge| {
                let Edge { source, target, port, verdict, network, .. } = edge;
                self.fits(&format!("{source} -> {target}:{port} {} {network}", verdict.words()))
            })
            .collect();
        edges.sort_by(|one, other| {
            let order = self.order(one, other);
            if self.is_reversed { order.reverse() } else { order }
        });
        edges
    }

    /// Returns whether every word of the filter stands in a row.
    fn fits(&self, row: &str) -> bool {
        let row = row.to_lowercase();
        self.filter.split_whitespace().all(|word| row.contains(&word.to_lowercase()))
    }

    /// The largest first; what is equal by name.
    fn order(&self, one: &Edge, other: &Edge) -> Ordering {
        let bytes = |edge: &Edge| edge.sent.bytes.saturating_add(edge.received.bytes);
        let rate = |edge: &Edge| self.rate(edge).map_or(0.0, |rate| rate.sent + rate.received);
        let by_rate = || rate(other).total_cmp(&rate(one));
        let order = match self.sort {
            Sort::Verdict => other.verdict.is_finding().cmp(&one.verdict.is_finding()).then_with(by_rate),
            Sort::Rate => by_rate(),
            Sort::Bytes => bytes(other).cmp(&bytes(one)),
            Sort::Connections => other.connections.attempted().cmp(&one.connections.attempted()),
            Sort::Failed => other.connections.failed().cmp(&one.connections.failed()),
            Sort::RoundTrip => other.rtt_p50.cmp(&one.rtt_p50),
            Sort::Latest => other.last_at.cmp(&one.last_at),
            Sort::Name => Ordering::Equal,
        };
        order.then_with(|| one.id.cmp(&other.id))
    }

    /// Returns an edge's bytes per second between the last two pictures; `None` before there were two.
    pub fn rate(&self, edge: &Edge) -> Option<Rate> {
        self.rates.get(&edge.id).copied()
    }

    /// Returns why the daemon did not answer the last time, where it did not.
    pub fn missed(&self) -> Option<&str> {
        self.missed.as_deref()
    }

    /// Returns the filter, and whether it is being written.
    pub fn filter(&self) -> (&str, bool) {
        (&self.filter, self.is_writing)
    }

    /// Returns what edges are sorted by, and whether the smallest come first.
    pub fn sort(&self) -> (Sort, bool) {
        (self.sort, self.is_reversed)
    }

    /// Returns which table has the keys.
    pub fn pane(&self) -> Pane {
        self.pane
    }

    /// Returns what lies over the tables.
    pub fn over(&self) -> Over {
        self.over
    }

    /// Returns whether nothing is asked for the moment.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Returns whether colours may be used.
    pub fn is_coloured(&self) -> bool {
        self.is_coloured
    }

    /// Returns which rows are chosen, of the findings and of the edges.
    pub fn chosen(&self) -> (usize, usize) {
        self.chosen
    }
}

/// Longest filter, in bytes.
const FILTER_MAX: usize = 120;
