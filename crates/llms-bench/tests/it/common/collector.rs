//! A collector of OTLP over HTTP, and just enough of protobuf to read names and attributes without the code under test.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::http::{Request, answer, serve};

/// What was posted.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    pub(crate) address: String,
    posted: Arc<Mutex<Vec<Request>>>,
}

/// A span: its name and its attributes as text (numbers and lists as `…`).
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::answering(|_| answer(200, "application/x-protobuf", "", b""))
    }

    pub(crate) fn answering(f: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let posted = Arc::<Mutex<Vec<Request>>>::default();
        let seen = posted.clone();
        let address = serve(move |request| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
            f(request)
        });
        Self { address, posted }
    }

    pub(crate) fn posted(&self) -> Vec<Request> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn of<'r>(posted: &'r [Request], path: &str) -> Vec<&'r [u8]> {
        posted.iter().filter(|r| r.path() == path).map(|r| &r.body[..]).collect()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let posted = self.posted();
        let found = Self::of(&posted, "/v1/traces").into_iter().flat_map(|body| at(body, &[1, 2, 2]));
        found
            .map(|span| {
                let name = at(span, &[5]).first().map_or_else(String::new, |n| text(n));
                let pair = |kv: &[u8]| {
                    let value = at(kv, &[2, 1]).first().map_or_else(|| "…".to_owned(), |v| text(v));
                    (at(kv, &[1]).first().map_or_else(String::new, |k| text(k)), value)
                };
                Span { name, attributes: at(span, &[9]).into_iter().map(pair).collect() }
            })
            .collect()
    }

    pub(crate) fn metrics(&self) -> BTreeSet<String> {
        let posted = self.posted();
        let names = |body| at(body, &[1, 2, 2, 1]).into_iter().map(text).collect::<Vec<_>>();
        Self::of(&posted, "/v1/metrics").into_iter().flat_map(names).collect()
    }

    /// Waits until something was posted; a benchmark that never exports fails its test here.
    pub(crate) fn wait_for_spans(&self, n: usize) {
        let start = Instant::now();
        while self.spans().len() < n {
            assert!(start.elapsed() < Duration::from_secs(60), "{} spans", self.spans().len());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The messages and strings under this path of field numbers.
pub(crate) fn at<'b>(bytes: &'b [u8], path: &[u64]) -> Vec<&'b [u8]> {
    let Some((wanted, rest)) = path.split_first() else { return vec![bytes] };
    let fields = delimited(bytes).into_iter().filter(|(number, _)| number == wanted);
    fields.flat_map(|(_, value)| at(value, rest)).collect()
}

/// Length-delimited fields of a message, by number.
fn delimited(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let skip = match tag & 7 {
            0 => {
                varint(&mut bytes);
                0
            }
            1 => 8,
            5 => 4,
            2 => {
                let length = varint(&mut bytes) as usize;
                fields.push((tag >> 3, &bytes[..length]));
                length
            }
            other => panic!("wire type {other}"),
        };
        bytes = &bytes[skip..];
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}
