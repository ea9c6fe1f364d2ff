//! Workers: threads that share nothing, each with its own single-threaded runtime. Starts them and puts questions to
//! them; knows nothing of what they do.
//!
//! What a worker holds never leaves its thread. Whoever wants to know or change something sends it a closure.

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

use crate::error::Error;

/// Which worker a set-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerContext {
    /// Its number, from 0.
    pub index: usize,
    /// How many there are.
    pub count: NonZeroUsize,
}

type Command<S> = Box<dyn FnOnce(&Rc<S>) + Send>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Called with the thread's name when a worker's thread dies.
pub type OnDeath = Arc<dyn Fn(&str) + Send + Sync>;

/// The workers of a process, each holding an `S`. They stop when this is dropped.
pub struct Workers<S> {
    workers: Vec<Worker<S>>,
}

struct Worker<S> {
    commands: mpsc::UnboundedSender<Command<S>>,
    thread: JoinHandle<()>,
}

impl<S> fmt::Debug for Workers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("count", &self.workers.len()).finish_non_exhaustive()
    }
}

impl<S: 'static> Workers<S> {
    /// Starts `count` workers; `setup` runs in each, within a `LocalRuntime`, and makes what the worker holds. Answers when
    /// all are set up. Should a worker's thread die later, the process exits: half a proxy that looks alive is worse
    /// than one that is started again.
    pub async fn start<F, Fut, E>(count: NonZeroUsize, setup: F) -> Result<Self, Error>
    where
        F: Fn(WorkerContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, E>>,
        E: Into<Failure>,
    {
        Self::start_watched(count, setup, Arc::new(exit)).await
    }

    /// As [`Workers::start`], but calls `on_death` should a worker's thread die.
    pub async fn start_watched<F, Fut, E>(count: NonZeroUsize, setup: F, on_death: OnDeath) -> Result<Self, Error>
    where
        F: Fn(WorkerContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, E>>,
        E: Into<Failure>,
    {
        let setup = Arc::new(setup);
        let mut starting = Vec::new();
        for index in 0..count.get() {
            let (commands, queue) = mpsc::unbounded_channel();
            let (begun, begins) = oneshot::channel();
            let (setup, on_death) = (setup.clone(), on_death.clone());
            let name = format!("worker-{index}");
            let body = move || {
                let vigil = Vigil(Some(on_death));
                run(move || setup(WorkerContext { index, count }), queue, begun);
                vigil.end();
            };
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn(body)
                .map_err(|source| Error::WorkerThread { worker: index, source })?;
            starting.push((Worker { commands, thread }, begins));
        }
        let mut workers = Vec::new();
        for (worker, (started, begins)) in starting.into_iter().enumerate() {
            let begun = begins.await.map_err(|_| Error::NoAnswer { worker })?;
            begun.map_err(|source| Error::WorkerSetup { worker, source })?;
            workers.push(started);
        }
        Ok(Self { workers })
    }

    /// How many workers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Puts `question` to every worker and answers with their answers, in their order. It runs on the worker's thread
    /// between two of its tasks, so it should be brief; it may spawn local tasks.
    pub async fn ask<R, Q>(&self, question: Q) -> Result<Vec<R>, Error>
    where
        R: Send + 'static,
        Q: Fn(&Rc<S>) -> R + Clone + Send + 'static,
    {
        let mut awaited = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (answer, answers) = oneshot::channel();
            let question = question.clone();
            worker.send(Box::new(move |held| {
                // Nobody waits for the answer any more: then it is not needed.
                let _ = answer.send(question(held));
            }));
            awaited.push(answers);
        }
        let mut answers = Vec::with_capacity(awaited.len());
        for (worker, answer) in awaited.into_iter().enumerate() {
            answers.push(answer.await.map_err(|_| Error::NoAnswer { worker })?);
        }
        Ok(answers)
    }

    /// Puts `question` to the worker numbered `index` alone.
    pub async fn ask_one<R, Q>(&self, index: usize, question: Q) -> Result<R, Error>
    where
        R: Send + 'static,
        Q: FnOnce(&Rc<S>) -> R + Send + 'static,
    {
        let (answer, answers) = oneshot::channel();
        let worker = self.workers.get(index).ok_or(Error::NoAnswer { worker: index })?;
        worker.send(Box::new(move |held| {
            let _ = answer.send(question(held));
        }));
        answers.await.map_err(|_| Error::NoAnswer { worker: index })
    }

    /// Has every worker do `order`, without waiting for it.
    pub fn tell<O>(&self, order: O)
    where
        O: Fn(&Rc<S>) + Clone + Send + 'static,
    {
        for worker in &self.workers {
            let order = order.clone();
            worker.send(Box::new(move |held| order(held)));
        }
    }

    /// Stops the workers, drops their tasks and waits for their threads to end.
    pub fn stop(self) {
        let threads: Vec<_> = self.workers.into_iter().map(|worker| worker.thread).collect();
        for thread in threads {
            // A thread that panicked has said so and has had its `on_death`.
            let _ = thread.join();
        }
    }
}

impl<S> Worker<S> {
    fn send(&self, command: Command<S>) {
        // A worker that is gone drops the command, and with it the way back for its answer.
        let _ = self.commands.send(command);
    }
}

/// The body of a worker's thread.
fn run<S, Fut, E>(
    setup: impl FnOnce() -> Fut,
    mut commands: mpsc::UnboundedReceiver<Command<S>>,
    begun: oneshot::Sender<Result<(), Failure>>,
) where
    Fut: Future<Output = Result<S, E>>,
    E: Into<Failure>,
{
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = begun.send(Err(error.into()));
            return;
        }
    };
    // No `LocalSet`: waking one of its tasks from a socket costs a write to an eventfd and a second turn of the loop.
    runtime.block_on(async move {
        let held = match setup().await {
            Ok(held) => Rc::new(held),
            Err(error) => {
                let _ = begun.send(Err(error.into()));
                return;
            }
        };
        if begun.send(Ok(())).is_err() {
            return;
        }
        while let Some(command) = commands.recv().await {
            if catch_unwind(AssertUnwindSafe(|| command(&held))).is_err() {
                tracing::error!("a question to a worker panicked; its connections go on");
            }
        }
    });
}

/// Calls for help unless the thread ends as it should.
struct Vigil(Option<OnDeath>);

impl Vigil {
    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        if let Some(on_death) = &self.0 {
            on_death(std::thread::current().name().unwrap_or("worker"));
        }
    }
}

/// Ends the process with status 70 (EX_SOFTWARE). Writes to stderr itself: the log may not get to it any more.
fn exit(worker: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "the thread {worker} died: the process exits, to be started again");
    std::process::exit(70);
}

#[cfg(test)]
mod tests;
