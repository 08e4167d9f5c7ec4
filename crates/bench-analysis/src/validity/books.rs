//! Whether the books balance: requests in flight = rate × time (Little's law), in windows long enough for it to show.

use llms_core::bench::Level;

use super::Judge;
use crate::population::Population;
use crate::stats::little::{ALLOWED, little};

/// A window holds so many mean requests before its ends stop to matter.
const LONG: f64 = 50.0;

impl Judge<'_> {
    /// Judged by target. A gap is no fault of the client: in flight grew or fell over the window, or records are missing.
    pub(super) fn books(&mut self, populations: &[Population]) {
        let mut judged = 0;
        let mut balanced = 0;
        for (target, population) in populations.iter().enumerate() {
            let Some(window) = population.window else { continue };
            if population.rows.len() < self.limits.least {
                continue;
            }
            let zero = window.start;
            let at = |t: llms_core::time::Timestamp| t.as_nanos() as f64 / 1e9 - zero.as_nanos() as f64 / 1e9;
            let requests: Vec<(f64, f64)> =
                population.rows.iter().filter_map(|r| Some((at(r.sent?), at(r.end?)))).collect();
            let Ok(found) = little(&requests, 0.0, at(window.end)) else { continue };
            let edge = found.sojourn / at(window.end);
            if 1.0 / LONG < edge {
                continue;
            }
            judged += 1;
            let allowed = ALLOWED.max(edge);
            if found.gap <= allowed {
                balanced += 1;
                continue;
            }
            self.find(
                "littles_law",
                Level::Valid,
                Some(target),
                format!(
                    "{:.1} in flight, rate × time {:.1}: {:.1} % apart",
                    found.in_flight,
                    found.rate * found.sojourn,
                    found.gap * 100.0
                ),
                format!("{:.1} %", allowed * 100.0),
                "requests in flight grew or fell over the window: this is no steady state; use a longer window or a lower load",
            );
        }
        if 0 < judged && balanced == judged {
            self.checked("littles_law");
        }
    }
}
