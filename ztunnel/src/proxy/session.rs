//! The life of one connection once it is decided: dial, answer the caller, relay, record. The same for every path.

use std::future::{Future, poll_fn};
use std::pin::pin;

use ambit_hbone::server::Incoming;
use ambit_hbone::{ConnectResponse, StreamSink, StreamSource};
use ambit_model::Reason;
use ambit_net::relay::relay;
use ambit_net::stream::{ByteSink, ByteSource};
use ambit_net::tcp::{TcpHalves, TcpSink, TcpSource};

use super::failure::{self, Failure};
use super::record::Lives;

/// Who asked for a connection, before it is known whether it can be had.
pub(crate) trait Caller {
    /// Its receiving half.
    type Source: ByteSource;
    /// Its sending half.
    type Sink: ByteSink;

    /// Whether it has to be told of a refusal before it believes to be connected, so that the far end has to agree first.
    const WAITS: bool = false;

    /// Resolves if the caller gives up waiting.
    fn gave_up(&mut self) -> impl Future<Output = Failure>;
    /// Tells the caller that it is connected.
    fn accept(self) -> impl Future<Output = Result<(Self::Source, Self::Sink), Failure>>;
    /// What tells the caller why it is about to be reset, as far as its protocol can.
    fn telling(_: &Self::Sink) -> impl FnOnce(Reason) + use<Self> {
        |_| {}
    }
    /// Tells the caller that it is not, and why as far as its protocol can.
    fn refuse(self, why: &Failure);
}

/// An application on a captured connection believes to be connected already, so refusing it is a reset.
impl Caller for TcpHalves {
    type Source = TcpSource;
    type Sink = TcpSink;

    async fn gave_up(&mut self) -> Failure {
        let error = poll_fn(|cx| self.1.poll_broken(cx)).await;
        Failure::of_abort(Reason::ResetByClient, &error)
    }

    async fn accept(self) -> Result<Self, Failure> {
        Ok(self)
    }

    fn refuse(mut self, _: &Failure) {
        self.1.reset();
    }
}

/// A peer's proxy that waits for the answer to its CONNECT.
pub(crate) struct Asking {
    /// Its request.
    pub(crate) incoming: Incoming,
    /// What it is told along with a 200.
    pub(crate) answer: ConnectResponse,
}

impl Caller for Asking {
    type Source = StreamSource;
    type Sink = StreamSink;

    async fn gave_up(&mut self) -> Failure {
        let error = poll_fn(|cx| self.incoming.poll_broken(cx)).await;
        Failure::of_stream(Reason::ResetByClient, &error)
    }

    async fn accept(self) -> Result<(StreamSource, StreamSink), Failure> {
        Ok(self.incoming.accept(&self.answer)?)
    }

    fn telling(sink: &StreamSink) -> impl FnOnce(Reason) + use<> {
        let code = sink.reset_code();
        move |reason| code.set(failure::code_of(reason))
    }

    fn refuse(self, why: &Failure) {
        self.incoming.refuse_by(why.reason.status(), Some(why.reason.code()), why.policy.as_ref());
    }
}

/// Dials, answers `caller`, relays until both ends have ended and records what came of it. `cut` ends it early.
pub(crate) async fn run<C: Caller, S: ByteSource, K: ByteSink>(
    mut caller: C,
    dial: impl Future<Output = Result<(S, K), Failure>>,
    cut: impl Future<Output: Into<Failure>>,
    lives: Lives,
) {
    let mut cut = pin!(cut);
    let dialled = tokio::select! {
        biased;
        why = &mut cut => Err(why.into()),
        dialled = dial => dialled,
        failure = caller.gave_up() => Err(failure),
    };
    let server = match dialled {
        Ok(server) => server,
        Err(failure) => {
            caller.refuse(&failure);
            return lives.close(Err(failure));
        }
    };
    let client = match caller.accept().await {
        Ok(client) => client,
        Err(failure) => {
            let (_, mut sink) = server;
            sink.reset();
            return lives.close(Err(failure));
        }
    };
    let tell = C::telling(&client.1);
    let told = async {
        let why: Failure = cut.await.into();
        // Before the relay is dropped, which resets what it relays.
        tell(why.reason);
        why
    };
    let outcome = tokio::select! {
        biased;
        // First: what is cut may break in more ways than one at the same moment, and this is why.
        why = told => Err(why),
        closed = relay(client, server, lives.traffic()) => Failure::of_relay(&closed),
    };
    lives.close(outcome);
}

/// Refuses `caller` and records why.
pub(crate) fn refuse(caller: impl Caller, why: impl Into<Failure>, lives: Lives) {
    let why = why.into();
    caller.refuse(&why);
    lives.close(Err(why));
}
