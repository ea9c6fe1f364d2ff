//! A gateway's door: who comes to one of its ports, what is spoken there, and for which server it is. TLS is ended here, or
//! goes on to where its name leads.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ambit_identity::termination::Client;
use ambit_model::Reason;
use ambit_model::gateway::{Listener, Protocol, Speaks, Tls};
use ambit_net::accept::{self, Left};
use ambit_net::netns::NetNs;
use ambit_net::socket::{self, ListenOptions};
use ambit_net::stream::{ByteSink, ByteSource};
use ambit_net::tcp::{self, TcpSink, TcpSource};
use ambit_transport::Failure;
use bytes::{Bytes, BytesMut};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::Gateway;
use crate::arrival::{Arrival, Door, Secured};
use crate::inbound::http_version;
use crate::io::{Duplex, Prefixed, peek};
use crate::protocol::{Spoken, server_name};
use crate::proxy::Proxy;
use crate::secured::{self, SecuredSink, SecuredSource};
use crate::{http, record, tcp as bytes_of};

/// How long a client may take for its first message of TLS, and then for the rest of the handshake: it may be far away.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// How soon what could not be listened at is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Listens wherever Gateways say, until the process has been stopping for a while.
pub(crate) async fn listen(proxy: Rc<Proxy>) {
    let Some(gateway) = &proxy.shared.gateway else { return };
    let mut listening = gateway.listening.clone();
    // What is dropped is listened at no more.
    let mut open: HashMap<SocketAddr, oneshot::Sender<()>> = HashMap::new();
    let mut failing = HashMap::new();
    let mut first = true;
    loop {
        let is_known = gateway.listening.is_synced();
        let now = gateway.listening.load();
        open.retain(|address, _| now.at(*address).is_some());
        failing.retain(|address, _| now.at(*address).is_some());
        for address in now.addresses() {
            if open.contains_key(&address) {
                continue;
            }
            match at(address) {
                Ok(listener) => {
                    let (opened, closed) = oneshot::channel();
                    spawn_local(accept(proxy.clone(), listener, address, closed));
                    open.insert(address, opened);
                    failing.remove(&address);
                }
                Err(error) => {
                    let text = error.to_string();
                    if failing.insert(address, text.clone()).as_ref() != Some(&text) {
                        tracing::warn!(%address, "this gateway cannot listen there: {text}");
                    }
                }
            }
        }
        if is_known && std::mem::take(&mut first) {
            gateway.opened.add_permits(1);
        }
        tokio::select! {
            changed = listening.changed() => if changed.is_none() { break },
            () = tokio::time::sleep(AGAIN), if !failing.is_empty() => {}
            () = proxy.resting_over() => break,
        }
    }
    // Whoever accepts leaves by himself.
    proxy.resting_over().await;
}

fn at(address: SocketAddr) -> io::Result<TcpListener> {
    let here = NetNs::current()?;
    let any = address.ip().is_unspecified();
    let listen = |address| {
        let options = ListenOptions { dual_stack: any, mark: 0, ..ListenOptions::default() };
        socket::listen(&here, address, &options)
    };
    let listener = match listen(address) {
        // A node without IPv6.
        Err(error) if any && address.is_ipv6() && error.kind() != io::ErrorKind::AddrInUse => {
            listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port())).map_err(|_| error)?
        }
        listened => listened?,
    };
    TcpListener::from_std(listener)
}

/// Serves whoever comes to `listener`, until it is `closed` or the process has been stopping for a while.
async fn accept(proxy: Rc<Proxy>, listener: TcpListener, address: SocketAddr, closed: oneshot::Receiver<()>) {
    let serving = proxy.clone();
    let each = move |stream, peer: SocketAddr| {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let (proxy, guard) = (serving.clone(), serving.guard());
        spawn_local(async move {
            serve(&proxy, stream, peer, address).await;
            drop(guard);
        });
    };
    // What has come by the time of a drain is accepted before it can end.
    let guard = proxy.guard();
    let leaving = async {
        tokio::select! {
            // Load balancers hear late that a gateway stops.
            () = proxy.resting_over() => {}
            // Nobody ever sends.
            _ = closed => {}
        }
        Left::Alone
    };
    accept::accept(listener, address, leaving, each).await;
    drop(guard);
}

/// Serves a connection that has come to `address`.
async fn serve(proxy: &Rc<Proxy>, stream: TcpStream, peer: SocketAddr, address: SocketAddr) {
    // Small answers must not wait for one another; where it cannot be set they do.
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().unwrap_or(address);
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    let Some(gateway) = &proxy.shared.gateway else { return };
    let (source, mut sink) = tcp::split(stream);
    let Some(listener) = gateway.listening.load().at(address).cloned() else { return sink.reset() };
    let guest = Guest { proxy, gateway, peer, local };
    let outcome = match listener.speaks {
        Speaks::Http => guest.http(Door { listener, secured: None }, source, sink).await,
        Speaks::Tcp => guest.bytes(Door { listener, secured: None }, (Prefixed::new(Bytes::new(), source), sink)).await,
        Speaks::Tls => guest.tls(&listener, source, sink).await,
    };
    match outcome {
        Ok(()) => {}
        Err(Ended::Refused(why)) => record::refused(proxy, peer, local, why),
        Err(Ended::Broken(error)) => tracing::debug!(%peer, "a client's connection ended: {error}"),
    }
}

/// Why a connection came to nothing.
enum Ended {
    /// It was refused.
    Refused(Failure),
    /// It broke.
    Broken(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<Failure> for Ended {
    fn from(why: Failure) -> Self {
        Self::Refused(why)
    }
}

/// Who has come.
struct Guest<'a> {
    proxy: &'a Rc<Proxy>,
    gateway: &'a Gateway,
    peer: SocketAddr,
    local: SocketAddr,
}

/// A client's connection that TLS is spoken on.
type Plain = (Prefixed<TcpSource>, TcpSink);
/// What is within it.
type Inside = (SecuredSource<Prefixed<TcpSource>, TcpSink>, SecuredSink<Prefixed<TcpSource>, TcpSink>);

impl Guest<'_> {
    /// The arrival of a connection by `door`.
    fn arrival(&self, door: Door) -> Result<Rc<Arrival>, Failure> {
        let listening = self.gateway.listening.load();
        let pod = listening.pod.as_ref();
        let pod = pod.ok_or_else(|| Failure::new(Reason::UnknownWorkload, self.gateway.pod.to_string()))?;
        Ok(Rc::new(Arrival::at_gateway(pod, door, (self.peer, self.local))))
    }

    /// Requests, in whichever version they come.
    async fn http<S, K>(&self, door: Door, mut source: S, mut sink: K) -> Result<(), Ended>
    where
        S: ByteSource + Unpin + 'static,
        K: ByteSink + Unpin + 'static,
    {
        let arrival = self.arrival(door).inspect_err(|_| sink.reset())?;
        let mut read = BytesMut::new();
        let version = match http_version(self.proxy, &mut source, &mut read).await? {
            Some(Spoken::Http2) => http::Version::Http2,
            Some(_) => http::Version::Http1,
            None => return Ok(()),
        };
        let stream = Duplex::new(Prefixed::new(read.freeze(), source), sink);
        http::serve(self.proxy, arrival, stream, version).await;
        Ok(())
    }

    /// Bytes.
    async fn bytes<S: ByteSource, K: ByteSink>(&self, door: Door, client: (Prefixed<S>, K)) -> Result<(), Ended> {
        let (source, mut sink) = client;
        let arrival = self.arrival(door).inspect_err(|_| sink.reset())?;
        bytes_of::serve(self.proxy, &arrival, (source, sink)).await;
        Ok(())
    }

    /// TLS, for the server of the name that is asked for.
    async fn tls(&self, listener: &Arc<Listener>, mut source: TcpSource, mut sink: TcpSink) -> Result<(), Ended> {
        let mut read = BytesMut::new();
        let Ok(name) = timeout(HANDSHAKE, peek(&mut source, &mut read, server_name)).await else {
            sink.reset();
            return Err(Failure::new(Reason::HandshakeClosed, "no first message of TLS within the time for it").into());
        };
        let name = name?;
        if read.is_empty() {
            // Somebody who looks whether anybody is there.
            return Ok(());
        }
        let Some(served) = listener.by_name(name.as_deref()).cloned() else {
            sink.reset();
            let asked = name.unwrap_or_else(|| "no name".to_owned());
            return Err(Failure::new(Reason::UnknownServerName, asked).into());
        };
        let client = (Prefixed::new(read.freeze(), source), sink);
        let door = |client| Door {
            listener: listener.clone(),
            secured: Some(Secured { name: name.as_deref().map(Arc::from), served: served.clone(), client }),
        };
        match &served.server.protocol {
            Protocol::Https(tls) => {
                let ((source, sink), proved) = self.end(tls, &HTTP, client).await?;
                self.http(door(proved), source, sink).await
            }
            Protocol::Tls(tls) => {
                let ((source, sink), proved) = self.end(tls, &[], client).await?;
                self.bytes(door(proved), (Prefixed::new(Bytes::new(), source), sink)).await
            }
            Protocol::Passthrough | Protocol::Tcp | Protocol::Http { .. } => self.bytes(door(None), client).await,
        }
    }

    /// Ends the TLS of `client` as `tls` says: what is within, and whom the client has proved to be.
    async fn end(
        &self,
        tls: &Arc<Tls>,
        protocols: &[&'static str],
        client: Plain,
    ) -> Result<(Inside, Option<Arc<Client>>), Failure> {
        let (source, mut sink) = client;
        let terminator = match self.gateway.credentials.terminator(tls).await {
            Ok(terminator) => terminator,
            Err(why) => {
                sink.reset();
                return Err(Failure::new(Reason::CredentialUnavailable, why.to_string()));
            }
        };
        let transport = TokioIo::new(Duplex::new(Prefixed::new(Bytes::new(), source), sink));
        let (stream, proved) = terminator.accept(transport, protocols, HANDSHAKE).await?;
        Ok((secured::split(stream), proved.map(Arc::new)))
    }
}

/// What is agreed on within TLS where requests are served.
const HTTP: [&str; 2] = ["h2", "http/1.1"];
