//! The store in paused time: certificates arrive, are renewed at half life, outlive failures, and follow new roots.

mod kept;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use ambit_model::Reason;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;
use crate::authority::Authority;
use crate::certificate::Certificate;
use crate::client::{Chain, LocalIssuer};
use crate::csr::Csr;
use crate::fixtures::{Ca, HOUR, identity, now, trust};
use crate::revocation::{CertificateId, Revocations};

const REVIEWS: &str = "spiffe://cluster.local/ns/shop/sa/reviews";
const RATINGS: &str = "spiffe://cluster.local/ns/shop/sa/ratings";
const TTL: Duration = Duration::from_secs(120);
const MINUTE: Duration = Duration::from_secs(60);

/// A wall clock that follows tokio's.
fn clock() -> Clock {
    let started = Instant::now();
    Clock::new(move || now() + started.elapsed())
}

/// An intermediate, as far as anybody looks.
static REVOKED: LazyLock<(CertificateDer<'static>, CertificateId)> = LazyLock::new(|| {
    let der = Ca::new().bundle().roots().next().unwrap().clone();
    let id = Certificate::parse(&der).unwrap().id;
    (der, id)
});

/// The local CA, behind a switch that makes it fail and a counter of requests.
struct Switched {
    local: LocalIssuer,
    answer: Mutex<Answer>,
    requests: AtomicU32,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Sign,
    SignAfter(Duration),
    Refuse,
    Hang,
    SignSomeoneElse,
    SignRevoked,
}

impl Switched {
    /// What leads from the leaf to a root, with `SignRevoked`.
    fn revoked() -> CertificateId {
        REVOKED.1.clone()
    }

    fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Issuer for Switched {
    async fn sign(&self, csr: &Csr, identity: &Identity) -> Result<Chain, Error> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let answer = *self.answer.lock().unwrap();
        let answered = match answer {
            Answer::Sign => self.local.sign(csr, identity).await,
            Answer::SignAfter(delay) => {
                tokio::time::sleep(delay).await;
                self.local.sign(csr, identity).await
            }
            Answer::Refuse => Err(Error::Refused { identity: identity.clone(), cause: "CA is down".to_owned() }),
            Answer::Hang => std::future::pending().await,
            Answer::SignRevoked => {
                let mut chain = self.local.sign(csr, identity).await?;
                chain.push(REVOKED.0.clone());
                Ok(chain)
            }
            Answer::SignSomeoneElse => self.local.sign(csr, &super::tests::identity(RATINGS)).await,
        };
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        answered
    }
}

fn store() -> Certificates<Switched> {
    store_of(TTL)
}

fn store_of(ttl: Duration) -> Certificates<Switched> {
    let clock = clock();
    let authority = Authority::generate(&"cluster.local".parse().unwrap(), clock.now()).unwrap();
    let roots = authority.roots();
    let local = LocalIssuer::new(authority, ttl, clock.clone());
    let (requests, at_once, most_at_once) = <(AtomicU32, AtomicU32, AtomicU32)>::default();
    let issuer = Switched { local, answer: Mutex::new(Answer::Sign), requests, at_once, most_at_once };
    Certificates::new(issuer, TrustStore::new(roots), clock)
}

fn leaf_row<I: Issuer>(store: &Certificates<I>, who: &str) -> CertificateSummary {
    store.list().into_iter().find(|row| row.identity == identity(who) && row.kind == CertificateKind::Leaf).unwrap()
}

fn serial<I: Issuer>(store: &Certificates<I>, who: &str) -> String {
    leaf_row(store, who).certificate.unwrap().serial
}

type Pair = (tokio_rustls::server::TlsStream<DuplexStream>, tokio_rustls::client::TlsStream<DuplexStream>);

/// RATINGS dials REVIEWS; the server's view of a failure comes first.
async fn shake<I: Issuer>(store: &Certificates<I>) -> Result<Pair, Reason> {
    let trust = trust("cluster.local", &[]);
    let server = store.tls_server(&identity(REVIEWS), &trust).unwrap();
    let client = store.tls_client(&identity(RATINGS), &[identity(REVIEWS)], &trust).unwrap();
    let (near, far) = duplex(64 * 1024);
    let address = std::net::Ipv4Addr::LOCALHOST.into();
    let (served, connected) =
        tokio::join!(tls::accept(server, far, MINUTE), tls::connect(client, near, address, MINUTE));
    match (served, connected) {
        (Ok((served, _)), Ok((connected, _))) => Ok((served, connected)),
        (Err(failure), _) | (_, Err(failure)) => Err(failure.reason),
    }
}

/// The serial that a new handshake is shown, in hexadecimal.
async fn served_serial<I: Issuer>(store: &Certificates<I>) -> String {
    let (_, client) = shake(store).await.unwrap();
    let shown = client.get_ref().1.peer_certificates().unwrap();
    crate::certificate::Certificate::parse(&shown[0]).unwrap().serial
}

async fn echo(pair: &mut Pair) {
    pair.1.write_all(b"x").await.unwrap();
    assert_eq!(pair.0.read_u8().await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn certificates_are_had_once_and_shared() {
    let store = store();
    let reviews = identity(REVIEWS);
    let trust = trust("cluster.local", &[]);
    assert!(matches!(store.tls_server(&reviews, &trust), Err(Error::NoCertificate(_))));
    store.issuer.answer(Answer::SignAfter(Duration::from_secs(1)));
    let (first, second, third) = tokio::join!(store.ensure(&reviews), store.ensure(&reviews), store.ensure(&reviews));
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    store.ensure(&reviews).await.unwrap();
    assert_eq!(store.issuer.requests(), 1);

    let (one, two) = (store.tls_server(&reviews, &trust).unwrap(), store.tls_server(&reviews, &trust).unwrap());
    assert!(Arc::ptr_eq(&one, &two), "made once");
    let wider = crate::fixtures::trust("cluster.local", &["old.example"]);
    assert!(!Arc::ptr_eq(&one, &store.tls_server(&reviews, &wider).unwrap()), "made anew for other trust");

    store.forget(&reviews);
    assert!(matches!(store.tls_server(&reviews, &trust), Err(Error::NoCertificate(_))));
    assert!(store.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn at_half_life_new_handshakes_get_a_new_certificate_and_open_connections_stay() {
    let store = store();
    let work = async {
        store.ensure(&identity(REVIEWS)).await.unwrap();
        store.ensure(&identity(RATINGS)).await.unwrap();
        let first = served_serial(&store).await;
        assert_eq!(first, serial(&store, REVIEWS));
        let mut open = shake(&store).await.unwrap();

        tokio::time::sleep(TTL * 44 / 100).await;
        assert_eq!(store.issuer.requests(), 2, "not before half life, less jitter");
        tokio::time::sleep(TTL * 12 / 100).await;
        assert_eq!(store.issuer.requests(), 4, "both by half life and jitter");
        let second = served_serial(&store).await;
        assert_ne!(second, first);
        assert_eq!(second, serial(&store, REVIEWS));
        echo(&mut open).await;

        // Ten lives on, and never more often than needed.
        tokio::time::sleep(TTL * 10).await;
        echo(&mut open).await;
        assert!(shake(&store).await.is_ok());
        assert!((36..=52).contains(&store.issuer.requests()), "{}", store.issuer.requests());
    };
    store.renew_loop(work).await;
}

#[tokio::test(start_paused = true)]
async fn while_renewal_fails_the_old_certificate_serves_to_its_end_and_heals_when_the_issuer_answers() {
    let store = store_of(HOUR);
    let work = async {
        store.ensure(&identity(REVIEWS)).await.unwrap();
        store.ensure(&identity(RATINGS)).await.unwrap();
        let first = serial(&store, REVIEWS);
        let started = Instant::now();
        let mut asked = store.issuer.requests();
        for (answer, percent) in [(Answer::Refuse, 60), (Answer::SignSomeoneElse, 80), (Answer::Hang, 99)] {
            store.issuer.answer(answer);
            tokio::time::sleep_until(started + HOUR * percent / 100).await;
            assert_eq!(served_serial(&store).await, first, "{answer:?}");
            assert!(store.issuer.requests() > asked, "{answer:?} was asked for");
            asked = store.issuer.requests();
        }
        tokio::time::sleep_until(started + HOUR + Duration::from_secs(1)).await;
        let trust = trust("cluster.local", &[]);
        assert!(matches!(store.tls_server(&identity(REVIEWS), &trust), Err(Error::Expired(_))));

        // Healed without anyone calling, after the longest backoff at the latest.
        store.issuer.answer(Answer::Sign);
        tokio::time::sleep(renewal::LONGEST_BACKOFF + SIGNING_LIMIT).await;
        assert_ne!(served_serial(&store).await, first);
    };
    store.renew_loop(work).await;
}

/// The levels of what is logged, each with the time since the log began.
#[derive(Clone)]
struct Log(Instant, Arc<Mutex<Vec<(Duration, tracing::Level)>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target().starts_with("ambit_identity") {
            self.1.lock().unwrap().push((self.0.elapsed(), *event.metadata().level()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_gets_louder_as_time_runs_out() {
    use tracing_subscriber::layer::SubscriberExt;
    let log = Log(Instant::now(), Arc::default());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let store = store_of(HOUR);
    store.ensure(&identity(REVIEWS)).await.unwrap();
    store.issuer.answer(Answer::Refuse);
    store.renew_loop(tokio::time::sleep(HOUR * 2)).await;

    let (obtained, failed) = log.1.lock().unwrap().split_first().map(|(one, rest)| (*one, rest.to_vec())).unwrap();
    assert_eq!(obtained.1, tracing::Level::INFO);
    for (when, level) in &failed {
        let expected = match when {
            _ if *when <= HOUR * 3 / 4 => tracing::Level::DEBUG,
            _ if *when < HOUR => tracing::Level::WARN,
            _ => tracing::Level::ERROR,
        };
        assert_eq!(*level, expected, "after {when:?}");
    }
    for level in [tracing::Level::DEBUG, tracing::Level::WARN, tracing::Level::ERROR] {
        assert!(failed.iter().any(|(_, logged)| *logged == level), "{level}: {failed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_ran_out_is_not_offered_any_more() {
    let store = store();
    let reviews = identity(REVIEWS);
    let trust = trust("cluster.local", &[]);
    store.ensure(&reviews).await.unwrap();
    assert_eq!(store.seconds_left(), [(reviews.clone(), 120)]);
    tokio::time::sleep(TTL).await;
    assert_eq!(store.seconds_left(), [(reviews.clone(), 0)]);
    assert!(store.tls_server(&reviews, &trust).is_ok(), "valid to the second");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(store.tls_server(&reviews, &trust), Err(Error::Expired(_))));
    assert!(matches!(store.tls_client(&reviews, &[], &trust), Err(Error::Expired(_))));
    assert!(!leaf_row(&store, REVIEWS).certificate.unwrap().valid);
    store.ensure(&reviews).await.unwrap();
    assert!(store.tls_server(&reviews, &trust).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failing_issuer_is_asked_by_the_schedule_and_not_by_every_caller() {
    let store = store();
    let reviews = identity(REVIEWS);
    store.issuer.answer(Answer::Refuse);
    let error = store.ensure(&reviews).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    for _ in 0..100 {
        let error = store.ensure(&reviews).await.unwrap_err();
        assert!(
            matches!(&error, Error::BackingOff { failures: 1, cause, .. } if cause.contains("CA is down")),
            "{error}"
        );
    }
    assert_eq!(store.issuer.requests(), 1);
    assert_eq!(leaf_row(&store, REVIEWS).status, CertificateStatus::Unavailable);

    // In an hour of refusals no more than the backoff allows: a few doublings, then one per 75 s at most.
    store.renew_loop(tokio::time::sleep(HOUR)).await;
    assert!((24..=60).contains(&store.issuer.requests()), "{}", store.issuer.requests());

    store.issuer.answer(Answer::Sign);
    store.renew_loop(tokio::time::sleep(renewal::LONGEST_BACKOFF)).await;
    assert_eq!(leaf_row(&store, REVIEWS).status, CertificateStatus::Available);
}

#[tokio::test(start_paused = true)]
async fn who_can_wait_has_the_certificate_of_a_later_request_and_nobody_waits_in_vain() {
    let (store, reviews, patience) = (store(), identity(REVIEWS), Duration::from_secs(5));
    store.issuer.answer(Answer::Refuse);
    let recovers = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        store.issuer.answer(Answer::Sign);
    };
    let (served, ()) = tokio::join!(store.ensure_within(&reviews, patience), recovers);
    served.unwrap();
    assert_eq!(store.issuer.requests(), 2);

    // Where the next request is not due in time, it is said at once what the last one came to.
    store.issuer.answer(Answer::Refuse);
    let ratings = identity(RATINGS);
    let begun = Instant::now();
    let error = store.ensure_within(&ratings, patience).await.unwrap_err();
    assert!(matches!(&error, Error::BackingOff { failures, wait, .. } if *failures > 1 && !wait.is_zero()), "{error}");
    assert!(begun.elapsed() < patience, "{:?}", begun.elapsed());
    let at_once = Instant::now();
    store.ensure_within(&ratings, Duration::ZERO).await.unwrap_err();
    assert_eq!(at_once.elapsed(), Duration::ZERO);

    store.issuer.answer(Answer::Hang);
    let details = identity("spiffe://cluster.local/ns/shop/sa/details");
    let error = store.ensure_within(&details, patience).await.unwrap_err();
    assert!(matches!(&error, Error::TimedOut { limit, .. } if *limit == patience), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_is_given_up_and_holds_up_nobody_else() {
    let store = store();
    store.issuer.answer(Answer::Hang);
    let started = Instant::now();
    let error = store.ensure(&identity(REVIEWS)).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert_eq!(started.elapsed(), SIGNING_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn many_identities_are_renewed_several_at_a_time() {
    let store = store();
    let many: Vec<_> = (0..40).map(|n| identity(&format!("spiffe://cluster.local/ns/shop/sa/account-{n}"))).collect();
    store.issuer.answer(Answer::Refuse);
    for one in &many {
        store.ensure(one).await.unwrap_err();
    }
    store.issuer.answer(Answer::SignAfter(Duration::from_secs(1)));
    tokio::time::sleep(MINUTE).await;
    store.renew_loop(tokio::time::sleep(Duration::from_millis(5500))).await;
    assert_eq!(store.issuer.requests(), 80);
    assert_eq!(store.issuer.most_at_once.load(Ordering::SeqCst), 8);
    assert!(store.seconds_left().iter().all(|(_, left)| *left > 100));
}

#[tokio::test(start_paused = true)]
async fn certificates_that_are_not_what_was_asked_for_are_not_used() {
    let store = store();
    store.issuer.answer(Answer::SignSomeoneElse);
    let error = store.ensure(&identity(REVIEWS)).await.unwrap_err();
    assert!(matches!(&error, Error::BadChain { cause, .. } if cause.contains(RATINGS)), "{error}");

    let (key, csr) = csr::request(&identity(REVIEWS)).unwrap();
    let (other_key, _) = csr::request(&identity(REVIEWS)).unwrap();
    let good = store.issuer.local.sign(&csr, &identity(REVIEWS)).await.unwrap();
    let made = |key: &rustls_pki_types::PrivatePkcs8KeyDer<'static>, chain: Chain, when| {
        Leaf::new(&identity(REVIEWS), key.clone_key(), chain, when)
    };
    assert!(made(&key, good.clone(), now()).is_ok());
    let garbage = vec![CertificateDer::from(b"garbage".to_vec())];
    for (case, outcome) in [
        ("another key", made(&other_key, good.clone(), now())),
        ("empty", made(&key, Vec::new(), now())),
        ("garbage", made(&key, garbage, now())),
        ("expired", made(&key, good.clone(), now() + TTL + Duration::from_secs(1))),
        ("not yet valid", made(&key, good, now() - HOUR)),
    ] {
        assert!(matches!(outcome, Err(Error::BadChain { .. })), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn roots_are_replaced_by_way_of_both_and_open_connections_stay() {
    let old = store();
    for who in [REVIEWS, RATINGS] {
        old.ensure(&identity(who)).await.unwrap();
    }
    let mut open = shake(&old).await.unwrap();
    let clock = old.clock.clone();
    let new = Authority::generate(&"cluster.local".parse().unwrap(), clock.now()).unwrap();
    let (old_roots, new_roots) = (old.trust_store.roots(), new.roots());

    old.trust_store.replace_roots(old_roots.union(&new_roots));
    assert!(shake(&old).await.is_ok(), "A+B trusts A");
    assert_eq!(old.list().iter().filter(|row| row.kind == CertificateKind::Root).count(), 4);
    old.trust_store.replace_roots(new_roots);
    assert_eq!(shake(&old).await.unwrap_err(), Reason::UntrustedIssuer, "B does not trust A");
    echo(&mut open).await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_ours_that_is_revoked_is_replaced_at_once() {
    let store = store();
    for who in [REVIEWS, RATINGS] {
        store.ensure(&identity(who)).await.unwrap();
    }
    let before = [serial(&store, REVIEWS), serial(&store, RATINGS)];
    let issued = store.entries.load()[&identity(REVIEWS)].slot.held().unwrap();
    let replaced = async {
        let asked = store.issuer.requests.load(Ordering::SeqCst);
        store.trust_store.replace_revocations(Revocations::of([issued.certificates[0].id.clone()]));
        while store.issuer.requests.load(Ordering::SeqCst) == asked || serial(&store, REVIEWS) == before[0] {
            tokio::task::yield_now().await;
        }
    };
    let begun = tokio::time::Instant::now();
    store.renew_loop(replaced).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(serial(&store, RATINGS), before[1], "nobody revoked that one");
}

#[tokio::test(start_paused = true)]
async fn a_ca_whose_every_certificate_is_revoked_is_asked_ever_more_seldom() {
    let store = store();
    store.ensure(&identity(REVIEWS)).await.unwrap();
    let asked = store.issuer.requests();
    store.issuer.answer(Answer::SignRevoked);
    let held = store.entries.load()[&identity(REVIEWS)].slot.held().unwrap();
    store.trust_store.replace_revocations(Revocations::of([Switched::revoked(), held.certificates[0].id.clone()]));
    store.renew_loop(tokio::time::sleep(Duration::from_secs(60))).await;
    let asked = store.issuer.requests() - asked;
    assert!((3..=12).contains(&asked), "{asked} requests in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_nobody_waits_for_is_asked_by_the_schedule_and_serves_when_it_answers() {
    let store = store();
    store.issuer.answer(Answer::SignAfter(Duration::from_secs(6)));
    let limit = Duration::from_secs(5);
    let who = identity(REVIEWS);
    tokio::time::timeout(limit, store.ensure(&who)).await.expect_err("slower than patience");
    for _ in 0..100 {
        assert!(matches!(store.ensure(&who).await, Err(Error::BackingOff { .. })), "asked at every call");
    }
    assert_eq!(store.issuer.requests(), 1);
    let begun = tokio::time::Instant::now();
    let there = async {
        while store.ensure(&who).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = store.renew_loop(std::future::pending()) => {}
        () = there => {}
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(store.issuer.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_list_has_the_leaf_and_the_roots_of_every_identity_in_order() {
    let store = store();
    store.ensure(&identity(REVIEWS)).await.unwrap();
    store.issuer.answer(Answer::Refuse);
    store.ensure(&identity(RATINGS)).await.unwrap_err();
    store.entry(&identity("spiffe://cluster.local/ns/shop/sa/zeta"));
    let rows: Vec<_> = store
        .list()
        .into_iter()
        .map(|row| (row.identity.service_account.to_string(), row.kind, row.status, row.certificate.map(|c| c.valid)))
        .collect();
    use {CertificateKind as K, CertificateStatus as S};
    let expected = [
        ("ratings", K::Leaf, S::Unavailable, None),
        ("reviews", K::Leaf, S::Available, Some(true)),
        ("reviews", K::Root, S::Available, Some(true)),
        ("zeta", K::Leaf, S::Initializing, None),
    ];
    let expected: Vec<_> = expected.map(|(who, kind, status, valid)| (who.to_owned(), kind, status, valid)).into();
    assert_eq!(rows, expected);
    let leaf = leaf_row(&store, REVIEWS).certificate.unwrap();
    assert_eq!((leaf.not_before, leaf.not_after), (now() - 2 * MINUTE, now() + TTL));
    assert_eq!(leaf.serial.len(), 32);
}

#[tokio::test(start_paused = true)]
async fn debug_output_shows_no_key() {
    let store = store();
    let (key, csr) = csr::request(&identity(REVIEWS)).unwrap();
    let chain = store.issuer.local.sign(&csr, &identity(REVIEWS)).await.unwrap();
    let entry = store.entry(&identity(REVIEWS));
    entry.slot.obtained(Leaf::new(&identity(REVIEWS), key.clone_key(), chain, now()).unwrap());
    let server = store.tls_server(&identity(REVIEWS), &trust("cluster.local", &[])).unwrap();
    let client = store.tls_client(&identity(REVIEWS), &[], &trust("cluster.local", &[])).unwrap();
    let shown = format!("{store:?} {entry:?} {:?} {server:?} {client:?} {key:?} {csr:?}", entry.slot.held());
    assert!(shown.contains(REVIEWS) && shown.contains("CertifiedKey"), "{shown}");

    // PKCS #8 of a P-256 key: 36 bytes of header, then the 32 of the scalar.
    let scalar = &key.secret_pkcs8_der()[36..68];
    let decimal = format!("{:?}", &scalar[..8]);
    let hexadecimal: String = scalar[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!shown.contains(decimal.trim_matches(['[', ']'])), "as a list of bytes");
    assert!(!shown.to_lowercase().contains(&hexadecimal), "in hexadecimal");
}
