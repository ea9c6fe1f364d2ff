//! Finds where pods are by their processes: a kubelet has each pod's in a cgroup that is named after it. It reads the
//! process table and enters nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ambit_model::PodUid;

/// Where the processes of pods are, as far as somebody has asked for them.
#[derive(Debug)]
pub(crate) struct Processes {
    /// Where the node's process table is mounted (proc(5)).
    proc: PathBuf,
    /// A process of each pod that was looked for and found: its directory there.
    known: BTreeMap<PodUid, PathBuf>,
    /// Those that were not found when they were last looked for.
    missed: BTreeSet<PodUid>,
}

impl Processes {
    /// Nothing is known yet of those whose processes are at `proc`.
    pub(crate) fn at(proc: PathBuf) -> Self {
        Self { proc, known: BTreeMap::new(), missed: BTreeSet::new() }
    }

    /// Sees that what is known is still so, and looks for those of `wanted` of which nothing is; for those that it has not
    /// found before only if it looks `closely`. `local` are all pods of the node: of what a process's cgroups name, the
    /// outermost of them has it.
    pub(crate) async fn refresh(&mut self, wanted: &BTreeSet<PodUid>, local: BTreeSet<PodUid>, closely: bool) {
        self.known.retain(|pod, process| wanted.contains(pod) && pod_at(process, &local) == Some(*pod));
        self.missed.retain(|pod| wanted.contains(pod));
        let missing = |pod: &&PodUid| !self.known.contains_key(*pod);
        if wanted.iter().filter(missing).all(|pod| !closely && self.missed.contains(pod)) {
            return;
        }
        let proc = self.proc.clone();
        // Some thousand small files: not on the thread that everything waits for.
        let found = tokio::task::spawn_blocking(move || find(&proc, &local)).await.unwrap_or_default();
        self.known.extend(found.into_iter().filter(|(pod, _)| wanted.contains(pod)));
        self.missed = wanted.iter().filter(|pod| !self.known.contains_key(*pod)).copied().collect();
    }

    /// The path of the network namespace of `pod`, if a process of it is known.
    pub(crate) fn netns(&self, pod: PodUid) -> Option<PathBuf> {
        self.known.get(&pod).map(|process| process.join("ns/net"))
    }

    /// True if the process by which `pod` was found is still one of its: what has been opened by its path is the pod's.
    pub(crate) fn confirms(&self, pod: PodUid) -> bool {
        let only = BTreeSet::from([pod]);
        self.known.get(&pod).is_some_and(|process| pod_at(process, &only) == Some(pod))
    }
}

/// The oldest process of each of `local`, which is what holds a pod's namespaces: containers come later, and what they
/// start may have namespaces of its own.
fn find(proc: &Path, local: &BTreeSet<PodUid>) -> BTreeMap<PodUid, PathBuf> {
    let mut oldest: BTreeMap<PodUid, (u64, u32)> = BTreeMap::new();
    let Ok(entries) = fs::read_dir(proc) else { return BTreeMap::new() };
    for entry in entries.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // What ends while it is looked at is none.
        let process = entry.path();
        let Some(pod) = pod_at(&process, local) else { continue };
        let Some(started) = fs::read_to_string(process.join("stat")).ok().as_deref().and_then(started) else {
            continue;
        };
        let age = (started, id);
        oldest.entry(pod).and_modify(|known| *known = age.min(*known)).or_insert(age);
    }
    oldest.into_iter().map(|(pod, (_, id))| (pod, proc.join(id.to_string()))).collect()
}

/// Which of `local` the process is of.
fn pod_at(process: &Path, local: &BTreeSet<PodUid>) -> Option<PodUid> {
    fs::read_to_string(process.join("cgroup")).ok().and_then(|cgroups| pod_of(&cgroups, local))
}

/// Which of `local` is named by cgroups (cgroups(7), /proc/PID/cgroup): the outermost of a path, since what is below its
/// own cgroup a container may name as it likes.
fn pod_of(cgroups: &str, local: &BTreeSet<PodUid>) -> Option<PodUid> {
    let paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let named = |path: &str| path.split('/').filter_map(pod_named).find(|pod| local.contains(pod));
    paths.filter_map(named).next()
}

/// The pod that a cgroup is named after: `pod<uid>`, or by systemd `kubepods-burstable-pod<uid>.slice`.
fn pod_named(cgroup: &str) -> Option<PodUid> {
    let (before, uid) = cgroup.strip_suffix(".slice").unwrap_or(cgroup).rsplit_once("pod")?;
    if before.is_empty() || before.ends_with('-') { uid.parse().ok() } else { None }
}

/// When a process was started, in clock ticks since the node was (proc_pid_stat(5), field 22).
fn started(stat: &str) -> Option<u64> {
    // The name before may have blanks and brackets of its own.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "6e3f9f52-8ab1-4c0e-9d7a-0123456789ab";
    const OTHER: &str = "11111111-2222-4333-8444-555555555555";

    fn pods(uids: &[&str]) -> BTreeSet<PodUid> {
        uids.iter().map(|uid| uid.parse().unwrap()).collect()
    }

    /// A process table with a process: its cgroups and when it was started.
    fn add(proc: &Path, id: u32, cgroups: &str, started: u64) {
        let process = proc.join(id.to_string());
        fs::create_dir_all(&process).unwrap();
        fs::write(process.join("cgroup"), cgroups).unwrap();
        let before = "S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0";
        fs::write(process.join("stat"), format!("{id} (a (b) c) {before} {started} 0 0")).unwrap();
    }

    #[test]
    fn cgroups_are_named_after_pods_by_every_kubelet() {
        let all = pods(&[WEB]);
        let slice = WEB.replace('-', "_");
        for cgroups in [
            format!("0::/kubepods/pod{WEB}/0123abcd\n"),
            format!("0::/kubepods/besteffort/pod{WEB}/0123abcd\n"),
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-1.scope\n"
            ),
            format!("0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{slice}.slice/x\n"),
            format!(
                "12:pids:/kubepods/pod{WEB}/1\n1:name=systemd:/kubepods/pod{WEB}/1\n0::/system.slice/containerd.service\n"
            ),
            // Seen from a container with a cgroup namespace of its own.
            format!("0::/../../pod{WEB}/0123abcd\n"),
        ] {
            assert_eq!(pod_of(&cgroups, &all), WEB.parse().ok(), "{cgroups}");
        }
        for cgroups in ["0::/\n", "0::/system.slice/podman.service\n", "garbage", "0::/kubepods/pod1/2\n"] {
            assert_eq!(pod_of(cgroups, &all), None, "{cgroups}");
        }
        assert_eq!(pod_of(&format!("0::/kubepods/mypod{WEB}/1\n"), &all), None);
    }

    #[test]
    fn what_a_container_names_below_its_own_cgroup_does_not_count() {
        let nested = format!("0::/kubepods/pod{OTHER}/1/pod{WEB}\n");
        assert_eq!(pod_of(&nested, &pods(&[WEB, OTHER])), OTHER.parse().ok());
        // A cluster within a pod of another: that pod is none of this cluster's.
        assert_eq!(pod_of(&nested, &pods(&[WEB])), WEB.parse().ok());
    }

    #[tokio::test]
    async fn a_pod_is_where_its_oldest_process_is_until_that_has_ended() {
        let table = tempfile::tempdir().unwrap();
        let proc = table.path();
        let cgroups = format!("0::/kubepods/pod{WEB}/1\n");
        add(proc, 7, &cgroups, 500);
        add(proc, 40, &cgroups, 200);
        add(proc, 9, &cgroups, 200);
        add(proc, 3, "0::/system.slice\n", 1);
        fs::create_dir(proc.join("self")).unwrap();
        let (all, web) = (pods(&[WEB, OTHER]), WEB.parse().unwrap());
        let mut processes = Processes::at(proc.to_owned());
        processes.refresh(&all, all.clone(), false).await;
        assert_eq!(processes.netns(web), Some(proc.join("9/ns/net")));
        assert_eq!(processes.netns(OTHER.parse().unwrap()), None);
        assert!(processes.confirms(web));

        // Its number is another's now.
        add(proc, 9, "0::/system.slice\n", 900);
        assert!(!processes.confirms(web));
        processes.refresh(&all, all.clone(), false).await;
        assert_eq!(processes.netns(web), Some(proc.join("40/ns/net")), "it was known, so it is looked for at once");

        let other = OTHER.parse().unwrap();
        add(proc, 50, &format!("0::/kubepods/pod{OTHER}/1\n"), 900);
        processes.refresh(&all, all.clone(), false).await;
        assert_eq!(processes.netns(other), None, "what was not found is looked for closely alone");
        processes.refresh(&all, all.clone(), true).await;
        assert_eq!(processes.netns(other), Some(proc.join("50/ns/net")));

        processes.refresh(&pods(&[OTHER]), all, true).await;
        assert_eq!(processes.netns(web), None, "nobody asks for it any more");
    }
}
