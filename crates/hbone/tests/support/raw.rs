//! A peer that writes frames of HTTP/2 by hand, for what no honest library would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

pub(crate) const END_HEADERS: u8 = 4;

/// What a client begins with: the preface and empty settings.
pub(crate) fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// HEADERS of a CONNECT to `authority`, in literals of HPACK.
pub(crate) fn connect(stream: u32, authority: &str) -> Vec<u8> {
    let mut block = b"\x02\x07CONNECT\x01".to_vec();
    block.push(u8::try_from(authority.len()).unwrap());
    block.extend(authority.as_bytes());
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A frame as it was read.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The next frame, or `None` when the peer has closed.
pub(crate) async fn read_frame(transport: &mut DuplexStream) -> Option<Frame> {
    let mut head = [0; 9];
    transport.read_exact(&mut head).await.ok()?;
    let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    let mut payload = vec![0; len];
    transport.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind: head[3], flags: head[4], stream, payload })
}

/// Reads until there is a frame of a kind; those before it are passed over.
pub(crate) async fn read_until(transport: &mut DuplexStream, kind: u8) -> Frame {
    loop {
        let frame = read_frame(transport).await.expect("the peer has closed");
        if frame.kind == kind {
            return frame;
        }
    }
}

pub(crate) async fn write(transport: &mut DuplexStream, bytes: &[u8]) {
    transport.write_all(bytes).await.unwrap();
}
