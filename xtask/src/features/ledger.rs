//! The ledger: a Markdown table of four columns (ID, what it does, state, proof) under each heading, and a block
//! fenced as `rows` that lists every ID. Pure: knows the names of tests, not where they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What docs/features.md says.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Its rows, in their order.
    pub(crate) rows: Vec<Row>,
    /// The IDs that it must have.
    listed: BTreeSet<String>,
    /// What could not be read.
    unreadable: Vec<Fault>,
}

/// A feature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Such as `A-01`.
    pub(crate) id: String,
    /// What it does.
    pub(crate) what: String,
    /// How far it is.
    pub(crate) state: State,
    /// The tests that prove it.
    proofs: Vec<String>,
    line: usize,
}

impl Row {
    /// The letters before the dash.
    pub(crate) fn section(&self) -> &str {
        self.id.split('-').next().unwrap_or_default()
    }
}

/// How far a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It does what the row says, and a test proves it.
    Works,
    /// Some of it does, and a test proves that.
    Partly,
    /// It does not exist yet.
    Absent,
}

impl State {
    const ALL: [Self; 3] = [Self::Works, Self::Partly, Self::Absent];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Partly => "partly",
            Self::Absent => "absent",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that the ledger claims wrongly, with its line (counted from 1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    line: Option<usize>,
    text: String,
}

impl Fault {
    fn new(line: impl Into<Option<usize>>, text: impl Into<String>) -> Self {
        Self { line: line.into(), text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl Ledger {
    /// Reads the ledger; what cannot be read becomes a fault.
    pub(crate) fn parse(text: &str) -> Self {
        let mut ledger = Self::default();
        let mut in_list = false;
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            if text.starts_with("```") {
                in_list = text == "```rows";
            } else if in_list {
                for item in text.split_whitespace() {
                    match range(item) {
                        Some(ids) => ledger.listed.extend(ids),
                        None => {
                            ledger.unreadable.push(Fault::new(line, format!("{item} is no ID and no range of IDs")))
                        }
                    }
                }
            } else if let Some(id) = row_id(text) {
                match Row::parse(id, text, line) {
                    Ok(row) => ledger.rows.push(row),
                    Err(fault) => ledger.unreadable.push(fault),
                }
            }
        }
        ledger
    }

    /// What is claimed wrongly, given the names of the `tests` that there are.
    pub(crate) fn faults(&self, tests: &BTreeSet<String>) -> Vec<Fault> {
        let mut faults: Vec<_> = self.unreadable.iter().map(|fault| Fault::new(fault.line, &*fault.text)).collect();
        let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &self.rows {
            if let Some(first) = lines.insert(&row.id, row.line) {
                faults.push(Fault::new(row.line, format!("{} is on line {first} already", row.id)));
            }
            faults.extend(row.faults(tests));
        }
        let has = |id: &&String| lines.contains_key(id.as_str()) || self.is_unreadable(id);
        faults.extend(self.listed.iter().filter(|id| !has(id)).map(|id| Fault::new(None, format!("{id} has no row"))));
        let unlisted = self.rows.iter().filter(|row| !self.listed.contains(&row.id));
        faults.extend(unlisted.map(|row| Fault::new(row.line, format!("{} is not in the list of rows", row.id))));
        faults
    }

    /// A row that is there but cannot be read is not missing as well.
    fn is_unreadable(&self, id: &str) -> bool {
        self.unreadable.iter().any(|fault| fault.text.starts_with(id))
    }

    /// Where the ledger's list of rows differs from the feature table that it was made from.
    pub(crate) fn differences(&self, table: &BTreeSet<String>) -> Vec<Fault> {
        let missing = table.difference(&self.listed).map(|id| format!("{id} is missing from the list of rows"));
        let added =
            self.listed.difference(table).map(|id| format!("{id} is in the list of rows and in no feature table"));
        missing.chain(added).map(|text| Fault::new(None, text)).collect()
    }
}

impl Row {
    fn parse(id: &str, text: &str, line: usize) -> Result<Self, Fault> {
        let cells: Vec<_> = text.trim_matches('|').split('|').map(str::trim).collect();
        let [_, what, state, proof] = cells.as_slice() else {
            return Err(Fault::new(line, format!("{id} has {} cells instead of 4", cells.len())));
        };
        let Some(state) = State::ALL.into_iter().find(|known| known.as_str() == *state) else {
            return Err(Fault::new(line, format!("{id}: {state:?} is none of works, partly, absent")));
        };
        if what.is_empty() {
            return Err(Fault::new(line, format!("{id} does not say what it does")));
        }
        // Names stand between backticks; whatever stands between the names is for the reader.
        let proofs = proof.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Ok(Self { id: id.to_owned(), what: (*what).to_owned(), state, proofs, line })
    }

    fn faults(&self, tests: &BTreeSet<String>) -> Vec<Fault> {
        let mut faults = Vec::new();
        match (self.state, self.proofs.is_empty()) {
            (State::Absent, false) => {
                faults.push(Fault::new(self.line, format!("{} is absent and names a test", self.id)))
            }
            (State::Works | State::Partly, true) => {
                let text = format!("{} {} and names no test between backticks", self.id, self.state);
                faults.push(Fault::new(self.line, text));
            }
            _ => {}
        }
        let unknown = self.proofs.iter().filter(|name| !tests.contains(*name));
        faults.extend(unknown.map(|name| Fault::new(self.line, format!("{}: there is no test {name}", self.id))));
        faults
    }
}

/// The IDs of the rows of a feature table.
pub(crate) fn ids(table: &str) -> BTreeSet<String> {
    table.lines().filter_map(|line| row_id(line.trim())).map(str::to_owned).collect()
}

/// The ID in the first cell of a table row.
fn row_id(line: &str) -> Option<&str> {
    let cell = line.strip_prefix('|')?.split('|').next()?.trim();
    parts(cell).map(|_| cell)
}

/// `A-01` as `A` and 1.
fn parts(id: &str) -> Option<(&str, u32)> {
    let (section, number) = id.split_once('-')?;
    let letters = !section.is_empty() && section.bytes().all(|b| b.is_ascii_uppercase());
    let digits = number.len() >= 2 && number.bytes().all(|b| b.is_ascii_digit());
    (letters && digits).then(|| Some((section, number.parse().ok()?))).flatten()
}

/// `A-01` or `A-01..A-20`.
fn range(item: &str) -> Option<impl Iterator<Item = String>> {
    let (first, last) = item.split_once("..").unwrap_or((item, item));
    let ((section, first), (end, last)) = (parts(first)?, parts(last)?);
    (section == end && first <= last).then(|| (first..=last).map(move |number| format!("{section}-{number:02}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "```rows\nA-01..A-03 B-01\n```\n";

    fn faults(rows: &str, tests: &[&str]) -> Vec<String> {
        let tests = tests.iter().map(|name| (*name).to_owned()).collect();
        let ledger =
            Ledger::parse(&format!("# Features\n{LIST}\n| ID | What | State | Proof |\n|---|---|---|---|\n{rows}"));
        ledger.faults(&tests).iter().map(ToString::to_string).collect()
    }

    const OTHERS: &str = "| A-02 | two | absent | |\n| A-03 | three | absent | |\n| B-01 | one | absent | |\n";

    #[test]
    fn a_row_that_works_names_tests_that_exist() {
        let row = "| A-01 | captures | works | `a::b::c`, and by hand `a::e2e$d` |\n";
        assert_eq!(faults(&format!("{row}{OTHERS}"), &["a::b::c", "a::e2e$d"]), [] as [&str; 0]);
        assert_eq!(faults(&format!("{row}{OTHERS}"), &["a::b::c"]), ["line 8: A-01: there is no test a::e2e$d"]);
        let row = "| A-01 | captures | partly | |\n";
        assert_eq!(faults(&format!("{row}{OTHERS}"), &[]), ["line 8: A-01 partly and names no test between backticks"]);
        let row = "| A-01 | captures | works | a::b::c |\n";
        assert_eq!(
            faults(&format!("{row}{OTHERS}"), &["a::b::c"]),
            ["line 8: A-01 works and names no test between backticks"]
        );
        let row = "| A-01 | captures | absent | `a::b::c` |\n";
        assert_eq!(faults(&format!("{row}{OTHERS}"), &["a::b::c"]), ["line 8: A-01 is absent and names a test"]);
    }

    #[test]
    fn every_listed_row_is_there_once_and_can_be_read() {
        assert_eq!(faults(OTHERS, &[]), ["A-01 has no row"]);
        for (row, fault) in [
            ("| A-01 | captures | absent |\n", "line 8: A-01 has 3 cells instead of 4"),
            ("| A-01 | captures | done | |\n", "line 8: A-01: \"done\" is none of works, partly, absent"),
            ("| A-01 | | absent | |\n", "line 8: A-01 does not say what it does"),
        ] {
            assert_eq!(faults(&format!("{row}{OTHERS}"), &[]), [fault]);
        }
        let twice = "| A-01 | x | absent | |\n| A-01 | x | absent | |\n| C-09 | y | absent | |\n";
        assert_eq!(
            faults(&format!("{twice}{OTHERS}"), &[]),
            ["line 9: A-01 is on line 8 already", "line 10: C-09 is not in the list of rows"]
        );
    }

    #[test]
    fn a_list_that_cannot_be_read_is_a_fault() {
        let ledger = Ledger::parse("```rows\nA-01..B-02 A-3 A-05..A-04 A-01\n```\n| A-01 | x | absent | |\n");
        let faults: Vec<_> = ledger.faults(&BTreeSet::new()).iter().map(ToString::to_string).collect();
        let fault = |item| format!("line 2: {item} is no ID and no range of IDs");
        assert_eq!(faults, [fault("A-01..B-02"), fault("A-3"), fault("A-05..A-04")]);
    }

    #[test]
    fn the_list_is_held_against_a_feature_table() {
        let table = ids(
            "| ID | Tier |\n|---|---|\n| A-01 | A |\n| A-02 | B |\nA-09 | x |\n| IST0101 | Error |\n| Z-10 | C |\n",
        );
        assert_eq!(table, BTreeSet::from(["A-01", "A-02", "Z-10"].map(str::to_owned)));
        let differences = Ledger::parse("```rows\nA-01..A-03\n```").differences(&table);
        assert_eq!(
            differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["Z-10 is missing from the list of rows", "A-03 is in the list of rows and in no feature table"]
        );
    }
}
