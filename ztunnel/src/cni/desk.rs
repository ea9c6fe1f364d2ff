//! The agent's side of the plugin's questions: takes them at a socket, hands them to the node's loop and sends back what
//! that says. It decides nothing.

use std::io;
use std::path::Path;
use std::time::Duration;

use ambit_process::unix;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

use super::ask::{Ask, LONGEST, Reply};

/// How long a plugin may take to say what it wants.
const SAID: Duration = Duration::from_secs(5);
/// How many questions wait at once; further plugins wait to ask.
const WAITING: usize = 256;

/// A question that waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What is asked.
    pub(crate) ask: Ask,
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// Where plugins ask.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    asked: mpsc::Sender<Asked>,
}

impl Desk {
    /// A desk that is not open yet, and where the questions will come out.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (asked, questions) = mpsc::channel(WAITING);
        (Self { asked }, questions)
    }

    /// Listens at `socket`, in the place of whoever did, until nobody answers questions any more.
    ///
    /// # Errors
    /// The system's, if it cannot be listened there.
    pub(crate) async fn serve(self, socket: &Path) -> io::Result<()> {
        // Whoever asks is believed: only root may.
        let listener = unix::listen(socket)?;
        while !self.asked.is_closed() {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let asked = self.asked.clone();
                    tokio::task::spawn_local(async move {
                        if let Err(error) = answer(stream, &asked).await {
                            debug!("a plugin's question was not answered: {error}");
                        }
                    });
                }
                Err(error) => {
                    debug!("no plugin can ask: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        Ok(())
    }
}

async fn answer(stream: UnixStream, asked: &mpsc::Sender<Asked>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    timeout(SAID, BufReader::new(read.take(LONGEST)).read_line(&mut line)).await??;
    let ask: Ask = serde_json::from_str(&line)?;
    let (reply, said) = oneshot::channel();
    asked.send(Asked { ask, reply }).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
    // If the loop ends first, so does the connection, and the plugin takes the agent for away.
    let said = said.await.map_err(|_| io::ErrorKind::BrokenPipe)?;
    let mut line = serde_json::to_vec(&said)?;
    line.push(b'\n');
    write.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::ask::About;

    #[tokio::test]
    async fn a_question_is_answered_by_the_loop_or_by_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/cni.sock");
        let ask = Ask {
            about: About::Add,
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: "6e3f9f52-8ab1-4c0e-9d7a-0123456789ab".parse().ok(),
            container: "c1".to_owned(),
            netns: Some("/run/netns/x".into()),
        };
        let put = |ask: &Ask| {
            let (ask, socket) = (ask.clone(), socket.clone());
            tokio::task::spawn_blocking(move || ask.put(&socket, Duration::from_secs(20)))
        };
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let (desk, mut questions) = Desk::new();
                let at = socket.clone();
                tokio::task::spawn_local(async move { desk.serve(&at).await });
                // It listens as soon as the task has begun.
                tokio::task::yield_now().await;
                let asking = put(&ask);
                let Asked { ask: heard, reply } = questions.recv().await.unwrap();
                assert_eq!(heard, ask);
                reply.send(Reply::Waits("why".to_owned())).unwrap();
                assert_eq!(asking.await.unwrap().unwrap(), Reply::Waits("why".to_owned()));

                let asking = put(&ask);
                drop(questions.recv().await.unwrap());
                assert_eq!(asking.await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
                // An agent that takes the place of another: whoever asks asks it.
                let (desk, mut others) = Desk::new();
                let at = socket.clone();
                tokio::task::spawn_local(async move { desk.serve(&at).await });
                tokio::task::yield_now().await;
                let asking = put(&ask);
                others.recv().await.unwrap().reply.send(Reply::Captured).unwrap();
                assert_eq!(asking.await.unwrap().unwrap(), Reply::Captured);
                assert!(questions.try_recv().is_err());
            })
            .await;
        drop(local);
        assert_eq!(put(&ask).await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
