//! One target over several runs as text or Markdown.

use llms_core::bench::{Bounded, Measured, MetricAggregate, TargetAggregate};

use crate::lines::{item, measured, number};

/// Metrics shown, in this order; JSON has all.
const SHOWN: [&str; 4] = ["ttft", "e2e", "tpot", "icl"];

pub(crate) fn render(t: &TargetAggregate, markdown: bool) -> String {
    let title = format!("{} over {} runs", t.target, t.runs.len());
    let mut out = if markdown { format!("# {title}\n\n") } else { format!("{title}\n") };
    let mut say = |text: &str| out.push_str(&item(text, markdown));
    for left in &t.left_out {
        say(&format!("left out: {}, {}", left.run_id, left.why));
    }
    say(&format!("error rate: {}", measured(&t.error_rate, "")));
    for (name, rate) in &t.rates {
        say(&format!("{name}: {}", measured(rate, "")));
    }
    for name in SHOWN {
        if let Some(metric) = t.metrics.get(name) {
            for line in lines(name, metric) {
                say(&line);
            }
        }
    }
    for o in &t.outliers {
        let far = number(o.distance);
        say(&format!("stands out: run {} in {}, {far} robust standard deviations", o.run_id, o.metric));
    }
    say(&t.policy);
    out.push('\n');
    out
}

fn lines(name: &str, m: &MetricAggregate) -> Vec<String> {
    let mut lines = vec![format!("{name}, mean of runs: {}", measured(&m.mean, &m.unit))];
    for q in &m.quantiles {
        let pooled = match &q.pooled {
            Measured::Value(b) => bounded(*b, &m.unit),
            Measured::Absent { absent } => format!("– {absent}"),
        };
        let p = number(q.p * 100.0);
        lines.push(format!(
            "{name}, p{p} of a run: {} · of all requests {pooled}",
            measured(&q.of_runs, &m.unit)
        ));
    }
    match &m.variance {
        Measured::Value(v) => {
            let share = number(100.0 * v.intraclass);
            lines.push(match v.best_requests {
                Some(n) => format!(
                    "{name}: {share} % of the variance lies between runs; beyond {n} requests a run, more runs tell more \
                     than longer ones"
                ),
                None => format!("{name}: runs do not differ beyond their requests: one long run is as good"),
            });
        }
        Measured::Absent { absent } => lines.push(format!("{name}, where the spread comes from: – {absent}")),
    }
    lines
}

fn bounded(b: Bounded, unit: &str) -> String {
    match b.value {
        Some(v) => format!("{} {unit}", number(v)),
        None => "beyond the timeout".to_owned(),
    }
}
