//! Tests of looking at a directory, on a real one.

use std::os::unix::fs::symlink;

use super::*;

const LATER: Duration = Duration::from_secs(3600);

fn pod(name: &str, ip: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nstatus:\n  podIP: {ip}\n")
}

struct Fixture {
    root: tempfile::TempDir,
    directory: Directory,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::new(root.path().to_path_buf(), Mesh::default());
        Self { root, directory }
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The names told of, `-` before those that are no more, and how many reports there are; some time later.
    fn look(&mut self) -> (Vec<String>, usize) {
        let change = self.directory.look(SystemTime::now() + LATER).unwrap();
        let shown = |event| match event {
            Event::Upsert(resource) => resource.reference().name.to_string(),
            Event::Delete(reference) => format!("-{}", reference.name),
        };
        (change.events.into_iter().map(shown).collect(), change.reports.len())
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn files_are_found_in_folders_and_what_is_not_meant_is_left_out() {
    let mut fixture = Fixture::new();
    for path in ["a.yaml", "b.yml", "sub/folder/c.json", "sub/d.yaml"] {
        let name = Path::new(path).file_stem().unwrap().to_str().unwrap();
        fixture.write(path, pod(name, "10.0.0.1"));
    }
    for path in [".h.yaml", ".git/i.yaml", "j.yaml~", "k.txt", ".#l.yaml", "m.yaml.swp", "#n.yaml#", "yaml"] {
        fixture.write(path, pod("unwanted", "10.0.0.1"));
    }
    assert_eq!(fixture.look(), (names(&["a", "b", "c", "d"]), 0));
    assert_eq!(fixture.look(), (vec![], 0));
}

#[test]
fn changes_are_noticed_by_stamp_and_in_a_fresh_file_by_content() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", pod("a", "10.0.0.1"));
    let change = fixture.directory.look(SystemTime::now()).unwrap();
    assert!(change.unsettled && change.events.len() == 1);
    // Of the same size, and perhaps within one tick of the clock.
    fixture.write("a.yaml", pod("a", "10.0.0.2"));
    assert_eq!(fixture.directory.look(SystemTime::now()).unwrap().events.len(), 1);
    assert!(!fixture.directory.look(SystemTime::now() + LATER).unwrap().unsettled);
    fs::remove_file(fixture.root.path().join("a.yaml")).unwrap();
    assert_eq!(fixture.look(), (names(&["-a"]), 0));
}

#[test]
fn a_file_that_was_just_emptied_is_being_written() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", pod("a", "10.0.0.1"));
    fixture.look();
    fixture.write("a.yaml", "");
    let change = fixture.directory.look(SystemTime::now()).unwrap();
    assert!(change.unsettled && change.events.is_empty());
    assert_eq!(fixture.look(), (names(&["-a"]), 0), "it stays empty");
}

#[test]
fn a_config_map_is_followed_through_its_links() {
    let mut fixture = Fixture::new();
    let root = fixture.root.path().to_path_buf();
    for (version, ip) in [("..1", "10.0.0.1"), ("..2", "10.0.0.2")] {
        fixture.write(&format!("{version}/a.yaml"), pod("a", ip));
        fixture.write(&format!("{version}/sub/b.yaml"), pod("b", ip));
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    symlink("..data/sub", root.join("sub")).unwrap();
    assert_eq!(fixture.look(), (names(&["a", "b"]), 0));
    symlink("..2", root.join("..new")).unwrap();
    fs::rename(root.join("..new"), root.join("..data")).unwrap();
    assert_eq!(fixture.look(), (names(&["a", "b"]), 0));
}

#[test]
fn what_cannot_be_read_counts_as_unchanged() {
    let mut fixture = Fixture::new();
    let root = fixture.root.path().to_path_buf();
    fixture.write("a.yaml", pod("a", "10.0.0.1"));
    fixture.write("sub/b.yaml", pod("b", "10.0.0.1"));
    fixture.look();
    // A link to nowhere: also to the superuser, who may read everything else.
    fs::remove_file(root.join("a.yaml")).unwrap();
    symlink("nowhere", root.join("a.yaml")).unwrap();
    fs::remove_dir_all(root.join("sub")).unwrap();
    symlink("nowhere", root.join("sub")).unwrap();
    assert_eq!(fixture.look(), (vec![], 2));
    fs::remove_file(root.join("a.yaml")).unwrap();
    fs::remove_file(root.join("sub")).unwrap();
    assert_eq!(fixture.look(), (names(&["-a", "-b"]), 0));
    fs::remove_dir_all(&root).unwrap();
    assert!(fixture.directory.look(SystemTime::now()).is_err());
}

#[test]
fn strange_files_neither_block_nor_exhaust() {
    let mut fixture = Fixture::new();
    let root = fixture.root.path().to_path_buf();
    fixture.write("a.yaml", pod("a", "10.0.0.1"));
    fs::create_dir(root.join("folder.yaml")).unwrap();
    symlink(".", root.join("circle")).unwrap();
    symlink("/dev/zero", root.join("zero.yaml")).unwrap();
    File::create(root.join("huge.yaml")).unwrap().set_len(MAX_BYTES + 1).unwrap();
    fixture.write("zeros.yaml", vec![0; 1 << 20]);
    fixture.write(&("deep/".repeat(40) + "x.yaml"), pod("x", "10.0.0.2"));
    let socket = std::os::unix::net::UnixListener::bind(root.join("socket.yaml")).unwrap();
    assert_eq!(fixture.look(), (names(&["a"]), 3), "huge, zeros and deep are reported");
    drop(socket);
}
