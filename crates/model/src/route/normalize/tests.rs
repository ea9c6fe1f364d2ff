//! Ways around a policy for a path, and what it sees of them.

use proptest::prelude::*;

use super::*;
use crate::policy::PathPattern;

const MODES: [Normalization; 4] =
    [Normalization::None, Normalization::Base, Normalization::MergeSlashes, Normalization::DecodeAndMergeSlashes];

#[test]
fn what_a_policy_for_admin_sees_of_each_way_to_write_it() {
    let admin: PathPattern = "/admin*".parse().unwrap();
    // Written so; what is left of it with NONE, BASE, MERGE_SLASHES and DECODE_AND_MERGE_SLASHES; which of these match.
    for (path, seen, matches) in [
        ("/admin", ["/admin"; 4], [true; 4]),
        ("/admin/", ["/admin/"; 4], [true; 4]),
        ("/admin;x", ["/admin;x"; 4], [true; 4]),
        ("/ADMIN", ["/ADMIN"; 4], [false; 4]),
        ("//admin", ["//admin", "//admin", "/admin", "/admin"], [false, false, true, true]),
        ("/./admin", ["/./admin", "/admin", "/admin", "/admin"], [false, true, true, true]),
        ("/a/../admin", ["/a/../admin", "/admin", "/admin", "/admin"], [false, true, true, true]),
        ("/../admin", ["/../admin", "/admin", "/admin", "/admin"], [false, true, true, true]),
        ("/a/%2e%2E/admin", ["/a/%2e%2E/admin", "/admin", "/admin", "/admin"], [false, true, true, true]),
        ("/a/.%2e/admin", ["/a/.%2e/admin", "/admin", "/admin", "/admin"], [false, true, true, true]),
        ("/%61dmin", ["/%61dmin", "/admin", "/admin", "/admin"], [false, true, true, true]),
        ("/admi%6E", ["/admi%6E", "/admin", "/admin", "/admin"], [false, true, true, true]),
        ("/%2561dmin", ["/%2561dmin"; 4], [false; 4]),
        ("/\\admin", ["/\\admin", "//admin", "/admin", "/admin"], [false, false, true, true]),
        ("/a\\..\\admin", ["/a\\..\\admin", "/admin", "/admin", "/admin"], [false, true, true, true]),
        ("/%2fadmin", ["/%2fadmin", "/%2fadmin", "/%2fadmin", "/admin"], [false, false, false, true]),
        (
            "/a%2F..%2fadmin",
            ["/a%2F..%2fadmin", "/a%2F..%2fadmin", "/a%2F..%2fadmin", "/admin"],
            [false, false, false, true],
        ),
        (
            "/a%5c..%5Cadmin",
            ["/a%5c..%5Cadmin", "/a%5c..%5Cadmin", "/a%5c..%5Cadmin", "/admin"],
            [false, false, false, true],
        ),
        ("/admin%2f..", ["/admin%2f..", "/admin%2f..", "/admin%2f..", "/"], [true, true, true, false]),
        ("/admin/..", ["/admin/..", "/", "/", "/"], [true, false, false, false]),
        ("/a//../admin", ["/a//../admin", "/a/admin", "/a/admin", "/a/admin"], [false; 4]),
        // What is undone makes no new escape.
        ("/%%32fadmin", ["/%%32fadmin", "/%252fadmin", "/%252fadmin", "/%252fadmin"], [false; 4]),
        ("/..;/admin", ["/..;/admin"; 4], [false; 4]),
        ("/a?/../admin", ["/a?/../admin"; 4], [false; 4]),
    ] {
        for (place, mode) in MODES.into_iter().enumerate() {
            let normal = normalize(path, mode).unwrap();
            assert_eq!(normal, seen[place], "{path} {mode:?}");
            assert_eq!(admin.matches(&normal), matches[place], "{path} {mode:?}");
        }
    }
}

#[test]
fn what_readers_differ_about_is_rejected_or_escaped() {
    for (path, rejected) in [
        ("", PathRejected::Relative),
        ("admin", PathRejected::Relative),
        ("\\admin", PathRejected::Relative),
        ("%2fadmin", PathRejected::Relative),
        ("http://a/admin", PathRejected::Relative),
        ("/admin#x", PathRejected::Fragment),
        ("/admin?a#x", PathRejected::Fragment),
    ] {
        assert_eq!(MODES.map(|mode| normalize(path, mode).unwrap_err()), [rejected; 4], "{path}");
    }
    for mode in &MODES[1..] {
        assert_eq!(normalize("/admin%00.txt", *mode), Err(PathRejected::Nul));
        assert_eq!(normalize("/a b\"<é%e9\u{7f}", *mode).unwrap(), "/a%20b%22%3C%C3%A9%e9%7F");
        assert_eq!(normalize("/100%/%zz/%1", *mode).unwrap(), "/100%25/%25zz/%251");
    }
    assert_eq!(normalize("*", Normalization::Base).unwrap(), "*");
}

#[test]
fn the_query_stays_and_most_paths_take_no_copy() {
    for path in ["/", "/a/b.txt", "/a?b=//../%61\\", "/a;v=1/~b"] {
        for mode in MODES {
            assert!(matches!(normalize(path, mode).unwrap(), Cow::Borrowed(same) if same == path), "{path} {mode:?}");
        }
    }
    assert_eq!(normalize("//%61/?b=//../%61\\", Normalization::MergeSlashes).unwrap(), "/a/?b=//../%61\\");
}

#[test]
fn names_are_those_of_istio() {
    let names = ["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];
    assert_eq!(names.map(|name| name.parse::<Normalization>().unwrap()), MODES);
    assert_eq!("DEFAULT".parse(), Ok(Normalization::default()));
    assert!("base".parse::<Normalization>().is_err());
}

proptest! {
    #[test]
    fn what_is_normal_stays_and_has_no_segment_of_dots(path in "/[a./\\\\%2eEfF5cC6;?é]{0,16}") {
        for mode in &MODES[1..] {
            let Ok(once) = normalize(&path, *mode) else { continue };
            prop_assert_eq!(&normalize(&once, *mode).unwrap(), &once);
            let bare = once.split('?').next().unwrap();
            prop_assert!(bare.starts_with('/') && !bare.contains('\\'));
            prop_assert!(!bare.split('/').any(|segment| [".", ".."].contains(&segment)));
            prop_assert!(*mode == Normalization::Base || !bare.contains("//"));
        }
    }
}
