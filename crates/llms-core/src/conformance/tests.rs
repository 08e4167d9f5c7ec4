//! A small model that keeps every promise, and one that breaks them one by one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Failing, Options, Report, Status, run};
use crate::{
    CallContext, Capabilities, ChatModel, ChatRequest, ChatResponse, Error, ErrorCode, EventSink,
    FinishReason, Message, ModelInfo, Outcome, Result, Stamp, StreamEvent, ToolCall, Usage,
    chat::Role,
    event::ToolCallDelta,
    health::{Health, HealthState},
    time::{Timestamp, VirtualClock},
};

/// How a model may break its promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    NamelessModel,
    SecretInEndpoint,
    EmptyAnswer,
    NoFinish,
    NoUsage,
    NoStreamedUsage,
    EmptyEvents,
    TokensAfterFinish,
    NoTokens,
    StampsGoBack,
    ReadsGoBack,
    StampsOutsideTheCall,
    PanicsWithoutMessages,
    IgnoresDeadline,
    IgnoresCancellation,
    HangsForEver,
    OneAtATime,
    WrongTool,
    BrokenArguments,
    StreamsAList,
    RefusesToolResults,
    UnhealthyWithoutReason,
    NamelessErrors,
    FailsStreams,
    ForgetsTheAssistant,
    TripsOverScripts,
    ChokesOnSize,
    StreamsSomethingElse,
    KeepsServing,
    NeverDoneWithTools,
    MistakesFailures,
}

struct Tiny {
    info: ModelInfo,
    flaw: Flaw,
    /// Cloned by every running call.
    busy: Arc<()>,
    /// Cloned by every running stream.
    streaming: Arc<()>,
    /// What every call of this one fails with.
    fails: Option<ErrorCode>,
}

const STEP: Duration = Duration::from_millis(10);

fn usage() -> Usage {
    Usage { input_tokens: Some(4), output_tokens: Some(3), ..Usage::default() }
}

impl Tiny {
    fn new(flaw: Flaw, capabilities: Capabilities) -> Self {
        let info = ModelInfo {
            provider: "tiny".into(),
            model: if flaw == Flaw::NamelessModel { "" } else { "tiny-1" }.into(),
            endpoint: (flaw == Flaw::SecretInEndpoint).then(|| "http://me:key@localhost/v1".into()),
            capabilities,
        };
        Self { info, flaw, busy: Arc::default(), streaming: Arc::default(), fails: None }
    }

    /// A sibling that is known to fail.
    fn failing(name: &'static str, code: ErrorCode, flaw: Flaw, streams_only: bool) -> Failing {
        let told = if flaw == Flaw::MistakesFailures { ErrorCode::Unknown } else { code };
        let model = Self { fails: Some(told), ..Self::new(Flaw::None, everything()) };
        Failing { name, model: Arc::new(model), codes: vec![code], streams_only }
    }

    async fn pause(&self, ctx: &CallContext) {
        let step = match self.flaw {
            Flaw::IgnoresDeadline => 600 * STEP,
            Flaw::IgnoresCancellation => 30 * STEP,
            _ => STEP,
        };
        ctx.clock.sleep_until(ctx.now() + step).await;
    }

    fn calls(&self, request: &ChatRequest) -> Vec<ToolCall> {
        let answered = request.messages.iter().any(|m| matches!(m, Message::Tool { .. }));
        let asked = request.messages.iter().any(|m| m.text().contains("weather"));
        let wants = asked && (!answered || self.flaw == Flaw::NeverDoneWithTools);
        let Some(tool) = request.tools.first().filter(|_| wants) else { return Vec::new() };
        vec![ToolCall {
            id: "call-1".into(),
            name: if self.flaw == Flaw::WrongTool { "other".into() } else { tool.name.clone() },
            arguments: if self.flaw == Flaw::BrokenArguments { "{\"city\":" } else { "{\"city\":\"Paris\"}" }
                .into(),
        }]
    }

    fn check(&self, request: &ChatRequest) -> Result<()> {
        if let Some(code) = self.fails {
            return Err(Error::new("tiny.check", code, "as ever"));
        }
        let text: String = request.messages.iter().map(Message::text).collect();
        let refuse = |code, why: &str| Err(Error::new("tiny.check", code, why));
        match self.flaw {
            Flaw::ForgetsTheAssistant if request.messages.iter().any(|m| m.role() == Role::Assistant) => {
                return refuse(ErrorCode::InvalidRequest, "expected no assistant messages");
            }
            Flaw::TripsOverScripts if !text.is_ascii() => {
                return refuse(ErrorCode::MalformedResponse, "expected ASCII");
            }
            Flaw::ChokesOnSize if text.len() > 100_000 => return refuse(ErrorCode::Unknown, "what?"),
            _ => {}
        }
        if request.messages.is_empty() {
            assert!(self.flaw != Flaw::PanicsWithoutMessages, "index out of bounds");
            return Err(Error::new("tiny.check", ErrorCode::InvalidRequest, "expected at least one message")
                .with_source(std::io::Error::other("no messages")));
        }
        let results = request.messages.iter().any(|m| matches!(m, Message::Tool { .. }));
        if results && self.flaw == Flaw::RefusesToolResults {
            return Err(Error::new("tiny.check", ErrorCode::InvalidRequest, "expected no tool results"));
        }
        Ok(())
    }

    /// Runs a call as its context demands, or as the flaw has it.
    async fn run<T>(&self, ctx: &CallContext, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let fresh = CallContext::with_clock(ctx.clock.clone());
        let ctx = match self.flaw {
            Flaw::HangsForEver => return std::future::pending().await,
            Flaw::IgnoresDeadline => CallContext { deadline: None, ..ctx.clone() },
            Flaw::IgnoresCancellation => CallContext { deadline: ctx.deadline, ..fresh },
            _ => ctx.clone(),
        };
        let result = ctx.run("tiny.call", call).await;
        if self.flaw == Flaw::NamelessErrors { result } else { result.map_err(|e| e.with_provider("tiny")) }
    }

    async fn stream_into(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let now = |read| match self.flaw {
            Flaw::StampsGoBack => {
                Stamp::user(Timestamp::from_nanos(ctx.now().as_nanos() - u64::from(read) * 20_000_000), read)
            }
            Flaw::ReadsGoBack => Stamp::user(ctx.now(), 9 - read),
            Flaw::StampsOutsideTheCall => Stamp::user(Timestamp::ZERO, read),
            _ => Stamp::user(ctx.now(), read),
        };
        self.check(request)?;
        if self.flaw == Flaw::FailsStreams {
            return Err(Error::new("tiny.stream", ErrorCode::Stream, "busy"));
        }
        self.pause(ctx).await;
        sink.event(StreamEvent::Start { id: None, model: Some("tiny-1".into()) }, now(0));
        if self.flaw == Flaw::EmptyEvents {
            sink.event(StreamEvent::Text("".into()), now(0));
        }
        let calls = self.calls(request);
        for call in &calls {
            let first = ToolCallDelta {
                id: Some((&call.id).into()),
                name: Some((&call.name).into()),
                ..Default::default()
            };
            sink.event(StreamEvent::ToolCall(first), now(1));
            let arguments = if self.flaw == Flaw::StreamsAList { "[]" } else { &call.arguments };
            let rest = ToolCallDelta { arguments: arguments.into(), ..Default::default() };
            sink.event(StreamEvent::ToolCall(rest), now(1));
        }
        if calls.is_empty() && self.flaw != Flaw::NoTokens {
            let end = if self.flaw == Flaw::StreamsSomethingElse { "ma" } else { "is" };
            for (read, text) in [(1, "Pa"), (1, "r"), (2, end)] {
                if read == 2 {
                    self.pause(ctx).await;
                }
                sink.event(StreamEvent::Text(text.into()), now(read));
            }
        }
        let reason = if calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        if self.flaw != Flaw::NoFinish {
            sink.event(StreamEvent::Finish(reason.clone()), now(3));
        }
        if self.flaw == Flaw::TokensAfterFinish {
            sink.event(StreamEvent::Text("late".into()), now(3));
        }
        let usage = (self.flaw != Flaw::NoStreamedUsage).then(usage);
        if let Some(usage) = usage {
            sink.event(StreamEvent::Usage(usage), now(3));
        }
        Ok(Outcome { finish_reason: Some(reason), usage, ..Outcome::default() })
    }
}

#[async_trait]
impl ChatModel for Tiny {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        self.run(ctx, async {
            self.check(request)?;
            let place = Arc::clone(&self.busy);
            if Arc::strong_count(&place) > 2 && self.flaw == Flaw::OneAtATime {
                return Err(Error::new("tiny.generate", ErrorCode::Internal, "one at a time"));
            }
            self.pause(ctx).await;
            let tool_calls = self.calls(request);
            let empty = self.flaw == Flaw::EmptyAnswer || !tool_calls.is_empty();
            Ok(ChatResponse {
                text: if empty { "" } else { "Paris" }.into(),
                tool_calls,
                finish_reason: Some(FinishReason::Stop),
                usage: (self.flaw != Flaw::NoUsage).then(usage),
                ..ChatResponse::default()
            })
        })
        .await
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        // What the server does: it is busy until it has noticed that the call is gone.
        let place = Arc::clone(&self.streaming);
        let streamed = self.run(ctx, self.stream_into(request, ctx, sink)).await;
        if self.flaw == Flaw::KeepsServing && streamed.is_err() {
            std::mem::forget(place);
        }
        streamed
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        let flawed = self.flaw == Flaw::UnhealthyWithoutReason;
        Health {
            state: if flawed { HealthState::Unhealthy } else { HealthState::Healthy },
            provider: self.info.provider.clone(),
            model: self.info.model.clone(),
            checked_at: ctx.clock.wall(),
            latency: None,
            reason: None,
            details: BTreeMap::new(),
        }
    }
}

fn everything() -> Capabilities {
    Capabilities { streaming: true, tools: true, usage: true, ..Capabilities::default() }
}

fn report(flaw: Flaw, capabilities: Capabilities) -> Report {
    let clock = VirtualClock::new();
    let model = Tiny::new(flaw, capabilities);
    let mut options = Options::new(CallContext::with_clock(Arc::new(clock.clone())));
    options.deterministic = true;
    options.failing = vec![
        Tiny::failing("a wrong key", ErrorCode::Authentication, flaw, false),
        Tiny::failing("a broken stream", ErrorCode::StreamTruncated, flaw, true),
    ];
    let place = model.streaming.clone();
    options.busy = Some(Arc::new(move || Arc::strong_count(&place) - 2));
    clock.block_on(async {
        // Not at the zero of the clock, so that a stamp of zero is one outside the call.
        options.ctx.clock.sleep_until(Timestamp::from_nanos(1_000_000_000)).await;
        run(&model, &options).await
    })
}

#[test]
fn a_good_model_passes_every_check() {
    let report = report(Flaw::None, everything());
    report.assert_passed();
    assert!(report.checks.iter().all(|c| c.status == Status::Passed), "{report}");
    assert!(report.to_string().starts_with("conformance of tiny:tiny-1: 25 passed, 0 skipped, 0 failed\n"));
}

#[test]
fn what_a_model_does_not_claim_is_skipped_with_the_reason() {
    let report = report(Flaw::NoUsage, Capabilities::default());
    report.assert_passed();
    assert_eq!(report.status("generate_answers"), Some(&Status::Passed));
    assert_eq!(
        report.status("tool_call_is_parsed"),
        Some(&Status::Skipped("the model states no tools".into()))
    );
    assert_eq!(
        report.status("stamps_are_monotone"),
        Some(&Status::Skipped("the model states no streaming".into()))
    );
    assert_eq!(report.status("no such check"), None);
}

#[track_caller]
fn check(flaw: Flaw, failed: &[&str]) {
    let report = report(flaw, everything());
    let names: Vec<_> = report.failures().map(|c| c.name).collect();
    assert_eq!(names, failed, "{flaw:?}\n{report}");
}

#[test]
fn each_broken_promise_is_found() {
    const DRIVE: &str = "drive_delivers_tokens_and_the_end";
    const STREAM: &str = "stream_text_is_not_empty";
    const ENDS: &str = "stream_ends_and_stays_ended";
    const CANCEL: &str = "cancellation_ends_a_call";
    const REACHES: &str = "cancellation_reaches_the_server";
    const EQUAL: &str = "stream_equals_the_whole_answer";
    const SCRIPT: &str = "any_script_is_answered";
    check(Flaw::NamelessModel, &["info_is_complete"]);
    check(Flaw::SecretInEndpoint, &["info_is_complete"]);
    check(
        Flaw::EmptyAnswer,
        &[
            "generate_answers",
            EQUAL,
            "several_turns_are_answered",
            SCRIPT,
            "calls_run_concurrently",
            "tool_result_is_accepted",
            "tool_loop_ends_in_an_answer",
        ],
    );
    check(Flaw::NoFinish, &[DRIVE]);
    check(Flaw::NoUsage, &["generate_answers", EQUAL]);
    check(Flaw::NoStreamedUsage, &[DRIVE, EQUAL]);
    check(Flaw::EmptyEvents, &[DRIVE]);
    check(Flaw::TokensAfterFinish, &[DRIVE, EQUAL]);
    check(Flaw::NoTokens, &[DRIVE, STREAM, ENDS, EQUAL, SCRIPT]);
    check(Flaw::StampsGoBack, &["stamps_are_monotone"]);
    check(Flaw::ReadsGoBack, &["stamps_are_monotone"]);
    check(Flaw::StampsOutsideTheCall, &["stamps_are_monotone"]);
    check(Flaw::PanicsWithoutMessages, &["no_messages_is_no_panic"]);
    check(Flaw::IgnoresDeadline, &["deadline_is_kept"]);
    check(Flaw::IgnoresCancellation, &["cancelled_caller_gets_nothing", CANCEL, REACHES]);
    check(Flaw::OneAtATime, &["calls_run_concurrently"]);
    check(
        Flaw::ForgetsTheAssistant,
        &["several_turns_are_answered", "tool_result_is_accepted", "tool_loop_ends_in_an_answer"],
    );
    check(Flaw::TripsOverScripts, &["any_script_is_answered"]);
    check(Flaw::ChokesOnSize, &["huge_message_is_answered_or_refused"]);
    check(Flaw::StreamsSomethingElse, &["stream_equals_the_whole_answer"]);
    check(Flaw::KeepsServing, &["cancellation_reaches_the_server"]);
    check(Flaw::MistakesFailures, &["failures_are_told_apart"]);
    check(Flaw::WrongTool, &["tool_call_is_parsed", "tool_call_is_streamed"]);
    check(Flaw::BrokenArguments, &["tool_call_is_parsed", "tool_call_is_streamed"]);
    check(Flaw::StreamsAList, &["tool_call_is_streamed"]);
    check(Flaw::RefusesToolResults, &["tool_result_is_accepted", "tool_loop_ends_in_an_answer"]);
    check(Flaw::UnhealthyWithoutReason, &["health_has_a_state"]);
    check(Flaw::NamelessErrors, &["errors_say_what_failed"]);
    let monotone = "stamps_are_monotone";
    let others = ["stream_can_be_dropped", EQUAL, monotone, SCRIPT, "deadline_is_kept", CANCEL, REACHES];
    let others = [&others[..], &["tool_call_is_streamed"]].concat();
    check(Flaw::FailsStreams, &[&[DRIVE, STREAM, ENDS], &others[..]].concat());
}

#[test]
fn a_model_that_only_calls_tools_is_no_failure_but_no_proof_either() {
    let report = report(Flaw::NeverDoneWithTools, everything());
    report.assert_passed();
    let Some(Status::Skipped(why)) = report.status("tool_loop_ends_in_an_answer") else { panic!("{report}") };
    assert!(why.contains("after 4 results"), "{why}");
}

#[test]
fn a_model_that_never_returns_fails_its_checks_instead_of_hanging_the_suite() {
    let report = report(Flaw::HangsForEver, everything());
    assert_eq!(report.status("info_is_complete"), Some(&Status::Passed));
    let Some(Status::Failed(reason)) = report.status("generate_answers") else { panic!("{report}") };
    assert!(reason.contains("did not return"), "{reason}");
    assert!(report.failures().count() > 10, "{report}");
}

#[test]
fn the_table_says_what_failed_and_why() {
    let text = report(Flaw::SecretInEndpoint, Capabilities::default()).to_string();
    assert!(
        text.contains("  FAIL  info_is_complete                      the endpoint carries credentials"),
        "{text}"
    );
    assert!(text.contains("  pass  generate_answers\n"), "{text}");
    assert!(
        text.contains("  skip  stream_can_be_dropped                 the model states no streaming\n"),
        "{text}"
    );
    let json = serde_json::to_value(report(Flaw::None, everything())).unwrap();
    assert_eq!(json["checks"][0], serde_json::json!({"name": "info_is_complete", "status": "passed"}));
}
