//! The services of Bookinfo, shaped as in Istio's sample: productpage asks details and reviews, reviews v2 and v3 ask
//! ratings; v1 shows no stars, v2 black ones, v3 red ones. Connections are not pooled, as the sample's are not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::dial::dial;
use crate::serve::listen;

/// Headers that a service hands on to the services that it asks.
const FORWARDED: [&str; 6] = ["x-request-id", "traceparent", "tracestate", "end-user", "user-agent", "cookie"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which service.
    role: Role,
    /// Its version, such as v1.
    #[arg(long, default_value = "v1")]
    version: String,
    /// Where to listen.
    #[arg(long, default_value = "[::]:9080")]
    listen: SocketAddr,
    /// The service `details`.
    #[arg(long)]
    details: Option<SocketAddr>,
    /// The service `reviews`.
    #[arg(long)]
    reviews: Option<SocketAddr>,
    /// The service `ratings`.
    #[arg(long)]
    ratings: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    Productpage,
    Details,
    Reviews,
    Ratings,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let listener = listen(args.listen)?;
    println!("listening");
    let args = Rc::new(args);
    loop {
        let (stream, _) = listener.accept().await?;
        let args = args.clone();
        let serve = service_fn(move |request| answer(args.clone(), request));
        spawn_local(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
    }
}

async fn answer(args: Rc<Args>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let found = match (args.role, request.uri().path()) {
        (_, "/health") => Ok(Some(("application/json", json!({"status": "healthy"}).to_string()))),
        (Role::Productpage, path) => productpage(&args, path, request.headers()).await,
        (Role::Details, path) if path.starts_with("/details/") => Ok(Some(("application/json", details()))),
        (Role::Reviews, path) if path.starts_with("/reviews/") => reviews(&args, request.headers()).await,
        (Role::Ratings, path) if path.starts_with("/ratings/") => Ok(Some(("application/json", ratings()))),
        _ => Ok(None),
    };
    let (status, kind, body) = match found {
        Ok(Some((kind, body))) => (StatusCode::OK, kind, body),
        Ok(None) => (StatusCode::NOT_FOUND, "text/plain", "not found\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{error:#}\n")),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    Ok(response)
}

type Page = Option<(&'static str, String)>;

async fn productpage(args: &Args, path: &str, headers: &HeaderMap) -> anyhow::Result<Page> {
    Ok(match path {
        "/productpage" => {
            let (details, reviews) =
                tokio::join!(ask(args.details, "/details/0", headers), ask(args.reviews, "/reviews/0", headers));
            Some(("text/html", page(details, reviews)))
        }
        "/api/v1/products" => {
            Some(("application/json", json!([{"id": 0, "title": "The Comedy of Errors"}]).to_string()))
        }
        "/api/v1/products/0" => Some(("application/json", ask(args.details, "/details/0", headers).await?.to_string())),
        "/api/v1/products/0/reviews" => {
            Some(("application/json", ask(args.reviews, "/reviews/0", headers).await?.to_string()))
        }
        _ => None,
    })
}

async fn reviews(args: &Args, headers: &HeaderMap) -> anyhow::Result<Page> {
    let color = match args.version.as_str() {
        "v1" => None,
        "v2" => Some("black"),
        _ => Some("red"),
    };
    let ratings = match color {
        Some(color) => Some((color, ask(args.ratings, "/ratings/0", headers).await)),
        None => None,
    };
    let rating = |reviewer: &str| {
        let (color, ratings) = ratings.as_ref()?;
        let stars = |found: &Value| found.pointer(&format!("/ratings/{reviewer}"))?.as_u64();
        Some(match ratings.as_ref().ok().and_then(stars) {
            Some(stars) => Rating::Stars { stars, color: (*color).to_owned() },
            None => Rating::Error { error: "Ratings service is currently unavailable".to_owned() },
        })
    };
    let texts = [
        ("Reviewer1", "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"),
        ("Reviewer2", "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays."),
    ];
    let review = |(reviewer, text): (&str, &str)| {
        let rating = rating(reviewer);
        Review { reviewer: reviewer.to_owned(), text: text.to_owned(), rating }
    };
    let podname = format!("reviews-{}", args.version);
    let answer = Reviews { id: "0".to_owned(), podname, clustername: None, reviews: texts.map(review).into() };
    Ok(Some(("application/json", serde_json::to_string(&answer)?)))
}

/// What `reviews` answers.
#[derive(Serialize, Deserialize)]
struct Reviews {
    id: String,
    podname: String,
    clustername: Option<String>,
    reviews: Vec<Review>,
}

#[derive(Serialize, Deserialize)]
struct Review {
    reviewer: String,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rating: Option<Rating>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Rating {
    Stars { stars: u64, color: String },
    Error { error: String },
}

fn details() -> String {
    json!({
        "id": 0,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })
    .to_string()
}

fn ratings() -> String {
    json!({"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}).to_string()
}

fn page(details: Result<Value, anyhow::Error>, reviews: Result<Value, anyhow::Error>) -> String {
    let details = match details {
        Ok(details) => format!("<h4>Book Details</h4><pre>{details}</pre>"),
        Err(_) => "<h4>Error fetching product details!</h4>".to_owned(),
    };
    let reviews = match reviews.and_then(|answer| Ok(serde_json::from_value(answer)?)) {
        Ok(reviews) => format!("<h4>Book Reviews</h4>{}", reviews_html(&reviews)),
        Err(_) => "<h4>Error fetching product reviews!</h4>".to_owned(),
    };
    format!(
        "<!DOCTYPE html><html><head><title>Simple Bookstore App</title></head>\
         <body><h3>The Comedy of Errors</h3>{details}{reviews}</body></html>\n"
    )
}

fn reviews_html(answer: &Reviews) -> String {
    let html = answer.reviews.iter().map(|review| {
        let stars = match &review.rating {
            Some(Rating::Stars { stars, color }) => {
                let stars: String = (0..*stars).map(|_| '*').collect();
                format!("<font color=\"{color}\">{stars}</font>")
            }
            Some(Rating::Error { error }) => format!("<i>{error}</i>"),
            None => String::new(),
        };
        format!("<blockquote>{}{stars}<small>{}</small></blockquote>", review.text, review.reviewer)
    });
    format!("<p>{}</p>{}", answer.podname, html.collect::<String>())
}

/// GETs `path` from a service on a connection of its own, as long as it takes no more than three seconds.
async fn ask(service: Option<SocketAddr>, path: &str, headers: &HeaderMap) -> anyhow::Result<Value> {
    let to = service.context("the service's address was not given")?;
    timeout(Duration::from_secs(3), get(to, path, headers)).await.context("the service did not answer in time")?
}

async fn get(to: SocketAddr, path: &str, headers: &HeaderMap) -> anyhow::Result<Value> {
    let stream = dial(to, Duration::from_secs(3)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(connection);
    let mut request = Request::get(path).header(HOST, to.to_string());
    for name in FORWARDED {
        for value in headers.get_all(name) {
            request = request.header(name, value);
        }
    }
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    ensure!(answer.status() == StatusCode::OK, "{to}{path} answers {}", answer.status());
    Ok(serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?)
}
