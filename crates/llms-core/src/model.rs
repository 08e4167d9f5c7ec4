//! The trait every provider implements, and what it says about itself.
//!
//! [`ChatModel`] is object safe and minimal; whatever is convenience stands in [`ChatModelExt`].

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use async_trait::async_trait;
use futures_core::Stream;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use crate::{
    chat::{ChatRequest, ChatResponse, FinishReason, ToolDefinition, Usage},
    context::CallContext,
    error::Result,
    event::{Collector, EventSink, Stamp, StreamEvent, TimedEvent},
    health::Health,
};

/// What a model can do, as plain data. `None` and empty mean "not stated".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Answers can be streamed.
    pub streaming: bool,
    /// Tools can be offered and are called.
    pub tools: bool,
    /// Images are understood.
    pub images: bool,
    /// Documents are understood.
    pub documents: bool,
    /// Answers can be held to JSON or a JSON schema.
    pub structured_output: bool,
    /// The caller can say up to where the prompt is cached.
    pub prompt_cache: bool,
    /// Usage is reported with the answer.
    pub usage: bool,
    /// Sampling can be seeded.
    pub seed: bool,
    /// Upper end of the temperature range, when it is not 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_temperature: Option<f64>,
    /// Tokens of prompt and answer together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u32>,
    /// Largest `max_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
}

/// Who answers, where, and what it can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Registry name of the provider: `openai`, `anthropic`, `bedrock`, `ollama`, `mock`, …
    pub provider: String,
    /// The model as the provider names it.
    pub model: String,
    /// Where requests go, without credentials; `None` for in-process models.
    pub endpoint: Option<String>,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// How a streamed call ended well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Why the model stopped.
    pub finish_reason: Option<FinishReason>,
    /// Tokens, where the provider reported them.
    pub usage: Option<Usage>,
    /// The model that really answered.
    pub model: Option<String>,
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// Whether it comes from a cache on this side: then nothing was generated, billed or measured.
    pub replayed: bool,
}

/// A streamed answer that owns its call: dropping it drops the connection.
pub type EventStream<'a> = Pin<Box<dyn Stream<Item = Result<TimedEvent>> + Send + 'a>>;

/// A chat model of any provider. Safe for concurrent use.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Who answers, where, and what it can do.
    fn info(&self) -> &ModelInfo;

    /// One whole answer, not streamed.
    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse>;

    /// Streams one answer into `sink`, stamped at the socket before parsing. The primitive under everything
    /// that streams.
    ///
    /// # Errors
    /// Also when the stream ends, politely or not, without its protocol's terminal marker
    /// (`stream_truncated`), and when the provider reports an error inside it. What was pushed before stands.
    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome>;

    /// The same as a stream of owned events: it owns the [`drive`](Self::drive) future and polls it whenever
    /// its queue of at most one read is empty; no channel, no task.
    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        stream_of_drive(self, request, ctx)
    }

    /// Probes the service as cheaply as the provider permits. Never fails: what is wrong stands in the result.
    async fn check_health(&self, ctx: &CallContext) -> Health;
}

/// [`ChatModel::stream`] in terms of [`ChatModel::drive`], for implementations that must spell every method out.
pub fn stream_of_drive<'a, M: ChatModel + ?Sized>(
    model: &'a M,
    request: &'a ChatRequest,
    ctx: &'a CallContext,
) -> EventStream<'a> {
    let queue = Arc::new(Mutex::new(VecDeque::new()));
    let mut sink = QueueSink(queue.clone());
    let drive = Box::pin(async move { model.drive(request, ctx, &mut sink).await });
    Box::pin(DriveStream { drive: Some(drive), queue })
}

type Queue = Arc<Mutex<VecDeque<TimedEvent>>>;

fn lock(queue: &Queue) -> MutexGuard<'_, VecDeque<TimedEvent>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

struct QueueSink(Queue);

impl EventSink for QueueSink {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        lock(&self.0).push_back(TimedEvent { event: event.into_owned(), stamp });
    }

    /// Not before the consumer took what the last read brought. No wake-up is needed: the stream polls the
    /// drive future again as soon as its queue is empty.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        if lock(&self.0).is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

struct DriveStream<'a> {
    drive: Option<Pin<Box<dyn Future<Output = Result<Outcome>> + Send + 'a>>>,
    queue: Queue,
}

impl Stream for DriveStream<'_> {
    type Item = Result<TimedEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(event) = lock(&self.queue).pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        let Some(drive) = &mut self.drive else { return Poll::Ready(None) };
        let polled = drive.as_mut().poll(cx);
        let event = lock(&self.queue).pop_front();
        match (polled, event) {
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, Some(event)) => Poll::Ready(Some(Ok(event))),
            (Poll::Ready(result), event) => {
                // What arrived before the end is delivered first; an error comes after it.
                self.drive = match (&event, result) {
                    (Some(_), Err(e)) => Some(Box::pin(std::future::ready(Err(e)))),
                    (None, Err(e)) => {
                        self.drive = None;
                        return Poll::Ready(Some(Err(e)));
                    }
                    (_, Ok(_)) => None,
                };
                Poll::Ready(event.map(Ok))
            }
        }
    }
}

/// A shared model, as registries and runners hold it.
pub type SharedModel = Arc<dyn ChatModel>;

macro_rules! delegate {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<M: ChatModel + ?Sized> ChatModel for $pointer {
            fn info(&self) -> &ModelInfo {
                (**self).info()
            }

            async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
                (**self).generate(request, ctx).await
            }

            async fn drive(
                &self,
                request: &ChatRequest,
                ctx: &CallContext,
                sink: &mut dyn EventSink,
            ) -> Result<Outcome> {
                (**self).drive(request, ctx, sink).await
            }

            fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
                (**self).stream(request, ctx)
            }

            async fn check_health(&self, ctx: &CallContext) -> Health {
                (**self).check_health(ctx).await
            }
        }
    )*};
}

delegate!(Arc<M>, &M);

/// Convenience on top of [`ChatModel`].
#[async_trait]
pub trait ChatModelExt: ChatModel {
    /// The answer text to a prompt.
    async fn invoke(&self, request: impl Into<ChatRequest> + Send, ctx: &CallContext) -> Result<String>
    where
        Self: Sized,
    {
        Ok(self.generate(&request.into(), ctx).await?.text)
    }

    /// Streams and joins: a whole answer through the streaming path.
    async fn collect(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let mut collector = Collector::default();
        let outcome = self.drive(request, ctx, &mut collector).await?;
        let mut response = collector.finish();
        response.finish_reason = response.finish_reason.or(outcome.finish_reason);
        response.usage = response.usage.or(outcome.usage);
        response.model = response.model.or(outcome.model);
        response.id = response.id.or(outcome.id);
        response.replayed = outcome.replayed;
        Ok(response)
    }

    /// Many requests, at most `concurrency` (≥ 1) at once; answers in the order of the requests, each with its
    /// own success or failure.
    async fn batch(
        &self,
        requests: &[ChatRequest],
        concurrency: usize,
        ctx: &CallContext,
    ) -> Vec<Result<ChatResponse>> {
        // Unordered: a slow answer holds up one place, not those behind it.
        let mut running = futures_util::stream::iter(0..requests.len())
            .map(|at| async move { (at, self.generate(&requests[at], ctx).await) })
            .buffer_unordered(concurrency.max(1));
        let mut answers: Vec<_> = requests.iter().map(|_| None).collect();
        while let Some((at, answer)) = running.next().await {
            answers[at] = Some(answer);
        }
        answers.into_iter().map(|a| a.expect("every request was run")).collect()
    }

    /// A new model that offers these tools with every request; the original is unchanged.
    fn bind_tools(self, tools: impl Into<Vec<ToolDefinition>>) -> BoundTools<Self>
    where
        Self: Sized,
    {
        BoundTools { model: self, tools: tools.into() }
    }
}

impl<M: ChatModel + ?Sized> ChatModelExt for M {}

/// A model with tools bound, see [`ChatModelExt::bind_tools`].
#[derive(Clone, Debug)]
pub struct BoundTools<M> {
    model: M,
    tools: Vec<ToolDefinition>,
}

impl<M> BoundTools<M> {
    /// The tools of the request win over bound ones of the same name.
    fn bind(&self, request: &ChatRequest) -> ChatRequest {
        let mut request = request.clone();
        for tool in &self.tools {
            if request.tools.iter().all(|t| t.name != tool.name) {
                request.tools.push(tool.clone());
            }
        }
        request
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for BoundTools<M> {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        self.model.generate(&self.bind(request), ctx).await
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        self.model.drive(&self.bind(request), ctx, sink).await
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        stream_of_drive(self, request, ctx)
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        self.model.check_health(ctx).await
    }
}
