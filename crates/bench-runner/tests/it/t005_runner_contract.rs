//! T005: the contract of the benchmark runner (spec 2.1), row by row.

use crate::common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use bench_runner::Runner;
use common::*;
use llms_core::{
    CallContext, Capabilities, ErrorCode,
    bench::{BenchmarkRunner as _, Load, RecordOutcome, RunPhase, Scenario, metric::METRICS},
    time::{Timestamp, VirtualClock},
};

#[test]
fn a_result_names_test_provider_model_and_time() {
    let model = Scripted::new("m", |_, _| after(100 * MS));
    let result = simulate(&[target(&model)], &scenario(&["q"], 5)).unwrap();
    let m = &result.manifest;
    assert_eq!((m.scenario.name.as_str(), m.targets[0].model.provider.as_str()), ("test", "scripted"));
    assert_eq!(m.targets[0].model.model, "m");
    assert!(m.complete && !m.interrupted && !m.run_id.is_empty());
    let window = m.window.unwrap();
    assert_eq!(window.drained.since(window.start).unwrap(), 500 * MS);
    assert_eq!(result.measured(0).count(), 5);
    assert_eq!(m.planned, [5]);
    assert!(result.records.iter().all(|r| r.disorder().is_none() && r.is_ok()));
}

#[test]
fn missing_arguments_are_refused_before_anything_happens() {
    let model = Scripted::new("m", |_, _| after(MS));
    let good = scenario(&["q"], 1);
    let cases: [(&str, Vec<_>, Scenario, &str); 6] = [
        ("no provider", vec![], good.clone(), "targets: expected at least one target"),
        (
            "no scenario",
            vec![target(&model)],
            Scenario::default(),
            "scenario.prompts: expected at least one prompt",
        ),
        (
            "no prompts",
            vec![target(&model)],
            scenario(&[], 1),
            "scenario.prompts: expected at least one prompt",
        ),
        (
            "no end",
            vec![target(&model)],
            Scenario { requests: None, ..good.clone() },
            "scenario.requests: expected a number of requests or a duration",
        ),
        ("one name twice", vec![target(&model), target(&model)], good.clone(), "targets[1].name"),
        (
            "no users",
            vec![target(&model)],
            Scenario { load: Load::closed(0), ..good },
            "scenario.load.concurrency: expected 1 to 10000 users, found 0",
        ),
    ];
    for (case, targets, scenario, message) in cases {
        let mut sink = Notes::default();
        let e = simulate_with(&Runner::new(), &targets, &scenario, &mut sink, |_| {}).unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidConfig, "{case}");
        assert!(e.message().contains(message), "{case}: {e}");
        assert!(sink.begun.is_empty(), "{case}");
    }
    assert!(model.seen().is_empty());
}

#[test]
fn all_mistakes_are_told_at_once() {
    let broken = Scenario {
        load: Load::poisson(-1.0),
        timeout: Duration::ZERO,
        requests: Some(0),
        ..scenario(&[], 1)
    };
    let e = simulate(&[], &broken).unwrap_err().to_string();
    for field in
        ["targets", "scenario.prompts", "scenario.load.rate", "scenario.timeout", "scenario.requests"]
    {
        assert!(e.contains(field), "{field}: {e}");
    }
}

#[test]
fn a_cancelled_context_is_refused() {
    let model = Scripted::new("m", |_, _| after(MS));
    let mut sink = Notes::default();
    let e = simulate_with(&Runner::new(), &[target(&model)], &scenario(&["q"], 1), &mut sink, |ctx| {
        ctx.cancel.cancel();
    })
    .unwrap_err();
    assert_eq!(e.code(), ErrorCode::Cancelled);
    assert!(sink.begun.is_empty() && model.seen().is_empty());
}

#[test]
fn a_missing_capability_is_named_and_nothing_is_sent() {
    let can = Scripted::new("can", |_, _| after(MS));
    let cannot = Scripted::with_capabilities(
        "cannot",
        Capabilities { streaming: true, ..Capabilities::default() },
        |_, _| after(MS),
    );
    let mute = Scripted::with_capabilities(
        "mute",
        Capabilities { tools: true, ..Capabilities::default() },
        |_, _| after(MS),
    );
    let tools = Scenario {
        seeds: scenario(&["q"], 1).seeds,
        ..bench_runner::ScenarioRegistry::builtin().get("tool-calling").unwrap().clone()
    };
    for (model, scenario, missing) in [(&cannot, &tools, "tools"), (&mute, &scenario(&["q"], 1), "streaming")]
    {
        let e = simulate(&[target(&can), target(model)], scenario).unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidRequest);
        assert!(e.message().contains(&format!("needs {missing}")), "{e}");
    }
    assert!(can.seen().is_empty() && cannot.seen().is_empty());
    let whole = Scenario { streaming: false, ..scenario(&["q"], 1) };
    assert!(simulate(&[target(&mute)], &whole).unwrap().records[0].is_ok());
}

#[test]
fn prompts_are_cycled_through() {
    let model = Scripted::new("m", |_, _| after(MS));
    let result = simulate(&[target(&model)], &scenario(&["a", "b", "c"], 9)).unwrap();
    let mut count = BTreeMap::new();
    for call in model.seen() {
        *count.entry(call.text).or_insert(0) += 1;
    }
    assert_eq!(count.into_values().collect::<Vec<_>>(), [3, 3, 3]);
    let asked: Vec<_> = result.records.iter().map(|r| r.prompt.clone()).collect();
    assert_eq!(asked[..3], asked[3..6], "the same order each time around");
    assert_eq!(asked[..3].iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn concurrency_is_a_limit_and_is_reached() {
    let model = Scripted::new("m", |n, _| after(MS * (10 + n as u32 % 7)));
    let scenario = Scenario { load: Load::closed(6), ..scenario(&["q"], 100) };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    assert_eq!((result.records.len(), model.peak.load(SeqCst)), (100, 6));
    let ids: BTreeSet<_> = result.records.iter().map(|r| r.request_id.clone()).collect();
    assert_eq!(ids.len(), 100);
    let sent: BTreeSet<_> = model.seen().into_iter().map(|c| c.request_id).collect();
    assert!(ids.iter().all(|id| sent.contains(&**id)));
}

#[test]
fn one_failing_provider_does_not_lose_the_others() {
    let good = Scripted::new("good", |_, _| after(20 * MS));
    let bad = Scripted::new("bad", |_, _| Answer::Fail(5 * MS, ErrorCode::Internal));
    let broken = Scripted::new("broken", |_, _| Answer::Panic);
    let targets = [target(&good), target(&bad), unavailable("gone", "no key"), target(&broken)];
    let mut scenario = Scenario { load: Load::closed(3), ..scenario(&["a", "b"], 12) };
    scenario.warmup.requests = 2;
    let result = simulate(&targets, &scenario).unwrap();
    let m = &result.manifest;
    assert!(m.complete);
    assert_eq!(
        m.targets.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
        ["good", "bad", "gone", "broken"]
    );
    assert_eq!(m.planned, [12, 12, 0, 12]);
    let outcomes = |t: u32| {
        let codes = result.measured(t).map(|r| match &r.outcome {
            RecordOutcome::Ok => "ok",
            RecordOutcome::Failed(e) => e.code.as_str(),
            RecordOutcome::Censored => "censored",
        });
        (result.measured(t).count(), codes.collect::<BTreeSet<_>>())
    };
    assert_eq!(outcomes(0), (12, ["ok"].into()));
    assert_eq!(outcomes(1), (12, ["internal_error"].into()), "measured although its warm-up failed");
    assert_eq!(outcomes(2), (0, [].into()));
    assert_eq!(outcomes(3), (12, ["unknown"].into()));
}

#[test]
fn without_any_available_target_the_reasons_are_told() {
    let e = simulate(&[unavailable("a", "no key"), unavailable("b", "refused")], &scenario(&["q"], 1))
        .unwrap_err();
    assert_eq!(e.code(), ErrorCode::ModelNotAvailable);
    assert!(e.message().contains("a: no key; b: refused"), "{e}");
}

#[test]
fn cancelling_mid_run_returns_what_there_is() {
    let model = Scripted::new("m", |n, _| if n % 4 == 3 { Answer::Hang } else { after(100 * MS) });
    let scenario = Scenario { load: Load::closed(4), ..scenario(&["q"], 1000) };
    let mut sink = Notes::default();
    let result = simulate_with(&Runner::new(), &[target(&model)], &scenario, &mut sink, |ctx| {
        cancel_at(ctx, 1050 * MS);
    })
    .unwrap();
    let m = &result.manifest;
    assert!(m.interrupted && !m.complete);
    let censored: Vec<_> = result.records.iter().filter(|r| r.outcome == RecordOutcome::Censored).collect();
    assert_eq!(censored.len(), 4, "all four users were waiting");
    let at = Timestamp::ZERO + 1050 * MS;
    assert!(censored.iter().all(|r| r.end == Some(at)), "in-flight requests end at once");
    assert!(result.records.iter().any(llms_core::bench::RequestRecord::is_ok));
    assert_eq!(m.window.unwrap().end, at);
    assert_eq!(sink.finished, std::slice::from_ref(m));
    assert_eq!(sink.records, result.records);
}

#[test]
fn cancelling_during_warm_up_leaves_no_window() {
    let model = Scripted::new("m", |_, _| Answer::Hang);
    let mut scenario = scenario(&["q"], 10);
    scenario.warmup.requests = 2;
    let result = simulate_with(&Runner::new(), &[target(&model)], &scenario, &mut Notes::default(), |ctx| {
        cancel_at(ctx, 10 * MS);
    })
    .unwrap();
    assert_eq!((result.manifest.window, result.manifest.interrupted), (None, true));
    assert!(
        result.records.iter().all(|r| r.phase == RunPhase::Warmup && r.outcome == RecordOutcome::Censored)
    );
}

#[test]
fn no_model_can_outlast_its_timeout_or_the_users_patience() {
    for silent in [Answer::Hang, Answer::Deaf] {
        let model = Scripted::new("m", move |n, _| if n == 0 { silent.clone() } else { after(MS) });
        let scenario = Scenario { timeout: 2 * SECOND, ..scenario(&["q"], 3) };
        let result = simulate(&[target(&model)], &scenario).unwrap();
        let RecordOutcome::Failed(e) = &result.records[0].outcome else { panic!("expected a failure") };
        assert_eq!(e.code, ErrorCode::DeadlineExceeded);
        assert_eq!(result.records[0].end, Some(Timestamp::ZERO + 2 * SECOND));
        assert!(result.records[1..].iter().all(llms_core::bench::RequestRecord::is_ok));
    }
    let model = Scripted::new("m", |_, _| Answer::Deaf);
    let result = simulate_with(
        &Runner::new(),
        &[target(&model)],
        &scenario(&["q"], 3),
        &mut Notes::default(),
        |ctx| cancel_at(ctx, SECOND),
    )
    .unwrap();
    assert_eq!(result.manifest.window.unwrap().drained, Timestamp::ZERO + SECOND);
}

#[test]
fn a_deadline_of_the_run_ends_it() {
    let model = Scripted::new("m", |_, _| after(100 * MS));
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone())).with_timeout(350 * MS);
    let runner = Runner::new();
    let (targets, scenario) = ([target(&model)], scenario(&["q"], 1000));
    let mut sink = llms_core::bench::NullSink;
    let result = clock.block_on(runner.run(&targets, &scenario, &mut sink, &ctx)).unwrap();
    assert!(result.manifest.interrupted);
    assert_eq!(result.records.iter().filter(|r| r.is_ok()).count(), 3);
}

#[test]
fn a_sink_that_fails_ends_the_run_with_its_error() {
    let model = Scripted::new("m", |_, _| after(MS));
    let mut sink = Notes { fail_at: Some(5), ..Notes::default() };
    let e = simulate_with(&Runner::new(), &[target(&model)], &scenario(&["q"], 1_000_000), &mut sink, |_| {})
        .unwrap_err();
    assert_eq!(e.message(), "the disk is full");
    assert_eq!((sink.records.len(), sink.finished.len()), (5, 1));
    assert!(!sink.finished[0].complete && !sink.finished[0].interrupted);
    assert!(model.seen().len() < 3000, "no more than the queue of records was sent on");
}

#[test]
fn one_runner_serves_several_runs_at_once() {
    let runner = Runner::new();
    let models: Vec<_> = (0..8).map(|i| Scripted::new(&format!("m{i}"), |_, _| after(10 * MS))).collect();
    let clock = VirtualClock::new();
    let counts = clock.block_on(async {
        let runs = models.iter().map(|model| {
            let (runner, ctx) = (runner.clone(), CallContext::with_clock(Arc::new(clock.clone())));
            let (targets, scenario) =
                ([target(model)], Scenario { load: Load::closed(16), ..scenario(&["q"], 100) });
            async move {
                let mut records = Vec::new();
                runner.run(&targets, &scenario, &mut records, &ctx).await.unwrap();
                records.len()
            }
        });
        futures_util::future::join_all(runs).await
    });
    assert_eq!(counts, [100; 8]);
    assert!(models.iter().all(|m| m.peak.load(SeqCst) == 16));
}

#[test]
fn a_load_test_echoes_its_rate_and_duration_and_has_an_id() {
    let model = Scripted::new("m", |_, _| after(100 * MS));
    let scenario = Scenario {
        load: Load::poisson(20.0),
        requests: None,
        duration: Some(5 * SECOND),
        ..scenario(&["q"], 1)
    };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    let m = &result.manifest;
    assert!(!m.run_id.is_empty());
    assert_eq!((&m.scenario.load, m.scenario.duration), (&scenario.load, scenario.duration));
    let window = m.window.unwrap();
    assert_eq!(window.end.since(window.start), Some(5 * SECOND));
    assert_eq!(result.records.len() as u64, m.planned[0]);
    assert!((50..160).contains(&result.records.len()));
}

#[test]
fn supported_metrics_are_rows_of_the_table() {
    let names = Runner::new().supported_metrics();
    assert_eq!(names, METRICS.iter().map(|m| m.name).collect::<Vec<_>>());
    for name in ["ttft", "e2e", "throughput", "output_tokens", "error_rate"] {
        assert!(names.contains(&name), "{name}");
    }
}
