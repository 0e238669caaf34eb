//! Tables that align, whatever their cells hold.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

use super::text::{Colour, paint};

/// Which side of a column its cells lean on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table; columns without any content are left out.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Row>,
    /// Columns a narrow screen does without, in the order they go.
    spare: Vec<usize>,
}

#[derive(Debug)]
struct Row {
    cells: Vec<String>,
    painted: Option<(usize, Colour)>,
}

impl Table {
    /// Builds a table with these headings; an empty heading is a column without one.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new(), spare: Vec::new() }
    }

    /// Names the columns a narrow screen does without, in the order they go.
    #[must_use]
    pub fn sparing(mut self, headings: &[&str]) -> Self {
        let place = |heading: &&str| self.columns.iter().position(|(own, _)| own == heading);
        self.spare = headings.iter().filter_map(place).collect();
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.row_painted(cells, None);
    }

    /// Adds a row with one cell in a colour.
    pub fn row_painted(&mut self, cells: Vec<String>, painted: Option<(usize, Colour)>) {
        self.rows.push(Row { cells, painted });
    }

    /// Draws it without the blank before the first column.
    pub fn draw_flush(&self) -> String {
        self.draw().lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
    }

    /// Draws headings and rows, two blanks between columns, no blanks at line ends.
    pub fn draw(&self) -> String {
        self.draw_with(&self.widths())
    }

    /// The same, no wider than a screen. What is cut ends in `…`; columns that can be spared go whole, and a last line
    /// counts them. Spare columns go until the others need not be cut below twenty, sentences and spare words not below
    /// twelve; then sentences are cut, then words, the widest first, and none below eight. Numbers are never cut.
    pub fn draw_within(&self, screen: Option<usize>) -> String {
        let mut widths = self.widths();
        let Some(screen) = screen else {
            return self.draw_with(&widths);
        };
        let whole = widths.clone();
        let is_prose = |column: usize| whole.get(column).is_some_and(|width| *width > PROSE);
        let is_spare = |column: usize| is_prose(column) || self.spare.contains(&column);
        // What is left where all that can be cut is.
        let least = |column: usize, width: usize| match self.columns.get(column) {
            Some((_, Align::Left)) if is_spare(column) => width.min(PROSE_CUT_TO),
            Some((_, Align::Left)) => width.min(NAME),
            Some((_, Align::Right)) | None => width,
        };
        let mut left_out = 0;
        for spare in &self.spare {
            if total(widths.iter().enumerate().map(|(column, width)| least(column, *width))) <= screen {
                break;
            }
            if let Some(width) = widths.get_mut(*spare).filter(|width| **width > 0) {
                (*width, left_out) = (0, left_out + 1);
            }
        }
        let is_any = |_: usize| true;
        let steps: [(usize, &dyn Fn(usize) -> bool); 5] = [
            (PROSE / 2, &is_prose),
            (PROSE_CUT_TO, &is_prose),
            (NAME, &is_any),
            (PROSE_CUT_TO, &is_spare),
            (CUT_TO, &is_any),
        ];
        for (floor, is_open) in steps {
            while total(widths.iter().copied()) > screen {
                let columns = self.columns.iter().zip(&mut widths).enumerate();
                let open = columns.filter(|(column, ((_, align), width))| {
                    *align == Align::Left && **width > floor && is_open(*column)
                });
                match open.map(|(_, (_, width))| width).max_by_key(|width| **width) {
                    Some(widest) => *widest -= 1,
                    None => break,
                }
            }
        }
        let mut out = self.draw_with(&widths);
        match left_out {
            0 => {}
            1 => out.push_str(" 1 column left out: --all\n"),
            _ => out.push_str(&format!(" {left_out} columns left out: --all\n")),
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        (0..self.columns.len()).map(|column| self.width(column)).collect()
    }

    fn draw_with(&self, widths: &[usize]) -> String {
        let mut out = String::new();
        let has_headings = self.columns.iter().any(|(heading, _)| !heading.is_empty());
        if has_headings {
            let headings: Vec<String> =
                self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
            self.line(&mut out, &headings, None, widths);
        }
        for row in &self.rows {
            self.line(&mut out, &row.cells, row.painted, widths);
        }
        out
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.cells.get(column)).map(|cell| cell.width());
        let widest = cells.max().unwrap_or(0);
        if widest == 0 {
            0
        } else {
            widest.max(self.columns.get(column).map_or(0, |(heading, _)| heading.width()))
        }
    }

    fn line(&self, out: &mut String, cells: &[String], painted: Option<(usize, Colour)>, widths: &[usize]) {
        let mut line = String::from(" ");
        let mut is_first = true;
        for (column, width) in widths.iter().enumerate() {
            if *width == 0 {
                continue;
            }
            if !is_first {
                line.push_str("  ");
            }
            is_first = false;
            let cell = cut(cells.get(column).map_or("", String::as_str), *width);
            let cell = cell.as_ref();
            let fill = " ".repeat(width.saturating_sub(cell.width()));
            let shown = match painted {
                Some((at, colour)) if at == column => paint(cell, colour, true),
                Some(_) | None => cell.to_owned(),
            };
            match self.columns.get(column).map_or(Align::Left, |(_, align)| *align) {
                Align::Left => line.push_str(&format!("{shown}{fill}")),
                Align::Right => line.push_str(&format!("{fill}{shown}")),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Narrowest a column of words is cut to.
const CUT_TO: usize = 8;
/// Narrowest it is cut to as long as other columns can be spared.
const NAME: usize = 20;
/// Narrowest a column of sentences is cut to before names are.
const PROSE_CUT_TO: usize = CUT_TO + 4;
/// A column wider than this holds sentences.
const PROSE: usize = 40;

/// Cells of a line: one blank before the first column, two before each other.
fn total(widths: impl Iterator<Item = usize>) -> usize {
    widths.filter(|width| *width > 0).map(|width| width + 2).sum::<usize>().saturating_sub(1)
}

/// Cuts what is too wide, counted in the cells of a terminal.
fn cut(cell: &str, width: usize) -> Cow<'_, str> {
    if cell.width() <= width {
        return Cow::Borrowed(cell);
    }
    let mut kept = String::new();
    for letter in cell.chars() {
        kept.push(letter);
        if kept.width() + 1 > width {
            kept.pop();
            break;
        }
    }
    kept.push('\u{2026}');
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lean_right_and_empty_columns_vanish() {
        let mut table = Table::new(&[("who", Align::Left), ("empty", Align::Left), ("conns", Align::Right)]);
        table.row(vec!["web".into(), String::new(), "3".into()]);
        table.row(vec!["reports".into(), String::new(), "1,204".into()]);
        assert_eq!(table.draw(), " who      conns\n web          3\n reports  1,204\n");
    }

    #[test]
    fn wide_characters_keep_columns_straight() {
        let mut table = Table::new(&[("a", Align::Left), ("b", Align::Left)]);
        table.row(vec!["港".into(), "x".into()]);
        table.row(vec!["ab".into(), "y".into()]);
        assert_eq!(table.draw(), " a   b\n 港  x\n ab  y\n");
    }

    #[test]
    fn a_table_fits_the_screen_and_numbers_stay_whole() {
        let mut table = Table::new(&[("who", Align::Left), ("what", Align::Left), ("bytes", Align::Right)]);
        table.row(vec!["a service with a long name".into(), "港港港港港港港港".into(), "1,204,117".into()]);
        table.row(vec!["b".into(), "x".into(), "3".into()]);
        let drawn = table.draw_within(Some(40));
        assert_eq!(
            drawn,
            " who            what               bytes\n a service wi…  港港港港港港…  1,204,117\n b              x                      3\n"
        );
        assert!(drawn.lines().all(|line| line.width() <= 40), "{drawn}");
        // Names stay whole as long as there are sentences to cut.
        table.row(vec!["a service with a long name".into(), "x".repeat(60), "3".into()]);
        let drawn = table.draw_within(Some(70));
        assert!(drawn.contains("a service with a long name  ") && drawn.contains("xxx\u{2026}"), "{drawn}");
        assert_eq!(table.draw_within(None), table.draw());
        assert_eq!(table.draw_within(Some(200)), table.draw());
        assert!(table.draw_within(Some(0)).contains("1,204,117"));
    }

    #[test]
    fn spare_columns_go_before_names_are_cut_short() {
        let headings = ["who", "whom", "state", "bytes", "evidence"];
        let align = |heading| (heading, if heading == "bytes" { Align::Right } else { Align::Left });
        let mut table = Table::new(&headings.map(align)).sparing(&["evidence", "state", "none of them"]);
        let cells =
            ["shop-reports-1 172.20.0.2:41000", "shop-db-1 172.20.0.3:5432", "SF", "1,204", "syn seen"];
        table.row(cells.map(str::to_owned).to_vec());
        #[rustfmt::skip]
        let cases = [
            // screen  headings                      last line
            (90,       "who whom state bytes evidence", ""),
            (68,       "who whom state bytes evidence", ""),
            (60,       "who whom state bytes",          " 1 column left out: --all"),
            (52,       "who whom bytes",                " 2 columns left out: --all"),
            (40,       "who whom bytes",                " 2 columns left out: --all"),
        ];
        for (screen, headings, last) in cases {
            let drawn = table.draw_within(Some(screen));
            let lines: Vec<&str> = drawn.lines().collect();
            let first = lines[0].split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!((first.as_str(), lines.get(2).copied().unwrap_or("")), (headings, last), "{screen}");
            assert!(lines.iter().all(|line| line.width() <= screen), "{screen}: {drawn}");
            assert!(screen < 52 || drawn.contains("shop-reports-1 172."), "{screen}: {drawn}");
        }
        assert_eq!(table.draw_within(None), table.draw());
    }
}
