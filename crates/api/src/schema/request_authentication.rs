//! The schema of security.istio.io RequestAuthentication.

use super::{Schema, boolean, duration, list, object, selector, text};

/// `spec`.
pub(super) fn spec() -> Schema {
    let fields = [
        ("selector", selector::workloads("The gateways' pods that this is for; absent for all of the namespace.")),
        ("jwtRules", list("Which tokens are taken; a request need not have one.", rule()).at_most(4096)),
    ];
    object("Which end users' tokens (JWT) are taken.", fields.into_iter().chain(selector::targets()))
        .rule(selector::ONE_TARGET, selector::ONE_TARGET_MESSAGE)
}

fn rule() -> Schema {
    const FIELD: &str = "^[-_A-Za-z0-9]+$";
    let names = |description| list(description, text("").at_least(1));
    let location = object(
        "",
        [
            ("name", text("The field's name.").at_least(1)),
            ("prefix", text("What stands before the token, such as `Bearer ` with its space.")),
        ],
    )
    .needs(&["name"]);
    let claim = object(
        "",
        [
            ("header", text("The field's name.").at_least(1).like(FIELD)),
            ("claim", text("The claim, with dots between its parts: text, a number, true or false.").at_least(1)),
        ],
    )
    .needs(&["header", "claim"]);
    let url = || text("Where the issuer's keys are.").at_least(1).at_most(2048).like("^https?://");
    object(
        "",
        [
            ("issuer", text("Who must have issued a token, as its claim `iss` says.").at_least(1)),
            ("audiences", names("A token must be for one of these; absent for whatever it is for.")),
            ("jwksUri", url()),
            ("jwks_uri", url()),
            ("jwks", text("The issuer's keys themselves (RFC 7517).")),
            ("fromHeaders", list("The header fields that a token may stand in.", location)),
            ("fromParams", names("The query parameters that a token may stand in.")),
            ("fromCookies", names("The cookies that a token may stand in.")),
            ("outputPayloadToHeader", text("The field that has the payload, in base64url, as the request goes on.")),
            ("outputClaimToHeaders", list("The fields that have claims, as the request goes on.", claim)),
            ("forwardOriginalToken", boolean("The token goes on with the request.")),
            ("timeout", duration("How long fetching the keys may take; absent for 5s.")),
            ("spaceDelimitedClaims", names("Claims that are lists, written with spaces between.")),
        ],
    )
    .rule(
        "(has(self.jwksUri) ? 1 : 0) + (has(self.jwks_uri) ? 1 : 0) + (has(self.jwks) ? 1 : 0) <= 1",
        "only one of jwks or jwksUri can be set",
    )
}
