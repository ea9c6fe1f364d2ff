//! The relay against two scripted ends: whatever the chunks, the waits and the ways of ending, bytes come out as they
//! went in, ends follow them, and aborts reach the other end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use bytes::Buf;
use proptest::prelude::*;

use super::*;

/// What an end sends.
#[derive(Clone, Debug)]
enum Send {
    Chunk(Vec<u8>),
    /// Pending once, with a wake-up to come.
    Wait,
}

/// How an end's sending ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Finale {
    Finish,
    Abort,
    /// Nothing more comes, and the abort of the end shows in its sink alone.
    Broken,
}

/// What an end takes.
#[derive(Clone, Copy, Debug)]
enum Take {
    AtMost(usize),
    Wait,
}

#[derive(Clone, Debug)]
struct Script {
    sends: Vec<Send>,
    finale: Finale,
    takes: Vec<Take>,
    /// Takes nothing once `takes` has run out, instead of everything.
    stalls: bool,
}

#[derive(Debug, Default)]
struct Seen {
    bytes: Vec<u8>,
    finished: bool,
    resets: usize,
}

struct Source {
    sends: VecDeque<Send>,
    finale: Finale,
    ended: bool,
}

struct Sink {
    takes: VecDeque<Take>,
    stalls: bool,
    broken: bool,
    seen: Rc<RefCell<Seen>>,
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn soon<T>(cx: &mut Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

impl ByteSource for Source {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        assert!(!self.ended, "received from after its end");
        match (self.sends.pop_front(), self.finale) {
            (Some(Send::Chunk(chunk)), _) => Poll::Ready(Ok(Some(Bytes::from(chunk)))),
            (Some(Send::Wait), _) => soon(cx),
            (None, Finale::Broken) => Poll::Ready(Err(reset())),
            (None, finale) => {
                self.ended = true;
                Poll::Ready(if finale == Finale::Finish { Ok(None) } else { Err(reset()) })
            }
        }
    }
}

impl ByteSink for Sink {
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>> {
        let mut seen = self.seen.borrow_mut();
        assert!(!seen.finished && seen.resets == 0, "sent to after its end");
        while !data.is_empty() {
            if self.broken {
                return Poll::Ready(Err(reset()));
            }
            let taken = match self.takes.pop_front() {
                Some(Take::AtMost(most)) => most.min(data.len()),
                Some(Take::Wait) => return soon(cx),
                None if self.stalls => return Poll::Pending,
                None => data.len(),
            };
            seen.bytes.extend_from_slice(&data[..taken]);
            data.advance(taken);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(Take::Wait) = self.takes.pop_front() {
            return soon(cx);
        }
        let mut seen = self.seen.borrow_mut();
        assert!(!seen.finished && seen.resets == 0, "finished after its end");
        seen.finished = true;
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self) {
        self.seen.borrow_mut().resets += 1;
    }

    fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        if self.broken { Poll::Ready(reset()) } else { Poll::Pending }
    }
}

struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An end that follows `script`, and what it sees.
fn end(script: &Script) -> (Source, Sink, Rc<RefCell<Seen>>) {
    let seen = Rc::default();
    let source = Source { sends: script.sends.clone().into(), finale: script.finale, ended: false };
    let broken = script.finale == Finale::Broken;
    let sink = Sink { takes: script.takes.clone().into(), stalls: script.stalls, broken, seen: Rc::clone(&seen) };
    (source, sink, seen)
}

/// Relays until the end, or until nothing would ever wake the relay again; then nothing is returned.
fn run(client: &Script, server: &Script) -> (Option<Closed>, Seen, Seen, (u64, u64)) {
    let traffic = Traffic::default();
    let (client_source, client_sink, client_seen) = end(client);
    let (server_source, server_sink, server_seen) = end(server);
    let mut relay = relay((client_source, client_sink), (server_source, server_sink), &traffic);
    let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&wakes));
    let closed = loop {
        let before = wakes.0.load(Ordering::Relaxed);
        match Pin::new(&mut relay).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(closed) => break Some(closed),
            Poll::Pending if wakes.0.load(Ordering::Relaxed) == before => break None,
            Poll::Pending => {}
        }
    };
    drop(relay);
    (closed, client_seen.take(), server_seen.take(), (traffic.sent(), traffic.received()))
}

fn bytes_of(script: &Script) -> Vec<u8> {
    let chunk = |send: &Send| if let Send::Chunk(chunk) = send { chunk.clone() } else { Vec::new() };
    script.sends.iter().flat_map(chunk).collect()
}

fn scripts() -> impl Strategy<Value = Script> {
    let chunk = proptest::collection::vec(any::<u8>(), 1..64).prop_map(Send::Chunk);
    let sends = proptest::collection::vec(prop_oneof![3 => chunk, 1 => Just(Send::Wait)], 0..12);
    let takes =
        proptest::collection::vec(prop_oneof![3 => (1_usize..80).prop_map(Take::AtMost), 1 => Just(Take::Wait)], 0..24);
    let finale = prop_oneof![4 => Just(Finale::Finish), 1 => Just(Finale::Abort), 1 => Just(Finale::Broken)];
    (sends, finale, takes, proptest::bool::weighted(0.2)).prop_map(|(sends, finale, takes, stalls)| Script {
        sends,
        finale,
        takes,
        stalls,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn bytes_and_ends_come_out_as_they_went_in(client in scripts(), server in scripts()) {
        let (closed, client_seen, server_seen, (sent, received)) = run(&client, &server);
        let directions = [(&client, &server, &server_seen, sent), (&server, &client, &client_seen, received)];
        for (from, to, seen, counted) in directions {
            let all = bytes_of(from);
            prop_assert!(all.starts_with(&seen.bytes));
            prop_assert_eq!(counted, seen.bytes.len() as u64);
            if seen.finished {
                prop_assert_eq!(&seen.bytes, &all, "an end overtook its bytes");
                prop_assert_eq!(from.finale, Finale::Finish);
            }
            if closed.is_none() && !to.stalls {
                prop_assert!(seen.finished, "a direction whose sink takes everything hangs");
            }
        }
        let orderly = client.finale == Finale::Finish && server.finale == Finale::Finish;
        match closed {
            Some(Closed::Finished) => {
                prop_assert!(orderly && client_seen.finished && server_seen.finished);
                prop_assert_eq!(client_seen.resets + server_seen.resets, 0);
            }
            Some(Closed::ResetByClient(_)) => prop_assert_ne!(client.finale, Finale::Finish),
            Some(Closed::ResetByServer(_)) => prop_assert_ne!(server.finale, Finale::Finish),
            None => {
                prop_assert!(client.stalls || server.stalls, "a relay hangs that nothing holds up");
                prop_assert!(client.finale != Finale::Broken && server.finale != Finale::Broken);
            }
        }
        if !matches!(closed, Some(Closed::Finished)) {
            prop_assert!(client_seen.resets > 0 && server_seen.resets > 0, "an end was left open");
        }
    }
}

/// An end that sends `chunks` and takes everything.
fn plain(chunks: &[&str], finale: Finale) -> Script {
    let sends = chunks.iter().map(|chunk| Send::Chunk(chunk.as_bytes().to_vec())).collect();
    Script { sends, finale, takes: Vec::new(), stalls: false }
}

#[test]
fn what_was_sent_before_an_abort_arrives_before_it() {
    let client = plain(&["long", " request"], Finale::Finish);
    for finale in [Finale::Abort, Finale::Broken] {
        let server = plain(&["413", " too", " long"], finale);
        let (closed, client_seen, server_seen, _) = run(&client, &server);
        assert!(matches!(closed, Some(Closed::ResetByServer(_))), "{closed:?}");
        assert_eq!(client_seen.bytes, b"413 too long");
        assert!(!client_seen.finished && client_seen.resets == 1 && server_seen.resets == 1);
    }
}

#[test]
fn an_abort_does_not_wait_for_an_end_that_takes_nothing() {
    let client = plain(&["upload"], Finale::Broken);
    let server = Script { stalls: true, sends: vec![Send::Wait; 3], ..plain(&[], Finale::Finish) };
    let (closed, _, server_seen, _) = run(&client, &server);
    assert!(matches!(closed, Some(Closed::ResetByClient(_))), "{closed:?}");
    assert!(server_seen.bytes.is_empty() && server_seen.resets == 1);
}

#[test]
fn a_busy_direction_gives_way() {
    let chunk = "x".repeat(CHUNK_COST);
    let client = plain(&vec![chunk.as_str(); 4 * TURN / CHUNK_COST], Finale::Finish);
    let traffic = Traffic::default();
    let (client_end, server_end) = (end(&client), end(&plain(&[], Finale::Finish)));
    let mut relay = relay((client_end.0, client_end.1), (server_end.0, server_end.1), &traffic);
    let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(Pin::new(&mut relay).poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(traffic.sent() > 0 && traffic.sent() <= TURN as u64, "{}", traffic.sent());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
}
