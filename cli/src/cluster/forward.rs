//! Asks the admin interface of a pod, which listens on loopback alone, by the API's port-forward; or one that is at an
//! address. One request a connection.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::{Error, causes};

/// How long a connection to the interface may take, and each part of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a whole answer may take: a large mesh has a large dump.
const WHOLE: Duration = Duration::from_secs(60);

/// Where an admin interface is.
#[derive(Clone)]
pub(crate) enum Place {
    /// Loopback of this pod, at this port.
    Pod {
        /// Asks the API.
        client: Client,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The port.
        port: u16,
    },
    /// This address, `HOST:PORT`.
    Address(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pod { namespace, name, port, .. } => write!(f, "port {port} of pod {namespace}/{name}"),
            Self::Address(address) => f.write_str(address),
        }
    }
}

impl Place {
    /// Whom a list names it by: `pod.namespace`, or the address.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Pod { namespace, name, .. } => format!("{name}.{namespace}"),
            Self::Address(address) => address.clone(),
        }
    }

    /// What GET `path` is answered with there.
    ///
    /// # Errors
    /// When it is not answered in time, or not with 200.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, Error> {
        self.ask(Method::GET, path).await
    }

    /// What POST `path`, without a body, is answered with there.
    ///
    /// # Errors
    /// As [`Place::get`].
    pub(crate) async fn post(&self, path: &str) -> Result<Bytes, Error> {
        self.ask(Method::POST, path).await
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Bytes, Error> {
        let asked = async {
            match self {
                Self::Pod { client, namespace, name, port } => {
                    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
                    let opened = timeout(PATIENCE, pods.portforward(name, &[*port])).await;
                    let mut forwarded = opened.map_err(|_| late())?.map_err(|error| refused(&error, namespace))?;
                    let stream = forwarded.take_stream(*port).ok_or("the API forwards nothing")?;
                    let broken = forwarded.take_error(*port);
                    let answered = exchange(stream, method, path).await;
                    // What the node says in the stream's place explains why there was none.
                    let said = match (&answered, broken) {
                        (Err(_), Some(broken)) => timeout(Duration::from_secs(1), broken).await.ok().flatten(),
                        _ => None,
                    };
                    forwarded.abort();
                    answered.map_err(|error| said.map_or(error, |said| said.trim().to_owned()))
                }
                Self::Address(address) => {
                    let connected = timeout(PATIENCE, TcpStream::connect(address)).await.map_err(|_| late())?;
                    exchange(connected.map_err(|error| error.to_string())?, method, path).await
                }
            }
        };
        let answer = timeout(WHOLE, asked).await.unwrap_or_else(|_| Err(late()));
        answer.map_err(|why| Error::Unanswered { whom: self.to_string(), why })
    }
}

/// The body that a request without one for `path` is answered with.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    method: Method,
    path: &str,
) -> Result<Bytes, String> {
    let said = |error: &hyper::Error| causes(error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
    let request =
        http::Request::builder().method(method).uri(path).header("host", "localhost").header("connection", "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = async {
        let sent = timeout(PATIENCE, sender.send_request(request)).await.map_err(|_| late())?;
        let answer = sent.map_err(|error| said(&error))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| said(&error))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body);
        Err(format!("{path} is answered with {status}: {}", text.lines().next().unwrap_or_default()))
    };
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    let mut ended = false;
    loop {
        tokio::select! {
            answered = &mut answer => return answered,
            // Whoever waits for the answer hears of a failure.
            _ = &mut connection, if !ended => ended = true,
        }
    }
}

fn late() -> String {
    "no answer in time".to_owned()
}

fn refused(error: &kube::Error, namespace: &str) -> String {
    let said = causes(error);
    if ["403", "Forbidden"].iter().any(|refusal| said.contains(refusal)) {
        return format!("{said}; it takes the right to get and create pods/portforward in namespace {namespace}");
    }
    said
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What is made of `answer`, given by whoever listens.
    async fn asked(answer: &'static str) -> Result<Bytes, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place::Address(listener.local_addr().unwrap().to_string());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let ((), answered) = tokio::join!(server, place.get("/status"));
        answered
    }

    #[tokio::test]
    async fn an_answer_is_its_body_and_a_refusal_names_who_refused() {
        let whole = asked("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        assert_eq!(whole, "{}");
        let refused = asked("HTTP/1.1 503 Oh\r\ncontent-length: 9\r\n\r\nnot ready").await.unwrap_err().to_string();
        assert!(refused.starts_with("cannot ask 127.0.0.1:") && refused.ends_with("not ready"), "{refused}");
        let cut = asked("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nnot").await.unwrap_err();
        assert!(matches!(cut, Error::Unanswered { .. }), "{cut}");
        let foreign = asked("SSH-2.0-x\r\n").await.unwrap_err();
        assert!(matches!(foreign, Error::Unanswered { .. }), "{foreign}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(64);
        assert_eq!(exchange(ours, Method::GET, "/status").await, Err(late()));
    }
}
