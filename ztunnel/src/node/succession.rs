//! Which agent of a node is in charge of its kernel when there are several, as while one is replaced by another: the newest
//! that can serve. It asks the one before, which goes on serving and is in charge again should the newer one end first.
//! They speak over a socket: `take`, answered by `yours`, and later `complete`; `wait`, never answered. Who is gone closes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_process::unix;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};

/// Asks to be in charge.
const TAKE: u8 = b't';
/// Asks to be told when who is in charge ends: by the end of the connection.
const WAIT: u8 = b'w';
/// Says that the asker may begin.
const YOURS: u8 = b'y';
/// Says that the asker serves every pod.
const COMPLETE: u8 = b'c';

/// How long an agent may take to say what it wants.
const SAID: Duration = Duration::from_secs(1);
/// How long one that is asked may take to step back. One that takes longer does nothing at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of an agent that is in charge.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Another wants to be in charge, and waits until it is told that this one is not any more.
    StepBack(oneshot::Sender<()>),
    /// The other one serves every pod as well.
    Succeeded,
    /// The other one has ended, and this one is in charge again.
    Return,
}

/// Being in charge: at the socket where others ask for it.
#[derive(Debug)]
pub(crate) struct Charge {
    path: PathBuf,
    listener: UnixListener,
    /// Who was in charge, and may be again.
    predecessor: Option<UnixStream>,
}

/// True if an agent is in charge at `path`.
pub(crate) async fn is_taken(path: &Path) -> bool {
    UnixStream::connect(path).await.is_ok()
}

/// Removes what agents have left at `path`, none of which is there any more.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    [path, &path.with_extension("lock")].into_iter().try_for_each(|path| match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

/// Resolves when no agent is in charge at `path`, or another is than was at first.
pub(crate) async fn vacant(path: &Path) {
    if let Ok(mut stream) = UnixStream::connect(path).await {
        let _ = stream.write_all(&[WAIT]).await;
        // Nothing is ever said: it ends, or steps back for another.
        let _ = stream.read_u8().await;
    }
}

/// Reigns with `charge` until nobody takes `turns` any more; without one, nobody else ever does. When `complete` resolves this agent
/// serves every pod.
pub(crate) async fn reign(charge: Option<Charge>, complete: oneshot::Receiver<()>, turns: mpsc::Sender<Turn>) {
    let Some(Charge { path, listener, mut predecessor }) = charge else { return };
    let abdicated = turns.clone();
    let tells = async {
        if let (Some(stream), Ok(())) = (&mut predecessor, complete.await) {
            // It may have ended.
            let _ = stream.write_all(&[COMPLETE]).await;
        }
        // As long as this is open, whoever was in charge before is not again.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = run(&path, listener, turns) => if let Err(error) = ended {
            warn!("this agent cannot be in charge of the node again, should the one after it end: {error}");
        },
        () = tells => {}
        () = abdicated.closed() => {}
    }
}

impl Charge {
    /// In charge at `path`, as soon as whoever is has stepped back.
    ///
    /// # Errors
    /// The system's, of a directory that cannot be written.
    pub(crate) async fn take(path: &Path) -> io::Result<Self> {
        let _alone = lock(path).await?;
        let predecessor = match UnixStream::connect(path).await {
            Ok(mut stream) => {
                info!("another agent is in charge of this node: it is asked to step back");
                let asked = async {
                    stream.write_all(&[TAKE]).await?;
                    stream.read_u8().await
                };
                match timeout(PATIENCE, asked).await {
                    Ok(Ok(YOURS)) => Some(stream),
                    // It has ended.
                    Ok(_) => None,
                    Err(_) => {
                        warn!("it does not answer; it is replaced without");
                        None
                    }
                }
            }
            Err(_) => None,
        };
        Ok(Self { path: path.to_owned(), listener: unix::listen(path)?, predecessor })
    }
}

/// Tells what becomes of the agent that listens at `path`, in charge there, until nobody takes `turns` any more.
async fn run(path: &Path, mut listener: UnixListener, turns: mpsc::Sender<Turn>) -> io::Result<()> {
    loop {
        let mut successor = asked(&listener).await;
        let (stepped_back, done) = oneshot::channel();
        if turns.send(Turn::StepBack(stepped_back)).await.is_err() || done.await.is_err() {
            return Ok(());
        }
        drop(listener);
        info!("another agent is in charge of this node now; what is open here goes on");
        // If it is gone, so is what follows.
        let _ = successor.write_all(&[YOURS]).await;
        while let Ok(COMPLETE) = successor.read_u8().await {
            if turns.send(Turn::Succeeded).await.is_err() {
                return Ok(());
            }
        }
        listener = regain(path).await?;
        info!("that agent has ended: this one is in charge of this node again");
        if turns.send(Turn::Return).await.is_err() {
            return Ok(());
        }
    }
}

/// Who asks to be in charge next. Those who only wait are kept until then.
async fn asked(listener: &UnixListener) -> UnixStream {
    let mut waiting = Vec::new();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of descriptors: what is open must end first.
            tokio::time::sleep(SAID).await;
            continue;
        };
        match timeout(SAID, stream.read_u8()).await {
            Ok(Ok(TAKE)) => return stream,
            Ok(Ok(WAIT)) => waiting.push(stream),
            // It only looked whether anybody is here.
            _ => {}
        }
    }
}

/// In charge at `path` again, as soon as nobody else is.
async fn regain(path: &Path) -> io::Result<UnixListener> {
    loop {
        let alone = lock(path).await?;
        if !is_taken(path).await {
            return unix::listen(path);
        }
        drop(alone);
        vacant(path).await;
    }
}

/// One at a time finds out who is in charge, and is.
async fn lock(path: &Path) -> io::Result<File> {
    let path = path.with_extension("lock");
    let locked = spawn_blocking(move || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    });
    locked.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
