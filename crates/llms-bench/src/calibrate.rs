//! `--calibrate`: what this client is wrong by on this machine, before it measures anybody else.
//!
//! The twin is this program's own server in a process of its own, on loopback: as many requests at once, or as many a second, as
//! the plan has, and tokens at the pace given. Its truth log says what really happened. The twin shares the machine with the
//! client, as no target elsewhere does, so what it finds is an upper bound. Stored with the run and judged with it.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bench_analysis::stats::{QuantileType, Sample};
use bench_mock::server::Protocol;
use bench_runner::Runner;
use llms_core::{
    CallContext,
    bench::{
        BenchmarkRunner as _, Calibration, Load, NullSink, Prompt, RequestRecord, RunPhase, Scenario, Target,
        TargetInfo, TwinError, Warmup,
    },
    config::ModelConfig,
    registry::BuildContext,
    wire::Transport,
};

use crate::{
    cli::ConnectArgs,
    exit::Failure,
    providers,
    validate::{
        against::{Account, Errors, hold},
        server::Server,
    },
};

/// How long the twin is driven.
const LENGTH: Duration = Duration::from_secs(5);
/// Most tokens of an answer: many short answers tell more than a few long ones.
const TOKENS: u32 = 32;
/// From the request to the first token, in gaps between tokens.
const FIRST: u32 = 5;

/// Drives a twin of `plan` whose tokens come every `gap`.
///
/// # Errors
/// When the twin cannot be started or driven.
pub(crate) async fn calibrate(
    plan: &Scenario,
    gap: Duration,
    connect: &ConnectArgs,
    ctx: &CallContext,
) -> Result<Calibration, Failure> {
    let tokens = plan.options.max_tokens.unwrap_or(TOKENS).min(TOKENS);
    let server = Server::start(&profile(gap, tokens), true)?;
    let transport = providers::transport(connect)?;
    let target = target(&server, &transport).await?;
    let scenario = twin_of(plan, tokens);
    let runner = Runner::builder().transport(transport).build();
    let run = runner.run(&[target], &scenario, &mut NullSink, ctx).await.map_err(|e| {
        let failure = Failure::from(e);
        if ctx.cancel.is_cancelled() { failure } else { failure.at("calibration") }
    })?;
    let measured: Vec<&RequestRecord> =
        run.records.iter().filter(|r| r.phase == RunPhase::Measured).collect();
    let written = run.records.iter().filter(|r| r.written.is_some()).count();
    let truth = server.truth_of(&run.manifest.run_id, written)?;
    let asked = |id: &str| measured.iter().any(|r| *r.request_id == *id);
    let account = hold(measured.iter().copied(), truth.iter().filter(|t| asked(&t.request_id)));
    Ok(found(words(&scenario.load, gap, tokens), &account, &measured))
}

fn profile(gap: Duration, tokens: u32) -> String {
    let gap = gap.as_secs_f64() * 1e3;
    format!(
        "[models.twin]\nttft_ms = {{ kind = \"constant\", value = {:?} }}\ngap_ms = {{ kind = \"constant\", value = {gap:?} }}\n\
         output_tokens = {{ kind = \"constant\", value = {:?} }}\n",
        gap * f64::from(FIRST),
        f64::from(tokens.max(1))
    )
}

async fn target(server: &Server, transport: &Arc<dyn Transport>) -> Result<Target, Failure> {
    let config = ModelConfig::new("openai", "twin").with_base_url(server.base(Protocol::OpenAi));
    // Nothing of the user's environment reaches the twin.
    let build = BuildContext { transport: transport.clone(), env: &|_: &str| None };
    let model = providers::registry().create(&config, &build).await?;
    let info = TargetInfo {
        name: "twin".to_owned(),
        model: model.info().clone(),
        simulated: true,
        transport: Some(transport.info()),
        unavailable: None,
    };
    Ok(Target { info, model: Some(model) })
}

/// The plan's load without its ramp and its shape, on one short prompt.
fn twin_of(plan: &Scenario, tokens: u32) -> Scenario {
    let load = match &plan.load {
        Load::Closed { concurrency, think_time, think_law, .. } => {
            Load::closed(*concurrency).thinking(*think_time, *think_law)
        }
        Load::Open { arrivals, max_concurrency, .. } => {
            Load::open(mean_rate(plan), *arrivals).capped(*max_concurrency)
        }
    };
    let mut twin = Scenario {
        name: "calibration".to_owned(),
        prompts: vec![Prompt::new("p0", "Count from one to one hundred, in words.")],
        warmup: Warmup { requests: 4, prompts: Vec::new() },
        load,
        requests: None,
        duration: Some(LENGTH),
        streaming: plan.streaming,
        timeout: Duration::from_secs(30),
        drain: Duration::from_secs(10),
        ..Scenario::default()
    };
    twin.options.max_tokens = Some(tokens);
    twin.with_ids()
}

/// Arrivals a second, on average over the plan.
fn mean_rate(plan: &Scenario) -> f64 {
    let length = plan.duration.or_else(|| plan.load.profile_length()).unwrap_or(LENGTH).as_secs_f64();
    (plan.load.window_arrivals(length) / length).max(1.0)
}

fn words(load: &Load, gap: Duration, tokens: u32) -> String {
    let load = match load {
        Load::Closed { concurrency, .. } => format!("{concurrency} at once"),
        Load::Open { rate, .. } => format!("{rate:.1} requests/s"),
    };
    format!("{load}, {tokens} tokens {gap:?} apart")
}

fn found(plan: String, account: &Account, records: &[&RequestRecord]) -> Calibration {
    let lags: Vec<f64> =
        records.iter().filter_map(|r| Some(r.sent?.since(r.released)?.as_secs_f64())).collect();
    let lost = account.unknown + account.lost + account.miscounted + account.ends[1];
    Calibration {
        plan,
        requests: account.records,
        unaccounted: lost,
        ttft: of(&account.ttft),
        arrival: of(&account.arrival),
        gaps: of(&account.icl),
        send_lag: summary(lags),
        merged_share: (account.gaps > 0).then(|| account.merged as f64 / account.gaps as f64),
    }
}

fn of(errors: &Errors) -> Option<TwinError> {
    let (p50_s, p99_s) = (errors.quantile(0.5)?, errors.quantile(0.99)?);
    Some(TwinError { n: errors.len() as u64, p50_s, p99_s })
}

fn summary(values: Vec<f64>) -> Option<TwinError> {
    let n = values.len() as u64;
    let sample = Sample::new(values).ok()?;
    let at = |p| sample.quantile(p, QuantileType::Type7).ok();
    Some(TwinError { n, p50_s: at(0.5)?, p99_s: at(0.99)? })
}

/// One line for the report.
pub(crate) fn line(calibration: &Calibration) -> String {
    let mut line =
        format!("calibrated on a twin on this machine ({}), wrong by p50 / p99:", calibration.plan);
    let parts = [
        ("first token", calibration.ttft),
        ("chunks", calibration.arrival),
        ("gaps", calibration.gaps),
        ("sent late by", calibration.send_lag),
    ];
    for (name, error) in parts {
        if let Some(TwinError { n, p50_s, p99_s }) = error {
            let _ = write!(line, " {name} {:.0} / {:.0} µs (n {n});", p50_s * 1e6, p99_s * 1e6);
        }
    }
    if let Some(share) = calibration.merged_share {
        let _ = write!(line, " {:.2} % of gaps inside one read", share * 100.0);
    }
    line.trim_end_matches(';').to_owned()
}

#[cfg(test)]
mod tests {
    use llms_core::bench::{Arrivals, RatePiece};

    use super::*;

    #[test]
    fn the_twin_has_the_load_of_the_plan_without_its_shape() {
        let plan = |load| Scenario { load, ..Scenario::new("plan", ["hello"]) };
        let twin = |load| twin_of(&plan(load), 8).load;
        assert_eq!(twin(Load::closed(32)), Load::closed(32));
        assert_eq!(twin(Load::closed(32).ramped(Duration::from_secs(9))), Load::closed(32));
        let open = Load::open(50.0, Arrivals::Constant).capped(7);
        assert_eq!(twin(open.clone().ramped(Duration::from_secs(9))), open);
        let second = Duration::from_secs(1);
        let shaped =
            Load::poisson(0.0).shaped([RatePiece::step(second, 10.0), RatePiece::step(second, 30.0)]);
        assert_eq!(twin(shaped), Load::poisson(20.0));
        assert_eq!(twin_of(&plan(Load::closed(1)), 8).validate(), Ok(()));
    }

    #[test]
    fn the_line_says_what_was_compared_and_nothing_else() {
        let error = TwinError { n: 7, p50_s: 25e-6, p99_s: 190e-6 };
        let calibration = Calibration {
            plan: "2 at once".to_owned(),
            ttft: Some(error),
            merged_share: Some(0.001),
            ..Calibration::default()
        };
        let said = line(&calibration);
        assert!(said.ends_with("first token 25 / 190 µs (n 7); 0.10 % of gaps inside one read"), "{said}");
        assert!(!said.contains("gaps 0"), "{said}");
    }
}
