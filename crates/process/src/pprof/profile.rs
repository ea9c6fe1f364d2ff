//! Writes a CPU profile in pprof's format (google/pprof, `proto/profile.proto`). Pure; knows no profiler.

use std::collections::HashMap;

/// Stacks and how often each was seen.
#[derive(Debug, Default)]
pub(super) struct Profile {
    strings: Strings,
    functions: HashMap<(u64, u64), u64>,
    locations: HashMap<(u64, u64), u64>,
    tables: Message,
}

/// A function at a line, as it appears in a stack.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) function: String,
    pub(super) file: String,
    pub(super) line: u64,
}

/// When and how often the profiler looked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    /// Nanoseconds.
    pub(super) duration: u64,
    /// Nanoseconds between two looks.
    pub(super) period: u64,
}

impl Profile {
    /// Adds a stack, innermost frame first, that was seen `count` times in the thread named `thread`.
    pub(super) fn add(&mut self, stack: &[Frame], count: u64, thread: &str, period: u64) {
        let locations: Vec<u64> = stack.iter().map(|frame| self.location(frame)).collect();
        let mut label = Message::default();
        label.number(1, self.strings.index("thread"));
        label.number(2, self.strings.index(thread));
        let mut sample = Message::default();
        sample.packed(1, &locations);
        sample.packed(2, &[count, count.saturating_mul(period)]);
        sample.message(3, &label);
        self.tables.message(2, &sample);
    }

    /// The whole profile.
    pub(super) fn encode(mut self, timing: Timing) -> Vec<u8> {
        let samples = self.value_type("samples", "count");
        let time = self.value_type("cpu", "nanoseconds");
        let mut profile = Message::default();
        profile.message(1, &samples);
        profile.message(1, &time);
        profile.0.extend(self.tables.0);
        for string in &self.strings.table {
            profile.bytes(6, string.as_bytes());
        }
        profile.number(9, timing.start);
        profile.number(10, timing.duration);
        profile.message(11, &time);
        profile.number(12, timing.period);
        profile.0
    }

    fn location(&mut self, frame: &Frame) -> u64 {
        let function = self.function(frame);
        let next = id(self.locations.len());
        let location = *self.locations.entry((function, frame.line)).or_insert(next);
        if location == next {
            let mut line = Message::default();
            line.number(1, function);
            line.number(2, frame.line);
            let mut message = Message::default();
            message.number(1, location);
            message.message(4, &line);
            self.tables.message(4, &message);
        }
        location
    }

    fn function(&mut self, frame: &Frame) -> u64 {
        let (name, file) = (self.strings.index(&frame.function), self.strings.index(&frame.file));
        let next = id(self.functions.len());
        let function = *self.functions.entry((name, file)).or_insert(next);
        if function == next {
            let mut message = Message::default();
            message.number(1, function);
            message.number(2, name);
            message.number(3, name);
            message.number(4, file);
            self.tables.message(5, &message);
        }
        function
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> Message {
        let mut message = Message::default();
        message.number(1, self.strings.index(kind));
        message.number(2, self.strings.index(unit));
        message
    }
}

/// The IDs of a table begin with 1.
fn id(held: usize) -> u64 {
    u64::try_from(held).unwrap_or(u64::MAX).saturating_add(1)
}

/// The table of strings, whose first must be empty.
#[derive(Debug)]
struct Strings {
    table: Vec<String>,
    indices: HashMap<String, u64>,
}

impl Default for Strings {
    fn default() -> Self {
        Self { table: vec![String::new()], indices: HashMap::from([(String::new(), 0)]) }
    }
}

impl Strings {
    fn index(&mut self, string: &str) -> u64 {
        if let Some(index) = self.indices.get(string) {
            return *index;
        }
        let index = u64::try_from(self.table.len()).unwrap_or(u64::MAX);
        self.table.push(string.to_owned());
        self.indices.insert(string.to_owned(), index);
        index
    }
}

/// A message of protocol buffers as it is written (protobuf.dev, "Encoding").
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, field: u64, value: u64) {
        varint(&mut self.0, field << 3);
        varint(&mut self.0, value);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        varint(&mut self.0, field << 3 | 2);
        varint(&mut self.0, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn packed(&mut self, field: u64, values: &[u64]) {
        let mut packed = Vec::new();
        values.iter().for_each(|value| varint(&mut packed, *value));
        self.bytes(field, &packed);
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

#[cfg(test)]
mod tests;
