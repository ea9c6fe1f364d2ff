//! What this process holds of memory, by `/proc`.

use std::fs;

/// KiB of memory now.
pub(crate) fn resident() -> u64 {
    status("VmRSS:")
}

/// KiB of memory at most so far.
pub(crate) fn peak() -> u64 {
    status("VmHWM:")
}

fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}
