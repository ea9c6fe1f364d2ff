//! What is in force when the agent dies, comes back, or is taken away.

use std::{fs, net::IpAddr};

use ambit_ebpf_loader::{Capture, Error, Settings, probe};
use aya::maps::{MapData, MapInfo};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::world::{FAR_V4, Listeners, OUTSIDE_V4, OUTSIDE_V6, POD_V4, World, accept, eventually, idle, refused};

#[test]
fn a_dead_agents_pods_stay_captured_and_the_next_agent_takes_over() {
    let world = World::new();
    let direct = world.outside.listen(8080);
    let server = world.pod.listen(8080);
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let maps = map_ids(&world);
    // A killed process leaves just this: its descriptors closed, its pins in place.
    drop((capture, listeners));
    for to in [IpAddr::V4(OUTSIDE_V4), IpAddr::V6(OUTSIDE_V6)] {
        assert!(refused(world.dial((to, 8080))), "{to}");
    }
    assert!(refused(world.dial_in((POD_V4, 8080))));
    assert!(idle(&direct) && idle(&server));

    let mut capture = world.open();
    assert_eq!(map_ids(&world), maps, "the maps are the same");
    assert!(capture.enrolled().unwrap()[&world.pod.cookie].captured.is_some(), "still enrolled");
    assert!(refused(world.dial((OUTSIDE_V4, 8080))), "and refused until the agent listens");
    let listeners = Listeners::open(&world.pod);
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let _out = world.dial((OUTSIDE_V4, 8080)).unwrap();
    let (_proxy, source) = accept(&listeners.outbound);
    let wanted = capture.original_destinations().take(world.pod.cookie, source).unwrap();
    assert_eq!(wanted, Some((OUTSIDE_V4, 8080).into()));
    let _in = world.dial_in((POD_V4, 8080)).unwrap();
    accept(&listeners.inbound);
}

#[test]
fn there_is_one_program_a_hook_after_any_number_of_restarts() {
    /// One for each name, and for the agent's own cgroup another that watches sockets.
    const PROGRAMS: usize = 10 + 1;
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    world.open().enrol(&listeners.pod(&world.pod)).unwrap();
    for _ in 0..3 {
        drop(world.open());
    }
    // An agent that starts while another runs replaces its programs as well.
    let (_one, _other) = (world.open(), world.open());
    assert!(
        eventually(|| world.programs() <= PROGRAMS + 1),
        "the other agent's handle on the steering program is one more"
    );
    drop((_one, _other));
    assert!(eventually(|| world.programs() == PROGRAMS), "{} programs", world.programs());
    let _client = world.dial_in((POD_V4, 8080)).unwrap();
    accept(&listeners.inbound);
}

#[test]
fn capture_moves_to_another_cgroup() {
    let mut world = World::new();
    let listeners = Listeners::open(&world.pod);
    world.open().enrol(&listeners.pod(&world.pod)).unwrap();
    let former = world.settings.cgroup.clone();
    let inner = former.join("inner");
    fs::create_dir(&inner).unwrap();
    world.settings.cgroup = inner.clone();
    let capture = world.open();
    let _captured = world.dial((FAR_V4, 8080)).unwrap();
    accept(&listeners.outbound);
    world.settings.cgroup = former;
    let direct = world.outside.listen(8080);
    let _uncaptured = world.dial((OUTSIDE_V4, 8080)).unwrap();
    accept(&direct);
    capture.remove().unwrap();
    drop((_captured, _uncaptured));
    assert!(eventually(|| fs::remove_dir(&inner).is_ok()));
}

#[test]
fn another_versions_capture_is_retired_by_the_audit_and_not_before() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    world.open().enrol(&listeners.pod(&world.pod)).unwrap();
    let version = |number: u32| world.settings.pins.join(format!("v{number}"));
    fs::rename(version(ambit_ebpf_abi::VERSION), version(0)).unwrap();
    drop(listeners);
    let mut capture = world.open();
    let direct = world.outside.listen(8080);
    assert!(refused(world.dial((OUTSIDE_V4, 8080))), "the former version still captures");
    assert!(idle(&direct));
    let listeners = Listeners::open(&world.pod);
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    capture.audit(&[listeners.pod(&world.pod)]).unwrap();
    assert!(!version(0).exists());
    let _application = world.dial((FAR_V4, 8080)).unwrap();
    let (_proxy, source) = accept(&listeners.outbound);
    let wanted = capture.original_destinations().take(world.pod.cookie, source).unwrap();
    assert_eq!(wanted, Some((FAR_V4, 8080).into()));
}

#[test]
fn a_map_of_another_shape_is_refused() {
    let world = World::new();
    drop(world.open());
    let maps = world.settings.pins.join(format!("v{}/maps", ambit_ebpf_abi::VERSION));
    fs::remove_file(maps.join("flows")).unwrap();
    MapData::from_pin(maps.join("enrolled")).unwrap().pin(maps.join("flows")).unwrap();
    let error = Capture::open(&world.settings).err().unwrap();
    assert!(matches!(&error, Error::Layout { path, .. } if path.ends_with("flows")), "{error}");
}

#[test]
fn removing_leaves_nothing() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    capture.remove().unwrap();
    assert!(!world.settings.pins.exists());
    let direct = world.outside.listen(8080);
    let _application = world.dial((OUTSIDE_V4, 8080)).unwrap();
    accept(&direct);
    let server = world.pod.listen(8080);
    let _client = world.dial_in((POD_V4, 8080)).unwrap();
    accept(&server);
}

#[test]
fn a_bpffs_is_mounted_where_there_is_none() {
    let world = World::new();
    let root = std::env::temp_dir().join(format!("ambit-kernel-{}-bpffs", std::process::id()));
    let settings = Settings { pins: root.join("pins"), ..world.settings.clone() };
    let open = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let capture = Capture::open(&settings).unwrap();
        assert!(settings.pins.join(format!("v{}/links", ambit_ebpf_abi::VERSION)).is_dir());
        drop(Capture::open(&settings).unwrap());
        capture.remove().unwrap();
    };
    std::thread::scope(|scope| scope.spawn(open).join().unwrap());
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_cgroup_that_is_none_is_refused() {
    let world = World::new();
    for cgroup in ["/tmp", "/sys/fs/cgroup/nowhere"] {
        let settings = Settings { cgroup: cgroup.into(), ..world.settings.clone() };
        let error = Capture::open(&settings).err().unwrap();
        assert!(matches!(error, Error::Cgroup { .. }), "{error}");
    }
}

#[test]
fn this_kernel_has_what_capture_needs() {
    let world = World::new();
    let capabilities = probe::probe(&world.settings.cgroup);
    assert!(capabilities.complete(), "{capabilities}");
    let elsewhere = probe::probe("/tmp".as_ref());
    let missing: Vec<_> = elsewhere.missing().map(|capability| capability.name).collect();
    assert_eq!(missing, ["cgroup v2 above the pods"]);
    assert!(elsewhere.to_string().contains("MISSING"), "{elsewhere}");
}

fn map_ids(world: &World) -> Vec<u32> {
    let maps = world.settings.pins.join(format!("v{}/maps", ambit_ebpf_abi::VERSION));
    let id = |name| MapInfo::from_pin(maps.join(name)).unwrap().id();
    ambit_ebpf_abi::maps::ALL.into_iter().map(id).collect()
}
