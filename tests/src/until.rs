//! Waiting for what can be asked but does not tell.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::process::{self, Process};

/// How long a program under test may take to be ready.
pub const READY: Duration = Duration::from_secs(20);
/// The longest pause between two questions; the first is a millisecond, each further one twice as long.
const PAUSE: Duration = Duration::from_millis(16);

/// Asks `holds` again and again until it is true.
///
/// # Errors
/// When it is not within `timeout`, which is returned.
pub fn until(timeout: Duration, mut holds: impl FnMut() -> bool) -> Result<(), Duration> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !holds() {
        if begun.elapsed() > timeout {
            return Err(timeout);
        }
        // The one poll of the harness. An HTTP page, a table of the kernel, a file that grows, a child whose output
        // is closed, what a client finds: none of them says when it changes, or only where one has to ask whether it
        // does. What a process writes is no such thing: `Process::wait_for` wakes up for it.
        std::thread::park_timeout(pause);
        pause = PAUSE.min(2 * pause);
    }
    Ok(())
}

/// Waits until `process` is ready: its probe, `is_ready`, is all that says so.
///
/// # Errors
/// When it is not within [`READY`], or has ended; the message shows what it wrote.
pub fn await_ready(process: &Process, is_ready: impl Fn() -> bool) -> anyhow::Result<()> {
    await_ready_within(READY, process, is_ready)
}

/// The same of what may take longer, or less long.
///
/// # Errors
/// When it is not within `timeout`, or has ended; the message shows what it wrote.
pub(crate) fn await_ready_within(
    timeout: Duration,
    process: &Process,
    is_ready: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let mut ended = false;
    let ready = until(timeout, || {
        ended = !process::is_alive(process.pid());
        ended || is_ready()
    });
    if ended {
        // Until all that it has written is read, too.
        process.wait_for(READY, |_| None::<()>);
    }
    ensure!(!ended, "{} ended\n{}", process.label(), process.tail());
    ensure!(ready.is_ok(), "{} is not ready after {timeout:?}\n{}", process.label(), process.tail());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_until_it_is_so_and_no_longer_than_it_may() {
        let mut asked = 0;
        let third = until(READY, || {
            asked += 1;
            asked == 3
        });
        assert_eq!((third, asked), (Ok(()), 3));
        assert_eq!(until(Duration::ZERO, || false), Err(Duration::ZERO));
    }
}
