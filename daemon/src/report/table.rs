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
}

#[derive(Debug)]
struct Row {
    cells: Vec<String>,
    painted: Option<(usize, Colour)>,
}

impl Table {
    /// Builds a table with these headings; an empty heading is a column without one.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
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

    /// The same, no wider than a screen: columns of sentences are cut, then columns of words, the widest first and none below
    /// eight; numbers never. What is cut ends in `…`.
    pub fn draw_within(&self, screen: Option<usize>) -> String {
        let mut widths = self.widths();
        let Some(screen) = screen else {
            return self.draw_with(&widths);
        };
        // One blank before the first column, two before each other.
        let total = |widths: &[usize]| {
            widths.iter().filter(|width| **width > 0).map(|width| width + 2).sum::<usize>().saturating_sub(1)
        };
        // Prose first, then prose to a few words, then names.
        let whole = widths.clone();
        for floor in [PROSE / 2, CUT_TO + 4, CUT_TO] {
            while total(&widths) > screen {
                let columns = self.columns.iter().zip(&whole).zip(&mut widths);
                let open = columns.filter(|(((_, align), whole), width)| {
                    *align == Align::Left && **width > floor && (floor == CUT_TO || **whole > PROSE)
                });
                match open.map(|(_, width)| width).max_by_key(|width| **width) {
                    Some(widest) => *widest -= 1,
                    None => break,
                }
            }
        }
        self.draw_with(&widths)
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
/// A column wider than this holds sentences.
const PROSE: usize = 40;

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
}
