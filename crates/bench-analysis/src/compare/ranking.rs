//! Tiers, winners and scores from the verdicts of pairs. Ties are reported as ties, and a failed target never wins.
//!
//! A tier begins with the best target left and takes all that are not significantly worse than it. Order within and
//! between tiers follows the point estimate. Targets without a single success come last, in a tier of their own.

use std::collections::BTreeMap;

use llms_core::bench::{PairComparison, Ranking, TargetAnalysis, Verdict, Winner};
use rust_decimal::prelude::ToPrimitive;

use super::{METRIC_COST, METRIC_SUCCESS, Side};

/// The targets with the verdicts between them.
pub(super) struct Standing<'a> {
    targets: Vec<&'a TargetAnalysis>,
    pairs: &'a [PairComparison],
}

/// Targets by one criterion, best first, with their tiers from 1.
type Tiers = Vec<(usize, u32)>;

impl<'a> Standing<'a> {
    pub(super) fn new(sides: &'a [Side<'_>], pairs: &'a [PairComparison]) -> Self {
        Self { targets: sides.iter().map(|s| s.analysis).collect(), pairs }
    }

    /// Whether target `a` is significantly worse than `b` in a metric.
    fn worse(&self, a: usize, b: usize, metric: &str) -> bool {
        let (a, b) = (&self.targets[a].target, &self.targets[b].target);
        self.pairs.iter().filter(|p| p.metric == metric).any(|p| {
            (&p.a == a && &p.b == b && p.verdict == Verdict::Worse)
                || (&p.a == b && &p.b == a && p.verdict == Verdict::Better)
        })
    }

    /// Orders the targets that have a value (less is better) and groups them into tiers.
    fn tiers(&self, metric: &str, value: impl Fn(&TargetAnalysis) -> Option<f64>) -> Tiers {
        let mut order: Vec<(usize, f64)> = (0..self.targets.len())
            .filter(|&i| 0 < self.targets[i].ok)
            .filter_map(|i| Some((i, value(self.targets[i])?)))
            .collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut tiers: Tiers = Vec::new();
        let mut left: Vec<usize> = order.into_iter().map(|(i, _)| i).collect();
        let mut tier = 0;
        while let Some(&leader) = left.first() {
            tier += 1;
            let (level, behind): (Vec<usize>, Vec<usize>) =
                left.iter().partition(|&&i| i == leader || !self.worse(i, leader, metric));
            tiers.extend(level.into_iter().map(|i| (i, tier)));
            left = behind;
        }
        tiers
    }

    fn by_latency(&self) -> Tiers {
        self.tiers("e2e", |t| median(t, "e2e"))
    }

    fn by_success(&self) -> Tiers {
        self.tiers(METRIC_SUCCESS, |t| success_share(t).map(|s| -s))
    }

    fn by_cost(&self) -> Tiers {
        self.tiers(METRIC_COST, cost_per_success)
    }

    pub(super) fn rankings(&self) -> Vec<Ranking> {
        let overall = self.by_latency();
        let [latency, cost, reliability] = [&overall, &self.by_cost(), &self.by_success()].map(ranks);
        let scores = self.scores();
        let last_tier = overall.last().map_or(0, |(_, tier)| *tier);
        let ranked = ranks(&overall);
        let rest = (0..self.targets.len()).filter(|i| !ranked.contains_key(i)).map(|i| (i, last_tier + 1));
        let rest: Tiers = rest.collect();
        overall
            .iter()
            .chain(&rest)
            .map(|&(i, tier)| {
                let target = self.targets[i].target.clone();
                Ranking {
                    tier,
                    rank: ranked.get(&i).copied().unwrap_or(overall.len() as u32 + 1),
                    latency_rank: latency.get(&i).copied(),
                    cost_rank: cost.get(&i).copied(),
                    reliability_rank: reliability.get(&i).copied(),
                    overall_score: scores.get(&target).copied().flatten(),
                    target,
                }
            })
            .collect()
    }

    pub(super) fn matrix(&self) -> BTreeMap<String, BTreeMap<String, Option<f64>>> {
        let row = |t: &TargetAnalysis| {
            let tokens = t.throughput.output_tokens.value().and_then(|e| e.value.value);
            let requests = t.throughput.requests.value().and_then(|e| e.value.value);
            BTreeMap::from([
                ("latency".to_owned(), median(t, "e2e").filter(|v| v.is_finite())),
                ("throughput".to_owned(), tokens.or(requests)),
                ("cost".to_owned(), cost_per_success(t)),
                ("reliability".to_owned(), success_share(t)),
            ])
        };
        self.targets.iter().map(|t| (t.target.clone(), row(t))).collect()
    }

    pub(super) fn winners(&self) -> BTreeMap<String, Winner> {
        let seconds = |metric: &'static str| move |t: &TargetAnalysis| median(t, metric);
        let ttft = self.tiers("ttft", seconds("ttft"));
        BTreeMap::from([
            ("fastest".to_owned(), self.winner(&self.by_latency(), "s", seconds("e2e"))),
            ("lowest_ttft".to_owned(), self.winner(&ttft, "s", seconds("ttft"))),
            ("most_cost_effective".to_owned(), self.winner(&self.by_cost(), "USD", cost_per_success)),
            ("most_reliable".to_owned(), self.winner(&self.by_success(), "1", success_share)),
        ])
    }

    fn winner(&self, tiers: &Tiers, unit: &str, value: impl Fn(&TargetAnalysis) -> Option<f64>) -> Winner {
        let first: Vec<usize> = tiers.iter().filter(|(_, tier)| *tier == 1).map(|(i, _)| *i).collect();
        let first: Vec<usize> =
            first.into_iter().filter(|&i| value(self.targets[i]).is_some_and(f64::is_finite)).collect();
        let without = self.targets.len() - tiers.len();
        let note = if first.is_empty() {
            Some("no target has a value here".to_owned())
        } else if tiers.len() == 1 && 0 < without {
            Some("the only target with a value here".to_owned())
        } else if 1 < first.len() {
            Some("cannot be told apart".to_owned())
        } else if 0 < without {
            Some(format!("{without} targets have no value here"))
        } else {
            None
        };
        Winner {
            value: first.first().and_then(|&i| value(self.targets[i])),
            targets: first.into_iter().map(|i| self.targets[i].target.clone()).collect(),
            unit: unit.to_owned(),
            note,
        }
    }

    /// The one target alone in the first latency tier, if no other is significantly more reliable.
    pub(super) fn overall_winner(&self) -> Option<String> {
        let tiers = self.by_latency();
        let first: Vec<usize> = tiers.iter().filter(|(_, tier)| *tier == 1).map(|(i, _)| *i).collect();
        let &[winner] = first.as_slice() else { return None };
        let finite = median(self.targets[winner], "e2e").is_some_and(f64::is_finite);
        let beaten = (0..self.targets.len()).any(|other| self.worse(winner, other, METRIC_SUCCESS));
        (finite && !beaten).then(|| self.targets[winner].target.clone())
    }

    /// `success share × mean(latency score, cost score)`, 0–100; 0 without a success, absent without a request.
    ///
    /// Latency score `100 × best median E2E / own`, over successes; cost score `100 × least dollars per answer / own`, only
    /// when every target with a success has a cost above 0 (a ratio to nothing says nothing). Each part falls when its number gets worse; verdicts never use it.
    pub(super) fn scores(&self) -> BTreeMap<String, Option<f64>> {
        let answering = || self.targets.iter().filter(|t| 0 < t.ok);
        let best = answering().filter_map(|t| success_median(t, "e2e")).reduce(f64::min);
        let costs_known = answering().all(|t| cost_per_success(t).is_some_and(|c| 0.0 < c));
        let least = answering().filter_map(|t| cost_per_success(t)).reduce(f64::min);
        let part = |best: f64, own: f64| if own <= 0.0 { 100.0 } else { 100.0 * best / own };
        let score = |t: &TargetAnalysis| {
            let share = success_share(t)?;
            if t.ok == 0 {
                return Some(0.0);
            }
            let mut parts = vec![part(best?, success_median(t, "e2e")?)];
            if costs_known {
                parts.push(part(least?, cost_per_success(t)?));
            }
            Some(share * parts.iter().sum::<f64>() / parts.len() as f64)
        };
        self.targets.iter().map(|t| (t.target.clone(), score(t))).collect()
    }
}

/// Ranks with ties (1, 1, 3) from tiers.
fn ranks(tiers: &Tiers) -> BTreeMap<usize, u32> {
    tiers
        .iter()
        .map(|&(i, tier)| (i, 1 + tiers.iter().filter(|(_, other)| *other < tier).count() as u32))
        .collect()
}

/// Median with failures at +∞, or the mean of successes where the sample is too small for a median.
fn median(t: &TargetAnalysis, metric: &str) -> Option<f64> {
    let summary = t.metrics.get(metric)?;
    let median = summary.quantile(0.5).and_then(|q| q.all.value()).and_then(|e| e.value.as_f64());
    median.or_else(|| summary.mean.value().and_then(|e| e.value.as_f64()))
}

fn success_median(t: &TargetAnalysis, metric: &str) -> Option<f64> {
    let summary = t.metrics.get(metric)?;
    let median = summary.quantile(0.5).and_then(|q| q.success.value()).and_then(|e| e.value.value);
    median.or_else(|| summary.mean.value().and_then(|e| e.value.value))
}

fn success_share(t: &TargetAnalysis) -> Option<f64> {
    let ended = t.ok + t.failed;
    (0 < ended).then(|| t.ok as f64 / ended as f64)
}

fn cost_per_success(t: &TargetAnalysis) -> Option<f64> {
    t.cost.value()?.per_success_usd?.to_f64()
}
