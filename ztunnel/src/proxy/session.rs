//! The life of one connection once it is decided: dial, answer the caller, relay, record. The same for every path.

use std::future::{Future, poll_fn};
use std::pin::pin;

use ambit_hbone::server::Incoming;
use ambit_hbone::{ConnectResponse, Error, StreamSink, StreamSource};
use ambit_model::Reason;
use ambit_net::relay::relay;
use ambit_net::stream::{ByteSink, ByteSource};
use ambit_net::tcp::{TcpHalves, TcpSink, TcpSource};

use super::begun::{Begun, Stop};
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
    /// The caller as it was before it was told anything.
    ///
    /// # Errors
    /// Its halves, if it has been told that it is connected.
    fn again(halves: (Self::Source, Self::Sink)) -> Result<Self, (Self::Source, Self::Sink)>
    where
        Self: Sized,
    {
        Err(halves)
    }
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

    fn again(halves: Self) -> Result<Self, Self> {
        Ok(halves)
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

/// The far end of a connection, once there is a way to it.
pub(crate) trait Server: ByteSource {
    /// Resolves when it is known whether it takes the connection.
    fn agreed(&mut self) -> impl Future<Output = Result<(), Stop>>;
}

/// Who is connected has agreed.
impl Server for TcpSource {
    async fn agreed(&mut self) -> Result<(), Stop> {
        Ok(())
    }
}

impl Server for StreamSource {
    async fn agreed(&mut self) -> Result<(), Stop> {
        let answered = self.answer().await;
        answered.map(drop).map_err(|error| {
            let nobody_has_heard = matches!(error, Error::Refused { .. } | Error::NotProcessed { .. });
            let stop = if nobody_has_heard { Stop::Unheard } else { Stop::Ended };
            stop(error.into())
        })
    }
}

/// A caller for whom nobody could be reached, and nobody has heard what he said.
pub(crate) struct Unserved<C> {
    begun: Begun<C>,
    why: Failure,
    lives: Lives,
}

impl<C: Caller> Unserved<C> {
    /// Why.
    pub(crate) const fn reason(&self) -> Reason {
        self.why.reason
    }

    /// Records the attempt, after which `next` is asked.
    pub(crate) fn again(self, next: &str) -> Begun<C> {
        let Self { begun, mut why, lives } = self;
        why.detail = format!("{}{}{next} is asked", why.detail, if why.detail.is_empty() { "" } else { "; " });
        lives.close(Err(why));
        begun
    }

    /// Tells the caller, and records it.
    pub(crate) fn refuse(self) {
        refuse(self.begun.caller, self.why, self.lives);
    }
}

/// Dials, answers `caller`, relays until both ends have ended and records what came of it. `cut` ends it early.
pub(crate) async fn run<C: Caller, S: Server, K: ByteSink>(
    caller: C,
    dial: impl Future<Output = Result<(S, K), Failure>>,
    cut: impl Future<Output: Into<Failure>>,
    lives: Lives,
) {
    if let Some(unserved) = attempt(caller.into(), dial, cut, lives).await {
        unserved.refuse();
    }
}

/// The same, but that a caller who could not be served comes back: he may be served elsewhere.
pub(crate) async fn attempt<C: Caller, S: Server, K: ByteSink>(
    begun: Begun<C>,
    dial: impl Future<Output = Result<(S, K), Failure>>,
    cut: impl Future<Output: Into<Failure>>,
    lives: Lives,
) -> Option<Unserved<C>> {
    let Begun { mut caller, mut said } = begun;
    let mut cut = pin!(cut);
    let dialled = tokio::select! {
        biased;
        why = &mut cut => Err(Stop::Ended(why.into())),
        dialled = dial => dialled.map_err(Stop::Unheard),
        failure = caller.gave_up() => Err(Stop::Ended(failure)),
    };
    let mut server = match dialled {
        Ok(server) => server,
        Err(Stop::Unheard(why)) => return Some(Unserved { begun: Begun { caller, said }, why, lives }),
        Err(Stop::Ended(why)) => {
            refuse(caller, why, lives);
            return None;
        }
    };
    let mut client = match caller.accept().await {
        Ok(client) => client,
        Err(failure) => {
            server.1.reset();
            lives.close(Err(failure));
            return None;
        }
    };
    let tell = C::telling(&client.1);
    let mut told = pin!(async {
        let why: Failure = cut.await.into();
        // Before the relay is dropped, which resets what it relays.
        tell(why.reason);
        why
    });
    let agreed = tokio::select! {
        biased;
        why = &mut told => Err(Stop::Ended(why)),
        agreed = said.until_agreed(&mut client, &mut server) => agreed,
    };
    let why = match agreed {
        Ok(()) => {
            let relayed = relay(client, server, lives.traffic()).beginning_with(said.unsent(lives.traffic()));
            let outcome = tokio::select! {
                biased;
                // First: what is cut may break in more ways than one at the same moment, and this is why.
                why = told => Err(why),
                closed = relayed => Failure::of_relay(&closed),
            };
            lives.close(outcome);
            return None;
        }
        Err(Stop::Unheard(why)) => match C::again(client) {
            Ok(caller) => return Some(Unserved { begun: Begun { caller, said }, why, lives }),
            Err((_, mut sink)) => {
                sink.reset();
                why
            }
        },
        Err(Stop::Ended(why)) => {
            client.1.reset();
            why
        }
    };
    server.1.reset();
    lives.close(Err(why));
    None
}

/// Refuses `caller` and records why.
pub(crate) fn refuse(caller: impl Caller, why: impl Into<Failure>, lives: Lives) {
    let why = why.into();
    caller.refuse(&why);
    lives.close(Err(why));
}
