//! Tests of the cache, on a real directory.

use std::os::unix::fs::MetadataExt;

use super::*;

struct Fixture {
    root: tempfile::TempDir,
    cache: Cache,
}

const SEALED: Duration = Duration::from_secs(1_700_000_000);

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(root.path().join("cache")).unwrap();
        Self { root, cache }
    }

    fn put(&mut self, name: &str, ip: Option<&str>) {
        let text = ip
            .map(|ip| format!(r#"{{"metadata":{{"name":"{name}","namespace":"shop"}},"status":{{"podIP":"{ip}"}}}}"#));
        self.cache.put(Kind::Pod, "shop", name, text);
    }

    fn write(&mut self) {
        self.cache.write(true, SystemTime::UNIX_EPOCH + SEALED).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("cache").join(name)
    }

    /// What another process finds here: its names and addresses, or why it finds nothing.
    fn found(&self) -> Result<Option<Vec<String>>, String> {
        let mut cache = Cache::open(self.path("")).unwrap();
        let kept = cache.load(&Mesh::default()).map_err(|error| error.to_string())?;
        let shown = |resource: Resource| match resource {
            Resource::Pod(pod) => format!("{} {}", pod.workload.name, pod.workload.addresses[0]),
            other => panic!("{other:?}"),
        };
        Ok(kept.map(|kept| {
            assert_eq!(kept.sealed, SystemTime::UNIX_EPOCH + SEALED);
            kept.resources.into_iter().map(shown).collect()
        }))
    }
}

fn some(names: &[&str]) -> Result<Option<Vec<String>>, String> {
    Ok(Some(names.iter().map(|name| (*name).to_owned()).collect()))
}

#[test]
fn what_is_written_is_found_with_all_changes() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.found(), Ok(None));
    fixture.put("a", Some("10.0.0.1"));
    fixture.put("b", Some("10.0.0.2"));
    fixture.put("c", Some("10.0.0.3"));
    fixture.write();
    assert_eq!(fixture.found(), some(&["a 10.0.0.1", "b 10.0.0.2", "c 10.0.0.3"]));
    fixture.put("a", None);
    fixture.put("b", Some("10.0.0.9"));
    fixture.put("end", Some("10.0.0.4"));
    fixture.put("nobody", None);
    fixture.write();
    assert_eq!(fixture.found(), some(&["c 10.0.0.3", "b 10.0.0.9", "end 10.0.0.4"]));
    assert!(!fixture.cache.is_dirty());
}

#[test]
fn kinds_of_the_same_name_have_a_file_each() {
    let mut fixture = Fixture::new();
    let put = |fixture: &mut Fixture, kind, spec: &str| {
        let text = format!(r#"{{"metadata":{{"name":"front","namespace":"shop"}},"spec":{spec}}}"#);
        fixture.cache.put(kind, "shop", "front", Some(text));
    };
    let listener = r#"{"name":"mesh","port":15008,"protocol":"HBONE"}"#;
    put(&mut fixture, Kind::Gateway, &format!(r#"{{"gatewayClassName":"ambit-waypoint","listeners":[{listener}]}}"#));
    let server = r#"{"port":{"number":80,"name":"http","protocol":"HTTP"},"hosts":["*"]}"#;
    put(&mut fixture, Kind::IstioGateway, &format!(r#"{{"servers":[{server}]}}"#));
    fixture.write();
    let mut cache = Cache::open(fixture.path("")).unwrap();
    let kept = cache.load(&Mesh::default()).unwrap().unwrap().resources;
    let kept: Vec<String> = kept.iter().map(|resource| resource.reference().to_string()).collect();
    assert_eq!(kept, ["Gateway shop/front", "Gateway.networking.istio.io shop/front"]);
}

#[test]
fn what_was_never_whole_is_not_used() {
    let mut fixture = Fixture::new();
    fixture.put("a", Some("10.0.0.1"));
    fixture.cache.write(false, SystemTime::UNIX_EPOCH + SEALED).unwrap();
    assert_eq!(fixture.found(), Ok(None));
    // Nor is it found later, when something else is whole.
    fixture.put("b", Some("10.0.0.2"));
    fixture.write();
    assert_eq!(fixture.found(), some(&["b 10.0.0.2"]));
}

#[test]
fn whatever_is_damaged_makes_all_of_it_void() {
    for (file, damage) in [
        ("Pod", (|text: &str| text[..text.len() - 1].to_owned()) as fn(&str) -> String),
        ("Pod", |text| text.lines().take(2).map(|line| format!("{line}\n")).collect()),
        ("Pod", |text| text.replace("end 2", "end 1")),
        ("Pod", |text| text.replacen("{\"metadata\"", "{\"metadata", 1)),
        ("Pod", |text| text.replace("10.0.0.1", "10.0.0.300")),
        ("Pod", |text| text.replace("cache 1", "cache 0")),
        ("Pod", |text| text.replace('\t', " ")),
        ("Pod", |_| String::new()),
        ("seal", |text| text.replace("1700000000", "soon")),
        ("seal", |_| String::new()),
    ] {
        let mut fixture = Fixture::new();
        fixture.put("a", Some("10.0.0.1"));
        fixture.put("b", Some("10.0.0.2"));
        fixture.write();
        let text = fs::read_to_string(fixture.path(file)).unwrap();
        let damaged = damage(&text);
        assert_ne!(damaged, text);
        fs::write(fixture.path(file), &damaged).unwrap();
        let error = fixture.found().unwrap_err();
        assert!(error.contains("it is damaged"), "{error}: {damaged:?}");
        assert_eq!(fixture.found(), Ok(None), "{damaged:?}");
        assert_eq!(fs::read_dir(fixture.path("")).unwrap().count(), 0, "{damaged:?}");
    }
}

#[test]
fn a_write_that_is_cut_off_leaves_what_was_there() {
    let mut fixture = Fixture::new();
    fixture.put("a", Some("10.0.0.1"));
    fixture.write();
    // A directory stands where the next version is to be put down.
    fs::create_dir(fixture.path(".Pod")).unwrap();
    fixture.put("b", Some("10.0.0.2"));
    fixture.cache.write(true, SystemTime::UNIX_EPOCH + SEALED).unwrap_err();
    assert!(fixture.cache.is_dirty());
    fs::remove_dir(fixture.path(".Pod")).unwrap();
    assert_eq!(fixture.found(), some(&["a 10.0.0.1"]));
    fixture.write();
    assert_eq!(fixture.found(), some(&["a 10.0.0.1", "b 10.0.0.2"]));
}

#[test]
fn nobody_else_can_read_it() {
    let mut fixture = Fixture::new();
    fixture.put("a", Some("10.0.0.1"));
    fixture.write();
    let mode = |name: &str| fs::metadata(fixture.path(name)).unwrap().mode() & 0o777;
    assert_eq!((mode(""), mode("Pod"), mode("seal")), (0o700, 0o600, 0o600));
}

#[test]
fn so_much_may_wait_and_no_more() {
    let mut fixture = Fixture::new();
    fixture.cache.put(Kind::Pod, "shop", "a", Some("x".repeat(MAX_PENDING)));
    assert!(!fixture.cache.is_full());
    fixture.put("b", Some("10.0.0.2"));
    assert!(fixture.cache.is_full());
}
