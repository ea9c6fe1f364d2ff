//! How an agent starts, or says why it cannot: settings, the CA's file, what the kernel lacks; and that it is ready when
//! its pods are.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ambit_tests::process::Finished;
use ambit_tests::topology::Plan;
use ambit_tests::{Mesh, MeshOptions, Process, Topology};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{at, with_environment};
use crate::world::{ECHO, SHOP, SOON, World, by_name};

/// A node without pods, and an empty configuration.
fn bare() -> Topology {
    let topology = Plan::new(&["a"]).build().unwrap();
    std::fs::create_dir(topology.directory().join("config")).unwrap();
    topology
}

/// Runs `program`, which is to end by itself, where the node's agent runs.
pub(super) fn run(topology: &Topology, program: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments);
    let place = topology.node("a").unwrap().agent_place();
    Process::start("ztunnel", &place, topology.launcher(), command).unwrap().finish(SOON).unwrap()
}

/// The last thing that a process said before it failed.
fn complaint(finished: &Finished) -> String {
    assert!(!finished.status.success());
    finished.lines.iter().filter(|line| line.is_error).map(|line| format!("{}\n", line.text)).collect()
}

fn arguments<'a>(topology: &'a Topology, cgroup: &'a str) -> [String; 10] {
    let file = |name: &str| topology.directory().join(name).display().to_string();
    let pins = format!("/sys/fs/bpf/{}/a", topology.name());
    let pairs = [
        ("--config", file("config")),
        ("--node", "a".to_owned()),
        ("--cgroup", cgroup.to_owned()),
        ("--ca", file("ca.pem")),
        ("--pins", pins),
    ];
    let flat: Vec<String> = pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    flat.try_into().unwrap()
}

#[test]
fn help_explains_every_setting_with_its_variable() {
    let topology = bare();
    let help = run(&topology, &topology.binaries().ztunnel, &["--help"]).success().unwrap().stdout();
    for line in help.lines().filter(|line| line.trim_start().starts_with("--")) {
        let flag = line.trim_start().split([' ', '=']).next().unwrap();
        let after: Vec<&str> = help
            .split(line)
            .nth(1)
            .unwrap()
            .lines()
            .skip(1)
            .take_while(|line| !line.trim_start().starts_with("--"))
            .collect();
        let text = after.join("\n");
        assert!(text.trim().len() > 15, "{flag} is not explained: {text:?}");
        assert!(
            ["--uninstall", "--is-ready"].contains(&flag) || text.contains("[env: "),
            "{flag} names no variable: {text:?}"
        );
    }
    assert!(help.lines().filter(|line| line.trim_start().starts_with("--")).count() > 25, "{help}");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let topology = bare();
    let file = topology.directory().join("settings.yaml");
    std::fs::write(&file, "patience: 1\nlinger: 2\ncluster: from-file\nexcluded-namespaces: [one, two]\n").unwrap();
    let variables = [("AMBIT_SETTINGS", file.to_str().unwrap()), ("ZTUNNEL_PATIENCE", "3"), ("ZTUNNEL_LINGER", "4")];
    let options = MeshOptions {
        ztunnel: Some(with_environment(&topology, &variables)),
        arguments: vec!["--patience".to_owned(), "5.5".to_owned()],
    };
    let mesh = Mesh::start(&topology, &topology.directory().join("config"), &options).unwrap();
    let settings: Value = mesh.agent("a").unwrap().admin("/config_dump").unwrap()["settings"].clone();
    assert_eq!(settings["patience"], json!({"secs": 5, "nanos": 500_000_000}));
    assert_eq!(settings["linger"], json!({"secs": 4, "nanos": 0}));
    assert_eq!(settings["cluster"], "from-file");
    assert_eq!(settings["excluded_namespaces"], json!(["one", "two"]));
    assert_eq!(settings["series_idle"], json!({"secs": 300, "nanos": 0}), "the default");
}

#[test]
fn a_wrong_settings_file_is_named_with_line_key_and_remedy() {
    let topology = bare();
    let file = topology.directory().join("settings.yaml");
    let path = file.display().to_string();
    for (text, expected) in [
        ("linger: 2\npatiense: 3\n", ":2: there is no setting `patiense`: did you mean `patience`?"),
        ("\nsame-node: direkt\n", ":2: setting `same-node` cannot be \"direkt\": it is one of direct, tls"),
        ("patience: soon\n", ":1: setting `patience` cannot be \"soon\": \"soon\" is no number of seconds"),
        ("- patience\n", ":1: this is no list of settings"),
    ] {
        std::fs::write(&file, text).unwrap();
        let said = complaint(&run(&topology, &topology.binaries().ztunnel, &["--settings", &path]));
        assert!(said.contains(&format!("{path}{expected}")), "{said}");
    }
    let said = complaint(&run(&topology, &topology.binaries().ztunnel, &["--cgroup", "/"]));
    assert!(said.contains("--config DIR") && said.contains("--kube"), "{said}");
    let both = ["--cgroup", "/", "--config", "/etc/mesh", "--kube", "--node", "a"];
    let said = complaint(&run(&topology, &topology.binaries().ztunnel, &both));
    assert!(said.contains("--config and --kube are both given"), "{said}");
}

#[test]
fn a_ca_file_that_others_can_read_is_refused() {
    let topology = bare();
    let config = topology.directory().join("config");
    let mut mesh = Mesh::start(&topology, &config, &MeshOptions::default()).unwrap();
    mesh.stop().unwrap();
    let ca = topology.directory().join("ca.pem");
    let mode = || std::fs::metadata(&ca).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o600, "as it was made");
    std::fs::set_permissions(&ca, PermissionsExt::from_mode(0o640)).unwrap();
    let said = format!("{:#}", mesh.agent_mut("a").unwrap().start().unwrap_err());
    assert!(said.contains(ca.to_str().unwrap()) && said.contains("640") && said.contains("chmod"), "{said}");
    assert_eq!(mode(), 0o640, "it is the operator's to change");
}

#[test]
fn what_the_kernel_or_the_node_lacks_is_said_with_its_remedy() {
    let topology = bare();
    let ztunnel = &topology.binaries().ztunnel;
    let elsewhere = topology.directory().display().to_string();
    for cgroup in [elsewhere.as_str(), "/no/such/cgroup"] {
        let given = arguments(&topology, cgroup);
        let failed = run(&topology, ztunnel, &given.each_ref().map(String::as_str));
        let said = complaint(&failed);
        assert!(said.contains(cgroup) && said.contains("give the cgroup above the pods"), "{said}");
        assert!(failed.stdout().contains("MISSING: "), "{}", failed.stdout());
    }
    // As on a kernel without the hooks: they are not to be had.
    let cgroup = topology.node("a").unwrap().cgroup.display().to_string();
    let given = arguments(&topology, &cgroup);
    let without = ["--bounding-set", "-bpf,-perfmon,-net_admin,-sys_admin", ztunnel.to_str().unwrap()];
    let deprived: Vec<&str> = without.into_iter().chain(given.iter().map(String::as_str)).collect();
    let failed = run(&topology, Path::new("/usr/bin/setpriv"), &deprived);
    let (said, table) = (complaint(&failed), failed.stdout());
    assert!(said.contains("see the table of capabilities") || said.contains("CAP_"), "{said}");
    assert!(table.contains("MISSING: ") && table.contains("CAP_BPF"), "{table}");
}

#[test]
fn an_agent_is_ready_when_its_pods_are_captured() {
    let mut world = World::usual_closed(&[]);
    let agent = world.agent_mut("a");
    assert!(agent.get(15021, "/healthz/ready").is_err(), "nobody is there");
    agent.launch().unwrap();
    agent.wait_ready().unwrap();
    assert_eq!(agent.admin("/pods").unwrap()["captured"].as_object().unwrap().len(), 2);
}

#[test]
fn a_connection_to_a_pod_that_its_node_is_about_to_capture_is_held() {
    let mut world = World::new();
    let late = world.topology.start_pod("late", "b").unwrap();
    let to = at(late.v4, ECHO);
    let _server = late.testapp(&["serve", &format!("echo={ECHO}")]).unwrap();
    // Its node's agent looks away just as the pod becomes known.
    let far = world.mesh.agent("b").unwrap();
    far.signal(Signal::SIGSTOP).unwrap();
    world.manifests.pod(SHOP, world.topology.pod("late").unwrap(), "late").unwrap();
    world.await_config(&["a"], |dump| by_name(dump, "workloads", "name", "late").is_some());
    let client = world.dial("client", to, "send:10,recv:10,close");
    client.wait_line("\"sent\"", SOON).unwrap();
    assert!(!client.lines().iter().any(|line| line.text.contains("received")));
    far.signal(Signal::SIGCONT).unwrap();
    let finished = client.finish(SOON).unwrap().success().unwrap();
    assert!(
        finished.stdout().contains("\"received\"") && !finished.stdout().contains("error"),
        "{}",
        finished.stdout()
    );
    let to = to.to_string();
    far.wait_access_log(&[("dst.hbone_addr", &to), ("src.workload", "client")], SOON).unwrap();
}
