//! Accepting connections until somebody leaves, without losing whom the kernel has let in. Knows nothing of who they are.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::socket::turn_away;

/// Between two attempts to accept when the first has failed.
const PAUSE: Duration = Duration::from_millis(50);
/// How long handshakes that have begun may take to arrive: more than a round trip within a cluster.
const ARRIVALS: Duration = Duration::from_millis(100);

/// How a listener is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nobody listens in its place: who comes later is refused.
    Alone,
    /// Others of its reuseport group go on listening, and the kernel moves over to them what waits here (see
    /// `Migration` of the eBPF loader, or `net.ipv4.tcp_migrate_req`).
    Succeeded,
}

/// Accepts from `listener`, which is `whose`, and hands each connection to `serve`, until `leaving` resolves. Whoever the
/// kernel has let in by then is still served, here or by those who succeed: nobody who has been told "connected" is reset.
pub async fn accept(
    listener: TcpListener,
    whose: impl fmt::Display,
    leaving: impl Future<Output = Left>,
    serve: impl Fn(TcpStream, SocketAddr),
) {
    let mut failing = false;
    let mut each = |accepted: io::Result<(TcpStream, SocketAddr)>| match accepted {
        Ok((stream, peer)) => {
            failing = false;
            serve(stream, peer);
            true
        }
        // Whoever it was has gone again.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => true,
        Err(error) => {
            if !std::mem::replace(&mut failing, true) {
                warn!(%whose, "connections cannot be accepted: {error}; raise the limit of open files");
            }
            false
        }
    };
    let mut leaving = pin!(leaving);
    let mut pausing = false;
    let left = loop {
        tokio::select! {
            // Out of descriptors or memory: what was accepted must end before more can be.
            () = sleep(PAUSE), if pausing => pausing = false,
            accepted = listener.accept(), if !pausing => pausing = !each(accepted),
            left = &mut leaving => break left,
        }
    };
    if left == Left::Succeeded {
        return;
    }
    if let Err(error) = turn_away(&listener) {
        warn!(%whose, "new connections cannot be turned away: {error}; those of the last moment are reset");
    }
    let last = Instant::now() + ARRIVALS;
    while let Ok(accepted) = timeout_at(last, listener.accept()).await {
        if !each(accepted) {
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::sync::oneshot;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[tokio::test]
    async fn whoever_the_kernel_let_in_before_the_end_is_served() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Rc::new(Cell::new(0));
        let counted = served.clone();
        let accepting = LocalSet::new();
        let accepting = accepting.run_until(async move {
            let (leave, leaving) = oneshot::channel::<()>();
            let leaving = async move { leaving.await.map_or(Left::Alone, |()| Left::Alone) };
            let each = move |_, _| counted.set(counted.get() + 1);
            let accepting = spawn_local(accept(listener, "a test", leaving, each));
            tokio::task::yield_now().await;
            // The kernel lets them in while nobody looks: the end is known before they are.
            let _clients = [(); 3].map(|()| std::net::TcpStream::connect(address).unwrap());
            leave.send(()).unwrap();
            accepting.await
        });
        accepting.await.unwrap();
        assert_eq!(served.get(), 3);
        assert!(TcpStream::connect(address).await.is_err());
    }
}
