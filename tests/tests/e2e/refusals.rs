//! What is refused, and that both sides learn why (C-09, D-08, D-09, E-01 to E-03, E-09 to E-11). Node `b` has
//! no agent, so that its pod `far`, which is in the mesh, is whatever peer a test wants: one that shares no code with
//! the mesh, well-behaved or with one defect.

mod dialled;
mod dialling;
mod own_ports;

use std::collections::BTreeMap;

use ambit_tests::{AccessLog, Agent, until};

use crate::world::{SHOP, SOON, World};

/// A world where only node `a` has an agent.
fn half_open(arguments: &[&str]) -> World {
    let mut world = World::usual_closed(arguments);
    let agent = world.agent_mut("a");
    agent.start().unwrap();
    for pod in ["client", "near"] {
        agent.wait_captured(SHOP, pod, true, SOON).unwrap();
    }
    world
}

/// What an agent has refused and logged, from here on.
struct Watch<'a> {
    agent: &'a Agent,
    refused: BTreeMap<String, u64>,
    lines: usize,
}

impl<'a> Watch<'a> {
    fn new(agent: &'a Agent) -> Self {
        Self { agent, refused: refused(agent), lines: agent.process().unwrap().mark() }
    }

    /// The reasons counted since, with how often.
    fn counted(&self) -> BTreeMap<String, u64> {
        let since = |(reason, count): (String, u64)| {
            let before = self.refused.get(&reason).copied().unwrap_or_default();
            (count > before).then(|| (reason, count - before))
        };
        refused(self.agent).into_iter().filter_map(since).collect()
    }

    /// Waits until one connection has been refused for `reason`, makes sure that it is the only one, and returns its
    /// line of the access log.
    fn expect(&self, row: &str, reason: &str) -> AccessLog {
        let once = BTreeMap::from([(reason.to_owned(), 1)]);
        let counted = until(SOON, || self.counted() == once);
        counted.unwrap_or_else(|_| panic!("{row}: should be refused for {reason}, counted {:?}", self.counted()));
        let line = self.agent.process().unwrap().wait_for(SOON, |lines| {
            let new = lines.iter().skip(self.lines).filter_map(|line| AccessLog::parse(&line.text));
            new.into_iter().find(|line| line.field("reason") == reason)
        });
        line.unwrap_or_else(|| panic!("{row}: no line in the access log with {reason}"))
    }

    /// Makes sure that nothing has been refused.
    fn expect_nothing(&self, row: &str) {
        assert_eq!(self.counted(), BTreeMap::new(), "{row}");
    }
}

fn refused(agent: &Agent) -> BTreeMap<String, u64> {
    let metrics = agent.metrics().unwrap();
    let mut counts = BTreeMap::new();
    for sample in metrics.matching("ambit_refused_total", &[]) {
        *counts.entry(sample.label("reason").to_owned()).or_default() += sample.value as u64;
    }
    counts
}
