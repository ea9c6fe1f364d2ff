//! The close table: however one end of a relayed connection ends, the other end sees what it would see if the two
//! were connected directly. Every row runs directly and relayed, with the acting end dialling and dialled.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ambit_model::traffic::Traffic;
use ambit_net::socket::{ConnectOptions, Keepalive, connect};
use ambit_net::{Closed, NetNs, relay, tcp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use crate::place::{at, bare, block_on, run};

const PATIENCE: Duration = Duration::from_secs(10);

/// Two connected sockets: `client` dialled.
struct Wire {
    client: TcpStream,
    server: TcpStream,
}

fn wire() -> Wire {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    Wire { client, server }
}

/// A relay between two wires that waits to be started, so that a test can have everything arrive at once.
struct Relaying {
    start: Sender<()>,
    closed: JoinHandle<Closed>,
}

fn relay_between(client_side: TcpStream, server_side: TcpStream) -> Relaying {
    let (start, started): (Sender<()>, Receiver<()>) = channel();
    let closed = std::thread::spawn(move || {
        started.recv().unwrap();
        let halves = |stream: TcpStream| {
            stream.set_nonblocking(true).unwrap();
            tcp::split(tokio::net::TcpStream::from_std(stream).unwrap())
        };
        block_on(async { relay(halves(client_side), halves(server_side), &Traffic::default()).await })
    });
    Relaying { start, closed }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Acting {
    Client,
    Server,
}

/// What the watching end sees: bytes, then an end of the reading, then whether it could still write, where that was
/// tried.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    bytes: Vec<u8>,
    end: Result<(), ErrorKind>,
    writing: Option<Result<(), ErrorKind>>,
}

const FINISHED: Result<(), ErrorKind> = Ok(());
const ABORTED: Result<(), ErrorKind> = Err(ErrorKind::ConnectionReset);
const BROKEN: Result<(), ErrorKind> = Err(ErrorKind::BrokenPipe);

fn saw(bytes: &[u8], end: Result<(), ErrorKind>) -> Seen {
    Seen { bytes: bytes.to_vec(), end, writing: None }
}

/// Reads to the end, whichever it is.
fn read_all(mut stream: &TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).map(|_| ()).map_err(|error| error.kind());
    Seen { bytes, end, writing: None }
}

/// Reads to the end and then tries to write.
fn read_all_and_write(mut stream: &TcpStream) -> Seen {
    let seen = read_all(stream);
    Seen { writing: Some(stream.write_all(b"?").map_err(|error| error.kind())), ..seen }
}

fn write(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
}

/// Waits until `stream` holds `count` unread bytes.
fn await_unread(stream: &TcpStream, count: usize) {
    let mut bytes = vec![0; count];
    while stream.peek(&mut bytes).unwrap() < count {
        std::thread::yield_now();
    }
}

/// Waits until `stream` has been aborted or closed both ways, reading nothing.
fn await_hang_up(stream: &TcpStream) {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let events = poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap();
    assert_eq!(events, 1, "the abort does not arrive");
}

fn read_exactly(mut stream: &TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

fn abort(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// A process of its own that holds `stream`, until it is killed.
fn hand_over(stream: TcpStream) -> std::process::Child {
    Command::new("sleep").arg("60").stdin(Stdio::from(OwnedFd::from(stream))).spawn().unwrap()
}

fn kill(mut process: std::process::Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

/// How the relay must say that the connection ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Finished,
    ResetByActor,
}

/// Runs `act` directly and relayed, with either end acting: the watching end must always see `expected`. Nothing is
/// relayed before `act` calls its last argument.
fn row(expected: &Seen, verdict: Verdict, act: impl Fn(TcpStream, &TcpStream, &dyn Fn()) -> Seen) {
    for acting in [Acting::Client, Acting::Server] {
        for relayed in [false, true] {
            let mut ends = wire();
            let relaying = relayed.then(|| {
                let second = wire();
                let near = std::mem::replace(&mut ends.server, second.server);
                relay_between(near, second.client)
            });
            let (actor, watcher) = match acting {
                Acting::Client => (ends.client, ends.server),
                Acting::Server => (ends.server, ends.client),
            };
            let start = || relaying.iter().for_each(|relaying| relaying.start.send(()).unwrap());
            assert_eq!(&act(actor, &watcher, &start), expected, "{acting:?} acting, relayed: {relayed}");
            drop(watcher);
            if let Some(relaying) = relaying {
                let closed = relaying.closed.join().unwrap();
                let said = match (&closed, acting) {
                    (Closed::Finished, _) => Some(Verdict::Finished),
                    (Closed::ResetByClient(_), Acting::Client) => Some(Verdict::ResetByActor),
                    (Closed::ResetByServer(_), Acting::Server) => Some(Verdict::ResetByActor),
                    _ => None,
                };
                assert_eq!(said, Some(verdict), "{acting:?} acting: {closed:?}");
            }
        }
    }
}

#[test]
fn fin() {
    row(&saw(b"bye", FINISHED), Verdict::Finished, |actor, watcher, start| {
        start();
        write(&actor, b"bye");
        drop(actor);
        read_all(watcher)
    });
}

#[test]
fn fin_with_everything_there_before_the_relay() {
    row(&saw(b"bye", FINISHED), Verdict::Finished, |actor, watcher, start| {
        write(&actor, b"bye");
        drop(actor);
        start();
        read_all(watcher)
    });
}

#[test]
fn half_close_then_data_the_other_way() {
    row(&saw(b"question", FINISHED), Verdict::Finished, |actor, watcher, start| {
        start();
        write(&actor, b"question");
        actor.shutdown(Shutdown::Write).unwrap();
        let seen = read_all(watcher);
        write(watcher, b"answer");
        read_exactly(&actor, b"answer");
        write(watcher, b", and more");
        watcher.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&actor), saw(b", and more", FINISHED));
        seen
    });
}

#[test]
fn both_finish_at_once() {
    row(&saw(b"farewell", FINISHED), Verdict::Finished, |actor, watcher, start| {
        write(&actor, b"farewell");
        actor.shutdown(Shutdown::Write).unwrap();
        write(watcher, b"adieu");
        watcher.shutdown(Shutdown::Write).unwrap();
        start();
        assert_eq!(read_all(&actor), saw(b"adieu", FINISHED));
        read_all(watcher)
    });
}

#[test]
fn rst() {
    row(&saw(b"", ABORTED), Verdict::ResetByActor, |actor, watcher, start| {
        start();
        write(&actor, b"data");
        read_exactly(watcher, b"data");
        abort(actor);
        read_all(watcher)
    });
}

#[test]
fn rst_leaves_what_has_arrived() {
    row(&saw(b"data", ABORTED), Verdict::ResetByActor, |actor, watcher, start| {
        start();
        write(&actor, b"data");
        await_unread(watcher, 4);
        abort(actor);
        await_hang_up(watcher);
        read_all(watcher)
    });
}

#[test]
fn rst_hard_upon_data_does_not_overtake_it() {
    row(&saw(b"data", ABORTED), Verdict::ResetByActor, |actor, watcher, start| {
        write(&actor, b"data");
        abort(actor);
        start();
        await_hang_up(watcher);
        read_all(watcher)
    });
}

#[test]
fn rst_of_an_end_with_unread_data() {
    row(&saw(b"413", ABORTED), Verdict::ResetByActor, |actor, watcher, start| {
        start();
        write(watcher, b"upload");
        await_unread(&actor, 6);
        write(&actor, b"413");
        drop(actor);
        await_hang_up(watcher);
        read_all(watcher)
    });
}

#[test]
fn rst_met_while_sending_to_that_end() {
    row(&saw(b"413", ABORTED), Verdict::ResetByActor, |actor, watcher, start| {
        write(watcher, b"upload");
        write(&actor, b"413");
        abort(actor);
        start();
        await_hang_up(watcher);
        read_all(watcher)
    });
}

#[test]
fn rst_after_fin_while_nothing_is_sent() {
    let expected = Seen { writing: Some(BROKEN), ..saw(b"data", FINISHED) };
    row(&expected, Verdict::ResetByActor, |actor, watcher, start| {
        start();
        write(&actor, b"data");
        actor.shutdown(Shutdown::Write).unwrap();
        await_unread(watcher, 4);
        abort(actor);
        await_hang_up(watcher);
        read_all_and_write(watcher)
    });
}

#[test]
fn rst_hard_upon_fin() {
    let expected = Seen { writing: Some(BROKEN), ..saw(b"data", FINISHED) };
    row(&expected, Verdict::ResetByActor, |actor, watcher, start| {
        write(&actor, b"data");
        actor.shutdown(Shutdown::Write).unwrap();
        abort(actor);
        start();
        await_hang_up(watcher);
        read_all_and_write(watcher)
    });
}

#[test]
fn rst_hard_upon_fin_met_while_sending_to_that_end() {
    let expected = Seen { writing: Some(BROKEN), ..saw(b"413", FINISHED) };
    row(&expected, Verdict::ResetByActor, |actor, watcher, start| {
        write(watcher, b"upload");
        write(&actor, b"413");
        actor.shutdown(Shutdown::Write).unwrap();
        abort(actor);
        start();
        await_hang_up(watcher);
        read_all_and_write(watcher)
    });
}

#[test]
fn rst_in_answer_to_fin() {
    row(&saw(b"", ABORTED), Verdict::ResetByActor, |actor, watcher, start| {
        start();
        watcher.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&actor), saw(b"", FINISHED));
        abort(actor);
        read_all(watcher)
    });
}

#[test]
fn data_for_an_end_that_has_closed() {
    let expected = Seen { writing: Some(BROKEN), ..saw(b"", FINISHED) };
    row(&expected, Verdict::ResetByActor, |actor, watcher, start| {
        start();
        drop(actor);
        assert_eq!(read_all(watcher), saw(b"", FINISHED));
        write(watcher, b"anybody there?");
        await_hang_up(watcher);
        read_all_and_write(watcher)
    });
}

#[test]
fn rst_past_an_end_that_does_not_read() {
    row(&saw(b"", ABORTED), Verdict::ResetByActor, |actor, watcher, start| {
        start();
        let sent = fill(&actor);
        abort(actor);
        await_hang_up(watcher);
        let seen = read_all(watcher);
        assert!(!seen.bytes.is_empty() && sent.starts_with(&seen.bytes), "{} bytes", seen.bytes.len());
        saw(b"", seen.end)
    });
}

/// Writes until nothing more is taken for a while, and returns what has been.
fn fill(mut stream: &TcpStream) -> Vec<u8> {
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let chunk: Vec<u8> = (0..65_521_u32).map(|index| (index % 251) as u8).collect();
    let mut sent = Vec::new();
    while let Ok(count) = stream.write(&chunk[sent.len() % chunk.len()..]) {
        sent.extend_from_slice(&chunk[sent.len() % chunk.len()..][..count]);
    }
    sent
}

#[test]
fn killed_process() {
    row(&saw(b"last words", FINISHED), Verdict::Finished, |actor, watcher, start| {
        start();
        write(&actor, b"last words");
        kill(hand_over(actor));
        read_all(watcher)
    });
}

#[test]
fn killed_process_with_unread_data() {
    row(&saw(b"", ABORTED), Verdict::ResetByActor, |actor, watcher, start| {
        start();
        write(watcher, b"unread");
        await_unread(&actor, 6);
        kill(hand_over(actor));
        read_all(watcher)
    });
}

#[test]
fn a_relay_that_is_dropped_resets_both_ends() {
    for polled in [false, true] {
        let (first, second) = (wire(), wire());
        for stream in [&first.server, &second.client] {
            stream.set_nonblocking(true).unwrap();
        }
        let traffic = Traffic::default();
        block_on(async {
            let halves = |stream| tcp::split(tokio::net::TcpStream::from_std(stream).unwrap());
            let relaying = relay(halves(first.server), halves(second.client), &traffic);
            if polled {
                let outcome = tokio::time::timeout(Duration::from_millis(1), relaying).await;
                assert!(outcome.is_err());
            }
        });
        assert_eq!(read_all(&first.client), saw(b"", ABORTED));
        assert_eq!(read_all(&second.server), saw(b"", ABORTED));
    }
}

/// A client whose network is gone, or whose node is, sends neither FIN nor RST.
#[test]
fn an_end_that_fell_silent_is_found_by_keepalive() {
    let (near, far) = (bare(), bare());
    let keepalive = Keepalive { time: SECOND, interval: SECOND, probes: 2, user_timeout: None };
    cable(&near, &far);
    let listener = far.run(|| TcpListener::bind(at("10.98.0.2", 80))).unwrap().unwrap();
    let options = ConnectOptions { keepalive: Some(keepalive), ..ConnectOptions::outward() };
    let local = wire();
    local.server.set_nonblocking(true).unwrap();
    let traffic = Traffic::default();
    let (closed, took) = block_on(async {
        let silent = connect(&near, at("10.98.0.2", 80), &options).await.unwrap();
        let _accepted = listener.accept().unwrap();
        run(&far, "ip address flush dev eth0");
        let started = Instant::now();
        let local = tcp::split(tokio::net::TcpStream::from_std(local.server).unwrap());
        (relay(local, tcp::split(silent), &traffic).await, started.elapsed())
    });
    assert!(matches!(&closed, Closed::ResetByServer(error) if error.kind() == ErrorKind::TimedOut), "{closed:?}");
    assert!(took < 6 * SECOND, "{took:?}");
    assert_eq!(read_all(&local.client), saw(b"", ABORTED));
}

const SECOND: Duration = Duration::from_secs(1);

/// Joins two bare namespaces: 10.98.0.1 in `near`, 10.98.0.2 in `far`, whose link address `near` knows for good.
fn cable(near: &NetNs, far: &NetNs) {
    run(near, "ip link add eth0 type veth peer name far0");
    let far_end = std::fs::File::from(far.as_fd().try_clone_to_owned().unwrap());
    let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&far_end));
    run(near, &format!("ip link set far0 netns {path}"));
    run(far, "ip link set far0 name eth0 address 02:00:00:00:00:02");
    for (namespace, address) in [(near, "10.98.0.1/24"), (far, "10.98.0.2/24")] {
        run(namespace, &format!("ip address add {address} dev eth0"));
        run(namespace, "ip link set eth0 up");
    }
    run(near, "ip neighbour replace 10.98.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent");
}
