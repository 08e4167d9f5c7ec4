//! T004: every instrument of spec section 5.5 and of the GenAI conventions is seen by an exporter, with its
//! attributes and at its true value, after success, failure, stream, tool call and batch; and the span beside it.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use common::{ANSWER, PROMPT, SECRET, Scripted, ms, on_virtual_time, request, request_with_tool};
use futures_util::StreamExt;
use llms_core::{
    CallContext, ChatModel, ChatModelExt, ErrorCode,
    observe::{CallEvent, CallObserver, Timeline},
};
use llms_telemetry::{
    Instrumented, Metrics, MetricsOptions, ModelLabels, Semconv,
    capture::{Capture, Point},
    table::{self, Family, Kind},
};
use opentelemetry::{metrics::MeterProvider, trace::TracerProvider};
use opentelemetry_sdk::{metrics::SdkMeterProvider, trace::SdkTracerProvider};

const ON: [(&str, &str); 2] = [("provider", "openai"), ("model", "gpt-test")];
const GEN_AI: [(&str, &str); 6] = [
    ("gen_ai.operation.name", "chat"),
    ("gen_ai.provider.name", "openai"),
    ("gen_ai.request.model", "gpt-test"),
    ("gen_ai.response.model", "gpt-test-0613"),
    ("server.address", "127.0.0.1"),
    ("server.port", "8123"),
];

fn and<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [base, more].concat()
}

/// The one series of `name` with exactly these attributes.
#[track_caller]
fn point(capture: &Capture, name: &str, attributes: &[(&str, &str)]) -> Point {
    let mut expected: Vec<_> = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    expected.sort();
    let series = capture.series(name);
    let found = series.iter().find(|p| p.attributes.clone().into_iter().collect::<Vec<_>>() == expected);
    found.unwrap_or_else(|| panic!("no {name} with {expected:?}; there is {series:#?}")).clone()
}

#[track_caller]
fn counted(capture: &Capture, name: &str, attributes: &[(&str, &str)], value: f64) {
    let p = point(capture, name, attributes);
    assert_eq!((p.value, p.count), (value, None), "{name}");
}

#[track_caller]
fn measured(capture: &Capture, name: &str, attributes: &[(&str, &str)], sum: f64, count: u64) {
    let p = point(capture, name, attributes);
    assert_eq!(p.count, Some(count), "{name}");
    assert!((p.value - sum).abs() < 1e-9, "{name}: {} is not {sum}", p.value);
}

fn instrumented(model: Scripted) -> (Capture, Instrumented<Scripted>) {
    let capture = Capture::new().unwrap();
    let model = Instrumented::new(model, capture.metrics().clone());
    (capture, model)
}

#[test]
fn a_whole_answer_is_counted_and_measured() {
    let (capture, model) = instrumented(Scripted::default());
    on_virtual_time(async |ctx| model.generate(&request(), &ctx).await.unwrap());
    counted(&capture, "llm.requests.total", &ON, 1.0);
    counted(&capture, "llm.generations.successful", &ON, 1.0);
    counted(&capture, "llm.tokens.input", &ON, 12.0);
    counted(&capture, "llm.tokens.output", &ON, 30.0);
    counted(&capture, "llm.requests.active", &ON, 0.0);
    measured(&capture, "llm.generation.latency", &ON, 0.1, 1);
    measured(&capture, "gen_ai.client.operation.duration", &GEN_AI, 0.1, 1);
    for (token_type, n) in [("input", 12.0), ("output", 30.0)] {
        let attributes = and(&GEN_AI, &[("gen_ai.token.type", token_type)]);
        measured(&capture, "gen_ai.client.token.usage", &attributes, n, 1);
    }
    // Streaming only, or not happened.
    for name in [
        "llm.streams.total",
        "llm.stream.latency",
        "llm.errors.total",
        "llm.generations.failed",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.operation.time_per_output_chunk",
    ] {
        assert_eq!(capture.series(name), [], "{name}");
    }
}

#[test]
fn every_request_counts_also_one_that_fails() {
    let (capture, model) = instrumented(Scripted::failing(ErrorCode::RateLimit));
    on_virtual_time(async |ctx| model.generate(&request(), &ctx).await.unwrap_err());
    let failed = and(&ON, &[("error_code", "rate_limit")]);
    counted(&capture, "llm.requests.total", &ON, 1.0);
    counted(&capture, "llm.generations.failed", &failed, 1.0);
    counted(&capture, "llm.errors.total", &failed, 1.0);
    counted(&capture, "llm.requests.active", &ON, 0.0);
    measured(&capture, "llm.generation.latency", &failed, 0.1, 1);
    let mut attributes = and(&GEN_AI, &[("error.type", "rate_limit")]);
    attributes.retain(|(k, _)| *k != "gen_ai.response.model");
    measured(&capture, "gen_ai.client.operation.duration", &attributes, 0.1, 1);
    assert_eq!(capture.series("llm.generations.successful"), []);
    assert_eq!(capture.series("gen_ai.client.token.usage"), []);

    let spans = capture.spans();
    assert_eq!(spans[0].error.as_deref(), Some("rate_limit in headers (HTTP 429)"));
    assert_eq!(spans[0].attributes["error.type"], "rate_limit");
    assert_eq!(spans[0].attributes["http.response.status_code"], "429");
    let exception = spans[0].events.iter().find(|(name, _)| name == "exception").unwrap();
    assert_eq!(exception.1["exception.type"], "rate_limit");
}

#[test]
fn a_stream_is_measured_by_its_chunks() {
    let (capture, model) = instrumented(Scripted::default());
    on_virtual_time(async |ctx| {
        let (request, mut n) = (request(), 0);
        let mut stream = model.stream(&request, &ctx);
        while let Some(event) = stream.next().await {
            event.unwrap();
            n += 1;
        }
        assert_eq!(n, 8);
    });
    counted(&capture, "llm.requests.total", &ON, 1.0);
    counted(&capture, "llm.streams.total", &ON, 1.0);
    counted(&capture, "llm.streams.active", &ON, 0.0);
    counted(&capture, "llm.generations.successful", &ON, 1.0);
    counted(&capture, "llm.tokens.output", &ON, 30.0);
    measured(&capture, "llm.stream.latency", &ON, 0.17, 1);
    measured(&capture, "gen_ai.client.operation.duration", &GEN_AI, 0.17, 1);
    measured(&capture, "gen_ai.client.operation.time_to_first_chunk", &GEN_AI, 0.1, 1);
    // Two gaps between three reads, 20 and 40 ms.
    measured(&capture, "gen_ai.client.operation.time_per_output_chunk", &GEN_AI, 0.06, 2);
    assert_eq!(capture.series("llm.generation.latency"), []);
}

#[test]
fn a_stream_that_is_given_up_ends_its_span_and_is_active_no_more() {
    let (capture, model) = instrumented(Scripted { hangs: true, ..Scripted::default() });
    on_virtual_time(async |ctx| {
        let request = request();
        let mut stream = model.stream(&request, &ctx);
        stream.next().await.unwrap().unwrap();
        counted(&capture, "llm.streams.active", &ON, 1.0);
        counted(&capture, "llm.requests.active", &ON, 1.0);
        assert_eq!(capture.spans(), []);
        drop(stream);
    });
    counted(&capture, "llm.streams.active", &ON, 0.0);
    counted(&capture, "llm.requests.active", &ON, 0.0);
    let failed = and(&ON, &[("error_code", "context_canceled")]);
    counted(&capture, "llm.generations.failed", &failed, 1.0);
    measured(&capture, "llm.stream.latency", &failed, 0.1, 1);
    measured(&capture, "gen_ai.client.operation.time_to_first_chunk", &GEN_AI, 0.1, 1);
    let spans = capture.spans();
    assert_eq!((spans.len(), spans[0].duration), (1, ms(100)));
    assert_eq!(spans[0].attributes["error.type"], "context_canceled");
    assert_eq!(spans[0].error.as_deref(), Some("given up by the caller"));
}

#[test]
fn a_deadline_is_an_error_of_its_own() {
    let (capture, model) = instrumented(Scripted { hangs: true, ..Scripted::default() });
    on_virtual_time(async |ctx| {
        model.collect(&request(), &ctx.with_timeout(ms(130))).await.unwrap_err();
    });
    counted(&capture, "llm.errors.total", &and(&ON, &[("error_code", "context_timeout")]), 1.0);
    assert_eq!(capture.spans()[0].duration, ms(130));
}

#[test]
fn tool_calls_are_counted_by_the_names_that_were_offered() {
    let (capture, model) = instrumented(Scripted { calls_tools: true, ..Scripted::default() });
    on_virtual_time(async |ctx| {
        model.generate(&request_with_tool(), &ctx).await.unwrap();
        model.collect(&request_with_tool(), &ctx).await.unwrap();
    });
    counted(&capture, "llm.tool_calls.total", &and(&ON, &[("tool_name", "get_weather")]), 2.0);
    counted(&capture, "llm.tool_calls.total", &and(&ON, &[("tool_name", "_OTHER")]), 2.0);
}

#[test]
fn a_batch_is_counted_besides_its_calls() {
    let (capture, model) = instrumented(Scripted::default());
    on_virtual_time(async |ctx| {
        let requests = [request(), request(), request()];
        let answers = model.batch(&requests, 2, &ctx).await;
        assert!(answers.iter().all(Result::is_ok));
    });
    let on = and(&ON, &[("batch_size", "3")]);
    counted(&capture, "llm.batches.total", &on, 1.0);
    measured(&capture, "llm.batch.latency", &on, 0.2, 1);
    counted(&capture, "llm.requests.total", &ON, 3.0);
}

#[test]
fn a_replay_measures_nothing() {
    let (capture, model) = instrumented(Scripted { replays: true, ..Scripted::default() });
    on_virtual_time(async |ctx| {
        model.generate(&request(), &ctx).await.unwrap();
        model.collect(&request(), &ctx).await.unwrap();
    });
    counted(&capture, "llm.requests.total", &ON, 2.0);
    counted(&capture, "llm.generations.successful", &ON, 2.0);
    for name in [
        "llm.generation.latency",
        "llm.stream.latency",
        "llm.tokens.output",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.operation.time_per_output_chunk",
    ] {
        assert_eq!(capture.series(name), [], "{name}");
    }
    assert!(capture.spans().iter().all(|s| s.attributes["llm.replayed"] == "true"));
}

#[test]
fn spans_carry_the_conventions_and_the_contract() {
    let (capture, model) = instrumented(Scripted::default());
    on_virtual_time(async |ctx| {
        let ctx = ctx.with_request_id("r-1");
        model.generate(&request(), &ctx).await.unwrap();
        model.collect(&request(), &ctx).await.unwrap();
        model.check_health(&ctx).await;
    });
    let spans = capture.spans();
    for (span, operation, duration) in
        [(&spans[0], "openai.generate", ms(100)), (&spans[1], "openai.stream", ms(170))]
    {
        assert_eq!((span.name.as_str(), span.kind, span.duration), ("chat gpt-test", "client", duration));
        assert_eq!(span.error, None);
        let attributes = [
            ("llm.provider", "openai"),
            ("llm.model", "gpt-test"),
            ("operation", operation),
            ("gen_ai.request.temperature", "0.5"),
            ("gen_ai.request.max_tokens", "64"),
            ("gen_ai.request.seed", "7"),
            ("gen_ai.response.id", "resp-1"),
            ("gen_ai.response.finish_reasons", "[\"stop\"]"),
            ("gen_ai.usage.input_tokens", "12"),
            ("gen_ai.usage.output_tokens", "30"),
            ("gen_ai.usage.cache_read.input_tokens", "4"),
            ("gen_ai.usage.cache_creation.input_tokens", "2"),
            ("gen_ai.usage.reasoning.output_tokens", "7"),
            ("llm.connection.reused", "false"),
            ("llm.connection.dns_s", "0.002"),
            ("llm.connection.tcp_s", "0.003"),
            ("llm.connection.tls_s", "0.004"),
            ("network.protocol.version", "1.1"),
            ("llm.resent", "true"),
            ("openai.processing_ms", "9"),
            ("llm.request_id", "r-1"),
        ];
        for (key, value) in attributes.iter().chain(&GEN_AI) {
            assert_eq!(span.attributes.get(*key).map(String::as_str), Some(*value), "{key}");
        }
        assert_eq!(span.events[0].0, "llm.sent");
    }
    assert!(!spans[0].attributes.contains_key("gen_ai.request.stream"));
    assert_eq!(spans[1].attributes["gen_ai.request.stream"], "true");
    assert_eq!(spans[1].attributes["gen_ai.response.time_to_first_chunk"], "0.1");
    assert_eq!((spans[2].name.as_str(), spans[2].duration), ("openai.check_health", ms(5)));
    assert_eq!(spans[2].attributes["llm.health"], "healthy");
}

/// Text of prompts, answers, arguments, tool descriptions, errors: nowhere.
#[test]
fn content_and_secrets_appear_nowhere() {
    for semconv in [Semconv::V1_41, Semconv::Latest] {
        let options = MetricsOptions { semconv, ..MetricsOptions::default() };
        let capture = Capture::with_options(&options).unwrap();
        for script in [
            Scripted { calls_tools: true, ..Scripted::default() },
            Scripted { hangs: true, ..Scripted::default() },
            Scripted::failing(ErrorCode::InvalidRequest),
        ] {
            let model = Instrumented::new(script, capture.metrics().clone());
            on_virtual_time(async |ctx| {
                let ctx = ctx.with_timeout(ms(500));
                let _ = model.generate(&request_with_tool(), &ctx).await;
                let _ = model.collect(&request_with_tool(), &ctx).await;
            });
        }
        let dump = capture.dump();
        assert!(dump.contains("gpt-test"));
        for text in [PROMPT, ANSWER, SECRET] {
            assert!(!dump.contains(text), "{text} in {dump}");
        }
    }
}

#[test]
fn the_observer_of_the_caller_still_hears_everything() {
    struct Chunks(Timeline);
    impl CallObserver for Chunks {
        fn observe(&self, event: &CallEvent<'_>) {
            self.0.observe(event);
        }
        fn wants_chunks(&self) -> bool {
            true
        }
    }
    /// Asks the observer it is called with whether it wants chunks.
    struct Asks(std::sync::Arc<std::sync::atomic::AtomicBool>, Scripted);
    #[async_trait::async_trait]
    impl ChatModel for Asks {
        fn info(&self) -> &llms_core::ModelInfo {
            self.1.info()
        }
        async fn generate(
            &self,
            request: &llms_core::ChatRequest,
            ctx: &CallContext,
        ) -> llms_core::Result<llms_core::ChatResponse> {
            let wants = ctx.observer.as_ref().is_some_and(|o| o.wants_chunks());
            self.0.store(wants, std::sync::atomic::Ordering::Relaxed);
            self.1.generate(request, ctx).await
        }
        async fn drive(
            &self,
            request: &llms_core::ChatRequest,
            ctx: &CallContext,
            sink: &mut dyn llms_core::EventSink,
        ) -> llms_core::Result<llms_core::Outcome> {
            self.1.drive(request, ctx, sink).await
        }
        async fn check_health(&self, ctx: &CallContext) -> llms_core::health::Health {
            self.1.check_health(ctx).await
        }
    }

    let (asked, seen) = (std::sync::Arc::default(), Timeline::new());
    let capture = Capture::new().unwrap();
    let inner = Asks(std::sync::Arc::clone(&asked), Scripted::default());
    let model = Instrumented::new(inner, capture.metrics().clone());
    on_virtual_time(async |ctx| {
        model.generate(&request(), &ctx).await.unwrap();
        assert!(!asked.load(std::sync::atomic::Ordering::Relaxed));
        let ctx = ctx.with_observer(std::sync::Arc::new(Chunks(seen.clone())));
        model.generate(&request(), &ctx).await.unwrap();
    });
    assert!(asked.load(std::sync::atomic::Ordering::Relaxed));
    let timeline = seen.take();
    assert!(timeline.resent && timeline.reported.contains_key("openai.processing_ms"));
}

/// Everything the recorder can be told, and every row of the table of either version of the conventions comes out,
/// with its unit and its buckets and no attribute the table does not name.
#[test]
fn every_instrument_of_the_table_is_seen_as_the_table_says() {
    for (semconv, family) in [(Semconv::V1_41, Family::GenAi141), (Semconv::Latest, Family::GenAiLatest)] {
        let capture =
            Capture::with_options(&MetricsOptions { semconv, ..MetricsOptions::default() }).unwrap();
        for script in
            [Scripted { calls_tools: true, ..Scripted::default() }, Scripted::failing(ErrorCode::Overloaded)]
        {
            let model = Instrumented::new(script, capture.metrics().clone());
            on_virtual_time(async |ctx| {
                let _ = model.batch(&[request_with_tool()], 1, &ctx).await;
                let _ = model.collect(&request_with_tool(), &ctx).await;
            });
        }
        let points = capture.points();
        for row in table::INSTRUMENTS {
            let series: Vec<_> = points.iter().filter(|p| p.name == row.name).collect();
            let created = row.family == Family::Contract || row.family == family;
            assert_eq!(!series.is_empty(), created, "{}", row.name);
            for p in &series {
                assert_eq!(p.unit, row.unit);
                assert_eq!(p.bounds, row.buckets, "{}", row.name);
                assert_eq!(p.count.is_some(), row.kind == Kind::Histogram);
                let stranger = p.attributes.keys().find(|k| !row.attributes.contains(&k.as_str()));
                assert_eq!(stranger, None, "{}", row.name);
            }
            for key in row.attributes.iter().filter(|_| created) {
                assert!(series.iter().any(|p| p.attributes.contains_key(*key)), "{} {key}", row.name);
            }
        }
        assert!(points.iter().all(|p| table::INSTRUMENTS.iter().any(|row| row.name == p.name)));
    }
}

#[test]
fn metrics_are_built_from_a_meter_and_a_tracer_and_may_be_refused() {
    let (meters, tracers) = (SdkMeterProvider::default(), SdkTracerProvider::default());
    let (meter, tracer) = (meters.meter("test"), tracers.tracer("test"));
    assert!(!Metrics::new(&meter, tracer.clone()).unwrap().is_noop());
    let options = MetricsOptions { seconds: Some(vec![1.0, 0.5]), ..MetricsOptions::default() };
    let refused = Metrics::with_options(&meter, tracer, &options).unwrap_err().to_string();
    assert!(refused.contains("0.5 follows 1; give ascending finite numbers of seconds"), "{refused}");
}

#[test]
fn the_recorder_can_be_used_without_a_wrapper() {
    let capture = Capture::new().unwrap();
    let (m, on) = (capture.metrics(), ModelLabels::of(Scripted::default().info()));
    m.request(&on);
    m.requests_active(&on, 1);
    m.streams_active(&on, 1);
    m.error(&on, ErrorCode::Timeout);
    m.token_usage(&on, &common::USAGE);
    m.tool_call(&on, "t");
    m.batch(&on, 4, ms(1));
    m.stream(&on, ms(1), Ok(()));
    m.generation(&on, ms(2), Err(ErrorCode::Timeout));
    m.record_operation("agent.plan", ms(3), true);
    m.record_operation("agent.plan", ms(4), false);
    counted(&capture, "llm.requests.total", &ON, 1.0);
    counted(&capture, "llm.streams.active", &ON, 1.0);
    counted(&capture, "llm.requests.total", &[("operation", "agent.plan")], 2.0);
    counted(&capture, "llm.generations.successful", &[("operation", "agent.plan")], 1.0);
    measured(&capture, "llm.generation.latency", &[("operation", "agent.plan")], 0.007, 2);
    let spans = capture.spans();
    assert_eq!((spans[0].name.as_str(), spans[0].kind, spans[0].duration), ("agent.plan", "internal", ms(3)));
    assert_eq!((spans[0].error.is_some(), spans[1].error.is_some()), (false, true));
}
