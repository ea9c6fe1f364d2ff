//! Of a cluster nothing stays: when it is dropped, when whoever started it was killed, when it never came up, and when it is
//! removed twice.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ambit_tests::cluster::{self, Cluster, Plan, Programs, Settings};

use crate::{own, traces};

#[test]
fn an_api_server_that_is_dropped_leaves_nothing() {
    let links = traces::links();
    let cluster = own().start().unwrap();
    let name = cluster.name().to_owned();
    let processes = cluster::processes_of(&name);
    assert!(processes.len() >= 3, "etcd, the API server, its controllers: {processes:?}");
    assert!(!traces::of(&name).is_empty());
    assert_eq!(traces::links(), links, "nothing is linked to the machine's own network");
    drop(cluster);
    assert_eq!(traces::of(&name), [] as [&str; 0]);
    assert_eq!(traces::links(), links);
    assert!(!traces::alive(&processes));
}

#[test]
fn what_was_left_running_is_removed_by_its_name_once_and_twice() {
    let name = format!("{}-left-{}", cluster::PREFIX, std::process::id());
    let lasting: Cluster = own().lasting(&name).start().unwrap();
    let kubeconfig = lasting.kubectl().clone();
    lasting.leave();
    assert!(kubeconfig.get_path("/version").unwrap()["gitVersion"].as_str().is_some_and(|version| version.len() > 2));
    let processes = cluster::processes_of(&name);
    let again = own().lasting(&name).start().unwrap_err().to_string();
    assert!(again.contains("is in the way"), "{again}");
    assert!(traces::alive(&processes), "the second one harms the first");
    for _ in 0..2 {
        cluster::remove(&name);
        assert_eq!(traces::of(&name), [] as [&str; 0]);
        assert!(!traces::alive(&processes));
    }
}

#[test]
fn what_a_reboot_leaves_of_one_is_removed() {
    let name = format!("{}-stale-{}", cluster::PREFIX, std::process::id());
    fs::create_dir_all(cluster::directory_of(&name).join("node-1/containerd")).unwrap();
    fs::create_dir_all("/run/ambit-tests").unwrap();
    fs::write(format!("/run/ambit-tests/{name}.lock"), "").unwrap();
    cluster::remove(&name);
    assert_eq!(traces::of(&name), [] as [&str; 0]);
}

#[test]
fn one_that_does_not_come_up_says_why_and_leaves_nothing() {
    let programs = Programs::find(&Settings::from_environment()).unwrap();
    let assets = tempfile::tempdir().unwrap();
    link(&programs.etcd, &assets.path().join("etcd"));
    link(&programs.kubectl, &assets.path().join("kubectl"));
    let broken = assets.path().join("kube-apiserver");
    let script =
        "#!/bin/sh\n[ \"$1\" = --version ] && echo Kubernetes v1.20.2 && exit\necho it cannot be >&2\nexit 3\n";
    fs::write(&broken, script).unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let name = format!("{}-broken-{}", cluster::PREFIX, std::process::id());
    let settings = Settings { assets: Some(assets.path().to_owned()), ..Settings::default() };
    let error = Plan::new().lasting(&name).settings(settings).start().unwrap_err().to_string();
    assert!(error.contains("kube-apiserver ended") && error.contains("it cannot be"), "{error}");
    assert_eq!(traces::of(&name), [] as [&str; 0]);
}

fn link(program: &Path, to: &Path) {
    std::os::unix::fs::symlink(program, to).unwrap();
}
