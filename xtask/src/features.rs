//! `cargo xtask features`: holds the ledger docs/features.md against the tests that there are. What is said to work
//! must name a test that proves it, and the test must exist.

mod ledger;
mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::workspace::Metadata;
use ledger::{Ledger, State};

/// Arguments of `cargo xtask features`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fail if a row is missing, or claims to work without naming a test that exists.
    #[arg(long)]
    check: bool,

    /// A feature table whose row IDs the ledger must have; left out if there is no such file.
    #[arg(long, value_name = "FILE", default_value = "../shared/features.md")]
    against: PathBuf,
}

/// Prints what works and what is open, and with `--check` what the ledger claims wrongly.
///
/// # Errors
/// With `--check`, when the ledger claims something wrongly; always when it cannot be read.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let metadata = Metadata::read()?;
    let path = metadata.workspace_root.join("docs/features.md");
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let ledger = Ledger::parse(&text);
    if !args.check {
        print!("{}", report(&ledger));
        return Ok(());
    }
    let mut faults = ledger.faults(&sources::tests(&metadata)?);
    if let Ok(table) = fs::read_to_string(metadata.workspace_root.join(&args.against)) {
        faults.extend(ledger.differences(&ledger::ids(&table)));
    }
    for fault in &faults {
        eprintln!("docs/features.md: {fault}");
    }
    println!("{}", counts("all", &ledger.rows.iter().collect::<Vec<_>>()));
    match faults.len() {
        0 => Ok(()),
        1 => bail!("the ledger has a fault"),
        many => bail!("the ledger has {many} faults"),
    }
}

/// A line of counts for each section, and the rows that do not work yet.
fn report(ledger: &Ledger) -> String {
    let mut text = String::new();
    let sections: BTreeSet<_> = ledger.rows.iter().map(|row| row.section()).collect();
    for section in sections {
        let rows: Vec<_> = ledger.rows.iter().filter(|row| row.section() == section).collect();
        text.push_str(&counts(section, &rows));
        text.push('\n');
    }
    text.push_str(&counts("all", &ledger.rows.iter().collect::<Vec<_>>()));
    text.push('\n');
    for row in ledger.rows.iter().filter(|row| row.state != State::Works) {
        text.push_str(&format!("{:<5} {:<7} {}\n", row.id, row.state, row.what));
    }
    text
}

fn counts(section: &str, rows: &[&ledger::Row]) -> String {
    let of = |state| rows.iter().filter(|row| row.state == state).count();
    let (works, partly, absent) = (of(State::Works), of(State::Partly), of(State::Absent));
    format!("{section:<4} {works:>3} work  {partly:>3} partly  {absent:>3} absent  of {}", rows.len())
}
