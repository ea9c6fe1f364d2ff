//! What the CA signs, and what the file that it lives in may and may not be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use proptest::prelude::*;
use tempfile::TempDir;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;
use crate::csr;
use crate::fixtures::{HOUR, identity, now};

mod directory;

const REVIEWS: &str = "spiffe://cluster.local/ns/shop/sa/reviews";

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

fn root_of(authority: &Authority) -> CertificateDer<'static> {
    authority.roots().roots().next().unwrap().clone()
}

#[test]
fn a_workloads_certificate_has_the_shape_that_istios_ca_gives_it() {
    let authority = Authority::generate(&domain(), now()).unwrap();
    let (_, csr) = csr::request(&identity(REVIEWS)).unwrap();
    let chain = authority.sign(&csr, &identity(REVIEWS), 24 * HOUR, now()).unwrap();
    let [leaf] = &chain[..] else { panic!("the leaf alone") };
    let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
    let root = root_of(&authority);
    let (_, root) = X509Certificate::from_der(&root).unwrap();

    assert_eq!(leaf.subject().iter().count(), 0);
    assert_eq!(leaf.issuer().to_string(), "O=cluster.local");
    leaf.verify_signature(Some(root.public_key())).unwrap();
    assert_eq!(leaf.signature_algorithm.algorithm.to_id_string(), "1.2.840.10045.4.3.2", "ecdsa-with-SHA256");
    let unix = |time: SystemTime| i64::try_from(time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    assert_eq!(leaf.validity().not_before.timestamp(), unix(now()) - 120);
    assert_eq!(leaf.validity().not_after.timestamp(), unix(now()) + 24 * 3600);
    assert_eq!(leaf.raw_serial().len(), 16);

    let mut shape = Vec::new();
    for extension in leaf.extensions() {
        let critical = if extension.critical { "critical " } else { "" };
        shape.push(match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(san) => {
                assert_eq!(san.general_names, [GeneralName::URI(REVIEWS)]);
                format!("{critical}SAN")
            }
            ParsedExtension::KeyUsage(usage) => format!("{critical}{usage}"),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                assert!(usage.server_auth && usage.client_auth && !usage.any && usage.other.is_empty());
                format!("{critical}server and client")
            }
            ParsedExtension::BasicConstraints(constraints) => format!("{critical}CA {}", constraints.ca),
            ParsedExtension::SubjectKeyIdentifier(_) => format!("{critical}SKI"),
            ParsedExtension::AuthorityKeyIdentifier(_) => format!("{critical}AKI"),
            other => panic!("unexpected {other:?}"),
        });
    }
    shape.sort();
    let istios = [
        "AKI",
        "SKI",
        "critical CA false",
        "critical Digital Signature, Key Encipherment",
        "critical SAN",
        "server and client",
    ];
    assert_eq!(shape, istios);
}

#[test]
fn a_root_is_a_self_signed_ca_of_ten_years_named_after_the_trust_domain() {
    let authority = Authority::generate(&domain(), now()).unwrap();
    let der = root_of(&authority);
    let (_, root) = X509Certificate::from_der(&der).unwrap();
    root.verify_signature(None).unwrap();
    assert!(root.is_ca());
    assert_eq!(
        (root.subject().to_string(), root.issuer().to_string()),
        ("O=cluster.local".into(), "O=cluster.local".into())
    );
    let usage = root.key_usage().unwrap().unwrap();
    assert!(usage.value.key_cert_sign() && !usage.value.digital_signature());
    let root = Certificate::parse(&der).unwrap();
    assert!(root.is_valid(now() + CA_TTL - HOUR) && !root.is_valid(now() + CA_TTL + HOUR));
}

#[test]
fn the_identity_is_the_one_vouched_for_whatever_the_request_asks() {
    let authority = Authority::generate(&domain(), now()).unwrap();
    let (_, greedy) = csr::request(&identity("spiffe://cluster.local/ns/kube-system/sa/admin")).unwrap();
    let chain = authority.sign(&greedy, &identity(REVIEWS), HOUR, now()).unwrap();
    assert_eq!(Certificate::parse(&chain[0]).unwrap().identity(), Ok(identity(REVIEWS)));
}

#[test]
fn no_certificate_outlives_its_ca_and_no_serial_comes_twice() {
    let authority = Authority::generate(&domain(), now()).unwrap();
    let (_, csr) = csr::request(&identity(REVIEWS)).unwrap();
    let ca_end = Certificate::parse(&root_of(&authority)).unwrap().not_after;
    let sign = |ttl| Certificate::parse(&authority.sign(&csr, &identity(REVIEWS), ttl, now()).unwrap()[0]).unwrap();
    let (long, longest) = (sign(2 * CA_TTL), sign(Duration::MAX));
    assert_eq!((long.not_after, longest.not_after), (ca_end, ca_end));
    assert_ne!(long.serial, longest.serial);
    assert_eq!(long.serial.len(), 32);
}

#[test]
fn other_trust_domains_and_damaged_requests_are_refused() {
    let authority = Authority::generate(&domain(), now()).unwrap();
    let (_, csr) = csr::request(&identity(REVIEWS)).unwrap();
    let foreign = identity("spiffe://foreign.example/ns/shop/sa/reviews");
    let error = authority.sign(&csr, &foreign, HOUR, now()).unwrap_err();
    assert!(matches!(error, Error::ForeignIdentity { .. }), "{error}");

    let mut forged = csr.der().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for der in [forged, Vec::new(), b"no request".to_vec()] {
        let error = authority.sign(&Csr::from_der(der), &identity(REVIEWS), HOUR, now()).unwrap_err();
        assert!(matches!(error, Error::BadRequest(_)), "{error}");
    }
}

proptest! {
    #[test]
    fn a_request_with_any_byte_changed_never_panics_and_never_gets_another_identity(place: prop::sample::Index, bit in 0..8_u8) {
        let authority = Authority::generate(&domain(), now()).unwrap();
        let (_, csr) = csr::request(&identity(REVIEWS)).unwrap();
        let mut der = csr.der().to_vec();
        let place = place.index(der.len());
        der[place] ^= 1 << bit;
        if let Ok(chain) = authority.sign(&Csr::from_der(der), &identity(REVIEWS), HOUR, now()) {
            prop_assert_eq!(Certificate::parse(&chain[0]).unwrap().identity(), Ok(identity(REVIEWS)));
        }
    }
}

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    (directory, path)
}

fn open(path: &Path) -> Result<Authority, Error> {
    Authority::open_or_create(path, &domain(), now())
}

fn refusal(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let error = open(path).expect_err("refused").to_string();
    assert_eq!(fs::read(path).unwrap(), before, "never overwritten");
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    error
}

#[test]
fn the_file_is_made_once_for_its_owner_only_and_then_read() {
    let (directory, path) = directory();
    let path = directory.path().join("not/yet/there").join(path.file_name().unwrap());
    let first = open(&path).unwrap();
    let text = fs::read(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let second = open(&path).unwrap();
    assert_eq!(root_of(&first), root_of(&second));
    assert_eq!(fs::read(&path).unwrap(), text);
    let beside: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "nothing is left beside it: {beside:?}");

    let (_, csr) = csr::request(&identity(REVIEWS)).unwrap();
    let chain = second.sign(&csr, &identity(REVIEWS), HOUR, now()).unwrap();
    let root = root_of(&first);
    let (_, root) = X509Certificate::from_der(&root).unwrap();
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    leaf.verify_signature(Some(root.public_key())).unwrap();
}

#[test]
fn of_many_that_start_at_once_all_open_the_same_ca() {
    for _ in 0..10 {
        let (directory, path) = directory();
        let together = Barrier::new(8);
        let roots: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                together.wait();
                root_of(&open(&path).unwrap())
            };
            let starting: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            starting.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(roots.iter().all(|root| *root == roots[0]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_file_that_others_can_access_is_refused_with_the_remedy() {
    let (_directory, path) = directory();
    open(&path).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o610, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = refusal(&path);
        assert!(error.contains(&format!("{mode:04o}")), "{error}");
        assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    open(&path).unwrap();
}

fn keep_private(path: &Path, text: &[u8]) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_damaged_file_is_refused_and_its_key_is_not_in_the_message() {
    let (_directory, path) = directory();
    let (_other_directory, other) = directory();
    open(&path).unwrap();
    open(&other).unwrap();
    let (text, other) = (fs::read_to_string(&path).unwrap(), fs::read_to_string(&other).unwrap());
    let split = text.find("-----BEGIN CERTIFICATE").unwrap();
    let (key, certificate) = text.split_at(split);
    let other_certificate = &other[other.find("-----BEGIN CERTIFICATE").unwrap()..];
    let secret = key.lines().nth(1).unwrap();

    let leaf = {
        let (_, csr) = csr::request(&identity(REVIEWS)).unwrap();
        open(&path).unwrap().sign(&csr, &identity(REVIEWS), HOUR, now()).unwrap()
    };
    let leaf_pair = {
        let (leaf_key, csr) = csr::request(&identity(REVIEWS)).unwrap();
        let chain = open(&path).unwrap().sign(&csr, &identity(REVIEWS), HOUR, now()).unwrap();
        (rcgen::KeyPair::try_from(&leaf_key).unwrap().serialize_pem(), pem_of(&chain[0]))
    };
    let cases = [
        ("empty", String::new()),
        ("no PEM", "hello".to_owned()),
        ("key only", key.to_owned()),
        ("certificate only", certificate.to_owned()),
        ("two certificates", format!("{text}{certificate}")),
        ("two keys", format!("{key}{text}")),
        ("cut off", text[..text.len() - 40].to_owned()),
        ("cut off in the key", text[..key.len() - 60].to_owned()),
        ("broken base64", text.replacen(secret, &secret.replace(&secret[3..5], "!!"), 1)),
        ("another's certificate", format!("{key}{other_certificate}")),
        ("another key's leaf", format!("{key}{}", pem_of(&leaf[0]))),
        ("a leaf that is no CA", format!("{}{}", leaf_pair.0, leaf_pair.1)),
    ];
    for (case, damaged) in cases {
        keep_private(&path, damaged.as_bytes());
        let error = refusal(&path);
        assert!(error.contains("is damaged"), "{case}: {error}");
        assert!(!error.contains(&secret[..20]), "{case}: {error}");
    }
    keep_private(&path, format!("{certificate}{key}").as_bytes());
    open(&path).expect("either order");
}

fn pem_of(der: &[u8]) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-inform", "DER"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut openssl = openssl.spawn().unwrap();
    openssl.stdin.take().unwrap().write_all(der).unwrap();
    String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn what_is_no_file_is_refused() {
    let (directory, _) = directory();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, Error::CaFileDamaged { .. } | Error::CaFileExposed { .. }), "{error}");
    let below_a_file = directory.path().join("file");
    fs::write(&below_a_file, "x").unwrap();
    let error = open(&below_a_file.join("ca.pem")).unwrap_err();
    assert!(matches!(error, Error::CaFileIo { .. }), "{error}");
}

#[test]
fn an_expired_file_is_refused_and_kept() {
    let (_directory, path) = directory();
    Authority::open_or_create(&path, &domain(), now() - CA_TTL - HOUR).unwrap();
    let error = refusal(&path);
    assert!(error.contains("valid from") && error.contains("2027"), "{error}");
    Authority::open_or_create(&path, &domain(), now() - 2 * HOUR).expect("the clock was wrong");
}

#[test]
fn nothing_shows_the_key() {
    let (_directory, path) = directory();
    let authority = open(&path).unwrap();
    let secret: String = fs::read_to_string(&path).unwrap().lines().nth(1).unwrap().chars().take(24).collect();
    let shown = format!("{authority:?} {authority:#?} {:?}", authority.issuer.key());
    assert!(!shown.contains(&secret) && shown.contains("cluster.local"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", authority.issuer.key().serialized_der())));
}
