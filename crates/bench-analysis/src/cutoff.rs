//! Latencies of an interrupted run: requests in flight when the user cut it off count at their age.
//!
//! Leaving them out makes the server look faster than it is, as slow requests are the likelier to be in flight. After a drain
//! nothing is replaced: what is in flight then waited longer than anybody allowed and ranks at `+∞`.

use llms_core::bench::{Bounded, Estimate, Measured, MetricSummary, Origin};

use crate::estimate::{Setting, too_small};
use crate::population::{Population, Standing};
use crate::row::{Ended, Row};
use crate::stats::censor::{KaplanMeier, Observed};
use crate::stats::order_interval::smallest_n_two_sided;

/// Latencies that go on while a request is in flight.
const GROW: [&str; 3] = ["ttft", "ttfat", "e2e"];

/// Puts Kaplan and Meier's quantiles in the place of those with failures at +∞, where requests were cut off and the metric is one
/// that they had not come to yet. Those of successes stay.
pub(crate) fn count_the_cut_off(
    summary: &mut MetricSummary,
    population: &Population,
    name: &str,
    origin: Origin,
    setting: &Setting,
) {
    let (_, _, cut_off) = population.counts();
    if population.censored_rank || cut_off == 0 || !GROW.contains(&name) {
        return;
    }
    let observed: Vec<Observed> =
        population.rows.iter().filter_map(|row| observed(population, &row, name, origin)).collect();
    let Ok(km) = KaplanMeier::new(&observed) else { return };
    let ages = observed.iter().filter(|o| matches!(o, Observed::LongerThan(_))).count();
    for q in &mut summary.quantiles {
        q.all = quantile(&km, q.p, ages, setting);
    }
}

/// What is known of one request; `None` where a success has no such value, or nobody knows the age.
fn observed(population: &Population, row: &Row, name: &str, origin: Origin) -> Option<Observed> {
    match population.standing(row) {
        Standing::Failed => Some(Observed::At(f64::INFINITY)),
        Standing::Ok => row.value(name, origin).map(Observed::At),
        Standing::Unknown => {
            debug_assert_eq!(row.ended, Ended::Censored);
            // a first token that came is seen, whatever became of the rest
            if let Some(seen) = row.value(name, origin).filter(|_| name != "e2e") {
                return Some(Observed::At(seen));
            }
            let start = match origin {
                Origin::Service => row.sent?,
                Origin::Response => row.scheduled,
            };
            Some(Observed::LongerThan(row.end?.since(start)?.as_secs_f64()))
        }
    }
}

fn quantile(km: &KaplanMeier, p: f64, ages: usize, setting: &Setting) -> Measured<Estimate> {
    if smallest_n_two_sided(p, setting.confidence).is_ok_and(|least| (km.n as u64) < least) {
        return Measured::absent(too_small(p, setting.confidence, km.n));
    }
    let (Ok(value), Ok(interval)) = (km.quantile(p), km.quantile_interval(p, setting.confidence)) else {
        return Measured::absent("no such quantile");
    };
    // beyond the last answer nothing was seen
    let last = km.steps().last().map_or(0.0, |s| s.at);
    let bounded = |x: f64| Bounded::from_f64(x, last);
    Measured::Value(Estimate {
        value: bounded(value.unwrap_or(f64::INFINITY)),
        low: Some(bounded(interval.low)),
        high: Some(bounded(interval.high)),
        confidence: setting.confidence,
        n: km.n as u64,
        ess: None,
        method: "Kaplan–Meier, log(−log) limits".to_owned(),
        note: Some(format!(
            "{ages} requests were in flight when the run was interrupted: they count at their age"
        )),
    })
}
