//! How a call behaves: observer events, deadline, cancellation, back-pressure, the end of the stream, exceptions
//! inside it, bodies that are something else, health.
// Helpers may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::{
    pin::pin,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::StreamExt;
use llms_core::{
    CallContext, CallPhase, ChatModel, ChatRequest, Error, ErrorCode, EventSink, FinishReason, Outcome,
    Result, Stamp, StreamEvent, TimedEvent,
    health::HealthState,
    observe::{CallEvent, CallObserver},
    time::VirtualClock,
};
use support::{
    Answer, End, Scripted, block_on, connect, connect_with, context, event, exception, frame, poll_once,
    short_stream, turns,
};
use tokio_util::sync::CancellationToken;

/// The names of the events, in order.
#[derive(Default)]
struct Names(Mutex<Vec<String>>);

impl CallObserver for Names {
    fn observe(&self, event: &CallEvent<'_>) {
        let text = match event {
            CallEvent::Reported { key, .. } => (*key).to_owned(),
            CallEvent::End { bytes, reads, .. } => format!("End {bytes} in {reads}"),
            other => format!("{other:?}").split([' ', '(', '{']).next().unwrap().to_owned(),
        };
        self.0.lock().unwrap().push(text);
    }
}

fn observed(answer: Answer, stream: bool) -> Vec<String> {
    let names = Arc::new(Names::default());
    let ctx = context().with_observer(names.clone());
    block_on(async {
        let model = connect(Scripted::new([answer])).await;
        if stream {
            let _ = model.drive(&ChatRequest::text("?"), &ctx, &mut Vec::new()).await;
        } else {
            let _ = model.generate(&ChatRequest::text("?"), &ctx).await;
        }
    });
    names.0.lock().unwrap().clone()
}

#[test]
fn the_observer_hears_the_same_as_from_every_provider() {
    let head = ["bedrock.sign_ms", "Sent", "Connected", "Written", "Head", "bedrock.request_id", "FirstByte"];
    let bytes = short_stream().concat();
    let answer = Answer::stream(bytes.clone()).header("x-amzn-requestid", "id").split(&[100]);
    let end = format!("End {} in {}", bytes.len(), answer.reads.len());
    assert_eq!(observed(answer, true), [&head[..], &["FirstToken", &end, "bedrock.latency_ms"]].concat());
    let body = r#"{"output":{"message":{"role":"assistant","content":[]}},"stopReason":"end_turn","metrics":{"latencyMs":1},"serviceTier":{"type":"flex"},"performanceConfig":{"latency":"optimized"}}"#;
    let answer = Answer::new(200, body).header("x-amzn-requestid", "id");
    let end = format!("End {} in 1", body.len());
    let tail = [&end, "bedrock.service_tier", "bedrock.performance_latency", "bedrock.latency_ms"];
    assert_eq!(observed(answer, false), [&head[..], &tail].concat());
    let refusal = Answer::new(429, "{}").header("x-amzn-requestid", "id");
    for stream in [true, false] {
        assert_eq!(observed(refusal.clone(), stream), [&head[..], &["End 2 in 1", "Failed"]].concat());
    }
}

async fn drive(answer: Answer) -> (Vec<TimedEvent>, Result<Outcome>) {
    let transport = Scripted::new([answer]);
    let model = connect(transport.clone()).await;
    let mut events = Vec::new();
    let end = model.drive(&ChatRequest::text("?"), &context(), &mut events).await;
    (events, end)
}

fn failure(answer: Answer) -> Error {
    block_on(drive(answer)).1.expect_err("must fail")
}

#[test]
fn exceptions_inside_a_stream_have_their_codes() {
    use ErrorCode as C;
    let begin = short_stream()[..2].concat();
    for (kind, code) in [
        ("throttlingException", C::RateLimit),
        ("modelStreamErrorException", C::Stream),
        ("serviceUnavailableException", C::Overloaded),
        ("internalServerException", C::Internal),
        ("validationException", C::InvalidRequest),
        ("modelTimeoutException", C::Timeout),
        ("somethingNewException", C::Stream),
    ] {
        let bytes = [begin.clone(), exception(kind, r#"{"message":"why"}"#)].concat();
        for sizes in [&[usize::MAX][..], &[1]] {
            let answer = Answer::stream(bytes.clone()).header("x-amzn-requestid", "id-7").split(sizes);
            let (events, end) = block_on(drive(answer));
            let error = end.unwrap_err();
            assert_eq!((error.code(), error.message()), (code, "why"), "{kind}");
            assert_eq!(error.provider_code(), Some(kind));
            assert_eq!(error.phase(), Some(CallPhase::Stream));
            assert_eq!(error.request_id(), Some("id-7"));
            assert_eq!(error.provider(), Some("bedrock"));
            assert_eq!(events.len(), 2, "what came before stands");
        }
    }
}

#[test]
fn an_exception_after_message_stop_is_still_an_error() {
    let bytes = [short_stream()[..5].concat(), exception("internalServerException", r#"{"message":"late"}"#)]
        .concat();
    assert_eq!(failure(Answer::stream(bytes)).code(), ErrorCode::Internal);
}

#[test]
fn an_error_frame_is_an_error_of_the_service() {
    let error = frame(
        &[(":message-type", "error"), (":error-code", "InternalFailure"), (":error-message", "broke")],
        "",
    );
    let error = failure(Answer::stream([short_stream()[0].clone(), error].concat()));
    assert_eq!((error.code(), error.message()), (ErrorCode::Internal, "broke"));
}

#[test]
fn unknown_events_blocks_and_members_do_no_harm() {
    let mut frames = short_stream();
    frames.insert(1, event("somethingNew", r#"{"a":1}"#));
    frames.insert(2, event("initial-response", "{}"));
    frames.insert(
        3,
        event("contentBlockDelta", r#"{"contentBlockIndex":7,"delta":{"hologram":{"x":1}},"p":"abc"}"#),
    );
    frames.insert(4, event("contentBlockStart", r#"{"contentBlockIndex":8,"start":{"hologram":{}}}"#));
    frames.insert(5, event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":""}}"#));
    let (events, end) = block_on(drive(Answer::stream(frames.concat())));
    let (plain, _) = block_on(drive(Answer::stream(short_stream().concat())));
    assert_eq!(events, plain);
    assert_eq!(end.unwrap().finish_reason, Some(FinishReason::Stop));
}

#[test]
fn bodies_that_are_no_event_stream_are_malformed() {
    let mut wrong_checksum = short_stream().concat();
    wrong_checksum[30] ^= 1;
    let begin = short_stream()[0].clone();
    for body in [
        b"<html><body>Welcome to the proxy</body></html>".to_vec(),
        b"{\"message\":\"hello\"}".to_vec(),
        b"data: {}\n\n".to_vec(),
        wrong_checksum,
        [begin.clone(), vec![0, 0, 0, 0, 0]].concat(),
        [begin.clone(), vec![0xff; 64]].concat(),
        [begin.clone(), event("messageStop", "{not json")].concat(),
        [begin, frame(&[(":event-type", "messageStop")], "{}")].concat(),
    ] {
        for sizes in [&[usize::MAX][..], &[1]] {
            let error = failure(Answer::stream(body.clone()).split(sizes));
            assert_eq!(error.code(), ErrorCode::MalformedResponse, "{error} for {body:?}");
        }
    }
    assert_eq!(failure(Answer::stream("")).code(), ErrorCode::StreamTruncated);
}

#[test]
fn whole_bodies_that_are_no_answer_are_told_apart() {
    let generate = |answer| {
        block_on(async {
            connect(Scripted::new([answer]))
                .await
                .generate(&ChatRequest::text("?"), &context())
                .await
                .unwrap_err()
        })
    };
    for (answer, code) in [
        (Answer::new(200, "<html>"), ErrorCode::MalformedResponse),
        (Answer::new(200, "{"), ErrorCode::MalformedResponse),
        (Answer::new(200, r#"{"stopReason":"end_turn"}"#), ErrorCode::InvalidResponse),
        (Answer::new(200, r#"{"output":{"message""#).ending(End::Broken), ErrorCode::StreamClosed),
    ] {
        let error = generate(answer.clone());
        assert_eq!((error.code(), error.phase()), (code, Some(CallPhase::Body)), "{error} for {answer:?}");
    }
    // A refusal whose body breaks off is still that refusal.
    let cut = Answer::new(503, r#"{"message":"bu"#).header("x-amzn-errortype", "ServiceUnavailableException");
    for stream_cut in [cut.clone().ending(End::Broken), cut.header("content-length", "999")] {
        let error = generate(stream_cut);
        assert_eq!((error.code(), error.status()), (ErrorCode::Overloaded, Some(503)), "{error}");
    }
    let huge = generate(Answer::new(500, vec![b'x'; 3 << 20]).split(&[65536]));
    assert_eq!(huge.code(), ErrorCode::Internal);
    assert!(huge.message().len() < 1000);
}

#[test]
fn errors_of_the_transport_pass_unchanged() {
    let error = block_on(async {
        connect(Scripted::failing(ErrorCode::NetworkError))
            .await
            .generate(&ChatRequest::text("?"), &context())
            .await
            .unwrap_err()
    });
    assert_eq!((error.code(), error.phase()), (ErrorCode::NetworkError, Some(CallPhase::Connect)));
    assert_eq!((error.op(), error.provider()), ("scripted.connect", Some("bedrock")));
}

/// Starts a call, lets it get as far as it can, then lets `interrupt` happen.
fn interrupted(
    answer: Vec<Answer>,
    interrupt: impl FnOnce(&VirtualClock, &CancellationToken),
) -> (Error, u32) {
    block_on(async {
        let transport = Scripted::new(answer);
        let model = connect(transport.clone()).await;
        let (clock, cancel) = (Arc::new(VirtualClock::new()), CancellationToken::new());
        let ctx = CallContext::with_clock(clock.clone())
            .with_timeout(Duration::from_secs(1))
            .with_cancel(cancel.clone());
        let (request, mut events) = (ChatRequest::text("?"), Vec::new());
        let mut call = pin!(model.drive(&request, &ctx, &mut events));
        for _ in 0..50 {
            assert!(poll_once(call.as_mut()).is_pending());
            turns(1).await;
        }
        interrupt(&clock, &cancel);
        let error = call.await.unwrap_err();
        (error, transport.abandoned.load(Relaxed))
    })
}

#[test]
fn deadline_and_cancellation_say_where_they_hit() {
    let begun = Answer::stream(short_stream()[..2].concat()).ending(End::Hangs);
    let deadline = |clock: &VirtualClock, _: &CancellationToken| {
        clock.advance();
    };
    let cancel = |_: &VirtualClock, token: &CancellationToken| token.cancel();
    let (error, _) = interrupted(vec![], deadline);
    assert_eq!((error.code(), error.phase()), (ErrorCode::DeadlineExceeded, Some(CallPhase::Headers)));
    let (error, abandoned) = interrupted(vec![begun.clone()], deadline);
    assert_eq!((error.code(), error.phase()), (ErrorCode::DeadlineExceeded, Some(CallPhase::Stream)));
    assert_eq!(abandoned, 1, "the connection is dropped");
    let (error, abandoned) = interrupted(vec![begun], cancel);
    assert_eq!((error.code(), error.phase()), (ErrorCode::Cancelled, Some(CallPhase::Stream)));
    assert_eq!(abandoned, 1);
    let refusal = Answer::new(500, "{").ending(End::Hangs);
    let (error, abandoned) = interrupted(vec![refusal.clone()], deadline);
    assert_eq!((error.code(), error.phase()), (ErrorCode::Internal, Some(CallPhase::Headers)));
    assert_eq!(abandoned, 1, "a refusal without end is still that refusal");
    let (error, _) = interrupted(vec![refusal], cancel);
    assert_eq!((error.code(), error.phase()), (ErrorCode::Cancelled, Some(CallPhase::Body)));
}

/// Runs a call on a virtual clock that passes as it is waited for; says how long it took, in seconds.
fn timed(answer: Vec<Answer>, limit: Option<f64>, configured: f64) -> (Result<Outcome>, f64, Vec<String>) {
    let clock = Arc::new(VirtualClock::new());
    let names = Arc::new(Names::default());
    let mut ctx = CallContext::with_clock(clock.clone()).with_observer(names.clone());
    if let Some(limit) = limit {
        ctx = ctx.with_timeout(Duration::from_secs_f64(limit));
    }
    let outcome = block_on(async {
        let timeout = Duration::from_secs_f64(configured);
        let model = connect_with(Scripted::new(answer), |c| c.with_timeout(timeout), &[]).await.unwrap();
        let (request, mut events) = (ChatRequest::text("?"), Vec::new());
        let mut call = model.drive(&request, &ctx, &mut events);
        loop {
            for _ in 0..50 {
                if let Poll::Ready(outcome) = poll_once(call.as_mut()) {
                    return outcome;
                }
            }
            assert!(clock.advance(), "nothing is waited for");
        }
    });
    let names = names.0.lock().unwrap().clone();
    (outcome, ctx.now().as_nanos() as f64 / 1e9, names)
}

#[test]
fn every_wait_has_an_end() {
    // A call without a deadline of its own ends with the configured timeout, and its body is accounted for.
    let begun = Answer::stream(short_stream()[..2].concat()).ending(End::Hangs);
    let (outcome, seconds, seen) = timed(vec![begun.clone()], None, 7.0);
    assert_eq!((outcome.unwrap_err().code(), seconds), (ErrorCode::DeadlineExceeded, 7.0));
    assert!(seen[seen.len() - 2].starts_with("End ") && seen.last().unwrap() == "Failed", "{seen:?}");
    let (outcome, seconds, _) = timed(vec![begun], Some(9.0), 7.0);
    assert_eq!((outcome.unwrap_err().code(), seconds), (ErrorCode::DeadlineExceeded, 9.0));
    // The text of a refusal has five seconds.
    let (outcome, seconds, _) = timed(vec![Answer::new(503, "").ending(End::Hangs)], None, 60.0);
    assert_eq!((outcome.unwrap_err().code(), seconds), (ErrorCode::Overloaded, 5.0));
    // After the last event the end of the body has one, and a deadline in it costs nothing.
    let complete = Answer::stream(short_stream().concat()).ending(End::Hangs);
    for (limit, taken) in [(None, 1.0), (Some(0.5), 0.5)] {
        let (outcome, seconds, seen) = timed(vec![complete.clone()], limit, 60.0);
        assert_eq!((outcome.unwrap().finish_reason, seconds), (Some(FinishReason::Stop), taken));
        assert!(seen[seen.len() - 2].starts_with("End "), "{seen:?}");
    }
}

#[test]
fn a_request_id_that_no_header_can_carry_is_said() {
    let transport = Scripted::new([]);
    let error = block_on(async {
        let ctx = context().with_request_id("line\nbreak");
        connect(transport.clone()).await.generate(&ChatRequest::text("?"), &ctx).await.unwrap_err()
    });
    assert_eq!((error.code(), error.phase()), (ErrorCode::InvalidInput, Some(CallPhase::Prepare)));
    assert!(transport.requests.lock().unwrap().is_empty());
}

/// Lets a read through only when told.
#[derive(Default)]
struct Gate {
    open: Arc<Mutex<u32>>,
    asked: u32,
    events: u32,
}

impl EventSink for Gate {
    fn event(&mut self, _event: StreamEvent<'_>, _stamp: Stamp) {
        self.events += 1;
    }

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        self.asked += 1;
        let mut open = self.open.lock().unwrap();
        if *open == 0 {
            return Poll::Pending;
        }
        *open -= 1;
        Poll::Ready(())
    }
}

#[test]
fn the_sink_is_asked_before_each_read() {
    block_on(async {
        let answer = Answer::stream(short_stream().concat()).split(&[60]);
        let reads = answer.reads.len() as u32;
        let transport = Scripted::new([answer]);
        let model = connect(transport.clone()).await;
        let open = Arc::new(Mutex::new(0));
        let mut sink = Gate { open: open.clone(), ..Gate::default() };
        let (request, ctx) = (ChatRequest::text("?"), context());
        let mut call = model.drive(&request, &ctx, &mut sink);
        for allowed in 0..reads {
            for _ in 0..20 {
                assert!(poll_once(call.as_mut()).is_pending());
            }
            assert_eq!(transport.reads.load(Relaxed), allowed, "no read without leave");
            *open.lock().unwrap() += 1;
        }
        // The last event is in the last read; what follows is only the end, which needs no leave.
        call.await.unwrap();
        assert_eq!(transport.reads.load(Relaxed), reads);
        assert_eq!(sink.events, 5);
    });
}

#[test]
fn the_body_is_read_to_its_end_so_that_the_connection_can_be_used_again() {
    block_on(async {
        let transport = Scripted::new([
            Answer::stream(short_stream().concat()),
            Answer::stream([short_stream().concat(), event("somethingNew", "{}")].concat()).split(&[50]),
        ]);
        let model = connect(transport.clone()).await;
        for _ in 0..2 {
            model.drive(&ChatRequest::text("?"), &context(), &mut Vec::new()).await.unwrap();
        }
        assert_eq!(transport.abandoned.load(Relaxed), 0);
    });
}

#[test]
fn dropping_the_stream_drops_the_connection() {
    block_on(async {
        let transport = Scripted::new([Answer::stream(short_stream().concat()).split(&[150])]);
        let model = connect(transport.clone()).await;
        let (request, ctx) = (ChatRequest::text("?"), context());
        let mut stream = model.stream(&request, &ctx);
        let first = stream.next().await.unwrap().unwrap();
        assert!(matches!(first.event, StreamEvent::Start { .. }));
        drop(stream);
        assert_eq!(transport.abandoned.load(Relaxed), 1);
    });
}

#[test]
fn many_calls_at_once_do_not_mix() {
    block_on(async {
        let stream = |text: &str| {
            let delta = format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}}}}"#);
            let mut frames = short_stream();
            frames[1] = event("contentBlockDelta", &delta);
            Answer::stream(frames.concat()).split(&[40])
        };
        let transport = Scripted::new((0..50).map(|i| stream(&format!("call {i} "))));
        let model = connect(transport).await;
        let ctx = context();
        let request = ChatRequest::text("?");
        let calls = (0..50).map(|_| async {
            let mut events: Vec<TimedEvent> = Vec::new();
            model.drive(&request, &ctx, &mut events).await.unwrap();
            let StreamEvent::Text(text) = &events[1].event else { panic!("{events:?}") };
            text.clone().into_owned()
        });
        let mut texts = futures_util::future::join_all(calls).await;
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 50);
    });
}

#[track_caller]
fn health(answer: Answer, state: HealthState, detail: &str) {
    let health = block_on(async { connect(Scripted::new([answer])).await.check_health(&context()).await });
    let said = format!("{:?} {:?}", health.reason, health.details);
    assert_eq!(health.state, state, "{said}");
    assert!(said.contains(detail), "{said}");
    assert_eq!(health.details["region"], "us-east-1");
    assert_eq!(health.details["credentials"], "placeholder");
}

#[test]
fn health_is_judged_by_a_count_that_costs_nothing() {
    use HealthState as H;
    let refusal = |status, kind: &str, message: &str| {
        Answer::new(status, format!(r#"{{"message":"{message}"}}"#)).header("x-amzn-errortype", kind)
    };
    health(Answer::new(200, r#"{"inputTokens":8}"#), H::Healthy, "8 tokens");
    let unsupported = "The provided model doesn't support counting tokens.";
    health(refusal(400, "ValidationException", unsupported), H::Healthy, "not checked");
    health(Answer::new(404, "not found"), H::Healthy, "not offered");
    health(refusal(404, "ValidationException", "no such path"), H::Healthy, "not offered");
    health(refusal(404, "ResourceNotFoundException", "no such model"), H::Degraded, "no such model");
    health(refusal(403, "AccessDeniedException", "no right"), H::Degraded, "no right");
    health(
        refusal(400, "ValidationException", "The provided model identifier is invalid."),
        H::Degraded,
        "invalid",
    );
    health(refusal(429, "ThrottlingException", "slow down"), H::Degraded, "slow down");
    health(refusal(403, "UnrecognizedClientException", "who?"), H::Unhealthy, "AWS_ACCESS_KEY_ID");
    health(refusal(500, "InternalServerException", "oh"), H::Unhealthy, "oh");
}

#[test]
fn the_health_probe_ends_in_time_and_asks_for_a_count() {
    block_on(async {
        let transport = Scripted::new([]);
        let model = connect_with(transport.clone(), |c| c, &[]).await.unwrap();
        let clock = Arc::new(VirtualClock::new());
        let ctx = CallContext::with_clock(clock.clone());
        let mut probe = pin!(model.check_health(&ctx));
        assert!(poll_once(probe.as_mut()).is_pending());
        clock.advance();
        let health = probe.await;
        assert_eq!(health.state, HealthState::Unhealthy);
        assert_eq!(health.latency, Some(Duration::from_secs(10)));
        assert!(health.reason.unwrap().contains("context_timeout"));
        assert_eq!(transport.request().uri.path(), "/model/amazon.nova-micro-v1%3A0/count-tokens");
    });
}
