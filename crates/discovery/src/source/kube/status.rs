//! How each kind fares: listed, not served, not allowed, or out of reach; and with that, whether everything that can be
//! read has been, and what there is to report. Pure: it is told, and told the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ambit_api::{Kind, Severity};

use super::failure::Failure;
use crate::report::Report;

/// How all kinds fare.
#[derive(Debug)]
pub(super) struct Statuses {
    kinds: BTreeMap<Kind, Status>,
    forget: Duration,
}

#[derive(Debug)]
struct Status {
    state: State,
    /// It has been listed, or cannot be for a reason that only people can mend and can be done without.
    settled: bool,
    /// Failures since it was last followed.
    failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is known yet.
    Awaited,
    /// What is known is what there is.
    Followed,
    /// The API does not serve it, for this long at least.
    Unserved { since: Instant },
    /// Nobody let us; what the API said.
    Denied(String),
    /// It cannot be had just now; why.
    Away(String),
}

impl Statuses {
    /// Of `kinds` nothing is known yet; one that is not served for as long as `forget` is gone for good.
    pub(super) fn new(kinds: impl Iterator<Item = Kind>, forget: Duration) -> Self {
        let awaited = |kind| (kind, Status { state: State::Awaited, settled: false, failures: 0 });
        Self { kinds: kinds.map(awaited).collect(), forget }
    }

    /// What is known of `kind` is what there is.
    pub(super) fn followed(&mut self, kind: Kind) {
        self.set(kind, State::Followed, true);
    }

    /// A watch of `kind` goes well again. Whether all of it was ever listed is another question.
    pub(super) fn mended(&mut self, kind: Kind) {
        let listed = self.kinds.get(&kind).is_some_and(|status| status.settled);
        self.set(kind, if listed { State::Followed } else { State::Awaited }, false);
    }

    /// The API does not serve `kind`. True if it has not for so long that what there was is gone.
    pub(super) fn unserved(&mut self, kind: Kind, now: Instant) -> bool {
        let since = match self.kinds.get(&kind).map(|status| &status.state) {
            Some(State::Unserved { since }) => *since,
            _ => now,
        };
        self.set(kind, State::Unserved { since }, true);
        now.saturating_duration_since(since) >= self.forget
    }

    /// Following `kind` has failed.
    pub(super) fn failed(&mut self, kind: Kind, failure: Failure) {
        let why = match failure {
            // Without policies nobody would be refused: who cannot know them begins with nothing.
            Failure::Denied(why) => return self.set(kind, State::Denied(why), !refuses(kind)),
            Failure::Expired => return,
            Failure::Away(why) | Failure::Garbled(why) => why,
            // Whoever looks for it anew finds out; unless it is nowhere else.
            Failure::Unserved => "404, it is not served where it should be".to_owned(),
        };
        let Some(status) = self.kinds.get_mut(&kind) else { return };
        // A watch that is cut and at once taken up again is nothing to speak of.
        let grave = status.failures > 0 || !matches!(status.state, State::Followed);
        status.failures = status.failures.saturating_add(1);
        if grave {
            status.state = State::Away(why);
        }
    }

    /// True if all has been read that can be.
    pub(super) fn is_settled(&self) -> bool {
        self.kinds.values().all(|status| status.settled)
    }

    /// True if some kind cannot be had just now.
    pub(super) fn is_away(&self) -> bool {
        self.kinds.values().any(|status| matches!(status.state, State::Away(_)))
    }

    /// What there is to report.
    pub(super) fn reports(&self) -> Vec<Report> {
        let mut reports: Vec<Report> = self.away().into_iter().collect();
        for (kind, status) in &self.kinds {
            let known = kind.versions().first().copied().unwrap_or_default();
            match &status.state {
                State::Denied(why) => {
                    let message = format!(
                        "no right to list and watch {kind} ({known}): {why}; what was known of them stays in force. Let \
                         the service account get, list and watch them, as the ClusterRole in \
                         docs/operations/kubernetes.md does"
                    );
                    reports.push(Report::of_stale_source(message, Severity::Error));
                }
                State::Unserved { .. } => {
                    let message = format!(
                        "{kind} ({known}) is not served by this cluster: install its CRD to use it; it is taken up then"
                    );
                    reports.push(Report::of_source(message, Severity::Notice));
                }
                State::Awaited | State::Followed | State::Away(_) => {}
            }
        }
        reports
    }

    /// One report for all kinds that cannot be had, since there is mostly one reason.
    fn away(&self) -> Option<Report> {
        let away: Vec<(Kind, &str)> =
            self.kinds.iter().filter_map(|(kind, status)| Some((*kind, status.away()?))).collect();
        let (_, why) = away.first()?;
        let whom = match away.len() {
            all if all == self.kinds.len() => String::new(),
            _ => format!(" for {}", away.iter().map(|(kind, _)| kind.full_name()).collect::<Vec<_>>().join(", ")),
        };
        let message =
            format!("the Kubernetes API does not answer as it should{whom}: {why}; what it said last stays in force");
        Some(Report::of_stale_source(message, Severity::Error))
    }

    fn set(&mut self, kind: Kind, state: State, settles: bool) {
        if let Some(status) = self.kinds.get_mut(&kind) {
            *status = Status { state, settled: status.settled || settles, failures: 0 };
        }
    }
}

impl Status {
    fn away(&self) -> Option<&str> {
        match &self.state {
            State::Away(why) => Some(why),
            _ => None,
        }
    }
}

/// True if objects of `kind` say who is refused.
const fn refuses(kind: Kind) -> bool {
    matches!(kind, Kind::AuthorizationPolicy | Kind::PeerAuthentication | Kind::RequestAuthentication)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 3] = [Kind::Pod, Kind::Service, Kind::VirtualService];
    const FORGET: Duration = Duration::from_secs(300);

    fn statuses() -> Statuses {
        Statuses::new(KINDS.into_iter(), FORGET)
    }

    fn away(why: &str) -> Failure {
        Failure::Away(why.to_owned())
    }

    fn reported(statuses: &Statuses) -> Vec<(Severity, String)> {
        statuses.reports().into_iter().map(|report| (report.severity, report.message)).collect()
    }

    #[test]
    fn all_is_read_once_each_kind_is_listed_or_nobodys_to_list() {
        let mut statuses = statuses();
        statuses.followed(Kind::Pod);
        statuses.failed(Kind::Service, Failure::Denied("services is forbidden".to_owned()));
        statuses.failed(Kind::VirtualService, away("503"));
        assert!(!statuses.is_settled());
        assert!(!statuses.unserved(Kind::VirtualService, Instant::now()));
        assert!(statuses.is_settled());
        let reported = reported(&statuses);
        let [(Severity::Error, denied), (Severity::Notice, unserved)] = &reported[..] else { panic!("{reported:?}") };
        assert!(denied.contains("Service (v1): services is forbidden") && denied.contains("ClusterRole"), "{denied}");
        assert!(unserved.starts_with("VirtualService (networking.istio.io/v1) is not served"), "{unserved}");
        let stale: Vec<bool> = statuses.reports().iter().map(|report| report.stale).collect();
        assert_eq!(stale, [true, false], "of what is not served there is nothing to miss");
        statuses.followed(Kind::Service);
        statuses.followed(Kind::VirtualService);
        assert_eq!(statuses.reports(), []);
    }

    #[test]
    fn a_watch_that_is_cut_once_is_nothing_to_speak_of_and_a_start_without_the_api_is() {
        let mut statuses = statuses();
        statuses.failed(Kind::Pod, away("refused"));
        assert!(statuses.is_away() && !statuses.is_settled());
        for kind in KINDS {
            statuses.followed(kind);
            statuses.failed(kind, away("cut"));
        }
        assert!(!statuses.is_away());
        statuses.failed(Kind::Pod, away("refused"));
        let some = "the Kubernetes API does not answer as it should for Pod: refused; what it said last stays in force";
        assert_eq!(reported(&statuses), [(Severity::Error, some.to_owned())]);
        for kind in KINDS {
            statuses.failed(kind, away("refused"));
        }
        assert_eq!(reported(&statuses), [(Severity::Error, some.replace(" for Pod", ""))]);
        assert!(statuses.reports()[0].stale);
        assert!(statuses.is_settled());
        statuses.mended(Kind::Service);
        assert!(statuses.reports()[0].message.contains("for Pod, VirtualService"));
    }

    #[test]
    fn a_watch_that_goes_well_without_a_list_settles_nothing() {
        let mut statuses = Statuses::new([Kind::Pod].into_iter(), FORGET);
        statuses.failed(Kind::Pod, away("503"));
        statuses.mended(Kind::Pod);
        assert!(!statuses.is_away() && !statuses.is_settled());
    }

    #[test]
    fn what_is_unserved_for_long_enough_is_gone() {
        let (mut statuses, now) = (statuses(), Instant::now());
        assert!(!statuses.unserved(Kind::Pod, now));
        assert!(!statuses.unserved(Kind::Pod, now + FORGET - Duration::from_secs(1)));
        assert!(statuses.unserved(Kind::Pod, now + FORGET));
        statuses.followed(Kind::Pod);
        assert!(!statuses.unserved(Kind::Pod, now + FORGET));
    }

    #[test]
    fn what_only_begins_anew_is_not_reported() {
        let mut statuses = statuses();
        statuses.followed(Kind::VirtualService);
        statuses.failed(Kind::Pod, Failure::Expired);
        statuses.failed(Kind::VirtualService, Failure::Unserved);
        assert_eq!(statuses.reports(), []);
        // What answers 404 to everything is no Kubernetes API.
        statuses.failed(Kind::Pod, Failure::Unserved);
        assert!(reported(&statuses)[0].1.contains("for Pod: 404"), "{:?}", reported(&statuses));
    }
}
