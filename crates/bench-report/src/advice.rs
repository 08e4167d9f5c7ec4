//! What to change, and how sure the ranks are, in a few lines: [`Findings`] beside an analysis, never a verdict.

use llms_core::bench::{Bounded, ComparisonStudy, Measured, OptimizationReport};

use crate::number;

/// Hints shown; the rest is in the JSON.
const SHOWN: usize = 3;

/// What was found beyond the analysis; JSON has all of it, the other forms the gist.
#[derive(Clone, Copy, Debug, Default)]
pub struct Findings<'a> {
    /// What to change.
    pub hints: Option<&'a OptimizationReport>,
    /// A comparison in depth.
    pub study: Option<&'a ComparisonStudy>,
}

impl Findings<'_> {
    /// The most important changes, each with effect and interval.
    pub(crate) fn changes(&self) -> Vec<String> {
        let Some(report) = self.hints else { return Vec::new() };
        let all = &report.recommendations;
        let shown = all.iter().take(SHOWN).map(|r| {
            let saving = match &r.saving_usd_per_million {
                Measured::Value(s) => {
                    format!("saves {} per million requests", number::with_interval(s, "USD"))
                }
                Measured::Absent { .. } => {
                    let unit = if r.effect_unit == "1" { "" } else { r.effect_unit.as_str() };
                    format!("effect {} per request", number::with_interval(&r.effect, unit))
                }
            };
            let n = r.evidence.iter().map(|e| e.n).max().unwrap_or(0);
            format!("{}: {}; {saving} (n = {n})", r.target, r.title)
        });
        let mut lines: Vec<String> = shown.collect();
        if SHOWN < all.len() {
            lines.push(format!("{} more, and the evidence: `llms-bench tokens`", all.len() - SHOWN));
        }
        lines
    }

    /// Chances to be first, the front, and how much more it would take.
    pub(crate) fn ranks(&self) -> Vec<String> {
        let Some(study) = self.study else { return Vec::new() };
        let mut lines = Vec::new();
        for (category, standings) in &study.standings {
            let mut order: Vec<_> = standings.iter().filter(|s| s.value != Bounded::default()).collect();
            order.sort_by(|a, b| b.p_first.total_cmp(&a.p_first).then(a.rank.cmp(&b.rank)));
            let said = order.iter().map(|s| {
                let ranks = match (s.rank_low, s.rank_high) {
                    (low, high) if low == high => format!("{low}"),
                    (low, high) => format!("{low}–{high}"),
                };
                format!("{} {} (rank {ranks})", s.target, chance(s.p_first, study.resamples))
            });
            let said: Vec<String> = said.collect();
            if 1 < said.len() {
                lines.push(format!("first in {category}: {}", said.join(", ")));
            }
        }
        let front: Vec<String> = study
            .front
            .points
            .iter()
            .filter(|p| p.on_front)
            .map(|p| format!("{} {}", p.target, chance(p.p_on_front, study.resamples)))
            .collect();
        if !front.is_empty() {
            lines.push(format!(
                "nobody beats in {}: {}",
                study.front.coordinates.join(", "),
                front.join(", ")
            ));
        }
        let needed = study.pairs.iter().filter_map(|p| p.blocks_needed).max();
        if let Some(needed) = needed.filter(|n| study.blocks < *n) {
            lines.push(format!(
                "a difference of {} would show in every pair and metric, with a chance of {}, from {needed} rounds on; \
                 this run has {}",
                number::percent(study.options.wanted - 1.0),
                number::percent(study.options.power),
                study.blocks
            ));
        }
        for floor in &study.noise_floor {
            if let Measured::Value(ratio) = &floor.ratio {
                let what =
                    if floor.alarm { "called different: a false alarm" } else { "not called different" };
                lines.push(format!(
                    "{} and {} are one endpoint: {} ratio {}, {what}",
                    floor.a,
                    floor.b,
                    floor.metric,
                    number::with_interval(ratio, "")
                ));
            }
        }
        lines
    }
}

/// A share of resamples as per cent: what was seen in all of so many, or in none, is not certain.
pub(crate) fn chance(p: f64, resamples: u32) -> String {
    let finest = 1.0 / f64::from(resamples.max(1));
    // As many decimals as the finest share needs: 99.95 % is not 100 %.
    let decimals = (-(finest * 100.0).log10()).ceil().max(0.0) as usize;
    if p < finest {
        format!("< {:.decimals$} %", finest * 100.0)
    } else if 1.0 - finest < p {
        format!("> {:.decimals$} %", (1.0 - finest) * 100.0)
    } else {
        number::percent(p)
    }
}
