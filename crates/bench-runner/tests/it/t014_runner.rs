//! T014: the runner at work on simulated time: phases, closed loop, pairing, recording, repeatability.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bench_runner::Runner;
use common::*;
use llms_core::{
    CallContext, ChatResponse, ErrorCode, FinishReason,
    bench::{
        BenchmarkRunner as _, Load, NullSink, Order, Progress, ProgressUpdate, Prompt, RecordOutcome,
        RequestRecord, RunPhase, RunResult, Scenario, ThinkLaw,
    },
    time::{Clock as _, Timestamp, VirtualClock, real_clock},
};

#[test]
fn every_block_asks_every_target_the_same_prompt() {
    let models: Vec<_> =
        (0..4).map(|i| Scripted::new(&format!("m{i}"), move |_, _| after(MS * (5 + 3 * i)))).collect();
    let targets: Vec<_> = models.iter().map(target).collect();
    for load in [Load::closed(3), Load::poisson(50.0)] {
        let scenario = Scenario { load, ..scenario(&["a", "b", "c", "d", "e"], 200) };
        let result = simulate(&targets, &scenario).unwrap();
        let mut blocks: BTreeMap<u64, Vec<&RequestRecord>> = BTreeMap::new();
        for r in &result.records {
            blocks.entry(r.block).or_default().push(r);
        }
        assert_eq!(blocks.len(), 200);
        let mut first = [0; 4];
        for block in blocks.values_mut() {
            block.sort_by_key(|r| r.position);
            assert_eq!(block.iter().map(|r| r.position).collect::<Vec<_>>(), [0, 1, 2, 3]);
            assert!(block.iter().all(|r| r.prompt == block[0].prompt));
            assert!(block.windows(2).all(|w| w[0].scheduled < w[1].scheduled), "asked in the order drawn");
            first[block[0].target as usize] += 1;
        }
        // Binomial(200, 1/4): sd 6.1.
        assert!(first.iter().all(|n| (26..=74).contains(n)), "{first:?}");
    }
}

#[test]
fn closed_loop_users_ask_when_their_answer_is_there() {
    let model = Scripted::new("m", |n, _| after(MS * (20 + n as u32)));
    let scenario =
        Scenario { load: Load::closed(1).thinking(7 * MS, ThinkLaw::Constant), ..scenario(&["q"], 5) };
    let records = simulate(&[target(&model)], &scenario).unwrap().records;
    for pair in records.windows(2) {
        assert_eq!(pair[1].scheduled, pair[0].end.unwrap() + 7 * MS);
        assert_eq!(pair[1].released, pair[1].scheduled);
        assert_eq!(pair[1].sent, Some(pair[1].scheduled));
    }
}

#[test]
fn a_closed_loop_ends_with_its_window_and_drains() {
    let model = Scripted::new("m", |_, _| after(300 * MS));
    let scenario =
        Scenario { load: Load::closed(2), requests: None, duration: Some(SECOND), ..scenario(&["q"], 1) };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    let window = result.manifest.window.unwrap();
    assert_eq!(result.records.len(), 8);
    assert!(result.records.iter().all(|r| r.is_ok() && r.scheduled < window.end));
    assert_eq!(window.end.since(window.start), Some(SECOND));
    assert_eq!(window.drained.since(window.start), Some(1200 * MS));
    assert!(result.manifest.planned.is_empty(), "how many is not known before");
}

#[test]
fn whichever_limit_comes_first_ends_the_run() {
    let model = Scripted::new("m", |_, _| after(100 * MS));
    let run = |requests, duration| {
        let scenario = Scenario { duration: Some(duration), ..scenario(&["q"], requests) };
        let result = simulate(&[target(&model)], &scenario).unwrap();
        let window = result.manifest.window.unwrap();
        (result.records.len(), window.end.since(window.start).unwrap())
    };
    assert_eq!(run(5, 10 * SECOND), (5, 400 * MS), "until the last send");
    assert_eq!(run(500, SECOND), (10, SECOND));
}

#[test]
fn warm_up_is_apart() {
    let models = [Scripted::new("a", |_, _| after(10 * MS)), Scripted::new("b", |_, _| after(30 * MS))];
    let targets: Vec<_> = models.iter().map(target).collect();
    let mut scenario = Scenario { load: Load::closed(2), ..scenario(&["measured"], 10) };
    scenario.warmup.requests = 5;
    let result = simulate(&targets, &scenario).unwrap();
    let window = result.manifest.window.unwrap();
    for (i, model) in (0..).zip(&models) {
        let seen = model.seen();
        assert_eq!(seen.len(), 15);
        assert!(seen[..5].iter().all(|c| c.text != "measured" && c.at < window.start));
        assert!(seen[5..].iter().all(|c| c.text == "measured" && c.at >= window.start));
        assert_eq!(result.measured(i).count(), 10);
        let warm: Vec<_> =
            result.records.iter().filter(|r| r.target == i && r.phase == RunPhase::Warmup).collect();
        assert_eq!(warm.len(), 5);
        assert!(warm.iter().all(|r| r.end.unwrap() <= window.start));
    }
}

#[test]
fn sequential_order_finishes_one_target_before_the_next() {
    let models = [Scripted::new("a", |_, _| after(10 * MS)), Scripted::new("b", |_, _| after(20 * MS))];
    let targets: Vec<_> = models.iter().map(target).collect();
    for load in [Load::closed(2), Load::poisson(20.0)] {
        let scenario = Scenario { order: Order::Sequential, load, ..scenario(&["p", "q", "r"], 30) };
        let result = simulate(&targets, &scenario).unwrap();
        let last_of_a = result.measured(0).map(|r| r.end.unwrap()).max().unwrap();
        assert!(result.measured(1).all(|r| r.scheduled >= last_of_a));
        let prompts = |t| {
            let mut by_block: Vec<_> = result.measured(t).map(|r| (r.block, r.prompt.clone())).collect();
            by_block.sort();
            by_block
        };
        assert_eq!(prompts(0), prompts(1));
        assert_eq!(prompts(0).len(), 30);
    }
}

fn poisson_run(seed_nonce: u64) -> (RunResult, Vec<Vec<Seen>>) {
    let models: Vec<_> = (0..3)
        .map(|i| {
            Scripted::new(&format!("m{i}"), move |n, _| match n % 11 {
                7 => Answer::Fail(3 * MS, ErrorCode::RateLimit),
                _ => Answer::Tokens { first: MS * (40 + 10 * i), gap: 5 * MS, n: 1 + n as u32 % 9 },
            })
        })
        .collect();
    let targets: Vec<_> = models.iter().map(target).collect();
    let mut scenario =
        Scenario { load: Load::poisson(40.0).capped(3), cache_bust: true, ..scenario(&["a", "b", "c"], 300) };
    scenario.seeds.nonce = Some(seed_nonce);
    scenario.warmup.requests = 3;
    let result = simulate(&targets, &scenario).unwrap();
    (result, models.iter().map(|m| m.seen()).collect())
}

#[test]
fn a_run_on_simulated_time_repeats_bit_for_bit() {
    let (first, bytes) = poisson_run(1);
    let (second, same_bytes) = poisson_run(1);
    assert_eq!(first, second);
    assert_eq!(bytes, same_bytes);
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&second).unwrap());
    let (other, other_bytes) = poisson_run(2);
    assert_ne!(bytes, other_bytes, "another nonce, other bytes");
    let plan = |r: &RunResult| {
        let mut plan: Vec<_> =
            r.records.iter().map(|r| (r.block, r.target, r.scheduled, r.prompt.clone())).collect();
        plan.sort();
        plan
    };
    assert_eq!(plan(&first), plan(&other), "and the same plan");
    assert_eq!(first.manifest.hashes, other.manifest.hashes);
}

#[test]
fn a_nonce_stands_in_front_of_every_measured_prompt_once() {
    let (_, bytes) = poisson_run(9);
    let mut nonces: Vec<String> = bytes
        .iter()
        .flatten()
        .filter_map(|c| Some(c.text.strip_prefix('[')?.split_once("] ")?.0.to_owned()))
        .collect();
    assert_eq!(nonces.len(), 900);
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 900, "no two requests share one, not even the same prompt on two targets");
}

#[test]
fn a_refusing_endpoint_is_not_hammered() {
    let model = Scripted::new("m", |_, _| Answer::Fail(Duration::ZERO, ErrorCode::Authentication));
    let scenario =
        Scenario { load: Load::closed(2), requests: None, duration: Some(SECOND), ..scenario(&["q"], 1) };
    assert_eq!(simulate(&[target(&model)], &scenario).unwrap().records.len(), 200);
}

#[test]
fn a_record_has_everything_the_call_told() {
    let model = Scripted::new("m", |_, _| Answer::Tokens { first: 80 * MS, gap: 10 * MS, n: 5 });
    let records = simulate(&[target(&model)], &scenario(&["q"], 1)).unwrap().records;
    let r = &records[0];
    let at = |ms| Timestamp::ZERO + MS * ms;
    assert_eq!(r.chunks.iter().map(|c| c.stamp.user).collect::<Vec<_>>(), [80, 90, 100, 110, 120].map(at));
    assert_eq!((r.first_answer, r.end, r.sent), (Some(0), Some(at(120)), Some(at(0))));
    assert_eq!((r.output_tokens(), r.tokens.usage.unwrap().input_tokens), (Some(5), Some(7)));
    assert_eq!((r.tokens.chars, r.finish_reason.clone()), (20, Some(FinishReason::Stop)));
    assert_eq!((r.model.as_deref(), r.attempt, &*r.prompt), (Some("m"), 0, "p0"));
}

#[test]
fn whole_answers_have_an_end_and_no_chunks() {
    let model = Scripted::new("m", |_, _| Answer::Tokens { first: 80 * MS, gap: 10 * MS, n: 5 });
    let scenario = Scenario { streaming: false, ..scenario(&["q"], 2) };
    let records = simulate(&[target(&model)], &scenario).unwrap().records;
    let r = &records[0];
    assert!(r.is_ok() && r.chunks.is_empty() && r.first_token().is_none());
    assert_eq!(r.end, Some(Timestamp::ZERO + 120 * MS));
    assert_eq!((r.output_tokens(), r.tokens.chars), (Some(5), 20));
}

#[test]
fn tools_travel_with_every_request() {
    let model = Scripted::new("m", |_, _| after(MS));
    let registry = bench_runner::ScenarioRegistry::builtin();
    let scenario = Scenario { requests: Some(8), ..registry.get("tool-calling").unwrap().clone() };
    simulate(&[target(&model)], &scenario).unwrap();
    let seen = model.seen();
    assert!(seen.len() >= 8 && seen.iter().all(|c| c.tools == 2));
}

#[test]
fn answers_that_fail_their_check_are_failures() {
    for streaming in [true, false] {
        let model = Scripted::new("m", |n, _| Answer::Tokens { first: MS, gap: MS, n: 1 + n as u32 % 2 });
        let validator = |prompt: &Prompt, response: &ChatResponse| {
            assert_eq!(prompt.id, "p0");
            let ok = response.text == "tok ";
            if ok { Ok(()) } else { Err("expected one token".to_owned()) }
        };
        let runner = Runner::builder().validator(Arc::new(validator)).build();
        let scenario = Scenario { streaming, ..scenario(&["q"], 10) };
        let result = simulate_with(&runner, &[target(&model)], &scenario, &mut NullSink, |_| {}).unwrap();
        let failed: Vec<_> = result.records.iter().filter(|r| !r.is_ok()).collect();
        assert_eq!(failed.len(), 5);
        let RecordOutcome::Failed(e) = &failed[0].outcome else { panic!("expected a failure") };
        assert_eq!((e.code, e.message.as_str()), (ErrorCode::InvalidResponse, "expected one token"));
        assert_eq!(failed[0].output_tokens(), Some(2), "its tokens were paid for all the same");
    }
}

#[test]
fn records_are_kept_only_when_asked_and_always_stored() {
    let model = Scripted::new("m", |_, _| after(MS));
    let runner = Runner::builder().keep_records(false).build();
    let mut sink = Notes::default();
    let result = simulate_with(&runner, &[target(&model)], &scenario(&["q"], 50), &mut sink, |_| {}).unwrap();
    assert!(result.records.is_empty() && sink.records.len() == 50);
    let begun = &sink.begun[0];
    assert!(begun.window.is_none() && !begun.complete);
    assert_eq!(begun.run_id, sink.finished[0].run_id);
    assert_eq!(sink.finished, [result.manifest]);
}

#[derive(Default)]
struct Watch {
    updates: Mutex<Vec<ProgressUpdate>>,
}

impl Progress for Watch {
    fn update(&self, update: &ProgressUpdate) {
        self.updates.lock().unwrap().push(update.clone());
    }
}

#[test]
fn progress_follows_the_run() {
    let model = Scripted::new("m", |n, _| match n {
        10 => Answer::Fail(MS, ErrorCode::Internal),
        _ => after(100 * MS),
    });
    let watch = Arc::new(Watch::default());
    let runner =
        Runner::builder().progress(watch.clone()).label("nightly").fact("region", "here").run_id("r-1");
    let mut scenario = Scenario { load: Load::closed(2), ..scenario(&["q"], 20) };
    scenario.warmup.requests = 2;
    let m =
        simulate_with(&runner.build(), &[target(&model)], &scenario, &mut NullSink, |_| {}).unwrap().manifest;
    assert_eq!(
        (m.run_id.as_str(), m.label.as_deref(), m.facts["region"].as_str()),
        ("r-1", Some("nightly"), "here")
    );
    let updates = watch.updates.lock().unwrap();
    assert_eq!(updates.first().map(|u| (u.phase, u.done)), Some((RunPhase::Warmup, 0)));
    let last = updates.last().unwrap();
    assert_eq!((last.phase, last.done, last.failed, last.in_flight), (RunPhase::Measured, 20, 1, 0));
    assert_eq!((last.planned, last.planned_s), (Some(20), None));
    assert!(updates.windows(2).all(|w| w[0].elapsed_s <= w[1].elapsed_s && w[0].done <= w[1].done));
}

#[test]
fn the_observer_of_the_caller_hears_every_call() {
    struct Count(AtomicU64);
    impl llms_core::observe::CallObserver for Count {
        fn observe(&self, event: &llms_core::observe::CallEvent<'_>) {
            if matches!(event, llms_core::observe::CallEvent::Sent { .. }) {
                self.0.fetch_add(1, SeqCst);
            }
        }
    }
    let model = Scripted::new("m", |_, _| after(MS));
    let count = Arc::new(Count(AtomicU64::new(0)));
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone())).with_observer(count.clone());
    let (targets, scenario) = ([target(&model)], scenario(&["q"], 30));
    let result = clock.block_on(Runner::new().run(&targets, &scenario, &mut NullSink, &ctx)).unwrap();
    assert_eq!(count.0.load(SeqCst), 30);
    assert!(result.records.iter().all(|r| r.sent.is_some()));
}

#[test]
fn dropping_the_run_ends_its_requests() {
    let model = Scripted::new("m", |_, _| Answer::Hang);
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let (targets, scenario) = ([target(&model)], Scenario { load: Load::closed(4), ..scenario(&["q"], 100) });
    clock.block_on(async {
        let runner = Runner::new();
        let mut sink = NullSink;
        tokio::select! {
            biased;
            _ = runner.run(&targets, &scenario, &mut sink, &ctx) => panic!("it hangs"),
            () = clock.sleep_until(Timestamp::ZERO + SECOND) => {}
        }
        clock.sleep_until(Timestamp::ZERO + 2 * SECOND).await;
    });
    assert_eq!(model.seen().len(), 4);
    assert_eq!(Arc::strong_count(&model), 2, "no task holds the model any more; the target does");
}

/// The same code on the machine's clock, threads and timers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_on_the_real_clock() {
    let models = [Scripted::new("a", |_, _| after(2 * MS)), Scripted::new("b", |_, _| after(3 * MS))];
    let targets: Vec<_> = models.iter().map(target).collect();
    let ctx = CallContext::with_clock(real_clock());
    for load in [Load::poisson(200.0), Load::closed(4)] {
        let scenario = Scenario { load, ..scenario(&["a", "b"], 40) };
        let result = Runner::new().run(&targets, &scenario, &mut NullSink, &ctx).await.unwrap();
        assert!(result.manifest.complete);
        assert_eq!((result.measured(0).count(), result.measured(1).count()), (40, 40));
        assert!(result.records.iter().all(|r| r.is_ok() && r.disorder().is_none()));
        assert!(result.manifest.facts["runtime"].contains("MultiThread, 2 workers"));
        let environment = &result.manifest.environment;
        assert_eq!(environment.load_before.is_some(), environment.load_after.is_some());
    }
}
