//! The parts put together: Bedrock as a [`ChatModel`], and its registry entry.
//!
//! Behaves as the core's `HttpModel` does: the same observer events in the same order, deadline and cancellation
//! with the phase they hit, the connection drained after the end of the stream so that it can be reused, the sink
//! asked before each read.

use std::{borrow::Cow, fmt, future::poll_fn, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_bedrockruntime::{
    Client,
    operation::{converse::ConverseOutput, converse_stream::ConverseStreamOutput as Streaming},
    types::ConverseStreamOutput as StreamItem,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use llms_core::{
    CallContext, CallPhase, ChatModel, ChatRequest, ChatResponse, ErrorCode, EventSink, EventStream,
    ModelInfo, Outcome, Result, SharedModel,
    config::ModelConfig,
    health::Health,
    registry::{BuildContext, ModelFactory, Registry},
    wire::{Delivery, Transport},
};

use crate::{
    call::Call,
    client::{Connected, connect},
    config::{Config, PROVIDER, capabilities},
    document::sort_members,
    error, health,
    request::Parts,
    response::response,
    stream::Decoder,
    wire::Wire,
};

/// How long a server may take to end the body after the last event before the connection is dropped.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How many bytes it may still send then.
const MAX_REST: u64 = 1 << 20;

/// One model of Amazon Bedrock. Made by [`model`].
pub struct Model {
    pub(crate) config: Arc<Config>,
    pub(crate) client: Client,
    pub(crate) region: String,
    info: ModelInfo,
}

/// A model that speaks Converse and ConverseStream over `transport`. Asynchronous, because the AWS configuration
/// and credential chain are; with fixed credentials or a loopback endpoint nothing is waited for.
///
/// # Errors
/// `authentication_error` when the credential chain finds nothing, saying what to set; `invalid_config` for a region
/// without an endpoint.
pub async fn model(config: Config, transport: Arc<dyn Transport>) -> Result<Model> {
    let wire = Wire::new(transport, config.headers.clone());
    let Connected { client, region, endpoint } = connect(&config, wire).await?;
    let info = ModelInfo {
        provider: PROVIDER.to_owned(),
        model: config.model.clone(),
        endpoint: Some(endpoint),
        capabilities: capabilities(),
    };
    Ok(Model { config: Arc::new(config), client, region, info })
}

impl Model {
    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// `ctx`, with the configured limit where it has none.
    fn limited<'c>(&self, ctx: &'c CallContext) -> Cow<'c, CallContext> {
        match ctx.deadline {
            Some(_) => Cow::Borrowed(ctx),
            None => Cow::Owned(ctx.clone().with_timeout(self.config.timeout)),
        }
    }

    async fn converse(&self, request: &ChatRequest, call: &Call) -> Result<ConverseOutput> {
        let parts = Parts::new(request, &self.config.options)?;
        let attach = attach(call, parts.has_documents());
        parts
            .converse(&self.client, &self.config.model)
            .customize()
            .mutate_request(attach)
            .send()
            .await
            .map_err(|e| error::of_call(call, e))
    }

    async fn converse_stream(&self, request: &ChatRequest, call: &Call) -> Result<Streaming> {
        let parts = Parts::new(request, &self.config.options)?;
        let attach = attach(call, parts.has_documents());
        parts
            .converse_stream(&self.client, &self.config.model)
            .customize()
            .mutate_request(attach)
            .send()
            .await
            .map_err(|e| error::of_call(call, e))
    }

    /// Closes the books on the body and says what a failure means. A refusal whose text had not come in full when
    /// the deadline passed is still that refusal. Adds what only this level knows: the provider, and the phase an
    /// interruption hit.
    pub(crate) fn settle<T>(call: &Call, result: Result<T>) -> Result<T> {
        call.end();
        result.map_err(|e| {
            let e = match e.code() {
                ErrorCode::DeadlineExceeded => error::refusal(call).unwrap_or(e),
                _ => e,
            };
            let e = if e.provider().is_none() { e.with_provider(PROVIDER) } else { e };
            e.or_phase(call.phase())
        })
    }
}

/// What is done to the SDK's request before it is signed: the call goes along to our HTTP client, documents get an
/// order.
pub(crate) fn attach(call: &Call, has_documents: bool) -> impl Fn(&mut HttpRequest) + Send + Sync + 'static {
    let call = call.clone();
    move |request| {
        if has_documents {
            sort_members(request);
        }
        request.add_extension(call.clone());
    }
}

/// Reads until nothing more is to come (`true`) or the end of the body (`false`).
async fn read_stream(
    output: &mut Streaming,
    call: &Call,
    decoder: &mut Decoder,
    sink: &mut dyn EventSink,
) -> Result<bool> {
    while !decoder.is_complete() {
        match next_event(output, call, sink).await {
            Ok(Some(event)) => decoder.event(event, call.next_stamp(), sink),
            Ok(None) => return Ok(false),
            // The answer is complete; that the rest is missing costs the usage, not the answer.
            Err(e) if decoder.is_stopped() && !error::is_exception(&e) => return Ok(false),
            Err(e) => return Err(error::of_stream(call, e)),
        }
    }
    Ok(true)
}

type Next = std::result::Result<
    Option<StreamItem>,
    aws_sdk_bedrockruntime::error::SdkError<
        aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError,
        aws_smithy_types::event_stream::RawMessage,
    >,
>;

/// The next event, asking the sink before each read that it takes.
async fn next_event(output: &mut Streaming, call: &Call, sink: &mut dyn EventSink) -> Next {
    let mut next = pin!(output.stream.recv());
    poll_fn(|cx| call.poll_with(cx, sink, |cx| next.as_mut().poll(cx))).await
}

/// Reads to the end of the body after the last event, so that the connection can be reused. Whatever goes wrong
/// here, a deadline included, costs the connection, not the answer.
async fn drain(output: &mut Streaming, call: &Call) {
    call.open_gate();
    let (ctx, limit) = (call.ctx(), call.bytes() + MAX_REST);
    let end = ctx.now() + CLOSE_GRACE;
    let deadline = Some(ctx.deadline.map_or(end, |d| d.min(end)));
    let limited = CallContext { deadline, observer: None, ..ctx.clone() };
    let rest = async {
        while let Ok(Some(_)) = output.stream.recv().await {
            call.next_stamp();
            if call.bytes() > limit {
                break;
            }
        }
        Ok(())
    };
    let _ = limited.run("bedrock.drain", rest).await;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ChatModel for Model {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let ctx = &*self.limited(ctx);
        let call = Call::new(ctx, Delivery::Whole, self.config.clone());
        let answered = ctx.run("bedrock.generate", self.converse(request, &call)).await;
        let output = Self::settle(&call, answered)?;
        let (response, facts) =
            response(output).map_err(|e| e.with_provider(PROVIDER).or_phase(CallPhase::Body))?;
        ctx.emit_hooks(|report| facts.report(report));
        Ok(response)
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let ctx = &*self.limited(ctx);
        let call = Call::new(ctx, Delivery::Stream, self.config.clone());
        let (mut output, mut decoder) = (None, Decoder::default());
        let read = ctx
            .run("bedrock.stream", async {
                let output = output.insert(self.converse_stream(request, &call).await?);
                read_stream(output, &call, &mut decoder, sink).await
            })
            .await;
        if let (Some(output), Ok(true)) = (&mut output, &read) {
            drain(output, &call).await;
        }
        let outcome = read.and_then(|_| decoder.outcome().ok_or_else(|| error::truncated(&call)));
        let outcome = Self::settle(&call, outcome);
        ctx.emit_hooks(|report| decoder.facts().report(report));
        outcome
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        llms_core::model::stream_of_drive(self, request, ctx)
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        health::check(self, ctx).await
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("config", &self.config)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Builds models of this provider for a [`Registry`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Factory;

#[async_trait]
impl ModelFactory for Factory {
    async fn create(&self, config: &ModelConfig, build: &BuildContext<'_>) -> Result<SharedModel> {
        let config = Config::new(config, build.env)?;
        Ok(Arc::new(model(config, build.transport.clone()).await?))
    }
}

/// Registers the provider under [`PROVIDER`].
pub fn register(registry: &Registry) {
    registry.register(PROVIDER, Factory);
}
