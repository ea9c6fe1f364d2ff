use super::*;
use crate::ends::Security;
use crate::fixtures::{ends, opened, silent_meter, snapshot, workload};
use crate::meter::{Meter, Outcome};

const IDLE: Duration = Duration::from_secs(300);

fn to(destination: Party) -> Ends {
    Ends { destination, ..ends(Reporter::Source) }
}

fn connect(meter: &Meter, ends: Ends, start: Instant) {
    let live = meter.open(opened(ends, start));
    live.traffic().add_sent(1);
    live.traffic().add_received(2);
    live.close(Outcome::Ok);
}

/// Forgets at `now` what is dead, as a process does: what is dead over all workers, on each of them.
fn sweep(meters: &[Meter], living: &Living, now: Instant) -> usize {
    let merged = Values::merge(meters.iter().map(Meter::values));
    let dead = expired(&merged, living, now, IDLE);
    let since = now.checked_sub(IDLE).unwrap();
    meters.iter().map(|meter| meter.forget(&dead, since)).sum()
}

#[test]
fn workers_add_up() {
    let (start, meters) = (Instant::now(), [silent_meter(), silent_meter(), silent_meter()]);
    for meter in &meters {
        connect(meter, ends(Reporter::Source), start);
    }
    connect(&meters[1], ends(Reporter::Destination), start);
    let open = meters[2].open(opened(ends(Reporter::Source), start));
    open.traffic().add_received(40);
    let merged = Values::merge(meters.iter().map(Meter::values));
    assert_eq!((merged.live(Reporter::Source), merged.live(Reporter::Destination)), (1, 0));
    let of = |reporter| merged.series().find(|(ends, _)| ends.reporter == reporter).unwrap().1.clone();
    let source = of(Reporter::Source);
    assert_eq!((source.opened, source.live, source.to_server, source.to_client), (4, 1, 3, 46));
    assert_eq!(source.closed, BTreeMap::from([(Flag::None, 3)]));
    assert_eq!(of(Reporter::Destination).opened, 1);
    assert_eq!(merged.series().count(), 2);
    drop(open);
    assert_eq!(Values::merge([]).series().count(), 0);
}

#[test]
fn ten_thousand_deleted_workloads_leave_nothing_behind() {
    let (start, meters) = (Instant::now(), [silent_meter(), silent_meter()]);
    let doomed: Vec<_> = (0..10_000).map(|number| workload(&format!("job-{number}"), "pod")).collect();
    for (number, pod) in doomed.iter().enumerate() {
        connect(&meters[number % 2], to(Party::Workload(pod.clone())), start);
    }
    connect(&meters[0], ends(Reporter::Source), start);
    let survivors = [workload("productpage", "new-pod"), workload("reviews", "new-pod")];
    let before = Living::of(&snapshot(survivors.iter().cloned().chain(doomed)));
    let after = Living::of(&snapshot(survivors));
    let soon = Instant::now() + IDLE / 2;
    let late = Instant::now() + IDLE;
    assert_eq!(sweep(&meters, &before, late), 0, "everything lives");
    assert_eq!(sweep(&meters, &after, soon), 0, "a last scrape may still come");
    assert_eq!(sweep(&meters, &after, late), 10_000);
    let left = Values::merge(meters.iter().map(Meter::values));
    let left: Vec<_> = left.series().map(|(ends, _)| ends.destination.name().unwrap().to_owned()).collect();
    assert_eq!(left, ["reviews-xyz"], "its Deployment lives, though with other pods");
}

#[test]
fn a_sum_never_shrinks_while_one_worker_goes_on() {
    let (start, meters) = (Instant::now(), [silent_meter(), silent_meter()]);
    let dead = || to(Party::Workload(workload("gone", "pod")));
    connect(&meters[0], dead(), start);
    let open = meters[1].open(opened(dead(), start));
    let living = Living::of(&snapshot([workload("productpage", "abc")]));
    let late = Instant::now() + IDLE;
    assert_eq!(sweep(&meters, &living, late), 0, "the other worker has it open");
    open.close(Outcome::Ok);
    assert_eq!(sweep(&meters, &living, late), 0, "the other worker has just used it");
    assert_eq!(sweep(&meters, &living, Instant::now() + IDLE), 2);
}

#[test]
fn what_a_series_names_decides_whether_it_lives() {
    let living = Living::of(&snapshot([workload("productpage", "abc"), workload("reviews", "xyz")]));
    let derived = Derived { app: Some("stranger".into()), ..Derived::default() };
    let stranger = Party::Derived(Arc::new(derived));
    let other_service = std::sync::Arc::new(ambit_model::Service {
        key: ServiceKey::new("shop", "deleted"),
        hostname: "deleted.shop.svc.cluster.local".into(),
        vips: Vec::new(),
        ranges: Vec::new(),
        resolution: ambit_model::Resolution::Endpoints,
        alias: None,
        visibility: ambit_model::route::Visibility::Public,
        waypoint: None,
        ports: Vec::new(),
        distribution: ambit_model::Distribution::Anywhere,
    });
    let base = || ends(Reporter::Destination);
    assert!(living.names_all_of(&base()));
    assert!(living.names_all_of(&Ends { source: Party::unknown(), security: Security::Unknown, ..base() }));
    assert!(living.names_all_of(&Ends { service: None, ..base() }));
    assert!(!living.names_all_of(&Ends { source: stranger, ..base() }));
    assert!(!living.names_all_of(&Ends { service: Some(other_service), ..base() }));
    assert!(!living.names_all_of(&Ends { source: Party::Workload(workload("gone", "a")), ..base() }));
}
