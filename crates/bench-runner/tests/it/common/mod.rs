//! A scripted model and helpers shared by the runner's tests: everything on simulated time.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses its part"
)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bench_runner::Runner;
use llms_core::{
    CallContext, Capabilities, ChatModel, ChatRequest, ChatResponse, Error, ErrorCode, EventSink,
    EventStream, FinishReason, ModelInfo, Outcome, Result, SharedModel, Stamp, StreamEvent, Usage,
    bench::{
        BenchmarkRunner as _, RecordSink, RequestRecord, RunManifest, RunResult, Scenario, Seeds, Target,
        TargetInfo, Warmup,
    },
    health::{Health, HealthState},
    observe::CallEvent,
    time::{Timestamp, VirtualClock},
};

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);

/// What one call does.
#[derive(Clone, Debug)]
pub enum Answer {
    /// First token, then the others at equal gaps.
    Tokens { first: Duration, gap: Duration, n: u32 },
    /// The same by a server that makes a token only when the one before was read.
    Polite { first: Duration, gap: Duration, n: u32 },
    /// An error after a while.
    Fail(Duration, ErrorCode),
    /// Never, though it honours cancellation and deadline.
    Hang,
    /// Never, whatever the context says.
    Deaf,
    /// A bug.
    Panic,
}

/// One token after `wait`.
pub fn after(wait: Duration) -> Answer {
    Answer::Tokens { first: wait, gap: Duration::ZERO, n: 1 }
}

/// A call as the model saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub at: Timestamp,
    pub text: String,
    pub tools: usize,
    pub request_id: String,
    /// The text of every message.
    pub messages: Vec<String>,
    pub max_tokens: Option<u32>,
}

type Script = dyn Fn(usize, Timestamp) -> Answer + Send + Sync;

/// A model that answers as a function of the number of the call (from 0) and its time.
pub struct Scripted {
    info: ModelInfo,
    script: Box<Script>,
    pub calls: Mutex<Vec<Seen>>,
    in_flight: AtomicUsize,
    pub peak: AtomicUsize,
}

impl Scripted {
    pub fn new(name: &str, script: impl Fn(usize, Timestamp) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        let capabilities =
            Capabilities { streaming: true, tools: true, usage: true, ..Capabilities::default() };
        Self::with_capabilities(name, capabilities, script)
    }

    pub fn with_capabilities(
        name: &str,
        capabilities: Capabilities,
        script: impl Fn(usize, Timestamp) -> Answer + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            info: ModelInfo {
                provider: "scripted".to_owned(),
                model: name.to_owned(),
                endpoint: None,
                capabilities,
            },
            script: Box::new(script),
            calls: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        })
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.calls.lock().unwrap().clone()
    }

    async fn answer(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let now = ctx.now();
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(Seen {
                at: now,
                text: request.messages.last().unwrap().text(),
                tools: request.tools.len(),
                messages: request.messages.iter().map(llms_core::Message::text).collect(),
                max_tokens: request.options.max_tokens,
                request_id: ctx.request_id.as_deref().unwrap_or_default().to_owned(),
            });
            calls.len() - 1
        };
        let flying = Flying::new(self);
        ctx.emit(|| CallEvent::Sent { at: now });
        let answer = (self.script)(number, now);
        if matches!(answer, Answer::Deaf) {
            std::future::pending::<()>().await;
        }
        let result = ctx.run("scripted.call", self.play(answer, ctx, sink)).await;
        drop(flying);
        result
    }

    async fn play(&self, answer: Answer, ctx: &CallContext, sink: &mut dyn EventSink) -> Result<Outcome> {
        let start = ctx.now();
        let polite = matches!(answer, Answer::Polite { .. });
        match answer {
            Answer::Tokens { first, gap, n } | Answer::Polite { first, gap, n } => {
                let mut due = start + first;
                for i in 0..n {
                    ctx.clock.sleep_until(due).await;
                    std::future::poll_fn(|cx| sink.poll_ready(cx)).await;
                    due = if polite { ctx.now() } else { due } + gap;
                    sink.event(StreamEvent::Text("tok ".into()), Stamp::user(ctx.now(), i));
                }
                let usage =
                    Usage { input_tokens: Some(7), output_tokens: Some(u64::from(n)), ..Usage::default() };
                Ok(Outcome {
                    finish_reason: Some(FinishReason::Stop),
                    usage: Some(usage),
                    model: Some(self.info.model.clone()),
                    ..Outcome::default()
                })
            }
            Answer::Fail(wait, code) => {
                ctx.clock.sleep_until(start + wait).await;
                Err(Error::new("scripted.call", code, "as the script says"))
            }
            Answer::Hang => std::future::pending().await,
            Answer::Deaf => unreachable!("handled by the caller"),
            Answer::Panic => panic!("as the script says"),
        }
    }
}

struct Flying<'a>(&'a Scripted);

impl<'a> Flying<'a> {
    fn new(model: &'a Scripted) -> Self {
        let now = model.in_flight.fetch_add(1, SeqCst) + 1;
        model.peak.fetch_max(now, SeqCst);
        Self(model)
    }
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, SeqCst);
    }
}

#[async_trait]
impl ChatModel for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let mut sink = llms_core::event::Collector::default();
        let outcome = self.answer(request, ctx, &mut sink).await?;
        Ok(ChatResponse {
            usage: outcome.usage,
            finish_reason: outcome.finish_reason,
            model: outcome.model,
            ..sink.finish()
        })
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        self.answer(request, ctx, sink).await
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        llms_core::model::stream_of_drive(self, request, ctx)
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

/// A target of that model under the model's name.
pub fn target(model: &Arc<Scripted>) -> Target {
    let shared: SharedModel = model.clone();
    Target {
        info: TargetInfo {
            name: model.info.model.clone(),
            model: model.info.clone(),
            simulated: true,
            transport: None,
            unavailable: None,
        },
        model: Some(shared),
    }
}

/// A target that could not be built.
pub fn unavailable(name: &str, why: &str) -> Target {
    let info = ModelInfo {
        provider: "scripted".to_owned(),
        model: name.to_owned(),
        endpoint: None,
        capabilities: Capabilities::default(),
    };
    Target {
        info: TargetInfo {
            name: name.to_owned(),
            model: info,
            simulated: true,
            transport: None,
            unavailable: Some(why.to_owned()),
        },
        model: None,
    }
}

/// All seeds given, no warm-up, `n` requests in a closed loop of one.
pub fn scenario(prompts: &[&str], n: u64) -> Scenario {
    Scenario {
        requests: Some(n),
        warmup: Warmup { requests: 0, prompts: Vec::new() },
        seeds: Seeds { nonce: Some(1), ..Seeds::from_one(1) },
        ..Scenario::new("test", prompts.iter().copied())
    }
}

/// A sink that notes what was called.
#[derive(Debug, Default)]
pub struct Notes {
    pub begun: Vec<RunManifest>,
    pub records: Vec<RequestRecord>,
    pub finished: Vec<RunManifest>,
    /// Fails at this record.
    pub fail_at: Option<usize>,
}

impl RecordSink for Notes {
    fn begin(&mut self, manifest: &RunManifest) -> Result<()> {
        self.begun.push(manifest.clone());
        Ok(())
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        if self.fail_at == Some(self.records.len()) {
            return Err(Error::new("notes.record", ErrorCode::Internal, "the disk is full"));
        }
        self.records.push(record.clone());
        Ok(())
    }

    fn finish(&mut self, manifest: &RunManifest) -> Result<()> {
        self.finished.push(manifest.clone());
        Ok(())
    }
}

/// Runs on simulated time with a default runner.
pub fn simulate(targets: &[Target], scenario: &Scenario) -> Result<RunResult> {
    simulate_with(&Runner::new(), targets, scenario, &mut llms_core::bench::NullSink, |_| {})
}

/// The same with everything given; `meanwhile` gets the context before the run begins.
pub fn simulate_with(
    runner: &Runner,
    targets: &[Target],
    scenario: &Scenario,
    sink: &mut dyn RecordSink,
    meanwhile: impl FnOnce(&CallContext),
) -> Result<RunResult> {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    clock.block_on(async {
        meanwhile(&ctx);
        runner.run(targets, scenario, sink, &ctx).await
    })
}

/// Cancels the context at an instant of its clock. Call inside the runtime.
pub fn cancel_at(ctx: &CallContext, at: Duration) {
    let ctx = ctx.clone();
    tokio::spawn(async move {
        ctx.clock.sleep_until(Timestamp::ZERO + at).await;
        ctx.cancel.cancel();
    });
}

/// Response time: last token − scheduled.
pub fn response(r: &RequestRecord) -> Duration {
    r.last_token().unwrap().stamp.user.since(r.scheduled).unwrap()
}

/// Type-1 quantile.
pub fn quantile(values: &mut [Duration], p: f64) -> Duration {
    values.sort();
    values[((values.len() as f64 * p).ceil() as usize).max(1) - 1]
}
