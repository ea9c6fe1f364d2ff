//! Regular expressions as RE2 reads them (github.com/google/re2, "Syntax"). None can take more than time linear in the
//! text, nor more memory than a bound: the `regex` crate has neither backtracking nor backreferences.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use regex::bytes::{Captures, Regex as Automaton, RegexBuilder};
use serde::{Serialize, Serializer};

use super::re2;

/// The most that a compiled expression may take, in bytes. RE2's own default, which Envoy keeps, would be 8 MiB for each;
/// a thousand of those is more than a proxy has.
const SIZE_LIMIT: usize = 256 << 10;

/// How deep groups may nest: as in RE2.
const NEST_LIMIT: u32 = 1000;

/// A regular expression, for whole texts or for their parts. Two are equal if they are written alike.
#[derive(Clone)]
pub struct Regex {
    text: Arc<str>,
    automaton: Automaton,
}

impl Regex {
    /// The expression that `text` writes, to describe texts as a whole.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn whole(text: &str) -> Result<Self, RegexError> {
        // The expression alone first: what is unbalanced in it must not be balanced by what is put around it.
        Self::part(text)?;
        let automaton = compiled(&format!(r"\A(?:{})\z", re2::translated(text)))?;
        Ok(Self { text: Arc::from(text), automaton })
    }

    /// The expression that `text` writes, to describe parts of texts.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn part(text: &str) -> Result<Self, RegexError> {
        if text.is_empty() {
            return Err(RegexError::Empty);
        }
        Ok(Self { text: Arc::from(text), automaton: compiled(&re2::translated(text))? })
    }

    /// True if `value`, or a part of it, is what the expression describes.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        self.automaton.is_match(value)
    }

    /// How many groups it captures, the whole expression aside.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.automaton.captures_len().saturating_sub(1)
    }

    /// `value` with every part that the expression describes replaced by what `replacement` appends for it.
    pub(super) fn replace_all<'a>(
        &self,
        value: &'a [u8],
        mut replacement: impl FnMut(&Captures<'_>, &mut Vec<u8>),
    ) -> Cow<'a, [u8]> {
        self.automaton.replace_all(value, |captures: &Captures<'_>| {
            let mut out = Vec::new();
            replacement(captures, &mut out);
            out
        })
    }

    /// What every text that the expression describes as a whole is sure to begin with; empty where that takes more than a
    /// look.
    pub(super) fn prefix(&self) -> &str {
        let text = self.text.strip_prefix('^').unwrap_or(&self.text);
        // Of alternatives, each begins as it likes.
        let special = |c: char| r"\.+*?()[]{}^$".contains(c);
        let end = if text.contains('|') { Some(0) } else { text.find(special) };
        let literal = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
        // What is repeated need not be there.
        let repeated = text.get(literal.len()..).is_some_and(|rest| rest.starts_with(['+', '*', '?', '{']));
        let last = literal.chars().next_back().filter(|_| repeated).map_or(0, char::len_utf8);
        literal.get(..literal.len().saturating_sub(last)).unwrap_or_default()
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn compiled(pattern: &str) -> Result<Automaton, RegexError> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(SIZE_LIMIT).dfa_size_limit(SIZE_LIMIT).nest_limit(NEST_LIMIT);
    Ok(builder.build()?)
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Regex {}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Serialize for Regex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Why a text is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// Nothing is written; remove the match, or write what it is for.
    #[error("an expression is missing: write one, such as /v[0-9]+/.*")]
    Empty,
    /// It would take too much memory; make its repetitions smaller, or match by prefix.
    #[error("the expression takes more than {} KiB compiled: make its repetitions smaller", SIZE_LIMIT >> 10)]
    TooLarge,
    /// RE2 does not read it; lookaround and backreferences are none of its features.
    #[error("is no RE2 expression: {0}")]
    Syntax(String),
}

impl From<regex::Error> for RegexError {
    fn from(cause: regex::Error) -> Self {
        match cause {
            regex::Error::CompiledTooBig(_) => Self::TooLarge,
            // The crate draws the place in several lines; its last one says what is wrong.
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                Self::Syntax(last.trim_start_matches("error: ").chars().take(160).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `pattern` matches the whole of `value`.
    fn matches(pattern: &str, value: &str) -> bool {
        Regex::whole(pattern).unwrap().matches(value.as_bytes())
    }

    #[test]
    fn expressions_mean_what_re2_means_by_them() {
        for (pattern, whole, not) in [
            // The whole text is meant, whatever alternatives there are.
            ("a|b", &["a", "b"][..], &["ab", "a\n", ""][..]),
            ("a|ab", &["ab"], &["abc"]),
            ("^a$", &["a"], &["aa"]),
            (".*", &["", "a", "é"], &["a\nb"]),
            ("(?s).*", &["a\nb"], &[]),
            ("(?i)abc", &["ABC", "aBc"], &["abd"]),
            // Perl's classes are ASCII's.
            (r"\d", &["7"], &["٣", "x"]),
            (r"\w+", &["a_1"], &["é"]),
            (r"[\w-]+", &["a-1"], &["é"]),
            (r"[^\d]", &["x", "é"], &["7"]),
            (r"\s", &[" ", "\t"], &["\u{b}", "\u{a0}"]),
            (r".*\bon\b.*", &["a on b", "é on"], &["moon"]),
            // Of one letter and of one character.
            ("é?", &["é", ""], &["e"]),
            (r"\pL+", &["é"], &["1"]),
            (r"[[:alpha:]]+", &["ab"], &["a1", "é"]),
            // In a class, these are themselves.
            ("[[a]", &["[", "a"], &["b"]),
            ("[a&&b]+", &["a&b"], &["c"]),
            ("[a~~b]+", &["a~b"], &["c"]),
            ("[]a]+", &["]a"], &["b"]),
            ("[a-]+", &["a-"], &["b"]),
            ("[-a]+", &["a-"], &["b"]),
            ("[+--]+", &["+,-"], &["."]),
            // An escaped mark is itself, and no word boundary.
            (r"\<a\>", &["<a>"], &["a"]),
            (r"\Qa.b\E+", &["a.b", "a.bb"], &["axb"]),
            (r"\x41\101\0", &["AA\0"], &["A"]),
            (r"[\101-\103]", &["A", "C"], &["D"]),
            // A brace that repeats nothing is itself.
            ("a{", &["a{"], &["a"]),
            ("a{,2}", &["a{,2}"], &["aa"]),
            ("a{2}", &["aa"], &["a{2}"]),
            ("a{2,3}", &["aa", "aaa"], &["a", "aaaa"]),
            ("a{2,}", &["aaaa"], &["a"]),
        ] {
            assert!(whole.iter().all(|value| matches(pattern, value)), "{pattern}");
            assert!(!not.iter().any(|value| matches(pattern, value)), "{pattern}");
        }
    }

    #[test]
    fn what_an_expression_is_sure_to_begin_with_is_seen() {
        for (pattern, prefix) in [
            ("/api/v1/[0-9]+", "/api/v1/"),
            ("^/a/.*$", "/a/"),
            ("/ab?c", "/a"),
            ("/ab*", "/a"),
            ("/ab+", "/a"),
            ("/ab{0,1}", "/a"),
            ("/é?", "/"),
            ("/a", "/a"),
            (r"/a\.b", "/a"),
            ("/a(?i)b", "/a"),
            ("(?i)/a", ""),
            ("/a|/b", ""),
            ("/a(b|c)", ""),
            (".*", ""),
        ] {
            assert_eq!(Regex::whole(pattern).unwrap().prefix(), prefix, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_and_said() {
        for pattern in ["(", ")", "a)(b", "[a", r"\", "*a", "(?=a)", r"(a)\1", "(?P<n", r"\C", "a{1001}{1000}"] {
            let error = Regex::whole(pattern).unwrap_err();
            assert!(matches!(error, RegexError::Syntax(_) | RegexError::TooLarge), "{pattern}: {error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        assert_eq!(Regex::whole(""), Err(RegexError::Empty));
        assert_eq!(Regex::whole(r"(?:\pL{100}){100}"), Err(RegexError::TooLarge));
        assert!(Regex::whole(&"(".repeat(100_000)).unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn a_part_may_stand_anywhere() {
        assert!(Regex::part("b").unwrap().matches(b"abc"));
        assert!(!Regex::whole("b").unwrap().matches(b"abc"));
        assert_eq!(Regex::part("(a)(?:b)(?P<c>c)").unwrap().groups(), 2);
        // What is no UTF-8 is no character, and stops nobody.
        assert!(Regex::part("a").unwrap().matches(b"a\xff"));
    }
}
