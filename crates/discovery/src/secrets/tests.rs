//! What is made of Secrets as they are written, and who is told of what becomes of them.

use super::*;
use crate::publish::{Published, publish};
use crate::yaml;

/// The Secret that `text` says, if its type matters.
fn read(text: &str) -> Result<Option<Secret>, String> {
    Secret::read(&yaml::parse(text, 1).unwrap())
}

fn secret(text: &str) -> Secret {
    read(text).unwrap().unwrap()
}

fn clear(data: &str) -> Secret {
    secret(&format!("stringData: {{{data}}}"))
}

fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap()
}

#[test]
fn a_certificate_is_found_under_either_names_of_its_keys() {
    for (data, expected) in [
        ("tls.crt: c, tls.key: k", Ok(("c", "k", None))),
        ("tls.crt: c, tls.key: k, tls.ocsp-staple: o", Ok(("c", "k", Some("o")))),
        ("cert: c, key: k, cacert: a", Ok(("c", "k", None))),
        ("cert: c, key: k, tls.ocsp-staple: o", Ok(("c", "k", None))),
        ("cert: c1, key: k1, tls.crt: c2, tls.key: k2", Ok(("c1", "k1", None))),
        ("cert: c1, key: k1, tls.crt: c2", Ok(("c1", "k1", None))),
        ("cert: c1, key: '', tls.crt: c2, tls.key: k2", Ok(("c2", "k2", None))),
        ("", Err(Lack::Certificate)),
        ("ca.crt: a, password: p", Err(Lack::Certificate)),
        ("tls.crt: c, key: k", Err(Lack::Half { has: "key", lacks: "cert" })),
        ("key: k", Err(Lack::Half { has: "key", lacks: "cert" })),
        ("tls.crt: '', tls.key: k", Err(Lack::Empty("tls.crt"))),
        ("cert: c, key: ''", Err(Lack::Empty("key"))),
    ] {
        let secret = clear(data);
        let found = secret.credential().map(|found| (text(found.certificate), text(found.key), found.staple.map(text)));
        assert_eq!(found, expected, "{data}");
    }
    let text = clear("key: k").credential().err().unwrap().to_string();
    assert_eq!(text, "it has key but not cert: add that key, since neither is of use alone");
}

#[test]
fn authorities_are_found_under_either_names_of_their_keys() {
    for (data, expected) in [
        ("ca.crt: a", Ok(("a", None))),
        ("ca.crt: a, ca.crl: l, crl: other", Ok(("a", Some("l")))),
        ("cacert: a, crl: l, ca.crl: other", Ok(("a", Some("l")))),
        ("cacert: a1, ca.crt: a2", Ok(("a1", None))),
        ("cacert: '', ca.crt: a2", Ok(("a2", None))),
        ("tls.crt: c, tls.key: k", Err(Lack::Authorities)),
        ("cacert: ''", Err(Lack::Empty("cacert"))),
    ] {
        let secret = clear(data);
        let found = secret.authorities().map(|found| (text(found.certificates), found.revoked.map(text)));
        assert_eq!(found, expected, "{data}");
    }
}

#[test]
fn values_are_base64_or_clear_and_what_does_not_matter_is_not_kept() {
    let both = secret("data: {tls.crt: Yw==, tls.key: \"a2\\n 8=\\n\", other: '!'}\nstringData: {tls.crt: clear}");
    let found = both.credential().unwrap();
    assert_eq!((text(found.certificate), text(found.key)), ("clear", "ko"));
    assert_eq!(format!("{both:?}"), r#"{"tls.crt", "tls.key"}"#, "no value is shown");
    let same = [("tls.key", "ko"), ("tls.crt", "clear"), ("other", "o")];
    assert!(both == Secret::new(same.map(|(key, value)| (key, value.as_bytes()))));
    for (text, expected) in [
        ("data: {tls.key: hunter2!}", "data[tls.key] is no base64"),
        ("data: {tls.key: [hunter2]}", "data[tls.key] is no text: quote it"),
        ("stringData: {key: 7}", "stringData[key] is no text: quote it"),
    ] {
        assert_eq!(read(text).unwrap_err(), expected);
    }
    for (kind, matters) in [
        ("Opaque", true),
        ("generic", true),
        ("kubernetes.io/tls", true),
        ("''", true),
        ("example.com/certificate", true),
        ("kubernetes.io/service-account-token", false),
        ("helm.sh/release.v1", false),
        ("kubernetes.io/dockerconfigjson", false),
    ] {
        let kept = read(&format!("type: {kind}\nstringData: {{cert: c, key: k}}")).unwrap();
        assert_eq!(kept.is_some(), matters, "{kind}");
    }
}

/// A shelf, and how often it has been heard of.
struct Shown {
    shelf: Shelf,
    secrets: Published<Secrets>,
    now: Option<Arc<Secrets>>,
}

impl Shown {
    fn new() -> Self {
        let (publisher, secrets) = publish(Secrets::default());
        Self { shelf: Shelf::new("edge", publisher), secrets, now: None }
    }

    /// Whether there is something new.
    fn is_news(&mut self) -> bool {
        let now = self.secrets.is_synced().then(|| self.secrets.load());
        let same = now.as_ref().map(Arc::as_ptr) == self.now.as_ref().map(Arc::as_ptr);
        self.now = now;
        !same
    }

    fn value(&self, name: &str) -> Option<Arc<Secret>> {
        self.now.as_ref()?.get(name).cloned()
    }

    fn trouble(&self) -> Option<&str> {
        self.now.as_ref()?.trouble()
    }
}

fn all(secrets: &[(&str, &str)]) -> BTreeMap<Arc<str>, Arc<Secret>> {
    secrets.iter().map(|(name, data)| (Arc::from(*name), Arc::new(clear(data)))).collect()
}

#[test]
fn what_has_not_changed_is_the_same_value_and_no_news() {
    let mut shown = Shown::new();
    assert!(!shown.is_news());
    shown.shelf.hold_all(BTreeMap::new());
    assert!(shown.is_news(), "that there are none is known now");
    shown.shelf.hold_all(all(&[("a", "cert: one"), ("", "cert: two")]));
    assert!(shown.is_news());
    let (a, b) = (shown.value("a").unwrap(), shown.value("").unwrap());
    shown.shelf.hold_all(all(&[("a", "cert: one"), ("", "cert: two")]));
    shown.shelf.hold("a", Some(clear("cert: one, note: n")));
    shown.shelf.hold("c", None);
    assert!(!shown.is_news());
    shown.shelf.hold_all(all(&[("a", "cert: three"), ("", "cert: two")]));
    assert!(shown.is_news());
    assert!(Arc::ptr_eq(&b, &shown.value("").unwrap()) && shown.value("a").unwrap() != a);
    shown.shelf.hold("", None);
    assert!(shown.is_news() && shown.value("").is_none());
}

#[test]
fn trouble_is_told_once_and_leaves_what_there_was() {
    let passing = Trouble::Passing("away".to_owned());
    let mut shown = Shown::new();
    shown.shelf.fails(&passing);
    assert!(!shown.is_news(), "what passes is waited for at first");
    shown.shelf.hold_all(all(&[("a", "cert: one")]));
    assert!(shown.is_news() && shown.trouble().is_none());
    shown.shelf.fails(&passing);
    assert!(shown.is_news() && shown.trouble() == Some("away") && shown.value("a").is_some());
    shown.shelf.fails(&passing);
    assert!(!shown.is_news());
    shown.shelf.mends();
    assert!(shown.is_news() && shown.trouble().is_none());
    shown.shelf.mends();
    assert!(!shown.is_news());

    let mut shown = Shown::new();
    shown.shelf.fails(&Trouble::Lasting("denied".to_owned()));
    assert!(shown.is_news() && shown.trouble() == Some("denied"));
    shown.shelf.hold("a", Some(clear("cert: one")));
    assert!(shown.is_news() && shown.trouble().is_none());
}
