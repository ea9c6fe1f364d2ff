//! DNS messages (RFC 1035), as far as the mesh answers them: reads one question and writes addresses. Pure; what it cannot
//! read is not its to answer.

use std::net::IpAddr;

/// Bytes of a header.
const HEADER: usize = 12;
/// Longest name on the wire (RFC 1035, 2.3.4).
const NAME: usize = 255;
/// What a client takes by UDP that does not say otherwise (RFC 1035, 4.2.1).
const PLAIN_LIMIT: usize = 512;
/// Most that is sent by UDP, whatever the client says it takes.
const LIMIT: usize = 4096;
/// Seconds for which an answer may be kept, as Istio has it.
const TTL: u32 = 30;

const A: u16 = 1;
const AAAA: u16 = 28;
const OPT: u16 = 41;
const IXFR: u16 = 251;
const AXFR: u16 = 252;
const INTERNET: u16 = 1;

/// QR, AA and RA; TC; and what is copied from a query: RD and CD (RFC 1035, 4.1.1; RFC 4035, 3.2.2).
const ANSWER: u16 = 0x8480;
const TRUNCATED: u16 = 0x0200;
const COPIED: u16 = 0x0110;
/// QR, OPCODE; SERVFAIL.
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const SERVER_FAILURE: u16 = 2;

/// Which addresses a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Type A.
    V4,
    /// Type AAAA.
    V6,
}

/// A query of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query<'a> {
    head: [u8; 4],
    /// The question as it was asked.
    question: &'a [u8],
    /// The name, in lower case and without its last dot.
    pub(super) name: String,
    kind: u16,
    class: u16,
    /// What the client takes by UDP, if it speaks EDNS (RFC 6891).
    edns: Option<u16>,
}

impl<'a> Query<'a> {
    /// Reads a query. `None` for whatever is not exactly one standard question, with EDNS at most.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let (header, rest) = message.split_first_chunk::<HEADER>()?;
        let [id, ie, f, g, counts @ ..] = *header;
        if u16::from_be_bytes([f, g]) & (RESPONSE | OPCODE) != 0 || counts.get(..6)? != [0, 1, 0, 0, 0, 0] {
            return None;
        }
        let (name, length) = name(rest)?;
        let (kind, after) = rest.get(length..)?.split_first_chunk::<2>()?;
        let (class, after) = after.split_first_chunk::<2>()?;
        let edns = match counts.get(6..)? {
            [0, 0] if after.is_empty() => None,
            [0, 1] => Some(edns(after)?),
            _ => return None,
        };
        let [kind, class] = [kind, class].map(|field| u16::from_be_bytes(*field));
        Some(Self { head: [id, ie, f, g], question: rest.get(..length + 4)?, name, kind, class, edns })
    }

    /// Which addresses it asks for, if it asks for addresses.
    pub(super) fn family(&self) -> Option<Family> {
        match (self.class, self.kind) {
            (INTERNET, A) => Some(Family::V4),
            (INTERNET, AAAA) => Some(Family::V6),
            _ => None,
        }
    }

    /// True if more than one message may answer it.
    pub(super) fn is_transfer(&self) -> bool {
        matches!(self.kind, AXFR | IXFR)
    }

    /// The type asked for, as Istio's metrics name it.
    pub(super) fn kind(&self) -> &'static str {
        match self.kind {
            A => "a",
            2 => "ns",
            5 => "cname",
            6 => "soa",
            12 => "ptr",
            15 => "mx",
            16 => "txt",
            AAAA => "aaaa",
            33 => "srv",
            65 => "https",
            _ => "unknown",
        }
    }

    /// What fits into an answer by UDP.
    pub(super) fn datagram_limit(&self) -> usize {
        self.edns.map_or(PLAIN_LIMIT, |size| usize::from(size).clamp(PLAIN_LIMIT, LIMIT))
    }

    /// The answer with those of `addresses` that were asked for and that fit into `limit` bytes; it says so if some do
    /// not.
    pub(super) fn answer(&self, addresses: &[IpAddr], limit: usize) -> Vec<u8> {
        let records: Vec<Vec<u8>> = addresses.iter().filter_map(|address| self.record(*address)).collect();
        let options = self.edns.map(|_| options()).unwrap_or_default();
        let taken = HEADER + self.question.len() + options.len();
        let size = records.first().map_or(1, Vec::len);
        let fit = (limit.min(usize::from(u16::MAX)).saturating_sub(taken) / size).min(records.len());
        let truncated = if fit < records.len() { TRUNCATED } else { 0 };
        let [_, _, f, g] = self.head;
        let flags = ANSWER | truncated | u16::from_be_bytes([f, g]) & COPIED;
        let counts = [1, u16::try_from(fit).unwrap_or(u16::MAX), 0, u16::from(self.edns.is_some())];
        let mut message = self.header(flags, counts);
        message.extend_from_slice(self.question);
        records.iter().take(fit).for_each(|record| message.extend_from_slice(record));
        message.extend_from_slice(&options);
        message
    }

    /// Of the family asked for, named by a pointer to the question (RFC 1035, 4.1.4).
    fn record(&self, address: IpAddr) -> Option<Vec<u8>> {
        let octets = match (self.family()?, address) {
            (Family::V4, IpAddr::V4(v4)) => v4.octets().to_vec(),
            (Family::V6, IpAddr::V6(v6)) => v6.octets().to_vec(),
            _ => return None,
        };
        let length = u16::try_from(octets.len()).ok()?;
        let mut record = vec![0xc0, 12];
        record.extend([self.kind, INTERNET].map(u16::to_be_bytes).concat());
        record.extend(TTL.to_be_bytes());
        record.extend(length.to_be_bytes());
        record.extend(octets);
        Some(record)
    }

    fn header(&self, flags: u16, counts: [u16; 4]) -> Vec<u8> {
        let [id, ie, ..] = self.head;
        let fields = [flags].into_iter().chain(counts).flat_map(u16::to_be_bytes);
        [id, ie].into_iter().chain(fields).collect()
    }
}

/// The answer to `message` that nobody could answer; `None` if it is no query.
pub(super) fn failure(message: &[u8]) -> Option<Vec<u8>> {
    let header = message.first_chunk::<HEADER>()?;
    let [id, ie, f, g, ..] = *header;
    let flags = u16::from_be_bytes([f, g]);
    if flags & RESPONSE != 0 {
        return None;
    }
    let question = Query::read(message).map(|query| query.question).unwrap_or_default();
    let flags = RESPONSE | flags & (OPCODE | COPIED) | SERVER_FAILURE;
    let [f, g] = flags.to_be_bytes();
    let count = u8::from(!question.is_empty());
    Some([&[id, ie, f, g, 0, count, 0, 0, 0, 0, 0, 0], question].concat())
}

/// True if `answer` may be the answer to `query`: the same ID, and a response.
pub(super) fn answers(answer: &[u8], query: &[u8]) -> bool {
    let response = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    response && answer.len() >= HEADER && answer.get(..2) == query.get(..2)
}

/// The name at the start of `bytes`, and how many of them it takes. No name of a question is compressed.
fn name(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut name, mut at) = (String::new(), 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return (at <= NAME).then_some((name, at));
        }
        // Two more bits would make it a pointer or worse.
        let label = Some(length).filter(|length| *length < 64).and_then(|length| bytes.get(at..at + length))?;
        if label.contains(&b'.') || at > NAME {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&std::str::from_utf8(label).ok()?.to_ascii_lowercase());
        at += length;
    }
}

/// What the client takes by UDP: the class of the one additional record, of type OPT (RFC 6891, 6.1.2). Another version
/// of EDNS than 0 is for somebody else to answer.
fn edns(record: &[u8]) -> Option<u16> {
    match *record {
        [0, t, u, high, low, _, 0, _, _, m, n, ref options @ ..]
            if u16::from_be_bytes([t, u]) == OPT && options.len() == usize::from(u16::from_be_bytes([m, n])) =>
        {
            Some(u16::from_be_bytes([high, low]))
        }
        _ => None,
    }
}

/// An OPT record that says what is taken here.
fn options() -> Vec<u8> {
    let [high, low] = u16::try_from(LIMIT).unwrap_or(u16::MAX).to_be_bytes();
    let [t, u] = OPT.to_be_bytes();
    vec![0, t, u, high, low, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests;
