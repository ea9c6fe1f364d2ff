//! A table of HTTP routes, and how a request finds its answer in it. Knows no socket.

use std::fmt::{self, Write};
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;

/// A request with its whole body.
pub type Request = http::Request<Bytes>;
/// An answer with its whole body.
pub type Response = http::Response<Bytes>;

type Answer = Rc<dyn Fn(Request) -> LocalBoxFuture<'static, Response>>;

/// Routes by method and path. `GET /` lists them, unless it is one of them.
#[derive(Clone)]
pub struct Routes {
    title: &'static str,
    routes: Vec<Route>,
}

#[derive(Clone)]
struct Route {
    method: Method,
    path: &'static str,
    help: &'static str,
    answer: Answer,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.routes.iter().map(|route| (&route.method, route.path));
        f.debug_struct("Routes").field("title", &self.title).field("routes", &paths.collect::<Vec<_>>()).finish()
    }
}

impl Routes {
    /// No routes yet, under a title that stands above their list.
    #[must_use]
    pub fn new(title: &'static str) -> Self {
        Self { title, routes: Vec::new() }
    }

    /// With `answer` to GET and HEAD of `path`; `help` says in a line what it is for.
    #[must_use]
    pub fn get<F, Fut>(self, path: &'static str, help: &'static str, answer: F) -> Self
    where
        F: Fn(Request) -> Fut + 'static,
        Fut: Future<Output = Response> + 'static,
    {
        self.with(Method::GET, path, help, answer)
    }

    /// With `answer` to POST of `path`; `help` says in a line what it is for.
    #[must_use]
    pub fn post<F, Fut>(self, path: &'static str, help: &'static str, answer: F) -> Self
    where
        F: Fn(Request) -> Fut + 'static,
        Fut: Future<Output = Response> + 'static,
    {
        self.with(Method::POST, path, help, answer)
    }

    /// With the routes of `other` as well.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self
    }

    /// Answers `request`: 404 where no route has its path, 405 where one has but not with its method.
    pub fn answer(&self, request: Request) -> LocalBoxFuture<'static, Response> {
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let path = request.uri().path();
        let mut at_path = self.routes.iter().filter(|route| route.path == path).peekable();
        if at_path.peek().is_none() {
            let found = (path == "/" && method == Method::GET).then(|| text(StatusCode::OK, self.list()));
            let answer = found.unwrap_or_else(|| text(StatusCode::NOT_FOUND, "not found: GET / lists what there is\n"));
            return Box::pin(std::future::ready(answer));
        }
        let mut allowed = Vec::new();
        for route in at_path {
            if route.method == method {
                return (route.answer)(request);
            }
            allowed.push(route.method.as_str());
        }
        Box::pin(std::future::ready(not_allowed(&allowed.join(", "))))
    }

    fn with<F, Fut>(mut self, method: Method, path: &'static str, help: &'static str, answer: F) -> Self
    where
        F: Fn(Request) -> Fut + 'static,
        Fut: Future<Output = Response> + 'static,
    {
        let answer: Answer = Rc::new(move |request| Box::pin(answer(request)));
        self.routes.push(Route { method, path, help, answer });
        self
    }

    fn list(&self) -> String {
        let mut list = format!("{}\n\n", self.title);
        for Route { method, path, help, .. } in &self.routes {
            // Writing to a String cannot fail.
            let _ = writeln!(list, "{:<4} {path:<28} {help}", method.as_str());
        }
        list
    }
}

/// An answer in plain text.
#[must_use]
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    typed(status, HeaderValue::from_static("text/plain; charset=utf-8"), body)
}

/// An answer in JSON, indented; 500 if `value` cannot be written as JSON.
#[must_use]
pub fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec_pretty(value) {
        Ok(body) => typed(StatusCode::OK, HeaderValue::from_static("application/json"), body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be written as JSON: {error}\n")),
    }
}

/// An answer of the given content type.
#[must_use]
pub fn typed(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The value of the query parameter `name`, decoded; the first if there are several.
#[must_use]
pub fn parameter(request: &Request, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn not_allowed(allowed: &str) -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed}\n"));
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

#[cfg(test)]
mod tests;
