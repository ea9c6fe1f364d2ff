//! Durations as Istio's objects write them: `1h`, `1m30s`, `1.5s`, `100ms` (Go's notation, which includes Protobuf's).

use std::time::Duration;

use crate::field::Findings;

/// The units, each with its nanoseconds.
const UNITS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3_600e9)];

/// What `text` says, 0 included.
pub(super) fn any(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{:?} is no duration: write one such as 1h, 1m, 1s or 100ms", crate::name::shortened(text));
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        total += number * nanoseconds;
        rest = after;
    }
    // 10,000 years are the most that Protobuf writes.
    if text.is_empty() || total > 315_576_000_000e9 {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(total / 1e9))
}

/// What `text` says, if that is a millisecond or more of them (Istio's `ValidateDuration`).
pub(super) fn milliseconds(text: &str) -> Result<Duration, String> {
    let duration = any(text)?;
    if duration < Duration::from_millis(1) {
        return Err(format!("{text:?} is too short: write 1ms or more"));
    }
    let whole = duration.subsec_nanos().is_multiple_of(1_000_000);
    whole.then_some(duration).ok_or_else(|| format!("{text:?} is more exact than is kept to: write whole milliseconds"))
}

/// What `text` says as the Gateway API writes durations (GEP-2257): up to four times up to five digits and `h`, `m`, `s` or
/// `ms`.
pub(super) fn of_gateway_api(text: &str) -> Result<Duration, String> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b"hms".contains(&b)) && text != "0";
    let read = any(text)?;
    plain.then_some(read).ok_or_else(|| {
        format!("{:?} is no duration of GEP-2257: write one such as 1m30s or 500ms", crate::name::shortened(text))
    })
}

/// What is written at `path`, if anything is.
pub(super) fn optional(
    path: impl std::fmt::Display,
    text: Option<&String>,
    read: fn(&str) -> Result<Duration, String>,
    findings: &mut Findings,
) -> Option<Duration> {
    text.and_then(|text| findings.take(path, read(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, milliseconds) in [
            ("1s", 1000),
            ("1.5s", 1500),
            ("0.1s", 100),
            ("100ms", 100),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("15m", 900_000),
            ("1000us", 1),
            ("0s", 0),
            ("0", 0),
        ] {
            assert_eq!(any(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "1", "s", "-1s", "1 s", "1d", "1s1", "..s", "1.1.1s", "9999999999h"] {
            assert!(any(text).is_err(), "{text}");
        }
        for text in ["0s", "999us", "1001us", "1.0005s"] {
            assert!(any(text).is_ok() && milliseconds(text).is_err(), "{text}");
        }
        for text in ["1ms", "1000us", "1.001s", "0.1s", "33.333s", "24h"] {
            assert!(milliseconds(text).is_ok(), "{text}");
        }
    }
}
