//! One process after another: what the first obtained the next begins with, unless it is not to be believed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;

use super::*;

/// A directory in memory, everywhere.
fn memory() -> TempDir {
    TempDir::new_in("/dev/shm").expect("a tmpfs at /dev/shm")
}

/// The next process of the same mesh, its CA being away.
fn after(before: &Certificates<Switched>, directory: &Path) -> Certificates<Switched> {
    let fresh = store();
    fresh.issuer.answer(Answer::Refuse);
    Certificates { trust_store: before.trust_store.clone(), clock: before.clock.clone(), ..fresh }
        .keeping(Kept::open(directory).unwrap())
}

fn file(directory: &Path) -> PathBuf {
    directory.join("cluster.local_shop_reviews.pem")
}

#[tokio::test(start_paused = true)]
async fn what_one_process_obtained_the_next_one_has_while_the_ca_is_away() {
    let memory = memory();
    let directory = memory.path().join("kept");
    let first = store().keeping(Kept::open(&directory).unwrap());
    for who in [REVIEWS, RATINGS] {
        first.ensure(&identity(who)).await.unwrap();
    }
    let shown = served_serial(&first).await;

    tokio::time::sleep(TTL * 40 / 100).await;
    let second = after(&first, &directory);
    let work = async {
        for who in [REVIEWS, RATINGS] {
            second.ensure(&identity(who)).await.unwrap();
        }
        assert_eq!((served_serial(&second).await, second.issuer.requests()), (shown, 0));
        // Its life has not begun anew with the process.
        tokio::time::sleep(TTL * 17 / 100).await;
        assert!(second.issuer.requests() >= 2, "asked at half life: {}", second.issuer.requests());
        assert!(shake(&second).await.is_ok(), "it serves to its end");
    };
    second.renew_loop(work).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_renewed_is_what_the_next_one_has() {
    let memory = memory();
    let first = store().keeping(Kept::open(memory.path()).unwrap());
    first.ensure(&identity(REVIEWS)).await.unwrap();
    let before = serial(&first, REVIEWS);
    first.renew_loop(tokio::time::sleep(TTL * 60 / 100)).await;
    let renewed = serial(&first, REVIEWS);
    assert_ne!(renewed, before);
    let second = after(&first, memory.path());
    second.ensure(&identity(REVIEWS)).await.unwrap();
    assert_eq!(serial(&second, REVIEWS), renewed);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_believed_any_more_is_removed_and_the_ca_is_asked() {
    type Spoil = fn(&Certificates<Switched>, &Path);
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let spoils: [(&str, Spoil); 6] = [
        ("signed by another CA", |first, _| first.trust_store.replace_roots(Ca::new().bundle())),
        ("revoked", |first, path| {
            let kept = CertificateDer::pem_slice_iter(&fs::read(path).unwrap()).next().unwrap().unwrap();
            let id = Certificate::parse(&kept).unwrap().id;
            first.trust_store.replace_revocations(Revocations::of([id]));
        }),
        ("mode 0644", |_, path| fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap()),
        ("no private key", |_, path| fs::write(path, &fs::read(path).unwrap()[..40]).unwrap()),
        ("it is empty", |_, path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, &text[..text.find("-----BEGIN CERTIFICATE").unwrap()]).unwrap();
        }),
        ("KeyMismatch", |_, path| {
            let (key, _) = csr::request(&identity(REVIEWS)).unwrap();
            let text = fs::read_to_string(path).unwrap();
            let certificates = &text[text.find("-----BEGIN CERTIFICATE").unwrap()..];
            fs::write(path, csr::to_pem("PRIVATE KEY", key.secret_pkcs8_der()) + certificates).unwrap();
        }),
    ];
    for (cause, spoil) in spoils {
        let memory = memory();
        let path = file(memory.path());
        let first = store().keeping(Kept::open(memory.path()).unwrap());
        first.ensure(&identity(REVIEWS)).await.unwrap();
        let before = text(&path);
        spoil(&first, &path);
        let second = after(&first, memory.path());
        let reviews = identity(REVIEWS);
        let found = second.kept.as_ref().unwrap().find(&reviews).unwrap();
        let why = found.and_then(|found| second.believed(&reviews, found, second.clock.now())).unwrap_err();
        assert!(why.contains(cause), "{cause}: {why}");
        second.ensure(&identity(REVIEWS)).await.unwrap_err();
        assert_eq!((second.issuer.requests(), path.exists()), (1, false), "{cause}");
        second.issuer.answer(Answer::Sign);
        tokio::time::sleep(MINUTE).await;
        second.ensure(&identity(REVIEWS)).await.unwrap();
        assert_ne!(text(&path), before, "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_has_expired_is_of_no_use() {
    let memory = memory();
    let first = store().keeping(Kept::open(memory.path()).unwrap());
    first.ensure(&identity(REVIEWS)).await.unwrap();
    tokio::time::sleep(TTL + Duration::from_secs(1)).await;
    let second = after(&first, memory.path());
    second.ensure(&identity(REVIEWS)).await.unwrap_err();
    assert_eq!((second.issuer.requests(), second.identities().len()), (1, 1));
    assert!(!file(memory.path()).exists());
}

#[tokio::test(start_paused = true)]
async fn keys_are_their_owners_only_and_go_when_they_are_forgotten() {
    let memory = memory();
    let directory = memory.path().join("kept");
    let first = store().keeping(Kept::open(&directory).unwrap());
    for who in [REVIEWS, RATINGS] {
        first.ensure(&identity(who)).await.unwrap();
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&file(&directory))), (0o700, 0o600));
    fs::write(directory.join(".new-half"), "").unwrap();
    for foreign in ["readme", "shop_reviews.pem", "Upper_shop_reviews.pem"] {
        fs::write(directory.join(foreign), "").unwrap();
    }

    // Nobody has asked for them yet, and they are known. What was not finished is removed.
    let second = after(&first, &directory);
    assert!(!directory.join(".new-half").exists());
    assert_eq!(second.identities().into_iter().collect::<Vec<_>>(), [identity(RATINGS), identity(REVIEWS)]);
    second.forget(&identity(REVIEWS));
    assert!(!file(&directory).exists());
    assert_eq!(second.identities().into_iter().collect::<Vec<_>>(), [identity(RATINGS)]);

    // A name that would be a path is no file's.
    let stranger = Identity::new("cluster.local".parse().unwrap(), "../..", "reviews");
    let (key, _) = csr::request(&stranger).unwrap();
    second.kept.as_ref().unwrap().put(&stranger, &Found { key, chain: Chain::new(), since: now() });
    assert_eq!(second.identities().len(), 1);
}

#[test]
fn keys_are_kept_on_no_disk() {
    let error = Kept::open(Path::new("/proc")).unwrap_err();
    assert!(matches!(error, Error::KeptOnDisk { .. }) && error.to_string().contains("tmpfs"), "{error}");
}
