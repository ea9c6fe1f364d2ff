//! The node agent: makes the kernel's capture what the snapshot wants, again and again. Level-triggered: it looks at
//! what is, never at what has happened, so that a missed event, a restart or a stranger's hand heal by themselves. While
//! another agent is in charge of the kernel, or the process stops, it only looks after the pods that it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ambit_ebpf_loader as ebpf;
use ambit_model::{Identity, Snapshot, WorkloadUid};
use ambit_net::netns::NetNs;
use ambit_net::routes;
use ambit_process::workers::Workers;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::departed::Departed;
use super::finder::{Announced, Finder};
use super::gate::{Gate, Standing};
use super::mended;
use super::plan::{self, Obstacle, Place, Step, Wanted};
use super::premesh::{self, Pair};
use super::reign::Reign;
use super::status::{Board, Captured, Mended, Status, Uncaptured};
use super::succession::Turn;
use crate::cni::{About, Ask, Asked};
use crate::proxy::{Listeners, Pod, Shared, Succession, Taps, Worker};

/// How often the agent looks without being told.
const TICK: Duration = Duration::from_secs(1);
/// How often it looks closely: at the pods' addresses and at what the kernel holds.
const CLOSELY: Duration = Duration::from_secs(4);

/// The node agent.
pub(crate) struct Agent {
    here: Here,
    reign: Reign,
    shared: Arc<Shared>,
    workers: Arc<Workers<Worker>>,
    board: Board,
    held: BTreeMap<WorkloadUid, Held>,
    departed: Departed,
    /// Since when no pod here has had an identity whose certificate is still kept.
    unused: BTreeMap<Identity, Instant>,
    reported: BTreeMap<WorkloadUid, Obstacle>,
    mended: BTreeMap<WorkloadUid, Mended>,
}

/// The node that an agent is for.
pub(crate) struct Here {
    /// Its name.
    pub(crate) node: String,
    /// Where its processes are seen and its sysctls are written, as /proc has them.
    pub(crate) proc: PathBuf,
    /// Where its pods are.
    pub(crate) finder: Finder,
    /// What asks about pods that are being made, where something does.
    pub(crate) gate: Option<Gate>,
}

/// A pod that is captured.
struct Held {
    pod: Arc<Pod>,
    place: Place,
    /// Where plaintext is steered to: one of the workers', which the kernel chooses among. None while another agent is in
    /// charge, whose are.
    plaintext: Option<TcpListener>,
    pre_mesh: BTreeSet<Pair>,
}

impl Agent {
    /// An agent that holds no pod yet. What an earlier one left in the kernel stays in force until it is looked at.
    pub(crate) fn new(
        here: Here,
        reign: Reign,
        shared: Arc<Shared>,
        workers: Arc<Workers<Worker>>,
        board: Board,
    ) -> Self {
        let (held, unused, reported) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (departed, mended) = (Departed::default(), BTreeMap::new());
        Self { here, reign, shared, workers, board, held, departed, unused, reported, mended }
    }

    /// Looks whenever the snapshot changes and every second. Calls `looked` after the first look at a complete snapshot.
    /// Once `stop` resolves it is not in charge any more: the capture stays in force, and what is open is looked after.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>, looked: impl FnOnce()) {
        let mut stop = std::pin::pin!(stop);
        let mut stopping = false;
        let mut looked = Some(looked);
        let mut snapshots = self.shared.snapshots.clone();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked_closely: Option<Instant> = None;
        loop {
            tokio::select! {
                () = &mut stop, if !stopping => {
                    stopping = true;
                    self.step_back();
                    // Whoever was in charge before is again, if he still is there; whoever comes need not ask.
                    self.reign.abdicate();
                }
                turn = self.reign.turn() => self.turn(turn),
                _ = ticks.tick() => {}
                asked = question(&mut self.here.gate) => self.take(asked),
                changed = snapshots.changed() => if changed.is_none() {
                    return;
                },
            }
            if !snapshots.is_synced() {
                continue;
            }
            let closely = looked_closely.is_none_or(|then| then.elapsed() >= CLOSELY);
            if self.reign.returns {
                self.resume();
            }
            self.look(closely).await;
            if closely {
                looked_closely = Some(Instant::now());
            }
            self.reign.looked();
            if let Some(looked) = looked.take() {
                looked();
            }
        }
    }

    /// Takes its turn in the succession of this node's agents.
    fn turn(&mut self, turn: Turn) {
        let at = match turn {
            Turn::StepBack(done) => {
                self.step_back();
                // Whoever asked may be gone: then it is said by another turn.
                let _ = done.send(());
                Succession::SteppedBack
            }
            Turn::Succeeded => Succession::Succeeded,
            Turn::Return => {
                self.reign.returns = true;
                Succession::InCharge
            }
        };
        self.shared.succession.send_replace(at);
    }

    /// Leaves the kernel as it is from now on.
    fn step_back(&mut self) {
        self.reign.end();
        if let Some(gate) = &mut self.here.gate {
            gate.close();
        }
        // A listener lives for as long as anybody has it, and nobody accepts from these.
        self.held.values_mut().for_each(|held| held.plaintext = None);
    }

    /// Puts the capture in force again.
    fn resume(&mut self) {
        match (self.reign.open)() {
            Ok(capture) => {
                self.shared.taps.store(Arc::new(Taps::of(&capture)));
                self.reign.capture = Some(capture);
                self.reign.returns = false;
            }
            Err(error) => warn!("the capture cannot be put in force again yet: {error}"),
        }
    }

    async fn look(&mut self, closely: bool) {
        let snapshot = self.shared.snapshots.load();
        let Here { node, finder, .. } = &mut self.here;
        let mut local: Vec<_> = snapshot.workloads().filter(|workload| *workload.node == **node).cloned().collect();
        let in_charge = self.reign.capture.is_some();
        // New pods are for who is in charge.
        local.retain(|workload| in_charge || self.held.contains_key(&workload.uid));
        finder.refresh(&local, closely).await;
        let wanted = plan::wanted(&local, |workload| finder.find(workload));
        let mut obstacles = BTreeMap::new();
        let mut found = BTreeMap::new();
        for (uid, wanted) in wanted {
            match wanted.and_then(|wanted| self.find(&uid, &wanted, closely)) {
                Ok(spot) => drop(found.insert(uid, spot)),
                Err(obstacle) => {
                    // What is captured stays so for as long as the pod is there: sooner refused than in clear. Between two
                    // of its containers a pod may have no process.
                    let pod = snapshot.workload(&uid).and_then(|workload| workload.pod_uid);
                    let between = |held: &Held| obstacle == Obstacle::NoProcess && held.place.pod == pod;
                    let stays = |held: &&Held| held.pod.netns.is_at(&held.pod.path) || between(held);
                    if let Some(held) = self.held.get(&uid).filter(stays) {
                        found.insert(uid.clone(), (held.pod.clone(), held.place.clone()));
                    }
                    obstacles.insert(uid, obstacle);
                }
            }
        }
        for (uid, (pod, _)) in &found {
            // The process by which it was found may have ended, and the pod not.
            if let Some(held) =
                self.held.get_mut(uid).filter(|held| held.pod.netns == pod.netns && held.pod.path != pod.path)
            {
                held.pod = Arc::new(Pod { path: pod.path.clone(), ..Pod::clone(&held.pod) });
            }
        }
        let places: BTreeMap<_, _> = found.iter().map(|(uid, (_, place))| (uid.clone(), place.clone())).collect();
        let held = self.held.iter().map(|(uid, held)| (uid.clone(), held.place.clone())).collect();
        // What was another agent's meanwhile has no listener of this one's that anything could be steered to.
        let returned = self
            .held
            .iter()
            .filter(|(uid, held)| in_charge && held.plaintext.is_none() && places.get(*uid) == Some(&held.place));
        let returned: Vec<_> = returned.map(|(uid, _)| Step::Enrol(uid.clone())).collect();
        for step in plan::steps(&places, &held).into_iter().chain(returned) {
            match step {
                Step::Withdraw(uid) => self.withdraw(&uid),
                Step::Enrol(uid) => {
                    let Some((pod, place)) = found.remove(&uid).filter(|_| in_charge) else { continue };
                    if let Err(obstacle) = self.enrol(pod, place).await {
                        obstacles.insert(uid, obstacle);
                    }
                }
            }
        }
        if closely {
            self.audit(obstacles.values().any(Obstacle::hides_a_pod));
            self.departed.look(&self.workers, &self.here.proc, in_charge).await;
            self.forget_unused();
        }
        if in_charge {
            self.answer(&snapshot, &obstacles);
        }
        self.publish(obstacles);
    }

    /// Takes in what is asked about pods that are being made or are gone: this, and what waits behind it.
    fn take(&mut self, asked: Asked) {
        let cluster = self.shared.snapshots.load().mesh.cluster.clone();
        let Here { finder, gate: Some(gate), .. } = &mut self.here else { return };
        let mut next = Some(asked);
        while let Some(asked) = next {
            let Ask { about, namespace, name, uid: pod, container, netns } = &asked.ask;
            let uid = WorkloadUid::pod(&cluster, namespace, name);
            match (about, netns) {
                // What is named by a process has one, by which it is found, and is called otherwise in a container's /proc.
                (About::Add | About::Check, Some(netns)) if !netns.starts_with("/proc") => {
                    let announced = Announced { pod: *pod, netns: netns.clone(), container: container.clone() };
                    finder.announce(uid.clone(), announced);
                }
                (About::Add | About::Check, _) => {}
                (About::Del, _) => finder.withdraw(&uid, container),
            }
            gate.take(asked, uid);
            next = gate.waiting();
        }
    }

    /// Answers what has been asked about pods that are being made, as far as it can be.
    fn answer(&mut self, snapshot: &Snapshot, obstacles: &BTreeMap<WorkloadUid, Obstacle>) {
        let Some(gate) = &mut self.here.gate else { return };
        let held = &self.held;
        gate.note(snapshot);
        gate.answer(snapshot, |uid| match (obstacles.get(uid), held.contains_key(uid)) {
            (Some(obstacle), _) => Standing::Hindered(obstacle.to_string()),
            (None, true) => Standing::Captured,
            (None, false) => Standing::Unknown,
        });
    }

    /// Where the pod `uid` is: as it is held, or looked up anew.
    fn find(&self, uid: &WorkloadUid, wanted: &Wanted, closely: bool) -> Result<(Arc<Pod>, Place), Obstacle> {
        let unopened =
            |error: std::io::Error| Obstacle::Unopened { path: wanted.netns.clone(), error: error.to_string() };
        let held = self.held.get(uid).filter(|held| held.pod.netns.is_at(&wanted.netns));
        if let Some(held) = held.filter(|held| !closely && held.covers(wanted)) {
            return Ok((held.pod.clone(), held.place.clone()));
        }
        let netns = match held {
            Some(held) => held.pod.netns.clone(),
            None => NetNs::open(&wanted.netns).map_err(unopened)?,
        };
        if held.is_none() && !self.here.finder.confirms(wanted.pod, &wanted.netns) {
            return Err(Obstacle::NoProcess);
        }
        if NetNs::current().is_ok_and(|node| node == netns) {
            return Err(refused("it is said to be in the node's own network namespace", &wanted.netns.display()));
        }
        let mut addresses = netns.addresses().map_err(unopened)?;
        let own = self.here.finder.own(&wanted.addresses, &addresses);
        addresses.extend_from_slice(&own);
        addresses.sort_unstable();
        addresses.dedup();
        let (pod, identity, dns) = (wanted.pod, wanted.identity.clone(), wanted.dns);
        let place = Place { cookie: netns.cookie(), pod, identity, addresses, own: own.clone(), dns };
        let pod = Pod {
            uid: uid.clone(),
            identity: wanted.identity.clone(),
            netns,
            addresses: own,
            path: wanted.netns.clone(),
        };
        Ok((Arc::new(pod), place))
    }

    /// Captures `pod`, or renews its capture.
    async fn enrol(&mut self, pod: Arc<Pod>, place: Place) -> Result<(), Obstacle> {
        let renewed = self.held.contains_key(&pod.uid);
        self.departed.returned(place.cookie);
        let outcome = self.capture(pod.clone(), place).await;
        match &outcome {
            Ok(()) if renewed => {}
            Ok(()) => {
                let pre_mesh = self.held.get(&pod.uid).map_or(0, |held| held.pre_mesh.len());
                info!(pod = %pod.uid, identity = %pod.identity, pre_mesh, "pod captured");
            }
            // Whoever serves it already would do so for ever, unless it is captured at last.
            Err(_) if !renewed => self.workers.tell(move |worker: &Rc<Worker>| worker.withdraw(&pod)),
            Err(_) => {}
        }
        outcome
    }

    /// First what serves `pod`, then what brings connections there.
    async fn capture(&mut self, pod: Arc<Pod>, place: Place) -> Result<(), Obstacle> {
        let before = self.held.get(&pod.uid).map(|held| held.pre_mesh.clone());
        let known = before.or_else(|| self.is_captured(place.cookie).then(BTreeSet::new));
        let (netns, proc) = (pod.netns.clone(), self.here.proc.clone());
        let pre_mesh = apart(move || {
            let pre_mesh = known.map_or_else(|| premesh::open_connections(&netns), Ok).unwrap_or_else(|error| {
                // They are left alone whether they are known or not.
                warn!("what a pod has had open before it is captured is not known: {error}");
                BTreeSet::new()
            });
            routes::allow_spoofed_delivery(&netns, &proc)
                .map_err(|error| refused("its namespace does not take the routes that delivery needs", &error))?;
            Ok(pre_mesh)
        });
        let pre_mesh = pre_mesh.await?;
        let before = self.held.get(&pod.uid);
        let served = before.filter(|held| held.pod.is_served_as(&pod)).and_then(|held| held.plaintext.as_ref());
        let plaintext = match served {
            // Only the kernel has to be told.
            Some(listener) => listener.try_clone().map_err(|error| refused("out of descriptors", &error))?,
            None => self.serve(&pod).await?,
        };
        let held = Held { pod, place, plaintext: Some(plaintext), pre_mesh };
        if let Some((capture, pod)) = self.reign.capture.as_mut().zip(held.capture()) {
            capture.enrol(&pod).map_err(|error| refused("the kernel refuses its capture", &error))?;
        }
        self.held.insert(held.pod.uid.clone(), held);
        Ok(())
    }

    /// Has every worker serve `pod`, and answers with a copy of a listener that plaintext can be steered to.
    async fn serve(&self, pod: &Arc<Pod>) -> Result<TcpListener, Obstacle> {
        let mut plaintext = None;
        for index in 0..self.workers.count() {
            let (shared, there) = (self.shared.clone(), pod.clone());
            let listeners = apart(move || {
                Listeners::open(&there, shared.limits.keepalive.as_ref(), shared.migration.as_ref())
                    .map_err(|error| refused("the mesh's ports cannot be listened on in its namespace", &error))
            });
            let listeners = listeners.await?;
            if plaintext.is_none() {
                let copy = listeners.plaintext.try_clone();
                plaintext = Some(copy.map_err(|error| refused("out of descriptors", &error))?);
            }
            let pod = pod.clone();
            let served = self.workers.ask_one(index, move |worker: &Rc<Worker>| {
                listeners.register().map(|listeners| worker.serve(pod, listeners))
            });
            served
                .await
                .map_err(|error| refused("a worker does not answer", &error))?
                .map_err(|error| refused("a worker cannot watch its listeners", &error))?;
        }
        let (shared, identity) = (self.shared.clone(), pod.identity.clone());
        tokio::task::spawn_local(async move {
            // Whoever needs the certificate waits for it and says so; this only saves the first of them the wait.
            let _ = shared.certificate(&identity).await;
        });
        plaintext.ok_or_else(|| Obstacle::Refused("there is no worker".to_owned()))
    }

    fn withdraw(&mut self, uid: &WorkloadUid) {
        let Some(held) = self.held.remove(uid) else { return };
        let ended = self.reign.capture.as_mut().map(|capture| capture.withdraw(held.place.cookie));
        if let Some(Err(error)) = ended {
            warn!(pod = %uid, "the capture of a pod cannot be ended yet: {error}");
        }
        let gone = !held.pod.netns.is_at(&held.pod.path);
        info!(pod = %uid, gone, "pod released");
        let (pod, cookie) = (held.pod, held.place.cookie);
        if gone {
            self.workers.tell(move |worker: &Rc<Worker>| worker.cut(cookie));
        } else {
            self.departed.add(pod.clone());
            self.workers.tell(move |worker: &Rc<Worker>| worker.withdraw(&pod));
        }
    }

    fn is_captured(&self, cookie: u64) -> bool {
        let enrolled = self.reign.capture.as_ref().map(ebpf::Capture::enrolled);
        matches!(enrolled, Some(Ok(enrolled)) if enrolled.contains_key(&cookie))
    }

    /// Makes what the kernel has what is held here, whoever changed it: what is missing is put back, and what is too much
    /// taken out, unless it may be the capture of a pod that could not be looked at (`hidden`).
    fn audit(&mut self, hidden: bool) {
        let Some(capture) = &mut self.reign.capture else { return };
        // What could not be enrolled again yet is wanted all the same.
        let hidden = hidden || self.held.values().any(|held| held.plaintext.is_none());
        let held: Vec<_> = self.held.values().filter_map(Held::capture).collect();
        let mended = if hidden {
            held.iter().try_fold(Vec::new(), |mut mended, pod| {
                mended.extend(capture.enrol(pod)?);
                Ok(mended)
            })
        } else {
            capture.audit(&held)
        };
        match mended {
            Ok(mended) if mended.is_empty() => {}
            Ok(mended) => {
                warn!(?mended, "the kernel's capture was not as wanted and has been mended");
                let of = |cookie| self.held.iter().find(|(_, held)| held.place.cookie == cookie).map(|(uid, _)| uid);
                mended::note(&mut self.mended, &mended, of);
            }
            Err(error) => warn!("the kernel's capture cannot be mended yet: {error}"),
        }
        for held in self.held.values_mut().filter(|held| !held.pre_mesh.is_empty()) {
            match premesh::open_connections(&held.pod.netns) {
                Ok(open) => held.pre_mesh.retain(|pair| open.contains(pair)),
                Err(error) => debug!(pod = %held.pod.uid, "its connections cannot be listed: {error}"),
            }
        }
    }

    /// Drops the certificates of identities that no pod here has had for as long as withdrawn pods are served.
    fn forget_unused(&mut self) {
        let used: BTreeSet<&Identity> = self.held.values().map(|held| &held.pod.identity).collect();
        let kept = self.shared.certificates.identities();
        self.unused.retain(|identity, _| kept.contains(identity) && !used.contains(identity));
        for identity in kept.into_iter().filter(|identity| !used.contains(identity)) {
            self.unused.entry(identity).or_insert_with(Instant::now);
        }
        let certificates = &self.shared.certificates;
        let linger = self.shared.limits.linger;
        self.unused.retain(|identity, since| {
            let over = since.elapsed() > linger;
            if over {
                certificates.forget(identity);
            }
            !over
        });
    }

    fn publish(&mut self, obstacles: BTreeMap<WorkloadUid, Obstacle>) {
        for (uid, obstacle) in &obstacles {
            if self.reported.get(uid) == Some(obstacle) {
                continue;
            }
            if obstacle.is_passing() {
                debug!(pod = %uid, "pod is in the mesh and not captured yet, or not any more: {obstacle}");
            } else if self.held.contains_key(uid) {
                warn!(pod = %uid, "pod is in the mesh but cannot be captured anew; it stays captured as it was: {obstacle}");
            } else {
                warn!(pod = %uid, "pod is in the mesh but cannot be captured: {obstacle}");
            }
        }
        let captured = self.held.iter().map(|(uid, held)| {
            let pre_mesh = held.pre_mesh.iter().map(|pair| format!("{} -> {}", pair.local, pair.remote)).collect();
            (uid.clone(), Captured { cookie: held.place.cookie, pod: held.place.pod, pre_mesh })
        });
        let uncaptured = obstacles.iter().map(|(uid, obstacle)| {
            (uid.clone(), Uncaptured { why: obstacle.to_string(), is_passing: obstacle.is_passing() })
        });
        self.mended.retain(|uid, _| self.held.contains_key(uid));
        let counters = match self.reign.capture.as_ref().map(ebpf::Capture::counters) {
            Some(Ok(counters)) => counters.iter().collect(),
            Some(Err(error)) => {
                debug!("the kernel's counters cannot be read: {error}");
                BTreeMap::new()
            }
            None => BTreeMap::new(),
        };
        let (captured, uncaptured) = (captured.collect(), uncaptured.collect());
        self.board.publish(Status { captured, uncaptured, mended: self.mended.clone(), counters });
        self.reported = obstacles;
    }
}

impl Held {
    /// The pod as the kernel is to capture it; none if that is another agent's.
    fn capture(&self) -> Option<ebpf::Pod<'_>> {
        let listener = self.plaintext.as_ref()?.as_fd();
        let own = &self.pod.addresses;
        Some(ebpf::Pod {
            cookie: self.place.cookie,
            netns: self.pod.netns.as_fd(),
            v4: own.iter().find_map(|ip| if let IpAddr::V4(v4) = ip { Some(*v4) } else { None }),
            v6: own.iter().find_map(|ip| if let IpAddr::V6(v6) = ip { Some(*v6) } else { None }),
            dns: self.place.dns,
            addresses: self.place.addresses.clone(),
            listener,
        })
    }

    /// True if the pod's capture is what `wanted` asks for, as far as can be told without a closer look.
    fn covers(&self, wanted: &Wanted) -> bool {
        let Self { pod, place, .. } = self;
        (&pod.identity, &pod.addresses, &pod.path, place.dns, place.pod)
            == (&wanted.identity, &wanted.addresses, &wanted.netns, wanted.dns, wanted.pod)
    }
}

/// The next question about a pod that is being made; never where nobody asks.
async fn question(gate: &mut Option<Gate>) -> Asked {
    match gate {
        Some(gate) => gate.next().await,
        None => std::future::pending().await,
    }
}

/// Does `work` off the thread that everything waits for: the kernel's locks on namespaces can be held for seconds, as while others
/// are taken down.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Obstacle> + Send + 'static) -> Result<T, Obstacle> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(refused("what prepares its namespace has failed", &error)))
}

fn refused(what: &str, error: &dyn std::fmt::Display) -> Obstacle {
    Obstacle::Refused(format!("{what}: {error}"))
}
