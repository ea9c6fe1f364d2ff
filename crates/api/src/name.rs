//! The formats of names, labels, ports and addresses (Kubernetes "Object Names and IDs", "Labels and Selectors";
//! RFC 1123, RFC 6335): each check says what to write instead.

use std::net::IpAddr;
use std::sync::Arc;

/// A DNS label: the name of a namespace or service.
pub(crate) fn label(text: &str) -> Result<(), String> {
    if (1..=63).contains(&text.len()) && is_dns_label(text) {
        return Ok(());
    }
    Err(wrong(text, "1 to 63 characters of a-z 0-9 -, with a letter or digit at both ends"))
}

/// A DNS subdomain: the name of most objects.
pub(crate) fn subdomain(text: &str) -> Result<(), String> {
    if (1..=253).contains(&text.len()) && text.split('.').all(is_dns_label) {
        return Ok(());
    }
    Err(wrong(text, "up to 253 characters of a-z 0-9 - ., with a letter or digit at both ends of every part"))
}

/// A label's or annotation's key: a name, with a DNS subdomain and a slash before it or without.
pub(crate) fn label_key(text: &str) -> Result<(), String> {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    if prefix.is_none_or(|prefix| subdomain(prefix).is_ok()) && is_label_text(name) && !name.is_empty() {
        return Ok(());
    }
    Err(wrong(text, "a key such as app or app.kubernetes.io/name"))
}

/// A label's value.
pub(crate) fn label_value(text: &str) -> Result<(), String> {
    if is_label_text(text) {
        return Ok(());
    }
    Err(wrong(text, "up to 63 characters of A-Z a-z 0-9 - _ ., with a letter or digit at both ends"))
}

/// A port's name (RFC 6335 section 5.1).
pub(crate) fn port_name(text: &str) -> Result<(), String> {
    let letter = text.bytes().any(|b| b.is_ascii_lowercase());
    if text.len() <= 15 && letter && is_dns_label(text) && !text.contains("--") {
        return Ok(());
    }
    Err(wrong(text, "1 to 15 characters of a-z 0-9 -, with a letter among them"))
}

/// A port's number.
pub(crate) fn port(number: i64) -> Result<u16, String> {
    u16::try_from(number).ok().filter(|port| *port != 0).ok_or_else(|| format!("{number} is no port: 1 to 65535 are"))
}

/// The name of a header field (RFC 9110 section 5.1), in lower case.
pub(crate) fn field_name(text: &str) -> Result<Arc<str>, String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(legal) {
        return Err(wrong(text, "the name of a header field, such as x-request-id"));
    }
    Ok(Arc::from(text.to_ascii_lowercase()))
}

/// An address that one workload can have, in its canonical form.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| wrong(text, "an address such as 10.244.1.7 or fd00::7"))?;
    let address = address.to_canonical();
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(wrong(text, "an address that other hosts can reach"));
    }
    Ok(address)
}

/// `text` as far as it is quoted: what is quoted lands in logs, and no more of it than tells it apart.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn wrong(text: &str, expected: &str) -> String {
    match text {
        "" => format!("is missing: write {expected}"),
        _ => format!("{:?} is not allowed: write {expected}", shortened(text)),
    }
}

fn is_dns_label(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(legal) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_label_text(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(legal) && edge(text.bytes().next()) && edge(text.bytes().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Result<(), String>;

    #[test]
    fn formats_are_those_of_kubernetes() {
        let long = "a".repeat(64);
        let table: [(&str, Check, &[&str], &[&str]); 5] = [
            ("label", label, &["a", "shop-1", "1"], &["", "-a", "a-", "A", "a.b", "a_b", &long]),
            ("subdomain", subdomain, &["a", "a.b-c.d"], &["", ".a", "a..b", "a.", "a/b", "Web", "../etc"]),
            ("label_key", label_key, &["app", "a.b/C_d.e"], &["", "/a", "a/", "a b/c", "a/b/c", "-a", "A_b/c"]),
            ("label_value", label_value, &["", "v1", "A_b.c-d"], &["-a", "a-", "a b", "a/b", &long]),
            ("port_name", port_name, &["http", "h2-1", "a"], &["", "80", "HTTP", "a--b", "-a", "a234567890123456"]),
        ];
        for (what, check, good, bad) in table {
            for text in good {
                assert_eq!(check(text), Ok(()), "{what} {text:?}");
            }
            for text in bad {
                assert!(check(text).is_err(), "{what} {text:?}");
            }
        }
    }

    #[test]
    fn addresses_are_canonical_and_reachable() {
        assert_eq!(address("::ffff:10.0.0.7"), Ok("10.0.0.7".parse().unwrap()));
        assert_eq!(address("FD00::0007"), Ok("fd00::7".parse().unwrap()));
        for text in
            ["", "10.0.0", "010.0.0.1", "0.0.0.0", "127.0.0.1", "::ffff:127.0.0.1", "::1", "224.0.0.1", "fe80::1%1"]
        {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_numbers_of_sixteen_bits_but_zero() {
        assert_eq!((port(1), port(65_535)), (Ok(1), Ok(65_535)));
        assert!([0, -1, 65_536, i64::MAX].into_iter().all(|number| port(number).is_err()));
    }
}
