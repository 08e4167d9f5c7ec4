//! Rates over the measured window: answers, tokens, offered load, requests in flight, goodput.
//!
//! Membership: an answer belongs to the window when its last content came in it, a token when its chunk did; goodput and
//! SLO attainment count the requests *scheduled* in the window, wherever they ended. Ramp and drain are outside.

use llms_core::bench::{
    Estimate, Load, Measured, Objective, ObjectiveVerdict, Origin, RequestJudge, RequestRecord, Scenario,
    Slo, Throughput, Window,
};
use llms_core::time::Timestamp;

use crate::estimate::Setting;
use crate::population::Population;
use crate::request::Request;
use crate::row::Row;
use crate::stats::mean::t_interval;
use crate::stats::proportion::{clopper_pearson, garwood, wilson};

/// Sections of the window whose rates give the interval of the token rate.
const SECTIONS: usize = 20;
/// Fewest chunks a section should hold on average for that interval.
const CHUNKS_PER_SECTION: u64 = 5;

/// All rates of one target.
pub fn throughput(population: &Population, scenario: &Scenario, setting: &Setting) -> Throughput {
    let length = population.window.map_or(0.0, seconds_of);
    let slo_attainment = attainment(population, &scenario.slo, setting);
    let Some(inside) = &population.tally.in_window else {
        let none = || "the measured window has no length";
        return Throughput {
            window_s: length,
            requests: Measured::absent(none()),
            output_tokens: Measured::absent(none()),
            offered: Measured::absent(none()),
            mean_in_flight: Measured::absent(none()),
            goodput: Measured::absent(none()),
            slo_attainment,
        };
    };
    let requests = population.rows.len() as u64;
    let goodput = if scenario.slo.is_empty() {
        Measured::absent("no SLO given")
    } else {
        rate(population.tally.good.0, requests, length, setting)
    };
    Throughput {
        window_s: length,
        requests: rate(inside.answers, requests, length, setting),
        output_tokens: token_rate(inside, length, setting),
        offered: match scenario.load {
            Load::Open { .. } => Measured::Value(inside.scheduled as f64 / length),
            Load::Closed { .. } => {
                Measured::absent("closed loop: completions set the pace, nothing is offered")
            }
        },
        mean_in_flight: Measured::Value(inside.in_flight_ns as f64 / 1e9 / length),
        goodput,
        slo_attainment,
    }
}

/// A rate of events with Garwood's exact Poisson interval (wide of the mark on the safe side for regular arrivals).
///
/// Absent for a window of fewer than two requests: from the send of one to its own end there is no rate.
fn rate(count: u64, requests: u64, length: f64, setting: &Setting) -> Measured<Estimate> {
    if requests < 2 {
        return Measured::absent(format!(
            "n too small: a rate needs two requests in the window, have {requests}"
        ));
    }
    match garwood(count, length, setting.confidence) {
        Ok(interval) => Measured::Value(setting.estimate(count as f64 / length, interval, count, "Garwood")),
        Err(e) => Measured::absent(e.to_string()),
    }
}

/// Whether a request ended well with every limit met.
///
/// A limit on a gap (ICL, ITL) holds for every gap of the request. A limit on a pace (TPOT and its like) is met by an answer
/// too short to have one; a limit on a metric that could not be measured is not met. A bare latency name starts at `headline`.
pub fn meets(request: &Request<'_>, headline: Origin, slos: &[Slo]) -> bool {
    request.record.is_ok()
        && slos.iter().all(|slo| {
            let limit = slo.limit.below.as_secs_f64();
            let (metric, origin) = named_origin(&slo.limit.metric, headline);
            let value = match metric {
                "icl" => request.max_gap(),
                "itl" => request.itl().and_then(|gaps| gaps.into_iter().map(|(gap, _)| gap).reduce(f64::max)),
                name => request.value(name, origin),
            };
            match value {
                Some(v) => v < limit,
                None => too_short_for(metric, request),
            }
        })
}

/// [`meets`] by what is left of a request. A limit on every gap is judged by the longest one (ICL, and
/// ITL, which is never longer: the stricter of the two).
pub(crate) fn row_meets(row: &Row, headline: Origin, slos: &[Slo]) -> bool {
    row.is_ok()
        && slos.iter().all(|slo| {
            let limit = slo.limit.below.as_secs_f64();
            let (metric, origin) = named_origin(&slo.limit.metric, headline);
            let one_token =
                || row.visible_tokens.is_some_and(|n| n <= 1) || (row.streamed && row.second.is_none());
            match metric {
                "icl" | "itl" => row.gaps.map_or_else(one_token, |g| g.longest < limit),
                name => row.value(name, origin).map_or_else(
                    || matches!(name, "tpot" | "tpot_adj" | "max_gap" | "ttst" | "stall_time") && one_token(),
                    |v| v < limit,
                ),
            }
        })
}

/// [`meets`] one record at a time, while a run goes on.
#[derive(Clone, Debug)]
pub struct SloJudge {
    slos: Vec<Slo>,
    streamed: bool,
    headline: Origin,
}

impl SloJudge {
    /// Judges by the objectives, stream setting and headline origin of `scenario`.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            slos: scenario.slo.clone(),
            streamed: scenario.streaming,
            headline: scenario.load.headline_origin(),
        }
    }
}

impl RequestJudge for SloJudge {
    fn is_good(&self, record: &RequestRecord) -> bool {
        meets(&Request::new(record, self.streamed), self.headline, &self.slos)
    }
}

/// A metric's bare name and where it starts: `_service` and `_response` force an origin, a bare name has the headline's.
fn named_origin(name: &str, headline: Origin) -> (&str, Origin) {
    match (name.strip_suffix("_service"), name.strip_suffix("_response")) {
        (Some(bare), _) => (bare, Origin::Service),
        (_, Some(bare)) => (bare, Origin::Response),
        _ => (name, headline),
    }
}

/// The metric is undefined because the answer has one token or chunk, not because something is unknown.
fn too_short_for(metric: &str, request: &Request<'_>) -> bool {
    match metric {
        "tpot" | "tpot_adj" => request.streamed && request.visible_tokens().is_some_and(|n| n == 1),
        "max_gap" | "ttst" | "icl" | "itl" | "stall_time" => {
            request.streamed && request.record.chunks.len() == 1
        }
        "connect" => request.record.connection.reused == Some(true),
        _ => false,
    }
}

/// Requests that count: one the user cut off is neither good nor bad.
fn judged(population: &Population) -> u64 {
    let (_, _, censored) = population.counts();
    population.rows.len() as u64 - if population.censored_rank { 0 } else { censored }
}

fn attainment(population: &Population, slos: &[Slo], setting: &Setting) -> Measured<Estimate> {
    if slos.is_empty() {
        return Measured::absent("no SLO given");
    }
    let (good, n) = (population.tally.good.0, judged(population));
    match wilson(good, n, setting.confidence) {
        Ok(interval) => Measured::Value(setting.estimate(good as f64 / n as f64, interval, n, "Wilson")),
        Err(_) => Measured::absent("no request was scheduled in the window"),
    }
}

/// Each SLO on its own: the share that met it (failures did not), and whether that is the share asked for.
pub fn objectives(population: &Population, slos: &[Slo], setting: &Setting) -> Vec<Objective> {
    let n = judged(population);
    slos.iter().zip(&population.tally.good.1).map(|(slo, good)| objective(slo, *good, n, setting)).collect()
}

fn objective(slo: &Slo, good: u64, n: u64, setting: &Setting) -> Objective {
    let interval = clopper_pearson(good, n, setting.confidence).ok();
    let verdict = match (slo.share, interval) {
        (None, _) => ObjectiveVerdict::NotJudged,
        (Some(wanted), Some(i)) if wanted <= i.low => ObjectiveVerdict::Met,
        (Some(wanted), Some(i)) if i.high < wanted => ObjectiveVerdict::Missed,
        (Some(_), _) => ObjectiveVerdict::Undecided,
    };
    let attained = match interval {
        Some(i) => Measured::Value(setting.estimate(good as f64 / n as f64, i, n, "Clopper–Pearson")),
        None => Measured::absent("no request was scheduled in the window"),
    };
    Objective { slo: slo.to_string(), wanted: slo.share, attained, verdict }
}

/// Seconds of a window.
fn seconds_of(window: Window) -> f64 {
    window.end.saturating_since(window.start).as_secs_f64()
}

/// What of a target's requests lies in its window.
#[derive(Clone, Debug)]
pub(crate) struct InWindow {
    window: Window,
    /// answers whose last content came in it
    answers: u64,
    /// requests scheduled in it
    scheduled: u64,
    /// Σ of the time between `sent` and `end` in it
    in_flight_ns: u128,
    /// tokens that arrived in each section of it
    sections: [f64; SECTIONS],
    /// tokens, and the chunks that brought them
    tokens: f64,
    chunks: u64,
    /// answers without a token count
    unknown: u64,
}

impl InWindow {
    /// Nothing yet; `None` for a window without length.
    pub(crate) fn new(window: Window) -> Option<Self> {
        (window.start < window.end).then_some(Self {
            window,
            answers: 0,
            scheduled: 0,
            in_flight_ns: 0,
            sections: [0.0; SECTIONS],
            tokens: 0.0,
            chunks: 0,
            unknown: 0,
        })
    }

    fn inside(&self, at: Timestamp) -> bool {
        self.window.start <= at && at < self.window.end
    }

    /// Counts a request.
    pub(crate) fn add(&mut self, request: &Request<'_>) {
        let record = request.record;
        let answered = record.is_ok() && request.last_content().is_some_and(|at| self.inside(at));
        self.answers += u64::from(answered);
        self.scheduled += u64::from(self.inside(record.scheduled));
        if let Some(sent) = record.sent {
            let end = record.end.unwrap_or(self.window.drained).min(self.window.end);
            self.in_flight_ns += end.saturating_since(sent.max(self.window.start)).as_nanos();
        }
        if !arrivals(request, |at, tokens| self.arrived(at, tokens)) {
            self.unknown += 1;
        }
    }

    fn arrived(&mut self, at: Timestamp, tokens: f64) {
        if self.inside(at) {
            let share = at.saturating_since(self.window.start).as_secs_f64() / seconds_of(self.window);
            self.sections[((share * SECTIONS as f64) as usize).min(SECTIONS - 1)] += tokens;
            self.tokens += tokens;
            self.chunks += 1;
        }
    }
}

/// Tokens with their arrival: counts of chunks where known, else the request's tokens spread evenly over its chunks. `false`
/// when nobody knows how many there were.
fn arrivals(request: &Request<'_>, mut arrived: impl FnMut(Timestamp, f64)) -> bool {
    let chunks = &request.record.chunks;
    if !request.streamed || chunks.is_empty() {
        let Some(end) = request.record.end.filter(|_| request.record.is_ok()) else { return true };
        let tokens = request.output_tokens();
        if let Some(tokens) = tokens {
            arrived(end, tokens as f64);
        }
        return tokens.is_some();
    }
    let each = if chunks.iter().all(|c| c.tokens.is_some()) {
        None
    } else {
        match request.visible_tokens() {
            Some(tokens) => Some(tokens as f64 / chunks.len() as f64),
            // a stream that broke before its usage came: what arrived is at least one token a chunk
            None if !request.record.is_ok() => Some(1.0),
            None => return false,
        }
    };
    for chunk in chunks {
        arrived(chunk.stamp.arrival(), each.unwrap_or_else(|| f64::from(chunk.tokens.unwrap_or(0))));
    }
    true
}

fn token_rate(inside: &InWindow, length: f64, setting: &Setting) -> Measured<Estimate> {
    let InWindow { sections, tokens: total, chunks, unknown, .. } = inside;
    let (total, chunks, unknown) = (*total, *chunks, *unknown);
    if 0 < unknown {
        return Measured::absent(format!("{unknown} answers came without a token count"));
    }
    if chunks == 0 {
        return Measured::absent("no token arrived in the window");
    }
    let value = total / length;
    let needed = SECTIONS as u64 * CHUNKS_PER_SECTION;
    if chunks < needed {
        let why = format!("{chunks} chunks are too few for an interval, {needed} needed");
        return Measured::Value(setting.point(value, chunks, "tokens / window", why));
    }
    let rates: Vec<f64> = sections.iter().map(|t| t * SECTIONS as f64 / length).collect();
    match t_interval(&rates, setting.confidence) {
        Ok(t) => {
            let mut estimate =
                setting.estimate(value, t.interval, chunks, "batch means, 20 sections of the window");
            // a rate is never negative
            if t.interval.low < 0.0 {
                estimate.low = Some(llms_core::bench::Bounded::finite(0.0));
            }
            Measured::Value(estimate)
        }
        Err(e) => Measured::absent(e.to_string()),
    }
}
