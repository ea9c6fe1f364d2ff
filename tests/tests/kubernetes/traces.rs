//! What there is of a cluster on this machine, looked for everywhere: by its name where things have names.

use std::fs;
use std::path::Path;

use ambit_tests::{cluster, place};

/// What carries the name, each as a line to read; empty when nothing is left.
pub(crate) fn of(name: &str) -> Vec<String> {
    let mut found = named("/run/netns", name);
    found.extend(named("/var/tmp", name));
    found.extend(named("/tmp", name));
    found.extend(named("/run/ambit-tests", name));
    for root in place::cgroup_v1_roots().unwrap().into_iter().chain([place::cgroup_root().unwrap()]) {
        found.extend(named(&root, name));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(name)).map(|line| format!("mount {line}")));
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()) && arguments.contains(name) {
            found.push(format!("process {arguments}"));
        }
    }
    found.extend(cluster::processes_of(name).iter().map(|pid| format!("process {pid}")));
    found
}

/// The links of this network namespace.
pub(crate) fn links() -> Vec<String> {
    let mut links: Vec<_> = fs::read_dir("/sys/class/net").unwrap().flatten().map(|entry| entry.file_name()).collect();
    links.sort();
    links.into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

/// True if one of these processes is there, a zombie aside.
pub(crate) fn alive(pids: &[u32]) -> bool {
    pids.iter().any(|pid| ambit_tests::process::is_alive(*pid))
}

fn named(directory: impl AsRef<Path>, name: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
    names.map(|entry| entry.path().display().to_string()).collect()
}
