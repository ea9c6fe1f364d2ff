//! The directory that a CA lives in: made once, given by others, and refused with the file at fault.

use rcgen::CertifiedIssuer;

use super::*;
use crate::clock::to_date;

fn make(path: &Path) -> Result<Authority, Error> {
    Authority::open_or_create_directory(path, &domain(), now())
}

fn read(path: &Path) -> Result<Authority, Error> {
    Authority::open_directory(path, &domain(), now())
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = to_date(now() - HOUR);
    params.not_after = to_date(now() + 100 * HOUR);
    params
}

fn issuer() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// A CA as `make -f Makefile.selfsigned.mk` of Istio's tools lays it out: root, intermediate, key of the intermediate.
fn plugged_in(directory: &Path) -> CertifiedIssuer<'static, KeyPair> {
    let root = CertifiedIssuer::self_signed(ca("root"), issuer()).unwrap();
    let signing = CertifiedIssuer::signed_by(ca("intermediate"), issuer(), &root).unwrap();
    fs::write(directory.join("root-cert.pem"), root.pem()).unwrap();
    fs::write(directory.join("ca-cert.pem"), signing.pem()).unwrap();
    fs::write(directory.join("cert-chain.pem"), signing.pem() + &root.pem()).unwrap();
    keep_private(&directory.join("ca-key.pem"), signing.key().serialize_pem().as_bytes());
    root
}

fn sign(authority: &Authority) -> Chain {
    let (_, csr) = csr::request(&identity(REVIEWS)).unwrap();
    authority.sign(&csr, &identity(REVIEWS), HOUR, now()).unwrap()
}

/// Whether OpenSSL finds a way from the first of `chain` to a root of the file `roots`.
fn openssl_verifies(chain: &Chain, roots: &Path) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let [leaf, between] = ["leaf.pem", "between.pem"].map(|name| directory.path().join(name));
    fs::write(&leaf, pem_of(&chain[0])).unwrap();
    fs::write(&between, chain[1..].iter().map(|der| pem_of(der)).collect::<String>()).unwrap();
    let mut verify = std::process::Command::new("openssl");
    let at = now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
    verify.args(["verify", "-attime", &at, "-CAfile"]).arg(roots);
    if chain.len() > 1 {
        verify.arg("-untrusted").arg(&between);
    }
    verify.arg(&leaf).output().unwrap().status.success()
}

#[test]
fn a_root_is_made_where_there_is_nothing_and_then_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("not/yet");
    let first = make(&path).unwrap();
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("ca-key.pem"), mode("ca-cert.pem"), mode("root-cert.pem")], [0o600, 0o644, 0o644]);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 3, "nothing is left beside them");
    let second = make(&path).unwrap();
    assert_eq!(root_of(&first), root_of(&second));
    let chain = sign(&second);
    assert_eq!(chain.len(), 1, "a root's leaves need nothing in between");
    assert!(openssl_verifies(&chain, &path.join("root-cert.pem")));
}

#[test]
fn of_many_that_make_it_at_once_all_open_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let together = Barrier::new(8);
    let roots: Vec<_> = std::thread::scope(|scope| {
        let start = || {
            together.wait();
            root_of(&make(directory.path()).unwrap())
        };
        let starting: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        starting.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn an_intermediate_that_is_plugged_in_signs_and_leads_to_its_root() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    plugged_in(path);
    let authority = make(path).unwrap();
    let chain = sign(&authority);
    assert_eq!(chain.len(), 2, "the leaf and the intermediate, the root left out");
    assert!(openssl_verifies(&chain, &path.join("root-cert.pem")));
    fs::remove_file(path.join("cert-chain.pem")).unwrap();
    assert_eq!(sign(&read(path).unwrap()).len(), 2, "one intermediate needs no chain");
}

#[test]
fn roots_beside_the_own_one_are_trusted_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (root, other) = (plugged_in(path), CertifiedIssuer::self_signed(ca("next"), issuer()).unwrap());
    fs::write(path.join("root-cert.pem"), root.pem() + &other.pem()).unwrap();
    assert_eq!(read(path).unwrap().roots().roots().count(), 2);
}

#[test]
fn files_that_do_not_fit_are_refused_by_name_and_the_key_is_not_shown() {
    let other = CertifiedIssuer::self_signed(ca("root"), issuer()).unwrap();
    let leaf = pem_of(&sign(&Authority::generate(&domain(), now()).unwrap())[0]);
    let mut expired = ca("root");
    expired.not_after = to_date(now() - HOUR / 2);
    let expired = CertifiedIssuer::self_signed(expired, issuer()).unwrap();
    let cases: [(&str, &str, Option<&str>, &str); 9] = [
        ("another root", "root-cert.pem", Some(&other.pem()), "does not lead to a root in it"),
        ("no root", "root-cert.pem", Some(""), "it holds no certificate"),
        ("no root file", "root-cert.pem", None, "cannot be read"),
        ("another's certificate", "ca-cert.pem", Some(&other.pem()), "do not belong together"),
        ("a leaf", "ca-cert.pem", Some(&leaf), "not a CA's"),
        ("an expired CA", "ca-cert.pem", Some(&expired.pem()), "is valid from"),
        ("another key", "ca-key.pem", Some(&other.key().serialize_pem()), "do not belong together"),
        ("no key", "ca-key.pem", Some(&other.pem()), "exactly one private key"),
        ("a key that everybody sees", "cert-chain.pem", Some(&other.key().serialize_pem()), "it holds a private key"),
    ];
    for (case, name, text, said) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        plugged_in(path);
        let secret = fs::read_to_string(path.join("ca-key.pem")).unwrap().lines().nth(1).unwrap().to_owned();
        match text {
            Some(text) if name == "ca-key.pem" => keep_private(&path.join(name), text.as_bytes()),
            Some(text) => fs::write(path.join(name), text).unwrap(),
            None => fs::remove_file(path.join(name)).unwrap(),
        }
        let error = make(path).expect_err(case).to_string();
        assert!(error.contains(said) && error.contains(path.to_str().unwrap()), "{case}: {error}");
        assert!(!error.contains(&secret), "{case}: {error}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    plugged_in(directory.path());
    let key = directory.path().join("ca-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = make(directory.path()).unwrap_err().to_string();
    assert!(error.contains("0644") && error.contains("chmod 600"), "{error}");
}

/// The entries of a Secret with what lies in `directory`.
fn entries(directory: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let read = |name: &str| Some((name.to_owned(), fs::read(directory.join(name)).ok()?));
    FILES.iter().filter_map(|name| read(name)).collect()
}

#[test]
fn a_secret_is_read_as_a_directory_is_and_called_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    plugged_in(directory.path());
    let plugged = entries(directory.path());
    let open = |entries: &_| Authority::open_secret("secret istio-system/cacerts", entries, &domain(), now());
    let authority = open(&plugged).unwrap();
    assert_eq!(root_of(&authority), root_of(&read(directory.path()).unwrap()));
    assert!(openssl_verifies(&sign(&authority), &directory.path().join("root-cert.pem")));
    let mut keyless = plugged.clone();
    keyless.remove("ca-key.pem");
    let error = open(&keyless).unwrap_err().to_string();
    assert!(error.contains("secret istio-system/cacerts/ca-key.pem cannot be read"), "{error}");
    let mut swapped = plugged;
    swapped.insert("root-cert.pem".to_owned(), b"no certificate".to_vec());
    let error = open(&swapped).unwrap_err().to_string();
    assert!(error.contains("cacerts/root-cert.pem is damaged"), "{error}");
}

#[test]
fn a_new_secret_holds_a_root_that_signs() {
    let made = Authority::new_secret(&domain(), now()).unwrap();
    let mut entries: std::collections::BTreeMap<_, _> =
        made.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
    // As Istio's has it.
    entries.insert("cert-chain.pem".to_owned(), Vec::new());
    let authority = Authority::open_secret("secret", &entries, &domain(), now()).unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    fs::write(roots.path(), &entries["root-cert.pem"]).unwrap();
    assert!(openssl_verifies(&sign(&authority), roots.path()));
}
