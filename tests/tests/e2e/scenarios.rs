//! The scenarios of `tests/scenarios`, each a directory of manifests, pods, requests and expectations, played by real
//! processes: agents, waypoints, servers, clients. Knows of none of them what it shows.

mod ask;
mod script;
mod stage;
mod steps;

use std::path::{Path, PathBuf};

use stage::Stage;

/// What scenarios share.
const SHARED: &str = "shared";

/// One test for each directory.
macro_rules! scenarios {
    ($(#[test] fn $test:ident() = $directory:literal;)*) => {
        const LISTED: &[&str] = &[$($directory),*];

        $(
            #[test]
            fn $test() {
                play($directory);
            }
        )*
    };
}

scenarios! {
    #[test]
    fn bookinfo_is_spread_over_its_versions() = "SC-000-06";
    #[test]
    fn subsets_that_are_only_defined_change_nothing() = "SC-000-07";
    #[test]
    fn all_traffic_goes_to_v1() = "SC-000-08";
    #[test]
    fn jason_sees_v2() = "SC-000-09";
    #[test]
    fn half_of_it_goes_to_v3() = "SC-000-10";
    #[test]
    fn half_is_answered_with_500() = "SC-001-06";
    #[test]
    fn it_is_late_by_3_s() = "SC-001-07";
    #[test]
    fn routes_by_source_labels_lock_down() = "SC-002-11";
    #[test]
    fn one_out_of_ten_gets_the_canary() = "SC-002-12";
    #[test]
    fn a_cookie_opts_in_to_the_canary() = "SC-002-13";
    #[test]
    fn some_of_those_who_opted_in_get_the_canary() = "SC-002-14";
    #[test]
    fn weights_of_50_25_25() = "SC-004-01";
    #[test]
    fn firefox_gets_v3() = "SC-004-02";
    #[test]
    fn a_mirror_gets_copies_and_nobody_waits_for_it() = "SC-004-03";
    #[test]
    fn ratings_are_late_for_jason() = "SC-004-04";
    #[test]
    fn ratings_fail_for_jason() = "SC-004-05";
    #[test]
    fn connections_carry_so_many_requests() = "SC-004-06";
    #[test]
    fn what_does_not_fit_into_a_pool_waits_or_is_told() = "SC-004-06-overflow";
    #[test]
    fn who_fails_is_ejected() = "SC-004-07";
    #[test]
    fn one_service_account_may_ask_and_only_so() = "SC-004-10";
    #[test]
    fn every_protocol_is_balanced() = "SC-004-18";
    #[test]
    fn waypoints_are_their_namespaces_own() = "SC-card-waypoint";
    #[test]
    fn an_http_route_holds_in_place_of_a_virtual_service() = "H-34";
    #[test]
    fn what_is_addressed_decides_who_is_asked() = "G-02";
    #[test]
    fn another_namespaces_waypoint_has_to_let_it_in() = "G-03";
    #[test]
    fn a_waypoint_is_for_services_or_for_workloads() = "G-04";
    #[test]
    fn each_end_sees_who_it_deals_with() = "G-09";
    #[test]
    fn pods_own_addresses_are_no_services() = "G-10";
    #[test]
    fn nobody_gets_around_a_waypoint() = "F-14";
    #[test]
    fn a_waypoint_that_is_only_preferred_is_no_obstacle() = "F-15";
    #[test]
    fn a_waypoint_that_is_not_ours_is_told_who_asks_for_what() = "E-12";
    #[test]
    fn whatever_is_spoken_passes() = "protocols";
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn play(name: &str) {
    let (own, shared) = (directory().join(name), directory().join(SHARED));
    let mut script = stage::read(&own, &shared).unwrap_or_else(|error| panic!("{error:#}"));
    let steps = std::mem::take(&mut script.steps);
    assert!(!steps.is_empty(), "{name} has no steps");
    let stage = Stage::set([own, shared], &mut script);
    let mut stage = stage.unwrap_or_else(|error| panic!("{name}, before the first step: {error:#}"));
    for (number, step) in (1..).zip(&steps) {
        if let Err(error) = steps::run(&mut stage, step) {
            // The stage is still there, so that its processes show what they wrote.
            panic!("{name}/scenario.yaml, step {number}: {error:#}");
        }
    }
}

#[test]
fn every_directory_is_played() {
    let entries = std::fs::read_dir(directory()).unwrap().map(Result::unwrap);
    let directories = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut found: Vec<String> = directories.map(|entry| entry.file_name().into_string().unwrap()).collect();
    found.retain(|name| name != SHARED);
    found.sort();
    let mut listed: Vec<_> = LISTED.to_vec();
    listed.sort_unstable();
    assert_eq!(found, listed);
}
