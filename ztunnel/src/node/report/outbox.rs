//! What is to be told of pods, and when: everything when the agent comes to be in charge, then what changes, and everything
//! again from time to time, since whoever may write at a pod may also undo what was written. Of each pod only the newest is kept
//! until it was taken. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ambit_ca::reporter::{AT_ONCE, Refused};
use ambit_ca::{PodReport, State, Unanswered};
use ambit_model::PodUid;
use tokio::time::Instant;

/// What changes within this is told together.
const QUIET: Duration = Duration::from_secs(1);
/// After a failure, and twice as long after each further one.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often everything is told again.
const REFRESH: Duration = Duration::from_secs(600);

/// How a pod stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// What is told of it, with what was mended the last time.
    pub(super) report: PodReport,
    /// How often something was mended since the agent has begun.
    pub(super) mended: u32,
}

/// What was told and taken.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    told: BTreeMap<PodUid, State>,
    /// How often of each pod something had been mended when that was told.
    mended: BTreeMap<PodUid, u32>,
    /// When everything is told again; none while that is being done.
    refresh: Option<Instant>,
    /// Nothing is told before that is over.
    pause: Pause,
    /// The pods of which it was not taken, and nothing is told of before that is over.
    refused: BTreeMap<PodUid, Pause>,
    /// What is being told, and of how many mendings: told once it is taken.
    sent: BTreeMap<PodUid, u32>,
    /// True if what is being told is all that there is.
    is_last: bool,
}

/// What is waited for, ever longer.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    fn back_off(&mut self, now: Instant, spread: f64) {
        let wait = RETRY.0.saturating_mul(1 << self.failures.min(16)).min(RETRY.1);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + wait.mul_f64(spread));
    }
}

impl Outbox {
    /// What is to be told at `now` of pods that stand like this, as much as one call holds; nothing as long as something else
    /// has to be waited for.
    pub(super) fn due(&mut self, pods: &BTreeMap<PodUid, Option<Standing>>, now: Instant) -> Vec<PodReport> {
        self.told.retain(|uid, _| pods.contains_key(uid));
        // One that has left and come back is counted anew.
        self.mended.retain(|uid, told| {
            let standing = pods.get(uid).map(|standing| standing.as_ref().map(|standing| standing.mended));
            standing.is_some_and(|mended| mended.is_none_or(|mended| mended >= *told))
        });
        if self.refresh.is_some_and(|at| at <= now) {
            self.refresh = None;
            self.told.clear();
        }
        self.refused.retain(|uid, _| pods.contains_key(uid));
        if !self.pause.is_over(now) {
            return Vec::new();
        }
        let is_due = |uid: &PodUid, standing: &Standing| {
            if let Some(pause) = self.refused.get(uid) {
                return pause.is_over(now);
            }
            let is_news = match self.told.get(uid) {
                Some(told) => *told != standing.report.state,
                // A pod that begins outside the mesh was never said to be in it. One that was there before may have been.
                None => standing.report.state != State::Outside || self.refresh.is_none(),
            };
            is_news || standing.mended > self.mended.get(uid).copied().unwrap_or_default()
        };
        let standing = pods.iter().filter_map(|(uid, standing)| Some((uid, standing.as_ref()?)));
        let mut due: Vec<_> = standing.filter(|(uid, standing)| is_due(uid, standing)).collect();
        self.is_last = due.len() <= AT_ONCE;
        due.truncate(AT_ONCE);
        self.sent = due.iter().map(|(uid, standing)| (**uid, standing.mended)).collect();
        let news = |uid: &PodUid, standing: &Standing| {
            let is_mended = standing.mended > self.mended.get(uid).copied().unwrap_or_default();
            PodReport { mended: standing.report.mended.clone().filter(|_| is_mended), ..standing.report.clone() }
        };
        let due: Vec<_> = due.into_iter().map(|(uid, standing)| news(uid, standing)).collect();
        if due.is_empty() {
            self.told_everything(now);
        }
        due
    }

    /// Takes in what was answered at `now` when `sent` was told. Waits are `spread` (0 to 1) of what they would be.
    pub(super) fn answered(
        &mut self,
        sent: &[PodReport],
        answered: Result<Vec<Refused>, Unanswered>,
        (now, spread): (Instant, f64),
    ) {
        let refused: BTreeSet<PodUid> = match answered {
            Ok(refused) => refused.into_iter().map(|one| one.uid).collect(),
            Err(Unanswered::Failed(_)) => return self.pause.back_off(now, spread),
            Err(Unanswered::NotServed(_)) => {
                self.pause.until = Some(now + REFRESH.mul_f64(spread));
                return;
            }
        };
        for report in sent.iter().filter(|report| !refused.contains(&report.uid)) {
            self.refused.remove(&report.uid);
            self.told.insert(report.uid, report.state.clone());
            self.mended.extend(self.sent.get(&report.uid).map(|mended| (report.uid, *mended)));
        }
        if self.is_last {
            self.told_everything(now);
        }
        for uid in refused {
            self.refused.entry(uid).or_default().back_off(now, spread);
        }
        self.pause = Pause { failures: 0, until: Some(now + QUIET) };
    }

    fn told_everything(&mut self, now: Instant) {
        self.refresh.get_or_insert(now + REFRESH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pods = BTreeMap<PodUid, Option<Standing>>;

    fn uid(number: usize) -> PodUid {
        format!("{number:032x}").parse().unwrap()
    }

    fn captured() -> State {
        State::Captured { obstacle: None }
    }

    fn standing(number: usize, state: State, mended: u32) -> (PodUid, Option<Standing>) {
        let (namespace, name) = ("shop".to_owned(), format!("web-{number}"));
        let report = PodReport { namespace, name, uid: uid(number), state, mended: Some("steering".to_owned()) };
        (uid(number), Some(Standing { report, mended }))
    }

    fn pods(states: &[State]) -> Pods {
        states.iter().enumerate().map(|(number, state)| standing(number, state.clone(), 0)).collect()
    }

    /// What is told at `now`, if everything that is told is taken: of which pods.
    fn told(outbox: &mut Outbox, pods: &Pods, now: Instant) -> Vec<usize> {
        let due = outbox.due(pods, now);
        if !due.is_empty() {
            outbox.answered(&due, Ok(Vec::new()), (now, 1.0));
        }
        due.iter().map(|report| report.name.trim_start_matches("web-").parse().unwrap()).collect()
    }

    #[test]
    fn everything_is_told_at_first_then_what_changes_and_in_time_everything_again() {
        let (mut outbox, begun) = (Outbox::default(), Instant::now());
        let mut pods = pods(&[captured(), State::Outside, State::OtherMesh]);
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(
            told(&mut outbox, &pods, at(0)),
            [0, 1, 2],
            "one that is outside may have been left as if it were not"
        );
        assert_eq!(told(&mut outbox, &pods, at(2)), [0; 0]);
        pods.extend([standing(3, State::Outside, 0), standing(4, captured(), 0)]);
        assert_eq!(told(&mut outbox, &pods, at(4)), [4], "one that begins outside is no news");
        pods.extend([standing(0, State::Outside, 0), standing(3, captured(), 0)]);
        assert_eq!(told(&mut outbox, &pods, at(6)), [0, 3]);
        assert_eq!(told(&mut outbox, &pods, at(599)), [0; 0]);
        assert_eq!(told(&mut outbox, &pods, at(600)), [0, 1, 2, 3, 4]);
        assert_eq!(told(&mut outbox, &pods, at(602)), [0; 0]);
    }

    #[test]
    fn what_changes_within_a_second_is_told_together_and_only_the_newest_of_it() {
        let (mut outbox, begun) = (Outbox::default(), Instant::now());
        let first = pods(&[captured(), State::Outside]);
        assert_eq!(told(&mut outbox, &first, begun), [0, 1]);
        let half = begun + QUIET / 2;
        assert_eq!(told(&mut outbox, &pods(&[State::Outside, captured()]), half), [0; 0]);
        assert_eq!(
            told(&mut outbox, &pods(&[captured(), captured()]), begun + QUIET),
            [1],
            "the other is as it was told"
        );
    }

    #[test]
    fn of_what_cannot_be_told_yet_nothing_is_and_what_was_told_of_it_stands() {
        let (mut outbox, begun) = (Outbox::default(), Instant::now());
        let there = pods(&[captured()]);
        let between: Pods = [(uid(0), None)].into();
        assert_eq!(told(&mut outbox, &there, begun), [0]);
        assert_eq!(told(&mut outbox, &between, begun + 2 * QUIET), [0; 0]);
        assert_eq!(told(&mut outbox, &there, begun + 4 * QUIET), [0; 0]);
        assert_eq!(told(&mut outbox, &Pods::new(), begun + 6 * QUIET), [0; 0]);
        assert_eq!(told(&mut outbox, &there, begun + 8 * QUIET), [0], "what is gone is forgotten");
    }

    #[test]
    fn who_does_not_answer_is_asked_ever_more_seldom_and_told_what_holds_by_then() {
        let (mut outbox, mut now) = (Outbox::default(), Instant::now());
        let first = pods(&[captured()]);
        let mut waits = Vec::new();
        for _ in 0..9 {
            let due = outbox.due(&first, now);
            assert_eq!(due.len(), 1);
            outbox.answered(&due, Err(Unanswered::Failed("away".to_owned())), (now, 1.0));
            let before = now;
            while outbox.due(&first, now).is_empty() {
                now += Duration::from_secs(1);
            }
            waits.push(now.duration_since(before).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let due = outbox.due(&pods(&[State::Outside]), now);
        assert_eq!(due[0].state, State::Outside);
        outbox.answered(&due, Ok(Vec::new()), (now, 1.0));
        assert_eq!(told(&mut outbox, &first, now + QUIET), [0], "it is quick again");
    }

    #[test]
    fn who_does_not_serve_reports_is_asked_when_everything_would_be_told_again() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let pods = pods(&[captured()]);
        let due = outbox.due(&pods, now);
        outbox.answered(&due, Err(Unanswered::NotServed("another CA".to_owned())), (now, 0.5));
        assert_eq!(told(&mut outbox, &pods, now + REFRESH / 2 - QUIET), [0; 0]);
        assert_eq!(told(&mut outbox, &pods, now + REFRESH / 2), [0]);
    }

    #[test]
    fn what_is_refused_of_one_pod_is_told_again_and_of_the_others_not() {
        let (mut outbox, mut now) = (Outbox::default(), Instant::now());
        let first = pods(&[captured(), State::Outside]);
        let refused = || Refused { uid: uid(1), code: "unknown-pod".to_owned(), text: String::new() };
        for _ in 0..4 {
            let due = outbox.due(&first, now);
            outbox.answered(&due, Ok(vec![refused()]), (now, 1.0));
            while !outbox.refused[&uid(1)].is_over(now) {
                assert_eq!(told(&mut outbox, &first, now), [0; 0]);
                now += QUIET;
            }
        }
        // It is waited for sixteen seconds now, and nobody else is for that.
        let due = outbox.due(&first, now);
        outbox.answered(&due, Ok(vec![refused()]), (now, 1.0));
        let later = pods(&[State::Outside, State::Outside]);
        assert_eq!(told(&mut outbox, &later, now + QUIET), [0]);
        assert_eq!(told(&mut outbox, &later, now + 2 * QUIET), [0; 0]);
        assert_eq!(told(&mut outbox, &later, now + 16 * RETRY.0), [1]);
        assert_eq!(told(&mut outbox, &later, now + 32 * RETRY.0), [0; 0]);
    }

    #[test]
    fn what_was_mended_is_told_once_each_time_and_again_if_it_was_not_taken() {
        let (mut outbox, begun) = (Outbox::default(), Instant::now());
        let mended = |times| Pods::from([standing(0, captured(), times)]);
        assert!(outbox.due(&mended(0), begun)[0].mended.is_none());
        told(&mut outbox, &mended(0), begun);
        let mut now = begun + QUIET;
        let due = outbox.due(&mended(1), now);
        assert_eq!(due[0].mended.as_deref(), Some("steering"));
        outbox.answered(&due, Err(Unanswered::Failed("away".to_owned())), (now, 1.0));
        now += RETRY.0;
        let due = outbox.due(&mended(2), now);
        assert_eq!(due[0].mended.as_deref(), Some("steering"), "both are one");
        outbox.answered(&due, Ok(Vec::new()), (now, 1.0));
        assert_eq!(told(&mut outbox, &mended(2), now + QUIET), [0; 0]);
        let again = outbox.due(&mended(2), begun + 2 * REFRESH);
        assert!(again.len() == 1 && again[0].mended.is_none(), "{again:?}");
    }

    #[test]
    fn many_pods_are_told_by_several_calls() {
        let (mut outbox, begun) = (Outbox::default(), Instant::now());
        let many = pods(&vec![State::Outside; AT_ONCE * 2 + 1]);
        let mut now = begun;
        let mut each = Vec::new();
        for _ in 0..4 {
            each.push(told(&mut outbox, &many, now).len());
            now += QUIET;
        }
        assert_eq!(each, [AT_ONCE, AT_ONCE, 1, 0]);
    }
}
