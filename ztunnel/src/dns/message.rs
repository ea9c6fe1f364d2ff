//! DNS messages as far as the mesh answers them: reads one question, and writes what its name is an alias of and the
//! addresses it has. Pure; what it cannot read is not its to answer.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::ProtoError;
use hickory_proto::op::{self, Edns, EmitAndCount, Header, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

/// What a client takes by UDP that does not say otherwise (RFC 1035, 4.2.1).
const PLAIN_LIMIT: u16 = 512;
/// Most that is sent by UDP, whatever the client says it takes.
const LIMIT: u16 = 4096;
/// Bytes of an OPT record without options (RFC 6891, 6.1.2).
const OPT: u16 = 11;
/// Seconds for which an answer may be kept, as Istio has it.
const TTL: u32 = 30;

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
pub(super) struct Query {
    metadata: Metadata,
    /// The question as it was asked.
    question: op::Query,
    /// The name, in lower case and without its last dot.
    pub(super) name: String,
    /// What the client takes by UDP, if it speaks EDNS (RFC 6891).
    edns: Option<u16>,
}

/// What there is to say to a question for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// What its name is an alias of, what that is one of, and so on.
    aliases: Vec<Arc<str>>,
    /// The addresses of the last of them, of any family.
    addresses: Vec<IpAddr>,
    /// Seconds for which the addresses may be kept.
    ttl: u32,
    code: ResponseCode,
    /// True if there are more.
    truncated: bool,
}

impl Query {
    /// Reads a query. `None` for whatever is not exactly one standard question, with EDNS at most. Another version of
    /// EDNS than 0 is for somebody else to answer.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let counts = Header::read(&mut BinDecoder::new(bytes)).ok()?.counts;
        // Before room is made for what the header promises.
        if (counts.queries, counts.answers, counts.authorities) != (1, 0, 0) || counts.additionals > 1 {
            return None;
        }
        let mut decoder = BinDecoder::new(bytes);
        let message = Message::read(&mut decoder).ok()?;
        let standard = message.metadata.message_type == MessageType::Query && message.metadata.op_code == OpCode::Query;
        if !standard || !decoder.is_empty() || !message.additionals.is_empty() || message.version() != 0 {
            return None;
        }
        let question = message.queries.into_iter().next()?;
        let name = name(question.name())?;
        Some(Self { metadata: message.metadata, question, name, edns: message.edns.map(|edns| edns.max_payload()) })
    }

    /// Which addresses it asks for, if it asks for addresses.
    pub(super) fn family(&self) -> Option<Family> {
        match (self.question.query_class(), self.question.query_type()) {
            (DNSClass::IN, RecordType::A) => Some(Family::V4),
            (DNSClass::IN, RecordType::AAAA) => Some(Family::V6),
            _ => None,
        }
    }

    /// True if more than one message may answer it.
    pub(super) fn is_transfer(&self) -> bool {
        matches!(self.question.query_type(), RecordType::AXFR | RecordType::IXFR)
    }

    /// The type asked for, as Istio's metrics name it.
    pub(super) fn kind(&self) -> &'static str {
        match self.question.query_type() {
            RecordType::A => "a",
            RecordType::NS => "ns",
            RecordType::CNAME => "cname",
            RecordType::SOA => "soa",
            RecordType::PTR => "ptr",
            RecordType::MX => "mx",
            RecordType::TXT => "txt",
            RecordType::AAAA => "aaaa",
            RecordType::SRV => "srv",
            RecordType::HTTPS => "https",
            _ => "unknown",
        }
    }

    /// What fits into an answer by UDP.
    pub(super) fn datagram_limit(&self) -> u16 {
        self.edns.map_or(PLAIN_LIMIT, |size| size.clamp(PLAIN_LIMIT, LIMIT))
    }

    /// The answer that says of `content` what was asked for and fits into `limit` bytes; it says so if something does
    /// not. `None` if an alias is no name.
    pub(super) fn answer(&self, content: &Content, limit: u16) -> Option<Vec<u8>> {
        let mut metadata = Metadata::response_from_request(&self.metadata);
        metadata.authoritative = true;
        metadata.recursion_available = true;
        metadata.truncation = content.truncated;
        metadata.response_code = content.code;
        let edns = self.edns.map(|_| options());
        let fit = limit.saturating_sub(if edns.is_some() { OPT } else { 0 });
        let mut records = Fitting { records: self.records(content)?, fit, limit };
        let mut buffer = Vec::new();
        let mut encoder = BinEncoder::new(&mut buffer);
        let (question, none) = ([&self.question], Vec::<Record>::new());
        op::emit_message_parts(
            &metadata,
            &mut question.into_iter(),
            &mut records,
            &mut none.iter(),
            &mut none.iter(),
            edns.as_ref(),
            None,
            &mut encoder,
        )
        .ok()?;
        Some(buffer)
    }

    /// The same query for `target`.
    pub(super) fn about(&self, target: &str) -> Option<Vec<u8>> {
        let mut message = Message::new(self.metadata.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.metadata.recursion_desired;
        message.metadata.checking_disabled = self.metadata.checking_disabled;
        message.edns = self.edns.map(|_| options());
        message.add_query(op::Query::query(Name::from_ascii(target).ok()?, self.question.query_type()));
        message.to_vec().ok()
    }

    fn records(&self, content: &Content) -> Option<Vec<Record>> {
        let mut records = Vec::new();
        let mut owner = self.question.name().clone();
        for alias in &content.aliases {
            let mut target = Name::from_ascii(alias).ok()?;
            target.set_fqdn(true);
            records.push(Record::from_rdata(owner, TTL, RData::CNAME(CNAME(target.clone()))));
            owner = target;
        }
        let family = self.family();
        let data = content.addresses.iter().filter_map(|address| match (family?, address) {
            (Family::V4, IpAddr::V4(v4)) => Some(RData::A(A(*v4))),
            (Family::V6, IpAddr::V6(v6)) => Some(RData::AAAA(AAAA(*v6))),
            _ => None,
        });
        records.extend(data.map(|data| Record::from_rdata(owner.clone(), content.ttl, data)));
        Some(records)
    }
}

impl Content {
    /// What the mesh itself knows.
    pub(super) fn known(aliases: Vec<Arc<str>>, addresses: Vec<IpAddr>) -> Self {
        Self { aliases, addresses, ttl: TTL, code: ResponseCode::NoError, truncated: false }
    }

    /// What a server said of the last of `aliases` in `answer`, as if it had no aliases further on. `None` if it cannot
    /// be read.
    pub(super) fn learned(aliases: Vec<Arc<str>>, answer: &[u8]) -> Option<Self> {
        let message = Message::from_vec(answer).ok()?;
        let [question] = message.queries.as_slice() else { return None };
        if name(question.name())?.as_str() != &**aliases.last()? {
            return None;
        }
        let addresses = message.answers.iter().filter_map(|record| match &record.data {
            RData::A(v4) => Some(IpAddr::V4(v4.0)),
            RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
            _ => None,
        });
        let addresses = addresses.collect();
        let ttl = message.answers.iter().map(|record| record.ttl).min().map_or(TTL, |ttl| ttl.min(TTL));
        Some(Self {
            aliases,
            addresses,
            ttl,
            code: message.metadata.response_code,
            truncated: message.metadata.truncation,
        })
    }
}

/// Records that leave room for what comes after them in a message.
struct Fitting {
    records: Vec<Record>,
    fit: u16,
    limit: u16,
}

impl EmitAndCount for Fitting {
    fn emit(&mut self, encoder: &mut BinEncoder<'_>) -> Result<usize, ProtoError> {
        encoder.set_max_size(self.fit);
        let written = encoder.emit_all(self.records.iter());
        encoder.set_max_size(self.limit);
        written
    }
}

/// The answer to `message` that nobody could answer; `None` if it is no query.
pub(super) fn failure(message: &[u8]) -> Option<Vec<u8>> {
    let asked = Header::read(&mut BinDecoder::new(message)).ok()?.metadata;
    if asked.message_type == MessageType::Response {
        return None;
    }
    let mut failure = Message::error_msg(asked.id, asked.op_code, ResponseCode::ServFail);
    failure.metadata.recursion_desired = asked.recursion_desired;
    failure.metadata.checking_disabled = asked.checking_disabled;
    failure.queries.extend(Query::read(message).map(|query| query.question));
    failure.to_bytes().ok()
}

/// True if `answer` may be the answer to `query`: the same ID, and a response.
pub(super) fn answers(answer: &[u8], query: &[u8]) -> bool {
    let [answer, query] = [answer, query].map(|message| Header::read(&mut BinDecoder::new(message)));
    let (Ok(answer), Ok(query)) = (answer, query) else { return false };
    answer.metadata.message_type == MessageType::Response && answer.metadata.id == query.metadata.id
}

/// `name` in lower case and without its last dot. `None` for what is not written so: with a dot within a label, or with
/// bytes that are no text.
fn name(name: &Name) -> Option<String> {
    let labels = name.iter().map(|label| std::str::from_utf8(label).ok().filter(|label| !label.contains('.')));
    Some(labels.collect::<Option<Vec<_>>>()?.join(".").to_ascii_lowercase())
}

/// What is taken here.
fn options() -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(LIMIT);
    edns
}

#[cfg(test)]
mod tests;
