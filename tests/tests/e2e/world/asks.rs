//! What clients in a world find: who answers where, and what becomes of connections that stay open.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ambit_tests::Process;
use serde_json::Value;

use super::{SOON, World, vips};

/// Longer than thousands of connections take.
const LONG: Duration = Duration::from_secs(200);

/// One way from the client to a server.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// For messages: where to, by what address.
    pub(crate) name: String,
    /// Where to connect.
    pub(crate) to: SocketAddr,
    /// The pod that answers.
    pub(crate) pod: &'static str,
}

/// What a `whoami` server says of a connection.
#[derive(Debug)]
pub(crate) struct Greeting {
    /// Who it is.
    pub(crate) name: String,
    /// Whom it sees.
    pub(crate) peer: SocketAddr,
    /// Where it was reached.
    pub(crate) local: SocketAddr,
}

impl Greeting {
    /// The first greeting of a client's report.
    pub(crate) fn of(report: &Value) -> Self {
        let words: Vec<&str> = report["lines"][0].as_str().unwrap().split(' ').collect();
        let [peer, local] = [words[1], words[2]].map(|word| word.parse().unwrap());
        Self { name: words[0].to_owned(), peer, local }
    }
}

/// Connections to an `echo` server that are held open, to be tried.
pub(crate) struct Held {
    process: Process,
    count: usize,
}

impl Held {
    /// A round trip on each of those that are open: what the client reports of it.
    pub(crate) fn round(&mut self) -> Value {
        let mark = self.process.mark();
        self.process.write_line("again").unwrap();
        let line = self.process.wait_line_after(mark, "\"ok\"", LONG).unwrap();
        serde_json::from_str(&line.text).unwrap()
    }

    /// How many still work.
    pub(crate) fn alive(&mut self) -> usize {
        usize::try_from(self.round()["ok"].as_u64().unwrap()).unwrap()
    }

    /// A round trip on each, none of which fails; how long the slowest of them took.
    pub(crate) fn all_work(&mut self) -> Duration {
        let report = self.round();
        assert_eq!((&report["ok"], &report["failed"]), (&self.count.into(), &0.into()), "{report}");
        Duration::from_secs_f64(report["seconds"].as_f64().unwrap())
    }

    /// Ends them all, none of them in order.
    pub(crate) fn kill(self) {
        self.process.kill().unwrap();
    }
}

impl World {
    /// Starts a client in `pod`.
    pub(crate) fn start(&self, pod: &str, arguments: &[&str]) -> Process {
        self.pod(pod).testapp(arguments).unwrap()
    }

    /// Runs a client in `pod` to its end and reads its report.
    pub(crate) fn report(&self, pod: &str, arguments: &[&str]) -> Value {
        self.try_report(pod, arguments).unwrap()
    }

    pub(crate) fn try_report(&self, pod: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        self.pod(pod).testapp(arguments)?.report(Duration::from_secs(60))
    }

    /// Every way from the client to `port`: on its node and across, by pod and by service address, by both families.
    pub(crate) fn ways(&self, port: u16) -> Vec<Way> {
        let mut ways = Vec::new();
        for pod in ["near", "far"] {
            let kinds = [("pod", self.pod(pod).addresses()), ("service", vips(pod))];
            for (kind, addresses) in kinds {
                for address in addresses {
                    let family = if address.is_ipv4() { "v4" } else { "v6" };
                    let to = SocketAddr::new(address, port);
                    ways.push(Way { name: format!("{pod} by {kind} address, {family}"), to, pod });
                }
            }
        }
        ways
    }

    /// Has `pod` dial `to` and play `script`.
    pub(crate) fn dial(&self, pod: &str, to: SocketAddr, script: &str) -> Process {
        self.start(pod, &["peer", "--dial", &to.to_string(), "--script", script])
    }

    /// The same to its end, whatever that is: what the client saw.
    pub(crate) fn dialled(&self, pod: &str, to: SocketAddr, script: &str) -> String {
        self.dial(pod, to, script).finish(SOON).unwrap().stdout()
    }

    /// Has `pod` listen `at` and play `script` with who comes.
    pub(crate) fn listen(&self, pod: &str, at: SocketAddr, script: &str) -> Process {
        let server = self.start(pod, &["peer", "--listen", &at.to_string(), "--script", script]);
        server.wait_line("listening", SOON).unwrap();
        server
    }

    /// Fetches a page from `to`; its status.
    pub(crate) fn fetch(&self, pod: &str, to: SocketAddr) -> Value {
        self.report(pod, &["fetch", "--to", &to.to_string()])["status"].clone()
    }

    /// The greeting that `pod` gets at `to`.
    pub(crate) fn greeting(&self, pod: &str, to: SocketAddr) -> Greeting {
        Greeting::of(&self.report(pod, &["greeting", "--to", &to.to_string()]))
    }

    /// True if `pod` is answered at `to`; otherwise it has been reset.
    pub(crate) fn answered(&self, pod: &str, to: SocketAddr) -> bool {
        self.start(pod, &["greeting", "--to", &to.to_string()]).finish(SOON).unwrap().status.success()
    }

    /// How often each server answers `count` connections of `pod`.
    ///
    /// # Errors
    /// When a connection gets no answer.
    pub(crate) fn answers(&self, pod: &str, to: SocketAddr, count: usize) -> anyhow::Result<BTreeMap<String, usize>> {
        let report = self.try_report(pod, &["greeting", "--to", &to.to_string(), "--count", &count.to_string()])?;
        let lines = report["lines"].as_array().unwrap();
        assert_eq!(lines.len(), count);
        let mut answers = BTreeMap::new();
        for line in lines {
            let name = line.as_str().unwrap().split(' ').next().unwrap();
            *answers.entry(name.to_owned()).or_default() += 1;
        }
        Ok(answers)
    }

    /// Has `pod` open `count` connections to `to`, none of which fails.
    pub(crate) fn hold(&self, pod: &str, to: SocketAddr, count: usize) -> Held {
        let process = self.start(pod, &["hold", "--to", &to.to_string(), "--count", &count.to_string()]);
        let opened: Value = serde_json::from_str(&process.wait_line("\"ok\"", LONG).unwrap().text).unwrap();
        process.wait_line("holding", SOON).unwrap();
        assert_eq!((&opened["ok"], &opened["failed"]), (&count.into(), &0.into()), "{opened}");
        Held { process, count }
    }

    /// The connections that the agent of `node` has open, of all of its workers.
    pub(crate) fn open_connections(&self, node: &str) -> Vec<Value> {
        let workers = self.agent(node).admin("/connections").unwrap();
        workers.as_array().unwrap().iter().flat_map(|worker| worker.as_array().unwrap().clone()).collect()
    }
}

/// The object of `list` in a configuration dump whose `key` is `name`.
pub(crate) fn by_name<'a>(dump: &'a Value, list: &str, key: &str, name: &str) -> Option<&'a Value> {
    dump[list].as_array().unwrap().iter().find(|object| object[key] == name)
}
