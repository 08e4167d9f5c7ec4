//! A model that answers as its script says, and an observer that writes down what it is told.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use llms_core::{
    CallContext, Capabilities, ChatModel, ChatRequest, ChatResponse, Error, ErrorCode, EventSink,
    FinishReason, ModelInfo, Outcome, Result, Stamp, StreamEvent, Usage,
    health::{Health, HealthState},
    observe::{CallEvent, CallObserver},
    time::{Clock, VirtualClock},
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const S: Duration = Duration::from_secs(1);

/// What one call does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Answer(&'static str),
    Fail(ErrorCode),
    /// Fails and asks to wait.
    FailAsking(ErrorCode, Duration),
    /// Streams some text, then fails.
    Break(&'static str, ErrorCode),
    /// Ends with this reason.
    Ends(FinishReason),
}

pub(crate) struct Scripted {
    info: ModelInfo,
    steps: Mutex<VecDeque<Step>>,
    otherwise: Step,
    usage: Option<Usage>,
    pub(crate) calls: AtomicUsize,
    pub(crate) state: Mutex<HealthState>,
    /// When each call began, in ms.
    pub(crate) began: Mutex<Vec<u64>>,
}

impl Scripted {
    pub(crate) fn new(name: &str, steps: &[Step]) -> Self {
        Self {
            info: ModelInfo {
                provider: "scripted".into(),
                model: name.into(),
                endpoint: None,
                capabilities: Capabilities { streaming: true, usage: true, ..Capabilities::default() },
            },
            steps: Mutex::new(steps.to_vec().into()),
            otherwise: Step::Answer("fine"),
            usage: Some(Usage { input_tokens: Some(10), output_tokens: Some(5), ..Usage::default() }),
            calls: AtomicUsize::new(0),
            state: Mutex::new(HealthState::Healthy),
            began: Mutex::default(),
        }
    }

    pub(crate) fn always(name: &str, step: Step) -> Self {
        Self { otherwise: step, ..Self::new(name, &[]) }
    }

    pub(crate) fn with_usage(mut self, usage: Option<Usage>) -> Self {
        self.usage = usage;
        self
    }

    pub(crate) fn able(mut self, change: impl FnOnce(&mut Capabilities)) -> Self {
        change(&mut self.info.capabilities);
        self
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    fn begin(&self, ctx: &CallContext) -> Step {
        self.calls.fetch_add(1, SeqCst);
        self.began.lock().unwrap().push(ctx.now().as_nanos() / 1_000_000);
        self.steps.lock().unwrap().pop_front().unwrap_or_else(|| self.otherwise.clone())
    }

    fn error(code: ErrorCode) -> Error {
        Error::new("scripted.call", code, "as the script says").with_provider("scripted")
    }
}

#[async_trait]
impl ChatModel for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, _request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let call = async {
            let answer = |text: &str, reason| ChatResponse {
                text: text.into(),
                finish_reason: Some(reason),
                usage: self.usage,
                ..ChatResponse::default()
            };
            match self.begin(ctx) {
                Step::Answer(text) => Ok(answer(text, FinishReason::Stop)),
                Step::Ends(reason) => Ok(answer("so far", reason)),
                Step::Fail(code) | Step::Break(_, code) => Err(Self::error(code)),
                Step::FailAsking(code, wait) => Err(Self::error(code).with_retry_after(wait)),
            }
        };
        ctx.run("scripted.call", call).await
    }

    async fn drive(
        &self,
        _request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let call = async {
            let step = self.begin(ctx);
            let stamp = Stamp::user(ctx.now(), 0);
            let mut say = |text: &'static str, reason: FinishReason| {
                sink.event(StreamEvent::Text(text.into()), stamp);
                sink.event(StreamEvent::Finish(reason.clone()), stamp);
                Ok(Outcome { finish_reason: Some(reason), usage: self.usage, ..Outcome::default() })
            };
            match step {
                Step::Answer(text) => say(text, FinishReason::Stop),
                Step::Ends(reason) => say("so far", reason),
                Step::Fail(code) => Err(Self::error(code)),
                Step::FailAsking(code, wait) => Err(Self::error(code).with_retry_after(wait)),
                Step::Break(text, code) => {
                    sink.event(StreamEvent::Text(text.into()), stamp);
                    Err(Self::error(code))
                }
            }
        };
        ctx.run("scripted.call", call).await
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        let mut health = Health::pending(&self.info, ctx);
        health.state = *self.state.lock().unwrap();
        health.reason = (health.state != HealthState::Healthy).then(|| "the script says so".into());
        health
    }
}

/// What layers told.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<String>>);

impl Told {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl CallObserver for Told {
    fn observe(&self, event: &CallEvent<'_>) {
        let ms = |d: &Duration| d.as_millis();
        self.0.lock().unwrap().push(match event {
            CallEvent::Retry { attempt, wait, error, .. } => {
                format!("retry {attempt} after {} ms for {}", ms(wait), error.code())
            }
            CallEvent::Held { wait, .. } => format!("held {} ms", ms(wait)),
            CallEvent::Routed { model, why, .. } => format!("routed to {model}: {why}"),
            CallEvent::Replayed { age, .. } => format!("replayed, {} ms old", ms(age)),
            other => format!("{other:?}"),
        });
    }
}

/// A clock, a context on it, and what is told.
pub(crate) struct Bench {
    pub(crate) clock: VirtualClock,
    pub(crate) ctx: CallContext,
    pub(crate) told: Arc<Told>,
}

pub(crate) fn bench() -> Bench {
    let clock = VirtualClock::new();
    let told = Arc::new(Told::default());
    let ctx = CallContext::with_clock(Arc::new(clock.clone())).with_observer(told.clone());
    Bench { clock, ctx, told }
}

impl Bench {
    pub(crate) fn generate(&self, model: &dyn ChatModel, prompt: &str) -> Result<ChatResponse> {
        self.clock.block_on(async { model.generate(&prompt.into(), &self.ctx).await })
    }

    /// The text that came, and how it ended.
    pub(crate) fn drive(&self, model: &dyn ChatModel, prompt: &str) -> (String, Result<Outcome>) {
        let mut events = Vec::new();
        let outcome =
            self.clock.block_on(async { model.drive(&prompt.into(), &self.ctx, &mut events).await });
        let text = events.iter().map(|e| match &e.event {
            StreamEvent::Text(t) => t.to_string(),
            StreamEvent::Start { .. } => "|".into(),
            _ => String::new(),
        });
        (text.collect(), outcome)
    }

    pub(crate) fn ms(&self) -> u64 {
        self.clock.now().as_nanos() / 1_000_000
    }
}
