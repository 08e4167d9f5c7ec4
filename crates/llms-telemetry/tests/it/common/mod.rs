//! A model that does what its script says, on the clock of the call.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part; a panic in a test is its report

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use llms_core::{
    CallContext, CallPhase, Capabilities, ChatModel, ChatRequest, ChatResponse, Error, ErrorCode, EventSink,
    EventStream, FinishReason, ModelInfo, Outcome, Result, Stamp, StreamEvent, ToolCall, ToolDefinition,
    Usage,
    event::ToolCallDelta,
    health::Health,
    model::stream_of_drive,
    observe::{CallEvent, ConnectionInfo, HookValue, Span},
    time::VirtualClock,
};

/// What must appear in no span, metric or log line.
pub(crate) const PROMPT: &str = "the-prompt-text";
pub(crate) const ANSWER: &str = "the-answer-text";
pub(crate) const SECRET: &str = "sk-the-secret-key";

/// Answers after 100 ms; streams three chunks 100, 120 and 160 ms after the call, and ends 10 ms later.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) info: ModelInfo,
    /// Fails so after what it would have delivered.
    pub(crate) fails: Option<ErrorCode>,
    /// Calls the first offered tool, and one that nobody offered.
    pub(crate) calls_tools: bool,
    /// Never ends after its first chunk.
    pub(crate) hangs: bool,
    /// Says that the answer is a replay.
    pub(crate) replays: bool,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            info: ModelInfo {
                provider: "openai".into(),
                model: "gpt-test".into(),
                endpoint: Some("http://127.0.0.1:8123/v1".into()),
                capabilities: Capabilities { streaming: true, ..Capabilities::default() },
            },
            fails: None,
            calls_tools: false,
            hangs: false,
            replays: false,
        }
    }
}

pub(crate) const USAGE: Usage = Usage {
    input_tokens: Some(12),
    output_tokens: Some(30),
    cache_read_tokens: Some(4),
    cache_write_tokens: Some(2),
    reasoning_tokens: Some(7),
    audio_input_tokens: None,
    audio_output_tokens: None,
    total_tokens: None,
};

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A request whose text must not be seen anywhere.
pub(crate) fn request() -> ChatRequest {
    let mut request = ChatRequest::text(PROMPT).with_max_tokens(64);
    request.options.temperature = Some(0.5);
    request.options.seed = Some(7);
    request.options.stop_sequences = vec![PROMPT.to_owned()];
    request
}

pub(crate) fn request_with_tool() -> ChatRequest {
    request().with_tools([ToolDefinition::new("get_weather", PROMPT, serde_json::json!({}))])
}

/// Runs `f` on a virtual clock.
pub(crate) fn on_virtual_time<T>(f: impl AsyncFnOnce(CallContext) -> T) -> T {
    let clock = VirtualClock::new();
    clock.block_on(async { f(CallContext::with_clock(Arc::new(clock.clone()))).await })
}

impl Scripted {
    pub(crate) fn failing(code: ErrorCode) -> Self {
        Self { fails: Some(code), ..Self::default() }
    }

    async fn wait(ctx: &CallContext, d: Duration) {
        ctx.clock.sleep_until(ctx.now() + d).await;
    }

    fn failure(&self) -> Option<Error> {
        let text = format!("refused {PROMPT} with {SECRET}");
        let error = |code| {
            Error::new("openai.generate", code, text)
                .with_phase(CallPhase::Headers)
                .with_status(429)
                .with_retry_after(ms(1))
        };
        self.fails.map(error)
    }

    fn observed(ctx: &CallContext) {
        let at = ctx.now();
        let connection = ConnectionInfo {
            reused: Some(false),
            dns: Some(Span { start: at, end: at + ms(2) }),
            tcp: Some(Span { start: at, end: at + ms(3) }),
            tls: Some(Span { start: at, end: at + ms(4) }),
            protocol: Some("HTTP/1.1".into()),
            ..ConnectionInfo::default()
        };
        ctx.emit(|| CallEvent::Sent { at });
        ctx.emit(|| CallEvent::Connected(&connection));
        ctx.emit(|| CallEvent::Resent { at });
        ctx.emit(|| CallEvent::Reported { key: "openai.processing_ms", value: HookValue::Number(9.0) });
    }

    fn tools(&self, request: &ChatRequest) -> Vec<ToolCall> {
        let Some(tool) = request.tools.first().filter(|_| self.calls_tools) else { return Vec::new() };
        let call = |id: &str, name: &str| ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: format!("{{\"city\":\"{ANSWER}\"}}"),
        };
        vec![call("a", &tool.name), call("b", ANSWER)]
    }
}

#[async_trait]
impl ChatModel for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        ctx.run("openai.generate", async {
            Self::observed(ctx);
            Self::wait(ctx, ms(100)).await;
            match self.failure() {
                Some(error) => Err(error),
                None => Ok(ChatResponse {
                    text: ANSWER.into(),
                    tool_calls: self.tools(request),
                    finish_reason: Some(FinishReason::Stop),
                    usage: Some(USAGE),
                    model: Some("gpt-test-0613".into()),
                    id: Some("resp-1".into()),
                    replayed: self.replays,
                    ..ChatResponse::default()
                }),
            }
        })
        .await
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        ctx.run("openai.stream", async {
            Self::observed(ctx);
            for (read, wait) in [100, 20, 40].into_iter().enumerate() {
                Self::wait(ctx, ms(wait)).await;
                let stamp = Stamp::user(ctx.now(), read as u32);
                if read == 0 {
                    let model = Some("gpt-test-0613".into());
                    sink.event(StreamEvent::Start { id: Some("resp-1".into()), model }, stamp);
                }
                // Two events in one read are one chunk.
                sink.event(StreamEvent::Text(ANSWER.into()), stamp);
                sink.event(StreamEvent::Text(ANSWER.into()), stamp);
                if self.hangs {
                    std::future::pending::<()>().await;
                }
            }
            for (index, call) in (0..).zip(self.tools(request)) {
                let stamp = Stamp::user(ctx.now(), 2);
                let delta = ToolCallDelta {
                    index,
                    id: Some(call.id.into()),
                    name: Some(call.name.into()),
                    arguments: call.arguments.into(),
                };
                sink.event(StreamEvent::ToolCall(delta), stamp);
            }
            Self::wait(ctx, ms(10)).await;
            sink.event(StreamEvent::Usage(USAGE), Stamp::user(ctx.now(), 3));
            match self.failure() {
                Some(error) => Err(error),
                None => Ok(Outcome {
                    finish_reason: Some(FinishReason::Stop),
                    replayed: self.replays,
                    ..Outcome::default()
                }),
            }
        })
        .await
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        stream_of_drive(self, request, ctx)
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        let start = ctx.now();
        Self::wait(ctx, ms(5)).await;
        Health::pending(&self.info, ctx).settle(Ok([]), ctx.now().since(start))
    }
}
