//! Tables that align, whatever their cells hold.

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
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        let mut out = String::new();
        let has_headings = self.columns.iter().any(|(heading, _)| !heading.is_empty());
        if has_headings {
            let headings: Vec<String> =
                self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
            self.line(&mut out, &headings, None, &widths);
        }
        for row in &self.rows {
            self.line(&mut out, &row.cells, row.painted, &widths);
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
            let cell = cells.get(column).map_or("", String::as_str);
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
}
