//! How a request ends, whoever ends it: with its last byte, by a deadline, because the endpoint or the client went away.
//! It is told exactly once.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use ambit_telemetry::ResponseFlag;
use bytes::Bytes;
use http::{HeaderValue, Response, Version};
use http_body::Frame;
use tokio::time::Sleep;

use super::answer::Answer;
use super::body::{ResponseBody, Upload};
use super::forward::Carried;
use super::head;
use super::upgrade::Channel;
use crate::arrival::Arrival;
use crate::proxy::Proxy;
use crate::record::{self, Story};
use crate::upstream::Held;

/// Why a response ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The time that its route gives is over.
    Timeout,
    /// The endpoint broke it off.
    Endpoint,
}

impl Broken {
    /// For whoever reads the body.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Timeout => "the request took longer than its route allows",
            Self::Endpoint => "the endpoint ended the response before its end",
        }
    }
}

/// What is done when a request ends.
pub(crate) struct Ending {
    proxy: Rc<Proxy>,
    arrival: Rc<Arrival>,
    story: Box<Story>,
    /// What its body was.
    pub(crate) upload: Option<Upload>,
    /// When it has to be over.
    pub(crate) deadline: Option<Pin<Box<Sleep>>>,
    held: Option<Held>,
    told: bool,
}

impl Ending {
    /// The end of the request that `story` tells of.
    pub(crate) fn new(proxy: &Rc<Proxy>, arrival: &Rc<Arrival>, story: Story) -> Self {
        Self {
            proxy: proxy.clone(),
            arrival: arrival.clone(),
            story: Box::new(story),
            upload: None,
            deadline: None,
            held: None,
            told: false,
        }
    }

    /// What is to be told.
    pub(crate) fn story(&mut self) -> &mut Story {
        &mut self.story
    }

    /// Ends the request with an answer of the proxy's own.
    pub(crate) fn answer(mut self, answer: &Answer) -> Response<ResponseBody> {
        let response = answer.response(self.story.is_grpc);
        self.story.answered(answer, response.status());
        response.map(|body| ResponseBody::of(body, self))
    }

    /// Ends it with what an endpoint answers.
    pub(crate) fn carry(mut self, carried: Carried, channel: &Channel) -> Response<ResponseBody> {
        let Carried { response, held, upgraded, cookie } = carried;
        let (mut head, body) = response.into_parts();
        // What the endpoint speaks is for the last hop; hyper says what the client does.
        head.version = Version::HTTP_11;
        self.story.responded(&head);
        self.held = Some(held);
        let upgrades = head.status == http::StatusCode::SWITCHING_PROTOCOLS;
        let protocol = head.headers.get(http::header::UPGRADE).filter(|_| upgrades).cloned();
        head::clean(&mut head.headers);
        if let Some(protocol) = protocol {
            head.headers.insert(http::header::UPGRADE, protocol);
            head.headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let time = u64::try_from(self.story.service_time().as_millis()).unwrap_or(u64::MAX);
        head.headers.insert("x-envoy-upstream-service-time", HeaderValue::from(time));
        if let Some(cookie) = cookie {
            head.headers.append(http::header::SET_COOKIE, cookie);
        }
        if upgrades && let Some(upgraded) = upgraded {
            channel.upgrade(upgraded, self);
            let body = ResponseBody::nothing();
            return Response::from_parts(head, body);
        }
        Response::from_parts(head, ResponseBody::carried(body, self))
    }

    /// Notes what has passed to the client.
    pub(crate) fn passed(&mut self, frame: &Frame<Bytes>) {
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => self.story.sent(data),
            (None, Some(fields)) => self.story.trailed(fields),
            _ => {}
        }
    }

    /// Notes what an upgraded connection has carried.
    pub(crate) fn relayed(&mut self, to_server: u64, to_client: u64) {
        self.story.relayed(to_server, to_client);
    }

    /// Ready when it has to end now, and why.
    pub(crate) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx).map(|()| Broken::Timeout),
            None => Poll::Pending,
        }
    }

    /// All of it has been said.
    pub(crate) fn complete(mut self) {
        self.tell();
    }

    /// It ends before its end.
    pub(crate) fn broken(mut self, why: Broken) {
        self.story.broke(why);
        self.tell();
    }

    fn tell(&mut self) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        if let Some(upload) = &self.upload {
            self.story.received = upload.received();
            self.story.asked = upload.messages();
        }
        record::tell(&self.proxy, &self.arrival, &self.story);
        self.held = None;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.told {
            // Nobody has ended it: who wanted it has gone.
            self.story.flag(ResponseFlag::DownstreamConnectionTermination);
            self.tell();
        }
    }
}
