//! Fetches the keys of issuers, from nowhere that only this machine reaches: who may write a RequestAuthentication is not to
//! have a waypoint ask its own admin port, or the cloud's metadata (IST0175). Follows no redirect.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ambit_identity::jose::Keys;
use ambit_identity::origination::Terms;
use ambit_identity::{Clock, Originator};
use ambit_model::Cidr;
use ambit_model::policy::token::KeySource;
use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::uri::Scheme;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a page may be, in bytes.
const LONGEST: usize = 1 << 20;

/// What keys are fetched by.
pub(crate) struct Fetcher {
    blocked: Vec<Cidr>,
    roots: Option<Vec<u8>>,
}

impl Fetcher {
    /// Fetches from everywhere but from the addresses that are `blocked`, by TLS from whoever is certified by `roots` (in PEM)
    /// or, without them, by the authorities of this system.
    pub(crate) fn new(blocked: Vec<Cidr>, roots: Option<Vec<u8>>) -> Self {
        Self { blocked, roots }
    }

    /// The keys that are at `source`.
    ///
    /// # Errors
    /// They could not be had within `limit`, or are none; why.
    pub(super) async fn keys(&self, source: &KeySource, limit: Duration) -> Result<Keys, String> {
        let fetched = match source {
            KeySource::Inline(text) => return read(text.as_bytes()),
            KeySource::At(url) => timeout(limit, self.page(url, limit)).await,
            KeySource::Discovered(issuer) => timeout(limit, self.discovered(issuer, limit)).await,
        };
        let page = fetched.unwrap_or_else(|_| Err(format!("there was no answer within {} ms", limit.as_millis())))?;
        read(&page)
    }

    /// The page with the keys of `issuer`, where it says itself that they are.
    async fn discovered(&self, issuer: &str, limit: Duration) -> Result<Bytes, String> {
        let configuration = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let page = self.page(&configuration, limit).await?;
        let said: serde_json::Value =
            serde_json::from_slice(&page).map_err(|_| format!("{configuration} is no JSON"))?;
        let url = said
            .get("jwks_uri")
            .and_then(serde_json::Value::as_str)
            .ok_or_else(|| format!("{configuration} has no jwks_uri"))?;
        self.page(url, limit).await
    }

    async fn page(&self, url: &str, limit: Duration) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url} is no URL: {error}"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let secured = uri.scheme() == Some(&Scheme::HTTPS);
        if host.is_empty() || !(secured || uri.scheme() == Some(&Scheme::HTTP)) {
            return Err(format!("{url} is no URL of HTTP"));
        }
        let port = uri.port_u16().unwrap_or(if secured { 443 } else { 80 });
        let stream = self.connect(&host, port, limit / 3).await?;
        if secured {
            let terms = Terms { authorities: self.roots.as_deref(), ..Terms::default() };
            let originator = Originator::new(&terms, &Clock::system()).map_err(|error| error.to_string())?;
            let stream = originator.connect(stream, &host, Some("http/1.1"), limit).await;
            ask(stream.map_err(|failure| format!("TLS with {host}: {failure}"))?, &uri).await
        } else {
            ask(stream, &uri).await
        }
    }

    /// A connection to the first address of `host` that takes one, and that is not blocked.
    async fn connect(&self, host: &str, port: u16, each: Duration) -> Result<TcpStream, String> {
        let found = tokio::net::lookup_host((host, port)).await.map_err(|error| format!("{host}: {error}"))?;
        let mut why = format!("{host} has no address");
        for address in found {
            if let Some(block) = self.block_of(address.ip()) {
                why = format!(
                    "{host} is {}, from where nothing is fetched ({}/{} of --jwks-blocked-cidrs)",
                    address.ip(),
                    block.network(),
                    block.length()
                );
                continue;
            }
            match timeout(each, TcpStream::connect(SocketAddr::new(address.ip(), port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = format!("{host} at {address}: {error}"),
                Err(_) => why = format!("{host} at {address}: no answer within {each:?}"),
            }
        }
        Err(why)
    }

    fn block_of(&self, address: IpAddr) -> Option<&Cidr> {
        let address = address.to_canonical();
        let translated = translated(address).unwrap_or(address);
        self.blocked.iter().find(|block| block.contains(address) || block.contains(translated))
    }
}

/// The address of IPv4 that a translator makes of one of IPv6 (RFC 6052 section 2.1).
fn translated(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(address) = address else { return None };
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else { return None };
    Some(IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))))
}

fn read(page: &[u8]) -> Result<Keys, String> {
    Keys::published(page).map_err(|fault| fault.to_string())
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, uri: &Uri) -> Result<Bytes, String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("{uri}: {error}"))?;
    tokio::task::spawn_local(connection);
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = Request::get(path).header(HOST, authority).header(ACCEPT, "application/json");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| format!("{uri}: {error}"))?;
    let response = sender.send_request(request).await.map_err(|error| format!("{uri}: {error}"))?;
    if response.status() != StatusCode::OK {
        return Err(format!("{uri} answers {}", response.status()));
    }
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| format!("{uri}: {error}"))
}
