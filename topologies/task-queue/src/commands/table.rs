//! Rows for people, with columns below each other; and numbers that may be unknown.

use std::fmt;

/// Rows with columns of equal width. Numbers are not aligned to the right: they stand beside words.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Fields of one thing, a line each.
pub(super) fn fields(fields: Vec<(&str, String)>) -> String {
    table(&fields.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect::<Vec<_>>())
}

/// A sum of parts of which some may not be known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// The sum of the known ones; none if none is.
    pub(super) known: Option<i64>,
    /// Whether there are others.
    pub(super) more: bool,
}

impl Sum {
    /// With one more part.
    pub(super) fn add(&mut self, part: Option<i64>) {
        match part {
            Some(part) => self.known = Some(self.known.unwrap_or(0).saturating_add(part)),
            None => self.more = true,
        }
    }

    /// Of these parts; of no part nothing is known.
    pub(super) fn of(parts: impl IntoIterator<Item = Option<i64>>) -> Self {
        let mut sum = Sum::default();
        parts.into_iter().for_each(|part| sum.add(part));
        sum
    }

    /// The whole sum, for programs: none unless all of it is known.
    pub(super) fn whole(self) -> Option<i64> {
        self.known.filter(|_| !self.more)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.known, self.more) {
            (None, _) => f.write_str("?"),
            (Some(known), false) => write!(f, "{known}"),
            (Some(known), true) => write!(f, "{known}+?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_lines_have_no_blank_end() {
        let rows = [vec!["queue", "state"], vec!["é", ""], vec!["default", "paused"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        assert_eq!(table(&rows), "queue    state\né\ndefault  paused\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn what_is_not_known_is_never_nothing() {
        let shown = |parts: &[Option<i64>]| Sum::of(parts.iter().copied()).to_string();
        assert_eq!(shown(&[]), "?");
        assert_eq!(shown(&[None]), "?");
        assert_eq!(shown(&[Some(0)]), "0");
        assert_eq!(shown(&[Some(2), None, Some(3)]), "5+?");
        assert_eq!(Sum::of([Some(2), None]).whole(), None);
        assert_eq!(Sum::of([Some(2), Some(0)]).whole(), Some(2));
    }
}
