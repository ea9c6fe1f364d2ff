//! What plain text means: YAML 1.1's booleans and octal numbers included, as Kubernetes still reads them.

use std::borrow::Cow;

use super::node::Value;

/// The value of the plain scalar `text`.
pub(super) fn resolve(text: Cow<'_, str>) -> Value<'_> {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            return Value::Bool(false);
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    // Most plain text is no number, and its first character tells.
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Value::Text(text);
    }
    int(&text).map(Value::Int).or_else(|| float(&text).map(Value::Float)).unwrap_or(Value::Text(text))
}

fn int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, digits.get(2..)?),
        [b'0', b'o', ..] => (8, digits.get(2..)?),
        [b'0', b'b', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // What from_str_radix would take for a second sign is none.
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i64::from_str_radix(digits, radix).ok()?;
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

fn float(text: &str) -> Option<f64> {
    let number = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
    let digit = text.bytes().any(|b| b.is_ascii_digit());
    if digit && text.bytes().all(number) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_means_what_kubernetes_takes_it_for() {
        for (text, value) in [
            ("null", Value::Null),
            ("", Value::Null),
            ("yes", Value::Bool(true)),
            ("Off", Value::Bool(false)),
            ("8080", Value::Int(8080)),
            ("-1", Value::Int(-1)),
            ("+7", Value::Int(7)),
            ("0", Value::Int(0)),
            ("0x1F", Value::Int(31)),
            ("0o17", Value::Int(15)),
            ("017", Value::Int(15)),
            ("1.10", Value::Float(1.1)),
            ("1e3", Value::Float(1000.0)),
        ] {
            assert_eq!(resolve(text.into()), value, "{text}");
        }
    }

    #[test]
    fn everything_else_is_text() {
        for text in [
            "v1",
            "10.0.0.7",
            "fd00::7",
            "1.2.3",
            "2024-01-01T00:00:00Z",
            "--1",
            "-",
            ".",
            "+",
            "inf",
            "nan",
            "0x",
            "1_000",
            "0o9",
            "-+1",
            "1:30",
            "nope",
            "09:30",
            "0x-1",
        ] {
            assert_eq!(resolve(text.into()), Value::Text(text.into()), "{text}");
        }
    }
}
