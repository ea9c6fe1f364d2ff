//! A caller who speaks, and servers that take their time, refuse him, or take only some of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::rc::Rc;

use ambit_model::Reason;
use tokio::sync::oneshot;

use super::*;

/// Says these chunks, and then nothing more, ends or is gone.
struct Speaker(VecDeque<io::Result<Option<Bytes>>>);

impl Speaker {
    fn of(chunks: &[&'static str]) -> Self {
        Self(chunks.iter().map(|chunk| Ok(Some(Bytes::from_static(chunk.as_bytes())))).collect())
    }
}

impl ByteSource for Speaker {
    fn poll_receive(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.0.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Agrees when it is told to.
struct Slow(Option<oneshot::Receiver<Result<(), Stop>>>);

impl ByteSource for Slow {
    fn poll_receive(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        Poll::Pending
    }
}

impl Server for Slow {
    fn agreed(&mut self) -> impl Future<Output = Result<(), Stop>> {
        let told = self.0.take().unwrap();
        async { told.await.unwrap() }
    }
}

/// Takes so many bytes, and no more for now.
#[derive(Clone)]
struct Taking {
    heard: Rc<RefCell<Vec<u8>>>,
    room: usize,
    broken: bool,
}

impl Taking {
    fn with_room(room: usize) -> Self {
        Self { heard: Rc::default(), room, broken: false }
    }

    fn heard(&self) -> String {
        String::from_utf8(self.heard.borrow().clone()).unwrap()
    }
}

impl ByteSink for Taking {
    fn poll_send(&mut self, _: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let taken = data.split_to(data.len().min(self.room - self.heard.borrow().len()));
        self.heard.borrow_mut().extend_from_slice(&taken);
        if data.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        panic!("whoever reads on passes the end on")
    }

    fn reset(&mut self) {}

    fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }
}

/// What `said` says to a server that takes `sink`'s share and then does as `agreed` says.
async fn tell(
    said: &mut Said,
    client: &mut (Speaker, Taking),
    sink: Taking,
    agreed: Result<(), Stop>,
) -> Result<(), Stop> {
    let (tell, told) = oneshot::channel();
    let mut server = (Slow(Some(told)), sink);
    let mut until = pin!(said.until_agreed(client, &mut server));
    // All that can be said is said before anybody agrees.
    assert!(futures_util::poll!(until.as_mut()).is_pending());
    assert!(tell.send(agreed).is_ok());
    until.await
}

fn refused() -> Result<(), Stop> {
    Err(Stop::Unheard(Reason::ConnectionRefused.into()))
}

#[tokio::test]
async fn what_was_said_to_one_that_refused_is_said_to_the_next_whole_and_once() {
    let mut client = (Speaker::of(&["GET / ", "HTTP/1.1\r\n", "\r\n"]), Taking::with_room(0));
    let (mut said, first, second) = (Said::default(), Taking::with_room(9), Taking::with_room(100));
    assert!(matches!(tell(&mut said, &mut client, first.clone(), refused()).await, Err(Stop::Unheard(_))));
    assert_eq!(first.heard(), "GET / HTT");
    client.0.0.push_back(Ok(Some(Bytes::from_static(b"more"))));
    assert!(tell(&mut said, &mut client, second.clone(), Ok(())).await.is_ok());
    assert_eq!(second.heard(), "GET / HTTP/1.1\r\n\r\nmore");
    let traffic = Traffic::default();
    assert!(said.unsent(&traffic).is_empty());
    assert_eq!(traffic.sent(), 22, "each byte counts once");
}

#[tokio::test]
async fn what_the_server_had_no_room_for_yet_is_left_to_be_sent() {
    for (room, left) in [(0, "abcdefghi"), (2, "cdefghi"), (3, "defghi"), (7, "hi"), (9, "")] {
        let mut client = (Speaker::of(&["abc", "def", "ghi"]), Taking::with_room(0));
        let mut said = Said::default();
        assert!(tell(&mut said, &mut client, Taking::with_room(room), Ok(())).await.is_ok());
        let traffic = Traffic::default();
        let mut unsent = said.unsent(&traffic).to_vec();
        // Nothing more is read from the caller than there is room for.
        while let Some(Ok(Some(chunk))) = client.0.0.pop_front() {
            unsent.extend_from_slice(&chunk);
        }
        assert_eq!((String::from_utf8(unsent).unwrap().as_str(), traffic.sent()), (left, room as u64));
    }
}

#[tokio::test]
async fn a_caller_who_says_much_waits_until_somebody_agrees() {
    let chunk: &'static str = "x".repeat(MOST / 2).leak();
    let mut client = (Speaker::of(&[chunk, chunk, chunk]), Taking::with_room(0));
    let (mut said, sink) = (Said::default(), Taking::with_room(usize::MAX));
    assert!(tell(&mut said, &mut client, sink.clone(), Ok(())).await.is_ok());
    assert_eq!((sink.heard().len(), client.0.0.len()), (MOST, 1));
}

#[tokio::test]
async fn a_caller_who_says_little_at_a_time_takes_no_more_memory() {
    let mut client = (Speaker::of(&["x"; 100]), Taking::with_room(0));
    let (mut said, sink) = (Said::default(), Taking::with_room(100));
    assert!(tell(&mut said, &mut client, sink.clone(), Ok(())).await.is_ok());
    assert_eq!((sink.heard().len(), client.0.0.len()), (MOST / LEAST, 100 - MOST / LEAST));
}

#[tokio::test]
async fn an_end_is_not_passed_on_and_an_abort_is_the_end() {
    let mut client = (Speaker::of(&["bye"]), Taking::with_room(0));
    client.0.0.push_back(Ok(None));
    let (mut said, sink) = (Said::default(), Taking::with_room(3));
    assert!(tell(&mut said, &mut client, sink, Ok(())).await.is_ok());

    let mut client = (Speaker::of(&["bye"]), Taking::with_room(0));
    client.0.0.push_back(Err(io::ErrorKind::ConnectionReset.into()));
    let (_tell, told) = oneshot::channel();
    let mut server = (Slow(Some(told)), Taking::with_room(3));
    let stopped = Said::default().until_agreed(&mut client, &mut server).await;
    assert!(matches!(stopped, Err(Stop::Ended(why)) if why.reason == Reason::ResetByClient));
}

#[tokio::test]
async fn of_a_stream_that_breaks_the_answer_says_why() {
    let mut client = (Speaker::of(&["hello"]), Taking::with_room(0));
    let (mut said, broken) = (Said::default(), Taking { broken: true, ..Taking::with_room(0) });
    assert!(matches!(tell(&mut said, &mut client, broken, refused()).await, Err(Stop::Unheard(_))));
    let next = Taking::with_room(100);
    assert!(tell(&mut said, &mut client, next.clone(), Ok(())).await.is_ok());
    assert_eq!(next.heard(), "hello");
}
