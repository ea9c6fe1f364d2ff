//! How the API answers one request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Shared;
use super::state::{Change, Pages, State};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answered by a Status of this code.
    Status(u16),
    /// Answered by a page that is no JSON.
    Html,
    /// Never answered.
    Hang,
    /// The connection is cut in the midst of the answer; a watch after so many events.
    Cut(usize),
    /// A watch ends in order after so many events.
    End(usize),
    /// A watch tells after so many events that it knows nothing of what is asked.
    Expired(usize),
    /// A watch tells after so many events that something is wrong, and goes on.
    Trouble(usize),
}

/// What is asked.
struct Asked {
    resource: String,
    query: BTreeMap<String, String>,
}

pub(super) async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, io::Error> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let fault = {
        let mut state = shared.state();
        let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if state.token.as_ref().is_some_and(|expected| token != Some(&format!("Bearer {expected}"))) {
            return Ok(status(401, "who are you"));
        }
        state.requests.push(target.clone());
        shared.asked.send_replace(());
        (state.fault)(&target)
    };
    match fault {
        Some(Fault::Status(code)) => return Ok(status(code, "as scripted")),
        Some(Fault::Html) => {
            let page = "<html>\n<body>\nBad Gateway\n</body>\n</html>\n";
            return Ok(whole(StatusCode::OK, page.to_owned()));
        }
        Some(Fault::Hang) => std::future::pending().await,
        _ => {}
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let path = match (path.strip_prefix("/apis/"), path.strip_prefix("/api/")) {
        (Some(version), _) if version.matches('/').count() == 1 => return Ok(resources(&shared.state(), version)),
        (_, Some("v1")) => return Ok(resources(&shared.state(), "v1")),
        (Some(path), _) | (_, Some(path)) => path.to_owned(),
        _ => return Ok(status(404, "404 page not found")),
    };
    let mut state = shared.state();
    if !state.served.contains_key(&path) {
        return Ok(status(404, "the server could not find the requested resource"));
    }
    if state.denied.contains(&path) {
        return Ok(status(403, &format!("{path} is forbidden: User \"ambit\" cannot list resource")));
    }
    let asked = Asked { resource: path, query: form(query) };
    match asked.query.contains_key("watch") {
        false => Ok(list(&mut state, &asked, fault)),
        true => {
            drop(state);
            Ok(watch(shared, &asked, fault))
        }
    }
}

/// What a group's version has.
fn resources(state: &State, group_version: &str) -> Response<Body> {
    let of_version = |path: &str| path.rsplit_once('/').is_some_and(|(version, _)| version == group_version);
    let found: Vec<Value> = state
        .served
        .iter()
        .filter(|(path, _)| of_version(path))
        .flat_map(|(path, kind)| {
            let plural = path.rsplit('/').next().unwrap_or_default();
            let named = |name: String| {
                json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["list", "watch"]})
            };
            [named(format!("{plural}/status")), named(plural.to_owned())]
        })
        .collect();
    if found.is_empty() {
        return status(404, "404 page not found");
    }
    let list =
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found});
    whole(StatusCode::OK, list.to_string())
}

/// A page of a list, as it was when its first page was asked for.
fn list(state: &mut State, asked: &Asked, fault: Option<Fault>) -> Response<Body> {
    let limit = asked.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let (token, from) = match asked.query.get("continue") {
        Some(token) => {
            let (token, from) = token.split_once('.').unwrap();
            (token.parse().unwrap(), from.parse().unwrap())
        }
        None => {
            let objects =
                state.objects.get(&asked.resource).into_iter().flat_map(|all| all.values().cloned()).collect();
            let token = state.pages.keys().next_back().map_or(1, |last| last + 1);
            state.pages.insert(token, Pages { version: state.version, objects });
            (token, 0_usize)
        }
    };
    let Some(pages) = state.pages.get(&token) else {
        return status(410, "the provided continue parameter is too old");
    };
    let page: Vec<&Value> = pages.objects.iter().skip(from).take(limit).map(|object| &**object).collect();
    let next = from + page.len();
    let more = if next < pages.objects.len() { format!("{token}.{next}") } else { String::new() };
    let kind = format!("{}List", state.served.get(&asked.resource).map_or("", String::as_str));
    let metadata = json!({"resourceVersion": pages.version.to_string(), "continue": more});
    let text = json!({"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": page}).to_string();
    if more.is_empty() {
        state.pages.remove(&token);
    }
    match fault {
        Some(Fault::Cut(_)) => {
            let half = Bytes::copy_from_slice(text.as_bytes().split_at(text.len() / 2).0);
            streamed(stream::iter([Ok(half), Err(io::Error::other("cut"))]))
        }
        _ => whole(StatusCode::OK, text),
    }
}

/// What an open watch has seen.
struct Watch {
    shared: Arc<Shared>,
    resource: String,
    seen: u64,
    cuts: u64,
    sent: usize,
    fault: Option<Fault>,
    over: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(open) = self.shared.state().watches.get_mut(&self.resource) {
            *open -= 1;
        }
    }
}

fn watch(shared: Arc<Shared>, asked: &Asked, fault: Option<Fault>) -> Response<Body> {
    let seen: u64 = asked.query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let cuts = {
        let mut state = shared.state();
        if seen < state.compacted {
            return match state.refuses {
                true => status(410, "too old resource version"),
                false => streamed(stream::iter([Ok(event("ERROR", &gone(410, "too old resource version")))])),
            };
        }
        *state.watches.entry(asked.resource.clone()).or_default() += 1;
        state.cuts
    };
    let watch = Watch { shared, resource: asked.resource.clone(), seen, cuts, sent: 0, fault, over: false };
    streamed(stream::unfold(watch, Watch::step))
}

impl Watch {
    /// The next line, or the end.
    async fn step(mut self) -> Option<(Result<Bytes, io::Error>, Self)> {
        let mut versions = self.shared.versions();
        loop {
            if self.over {
                return None;
            }
            versions.borrow_and_update();
            if let Some(line) = self.line() {
                return Some((line, self));
            }
            if self.over {
                return None;
            }
            let bookmarks = self.shared.state().bookmarks;
            if timeout(bookmarks, versions.changed()).await.is_err()
                && let Some(bookmark) = self.bookmark()
            {
                return Some((Ok(bookmark), self));
            }
        }
    }

    /// What there is to send now.
    fn line(&mut self) -> Option<Result<Bytes, io::Error>> {
        match self.fault {
            Some(Fault::Cut(after)) if self.sent >= after => {
                self.over = true;
                return Some(Err(io::Error::other("cut")));
            }
            Some(Fault::End(after)) if self.sent >= after => {
                self.over = true;
                return None;
            }
            Some(Fault::Expired(after)) if self.sent >= after => {
                self.over = true;
                return Some(Ok(event("ERROR", &gone(410, "too old resource version"))));
            }
            Some(Fault::Trouble(after)) if self.sent >= after => {
                self.fault = None;
                return Some(Ok(event("ERROR", &gone(500, "etcd is busy"))));
            }
            _ => {}
        }
        let state = self.shared.state();
        if state.cuts != self.cuts || !state.served.contains_key(&self.resource) {
            drop(state);
            self.over = true;
            return None;
        }
        if self.seen < state.compacted {
            drop(state);
            self.over = true;
            return Some(Ok(event("ERROR", &gone(410, "too old resource version"))));
        }
        let next = state.next(&self.resource, self.seen).cloned();
        drop(state);
        let Change { version, what, object, .. } = next?;
        (self.seen, self.sent) = (version, self.sent + 1);
        Some(Ok(event(what, &object)))
    }

    /// Tells up to which version nothing happened that has not been sent; none if something has.
    fn bookmark(&mut self) -> Option<Bytes> {
        let state = self.shared.state();
        if state.next(&self.resource, self.seen).is_some() || self.seen < state.compacted {
            return None;
        }
        let (version, kind) = (state.version, state.served.get(&self.resource).cloned().unwrap_or_default());
        drop(state);
        self.seen = version;
        let metadata = json!({"resourceVersion": version.to_string()});
        Some(event("BOOKMARK", &json!({"kind": kind, "apiVersion": "v1", "metadata": metadata})))
    }
}

fn event(what: &str, object: &Value) -> Bytes {
    // The type comes first, as Kubernetes writes it.
    Bytes::from(format!("{{\"type\":\"{what}\",\"object\":{object}}}\n"))
}

fn gone(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "Scripted", "code": code})
}

fn status(code: u16, message: &str) -> Response<Body> {
    whole(StatusCode::from_u16(code).unwrap(), format!("{}\n", gone(code, message)))
}

fn whole(code: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response
}

fn streamed(lines: impl stream::Stream<Item = Result<Bytes, io::Error>> + Send + 'static) -> Response<Body> {
    Response::new(BodyExt::boxed_unsync(StreamBody::new(lines.map(|line| line.map(Frame::data)))))
}

fn form(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
