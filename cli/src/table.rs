//! A table as text: columns as wide as their cells, and where a terminal is narrower than that, cells that say less. Knows
//! nothing of what is in it.

use std::fmt::Write as _;

/// How a cell says less where there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shrink {
    /// It does not.
    Never,
    /// It does not, but its column is the first to be left out.
    Drop,
    /// Its beginning is left out: its end tells it from others.
    Start,
    /// Its middle is left out.
    Middle,
    /// Its end is left out.
    End,
}

/// What a cell's colour says, where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// Look at it.
    Bad,
}

/// A cell: its text, and how it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }
}

impl Cell {
    /// A cell that is meant so.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

/// What the output can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Its columns; none shows everything, however wide.
    pub(crate) width: Option<usize>,
    /// Whether it shows colours.
    pub(crate) colours: bool,
}

/// Rows below a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    head: Vec<(&'static str, Shrink)>,
    rows: Vec<Vec<Cell>>,
}

/// Between two columns; one where room is scarce.
const GAP: usize = 2;
/// No cell is made narrower than this.
const NARROW: usize = 9;

impl Table {
    /// A table of these columns, without rows.
    pub(crate) fn new(head: &[(&'static str, Shrink)]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// True if it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a row: a cell for each column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(cells.len(), self.head.len());
        self.rows.push(cells.into());
    }

    /// As text, with a line for each row.
    pub(crate) fn text(&self, screen: Screen) -> String {
        if let Some(narrower) = self.without_dropped(screen.width) {
            return narrower.text(screen);
        }
        let (widths, gap) = self.widths(screen.width);
        let mut text = String::new();
        let head = self.head.iter().map(|(title, _)| Cell::from(*title)).collect::<Vec<_>>();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            let mut blank = 0;
            for ((cell, width), (_, shrink)) in row.iter().zip(&widths).zip(&self.head) {
                let shown = shortened(&cell.text, *width, *shrink);
                let used = shown.chars().count();
                if used > 0 {
                    line.extend(std::iter::repeat_n(' ', blank));
                    paint(&mut line, &shown, cell.tone, screen.colours);
                    blank = 0;
                }
                blank += width.saturating_sub(used) + gap;
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// This without the columns that may be left out, if it has any and does not fit.
    fn without_dropped(&self, limit: Option<usize>) -> Option<Self> {
        let stays: Vec<bool> = self.head.iter().map(|(_, shrink)| *shrink != Shrink::Drop).collect();
        let (widths, gap) = self.widths(None);
        let fits =
            limit.is_none_or(|limit| widths.iter().sum::<usize>() + widths.len().saturating_sub(1) * gap <= limit);
        if fits || stays.iter().all(|stays| *stays) {
            return None;
        }
        let head = self.head.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(title, _)| *title).collect();
        let kept = |row: &Vec<Cell>| {
            row.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(cell, _)| cell.clone()).collect()
        };
        Some(Self { head, rows: self.rows.iter().map(kept).collect() })
    }

    /// How wide each column is, and what is between them.
    fn widths(&self, limit: Option<usize>) -> (Vec<usize>, usize) {
        let cell_width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
            cells.max().unwrap_or_default()
        };
        let mut widths: Vec<usize> =
            self.head.iter().enumerate().map(|(at, (title, _))| cell_width(at).max(title.len())).collect();
        let between = widths.len().saturating_sub(1);
        let total = |widths: &[usize], gap: usize| widths.iter().sum::<usize>() + between * gap;
        let Some(limit) = limit.filter(|limit| *limit < total(&widths, GAP)) else { return (widths, GAP) };
        while total(&widths, 1) > limit {
            // The widest gives way first, of equals the one on the right.
            let shrinks = widths.iter_mut().zip(&self.head).filter(|(width, (title, shrink))| {
                !matches!(shrink, Shrink::Never | Shrink::Drop) && **width > title.len().max(NARROW)
            });
            let Some((widest, _)) = shrinks.max_by_key(|(width, _)| **width) else { break };
            *widest -= 1;
        }
        let gap = if total(&widths, GAP) <= limit { GAP } else { 1 };
        (widths, gap)
    }
}

/// `text` in at most `width` characters.
fn shortened(text: &str, width: usize, shrink: Shrink) -> String {
    let count = text.chars().count();
    if count <= width || matches!(shrink, Shrink::Never | Shrink::Drop) {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let before = match shrink {
        Shrink::Start => 0,
        Shrink::Middle => kept.div_ceil(2),
        Shrink::End | Shrink::Never | Shrink::Drop => kept,
    };
    let end = text.chars().skip(count - (kept - before));
    text.chars().take(before).chain(['…']).chain(end).collect()
}

fn paint(line: &mut String, text: &str, tone: Tone, colours: bool) {
    let code = match tone {
        Tone::Good if colours => 32,
        Tone::Bad if colours => 31,
        _ => return line.push_str(text),
    };
    // Writing to a String does not fail.
    let _ = write!(line, "\x1b[{code}m{text}\x1b[0m");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("NAME", Shrink::Start), ("NOTE", Shrink::End), ("STATUS", Shrink::Never)]);
        table.row(["spiffe://cluster.local/ns/shop/sa/web".into(), "".into(), Cell::toned("STALE", Tone::Bad)]);
        table.row(["short".into(), "0123456789abcdef".into(), Cell::toned("SYNCED", Tone::Good)]);
        table
    }

    #[test]
    fn without_a_screen_everything_is_shown_and_lines_end_with_their_text() {
        let text = table().text(Screen::default());
        let expected = "\
NAME                                   NOTE              STATUS
spiffe://cluster.local/ns/shop/sa/web                    STALE
short                                  0123456789abcdef  SYNCED
";
        assert_eq!(text, expected);
        let mut ends_empty = Table::new(&[("A", Shrink::Never), ("B", Shrink::Never)]);
        ends_empty.row(["x".into(), "".into()]);
        assert_eq!(ends_empty.text(Screen::default()), "A  B\nx\n");
    }

    #[test]
    fn on_a_narrow_screen_the_widest_says_less_and_what_may_not_shrink_does_not() {
        let text = table().text(Screen { width: Some(40), colours: false });
        let expected = "\
NAME             NOTE             STATUS
…/ns/shop/sa/web                  STALE
short            0123456789abcdef SYNCED
";
        assert_eq!(text, expected);
        let narrow = table().text(Screen { width: Some(1), colours: false });
        assert_eq!(narrow.lines().nth(2), Some("short     01234567… SYNCED"));
        assert_eq!(shortened("0123456789", 5, Shrink::Middle), "01…89");
    }

    #[test]
    fn a_column_that_may_go_goes_before_anything_is_shortened() {
        let mut table = Table::new(&[("NAME", Shrink::Start), ("SINCE", Shrink::Drop), ("STATUS", Shrink::Never)]);
        table.row(["0123456789abcdef".into(), "2026-11-22".into(), "good".into()]);
        let text = |width| table.text(Screen { width: Some(width), colours: false });
        assert_eq!(text(36), "NAME              SINCE       STATUS\n0123456789abcdef  2026-11-22  good\n");
        assert_eq!(text(35), "NAME              STATUS\n0123456789abcdef  good\n");
        assert_eq!(text(20), "NAME          STATUS\n…456789abcdef good\n");
    }

    #[test]
    fn colours_take_no_room() {
        let screen = Screen { width: None, colours: true };
        let line = table().text(screen).lines().nth(2).map(str::to_owned);
        assert_eq!(
            line.as_deref(),
            Some("short                                  0123456789abcdef  \x1b[32mSYNCED\x1b[0m")
        );
    }
}
