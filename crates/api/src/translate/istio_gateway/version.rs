//! Which versions of TLS a server speaks, and by which cipher suites.

use ambit_model::gateway::{CipherSuite, TlsVersion};

use crate::field::{Findings, Severity};
use crate::name;
use crate::object::istio_gateway::ServerTls;

/// The suites of TLS 1.3, by OpenSSL's names.
const OF_1_3: [&str; 3] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// The oldest version that `tls` at `path` takes, and the newest.
pub(super) fn versions(tls: &ServerTls, path: &str, findings: &mut Findings) -> (TlsVersion, TlsVersion) {
    let (least, most) = (format!("{path}.minProtocolVersion"), format!("{path}.maxProtocolVersion"));
    let min = match tls.min_protocol_version.as_str() {
        "" | "TLS_AUTO" | "TLSV1_2" => TlsVersion::V1_2,
        "TLSV1_3" => TlsVersion::V1_3,
        old @ ("TLSV1_0" | "TLSV1_1") => {
            let message = format!("{old} is not spoken: it is taken as TLSV1_2, and older clients are refused");
            findings.remark(Severity::Warning, &least, message);
            TlsVersion::V1_2
        }
        other => {
            findings.error(&least, unknown(other));
            TlsVersion::V1_2
        }
    };
    let max = match tls.max_protocol_version.as_str() {
        "" | "TLS_AUTO" | "TLSV1_3" => TlsVersion::V1_3,
        "TLSV1_2" => TlsVersion::V1_2,
        old @ ("TLSV1_0" | "TLSV1_1") => {
            findings.error(&most, format!("{old} is not spoken, nor is any older: write TLSV1_2 or TLSV1_3"));
            TlsVersion::V1_3
        }
        other => {
            findings.error(&most, unknown(other));
            TlsVersion::V1_3
        }
    };
    if min > max {
        findings.error(least, "is newer than maxProtocolVersion: nobody could be spoken to; correct one of them");
    }
    (min, max)
}

fn unknown(text: &str) -> String {
    format!("{:?} is none of TLS_AUTO, TLSV1_0, TLSV1_1, TLSV1_2, TLSV1_3", name::shortened(text))
}

/// The suites of TLS 1.2 that `tls` at `path` takes, whose oldest version is `min`; empty for all.
pub(super) fn cipher_suites(tls: &ServerTls, min: TlsVersion, path: &str, findings: &mut Findings) -> Vec<CipherSuite> {
    let (mut suites, mut omitted) = (Vec::new(), false);
    for (place, text) in tls.cipher_suites.iter().enumerate() {
        let mut remark = |message: String| {
            findings.remark(Severity::Warning, format_args!("{path}.cipherSuites[{place}]"), message);
        };
        // Those of a group are as good as one another.
        let group = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        for name in group.split('|') {
            let shown = name::shortened(name);
            match CipherSuite::from_name(name) {
                Some(suite) if suites.contains(&suite) => remark(format!("{shown} stands in the list already")),
                Some(suite) => suites.push(suite),
                None if OF_1_3.contains(&name) => {
                    remark(format!("{shown} has no effect: those of TLS 1.3 are not chosen among"));
                }
                None => {
                    omitted = true;
                    remark(format!("{shown:?} is left out: it cannot be spoken"));
                }
            }
        }
    }
    if suites.is_empty() && omitted && min == TlsVersion::V1_2 {
        let all = CipherSuite::ALL.iter().map(|suite| suite.as_str()).collect::<Vec<_>>().join(", ");
        findings.error(format_args!("{path}.cipherSuites"), format!("none of them can be spoken: write some of {all}"));
    }
    suites
}
