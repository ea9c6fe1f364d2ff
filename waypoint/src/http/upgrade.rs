//! Connections that stop to speak HTTP (RFC 9110 section 7.8), such as WebSocket's: once both ends have agreed, bytes are
//! carried between them as they are.

use std::cell::RefCell;

use ambit_model::Traffic;
use ambit_net::relay::relay;
use ambit_net::stream::{ByteSink, ByteSource};

use super::ending::{Broken, Ending};
use crate::upstream::{Bare, Upgraded};

/// A client's connection, and what becomes of it once its last response has been given.
#[derive(Default)]
pub(crate) struct Channel(RefCell<Option<Upgrade>>);

/// An endpoint's connection that waits for its client's.
pub(crate) struct Upgrade {
    upgraded: Upgraded,
    ending: Ending,
}

impl Channel {
    /// What follows is for the endpoint that `upgraded` comes from.
    pub(crate) fn upgrade(&self, upgraded: Upgraded, ending: Ending) {
        *self.0.borrow_mut() = Some(Upgrade { upgraded, ending });
    }

    /// What follows, if anything does.
    pub(crate) fn take(&self) -> Option<Upgrade> {
        self.0.borrow_mut().take()
    }
}

impl Upgrade {
    /// Carries what `client` and the endpoint say to one another, until both have ended.
    pub(crate) async fn relay<S: ByteSource, K: ByteSink>(self, client: (S, K)) {
        let Self { upgraded, mut ending } = self;
        let Ok(Bare { io, read, slot: _slot }) = upgraded.await else { return ending.broken(Broken::Endpoint) };
        let traffic = Traffic::default();
        let closed = relay(client, io.split(read), &traffic).await;
        tracing::debug!("an upgraded connection ended: {closed:?}");
        ending.relayed(traffic.sent(), traffic.received());
        ending.complete();
    }
}
