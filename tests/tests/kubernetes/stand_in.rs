//! Another Kubernetes stands in: by a directory of its programs, or by being there already.

use std::os::unix::fs::symlink;

use ambit_tests::cluster::{Plan, Programs, Settings, crds};
use serde_json::json;
use tempfile::TempDir;

/// Programs as envtest has them: without controllers; and the directory that they are in.
pub(crate) fn without_controllers() -> (Settings, TempDir) {
    let environment = Settings::from_environment();
    let programs = Programs::find(&environment).unwrap();
    let assets = tempfile::tempdir().unwrap();
    for (program, name) in
        [(&programs.etcd, "etcd"), (&programs.kubectl, "kubectl"), (&programs.apiserver, "kube-apiserver")]
    {
        symlink(program, assets.path().join(name)).unwrap();
    }
    (Settings { assets: Some(assets.path().to_owned()), existing: None, ..environment }, assets)
}

#[test]
fn programs_of_another_directory_and_a_cluster_that_is_there_stand_in() {
    let (settings, assets) = without_controllers();
    let theirs = Plan::new().settings(settings.clone()).start().unwrap();
    assert!(theirs.kubectl().program().starts_with(assets.path()));
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "web", "image": "localhost/none:1"}]},
    });
    theirs.kubectl().apply(&[pod]).expect("nobody makes service accounts, and none is asked for");

    let definition = crds::MESH[0];
    theirs.kubectl().run(&["delete", "crd", &definition.name()]).unwrap();
    let kubeconfig = theirs.kubectl().kubeconfig().to_owned();
    let existing = Plan::new().settings(Settings { existing: Some(kubeconfig.clone()), ..settings }).start().unwrap();
    assert_eq!((existing.name(), existing.kubectl().kubeconfig()), ("", kubeconfig.as_path()));
    existing.kubectl().get(&["crd", &definition.name()]).expect("what it lacks is defined");
    drop(existing);
    theirs.kubectl().get(&["pod", "web"]).expect("what was there already stays");
}
