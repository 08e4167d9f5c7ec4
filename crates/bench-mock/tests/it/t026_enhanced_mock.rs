//! T026, spec 6.2: the enhanced mock on the virtual clock. What is measured is what was configured, exactly.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use std::{sync::Arc, task::Poll, time::Duration};

use bench_mock::{
    Capacity, Dist, FaultKind, FaultRule, MaxTokens, MockModel, Preset, Profile, RateLimit, Reasoning,
    ToolAnswers, TruthOutcome,
};
use common::{at, context, exact, kolmogorov, measure, ms, stream, token_times};
use futures_util::{StreamExt, future::join_all};
use llms_core::{
    CallContext, CallPhase, ChatModel, ChatModelExt, ChatRequest, Error, ErrorCode, EventSink, FinishReason,
    Message, Stamp, StreamEvent, ToolDefinition,
    chat::ToolChoice,
    observe::Timeline,
    time::{Clock, Timestamp, VirtualClock},
};
use serde_json::json;

#[test]
fn measured_delays_follow_the_configured_distributions() {
    let dists = [
        Dist::Uniform { low: 20.0, high: 60.0 },
        Dist::Normal { mean: 30.0, sd: 20.0, low: 5.0, high: Some(70.0) },
        Dist::log_normal(200.0, 0.3),
        Dist::Gamma { mean: 40.0, cv: 0.5 },
        Dist::exponential(25.0),
        Dist::log_normal(30.0, 0.2).spiked(0.1, 8.0),
    ];
    for (seed, dist) in dists.iter().enumerate() {
        let profile = Profile {
            ttft_ms: dist.clone(),
            gap_ms: dist.clone(),
            ..exact().with_output_tokens(3).with_seed(seed as u64)
        };
        let (ttft, gaps) = measure(profile, 3_000);
        for (what, sample) in [("ttft", &ttft), ("gap", &gaps)] {
            let d = kolmogorov(sample, |x| dist.cdf(x));
            assert!(d < 1.95, "{what} of {dist:?}: {d}");
        }
    }
}

#[test]
fn stated_truths_hold_under_time_scale_and_prefill() {
    let profile = Profile {
        prefill_ms_per_1k: 1_000.0,
        cached_share: 0.5,
        ..Preset::OpenAi.profile().quiet().with_time_scale(0.1)
    };
    // "hello" is 2 tokens, one of them cached.
    let (ttft, gaps) = measure(profile.clone(), 2_000);
    let below = |sample: &[f64], limit: Duration| {
        sample.iter().filter(|x| **x <= limit.as_secs_f64() * 1e3).count() as f64 / sample.len() as f64
    };
    for p in [0.1, 0.5, 0.9] {
        assert!((below(&ttft, profile.true_ttft_quantile(p, 2)) - p).abs() < 0.04, "ttft {p}");
        assert!((below(&gaps, profile.true_gap_quantile(p)) - p).abs() < 0.01, "gap {p}");
    }
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    assert!((mean / (profile.true_gap_mean().as_secs_f64() * 1e3) - 1.0).abs() < 0.01);
    assert!((profile.true_ttft_median().as_secs_f64() - 0.02).abs() < 1e-9);
    assert!((profile.true_ttft_cdf(ms(20)) - 0.5).abs() < 1e-9);
}

/// Everything observable of `n` requests, all at once or one after the other.
fn trace(profile: &Profile, n: usize, at_once: bool) -> Vec<Vec<(Duration, String)>> {
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile.clone()).unwrap());
    clock.block_on(async {
        let one = async |i: usize| {
            let (ctx, sent) = (context(&clock, &format!("r-{i}")), clock.now());
            let (events, end) = stream(&model, &"hello".into(), &ctx).await;
            let mut seen: Vec<_> = events
                .iter()
                .map(|e| (e.stamp.user.since(sent).unwrap(), format!("{:?}", e.event)))
                .collect();
            seen.push((
                clock.now().since(sent).unwrap(),
                end.map_or_else(|e| e.to_string(), |_| String::new()),
            ));
            seen
        };
        if at_once {
            // In reverse, so that the requests also start in another order.
            let mut all = join_all((0..n).rev().map(one)).await;
            all.reverse();
            all
        } else {
            let mut all = Vec::new();
            for i in 0..n {
                all.push(one(i).await);
            }
            all
        }
    })
}

#[test]
fn a_seed_repeats_everything_whatever_the_order() {
    let profile = Preset::OpenAi.profile();
    let first = trace(&profile, 100, false);
    assert_eq!(first, trace(&profile, 100, false));
    assert_eq!(first, trace(&profile, 100, true), "draws must not depend on interleaving");
    assert_ne!(first, trace(&profile.clone().with_seed(1), 100, false));
    assert!(first.iter().any(|r| r.last().unwrap().1.contains("rate_limit")), "the faults are in the trace");
}

/// Arrivals in a burst, then spread; service times vary. Waits must be the queueing recursion, to the nanosecond.
fn pathwise(slots: usize) {
    let profile = Profile {
        ttft_ms: Dist::Gamma { mean: 80.0, cv: 0.8 },
        gap_ms: Dist::exponential(9.0),
        output_tokens: Dist::Uniform { low: 1.0, high: 9.0 },
        capacity: Capacity { slots: Some(slots as u32), queue: 1_000 },
        end_gap: true,
        ..Profile::named("queue").with_seed(5)
    };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let n = 300_u64;
    let arrival =
        move |i: u64| Timestamp::from_nanos(if i < 20 { i } else { i * 140_000_007 / slots as u64 });
    clock.block_on(async {
        let mut tasks = Vec::new();
        for i in 0..n {
            let (model, clock) = (model.clone(), clock.clone());
            tasks.push(tokio::spawn(async move {
                clock.sleep_until(arrival(i)).await;
                let (_, end) = stream(&model, &"hello".into(), &context(&clock, &format!("{i:03}"))).await;
                end.unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    let mut truth = model.truth();
    truth.sort_by_key(|r| r.arrival_ns);
    assert_eq!(truth.len() as u64, n);
    let mut free = vec![Timestamp::ZERO; slots];
    let mut waited = 0;
    for (i, r) in truth.iter().enumerate() {
        assert_eq!(r.arrival_ns, arrival(i as u64));
        let earliest = free.iter_mut().min().unwrap();
        let start = r.arrival_ns.max(*earliest);
        waited += u32::from(start > r.arrival_ns);
        assert_eq!(r.service_start_ns, Some(start), "request {i}");
        *earliest = r.end_ns;
    }
    assert!(waited > 50, "the test means nothing without waiting: {waited}");
}

#[test]
fn waits_follow_the_queueing_recursion_with_one_slot() {
    pathwise(1);
}

#[test]
fn waits_follow_the_queueing_recursion_with_three_slots() {
    pathwise(3);
}

#[test]
fn a_full_waiting_room_refuses_as_overloaded() {
    let profile = Profile { capacity: Capacity { slots: Some(1), queue: 1 }, refusal_ms: 3.0, ..exact() };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let ends = clock.block_on(async {
        join_all(["a", "b", "c"].map(async |id| {
            let end = model.generate(&"hello".into(), &context(&clock, id)).await;
            (end.map(|_| ()).map_err(|e| (e.code(), e.status())), clock.now())
        }))
        .await
    });
    assert_eq!(ends[0], (Ok(()), at(140)));
    assert_eq!(ends[1], (Ok(()), at(280)));
    assert_eq!(ends[2], (Err((ErrorCode::Overloaded, Some(503))), at(3)));
}

#[test]
fn a_rate_limit_refuses_and_says_how_long_to_wait() {
    let profile =
        Profile { rate_limit: Some(RateLimit::requests(2.0, 2.0)), ..exact().with_output_tokens(1) };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    clock.block_on(async {
        let mut waits = Vec::new();
        for i in 0..3 {
            let end = model.generate(&"hello".into(), &context(&clock, &format!("{i}"))).await;
            waits.push(end.err().map(|e| (e.code(), e.retry_after().unwrap())));
        }
        // The third comes at 200 ms: 0.4 of a request has been refilled, 0.6 are missing.
        assert_eq!(waits, [None, None, Some((ErrorCode::RateLimit, ms(300)))]);
        clock.sleep_until(at(500)).await;
        model.generate(&"hello".into(), &context(&clock, "later")).await.unwrap();
    });
}

/// Streams one request to a model with one certain fault: tokens seen, error, and when.
#[track_caller]
fn struck(rule: FaultRule) -> (usize, Option<Error>, Timestamp, MockModel) {
    let (clock, model) = (VirtualClock::new(), MockModel::new(exact().with_fault(rule)).unwrap());
    let (events, end) =
        clock.block_on(async { stream(&model, &"hello".into(), &context(&clock, "a")).await });
    (token_times(&events).len(), end.err(), clock.now(), model)
}

#[test]
fn each_fault_ends_as_it_should() {
    for kind in FaultKind::ALL {
        let (tokens, error, end, model) = struck(FaultRule::always(kind).after_tokens(2));
        let truth = &model.truth()[0];
        assert_eq!(truth.fault, Some(kind));
        assert_eq!(truth.end_ns, end);
        let Some(code) = kind.code() else {
            assert!(kind == FaultKind::Stall && error.is_none() && tokens == 5);
            assert_eq!(end, at(2_140), "a pause of 2 s");
            assert_eq!(truth.outcome, TruthOutcome::Complete);
            continue;
        };
        let error = error.unwrap();
        assert_eq!((error.code(), error.provider()), (code, Some("mock")), "{kind}");
        match kind {
            _ if kind.is_refusal() => {
                assert_eq!((tokens, end, truth.outcome), (0, at(5), TruthOutcome::Refused), "{kind}");
                assert!(
                    error.status().is_some_and(|s| s >= 400) && error.phase() == Some(CallPhase::Headers)
                );
                assert_eq!(error.retry_after().is_some(), kind == FaultKind::RateLimit);
                assert_eq!(truth.service_start_ns, None);
            }
            FaultKind::Timeout => assert_eq!((tokens, end, error.status()), (0, at(10_000), Some(504))),
            FaultKind::Network => assert_eq!((tokens, end, error.status()), (0, at(100), None)),
            _ => {
                // Two tokens at 100 and 110 ms, then the fault in place of the third.
                assert_eq!((tokens, end, truth.outcome), (2, at(120), TruthOutcome::Broken), "{kind}");
                assert_eq!(error.phase(), Some(CallPhase::Stream));
            }
        }
    }
}

#[test]
fn whole_answers_fail_too() {
    for kind in FaultKind::ALL.into_iter().filter(|k| k.code().is_some()) {
        let model = MockModel::new(exact().with_fault(FaultRule::always(kind))).unwrap();
        let clock = VirtualClock::new();
        let error = clock
            .block_on(async { model.generate(&"hello".into(), &context(&clock, "a")).await })
            .unwrap_err();
        assert_eq!(Some(error.code()), kind.code());
    }
}

#[test]
fn a_retry_after_and_a_pause_can_be_set() {
    let (_, error, ..) = struck(FaultRule::always(FaultKind::Overloaded).retry_after(2.5));
    assert_eq!(error.unwrap().retry_after(), Some(Duration::from_millis(2_500)));
    let (tokens, error, end, _) = struck(FaultRule::always(FaultKind::Stall).after_tokens(3).pause_ms(400.0));
    assert!(error.is_none());
    assert_eq!((tokens, end), (5, at(540)));
}

#[test]
fn error_shares_are_met_and_calls_are_counted() {
    let profile = Profile {
        faults: [
            FaultRule::split(0.1, &[FaultKind::RateLimit, FaultKind::Quota]),
            vec![FaultRule::share(FaultKind::Truncate, 0.05), FaultRule::every(FaultKind::Auth, 100)],
        ]
        .concat(),
        ..exact().with_output_tokens(3)
    };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let n = 10_000;
    clock.block_on(async {
        join_all((0..n).map(async |i| {
            let _ = stream(&model, &"hello".into(), &context(&clock, &format!("r-{i}"))).await;
        }))
        .await
    });
    let share = |kind| model.truth().iter().filter(|r| r.fault == Some(kind)).count() as f64 / f64::from(n);
    for (kind, expected) in [
        (FaultKind::RateLimit, 0.05),
        (FaultKind::Quota, 0.05),
        (FaultKind::Truncate, 0.05),
        // Every hundredth, unless another rule struck it first.
        (FaultKind::Auth, 0.01 * 0.85),
    ] {
        assert!((share(kind) - expected).abs() < 0.009, "{kind}: {}", share(kind));
    }
    assert_eq!(model.calls(), 10_000);
    model.reset();
    assert_eq!((model.calls(), model.truth().len()), (0, 0));
}

#[test]
fn a_provider_can_begin_to_fail_after_a_while() {
    let profile = exact().with_fault(FaultRule::always(FaultKind::Server).after_seconds(2.0));
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let failures = clock.block_on(async {
        let mut failures = Vec::new();
        for i in 0..30 {
            clock.sleep_until(at(i * 140)).await;
            let end = model.generate(&"hello".into(), &context(&clock, &format!("{i}"))).await;
            failures.push(end.is_err());
        }
        failures
    });
    // The fifteenth request comes at 1.96 s, the sixteenth at 2.1 s.
    assert!(!failures[..15].contains(&true) && !failures[15..].contains(&false), "{failures:?}");
}

#[test]
fn cancellation_and_deadline_take_effect_at_once_and_free_the_slot() {
    let (clock, model) = (VirtualClock::new(), MockModel::new(exact().with_slots(1)).unwrap());
    clock.block_on(async {
        let cancelled = context(&clock, "cancelled");
        let cancel = cancelled.cancel.clone();
        let first = tokio::spawn({
            let model = model.clone();
            async move { stream(&model, &"hello".into(), &cancelled).await }
        });
        clock.sleep_until(at(115)).await;
        cancel.cancel();
        let (events, end) = first.await.unwrap();
        assert_eq!((token_times(&events).len(), clock.now()), (2, at(115)));
        assert_eq!(end.unwrap_err().code(), ErrorCode::Cancelled);

        // The slot is free: the next one starts now, and runs into its deadline before the first token.
        let late = context(&clock, "late").with_timeout(ms(60));
        let error = model.generate(&"hello".into(), &late).await.unwrap_err();
        assert_eq!((error.code(), clock.now()), (ErrorCode::DeadlineExceeded, at(175)));
        // Who leaves while waiting takes no slot either.
        let busy = context(&clock, "busy");
        let waiting = context(&clock, "waiting").with_timeout(ms(10));
        let request = ChatRequest::text("hello");
        let (busy, waiting) = futures_util::join!(model.generate(&request, &busy), async {
            model.generate(&request, &waiting).await.unwrap_err().code()
        },);
        busy.unwrap();
        assert_eq!(waiting, ErrorCode::DeadlineExceeded);
        assert_eq!(clock.now(), at(175 + 140));
    });
    let truth = model.truth();
    let outcomes: Vec<_> = truth.iter().map(|r| (r.request_id.as_str(), r.outcome)).collect();
    let gone = TruthOutcome::Abandoned;
    assert_eq!(
        outcomes,
        [("cancelled", gone), ("late", gone), ("waiting", gone), ("busy", TruthOutcome::Complete)]
    );
    assert_eq!(truth[2].service_start_ns, None);
}

#[test]
fn the_call_is_observed_and_the_truth_says_the_same() {
    let profile = Profile { head_share: 0.5, end_gap: true, ..exact() };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let timeline = Arc::new(Timeline::new());
    let ctx = context(&clock, "a").with_observer(timeline.clone());
    let (events, end) = clock.block_on(async { stream(&model, &"hello".into(), &ctx).await });
    let outcome = end.unwrap();
    let seen = timeline.take();
    assert_eq!((seen.sent, seen.status), (Some(at(0)), Some(200)));
    assert_eq!(seen.headers.unwrap().user, at(50));
    assert_eq!(seen.first_byte.unwrap().user, at(50), "the preamble comes with the head");
    assert_eq!((seen.end, seen.reads), (Some(at(150)), Some(7)));
    assert_eq!(token_times(&events), [100, 110, 120, 130, 140].map(at));
    assert!(matches!(events[0].event, StreamEvent::Start { .. }));
    assert_eq!(outcome.usage.unwrap().output_tokens, Some(5));

    let truth = &model.truth()[0];
    assert_eq!((truth.request_id.as_str(), truth.status), ("a", Some(200)));
    assert_eq!((truth.arrival_ns, truth.service_start_ns, truth.end_ns), (at(0), Some(at(0)), at(150)));
    let writes: Vec<_> = truth.writes.iter().map(|w| (w.before, w.tokens)).collect();
    let expected = [(50, 0), (100, 1), (110, 1), (120, 1), (130, 1), (140, 1), (150, 0)];
    assert_eq!(writes, expected.map(|(t, n)| (at(t), n)));
    assert_eq!(truth.targets_ns, truth.writes.iter().map(|w| w.before).collect::<Vec<_>>());
}

/// The answer to a request with so many tokens allowed: text, words in it, finish, output tokens reported.
fn answer(profile: Profile, max_tokens: Option<u32>) -> (String, usize, FinishReason, u64) {
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let mut request = ChatRequest::text("hello");
    request.options.max_tokens = max_tokens;
    let (whole, streamed) = clock.block_on(async {
        let whole = model.generate(&request, &context(&clock, "a")).await.unwrap();
        (whole, model.collect(&request, &context(&clock, "a")).await.unwrap())
    });
    assert_eq!(
        (&whole.text, &whole.finish_reason, whole.usage),
        (&streamed.text, &streamed.finish_reason, streamed.usage)
    );
    let words = whole.text.split_whitespace().count();
    (whole.text, words, whole.finish_reason.unwrap(), whole.usage.unwrap().output_tokens.unwrap())
}

#[test]
fn lengths_obey_profile_and_request() {
    let ten = || exact().with_output_tokens(10);
    let shape = |profile, max| {
        let (_, words, finish, tokens) = answer(profile, max);
        assert_eq!(words as u64, tokens);
        (tokens, finish)
    };
    assert_eq!(shape(ten(), None), (10, FinishReason::Stop));
    assert_eq!(shape(ten(), Some(10)), (10, FinishReason::Stop));
    assert_eq!(shape(ten(), Some(4)), (4, FinishReason::Length));
    let echo = || Profile { max_tokens: MaxTokens::Echo, ..ten() };
    assert_eq!(shape(echo(), Some(32)), (32, FinishReason::Length));
    assert_eq!(shape(echo(), None), (10, FinishReason::Stop));
    assert_eq!(shape(Profile { verbosity: 2.5, ..ten() }, None), (25, FinishReason::Stop));
}

#[test]
fn given_answers_come_in_turn() {
    let profile =
        Profile { responses: vec!["Paris.".into(), "Vier und vier, glaube ich.".into()], ..exact() };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let answers = clock.block_on(async {
        let mut answers = Vec::new();
        for _ in 0..3 {
            let ctx = CallContext::with_clock(Arc::new(clock.clone()));
            answers.push(model.invoke("hello", &ctx).await.unwrap());
        }
        answers
    });
    assert_eq!(answers, ["Paris.", "Vier und vier, glaube ich.", "Paris."]);
}

#[test]
fn chunks_hold_several_tokens_and_come_when_the_last_one_is_there() {
    let profile = Profile { tokens_per_chunk: Dist::constant(4.0), ..exact().with_output_tokens(10) };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let (events, _) = clock.block_on(async { stream(&model, &"hello".into(), &context(&clock, "a")).await });
    assert_eq!(token_times(&events), [100, 140, 160].map(at));
    let tokens: Vec<_> = model.truth()[0].writes.iter().map(|w| w.tokens).collect();
    assert_eq!(tokens, [4, 4, 2, 0]);
}

#[test]
fn reasoning_comes_first_seen_or_hidden() {
    let with = |visible| Profile {
        reasoning: Some(Reasoning { tokens: Dist::constant(3.0), visible }),
        ..exact().with_output_tokens(2)
    };
    let run = |profile| {
        let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
        let (events, end) =
            clock.block_on(async { stream(&model, &"hello".into(), &context(&clock, "a")).await });
        let answer: Vec<_> =
            events.iter().filter(|e| e.event.is_answer_token()).map(|e| e.stamp.user).collect();
        (token_times(&events), answer, end.unwrap().usage.unwrap())
    };
    let (all, answer, usage) = run(with(true));
    assert_eq!(all, [100, 110, 120, 130, 140].map(at));
    assert_eq!(answer, [130, 140].map(at));
    assert_eq!((usage.output_tokens, usage.reasoning_tokens), (Some(5), Some(3)));
    let (all, answer, usage) = run(with(false));
    assert_eq!((all, answer), ([130, 140].map(at).to_vec(), [130, 140].map(at).to_vec()));
    assert_eq!((usage.output_tokens, usage.reasoning_tokens), (Some(5), Some(3)));
}

fn weather() -> ToolDefinition {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    ToolDefinition::new("get_weather", "weather of a city", schema)
}

#[test]
fn offered_tools_are_called() {
    let ask = |tools: ToolAnswers, request: ChatRequest| {
        let (clock, model) = (VirtualClock::new(), MockModel::new(Profile { tools, ..exact() }).unwrap());
        clock.block_on(async {
            let whole = model.generate(&request, &context(&clock, "a")).await.unwrap();
            let streamed = model.collect(&request, &context(&clock, "a")).await.unwrap();
            assert_eq!(whole, streamed);
            whole
        })
    };
    let request = || ChatRequest::text("rain in Oslo?").with_tools([weather()]);
    let answer = ask(ToolAnswers::default(), request());
    assert_eq!((&answer.finish_reason, answer.text.as_str()), (&Some(FinishReason::ToolCalls), ""));
    let call = &answer.tool_calls[0];
    assert_eq!(call.name, "get_weather");
    assert!(call.parse_arguments().unwrap()["city"].is_string());

    let two = ask(ToolAnswers { calls: 2, ..ToolAnswers::default() }, request());
    assert_eq!(two.tool_calls.len(), 2);
    assert_ne!(two.tool_calls[0].id, two.tool_calls[1].id);

    // Not when it may not, is not triggered, never does, or has its result already.
    let mut forbidden = request();
    forbidden.tool_choice = ToolChoice::None;
    assert!(ask(ToolAnswers::default(), forbidden).tool_calls.is_empty());
    let trigger = |t: &str| ToolAnswers { trigger: Some(t.into()), ..ToolAnswers::default() };
    assert!(ask(trigger("snow"), request()).tool_calls.is_empty());
    assert_eq!(ask(trigger("rain"), request()).tool_calls.len(), 1);
    let never = || ToolAnswers { share: 0.0, ..ToolAnswers::default() };
    assert!(ask(never(), request()).tool_calls.is_empty());
    let mut required = request();
    required.tool_choice = ToolChoice::Required;
    assert_eq!(ask(never(), required).tool_calls.len(), 1);
    let mut answered = request();
    answered.messages.push(answer.to_message());
    answered.messages.push(Message::tool_result(call, "12 degrees"));
    let last = ask(ToolAnswers::default(), answered);
    assert!(last.tool_calls.is_empty() && !last.text.is_empty());
}

#[test]
fn a_slow_reader_gets_late_stamps_and_the_same_answer() {
    struct Slow {
        clock: VirtualClock,
        ready_at: Timestamp,
        times: Vec<Timestamp>,
        sleep: Option<llms_core::time::Sleep>,
    }
    impl EventSink for Slow {
        fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
            if event.is_token() {
                self.times.push(stamp.user);
                self.ready_at = stamp.user + ms(25);
            }
        }

        fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
            if self.clock.now() >= self.ready_at {
                self.sleep = None;
                return Poll::Ready(());
            }
            let (clock, ready_at) = (&self.clock, self.ready_at);
            self.sleep.get_or_insert_with(|| clock.sleep_until(ready_at)).as_mut().poll(cx)
        }
    }
    let (clock, model) = (VirtualClock::new(), MockModel::new(exact()).unwrap());
    let mut sink = Slow { clock: clock.clone(), ready_at: at(0), times: Vec::new(), sleep: None };
    clock.block_on(async { model.drive(&"hello".into(), &context(&clock, "a"), &mut sink).await }).unwrap();
    assert_eq!(sink.times, [100, 125, 150, 175, 200].map(at));
    assert_eq!(model.truth()[0].targets_ns[..5], [100, 110, 120, 130, 140].map(at));
}

#[test]
fn the_stream_of_owned_events_is_the_same() {
    let (clock, model) = (VirtualClock::new(), MockModel::new(exact()).unwrap());
    let request = ChatRequest::text("hello");
    clock.block_on(async {
        let ctx = context(&clock, "a");
        let events: Vec<_> = model.stream(&request, &ctx).map(Result::unwrap).collect().await;
        assert_eq!(token_times(&events), [100, 110, 120, 130, 140].map(at));
        // Dropping a stream half-way drops the call.
        let ctx = context(&clock, "b");
        let mut half = model.stream(&request, &ctx);
        half.next().await.unwrap().unwrap();
        drop(half);
    });
    assert_eq!(model.truth()[1].outcome, TruthOutcome::Abandoned);
}

#[test]
fn drift_makes_it_slower_by_the_hour() {
    let profile = Profile { drift_per_hour: 0.5, ..exact().with_output_tokens(1) };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    clock.block_on(async {
        for (hour, expected) in [(0, 100), (1, 150), (2, 200)] {
            let sent = Timestamp::ZERO + Duration::from_secs(3600 * hour);
            clock.sleep_until(sent).await;
            model.generate(&"hello".into(), &context(&clock, "a")).await.unwrap();
            assert_eq!(clock.now().since(sent), Some(ms(expected)));
        }
    });
}

#[test]
fn the_registry_builds_it_by_name() {
    use bench_mock::MockFactory;
    use llms_core::config::ModelConfig;
    let profile = |config: &ModelConfig| MockFactory::profile(config);
    let config = ModelConfig::new("mock", "openai").with_specific("time_scale", 0.5).with_specific("seed", 9);
    let built = profile(&config).unwrap();
    assert_eq!((built.true_ttft_median(), built.seed), (ms(100), 9));
    assert!(built.faults.is_empty());
    let table = json!({"preset": "very-fast", "responses": ["yes"]});
    let built = profile(&ModelConfig::new("mock", "mine").with_specific("profile", table)).unwrap();
    assert_eq!((built.true_ttft_median(), built.responses.len()), (ms(10), 1));
    let failing = profile(&ModelConfig::new("mock", "openai").with_specific("should_error", true)).unwrap();
    assert_eq!(failing.true_error_rate(), 1.0);
    assert_eq!(profile(&ModelConfig::new("mock", "default")).unwrap(), Profile::default());
    let stranger = profile(&ModelConfig::new("mock", "nonexistent")).unwrap_err();
    assert_eq!((stranger.errors.len(), stranger.errors[0].field.as_str()), (1, "model"));
    assert!(stranger.to_string().contains("very-fast"), "{stranger}");
    let wrong = ModelConfig::new("mock", "openai").with_specific("sede", 1).with_specific("seed", "one");
    let errors = profile(&wrong).unwrap_err();
    let fields: Vec<_> = errors.errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(fields, ["provider_specific.sede", "provider_specific.seed"]);
}

#[test]
fn health_is_what_the_profile_says() {
    use llms_core::health::HealthState;
    let (clock, model) = (VirtualClock::new(), MockModel::new(exact()).unwrap());
    let check = || clock.block_on(async { model.check_health(&context(&clock, "a")).await });
    assert_eq!(check().state, HealthState::Healthy);
    model.handle().set(Profile { health: HealthState::Degraded, ..exact() }).unwrap();
    let health = check();
    assert!(health.state == HealthState::Degraded && health.reason.is_some());
}

#[test]
fn a_hundred_thousand_tokens_pass_at_once_on_the_virtual_clock() {
    let profile = exact().with_output_tokens(1_000);
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    clock.block_on(async {
        join_all((0..100).map(async |i| {
            stream(&model, &"hello".into(), &context(&clock, &format!("{i}"))).await.1.unwrap();
        }))
        .await
    });
    assert_eq!(model.truth().iter().map(bench_mock::TruthRecord::tokens).sum::<u64>(), 100_000);
}
