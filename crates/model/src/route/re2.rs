//! From RE2's syntax to the one that the `regex` crate reads, where the two say different things by the same text
//! (github.com/google/re2, "Syntax"). Knows nothing of matching; what neither knows is left for the crate to refuse.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// `pattern`, an RE2 expression, as the `regex` crate writes it.
pub(super) fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, &mut out, Place::Outside),
            '[' => class(&mut rest, &mut out),
            // What is no repetition is text: `{`, `{,3}`, `{a}`.
            '{' if !is_repetition(&rest) => out.push_str(r"\{"),
            _ => out.push(c),
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Class,
}

/// What follows a backslash. Perl's classes are those of ASCII, and a punctuation mark is itself.
fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String, place: Place) {
    let Some(c) = rest.next() else { return out.push('\\') };
    match (c, place) {
        ('d', _) => out.push_str("[0-9]"),
        ('D', _) => out.push_str("[^0-9]"),
        ('w', _) => out.push_str("[0-9A-Za-z_]"),
        ('W', _) => out.push_str("[^0-9A-Za-z_]"),
        ('s', _) => out.push_str(r"[\t\n\f\r ]"),
        ('S', _) => out.push_str(r"[^\t\n\f\r ]"),
        ('b', Place::Outside) => out.push_str(r"(?-u:\b)"),
        // Not `\B` of ASCII, which would also stand between the bytes of one character.
        ('B', Place::Outside) => out.push_str(r"\B"),
        ('Q', Place::Outside) => quoted(rest, out),
        ('0'..='7', _) if c == '0' || rest.peek().is_some_and(|next| next.is_digit(8)) => octal(c, rest, out),
        _ if c.is_ascii_punctuation() => literal(c, out),
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
}

/// The character of up to three octal digits. A single one that is not zero would refer back, which is no feature.
fn octal(first: char, rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut code = first.to_digit(8).unwrap_or_default();
    for _ in 0..2 {
        let Some(digit) = rest.next_if(|next| next.is_digit(8)).and_then(|next| next.to_digit(8)) else { break };
        code = code * 8 + digit;
    }
    let _ = write!(out, r"\x{{{code:x}}}");
}

/// The text up to `\E`.
fn quoted(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    while let Some(c) = rest.next() {
        if c == '\\' && rest.peek() == Some(&'E') {
            rest.next();
            return;
        }
        literal(c, out);
    }
}

/// A class, in which the `regex` crate would also see classes within, intersections and differences.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    while let Some(c) = rest.next() {
        match c {
            ']' if !first => return out.push(']'),
            '[' if rest.peek() == Some(&':') => named(rest, out),
            '\\' => escape(rest, out, Place::Class),
            // Between two ends it makes a range; where it stands first or last it is itself.
            '-' if !first && !matches!(rest.peek(), Some(']') | None) => out.push('-'),
            _ => literal(c, out),
        }
        first = false;
    }
}

/// `[:alpha:]`, or a bracket that begins no such name and is itself.
fn named(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let name: String = rest.clone().take_while(|c| *c != ']').collect();
    if name.len() < 3 || !name.ends_with(':') {
        return literal('[', out);
    }
    rest.by_ref().take(name.chars().count() + 1).for_each(drop);
    let _ = write!(out, "[{name}]");
}

/// The character itself, whatever it means elsewhere. No other is escaped: of some, that would be an operator.
fn literal(c: char, out: &mut String) {
    if r"\.+*?()|[]{}^$#&-~".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

/// True for `2}`, `2,}` and `2,3}`.
fn is_repetition(rest: &Peekable<Chars<'_>>) -> bool {
    let inside: String = rest.clone().take_while(|c| *c != '}').take(12).collect();
    let closed = rest.clone().nth(inside.len()) == Some('}');
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (least, most) = inside.split_once(',').unwrap_or((&inside, ""));
    closed && number(least) && (most.is_empty() || number(most))
}
