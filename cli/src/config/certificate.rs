//! `ztunnel-config certificate`: the certificates that an agent holds for the pods of its node.

use serde_json::Value;

use super::dump::{Certificate, Dump, Listed};
use crate::output::View;
use crate::table::{Cell, Shrink, Table, Tone};

/// All of them, in the agent's order: by identity, from the leaf to the root.
pub(crate) fn view(dump: &Dump) -> View {
    let mut table = Table::new(&[
        ("CERTIFICATE NAME", Shrink::Start),
        ("TYPE", Shrink::Never),
        ("STATUS", Shrink::Never),
        ("VALID CERT", Shrink::Never),
        ("SERIAL NUMBER", Shrink::End),
        ("NOT AFTER", Shrink::Never),
        ("NOT BEFORE", Shrink::Drop),
    ]);
    for Listed { read: Certificate { identity, kind, status, certificate }, .. } in &dump.certificates {
        let said = |text: fn(&super::dump::Facts) -> &str| certificate.as_ref().map(text).unwrap_or_default().into();
        let valid = match certificate.as_ref().map(|facts| facts.valid) {
            Some(true) => Cell::toned("true", Tone::Good),
            Some(false) | None => Cell::toned("false", Tone::Bad),
        };
        table.row([
            identity.as_str().into(),
            kind.as_str().into(),
            status.as_str().into(),
            valid,
            said(|facts| &facts.serial),
            said(|facts| &facts.not_after),
            said(|facts| &facts.not_before),
        ]);
    }
    let whole = dump.certificates.iter().map(|listed| listed.whole.clone()).collect();
    View { empty: "No certificates.", table, whole: Value::Array(whole) }
}
