//! The desk over HTTP/2: reads one request of Istio's service or of ours, writes the answer. What a client may cost is bounded here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::server::{Grpc, UnaryService};
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

use crate::caller::Authenticate;
use crate::desk::Desk;
use crate::error::Refusal;
use crate::wire::{CertificateRequest, CertificateResponse, METHOD, REPORT, ReportRequest, ReportResponse};

/// Requests at once on one connection.
const STREAMS: u32 = 64;

/// A request for an ECDSA key takes about 500 bytes, for an RSA one 2 KiB.
const LONGEST_REQUEST: usize = 64 * 1024;

/// A report of as many pods as one holds, with all that can be said of each.
const LONGEST_REPORT: usize = 256 * 1024;

/// How often a silent client is asked whether it is still there, and how long it has to answer.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// For how long a client may have its place without being given a certificate or having a report taken: agents ask seldom, and
/// come back.
const IDLE: Duration = Duration::from_secs(60);

/// For how long what a client has asked may still take, once it is to leave: a request that it never ends does not keep it.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// Serves one client over `transport`, which is secured already, until it ends or has been given nothing for a minute; from
/// `stopping` on, no more than what it has asked by then.
///
/// # Errors
/// What ended it too early.
pub async fn serve<A: Authenticate>(
    desk: Arc<Desk<A>>,
    transport: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    stopping: impl Future<Output = ()>,
) -> Result<(), hyper::Error> {
    let served = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let served = served.clone();
        move |request: Request<Incoming>| {
            let (desk, served) = (desk.clone(), served.clone());
            async move { Ok::<_, Infallible>(answer(desk, request, &served).await) }
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .serve_connection(TokioIo::new(transport), service);
    let (mut connection, stopping) = (pin!(connection), pin!(stopping));
    let idle = async {
        loop {
            tokio::time::sleep(IDLE).await;
            if !served.swap(false, Ordering::Relaxed) {
                return;
            }
        }
    };
    tokio::select! {
        ended = &mut connection => return ended,
        () = stopping => {}
        () = idle => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(LAST_ANSWERS, connection).await.unwrap_or(Ok(()))
}

async fn answer<A: Authenticate>(
    desk: Arc<Desk<A>>,
    request: Request<Incoming>,
    served: &Arc<AtomicBool>,
) -> http::Response<tonic::body::Body> {
    let call = Call { desk, served: served.clone() };
    match request.uri().path() {
        METHOD => {
            let codec = ProstCodec::<CertificateResponse, CertificateRequest>::default();
            Grpc::new(codec).max_decoding_message_size(LONGEST_REQUEST).unary(call, request).await
        }
        REPORT if call.desk.takes_reports() => {
            let codec = ProstCodec::<ReportResponse, ReportRequest>::default();
            Grpc::new(codec).max_decoding_message_size(LONGEST_REPORT).unary(call, request).await
        }
        other => {
            Status::unimplemented(format!("{other} is not served here; certificates are, by {METHOD}")).into_http()
        }
    }
}

/// A call of one of the services.
struct Call<A> {
    desk: Arc<Desk<A>>,
    served: Arc<AtomicBool>,
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

impl<A: Authenticate> UnaryService<CertificateRequest> for Call<A> {
    type Response = CertificateResponse;
    type Future = Answer<CertificateResponse>;

    fn call(&mut self, request: tonic::Request<CertificateRequest>) -> Self::Future {
        let (desk, served) = (self.desk.clone(), self.served.clone());
        Box::pin(async move {
            let cert_chain = desk.certify(bearer(&request), request.get_ref()).await.map_err(refused)?;
            served.store(true, Ordering::Relaxed);
            Ok(Response::new(CertificateResponse { cert_chain }))
        })
    }
}

impl<A: Authenticate> UnaryService<ReportRequest> for Call<A> {
    type Response = ReportResponse;
    type Future = Answer<ReportResponse>;

    fn call(&mut self, request: tonic::Request<ReportRequest>) -> Self::Future {
        let (desk, served) = (self.desk.clone(), self.served.clone());
        Box::pin(async move {
            let taken = desk.report(bearer(&request), request.get_ref()).await.map_err(refused)?;
            served.store(true, Ordering::Relaxed);
            Ok(Response::new(taken))
        })
    }
}

/// The token that came with `request`.
fn bearer<T>(request: &tonic::Request<T>) -> Option<&str> {
    let value = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer "))
}

fn refused(refusal: Refusal) -> Status {
    Status::new(refusal.status(), refusal.to_string())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::{Context, Poll};

    use hyper::body::{Body, Bytes, Frame};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::desk::tests::desk;

    /// A request's body of which nothing ever comes.
    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_ends_its_request_is_sent_away() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let shaking = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near));
        let (mut sender, connection) = shaking.await.unwrap();
        let request = Request::post(format!("http://ca{METHOD}")).body(Never).unwrap();
        let asking = async { tokio::join!(connection, sender.send_request(request)) };
        let begun = Instant::now();
        let served = timeout(Duration::from_secs(3600), serve(Arc::new(desk()), far, pending()));
        tokio::select! {
            ended = served => ended.expect("it has its place for ever").unwrap(),
            _ = asking => panic!("the client has left by itself"),
        }
        assert_eq!(begun.elapsed().as_secs(), (IDLE + LAST_ANSWERS).as_secs());
    }
}
