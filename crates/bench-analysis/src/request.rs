//! What one record says: every per-request metric of the table, in seconds, tokens or their ratio.
//!
//! Differences are taken in whole nanoseconds of one clock before they become seconds, so `Σ gaps = e2e − ttft` holds
//! exactly. The arrival of a chunk is its kernel stamp where there is one, else the user-space stamp. Nothing is pooled
//! or judged here; absent is `None`, never 0.

use llms_core::bench::{ChunkStamp, Origin, RequestRecord};
use llms_core::time::Timestamp;

/// One record, and whether its scenario asked for a stream.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// the record
    pub record: &'a RequestRecord,
    /// the answer was asked for as a stream; without it only `e2e` and what surrounds it are defined
    pub streamed: bool,
}

/// The time between two token-bearing chunks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// seconds
    pub seconds: f64,
    /// tokens in the later chunk, where known
    pub tokens: Option<u32>,
    /// both chunks came in one socket read: the gap is unknown, and its 0 means nothing
    pub merged: bool,
}

/// Gaps above a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stalls {
    /// how many
    pub count: u64,
    /// seconds above the threshold, summed
    pub excess: f64,
}

/// Etalon's fluidity: deadlines met on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fluidity {
    /// deadlines missed
    pub missed: u64,
    /// deadlines there were
    pub total: u64,
}

impl Fluidity {
    /// `1 − missed/total`, in [0, 1].
    pub fn index(self) -> f64 {
        1.0 - self.missed as f64 / self.total as f64
    }
}

/// Smallest gap that counts as a stall whatever the pace, seconds.
pub const STALL_AT_LEAST: f64 = 0.2;
/// A stall is at least this many times the request's own median gap.
pub const STALL_TIMES_MEDIAN: f64 = 5.0;

/// Signed seconds from `earlier` to `later`, exact to the nanosecond.
pub(crate) fn seconds(later: Timestamp, earlier: Timestamp) -> f64 {
    let nanos = i128::from(later.as_nanos()) - i128::from(earlier.as_nanos());
    nanos as f64 / 1e9
}

impl<'a> Request<'a> {
    /// A record of a run.
    pub fn new(record: &'a RequestRecord, streamed: bool) -> Self {
        Self { record, streamed }
    }

    /// Where a latency of this origin starts; `None` for service time of a request that was never sent.
    fn start(&self, origin: Origin) -> Option<Timestamp> {
        match origin {
            Origin::Service => self.record.sent,
            Origin::Response => Some(self.record.scheduled),
        }
    }

    /// Its token-bearing chunks; none where it was not streamed.
    pub(crate) fn chunks(&self) -> &'a [ChunkStamp] {
        if self.streamed { &self.record.chunks } else { &[] }
    }

    /// Time to first token: first token-bearing chunk − origin. `None` without such a chunk or stream.
    pub fn ttft(&self, origin: Origin) -> Option<f64> {
        Some(seconds(self.chunks().first()?.stamp.arrival(), self.start(origin)?))
    }

    /// Time to first answer token: first token-bearing chunk that is not reasoning − origin.
    pub fn ttfat(&self, origin: Origin) -> Option<f64> {
        let first = self.chunks().get(self.record.first_answer? as usize)?;
        Some(seconds(first.stamp.arrival(), self.start(origin)?))
    }

    /// End-to-end latency: last token-bearing chunk − origin; not streamed: end of the body − origin.
    ///
    /// A trailing usage or end frame does not move it. `None` for a stream without content.
    pub fn e2e(&self, origin: Origin) -> Option<f64> {
        Some(seconds(self.last_content()?, self.start(origin)?))
    }

    /// When the last content came: last token-bearing chunk, or the end of a body that was not streamed.
    pub fn last_content(&self) -> Option<Timestamp> {
        if self.streamed { Some(self.chunks().last()?.stamp.arrival()) } else { self.record.end }
    }

    /// Second − first token-bearing chunk. `None` below two chunks.
    pub fn ttst(&self) -> Option<f64> {
        let [first, second, ..] = self.chunks() else { return None };
        Some(seconds(second.stamp.arrival(), first.stamp.arrival()))
    }

    /// Last − first token-bearing chunk. `None` without chunks.
    fn decoding(&self) -> Option<f64> {
        let (first, last) = (self.chunks().first()?, self.chunks().last()?);
        Some(seconds(last.stamp.arrival(), first.stamp.arrival()))
    }

    /// Generated tokens: usage report, else tokenizer, else the sum over chunks that all carry a count.
    pub fn output_tokens(&self) -> Option<u64> {
        self.record.output_tokens().or_else(|| {
            let chunks = &self.record.chunks;
            if chunks.is_empty() {
                return None;
            }
            chunks.iter().map(|c| c.tokens.map(u64::from)).sum()
        })
    }

    /// Whether the usage counts reasoning whose text never arrived; then only the visible tokens set the pace.
    pub fn hidden_reasoning(&self) -> bool {
        let reasoning = self.record.tokens.usage.and_then(|u| u.reasoning_tokens).unwrap_or(0);
        0 < reasoning && self.record.first_answer == Some(0)
    }

    /// Tokens that arrived: [`Request::output_tokens`] less hidden reasoning.
    pub fn visible_tokens(&self) -> Option<u64> {
        if self.hidden_reasoning() {
            self.record.tokens.usage?.visible_output_tokens()
        } else {
            self.output_tokens()
        }
    }

    /// Time per output token: `(last token − first token) / (output tokens − 1)`.
    ///
    /// `None` below two output tokens (a pace needs two points), when their number is unknown, or without a stream.
    pub fn tpot(&self) -> Option<f64> {
        let gaps = self.visible_tokens()?.checked_sub(1).filter(|n| 0 < *n)?;
        Some(self.decoding()? / gaps as f64)
    }

    /// TPOT without the tokens of the first chunk: `(last − first token) / (output tokens − tokens in the first chunk)`.
    ///
    /// `None` when the first chunk's tokens are unknown or were all there were.
    pub fn tpot_adj(&self) -> Option<f64> {
        let first = u64::from(self.chunks().first()?.tokens?);
        let rest = self.visible_tokens()?.checked_sub(first).filter(|n| 0 < *n)?;
        Some(self.decoding()? / rest as f64)
    }

    /// Tokens per second after the first: `(output tokens − 1) / (last token − first token)`.
    ///
    /// `None` as for TPOT, and when no time passed (the whole answer in one read).
    pub fn decode_rate(&self) -> Option<f64> {
        self.tpot().filter(|t| 0.0 < *t).map(f64::recip)
    }

    /// The gaps between token-bearing chunks, in order; those inside one read are marked, not invented.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> + 'a {
        self.chunks().windows(2).map(|w| Gap {
            seconds: seconds(w[1].stamp.arrival(), w[0].stamp.arrival()),
            tokens: w[1].tokens,
            merged: w[0].stamp.read == w[1].stamp.read,
        })
    }

    /// Inter-chunk latencies: the known gaps.
    pub fn icl(&self) -> impl Iterator<Item = f64> + 'a {
        self.gaps().filter(|g| !g.merged).map(|g| g.seconds)
    }

    /// Amortised inter-token latencies as `(seconds, how many tokens)`: a gap before k tokens is k gaps of gap/k.
    ///
    /// Chunks of one read are one arrival of all their tokens. `None` unless every chunk after the first has a count.
    pub fn itl(&self) -> Option<Vec<(f64, u64)>> {
        let mut arrivals: Vec<(f64, u64)> = Vec::new();
        for gap in self.gaps() {
            let tokens = u64::from(gap.tokens?);
            match arrivals.last_mut() {
                Some(last) if gap.merged => last.1 += tokens,
                // tokens that shared the read of the first chunk have no gap at all
                None if gap.merged => {}
                _ => arrivals.push((gap.seconds, tokens)),
            }
        }
        arrivals.retain(|(_, tokens)| 0 < *tokens);
        (!arrivals.is_empty()).then(|| arrivals.into_iter().map(|(s, k)| (s / k as f64, k)).collect())
    }

    /// The longest known gap. `None` below two chunks in different reads.
    pub fn max_gap(&self) -> Option<f64> {
        self.icl().fold(None, |max: Option<f64>, g| Some(max.map_or(g, |m| m.max(g))))
    }

    /// What counts as a stall in this request: `max(200 ms, 5 × its own median gap)`. `None` without gaps.
    pub fn stall_threshold(&self) -> Option<f64> {
        let sample = crate::stats::Sample::new(self.icl().collect::<Vec<_>>()).ok()?;
        Some(STALL_AT_LEAST.max(STALL_TIMES_MEDIAN * sample.median()))
    }

    /// Gaps above `threshold` seconds.
    pub fn stalls(&self, threshold: f64) -> Stalls {
        let late = self.icl().filter(|g| threshold < *g);
        late.fold(Stalls::default(), |s, g| Stalls { count: s.count + 1, excess: s.excess + (g - threshold) })
    }

    /// Etalon's deadlines: `first` seconds for the first token, `each` for every later one, unused slack carried over.
    ///
    /// A token that is late costs `⌊(gap − slack)/each⌋` deadlines (the first: one more) and resets the slack; the tokens of a
    /// chunk arrive together. Chunks without a count hold one token. `None` without a chunk.
    ///
    /// # Source
    /// Agrawal et al. 2024 (Etalon), `etalon/metrics`.
    pub fn fluidity(&self, origin: Origin, first: f64, each: f64) -> Option<Fluidity> {
        let ttft = self.ttft(origin)?;
        let mut slack = 0.0;
        let mut f = Fluidity { missed: 0, total: 0 };
        let mut deadline = |gap: f64, allowed: f64, extra: u64| {
            if gap <= allowed + slack {
                slack += allowed - gap;
                f.total += 1;
            } else {
                let late = ((gap - slack - if extra == 1 { allowed } else { 0.0 }) / each + 1e-9).floor();
                slack = 0.0;
                f.missed += late as u64 + extra;
                f.total += late as u64 + extra;
            }
        };
        deadline(ttft, first, 1);
        let tokens = |t: Option<u32>| t.unwrap_or(1);
        for _ in 1..tokens(self.chunks()[0].tokens) {
            deadline(0.0, each, 0);
        }
        for gap in self.gaps() {
            deadline(gap.seconds, each, 0);
            for _ in 1..tokens(gap.tokens) {
                deadline(0.0, each, 0);
            }
        }
        Some(f)
    }

    /// Time to headers: status and headers complete − sent.
    pub fn ttfb(&self) -> Option<f64> {
        Some(seconds(self.record.headers?.arrival(), self.record.sent?))
    }

    /// DNS + TCP + TLS, when they happened within the request. `None` on a reused connection.
    pub fn connect(&self) -> Option<f64> {
        let c = &self.record.connection;
        let spans = [c.dns, c.tcp, c.tls];
        spans
            .iter()
            .any(Option::is_some)
            .then(|| spans.iter().flatten().map(|s| seconds(s.end, s.start)).sum())
    }

    /// Wait for a free slot: released − scheduled.
    pub fn cap_wait(&self) -> f64 {
        seconds(self.record.released, self.record.scheduled)
    }

    /// The client's own lateness: sent − released. `None` when never sent.
    pub fn send_lag(&self) -> Option<f64> {
        Some(seconds(self.record.sent?, self.record.released))
    }

    /// End of the body − last token-bearing chunk.
    pub fn stream_close(&self) -> Option<f64> {
        Some(seconds(self.record.end?, self.chunks().last()?.stamp.arrival()))
    }

    /// The client's own delay per chunk, user − kernel stamp, where the kernel stamped.
    pub fn read_lags(&self) -> impl Iterator<Item = f64> + 'a {
        self.record.chunks.iter().filter_map(|c| Some(seconds(c.stamp.user, c.stamp.kernel?)))
    }

    /// A per-request metric of the table by its bare name; pooled ones (`icl`, `itl`) and `cost` are not values of one
    /// request and give `None`.
    pub fn value(&self, metric: &str, origin: Origin) -> Option<f64> {
        match metric {
            "ttft" => self.ttft(origin),
            "ttfat" => self.ttfat(origin),
            "e2e" => self.e2e(origin),
            "tpot" => self.tpot(),
            "tpot_adj" => self.tpot_adj(),
            "max_gap" => self.max_gap(),
            "stalls" => Some(self.stalls(self.stall_threshold()?).count as f64),
            "stall_time" => Some(self.stalls(self.stall_threshold()?).excess),
            "ttst" => self.ttst(),
            "ttfb" => self.ttfb(),
            "connect" => self.connect(),
            "cap_wait" => Some(self.cap_wait()),
            "send_lag" => self.send_lag(),
            "stream_close" => self.stream_close(),
            "decode_rate" => self.decode_rate(),
            "output_tokens" => self.output_tokens().map(|n| n as f64),
            "input_tokens" => self.record.tokens.usage.and_then(|u| u.input_tokens).map(|n| n as f64),
            _ => None,
        }
    }
}
