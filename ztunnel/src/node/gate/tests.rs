//! Who is let through, who waits, and for how long.

use ambit_model::workload::Excluded;
use ambit_model::{Enrolment, Workload};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::proxy::fixtures::{uid, workload};

const UID: &str = "6e3f9f52-8ab1-4c0e-9d7a-0123456789ab";
const BEFORE: &str = "11111111-2222-4333-8444-555555555555";

struct Scene {
    gate: Gate,
    snapshot: Snapshot,
    _directory: tempfile::TempDir,
    _plugins: mpsc::Sender<Asked>,
}

impl Scene {
    fn new() -> Self {
        let (plugins, questions) = mpsc::channel(1);
        let directory = tempfile::tempdir().unwrap();
        let gate = Gate::new(questions, Known::at(directory.path().join("enrolled")));
        Self { gate, snapshot: Snapshot::default(), _directory: directory, _plugins: plugins }
    }

    fn know(&mut self, pod_uid: &str, enrolment: Enrolment) {
        let workload = Workload { pod_uid: pod_uid.parse().ok(), enrolment, ..workload("web", &[]) };
        self.snapshot.insert_workload(workload.into());
    }

    fn ask(&mut self, about: About) -> oneshot::Receiver<Reply> {
        let (reply, said) = oneshot::channel();
        let ask = Ask {
            about,
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: UID.parse().ok(),
            container: "c1".to_owned(),
            netns: None,
        };
        self.gate.take(Asked { ask, reply }, uid("web"));
        said
    }

    fn answer(&mut self, standing: &Standing) {
        self.gate.answer(&self.snapshot, |_| standing.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_until_it_is_known_and_captured() {
    let mut scene = Scene::new();
    let mut said = scene.ask(About::Add);
    scene.answer(&Standing::Unknown);
    assert_eq!(said.try_recv(), Err(TryRecvError::Empty), "nobody knows it yet");
    scene.know(BEFORE, Enrolment::Enrolled);
    scene.answer(&Standing::Captured);
    assert_eq!(said.try_recv(), Err(TryRecvError::Empty), "the one of its name before it is another");
    scene.know(UID, Enrolment::Enrolled);
    scene.answer(&Standing::Hindered("no room".to_owned()));
    assert_eq!(said.try_recv(), Err(TryRecvError::Empty), "what is in the way may pass");
    scene.answer(&Standing::Captured);
    assert_eq!(said.try_recv(), Ok(Reply::Captured));
}

#[tokio::test(start_paused = true)]
async fn a_pod_outside_the_mesh_is_let_through_as_soon_as_it_is_known() {
    let mut scene = Scene::new();
    let mut said = scene.ask(About::Add);
    scene.know(UID, Enrolment::Outside(Excluded::NotLabelled));
    scene.answer(&Standing::Unknown);
    assert_eq!(said.try_recv(), Ok(Reply::Outside));
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_enough_is_told_what_is_in_the_way() {
    let mut scene = Scene::new();
    let mut unknown = scene.ask(About::Add);
    tokio::time::advance(PATIENCE).await;
    scene.answer(&Standing::Unknown);
    assert_eq!(unknown.try_recv(), Ok(Reply::Outside), "nobody knows it, and its namespace is not in the mesh");
    scene.snapshot.set_enrolled(&"shop".into(), true);
    let mut unknown = scene.ask(About::Add);
    tokio::time::advance(PATIENCE).await;
    scene.answer(&Standing::Unknown);
    let Ok(Reply::Waits(why)) = unknown.try_recv() else { panic!() };
    assert_eq!(why, "this node's agent has not heard of it from the Kubernetes API yet");
    scene.know(UID, Enrolment::Enrolled);
    let mut hindered = scene.ask(About::Add);
    tokio::time::advance(PATIENCE).await;
    scene.answer(&Standing::Hindered("no room".to_owned()));
    assert_eq!(hindered.try_recv(), Ok(Reply::Waits("no room".to_owned())));
    // Whoever checks wants to know how it is, not how it will be.
    let mut checked = scene.ask(About::Check);
    scene.answer(&Standing::Hindered("no room".to_owned()));
    assert_eq!(checked.try_recv(), Ok(Reply::Waits("no room".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_nobodys_business() {
    let mut scene = Scene::new();
    scene.know(UID, Enrolment::Enrolled);
    let mut said = scene.ask(About::Del);
    scene.answer(&Standing::Unknown);
    assert_eq!(said.try_recv(), Ok(Reply::Outside));
}
