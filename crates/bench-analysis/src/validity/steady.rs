//! Whether the server was the same from the beginning of the window to its end: MSER-5, then a trend test and both halves, on time to
//! first token, end-to-end time and requests in flight, in order of arrival.
//!
//! A finding about the server: what is printed then describes this run and not the server at rest.

use llms_core::bench::Level;

use super::Judge;
use crate::population::Population;
use crate::row::Rows;
use crate::stats::steady::{SeriesCheck, Verdict, steady_state};

/// Least number of requests of a target that are looked at: the test needs 20 batches of five behind the cut.
const LEAST: usize = 120;

impl Judge<'_> {
    /// Judged by target.
    pub(super) fn steady(&mut self, populations: &[Population]) {
        let (mut judged, mut steady) = (0, 0);
        for (target, population) in populations.iter().enumerate() {
            let rows = &population.rows;
            let Some([ttft, e2e, in_flight]) = series(rows) else { continue };
            // A closed loop may have the same number in flight at every arrival; then it says nothing.
            let moves = in_flight.iter().any(|n| *n != in_flight[0]);
            let Ok(found) = steady_state(&ttft, &e2e, if moves { &in_flight } else { &e2e }) else {
                continue;
            };
            judged += 1;
            let said = match found.verdict {
                Verdict::Steady => {
                    steady += 1;
                    continue;
                }
                Verdict::NoSteadyState => format!("still warming up after half of {} requests", rows.len()),
                Verdict::NonStationary => {
                    let all = [
                        ("TTFT", &found.ttft),
                        ("E2E latency", &found.e2e),
                        ("requests in flight", &found.in_flight),
                    ];
                    let moved: Vec<String> = all
                        .into_iter()
                        .filter(|(name, check)| !check.steady && (moves || *name != "requests in flight"))
                        .map(|(name, check)| described(name, check, rows.len() - found.cut))
                        .collect();
                    moved.join("; ")
                }
            };
            let left_out = match found.cut {
                0 => String::new(),
                n => format!(" behind the first {n} requests"),
            };
            self.find(
                "steady_state",
                Level::Valid,
                Some(target),
                said,
                format!("no trend (p ≥ 0.01) and halves that agree{left_out}"),
                "the service changed while it was measured: the figures describe this run; measure longer, warm up longer, or lower the load",
            );
        }
        if 0 < judged && steady == judged {
            self.checked("steady_state");
        }
    }
}

/// How a series moved, by the line through its batch medians and by its halves.
fn described(name: &str, check: &SeriesCheck, requests: usize) -> String {
    let middle = |i: crate::stats::Interval| f64::midpoint(i.low, i.high);
    let (first, second) = (middle(check.first_half), middle(check.second_half));
    let change = |by: f64| if first == 0.0 { String::new() } else { format!("{:+.0} %", by / first * 100.0) };
    format!(
        "{name} {} from the first half to the second, trend {} over the window (p {:.2})",
        change(second - first),
        change(check.slope * requests as f64),
        check.trend.p
    )
}

/// Time to first token, end-to-end time, and requests in flight at each arrival; a failed request has the time that it took. `None` for
/// too few, and where somebody was never sent.
fn series(rows: &Rows) -> Option<[Vec<f64>; 3]> {
    if rows.len() < LEAST {
        return None;
    }
    let (mut ttft, mut e2e) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    let mut ends = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let (sent, end) = (row.sent?, row.end?);
        let after = |t: llms_core::time::Timestamp| t.saturating_since(sent).as_secs_f64();
        ttft.push(after(row.first.unwrap_or(end)));
        e2e.push(after(row.last.unwrap_or(end)));
        ends.push(end);
    }
    ends.sort_unstable();
    let mut over = 0;
    let in_flight = rows.iter().zip(0_usize..).map(|(row, before)| {
        while over < ends.len() && ends[over] <= row.scheduled {
            over += 1;
        }
        before.saturating_sub(over) as f64
    });
    let in_flight = in_flight.collect();
    Some([ttft, e2e, in_flight])
}
