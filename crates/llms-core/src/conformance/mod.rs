//! The suite that every [`ChatModel`] passes: one named check per promise of the trait.
//!
//! [`run`] works on any model, in process or across a network, on any clock; what a model does not claim in its
//! [`Capabilities`](crate::Capabilities) is skipped, with the reason. It judges behaviour only: speed, quality of
//! answers and exact wire bytes are other tests' business. About 30 short calls are made, which a paid service
//! charges for.
//!
//! ```no_run
//! # async fn f(model: llms_core::SharedModel) {
//! use llms_core::{CallContext, conformance};
//! conformance::run(&model, &conformance::Options::new(CallContext::new())).await.assert_passed();
//! # }
//! ```

mod checks;
mod report;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use serde_json::json;

use crate::{
    CallContext, ChatModel, ChatRequest, Error, ErrorCode, SharedModel, ToolDefinition,
    chat::{ChatOptions, ToolChoice},
};

pub use report::{Check, Report, Status};

/// What the checks ask, and how patiently.
#[derive(Clone)]
pub struct Options {
    /// Clock, observer and request id of every call. Cancellation and deadline are set by the checks.
    pub ctx: CallContext,
    /// A request that is answered with some text, in few tokens.
    pub request: ChatRequest,
    /// A request that [`tool`](Self::tool) answers best.
    pub tool_request: ChatRequest,
    /// The tool offered with it.
    pub tool: ToolDefinition,
    /// Deadline of a single call, where the check sets none of its own.
    pub timeout: Duration,
    /// How long a cancelled or overdue call may take to return.
    pub patience: Duration,
    /// Calls at once in the concurrency check, at least 1.
    pub concurrency: usize,
    /// Characters of the huge message.
    pub huge_chars: usize,
    /// The same request gets the same answer each time: streamed and whole answers are then compared word by word.
    pub deterministic: bool,
    /// Models of the same kind that are known to fail, and how: each error must be told apart.
    pub failing: Vec<Failing>,
    /// How many calls the server is busy with, where its side can be seen: a cancelled call must be gone from there.
    pub busy: Option<Busy>,
}

/// How many calls a server is busy with.
pub type Busy = Arc<dyn Fn() -> usize + Send + Sync>;

/// A model that is known to fail.
#[derive(Clone)]
pub struct Failing {
    /// What goes wrong, for the table.
    pub name: &'static str,
    /// The model.
    pub model: SharedModel,
    /// Codes that tell it right.
    pub codes: Vec<ErrorCode>,
    /// It fails only while streaming.
    pub streams_only: bool,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failing: Vec<_> = self.failing.iter().map(|f| f.name).collect();
        f.debug_struct("Options")
            .field("request", &self.request)
            .field("timeout", &self.timeout)
            .field("concurrency", &self.concurrency)
            .field("failing", &failing)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Short prompts of at most 256 tokens each, 30 s per call, 5 s of patience, 10 calls at once, a huge message of
    /// 200,000 characters; nothing known of the server's side.
    pub fn new(ctx: CallContext) -> Self {
        let short = ChatOptions { max_tokens: Some(256), ..ChatOptions::default() };
        let city = json!({
            "type": "object",
            "properties": { "city": { "type": "string", "description": "Name of the city" } },
            "required": ["city"]
        });
        let request = |prompt: &str| ChatRequest::text(prompt).with_options(short.clone());
        Self {
            ctx,
            request: request("What is the capital of France? Answer in one short sentence."),
            tool_request: request("What is the weather in Paris right now? Use the tool."),
            tool: ToolDefinition::new("get_weather", "Tells the present weather in a city.", city),
            timeout: Duration::from_secs(30),
            patience: Duration::from_secs(5),
            concurrency: 10,
            huge_chars: 200_000,
            deterministic: false,
            failing: Vec::new(),
            busy: None,
        }
    }
}

/// Runs every check that the model's capabilities call for, one after the other.
pub async fn run(model: &dyn ChatModel, options: &Options) -> Report {
    let s = Suite { model, options, errors: Mutex::default() };
    let info = model.info();
    let checks = vec![
        s.judge("info_is_complete", async { checks::info_is_complete(&s) }).await,
        s.judge("generate_answers", checks::generate_answers(&s)).await,
        s.judge("drive_delivers_tokens_and_the_end", checks::drive_delivers(&s)).await,
        s.judge("stream_text_is_not_empty", checks::stream_has_text(&s)).await,
        s.judge("stream_ends_and_stays_ended", checks::stream_ends(&s)).await,
        s.judge("stream_can_be_dropped", checks::stream_can_be_dropped(&s)).await,
        s.judge("stream_equals_the_whole_answer", checks::stream_equals_whole(&s)).await,
        s.judge("stamps_are_monotone", checks::stamps_are_monotone(&s)).await,
        s.judge("several_turns_are_answered", checks::several_turns(&s)).await,
        s.judge("any_script_is_answered", checks::any_script(&s)).await,
        s.judge("huge_message_is_answered_or_refused", checks::huge_message(&s)).await,
        s.judge("no_messages_is_no_panic", checks::no_messages(&s)).await,
        s.judge("deadline_is_kept", checks::deadline_is_kept(&s)).await,
        s.judge("cancelled_caller_gets_nothing", checks::cancelled_before(&s)).await,
        s.judge("cancellation_ends_a_call", checks::cancelled_during(&s)).await,
        s.judge("cancellation_reaches_the_server", checks::cancellation_reaches_server(&s)).await,
        s.judge("calls_run_concurrently", checks::concurrent_calls(&s)).await,
        s.judge("tool_call_is_parsed", checks::tool_call(&s)).await,
        s.judge("tool_call_is_streamed", checks::streamed_tool_call(&s)).await,
        s.judge("tool_result_is_accepted", checks::tool_result(&s)).await,
        s.judge("tool_loop_ends_in_an_answer", checks::tool_loop(&s)).await,
        s.judge("bind_tools_leaves_the_original_alone", checks::bind_tools(&s)).await,
        s.judge("health_has_a_state", checks::health(&s)).await,
        s.judge("failures_are_told_apart", checks::failures(&s)).await,
        // Last: it looks at the errors of all the others.
        s.judge("errors_say_what_failed", async { checks::errors(&s) }).await,
    ];
    Report { provider: info.provider.clone(), model: info.model.clone(), checks }
}

/// What a check comes to; `Ok` is a pass.
type Verdict = Result<(), Stop>;

/// Why a check did not pass.
enum Stop {
    Skip(String),
    Fail(String),
}

fn skip<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skip(reason.into()))
}

fn fail<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fail(reason.into()))
}

/// `Ok` if `holds`, else the failure.
fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { fail(otherwise()) }
}

struct Suite<'m> {
    model: &'m dyn ChatModel,
    options: &'m Options,
    /// Every error met, for the last check.
    errors: Mutex<Vec<Error>>,
}

impl Suite<'_> {
    /// Runs one check; a panic or a hang fails it instead of ending the suite.
    async fn judge(&self, name: &'static str, check: impl Future<Output = Verdict>) -> Check {
        let limit = self.options.timeout * 4 + self.options.patience;
        let guard = CallContext::with_clock(self.options.ctx.clock.clone()).with_timeout(limit);
        let caught = AssertUnwindSafe(check).catch_unwind().map(Ok);
        let status = match guard.run("conformance", caught).await {
            Ok(Ok(Ok(()))) => Status::Passed,
            Ok(Ok(Err(Stop::Skip(reason)))) => Status::Skipped(reason),
            Ok(Ok(Err(Stop::Fail(reason)))) => Status::Failed(reason),
            Ok(Err(panic)) => Status::Failed(format!("panicked: {}", panic_text(&*panic))),
            Err(_) => Status::Failed(format!("did not return within {limit:?}, whatever its deadlines were")),
        };
        Check { name, status }
    }

    /// The context of an ordinary call.
    fn ctx(&self) -> CallContext {
        self.ctx_within(self.options.timeout)
    }

    fn ctx_within(&self, timeout: Duration) -> CallContext {
        let fresh = CallContext::with_clock(self.options.ctx.clock.clone()).cancel;
        self.options.ctx.clone().with_cancel(fresh).with_timeout(timeout)
    }

    /// The answer of a call that has no reason to fail; `what` names the call.
    fn expect<T>(&self, what: &str, result: crate::Result<T>) -> Result<T, Stop> {
        result.or_else(|e| {
            let reason = format!("{what} failed: {e}");
            self.keep(e);
            fail(reason)
        })
    }

    fn keep(&self, error: Error) {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
    }

    /// The code of a failed call, `None` of a successful one; the error is kept.
    fn code<T>(&self, result: crate::Result<T>) -> Option<ErrorCode> {
        let error = result.err()?;
        let code = error.code();
        self.keep(error);
        Some(code)
    }

    fn needs_streaming(&self) -> Verdict {
        if self.model.info().capabilities.streaming { Ok(()) } else { skip("the model states no streaming") }
    }

    fn needs_tools(&self) -> Verdict {
        if self.model.info().capabilities.tools { Ok(()) } else { skip("the model states no tools") }
    }

    fn tool_request(&self) -> ChatRequest {
        let mut request = self.options.tool_request.clone().with_tools([self.options.tool.clone()]);
        request.tool_choice = ToolChoice::Auto;
        request
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "without a text",
    }
}
