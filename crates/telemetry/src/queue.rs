//! The way from the workers to the logs: a bounded queue, and one thread that formats and writes. A worker never waits
//! for a log: what does not fit is dropped and counted.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::access::{Logged, Record};
use crate::line::Form;

/// How much text is gathered before it is written.
const BATCH: usize = 64 * 1024;

/// How long the thread rests after it has emptied the queue. A worker that adds to the queue meanwhile does not have to
/// wake anybody, which is most of what a line would cost it.
const REST: Duration = Duration::from_millis(10);

/// How long a process that ends waits for its last lines to be written: whoever reads them may have stopped reading.
const PATIENCE: Duration = Duration::from_secs(1);

/// What workers put into the queue.
pub(crate) enum Item {
    /// A connection's record, to be formatted.
    Record(Box<Record>),
    /// A request's record, to be formatted.
    Request(Box<Logged>),
    /// A line of the process's own log, ready.
    Line(String),
    /// Answer once everything before it is written.
    Flush(SyncSender<()>),
    /// Write what is there and end.
    End,
}

/// The end of the queue at which lines go in.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    sender: SyncSender<Item>,
    dropped: Arc<Dropped>,
}

#[derive(Debug, Default)]
struct Dropped {
    records: AtomicU64,
    lines: AtomicU64,
}

impl Queue {
    /// Starts the thread that writes to `sink` in the given form; `capacity` is in lines.
    pub(crate) fn start(sink: Box<dyn Write + Send>, form: Form, capacity: usize) -> std::io::Result<(Self, Writer)> {
        let (sender, receiver) = sync_channel(capacity);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || run(&receiver, sink, form))?;
        Ok((Self { sender: sender.clone(), dropped: Arc::default() }, Writer { sender, thread: Some(thread) }))
    }

    /// Adds `item`, or drops it where the queue is full.
    pub(crate) fn offer(&self, item: Item) {
        let counter = match &item {
            Item::Record(_) | Item::Request(_) => &self.dropped.records,
            Item::Line(_) | Item::Flush(_) | Item::End => &self.dropped.lines,
        };
        if self.sender.try_send(item).is_err() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Access-log records dropped so far.
    pub(crate) fn dropped_records(&self) -> u64 {
        self.dropped.records.load(Ordering::Relaxed)
    }

    /// Lines of the process's own log dropped so far.
    pub(crate) fn dropped_lines(&self) -> u64 {
        self.dropped.lines.load(Ordering::Relaxed)
    }
}

/// The thread that writes. Dropping it writes what is queued and ends the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    sender: SyncSender<Item>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Waits until everything queued so far has been written, but not for ever.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.order(Item::Flush(done)) {
            let _ = written.recv_timeout(PATIENCE);
        }
    }

    /// Queues `item` as soon as there is room; false if there is none for too long, or nobody who would read it.
    fn order(&self, mut item: Item) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            item = match self.sender.try_send(item) {
                Ok(()) => return true,
                Err(TrySendError::Full(item)) if Instant::now() < deadline => item,
                Err(_) => return false,
            };
            std::thread::sleep(REST);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
        if let (true, Some(thread)) = (self.order(Item::End), self.thread.take()) {
            let deadline = Instant::now() + PATIENCE;
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(REST / 10);
            }
        }
    }
}

fn run(queue: &Receiver<Item>, mut sink: Box<dyn Write + Send>, form: Form) {
    let mut text = String::new();
    let mut waiting = Vec::new();
    let mut ended = false;
    while !ended {
        let Ok(first) = queue.recv() else { return };
        let mut next = Ok(first);
        while let Ok(item) = next {
            match item {
                Item::Record(record) => record.write(&mut text, form),
                Item::Request(logged) => logged.write(&mut text, form),
                Item::Line(line) => text.push_str(&line),
                Item::Flush(done) => waiting.push(done),
                Item::End => ended = true,
            }
            next = if ended || text.len() >= BATCH { Err(TryRecvError::Empty) } else { queue.try_recv() };
        }
        // A log that cannot be written has nowhere to say so; the next lines are tried again.
        let _ = sink.write_all(text.as_bytes()).and_then(|()| sink.flush());
        let full = text.len() >= BATCH;
        text.clear();
        text.shrink_to(BATCH);
        let rest = waiting.is_empty() && !full && !ended;
        waiting.drain(..).for_each(|done: SyncSender<()>| {
            let _ = done.send(());
        });
        if rest {
            std::thread::sleep(REST);
        }
    }
}

#[cfg(test)]
mod tests;
