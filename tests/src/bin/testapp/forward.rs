//! Takes connections where it was started and dials each on from another network namespace.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use nix::sched::{CloneFlags, setns};
use tokio::net::{TcpListener, TcpStream};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to take connections; with port 0 it is told which one was free.
    #[arg(long)]
    listen: SocketAddr,
    /// The file that stands for the network namespace to dial from.
    #[arg(long)]
    net: PathBuf,
    /// Where to dial.
    #[arg(long)]
    to: SocketAddr,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let listener =
        std::net::TcpListener::bind(args.listen).with_context(|| format!("cannot listen at {}", args.listen))?;
    listener.set_nonblocking(true)?;
    let netns = File::open(&args.net).with_context(|| format!("cannot open {}", args.net.display()))?;
    // The listener stays where it was made; what is opened from here on is opened there.
    setns(netns, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", args.net.display()))?;
    println!("listening at {}", listener.local_addr()?);
    super::block_on(serve(listener, args.to))
}

async fn serve(listener: std::net::TcpListener, to: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (mut near, _) = listener.accept().await?;
        tokio::task::spawn_local(async move {
            // Who cannot be dialled refuses by closing, and either end may break: neither concerns the next connection.
            if let Ok(mut far) = TcpStream::connect(to).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
