//! Everything that is counted of the captured frames as they pass.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::packet::{self, Packet, Segment};
use super::report::{Flow, MarkerHits, Report};
use super::scan::{Markers, Scan};
use super::stream::Stream;
use super::tls::Records;

/// The port of HBONE.
const HBONE: u16 = 15008;

/// What has been seen so far.
#[derive(Debug)]
pub(super) struct Analysis {
    markers: Markers,
    frames: u64,
    bytes: u64,
    directions: BTreeMap<(SocketAddr, SocketAddr), Direction>,
    others: BTreeMap<&'static str, (u64, Scan)>,
}

/// One direction of a connection.
#[derive(Debug)]
struct Direction {
    /// The port of the side that was dialled, once known.
    server: u16,
    bytes: u64,
    stream: Stream,
    scan: Scan,
    records: Records,
}

impl Analysis {
    pub(super) fn new(markers: &[&[u8]]) -> Self {
        let markers = Markers::new(markers);
        Self { markers, frames: 0, bytes: 0, directions: BTreeMap::new(), others: BTreeMap::new() }
    }

    pub(super) fn frame(&mut self, frame: &[u8]) {
        self.frames += 1;
        self.bytes += frame.len() as u64;
        match packet::parse(frame) {
            Packet::Tcp(segment) => self.segment(&segment),
            Packet::Other(name) => {
                let markers = &self.markers;
                let (count, scan) = self.others.entry(name).or_insert_with(|| (0, Scan::new(markers)));
                *count += 1;
                scan.feed(frame);
            }
        }
    }

    pub(super) fn report(&self) -> Report {
        let mut markers: Vec<_> = self
            .markers
            .texts()
            .map(|text| MarkerHits { marker: String::from_utf8_lossy(text).into_owned(), hits: 0, seen: Vec::new() })
            .collect();
        let mut add = |hits: &[u64], place: &dyn Fn() -> String| {
            for (marker, hits) in markers.iter_mut().zip(hits).filter(|(_, hits)| **hits > 0) {
                marker.hits += hits;
                marker.seen.push(place());
            }
        };
        for ((from, to), direction) in &self.directions {
            add(direction.scan.hits(), &|| format!("{from} -> {to}"));
        }
        for (name, (_, scan)) in &self.others {
            add(scan.hits(), &|| (*name).to_owned());
        }
        Report {
            frames: self.frames,
            bytes: self.bytes,
            flows: self.directions.iter().map(|(ends, direction)| direction.flow(*ends)).collect(),
            markers,
            other: self.others.iter().map(|(name, (count, _))| ((*name).to_owned(), *count)).collect(),
        }
    }

    fn segment(&mut self, segment: &Segment<'_>) {
        let server = if segment.syn && segment.ack { segment.from.port() } else { segment.to.port() };
        let known = self.directions.get(&(segment.to, segment.from)).map(|reverse| reverse.server);
        let server = known.unwrap_or(if segment.syn { server } else { guess(segment) });
        let markers = &self.markers;
        let ends = (segment.from, segment.to);
        if segment.syn && self.directions.get(&ends).is_some_and(|old| old.bytes > 0) {
            // The ports are used again: what follows is another connection, with numbers of its own.
            if let Some(direction) = self.directions.get_mut(&ends) {
                direction.stream = Stream::default();
                direction.records = Records::default();
            }
        }
        let direction = self.directions.entry(ends).or_insert_with(|| Direction {
            server,
            bytes: 0,
            stream: Stream::default(),
            scan: Scan::new(markers),
            records: Records::default(),
        });
        if segment.syn {
            direction.stream.start(segment.sequence);
        }
        let Direction { server, bytes, stream, scan, records } = direction;
        let is_hbone = *server == HBONE && stream.saw_start();
        stream.segment(segment.sequence, segment.payload, |new| {
            *bytes += new.len() as u64;
            scan.feed(new);
            if is_hbone {
                records.feed(new);
            }
        });
    }
}

impl Direction {
    fn flow(&self, (from, to): (SocketAddr, SocketAddr)) -> Flow {
        Flow {
            from,
            to,
            server_port: self.server,
            bytes: self.bytes,
            missing: self.stream.missing(),
            from_start: self.stream.saw_start(),
            records: self.records.count(),
            application_data: self.records.application_data(),
            violation: self.records.violation().map(str::to_owned),
        }
    }
}

/// The port that was dialled, of a connection that was open before the capture: HBONE's, else the lower one.
fn guess(segment: &Segment<'_>) -> u16 {
    let (from, to) = (segment.from.port(), segment.to.port());
    if from == HBONE || to == HBONE { HBONE } else { from.min(to) }
}
