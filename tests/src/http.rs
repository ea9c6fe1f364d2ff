//! A small blocking HTTP/1.1 client for the agents' own ports, inside a network namespace.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::netns;

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status, such as 200.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// GETs `path` from `address` in the network namespace at `netns`.
///
/// # Errors
/// When nothing listens there, or the answer is not HTTP or takes longer than five seconds.
pub fn get(netns: &Path, address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    request(netns, address, "GET", path)
}

/// GETs `path` from a port of loopback, as an operator does from within the namespace.
///
/// # Errors
/// As [`get`].
pub fn local(netns: &Path, port: u16, path: &str) -> anyhow::Result<Response> {
    get(netns, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port), path)
}

/// A page of a port of loopback that is JSON, such as `/config_dump`.
///
/// # Errors
/// When it cannot be had or is not JSON.
pub fn json(netns: &Path, port: u16, path: &str) -> anyhow::Result<Value> {
    let answer = local(netns, port, path)?;
    ensure!(answer.status == 200, "{path} answers {}: {}", answer.status, answer.body);
    serde_json::from_str(&answer.body).with_context(|| format!("{path} is not JSON"))
}

/// True if the page of a port of loopback answers 200.
#[must_use]
pub fn is_well(netns: &Path, port: u16, path: &str) -> bool {
    local(netns, port, path).is_ok_and(|answer| answer.status == 200)
}

/// Sends a request without a body.
///
/// # Errors
/// As [`get`].
pub fn request(netns: &Path, address: SocketAddr, method: &str, path: &str) -> anyhow::Result<Response> {
    let answer = netns::run_in(netns, || exchange(address, method, path))?;
    answer.with_context(|| format!("{method} http://{address}{path}"))
}

fn exchange(address: SocketAddr, method: &str, path: &str) -> anyhow::Result<Response> {
    // An agent that waits for the kernel answers late: taking namespaces down elsewhere can hold its locks for seconds.
    let patience = Duration::from_secs(20);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).context("the answer is not HTTP/1.1")
}

/// The answer that these bytes are; `None` if they are none.
pub(crate) fn parse(answer: &[u8]) -> Option<Response> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(answer.get(..end)?).ok()?, answer.get(end + 4..)?);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let chunked = lines.any(|line| line.to_ascii_lowercase().starts_with("transfer-encoding: chunked"));
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Some(Response { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = memchr::memmem::find(rest, b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        let data = rest.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(data.get(..size)?);
        rest = data.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_framings() {
        let plain = parse(b"HTTP/1.1 503 Oh\r\ncontent-length: 2\r\n\r\nno").unwrap();
        assert_eq!((plain.status, plain.body.as_str()), (503, "no"));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body, "abcd");
        assert!(parse(b"SSH-2.0\r\n").is_none());
    }
}
