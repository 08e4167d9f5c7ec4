//! Rates over the measured window: answers, tokens, offered load, requests in flight, goodput.
//!
//! Membership: an answer belongs to the window when its last content came in it, a token when its chunk did; goodput and
//! SLO attainment count the requests *scheduled* in the window, wherever they ended. Ramp and drain are outside.

use llms_core::bench::{
    Estimate, Load, Measured, Objective, ObjectiveVerdict, Order, Origin, RequestJudge, RequestRecord,
    RunPhase, RunResult, Scenario, Slo, Throughput, Window,
};
use llms_core::time::Timestamp;

use crate::estimate::Setting;
use crate::population::Population;
use crate::request::Request;
use crate::stats::mean::t_interval;
use crate::stats::proportion::{clopper_pearson, garwood, wilson};

/// Sections of the window whose rates give the interval of the token rate.
const SECTIONS: usize = 20;
/// Fewest chunks a section should hold on average for that interval.
const CHUNKS_PER_SECTION: usize = 5;

/// All rates of one target.
pub fn throughput(
    population: &Population<'_>,
    window: Option<Window>,
    scenario: &Scenario,
    setting: &Setting,
) -> Throughput {
    let window = window.map(|w| own_part(w, population, scenario));
    let length = window.map_or(0.0, |w| w.end.saturating_since(w.start).as_secs_f64());
    let slo_attainment = attainment(population, &scenario.slo, setting);
    let Some(window) = window.filter(|_| 0.0 < length) else {
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
    let inside = |t: Timestamp| window.start <= t && t < window.end;
    let answers = population.ok().filter(|r| r.last_content().is_some_and(inside)).count() as u64;
    let goodput = if scenario.slo.is_empty() {
        Measured::absent("no SLO given")
    } else {
        let good = population.requests.iter().filter(|r| is_good(r, population, &scenario.slo)).count();
        rate(good as u64, length, setting)
    };
    Throughput {
        window_s: length,
        requests: rate(answers, length, setting),
        output_tokens: token_rate(population, window, length, setting),
        offered: match scenario.load {
            Load::Open { .. } => {
                let scheduled = population.requests.iter().filter(|r| inside(r.record.scheduled)).count();
                Measured::Value(scheduled as f64 / length)
            }
            Load::Closed { .. } => {
                Measured::absent("closed loop: completions set the pace, nothing is offered")
            }
        },
        mean_in_flight: Measured::Value(in_flight_seconds(population, window) / length),
        goodput,
        slo_attainment,
    }
}

/// The measured window, and whether it had to be derived: a run that was cut off wrote none, and its measured records say
/// from when (first schedule) to when (last end) it measured. `None` when nothing measured has ended either.
pub fn window_of(run: &RunResult) -> (Option<Window>, bool) {
    if run.manifest.window.is_some() {
        return (run.manifest.window, false);
    }
    let measured = || run.records.iter().filter(|r| r.phase == RunPhase::Measured);
    let start = measured().map(|r| r.scheduled).min();
    let last = measured().filter_map(|r| r.end).max();
    let window = start.zip(last).map(|(start, last)| {
        // the end is exclusive, and the last answer is inside
        let end = Timestamp::from_nanos(last.as_nanos() + 1);
        Window { start, end, drained: end }
    });
    (window, window.is_some())
}

/// The part of the window that belongs to this target. Interleaved targets share the whole; targets measured one after
/// the other have their own stretch of it each, from the first to the last send (closed loop: to the end of the last
/// answer, as the next request would have been ready then).
fn own_part(window: Window, population: &Population<'_>, scenario: &Scenario) -> Window {
    if scenario.order == Order::Interleaved {
        return window;
    }
    let scheduled = || population.requests.iter().map(|r| r.record.scheduled);
    let ended = population.requests.iter().filter_map(|r| r.record.end);
    let last = match scenario.load {
        Load::Open { .. } => scheduled().max(),
        Load::Closed { .. } => ended.max(),
    };
    match (scheduled().min(), last) {
        (Some(first), Some(last)) => Window { start: first, end: last, ..window },
        _ => window,
    }
}

/// A rate of events with Garwood's exact Poisson interval (wide of the mark on the safe side for regular arrivals).
fn rate(count: u64, length: f64, setting: &Setting) -> Measured<Estimate> {
    match garwood(count, length, setting.confidence) {
        Ok(interval) => Measured::Value(setting.estimate(count as f64 / length, interval, count, "Garwood")),
        Err(e) => Measured::absent(e.to_string()),
    }
}

/// Whether a request ended well with every limit met.
///
/// A limit on a gap (ICL, ITL) holds for every gap of the request. A limit on a pace (TPOT and its like) is met by an answer
/// too short to have one; a limit on a metric that could not be measured is not met.
pub fn is_good(request: &Request<'_>, population: &Population<'_>, slos: &[Slo]) -> bool {
    meets(request, population.headline, slos)
}

/// [`is_good`] where a bare latency name starts at `headline`.
fn meets(request: &Request<'_>, headline: Origin, slos: &[Slo]) -> bool {
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

/// [`is_good`] one record at a time, while a run goes on.
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

/// Requests that met all of `slos`, and those that count: one the user cut off is neither good nor bad.
fn good_of(population: &Population<'_>, slos: &[Slo]) -> (u64, u64) {
    let (_, _, censored) = population.counts();
    let unknown = if population.censored_rank { 0 } else { censored };
    let good = population.requests.iter().filter(|r| is_good(r, population, slos)).count() as u64;
    (good, population.requests.len() as u64 - unknown)
}

fn attainment(population: &Population<'_>, slos: &[Slo], setting: &Setting) -> Measured<Estimate> {
    if slos.is_empty() {
        return Measured::absent("no SLO given");
    }
    let (good, n) = good_of(population, slos);
    match wilson(good, n, setting.confidence) {
        Ok(interval) => Measured::Value(setting.estimate(good as f64 / n as f64, interval, n, "Wilson")),
        Err(_) => Measured::absent("no request was scheduled in the window"),
    }
}

/// Each SLO on its own: the share that met it (failures did not), and whether that is the share asked for.
pub fn objectives(population: &Population<'_>, slos: &[Slo], setting: &Setting) -> Vec<Objective> {
    slos.iter().map(|slo| objective(population, slo, setting)).collect()
}

fn objective(population: &Population<'_>, slo: &Slo, setting: &Setting) -> Objective {
    let (good, n) = good_of(population, std::slice::from_ref(slo));
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

/// Σ over requests of the time between `sent` and `end` that lies in the window, seconds.
fn in_flight_seconds(population: &Population<'_>, window: Window) -> f64 {
    let overlap = |r: &Request<'_>| {
        let start = r.record.sent?.max(window.start);
        let end = r.record.end.unwrap_or(window.drained).min(window.end);
        Some(end.saturating_since(start).as_secs_f64())
    };
    population.requests.iter().filter_map(overlap).sum()
}

/// Tokens with their arrival: counts of chunks where known, else the request's tokens spread evenly over its chunks.
fn arrivals(request: &Request<'_>) -> Option<Vec<(Timestamp, f64)>> {
    let chunks = &request.record.chunks;
    if !request.streamed || chunks.is_empty() {
        let Some(end) = request.record.end.filter(|_| request.record.is_ok()) else {
            return Some(Vec::new());
        };
        return Some(vec![(end, request.output_tokens()? as f64)]);
    }
    if chunks.iter().all(|c| c.tokens.is_some()) {
        return Some(chunks.iter().map(|c| (c.stamp.arrival(), f64::from(c.tokens.unwrap_or(0)))).collect());
    }
    match request.visible_tokens() {
        Some(tokens) => {
            let each = tokens as f64 / chunks.len() as f64;
            Some(chunks.iter().map(|c| (c.stamp.arrival(), each)).collect())
        }
        // a stream that broke before its usage came: what arrived is at least one token a chunk
        None if !request.record.is_ok() => Some(chunks.iter().map(|c| (c.stamp.arrival(), 1.0)).collect()),
        None => None,
    }
}

fn token_rate(
    population: &Population<'_>,
    window: Window,
    length: f64,
    setting: &Setting,
) -> Measured<Estimate> {
    let mut sections = [0.0; SECTIONS];
    let (mut total, mut chunks, mut unknown) = (0.0, 0_usize, 0_u64);
    for request in &population.requests {
        let Some(list) = arrivals(request) else {
            unknown += 1;
            continue;
        };
        for (at, tokens) in list {
            if window.start <= at && at < window.end {
                let place = at.saturating_since(window.start).as_secs_f64() / length * SECTIONS as f64;
                sections[(place as usize).min(SECTIONS - 1)] += tokens;
                total += tokens;
                chunks += 1;
            }
        }
    }
    if 0 < unknown {
        return Measured::absent(format!("{unknown} answers came without a token count"));
    }
    if chunks == 0 {
        return Measured::absent("no token arrived in the window");
    }
    let value = total / length;
    if chunks < SECTIONS * CHUNKS_PER_SECTION {
        let why =
            format!("{chunks} chunks are too few for an interval, {} needed", SECTIONS * CHUNKS_PER_SECTION);
        return Measured::Value(setting.point(value, chunks as u64, "tokens / window", why));
    }
    let rates: Vec<f64> = sections.iter().map(|t| t * SECTIONS as f64 / length).collect();
    match t_interval(&rates, setting.confidence) {
        Ok(t) => {
            let mut estimate =
                setting.estimate(value, t.interval, chunks as u64, "batch means, 20 sections of the window");
            // a rate is never negative
            if t.interval.low < 0.0 {
                estimate.low = Some(llms_core::bench::Bounded::finite(0.0));
            }
            Measured::Value(estimate)
        }
        Err(e) => Measured::absent(e.to_string()),
    }
}
