//! Several runs of one thing: what holds over runs.

use llms_core::bench::{Estimate, Measured, MetricAggregate, QuantileAggregate, TargetAggregate, metric};

use crate::{number, sheet::Sheet, table::Table};

/// The targets over their runs, as a page.
pub fn aggregate(targets: &[TargetAggregate]) -> Sheet {
    let mut sheet = Sheet::default();
    for t in targets {
        sheet.title(format!("{} over {} runs", t.target, t.runs.len()));
        let mut table = Table::new(["of a run", "mean", "p50", "p95", "p99"]);
        let mut pooled = Table::new(["all requests", "p50", "p95", "p99", "between runs", "best n a run"]);
        for (name, m) in &t.metrics {
            let label = metric::find(name).map_or(name.as_str(), |d| d.title);
            let of_runs = |p: f64| quantile(m, p, |q| number::measured_interval(Some(&q.of_runs), &m.unit));
            table.row([
                label.to_owned(),
                number::measured_interval(Some(&m.mean), &m.unit),
                of_runs(0.5),
                of_runs(0.95),
                of_runs(0.99),
            ]);
            let all = |p: f64| {
                quantile(m, p, |q| match &q.pooled {
                    Measured::Value(b) => number::bound(*b, &m.unit),
                    Measured::Absent { .. } => number::ABSENT.to_owned(),
                })
            };
            let (share, best) = match &m.variance {
                Measured::Value(v) => (
                    number::percent(v.intraclass),
                    v.best_requests.map_or_else(|| "one long run".to_owned(), |n| n.to_string()),
                ),
                Measured::Absent { .. } => (number::ABSENT.to_owned(), number::ABSENT.to_owned()),
            };
            pooled.row([label.to_owned(), all(0.5), all(0.95), all(0.99), share, best]);
        }
        sheet.table(table);
        sheet.item(format!("error rate: {}", said(&t.error_rate, "1")));
        for (name, rate) in &t.rates {
            let unit = if name.ends_with("usd") { "USD" } else { "1/s" };
            sheet.item(format!("{}: {}", name.replace('_', " "), said(rate, unit)));
        }
        sheet.title("Their requests together");
        sheet.table(pooled);
        for o in &t.outliers {
            sheet.item(format!(
                "stands out: {} in {}, {} robust deviations from the median of runs",
                o.run_id,
                o.metric,
                number::digits(o.distance)
            ));
        }
        if !t.outliers.is_empty() {
            sheet.item(t.policy.clone());
        }
        for l in &t.left_out {
            sheet.item(format!("left out: {}: {}", l.run_id, l.why));
        }
    }
    sheet
}

fn quantile(m: &MetricAggregate, p: f64, show: impl Fn(&QuantileAggregate) -> String) -> String {
    m.quantiles.iter().find(|q| (q.p - p).abs() < 1e-9).map_or_else(|| number::ABSENT.to_owned(), show)
}

fn said(m: &Measured<Estimate>, unit: &str) -> String {
    match m {
        Measured::Value(e) => format!("{} (n = {} runs)", number::with_interval(e, unit), e.n),
        Measured::Absent { absent } => format!("{} {absent}", number::ABSENT),
    }
}
