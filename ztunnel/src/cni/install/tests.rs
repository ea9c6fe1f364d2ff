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
        self.installation_of(None)
    }

    /// One that keeps a configuration of its own of this name, if there is one.
    fn installation_of(&self, own: Option<&str>) -> Installation {
        let settings = Settings {
            cni_conf_dir: Some(self.path("net.d")),
            cni_own_conf: own.map(str::to_owned),
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
        assert_eq!((program.len(), program.mode() & 0o777), (fs::metadata(PROGRAM).unwrap().len(), 0o755));
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
fn a_configuration_of_its_own_is_the_networks_with_the_plugin_whoever_writes_that_anew() {
    const OWN_CONF: &str = "00-ambit.conflist";
    let flannel = r#"{"type": "flannel", "name": "pods"}"#;
    for (primary, text) in [("10-pods.conflist", LIST), ("10-pods.conf", flannel)] {
        let node = Node::new(&[(primary, text)]);
        let before = node.all();
        // One that was chained in before is taken out.
        assert!(node.installation().look());
        let mut installation = node.installation_of(Some(OWN_CONF));
        assert!(installation.look());
        assert_eq!(node.read(primary), text, "the network's own is as it was found");
        assert_eq!(chain::first(names(&node.path("net.d")).unwrap()).as_deref(), Some(OWN_CONF));
        let own = node.read(OWN_CONF);
        assert!(
            own.contains(NAME) && own.contains(if primary.ends_with("list") { "bridge" } else { "flannel" }),
            "{own}"
        );
        let placed = node.all();
        assert!(installation.look());
        assert_eq!(node.all(), placed, "what is in its place is left there");

        // Written anew, as at boot: the plugin is in force all along, and what is new is taken over.
        let anew = text.replace("bridge", "ptp").replace("flannel", "ptp");
        node.write(primary, &anew);
        assert_eq!(node.read(OWN_CONF), own);
        assert!(installation.look());
        assert!(node.read(OWN_CONF).contains("ptp") && node.read(OWN_CONF).contains(NAME), "{}", node.read(OWN_CONF));
        assert_eq!(node.read(primary), anew);

        // Without the network's no pod is made until there is another.
        fs::remove_file(node.path("net.d").join(primary)).unwrap();
        assert!(!installation.look());
        let alone: serde_json::Value = serde_json::from_str(&node.read(OWN_CONF)).unwrap();
        let plugins = alone["plugins"].as_array().unwrap();
        assert!(plugins.len() == 1 && plugins[0][chain::ALONE] == true, "{alone}");
        assert!(!installation.look() && node.read(OWN_CONF).contains(NAME));
        node.write(primary, text);
        assert!(installation.look());
        assert!(node.installation().look());
        assert!(!node.path("net.d").join(OWN_CONF).exists() && node.read("10-pods.conflist").contains(NAME));
        assert!(installation.look());
        node.installation().remove().unwrap();
        assert_eq!(node.all(), before);
    }
}

#[test]
fn what_could_not_be_the_first_is_chained_in_and_what_was_chained_in_stays_until_something_else_is_in_force() {
    const OWN_CONF: &str = "00-ambit.conflist";
    let node = Node::new(&[("00-a.conflist", LIST)]);
    for own in [None, Some(OWN_CONF)] {
        let mut installation = node.installation_of(own);
        assert!(installation.look());
        assert!(node.read("00-a.conflist").contains(NAME), "{own:?}");
        assert!(!node.path("net.d").join(OWN_CONF).exists());
    }
    // A file of that name that is somebody else's is the network's.
    let other = Node::new(&[(OWN_CONF, LIST)]);
    assert!(other.installation_of(Some(OWN_CONF)).look());
    other.installation_of(Some(OWN_CONF)).remove().unwrap();
    assert_eq!(other.read(OWN_CONF), LIST);
    // One that cannot be read: the plugin stays where it was.
    let node = Node::new(&[("10-pods.conflist", LIST)]);
    assert!(node.installation().look());
    let chained = node.read("10-pods.conflist");
    node.write("05-broken.conflist", "{");
    assert!(!node.installation_of(Some(OWN_CONF)).look());
    assert_eq!(node.read("10-pods.conflist"), chained);
}

#[test]
fn an_agent_of_before_that_chains_into_the_own_configuration_takes_nothing_from_the_next_one() {
    const OWN_CONF: &str = "00-ambit.conflist";
    let node = Node::new(&[("10-pods.conflist", LIST)]);
    let before = node.all();
    let mut installation = node.installation_of(Some(OWN_CONF));
    assert!(installation.look());
    let own = node.read(OWN_CONF);
    // As it knows no mark, it writes an entry without one.
    node.write(OWN_CONF, &own.replace("\"own\": true,", ""));
    assert_ne!(node.read(OWN_CONF), own);
    assert!(installation.look());
    assert_eq!((node.read(OWN_CONF), node.read("10-pods.conflist").as_str()), (own.clone(), LIST));
    node.write(OWN_CONF, &own.replace("\"own\": true,", ""));
    node.installation_of(Some(OWN_CONF)).remove().unwrap();
    assert_eq!(node.all(), before);
}

#[test]
fn what_was_set_aside_does_not_come_back_over_what_the_network_has_written_since() {
    let old = r#"{"type": "flannel", "name": "pods"}"#;
    let node = Node::new(&[("10-pods.conf", old)]);
    assert!(node.installation().look());
    let new = old.replace("flannel", "ptp");
    node.write("10-pods.conf", &new);
    node.installation().remove().unwrap();
    assert_eq!(node.read("10-pods.conf"), new);
    assert_eq!(names(&node.path("net.d")).unwrap(), ["10-pods.conf"]);
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
