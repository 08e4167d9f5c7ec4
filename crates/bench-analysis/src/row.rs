//! What is kept of one request when its record is gone: its instants and counts, everything but its chunks.
//!
//! The analysis reads each record once, takes from its chunks what is per chunk ([`clusters`](crate::clusters)), and keeps a
//! [`Row`]. [`Rows`] holds them packed, about 70 bytes each, so that a run of a hundred thousand answers takes seven megabytes
//! however long the answers are. A row says the same as its [`Request`] did, to the last bit.

use llms_core::bench::{Origin, RecordOutcome};
use llms_core::time::Timestamp;

use crate::request::{Request, seconds};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// a complete answer
    Ok,
    /// an error
    Failed,
    /// in flight when the run was over
    Censored,
}

impl From<&RecordOutcome> for Ended {
    fn from(outcome: &RecordOutcome) -> Self {
        match outcome {
            RecordOutcome::Ok => Self::Ok,
            RecordOutcome::Failed(_) => Self::Failed,
            RecordOutcome::Censored => Self::Censored,
        }
    }
}

/// The known gaps of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaps {
    /// the longest, seconds
    pub longest: f64,
    /// those above the request's own threshold
    pub stalls: u64,
    /// seconds above it, summed
    pub stall_time: f64,
}

/// One request. Instants are arrivals; those of tokens are absent where nothing was streamed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// the answer was asked for as a stream
    pub streamed: bool,
    /// how it ended
    pub ended: Ended,
    /// its block of the plan
    pub block: u64,
    /// when the plan wanted it sent
    pub scheduled: Timestamp,
    /// when the cap let it go
    pub released: Timestamp,
    /// when it was handed to the transport
    pub sent: Option<Timestamp>,
    /// status and headers complete
    pub headers: Option<Timestamp>,
    /// first token-bearing chunk
    pub first: Option<Timestamp>,
    /// first one of the answer proper
    pub first_answer: Option<Timestamp>,
    /// second token-bearing chunk
    pub second: Option<Timestamp>,
    /// last token-bearing chunk
    pub last: Option<Timestamp>,
    /// the body was complete, or the call had failed
    pub end: Option<Timestamp>,
    /// DNS, TCP and TLS within the request, seconds
    pub connect: Option<f64>,
    /// gaps between chunks in different reads
    pub gaps: Option<Gaps>,
    /// tokens of the first chunk
    pub first_tokens: Option<u64>,
    /// tokens that arrived
    pub visible_tokens: Option<u64>,
    /// tokens generated
    pub output_tokens: Option<u64>,
    /// tokens of the prompt
    pub input_tokens: Option<u64>,
    /// what it cost, in dollars
    pub cost: Option<f64>,
    /// number of the version that the server said it is
    pub version: Option<u64>,
}

impl Row {
    /// What is kept of a request that cost so much and was answered by such a version.
    pub fn of(request: &Request<'_>, cost: Option<f64>, version: Option<u64>) -> Self {
        let r = request.record;
        let chunks = request.chunks();
        let arrival = |c: Option<&llms_core::bench::ChunkStamp>| c.map(|c| c.stamp.arrival());
        let gaps = request.max_gap().zip(request.stall_threshold()).map(|(longest, threshold)| {
            let stalls = request.stalls(threshold);
            Gaps { longest, stalls: stalls.count, stall_time: stalls.excess }
        });
        Self {
            streamed: request.streamed,
            ended: Ended::from(&r.outcome),
            block: r.block,
            scheduled: r.scheduled,
            released: r.released,
            sent: r.sent,
            headers: r.headers.map(|s| s.arrival()),
            first: arrival(chunks.first()),
            first_answer: arrival(r.first_answer.and_then(|i| chunks.get(i as usize))),
            second: arrival(chunks.get(1)),
            last: arrival(chunks.last()),
            end: r.end,
            connect: request.connect(),
            gaps,
            first_tokens: chunks.first().and_then(|c| c.tokens).map(u64::from),
            visible_tokens: request.visible_tokens(),
            output_tokens: request.output_tokens(),
            input_tokens: r.tokens.usage.and_then(|u| u.input_tokens),
            cost,
            version,
        }
    }

    /// A complete answer.
    pub fn is_ok(&self) -> bool {
        self.ended == Ended::Ok
    }

    /// When the last content came: last token-bearing chunk, or the end of a body that was not streamed.
    pub fn last_content(&self) -> Option<Timestamp> {
        if self.streamed { self.last } else { self.end }
    }

    /// Wait for a free slot, seconds.
    pub fn cap_wait(&self) -> f64 {
        seconds(self.released, self.scheduled)
    }

    /// The client's own lateness, seconds. `None` when never sent.
    pub fn send_lag(&self) -> Option<f64> {
        Some(seconds(self.sent?, self.released))
    }

    /// Time per output token; see [`Request::tpot`].
    fn tpot(&self) -> Option<f64> {
        let gaps = self.visible_tokens?.checked_sub(1).filter(|n| 0 < *n)?;
        Some(seconds(self.last?, self.first?) / gaps as f64)
    }

    /// A per-request metric of the table by its bare name; the same as [`Request::value`], and the cost.
    pub fn value(&self, metric: &str, origin: Origin) -> Option<f64> {
        let start = || match origin {
            Origin::Service => self.sent,
            Origin::Response => Some(self.scheduled),
        };
        match metric {
            "ttft" => Some(seconds(self.first?, start()?)),
            "ttfat" => Some(seconds(self.first_answer?, start()?)),
            "e2e" => Some(seconds(self.last_content()?, start()?)),
            "tpot" => self.tpot(),
            "tpot_adj" => {
                let rest = self.visible_tokens?.checked_sub(self.first_tokens?).filter(|n| 0 < *n)?;
                Some(seconds(self.last?, self.first?) / rest as f64)
            }
            "max_gap" => Some(self.gaps?.longest),
            "stalls" => Some(self.gaps?.stalls as f64),
            "stall_time" => Some(self.gaps?.stall_time),
            "ttst" => Some(seconds(self.second?, self.first?)),
            "ttfb" => Some(seconds(self.headers?, self.sent?)),
            "connect" => self.connect,
            "cap_wait" => Some(self.cap_wait()),
            "send_lag" => self.send_lag(),
            "stream_close" => Some(seconds(self.end?, self.last?)),
            "decode_rate" => self.tpot().filter(|t| 0.0 < *t).map(f64::recip),
            "output_tokens" => self.output_tokens.map(|n| n as f64),
            "input_tokens" => self.input_tokens.map(|n| n as f64),
            "cost" => self.cost,
            _ => None,
        }
    }
}

/// Rows, packed: flags, then each field that is there as a variable-length number, instants as distances from the one before.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    /// Where each row begins; in the order of the schedule once [`Rows::in_order`] was called.
    starts: Vec<usize>,
}

/// Which fields follow, in the order in which they are packed.
const FIELDS: [u32; 16] = {
    let mut bits = [0; 16];
    let mut i = 0;
    while i < bits.len() {
        bits[i] = 1 << (i + 3);
        i += 1;
    }
    bits
};

impl Rows {
    /// Adds one, at the end.
    pub fn push(&mut self, row: &Row) {
        self.starts.push(self.bytes.len());
        let stalled = row.gaps.is_some_and(|g| 0 < g.stalls);
        let there = [
            row.sent.is_some(),
            row.headers.is_some(),
            row.first.is_some(),
            row.first_answer.is_some(),
            row.second.is_some(),
            row.last.is_some(),
            row.end.is_some(),
            row.connect.is_some(),
            row.gaps.is_some(),
            stalled,
            row.first_tokens.is_some(),
            row.visible_tokens.is_some(),
            row.output_tokens.is_some(),
            row.input_tokens.is_some(),
            row.version.is_some(),
            row.cost.is_some(),
        ];
        let mut flags = u32::from(row.streamed) | (row.ended as u32) << 1;
        for (bit, there) in FIELDS.iter().zip(there) {
            flags |= if there { *bit } else { 0 };
        }
        let out = &mut self.bytes;
        number(out, u64::from(flags));
        number(out, row.block);
        number(out, row.scheduled.as_nanos());
        let mut before = row.scheduled;
        let mut instant = |out: &mut Vec<u8>, at: Timestamp| {
            number(out, zigzag(at.as_nanos().wrapping_sub(before.as_nanos())));
            before = at;
        };
        instant(out, row.released);
        let instants = [row.sent, row.headers, row.first, row.first_answer, row.second, row.last, row.end];
        instants.into_iter().flatten().for_each(|at| instant(out, at));
        if let Some(connect) = row.connect {
            float(out, connect);
        }
        if let Some(gaps) = row.gaps {
            float(out, gaps.longest);
            if stalled {
                number(out, gaps.stalls);
                float(out, gaps.stall_time);
            }
        }
        let counts = [row.first_tokens, row.visible_tokens, row.output_tokens, row.input_tokens, row.version];
        counts.into_iter().flatten().for_each(|n| number(out, n));
        if let Some(cost) = row.cost {
            float(out, cost);
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.capacity() + self.starts.capacity() * size_of::<usize>()
    }

    /// Row number `i`.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, i: usize) -> Row {
        self.unpack(self.starts[i])
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Row> + '_ {
        self.starts.iter().map(|start| self.unpack(*start))
    }

    /// Puts them into the order of their schedule; those of one instant by block, then as they came.
    pub fn in_order(&mut self) {
        let keys: Vec<(Timestamp, u64, usize)> = self
            .starts
            .iter()
            .map(|start| {
                let row = self.unpack(*start);
                (row.scheduled, row.block, *start)
            })
            .collect();
        if !keys.is_sorted() {
            let mut keys = keys;
            keys.sort_unstable();
            self.starts = keys.into_iter().map(|(_, _, start)| start).collect();
        }
        self.bytes.shrink_to_fit();
        self.starts.shrink_to_fit();
    }

    fn unpack(&self, start: usize) -> Row {
        let mut at = Cursor { bytes: &self.bytes, at: start };
        let flags = at.number() as u32;
        let mut bits = FIELDS.iter();
        let mut there = || bits.next().is_some_and(|bit| flags & bit != 0);
        let block = at.number();
        let scheduled = Timestamp::from_nanos(at.number());
        let mut before = scheduled;
        let mut instant = |at: &mut Cursor<'_>| {
            before = Timestamp::from_nanos(before.as_nanos().wrapping_add(unzigzag(at.number())));
            before
        };
        let released = instant(&mut at);
        let [sent, headers, first, first_answer, second, last, end] =
            [(); 7].map(|()| there().then(|| instant(&mut at)));
        let connect = there().then(|| at.float());
        let gaps = there().then(|| at.float());
        let stalls = if there() { (at.number(), at.float()) } else { (0, 0.0) };
        let [first_tokens, visible_tokens, output_tokens, input_tokens, version] =
            [(); 5].map(|()| there().then(|| at.number()));
        let cost = there().then(|| at.float());
        Row {
            streamed: flags & 1 != 0,
            ended: match flags >> 1 & 3 {
                0 => Ended::Ok,
                1 => Ended::Failed,
                _ => Ended::Censored,
            },
            block,
            scheduled,
            released,
            sent,
            headers,
            first,
            first_answer,
            second,
            last,
            end,
            connect,
            gaps: gaps.map(|longest| Gaps { longest, stalls: stalls.0, stall_time: stalls.1 }),
            first_tokens,
            visible_tokens,
            output_tokens,
            input_tokens,
            cost,
            version,
        }
    }
}

/// Seven bits a byte, the lowest first.
fn number(out: &mut Vec<u8>, mut n: u64) {
    while 0x80 <= n {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn float(out: &mut Vec<u8>, x: f64) {
    out.extend_from_slice(&x.to_bits().to_le_bytes());
}

/// Small distances in either direction are small numbers.
fn zigzag(n: u64) -> u64 {
    (n << 1) ^ ((n as i64 >> 63) as u64)
}

fn unzigzag(n: u64) -> u64 {
    (n >> 1) ^ (n & 1).wrapping_neg()
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn number(&mut self) -> u64 {
        let (mut n, mut shift) = (0, 0);
        loop {
            let byte = self.bytes[self.at];
            self.at += 1;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return n;
            }
            shift += 7;
        }
    }

    fn float(&mut self) -> f64 {
        let bytes = self.bytes[self.at..self.at + 8].try_into().expect("invariant: eight bytes were packed");
        self.at += 8;
        f64::from_bits(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Instants = (u64, u64, [Option<u64>; 7]);
    type Counts = (Option<f64>, Option<(f64, u64)>, [Option<u64>; 5], Option<f64>);

    fn row(streamed: bool, ended: u8, block: u64, instants: Instants, counts: Counts) -> Row {
        let at = Timestamp::from_nanos;
        let [sent, headers, first, first_answer, second, last, end] = instants.2.map(|t| t.map(at));
        let [first_tokens, visible_tokens, output_tokens, input_tokens, version] = counts.2;
        Row {
            streamed,
            ended: [Ended::Ok, Ended::Failed, Ended::Censored][usize::from(ended % 3)],
            block,
            scheduled: at(instants.0),
            released: at(instants.1),
            sent,
            headers,
            first,
            first_answer,
            second,
            last,
            end,
            connect: counts.0,
            gaps: counts.1.map(|(longest, stalls)| Gaps { longest, stalls, stall_time: stalls as f64 / 3.0 }),
            first_tokens,
            visible_tokens,
            output_tokens,
            input_tokens,
            cost: counts.3,
            version,
        }
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_were_in_the_order_of_their_schedule(
            rows in proptest::collection::vec(
                (any::<bool>(), any::<u8>(), any::<u64>(), any::<Instants>(),
                 (proptest::option::of(0.0..1e3), proptest::option::of((0.0..1e3, 0_u64..9)),
                  any::<[Option<u64>; 5]>(), proptest::option::of(0.0..1e3))),
                0..20)
        ) {
            let mut given: Vec<Row> = rows.into_iter().map(|(s, e, b, i, c)| row(s, e, b, i, c)).collect();
            let mut packed = Rows::default();
            for r in &given {
                packed.push(r);
            }
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), given.clone());
            packed.in_order();
            given.sort_by_key(|r| (r.scheduled, r.block));
            prop_assert_eq!(packed.len(), given.len());
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), given);
        }
    }

    #[test]
    fn a_usual_row_is_small() {
        let second = 1_000_000_000;
        let at = |ms: u64| Some(3600 * second + ms * 1_000_000 + 123_456);
        let instants = (
            3600 * second,
            3600 * second,
            [Some(3600 * second + 9_000), at(200), at(201), at(201), at(221), at(2741), at(2742)],
        );
        let counts =
            (None, Some((0.021, 0)), [None, Some(128), Some(128), Some(20), Some(0)], Some(0.000_123));
        let mut rows = Rows::default();
        (0..1000).for_each(|i| rows.push(&row(true, 0, i, instants, counts)));
        rows.in_order();
        assert!(rows.bytes() < 75 * 1000, "{} bytes for a thousand", rows.bytes());
    }
}
