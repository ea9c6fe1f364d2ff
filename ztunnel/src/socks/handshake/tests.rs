//! What a client is told before it is connected, and how long it is listened to.

use tokio::io::duplex;
use tokio::time::Instant;

use super::*;

const GREETING: [u8; 3] = [5, 1, 0];
const REQUEST: [u8; 10] = [5, 1, 0, 1, 10, 0, 0, 1, 0, 80];

/// What comes of a client that says `said` and no more, and what it is told until then.
async fn told(said: &[u8]) -> (Result<Authority, (Error, Vec<u8>)>, Vec<u8>) {
    let (mut client, mut server) = duplex(1024);
    client.write_all(said).await.unwrap();
    client.shutdown().await.unwrap();
    let outcome = negotiate(&mut server).await;
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    (outcome, answer)
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_request_is_left_to_the_destination() {
    let (mut client, mut server) = duplex(1024);
    client.write_all(&[&GREETING[..], &REQUEST, b"early"].concat()).await.unwrap();
    assert_eq!(negotiate(&mut server).await.unwrap(), "10.0.0.1:80".parse().unwrap());
    let mut early = [0; 5];
    server.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_half_way_is_given_up() {
    let whole = [&GREETING[..], &REQUEST].concat();
    for length in 0..whole.len() {
        let (outcome, _) = told(&whole[..length]).await;
        assert!(matches!(outcome, Err((Error::Ended(_), _))), "{length}: {outcome:?}");
        // The same without an end.
        let (mut client, mut server) = duplex(1024);
        client.write_all(&whole[..length]).await.unwrap();
        let begun = Instant::now();
        let outcome = negotiate(&mut server).await;
        assert!(matches!(outcome, Err((Error::Silent, _))), "{length}: {outcome:?}");
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drip_of_bytes_buys_no_time() {
    let (mut client, mut server) = duplex(1024);
    let drip = async {
        for byte in [5, 255].into_iter().chain([0; 255]) {
            client.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let begun = Instant::now();
    tokio::select! {
        outcome = negotiate(&mut server) => assert!(matches!(outcome, Err((Error::Silent, _))), "{outcome:?}"),
        () = drip => panic!("it was listened to for ever"),
    }
    assert_eq!(begun.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_be_served_is_told_so() {
    let (outcome, answer) = told(&[5, 1, 2]).await;
    assert!(matches!(outcome, Err((Error::Methods, last)) if last == [5, 0xff]) && answer.is_empty());
    let (outcome, answer) = told(&[5, 1, 0, 5, 2, 0, 1]).await;
    assert!(matches!(outcome, Err((Error::Command(2), last)) if last[..2] == [5, 7]));
    assert_eq!(answer, [5, 0]);
    let (outcome, answer) = told(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(matches!(outcome, Err((Error::Version(b'G'), last)) if last.is_empty()) && answer.is_empty());
}
