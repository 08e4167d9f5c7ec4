//! What stands on top of `ChatModel`: batch, collect, streams of models that only push, bound tools.
#![allow(clippy::unwrap_used, reason = "a panic in a fixture is the report")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use llms_core::{
    CallContext, Capabilities, ChatModel, ChatModelExt, ChatRequest, ChatResponse, Error, ErrorCode,
    EventSink, EventStream, FinishReason, ModelInfo, Outcome, Result, SharedModel, Stamp, StreamEvent,
    ToolDefinition, Usage,
    health::{Health, HealthState},
    time::{Clock, Timestamp, VirtualClock},
};

const MS: Duration = Duration::from_millis(1);

/// Answers `"<ms> [text]"` after so many ms with `text`; `fail` as the text makes it fail. Streams letters.
struct Echo {
    info: ModelInfo,
    running: AtomicUsize,
    most: AtomicUsize,
    /// Names of the tools of each request.
    tools: Mutex<Vec<Vec<String>>>,
}

impl Echo {
    fn new() -> Self {
        let info = ModelInfo {
            provider: "echo".into(),
            model: "echo-1".into(),
            endpoint: None,
            capabilities: Capabilities::default(),
        };
        Self { info, running: AtomicUsize::new(0), most: AtomicUsize::new(0), tools: Mutex::default() }
    }

    fn saw(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.tools.lock().unwrap())
    }

    async fn answer(&self, request: &ChatRequest, ctx: &CallContext) -> Result<String> {
        self.tools.lock().unwrap().push(request.tools.iter().map(|t| t.description.clone()).collect());
        let prompt = request.messages[0].text();
        let (ms, text) = prompt.split_once(' ').unwrap();
        self.most.fetch_max(self.running.fetch_add(1, Relaxed) + 1, Relaxed);
        let wait = ctx.clock.sleep_until(ctx.now() + MS * ms.parse().unwrap());
        let slept = ctx.run("echo.generate", wait.map(Ok)).await;
        self.running.fetch_sub(1, Relaxed);
        slept?;
        if text == "fail" {
            Err(Error::new("echo.generate", ErrorCode::Internal, text))
        } else {
            Ok(text.into())
        }
    }
}

#[async_trait]
impl ChatModel for Echo {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        Ok(ChatResponse { text: self.answer(request, ctx).await?, ..ChatResponse::default() })
    }

    /// Pushes everything at once, without asking whether the sink is ready.
    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let text = self.answer(request, ctx).await?;
        for (i, letter) in text.split("").filter(|l| !l.is_empty()).enumerate() {
            if letter == "!" {
                return Err(Error::new("echo.stream", ErrorCode::Stream, "an exclamation mark"));
            }
            sink.event(StreamEvent::Text(letter.into()), Stamp::user(ctx.now(), i as u32));
        }
        Ok(Outcome {
            finish_reason: Some(FinishReason::Length),
            usage: Some(Usage { output_tokens: Some(3), ..Usage::default() }),
            model: Some("echo-1b".into()),
            id: Some("id-1".into()),
            ..Outcome::default()
        })
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        Health {
            state: HealthState::Healthy,
            provider: self.info.provider.clone(),
            model: self.info.model.clone(),
            checked_at: ctx.clock.wall(),
            latency: None,
            reason: None,
            details: std::collections::BTreeMap::new(),
        }
    }
}

fn virtual_ctx() -> (VirtualClock, CallContext) {
    let clock = VirtualClock::new();
    (clock.clone(), CallContext::with_clock(Arc::new(clock)))
}

/// Runs a batch; returns answers in short, the most calls that ran at once, and when it was over in ms.
fn batch(prompts: &[&str], concurrency: usize) -> (Vec<String>, usize, u64) {
    let (clock, ctx) = virtual_ctx();
    let echo = Echo::new();
    let requests: Vec<ChatRequest> = prompts.iter().map(|p| (*p).into()).collect();
    let answers = clock.block_on(echo.batch(&requests, concurrency, &ctx));
    let answers = answers.into_iter().map(|a| a.map_or_else(|e| e.code().to_string(), |a| a.text)).collect();
    (answers, echo.most.load(Relaxed), clock.now().as_nanos() / 1_000_000)
}

#[test]
fn a_batch_keeps_the_order_the_cap_and_the_failures_apart() {
    let prompts = ["30 a", "10 b", "20 fail", "10 d", "5 e"];
    let answers: Vec<String> = ["a", "b", "internal_error", "d", "e"].map(Into::into).into();
    assert_eq!(batch(&prompts, 1), (answers.clone(), 1, 75));
    assert_eq!(batch(&prompts, 2), (answers.clone(), 2, 40));
    assert_eq!(batch(&prompts, 100), (answers.clone(), 5, 30));
    assert_eq!(batch(&prompts, 0).0, answers, "a cap of 0 counts as 1");
    assert_eq!(batch(&[], 4), (vec![], 0, 0));
}

#[test]
fn a_slow_answer_does_not_hold_up_those_behind_it() {
    let (answers, most, over) = batch(&["100 slow", "10 a", "10 b", "10 c", "10 d"], 2);
    assert_eq!((answers.len(), most, over), (5, 2, 100));
}

#[test]
fn cancelling_a_batch_ends_all_of_it() {
    let (clock, ctx) = virtual_ctx();
    let echo = Echo::new();
    let requests: Vec<ChatRequest> = vec!["10 a".into(), "90 b".into(), "90 c".into()];
    let answers = clock.block_on(async {
        let cancel = async {
            ctx.clock.sleep_until(Timestamp::ZERO + 20 * MS).await;
            ctx.cancel.cancel();
        };
        tokio::join!(echo.batch(&requests, 2, &ctx), cancel).0
    });
    let codes: Vec<_> = answers.iter().map(|a| a.as_ref().err().map(Error::code)).collect();
    assert_eq!(codes, [None, Some(ErrorCode::Cancelled), Some(ErrorCode::Cancelled)]);
    assert_eq!(clock.now(), Timestamp::ZERO + 20 * MS);
}

#[test]
fn collect_joins_the_stream_and_what_the_outcome_adds() {
    let (clock, ctx) = virtual_ctx();
    let model: SharedModel = Arc::new(Echo::new());
    let answer = clock.block_on(model.collect(&"1 abc".into(), &ctx)).unwrap();
    assert_eq!(answer.text, "abc");
    assert_eq!(answer.finish_reason, Some(FinishReason::Length));
    assert_eq!(answer.usage.unwrap().output_tokens, Some(3));
    assert_eq!((answer.model.as_deref(), answer.id.as_deref()), (Some("echo-1b"), Some("id-1")));
    assert_eq!(clock.block_on(model.invoke("1 abc", &ctx)).unwrap(), "abc");
}

#[test]
fn a_stream_of_a_model_that_only_pushes_keeps_order_and_puts_the_error_last() {
    let (clock, ctx) = virtual_ctx();
    let echo = Echo::new();
    let text = |prompt: &'static str| {
        let (request, ctx, echo) = (ChatRequest::text(prompt), &ctx, &echo);
        clock.block_on(async move {
            let mut out = String::new();
            let mut stream = echo.stream(&request, ctx);
            while let Some(item) = stream.next().await {
                match item {
                    Ok(e) => match e.event {
                        StreamEvent::Text(t) => out.push_str(&t),
                        other => panic!("{other:?}"),
                    },
                    Err(e) => out.push_str(e.code().as_str()),
                }
            }
            assert!(stream.next().await.is_none());
            out
        })
    };
    assert_eq!(text("5 abcdef"), "abcdef");
    assert_eq!(text("5 abc!def"), "abcstream_error");
    assert_eq!(text("5 !"), "stream_error");
    assert_eq!(text("5 fail"), "internal_error");
    assert_eq!(text("5 "), "");
}

fn tool(name: &str, description: &str) -> ToolDefinition {
    ToolDefinition::new(name, description, serde_json::json!({"type": "object"}))
}

#[test]
fn binding_tools_makes_a_new_model_and_leaves_the_original_alone() {
    let (clock, ctx) = virtual_ctx();
    let echo = Arc::new(Echo::new());
    let bound = echo.clone().bind_tools([tool("time", "bound"), tool("weather", "bound")]);
    let plain: ChatRequest = "1 a".into();
    let own = ChatRequest::text("1 a").with_tools([tool("weather", "own")]);
    clock.block_on(async {
        for request in [&plain, &own] {
            bound.generate(request, &ctx).await.unwrap();
            bound.collect(request, &ctx).await.unwrap();
            assert_eq!(bound.stream(request, &ctx).count().await, 1);
            echo.generate(request, &ctx).await.unwrap();
        }
        assert_eq!(bound.check_health(&ctx).await.state, HealthState::Healthy);
    });
    let (both, merged) = (["bound", "bound"], ["own", "bound"]);
    let expected: [&[&str]; 8] = [&both, &both, &both, &[], &merged, &merged, &merged, &["own"]];
    assert_eq!(echo.saw(), expected);
    assert_eq!(bound.info(), echo.info());
    assert!(plain.tools.is_empty());
    assert_eq!(own.tools, [tool("weather", "own")]);
}

#[test]
fn references_and_shared_pointers_are_models_too() {
    fn name(model: impl ChatModel) -> String {
        model.info().model.clone()
    }
    let (clock, ctx) = virtual_ctx();
    let echo = Echo::new();
    let dynamic: &dyn ChatModel = &echo;
    assert_eq!(name(dynamic), "echo-1");
    assert_eq!(name(&echo), "echo-1");
    let bound = dynamic.bind_tools([tool("time", "bound")]);
    clock.block_on(bound.generate(&"1 a".into(), &ctx)).unwrap();
    assert_eq!(echo.saw(), [["bound"]]);
    let request = "1 ab".into();
    let stream: EventStream<'_> = bound.stream(&request, &ctx);
    assert_eq!(clock.block_on(stream.count()), 2);
    assert_eq!(name(Arc::new(echo) as SharedModel), "echo-1");
}
