//! A real process in a pod or on a node: started in its network namespace and cgroup, its output kept and awaited line
//! by line, killed on drop.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

use crate::place::Place;
use crate::until;

/// How many lines are shown of a process when its test fails.
const SHOWN: usize = 40;

/// How processes are started in their places.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program that enters a place and becomes another there.
    pub testapp: PathBuf,
    /// Where their output goes, a file for each, so that they can outlive this process; `None` for pipes.
    pub logs: Option<PathBuf>,
}

impl Launcher {
    /// Starts `testapp` with `arguments` in `place`; `of` names the place in messages.
    pub(crate) fn testapp_in(&self, place: &Place, of: &str, arguments: &[&str]) -> anyhow::Result<Process> {
        let mut command = Command::new(&self.testapp);
        command.args(arguments);
        let label = format!("{of}/{}", arguments.first().copied().unwrap_or("testapp"));
        Process::start(&label, place, self, command)
    }
}

/// A running process; it is killed on drop, and shows its last lines when a test is failing.
#[derive(Debug)]
pub struct Process {
    label: String,
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    status: Option<ExitStatus>,
    detached: bool,
}

#[derive(Debug, Default)]
struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct OutputState {
    lines: Vec<Line>,
    open: usize,
}

/// A line that a process wrote.
#[derive(Clone, Debug)]
pub struct Line {
    /// The line, without its end.
    pub text: String,
    /// True if it came on stderr.
    pub is_error: bool,
    /// When it was read.
    pub at: Instant,
}

impl Process {
    /// Starts `command` in `place`; `label` names it in messages.
    ///
    /// # Errors
    /// When it cannot be started. A program that does not exist shows as an exit with status 1.
    pub fn start(label: &str, place: &Place, launcher: &Launcher, command: Command) -> anyhow::Result<Self> {
        let mut entered = Command::new(&launcher.testapp);
        entered.arg("enter").arg("--net").arg(&place.netns).arg("--cgroup").arg(&place.cgroup).arg("--");
        entered.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entered.env(name, value),
                None => entered.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            entered.current_dir(directory);
        }
        // A group of its own: an interrupt from the terminal is for this process, which then ends the others in order.
        entered.process_group(0).stdin(Stdio::piped());
        let output = Arc::new(Output::default());
        let started = || format!("cannot start {label}");
        let (child, readers) = match &launcher.logs {
            None => {
                let mut child = entered.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(started)?;
                let stdout = child.stdout.take().context("no stdout")?;
                let stderr = child.stderr.take().context("no stderr")?;
                (child, vec![read(&output, stdout, false), read(&output, stderr, true)])
            }
            Some(directory) => {
                let name = label.replace('/', ".");
                let (out, err) = (log(directory, &name, "log")?, log(directory, &name, "err")?);
                let child = entered.stdout(out.0).stderr(err.0).spawn().with_context(started)?;
                let pid = child.id();
                let follow = |file, is_error| read(&output, Tail { file, pid }, is_error);
                (child, vec![follow(out.1, false), follow(err.1, true)])
            }
        };
        Ok(Self { label: label.to_owned(), child, output, readers, status: None, detached: false })
    }

    /// Its name in messages.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `text`, among those written already and those to come.
    ///
    /// # Errors
    /// When `timeout` passes or the process ends without such a line; the message shows what it wrote instead.
    pub fn wait_line(&self, text: &str, timeout: Duration) -> anyhow::Result<Line> {
        self.wait_line_after(0, text, timeout)
    }

    /// As [`Process::wait_line`], passing over the first `mark` lines.
    ///
    /// # Errors
    /// As [`Process::wait_line`].
    pub fn wait_line_after(&self, mark: usize, text: &str, timeout: Duration) -> anyhow::Result<Line> {
        let found =
            self.wait_for(timeout, |lines| lines.iter().skip(mark).find(|line| line.text.contains(text)).cloned());
        found.with_context(|| format!("{}: no line with {text:?} within {timeout:?}\n{}", self.label, self.tail()))
    }

    /// Waits until `found` finds what it looks for in the lines written so far; `None` when `timeout` passes or the
    /// process has ended without it.
    pub fn wait_for<T>(&self, timeout: Duration, found: impl Fn(&[Line]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.output.lock();
        loop {
            if let Some(found) = found(&state.lines) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.open == 0 || left.is_zero() {
                return None;
            }
            state = self.output.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many lines it has written: what comes after is new.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.output.lock().lines.len()
    }

    /// The lines written so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.output.lock().lines.clone()
    }

    /// Its last lines, for a message.
    #[must_use]
    pub fn tail(&self) -> String {
        let state = self.output.lock();
        let mut text = format!("--- {} ({} lines)\n", self.label, state.lines.len());
        for line in state.lines.iter().skip(state.lines.len().saturating_sub(SHOWN)) {
            let mark = if line.is_error { "!" } else { " " };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {mark} {}", line.text);
        }
        text
    }

    /// Writes a line to its stdin.
    ///
    /// # Errors
    /// When it has closed its stdin or ended.
    pub fn write_line(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().with_context(|| format!("{}: stdin is closed", self.label))?;
        writeln!(stdin, "{line}").with_context(|| format!("{} takes no input\n{}", self.label, self.tail()))
    }

    /// Sends it `signal`.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot signal {}", self.label))
    }

    /// Asks it to stop (SIGTERM), waits, and returns how it ended and all of its lines.
    ///
    /// # Errors
    /// When it does not end within `timeout`.
    pub fn stop(mut self, timeout: Duration) -> anyhow::Result<Finished> {
        if self.status()?.is_none() {
            self.signal(Signal::SIGTERM)?;
        }
        self.finish(timeout)
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not end within `timeout`.
    pub fn finish(mut self, timeout: Duration) -> anyhow::Result<Finished> {
        let ended = self.wait_for_end(timeout);
        let Some(status) = ended? else {
            bail!("{} still runs after {timeout:?}\n{}", self.label, self.tail());
        };
        for reader in self.readers.drain(..) {
            // A reader cannot panic; what it has read is kept either way.
            let _ = reader.join();
        }
        Ok(Finished { label: self.label.clone(), status, lines: self.lines(), tail: self.tail() })
    }

    /// Waits until it ends by itself with success and reads the last line of its stdout as JSON.
    ///
    /// # Errors
    /// When it does not end in time, fails, or its last line is not such a value.
    pub fn report<T: DeserializeOwned>(self, timeout: Duration) -> anyhow::Result<T> {
        self.finish(timeout)?.report()
    }

    /// Lets it run on when this value is dropped.
    pub fn detach(mut self) {
        self.detached = true;
    }

    fn wait_for_end(&mut self, timeout: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + timeout;
        // Its pipes close when it and its children end, so their end is what to wait for; the status follows at once.
        self.wait_for(timeout, |_| None::<()>);
        let mut status = Ok(None);
        let _ = until(deadline.saturating_duration_since(Instant::now()), || {
            status = self.status();
            !matches!(status, Ok(None))
        });
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show(&self.tail());
        }
        if self.detached || self.status.is_some() {
            return;
        }
        // It may have ended in the meantime, which is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended and what it wrote.
#[derive(Debug)]
pub struct Finished {
    label: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Everything that it wrote.
    pub lines: Vec<Line>,
    tail: String,
}

impl Finished {
    /// Itself, if it ended with success.
    ///
    /// # Errors
    /// When it did not; the message shows its last lines.
    pub fn success(self) -> anyhow::Result<Self> {
        if !self.status.success() {
            bail!("{} ended with {}\n{}", self.label, self.status, self.tail);
        }
        Ok(self)
    }

    /// Everything that it wrote to stdout.
    #[must_use]
    pub fn stdout(&self) -> String {
        let lines = self.lines.iter().filter(|line| !line.is_error);
        lines.map(|line| format!("{}\n", line.text)).collect()
    }

    /// The last line of stdout as JSON, if it ended with success.
    ///
    /// # Errors
    /// When it did not, or the line is not such a value.
    pub fn report<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        let this = self.success()?;
        let last = this.lines.iter().rfind(|line| !line.is_error);
        let line = last.with_context(|| format!("{} printed no report\n{}", this.label, this.tail))?;
        serde_json::from_str(&line.text).with_context(|| format!("{}: no report: {}", this.label, line.text))
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(output: &Arc<Output>, from: impl Read + Send + 'static, is_error: bool) -> JoinHandle<()> {
    output.lock().open += 1;
    let output = output.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { break };
            let text = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            output.lock().lines.push(Line { text, is_error, at: Instant::now() });
            output.changed.notify_all();
        }
        output.lock().open -= 1;
        output.changed.notify_all();
    })
}

/// True if the process `pid` runs: a zombie, which has ended and has not been waited for, does not.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// A file to write a log to, and the same to read it from.
fn log(directory: &Path, name: &str, kind: &str) -> anyhow::Result<(File, File)> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(format!("{name}.{kind}"));
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    let mut reader = File::open(&path)?;
    std::io::Seek::seek(&mut reader, std::io::SeekFrom::End(0))?;
    Ok((file, reader))
}

/// Reads a file that a process writes, to its end once the process has ended.
struct Tail {
    file: File,
    pid: u32,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut length = Ok(0);
        let _ = until(Duration::MAX, || {
            let was_alive = is_alive(self.pid);
            length = self.file.read(buffer);
            !was_alive || !matches!(length, Ok(0))
        });
        length
    }
}

#[allow(clippy::print_stderr, reason = "a failing test shows what its processes wrote")]
fn show(text: &str) {
    eprint!("{text}");
}
