//! What the container runtime is told, by what the agent says and does not say.

use std::cell::RefCell;

use super::*;

const UID: &str = "6e3f9f52-8ab1-4c0e-9d7a-0123456789ab";

/// An agent that answers alike, or is away, and what it knew.
struct Scripted {
    reply: Option<Reply>,
    enrolled: Option<bool>,
    asked: RefCell<Vec<Ask>>,
}

impl Surroundings for Scripted {
    fn ask(&self, socket: &Path, ask: &Ask) -> io::Result<Reply> {
        assert_eq!(socket, Path::new("/run/a.sock"));
        self.asked.borrow_mut().push(ask.clone());
        self.reply.clone().ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }

    fn is_enrolled(&self, known: &Path, _: &str) -> io::Result<bool> {
        assert_eq!(known, Path::new("/var/k"));
        self.enrolled.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn agent(reply: Option<Reply>, enrolled: Option<bool>) -> Scripted {
    Scripted { reply, enrolled, asked: RefCell::default() }
}

fn environment(command: &str, arguments: &[(&str, &str)]) -> Environment {
    let arguments = arguments.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let (command, container) = (command.to_owned(), "c1".to_owned());
    Environment { command, container, netns: Some("/run/netns/x".into()), arguments }
}

fn pod(command: &str) -> Environment {
    environment(command, &[("K8S_POD_NAMESPACE", "shop"), ("K8S_POD_NAME", "web"), ("K8S_POD_UID", UID)])
}

fn input(when_away: &str) -> String {
    json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "ambit-cni",
        "socket": "/run/a.sock", "known": "/var/k", "whenAway": when_away,
        "prevResult": result(),
    })
    .to_string()
}

fn result() -> Value {
    json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.7/24"}, {"address": "fd00::7/64"}], "dns": {}})
}

#[test]
fn a_pod_is_made_once_the_agent_has_it_or_does_not_want_it() {
    for reply in [Reply::Captured, Reply::Outside] {
        let agent = agent(Some(reply), None);
        assert_eq!(act(&pod("ADD"), &input("wait"), &agent), Ok(Some(result())), "what was before is handed on");
        let asked = Ask {
            about: About::Add,
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: UID.parse().ok(),
            container: "c1".to_owned(),
            netns: Some("/run/netns/x".into()),
        };
        assert_eq!(agent.asked.into_inner(), [asked]);
    }
}

#[test]
fn a_pod_that_cannot_be_captured_waits_and_its_events_say_why() {
    let refusal = act(&pod("ADD"), &input("start"), &agent(Some(Reply::Waits("no room".to_owned())), Some(false)));
    let message = "pod shop/web waits for the mesh: no room".to_owned();
    assert_eq!(refusal, Err(Refusal { code: TRY_AGAIN_LATER, message }));
}

#[test]
fn without_the_agent_pods_of_the_mesh_wait_and_others_start() {
    let outcome = |when_away: &str, enrolled| act(&pod("ADD"), &input(when_away), &agent(None, enrolled));
    assert_eq!(outcome("wait", Some(false)), Ok(Some(result())));
    let Err(Refusal { code: TRY_AGAIN_LATER, message }) = outcome("wait", Some(true)) else { panic!() };
    assert!(
        message.contains("its namespace is in the mesh and this node's agent is away (connection refused)"),
        "{message}"
    );
    let Err(Refusal { code: TRY_AGAIN_LATER, message }) = outcome("wait", None) else { panic!() };
    assert!(message.contains("nothing says which namespaces are in the mesh (/var/k: "), "{message}");
    for enrolled in [None, Some(false), Some(true)] {
        assert_eq!(outcome("start", enrolled), Ok(Some(result())));
    }
}

#[test]
fn what_is_no_pod_is_let_be() {
    let agent = agent(None, Some(true));
    assert_eq!(act(&environment("ADD", &[("IgnoreUnknown", "1")]), &input("wait"), &agent), Ok(Some(result())));
    assert!(agent.asked.into_inner().is_empty());
}

#[test]
fn what_is_gone_is_told_and_never_refused() {
    for reply in [None, Some(Reply::Outside), Some(Reply::Waits(String::new()))] {
        let agent = agent(reply, None);
        let mut gone = pod("DEL");
        gone.netns = None;
        assert_eq!(act(&gone, &input("wait"), &agent), Ok(None));
        assert_eq!(agent.asked.into_inner()[0].about, About::Del);
    }
}

#[test]
fn a_check_fails_only_where_the_agent_says_so() {
    let outcome = |reply| act(&pod("CHECK"), &input("wait"), &agent(reply, None));
    assert_eq!(outcome(Some(Reply::Captured)), Ok(None));
    assert_eq!(outcome(None), Ok(None));
    assert!(outcome(Some(Reply::Waits("gone astray".to_owned()))).is_err());
}

#[test]
fn a_node_is_usable_if_somebody_can_tell_who_is_in_the_mesh() {
    let outcome = |when_away: &str, enrolled| act(&pod("STATUS"), &input(when_away), &agent(None, enrolled));
    assert_eq!(outcome("wait", Some(false)), Ok(None));
    assert_eq!(outcome("start", None), Ok(None));
    let Err(Refusal { code: NOT_AVAILABLE, message }) = outcome("wait", None) else { panic!() };
    assert!(message.starts_with("this node's agent has not begun yet: /run/a.sock, /var/k: "), "{message}");
}

#[test]
fn what_is_not_understood_is_refused_by_its_code() {
    let agent = agent(Some(Reply::Captured), None);
    let code = |environment: &Environment, input: &str| act(environment, input, &agent).map_err(|refusal| refusal.code);
    assert_eq!(code(&pod("ADD"), "{"), Err(NOT_DECODED));
    assert_eq!(code(&pod("ADD"), r#"{"cniVersion": "1.0.0"}"#), Err(INVALID_CONFIGURATION));
    assert_eq!(code(&pod("DANCE"), "{}"), Err(INVALID_ENVIRONMENT));
    let Ok(Some(versions)) = act(&pod("VERSION"), r#"{"cniVersion": "1.0.0"}"#, &agent) else { panic!() };
    assert!(versions["supportedVersions"].as_array().unwrap().contains(&json!("1.0.0")), "{versions}");
}

#[test]
fn while_the_network_has_no_configuration_pods_are_neither_made_nor_taken_down() {
    let agent = agent(Some(Reply::Captured), Some(true));
    let alone = input("start").replacen('{', r#"{"alone": true, "#, 1);
    for command in ["ADD", "DEL"] {
        let refused = act(&pod(command), &alone, &agent).unwrap_err();
        assert_eq!(refused.code, TRY_AGAIN_LATER);
        assert!(refused.message.contains("the network's configuration is gone"), "{}", refused.message);
    }
    assert!(agent.asked.borrow().is_empty());
    assert!(act(&pod("CHECK"), &alone, &agent).is_ok(), "what is there stays");
}
