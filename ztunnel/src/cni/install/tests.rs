//! The plugin's place on a node that is a directory.

use super::*;
use crate::cni::plugin::WhenAway;

const LIST: &str = "{\"plugins\":[{\"type\":\"bridge\"}],\n \"name\":\"pods\",\"cniVersion\":\"1.0.0\"}";

struct Node(tempfile::TempDir);

impl Node {
    fn new(configurations: &[(&str, &str)]) -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(node.path("net.d")).unwrap();
        configurations.iter().for_each(|(name, text)| node.write(name, text));
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("net.d").join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path("net.d").join(name)).unwrap()
    }

    fn installation(&self) -> Installation {
        let settings = Settings {
            cni_conf_dir: Some(self.path("net.d")),
            cni_bin_dir: self.path("bin"),
            cni_socket: self.path("cni.sock"),
            cni_state_dir: self.path("state"),
            cni_when_away: WhenAway::Wait,
        };
        Installation::new(&settings).unwrap()
    }

    /// Everything there is of files, with what they say.
    fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all = Vec::new();
        for directory in ["net.d", "bin", "state"] {
            for name in names(&self.path(directory)).unwrap() {
                let path = self.path(directory).join(name);
                all.push((path.clone(), fs::read(path).unwrap()));
            }
        }
        all
    }
}

#[test]
fn it_is_put_into_its_place_and_leaves_nothing() {
    for configurations in [
        &[("10-pods.conflist", LIST)][..],
        &[("10-pods.conf", r#"{"type": "flannel", "name": "pods"}"#), ("99-lo.conf", "{}")],
    ] {
        let node = Node::new(configurations);
        let before = node.all();
        let mut installation = node.installation();
        assert!(installation.look());
        assert!(node.read("10-pods.conflist").contains("\"type\": \"ambit-cni\""), "{}", node.read("10-pods.conflist"));
        assert_eq!(names(&node.path("net.d")).unwrap().iter().find(|name| *name == "10-pods.conf"), None);
        let program = fs::metadata(node.path("bin").join(NAME)).unwrap();
        assert_eq!((program.len(), program.mode() & 0o777), (fs::metadata(OWN).unwrap().len(), 0o755));
        let placed = node.all();
        assert!(installation.look());
        assert_eq!(node.all(), placed, "what is in its place is left there");

        installation.remove().unwrap();
        assert_eq!(node.all(), before);
    }
}

#[test]
fn whoever_writes_the_configuration_anew_does_not_lose_it() {
    let node = Node::new(&[("10-pods.conflist", LIST)]);
    let mut installation = node.installation();
    assert!(installation.look());
    let other = LIST.replace("bridge", "ptp");
    node.write("10-pods.conflist", &other);
    fs::write(node.path("bin").join(NAME), "damaged").unwrap();
    assert!(installation.look());
    let now = node.read("10-pods.conflist");
    assert!(now.contains("ptp") && now.contains(NAME), "{now}");
    assert!(fs::metadata(node.path("bin").join(NAME)).unwrap().len() > 100);
    // Another agent, which knows nothing of the first.
    node.installation().remove().unwrap();
    assert_eq!(node.read("10-pods.conflist"), other);
}

#[test]
fn a_node_without_a_network_is_waited_for() {
    let node = Node::new(&[]);
    let mut installation = node.installation();
    assert!(!installation.look());
    assert_eq!(installation.reported, Some(Misplaced::NoNetwork(node.path("net.d"))));
    node.write("05-broken.conflist", "{");
    assert!(!installation.look());
    assert!(
        matches!(&installation.reported, Some(Misplaced::Unusable { path, .. }) if path.ends_with("05-broken.conflist"))
    );
    node.write("05-broken.conflist", LIST);
    assert!(installation.look());
}
