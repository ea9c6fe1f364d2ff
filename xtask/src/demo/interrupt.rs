//! Ctrl-C in the middle of the demo: what has been made in the kernel is removed before the process ends.

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};

/// Runs `clean_up` and ends the process when it is interrupted or told to stop. To be called before other threads
/// start, which inherit that they leave these signals alone.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn clean_up_on(clean_up: fn()) -> anyhow::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("signals cannot be blocked")?;
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            eprintln!("\ninterrupted: cleaning up");
            clean_up();
            // As a shell reports a process that SIGINT has ended.
            std::process::exit(130);
        }
    });
    Ok(())
}
