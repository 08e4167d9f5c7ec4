//! A plan for people.

use std::fmt::Write as _;

use llms_core::bench::{Arrivals, Load};
use rust_decimal::Decimal;

use super::{Forecast, Slice, volume::TargetVolume};

/// How load is put on, in words.
pub(super) fn load(load: &Load) -> String {
    match load {
        Load::Closed { concurrency, think_time, .. } => {
            let users = if *concurrency == 1 { "user" } else { "users" };
            let pause = if think_time.is_zero() {
                String::new()
            } else {
                format!(", {} of thought on average", time(think_time.as_secs_f64()))
            };
            format!("closed loop, {concurrency} {users}{pause}")
        }
        Load::Open { trace: Some(trace), max_concurrency, .. } => {
            format!(
                "open loop, arrivals of {}, recorded times × {}{}",
                trace.file,
                trace.time_scale,
                cap(*max_concurrency)
            )
        }
        Load::Open { rate, arrivals, max_concurrency, profile, .. } => {
            let law = match arrivals {
                Arrivals::Constant => "constant".to_owned(),
                Arrivals::Poisson => "Poisson".to_owned(),
                Arrivals::Gamma { burstiness } => format!("gamma (shape {burstiness})"),
            };
            let rate =
                if profile.is_empty() { format!("{rate}/s a target") } else { "rates below".to_owned() };
            format!("open loop, {law} arrivals, {rate}{}", cap(*max_concurrency))
        }
    }
}

fn cap(cap: Option<u32>) -> String {
    cap.map_or_else(String::new, |n| format!(", at most {n} in flight"))
}

/// The whole plan.
pub(super) fn render(plan: &Forecast) -> String {
    let mut out = format!("plan of scenario {}: nothing is sent\n\n", plan.scenario);
    let names: Vec<&str> = plan.targets.iter().map(|t| t.name.as_str()).collect();
    row(&mut out, "targets", &names.join(", "));
    row(&mut out, "load", &plan.load);
    row(&mut out, "requests", &requests(plan));
    row(&mut out, "duration", &duration(plan));
    for (i, target) in plan.targets.iter().enumerate() {
        // Tokens are the same on every target.
        if i == 0 {
            row(&mut out, "tokens in", &input(target));
            row(&mut out, "tokens out", &output(target));
        }
    }
    for target in &plan.targets {
        let name = if plan.targets.len() > 1 { format!("{}: ", target.name) } else { String::new() };
        row(&mut out, "cost", &format!("{name}{}", cost(target)));
    }
    if !plan.rate.is_empty() {
        rates(&mut out, plan);
    }
    samples(&mut out, plan);
    for (title, lines) in [
        ("may end it early", &plan.limits),
        ("does not fit", &plan.conflicts),
        ("the run would be refused", &plan.refused),
    ] {
        if !lines.is_empty() {
            let _ = writeln!(out, "\n{title}");
            for line in lines {
                let _ = writeln!(out, "  {line}");
            }
        }
    }
    out
}

fn row(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "{name:<11} {text}");
}

fn requests(plan: &Forecast) -> String {
    let what = if plan.turns.is_some() { "conversations" } else { "requests" };
    let mut text = match plan.requests {
        Some(n) => format!("{n} measured {what} a target"),
        None => format!("as many {what} as are answered in time: --pilot tells how many"),
    };
    if let Some(turns) = plan.turns {
        let _ = write!(text, " of {turns:.1} turns on average");
    }
    if plan.ramp_up_requests > 0 {
        let _ = write!(text, ", {} in the ramp-up", plan.ramp_up_requests);
    }
    let _ = write!(text, ", {} to warm up", plan.warmup_requests);
    if plan.preflight_requests > 0 {
        text.push_str(", 1 to see that it answers");
    }
    if !plan.seeded {
        text.push_str(" (times and lengths drawn for this plan; the run's with --seed)");
    }
    text
}

fn duration(plan: &Forecast) -> String {
    let d = &plan.duration;
    let mut text = match d.window_s {
        Some(s) => format!("about {}, {}", time(s), d.basis),
        None => format!("not known: {}", d.basis),
    };
    if d.ramp_up_s > 0.0 {
        let _ = write!(text, "; {} of ramp-up before it", time(d.ramp_up_s));
    }
    if let Some(most) = d.window_at_most_s {
        let _ = write!(text, "; at most {}, were every request to time out", time(most));
    }
    let _ = write!(text, "; then up to {} for what is in flight", time(d.drain_at_most_s));
    text
}

fn input(t: &TargetVolume) -> String {
    let Some(n) = t.input_tokens else { return "not known: the number of requests is not".to_owned() };
    let most = match t.input_tokens_at_most {
        Some(most) => format!("a budget reckons with {most}"),
        None => "no bound: images or documents, whose tokens only the vendor knows".to_owned(),
    };
    format!("about {n} a target ({}); {most}", t.counted_by)
}

fn output(t: &TargetVolume) -> String {
    match (t.output_tokens, t.output_tokens_at_most) {
        (Some(n), Some(most)) if n == most => format!("{n} a target if every answer is as long as asked"),
        (Some(n), Some(most)) => format!("about {n} a target, at most {most}"),
        (Some(n), None) => format!("about {n} a target, without a bound (--max-tokens)"),
        (None, Some(most)) => format!("at most {most} a target"),
        (None, None) => "not known: --max-tokens bounds answers".to_owned(),
    }
}

fn cost(t: &TargetVolume) -> String {
    if let Some(why) = &t.no_cost {
        return format!("not known: {why}");
    }
    let usd = |x: Decimal| format!("${}", x.round_dp(6).normalize());
    let Some(least) = t.usd_at_least else { return "not known: the number of requests is not".to_owned() };
    let full = t.usd_full_answers.map_or_else(|| "no upper end".to_owned(), usd);
    let expected = t.usd_expected.map_or_else(String::new, |x| format!(", expected {}", usd(x)));
    let most = t.usd_at_most.map_or_else(String::new, |x| format!("; a budget reckons with {}", usd(x)));
    let source = t.price_source.as_deref().unwrap_or_default();
    let date = t.price_date.as_deref().unwrap_or_default();
    format!(
        "{} (no answers) to {full} (all of full length){expected}{most}\n{:<12}prices of {date}: {source}",
        usd(least),
        ""
    )
}

fn rates(out: &mut String, plan: &Forecast) {
    let _ = writeln!(
        out,
        "\nrate of each target over time\n{:>9}  {:>9}  {:>13}  {:>9}",
        "from", "to", "rate/s", "requests"
    );
    for Slice { from_s, to_s, rate_from, rate_to, requests } in &plan.rate {
        let rate = if rate_from == rate_to {
            format!("{rate_from:.2}")
        } else {
            format!("{rate_from:.2} – {rate_to:.2}")
        };
        let to = to_s.map_or_else(|| "–".to_owned(), time);
        let n = requests.map_or_else(|| "–".to_owned(), |n| format!("{n:.0}"));
        let _ = writeln!(out, "{:>9}  {to:>9}  {rate:>13}  {n:>9}", time(*from_s));
    }
}

fn samples(out: &mut String, plan: &Forecast) {
    let _ = writeln!(out, "\nto know            requests  any interval from     window  this plan");
    for s in &plan.samples {
        let what = format!("{} p{} ± {} %", s.metric, trim(s.quantile * 100.0), trim(s.relative * 100.0));
        if let Some(why) = &s.absent {
            let _ = writeln!(out, "{what:<16}  {why}");
            continue;
        }
        let number = |n: Option<u64>| n.map_or_else(|| "–".to_owned(), |n| n.to_string());
        let window = s.window_s.map_or_else(|| "–".to_owned(), time);
        let enough = match s.enough {
            Some(true) => "has them",
            Some(false) => "has too few",
            None => "–",
        };
        let (n, floor) = (number(s.requests), number(s.floor));
        let _ = writeln!(out, "{what:<16}  {n:>9}  {floor:>17}  {window:>9}  {enough}");
    }
    let _ = writeln!(out, "supposed: {}", plan.supposed);
}

fn trim(x: f64) -> String {
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `1, 2, 3`.
pub(super) fn list(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn time(seconds: f64) -> String {
    let s = seconds.abs();
    match s {
        s if s < 1.0 && s > 0.0 => format!("{:.0} ms", seconds * 1e3),
        s if s < 10.0 => format!("{} s", trim(seconds)),
        s if s < 120.0 => format!("{} s", trim((seconds * 10.0).round() / 10.0)),
        s if s < 7200.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}
