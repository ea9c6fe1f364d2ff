//! Where a file's documents begin and end, by their markers alone: what is wrong inside one of them stays there.
//! (YAML 1.2 section 9.1.2: nothing within a document can begin a line with a marker.)

/// A document, or what stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    /// The number of its first line, from 1.
    pub(crate) first_line: u32,
    /// Its bytes, its `---` included.
    pub(crate) text: &'a [u8],
}

/// The documents of `file` that are not empty.
pub(crate) fn documents(file: &[u8]) -> Vec<Chunk<'_>> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let mut chunks = Vec::new();
    let (mut rest, mut first_line) = (file, 1);
    // `taken` bytes and `lines` lines of `rest` belong to the document at hand.
    let (mut taken, mut lines, mut content) = (0, 0, false);
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let (begins, ends) = (is_marker(line, b"---"), is_marker(line, b"..."));
        if begins || ends {
            let (text, after) = rest.split_at(taken);
            if content {
                chunks.push(Chunk { first_line, text });
            }
            (rest, first_line) = (after, lines + 1);
            (taken, content) = (0, false);
        }
        let inner = if begins || ends { line.get(3..).unwrap_or_default() } else { line };
        taken += line.len();
        lines += 1;
        if ends {
            (rest, first_line) = (rest.split_at(taken).1, lines + 1);
            taken = 0;
        }
        content |= !ends && has_content(inner);
    }
    if content {
        chunks.push(Chunk { first_line, text: rest });
    }
    chunks
}

fn is_marker(line: &[u8], marker: &[u8]) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| matches!(rest.first(), None | Some(b' ' | b'\t' | b'\r' | b'\n')))
}

/// False for blank lines, comments and directives.
fn has_content(line: &[u8]) -> bool {
    !matches!(line.trim_ascii_start().first(), None | Some(b'#')) && line.first() != Some(&b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(file: &str) -> Vec<(u32, &str)> {
        let chunks = documents(file.as_bytes()).into_iter();
        chunks.map(|Chunk { first_line, text }| (first_line, std::str::from_utf8(text).unwrap())).collect()
    }

    #[test]
    fn documents_are_found_by_their_markers() {
        assert_eq!(split(""), []);
        assert_eq!(split("a: 1\n"), [(1, "a: 1\n")]);
        assert_eq!(split("a: 1\n---\nb: 2\n"), [(1, "a: 1\n"), (2, "---\nb: 2\n")]);
        assert_eq!(split("---\na: 1\r\n---\r\nb: 2"), [(1, "---\na: 1\r\n"), (3, "---\r\nb: 2")]);
        assert_eq!(split("--- {a: 1}\n---\tb\n"), [(1, "--- {a: 1}\n"), (2, "---\tb\n")]);
        assert_eq!(split("a: 1\n...\n# c\n---\nb: 2\n"), [(1, "a: 1\n"), (4, "---\nb: 2\n")]);
    }

    #[test]
    fn what_is_empty_is_no_document() {
        assert_eq!(split("---\n---\n\n# only a comment\n---\n"), []);
        assert_eq!(split("%YAML 1.2\n---\na: 1\n"), [(2, "---\na: 1\n")]);
        assert_eq!(split("---\n...\n...\n"), []);
    }

    #[test]
    fn what_looks_like_a_marker_is_none() {
        assert_eq!(split("---a: 1\n ---\n----\n"), [(1, "---a: 1\n ---\n----\n")]);
    }

    #[test]
    fn a_byte_order_mark_is_not_content() {
        assert_eq!(documents(b"\xef\xbb\xbf# c\n"), []);
        assert_eq!(documents(b"\xef\xbb\xbfa: 1"), [Chunk { first_line: 1, text: b"a: 1" }]);
    }
}
