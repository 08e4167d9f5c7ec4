//! A soak for the terminal.

use std::fmt::Write as _;

use bench_analysis::soak::{
    SlopeFound,
    client::{Culprit, GaugeSlope},
};
use llms_core::bench::{Bound, Bounded, Measured};

use super::Found;

/// All of it.
pub(super) fn render(found: &Found<'_>) -> String {
    let a = found.analysis;
    let mut out = format!(
        "{}{}: {} requests in {}, {} failed, {} without an end{}\n",
        found.target,
        if found.simulated { " (simulated)" } else { "" },
        a.requests,
        time(a.window_s),
        a.failed,
        a.censored,
        if found.interrupted { " · interrupted" } else { "" },
    );
    let _ = writeln!(out, "run {}", found.run);
    if let Some(why) = found.stopped {
        let _ = writeln!(out, "ended before its plan did: {why}");
    }
    if a.one_in > 1 {
        let _ = writeln!(out, "curve and slopes rest on one request in {}", a.one_in);
    }
    curve(&mut out, found);
    slopes(&mut out, found);
    budget(&mut out, found);
    if let Some(burst) = &a.burst {
        match burst {
            Measured::Value(r) => {
                let _ = writeln!(out, "\n{}", recovered(r));
            }
            Measured::Absent { absent } => {
                let _ = writeln!(out, "\nrecovery after the burst: not measured: {absent}");
            }
        }
    }
    client(&mut out, found);
    let _ = writeln!(out, "\n{}", a.validity.level.as_str());
    for f in &a.validity.findings {
        let _ = writeln!(out, "  {}: {} (limit {}): {}", f.signal, f.measured, f.threshold, f.cure);
    }
    for line in &a.not_measured {
        let _ = writeln!(out, "not measured: {line}");
    }
    out
}

/// How long a burst was felt.
pub(crate) fn recovered(r: &bench_analysis::soak::recovery::RecoveryTime) -> String {
    let tail = match r.relapses {
        0 => String::new(),
        n => format!(", {n} later windows above the limit"),
    };
    match r.recovered_s {
        Some(s) => format!(
            "recovered {} after the load dropped (± {}; median back within 10 % of {}{tail})",
            time(s),
            time(r.window_s),
            latency(r.baseline_s)
        ),
        None => format!(
            "not recovered within {} after the load dropped (median not within 10 % of {} for three windows)",
            time(r.watched_s),
            latency(r.baseline_s)
        ),
    }
}

fn curve(out: &mut String, found: &Found<'_>) {
    let _ = writeln!(out, "\n     from   requests    failed   TTFT p50    E2E p50    E2E p95");
    for s in &found.analysis.curve {
        let share = match s.requests {
            0 => "–".to_owned(),
            n => percent(s.failed as f64 / n as f64),
        };
        let _ = writeln!(
            out,
            "{:>9}  {:>9}  {share:>8}  {:>9}  {:>9}  {:>9}",
            time(s.from_s),
            s.requests,
            bounded(s.ttft_p50),
            bounded(s.e2e_p50),
            bounded(s.e2e_p95)
        );
    }
}

fn slopes(out: &mut String, found: &Found<'_>) {
    let a = found.analysis;
    let _ = writeln!(
        out,
        "\nchange per hour           slope  {:>20}  Mann–Kendall p",
        format!("{}, all together", percent(a.confidence))
    );
    for m in &a.slopes {
        let name = m.metric.to_uppercase();
        slope(out, &format!("{name} median"), &m.median);
        slope(out, &format!("{name} p95"), &m.p95);
    }
    slope(out, "failures (points)", &a.failing);
    let verdict = match (a.degrades(), a.decided(), a.culprit) {
        (false, false, _) => "cannot be told from this run: it needs ten windows of 200 requests",
        (false, true, _) => "none found",
        (true, _, Culprit::Client) => "yes, and at least half of it is this client's own lateness",
        (true, _, Culprit::Unknown) => "yes; whether this client adds to it was not measured",
        (true, ..) => "yes, on the service's side: this client's own lateness does not explain it",
    };
    let _ = writeln!(out, "degradation: {verdict}");
}

fn slope(out: &mut String, name: &str, slope: &Measured<SlopeFound>) {
    match slope {
        Measured::Value(s) => {
            let signed = |v: f64| format!("{:+.2} %", v * 100.0);
            let limits = format!("[{}, {}]", signed(s.low), signed(s.high));
            let alarm = if s.alarm { "  ALARM" } else { "" };
            let _ = writeln!(out, "{name:<20} {:>10}  {limits:>20}  {:.2e}{alarm}", signed(s.per_hour), s.p);
        }
        Measured::Absent { absent } => {
            let _ = writeln!(out, "{name:<20}          –  {absent}");
        }
    }
}

fn budget(out: &mut String, found: &Found<'_>) {
    let Some(b) = &found.analysis.budget else { return };
    let _ = writeln!(
        out,
        "\nerror budget at {}: {} of {} bad, burn {:.2}, left {} [{}, {}]",
        percent(b.objective),
        b.bad,
        b.total,
        b.burn,
        percent(b.left),
        percent(b.left_low),
        percent(b.left_high)
    );
    for pair in &b.pairs {
        let (long, short) = (time(pair.long_s), time(pair.short_s));
        let said = match (pair.at_s, pair.too_short) {
            (Some(at), _) => format!("ALARM at {}", time(at)),
            (None, true) => "the run is shorter: not asked".to_owned(),
            (None, false) => "no alarm".to_owned(),
        };
        let _ = writeln!(out, "  {long} and {short} both above {}: {said}", pair.limit);
    }
}

fn client(out: &mut String, found: &Found<'_>) {
    let ageing = &found.analysis.client;
    let mut alarms = ageing.alarms().peekable();
    if alarms.peek().is_none() {
        let seen: Vec<&str> = ageing.gauges.iter().map(|g| g.gauge).collect();
        let seen =
            if seen.is_empty() { "nothing was measured long enough".to_owned() } else { seen.join(", ") };
        let _ = writeln!(out, "\nthis client: no ageing found ({seen})");
    } else {
        let _ = writeln!(out, "\nthis client ages:");
        for g in alarms {
            let _ =
                writeln!(out, "  {} {} an hour from {}", g.gauge, gauge(g, g.per_hour), gauge(g, g.start));
        }
    }
    for line in &ageing.not_measured {
        let _ = writeln!(out, "not measured: {line}");
    }
}

fn gauge(g: &GaugeSlope, value: f64) -> String {
    match g.unit {
        "bytes" => format!("{:.1} MB", value / 1e6),
        "s" => latency(value),
        _ => format!("{value:.1}"),
    }
}

/// A quantity that may be above a limit.
pub(crate) fn bounded(value: Option<Bounded>) -> String {
    match value {
        Some(Bounded { value: Some(v), .. }) => latency(v),
        Some(Bounded { bound: Some(Bound::Above(limit)), .. }) => format!("> {}", time(limit)),
        _ => "–".to_owned(),
    }
}

/// A latency.
pub(crate) fn latency(seconds: f64) -> String {
    if seconds.abs() < 10.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

/// A stretch of time.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{} s", (s * 10.0).round() / 10.0),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// A share.
pub(crate) fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}
