//! The parts put together: Bedrock as a [`ChatModel`], and its registry entry.
//!
//! Behaves as the core's `HttpModel` does: the same observer events in the same order, deadline and cancellation
//! with the phase they hit, the connection drained after the end of the stream so that it can be reused, the sink
//! asked before each read.

use std::{borrow::Cow, fmt, sync::Arc};

use async_trait::async_trait;
use aws_sdk_bedrockruntime::{
    Client,
    primitives::event_stream::EventReceiver,
    types::{
        ConverseStreamOutput as StreamItem, ResponseStream,
        error::{ConverseStreamOutputError, ResponseStreamError},
    },
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use llms_core::{
    CallContext, ChatModel, ChatRequest, ChatResponse, ErrorCode, EventSink, EventStream, ModelInfo, Outcome,
    Result, SharedModel,
    config::ModelConfig,
    health::{self, Health, HealthProbe},
    observe::CallEvent,
    registry::{BuildContext, ModelFactory, Registry},
    wire::{Delivery, Transport, refusal::clean_names},
};

use crate::{
    call::Call,
    client::{Connected, connect},
    config::{Api, Config, PROVIDER},
    document::sort_members,
    error, health as probe,
    hooks::Facts,
    invoke::{self, Family, Invocation},
    reading,
    request::Parts,
    response::response,
    stream::Decoder,
    wire::Wire,
};

/// One model of Amazon Bedrock. Made by [`model`].
pub struct Model {
    pub(crate) config: Arc<Config>,
    pub(crate) client: Client,
    pub(crate) region: String,
    info: ModelInfo,
}

/// A model that speaks Converse and ConverseStream, or with the setting `api = "invoke"` InvokeModel and its stream,
/// over `transport`. Asynchronous, because the AWS configuration and credential chain are; with fixed credentials or
/// a loopback endpoint nothing is waited for.
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
        capabilities: config.api.capabilities(),
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

    async fn converse(&self, request: &ChatRequest, call: &Call) -> Result<(ChatResponse, Facts)> {
        let parts = Parts::new(request, &self.config.options)?;
        let attach = attach(call, parts.has_documents());
        let sent = parts.converse(&self.client, &self.config.model).customize().mutate_request(attach).send();
        response(sent.await.map_err(|e| error::of_call(call, e))?)
    }

    async fn converse_stream(
        &self,
        request: &ChatRequest,
        call: &Call,
    ) -> Result<EventReceiver<StreamItem, ConverseStreamOutputError>> {
        let parts = Parts::new(request, &self.config.options)?;
        let attach = attach(call, parts.has_documents());
        let sent =
            parts.converse_stream(&self.client, &self.config.model).customize().mutate_request(attach).send();
        Ok(sent.await.map_err(|e| error::of_call(call, e))?.stream)
    }

    async fn invoke(
        &self,
        family: Family,
        request: &ChatRequest,
        call: &Call,
    ) -> Result<(ChatResponse, Facts)> {
        let (model, defaults) = (&self.config.model, &self.config.options);
        let sent = Invocation::new(family, request, defaults, model)?
            .whole(&self.client, model)
            .customize()
            .mutate_request(attach(call, false))
            .send();
        let body = sent.await.map_err(|e| error::of_call(call, e))?.body;
        let headers = call.state().head.as_ref().map(|head| head.headers.clone()).unwrap_or_default();
        invoke::whole(family, &self.config, body.as_ref(), &headers).map_err(|e| error::with_id(call, e))
    }

    async fn invoke_stream(
        &self,
        family: Family,
        request: &ChatRequest,
        call: &Call,
    ) -> Result<EventReceiver<ResponseStream, ResponseStreamError>> {
        let (model, defaults) = (&self.config.model, &self.config.options);
        let sent = Invocation::new(family, request, defaults, model)?
            .stream(&self.client, model)
            .customize()
            .mutate_request(attach(call, false))
            .send();
        Ok(sent.await.map_err(|e| error::of_call(call, e))?.body)
    }
}

/// Says what a failure means, and tells the observer. A refusal whose text had not come in full when the deadline
/// passed is still that refusal. Adds what only this level knows: the provider, and the phase an interruption hit.
pub(crate) fn settle<T>(call: &Call, result: Result<T>) -> Result<T> {
    result.map_err(|e| {
        let e = match e.code() {
            ErrorCode::DeadlineExceeded => error::refusal(call).unwrap_or(e),
            _ => e,
        };
        let e = if e.provider().is_none() { e.with_provider(PROVIDER) } else { e };
        let e = e.or_phase(call.phase());
        call.ctx().emit(|| CallEvent::Failed { at: call.ctx().now(), error: &e });
        e
    })
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

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ChatModel for Model {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let ctx = &*self.limited(ctx);
        let call = Call::new(ctx, Delivery::Whole, self.config.clone());
        let answered = ctx
            .run("bedrock.generate", async {
                match self.config.api {
                    Api::Converse => self.converse(request, &call).await,
                    Api::Invoke(family) => self.invoke(family, request, &call).await,
                }
            })
            .await;
        call.end();
        if let Ok((_, facts)) = &answered {
            ctx.emit_hooks(|report| facts.report(&self.config, report));
        }
        settle(
            &call,
            answered.map(|(mut response, _)| {
                let ChatResponse { id, model, finish_reason, .. } = &mut response;
                clean_names(id, model, finish_reason, self.config.secrets());
                response
            }),
        )
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let ctx = &*self.limited(ctx);
        let call = Call::new(ctx, Delivery::Stream, self.config.clone());
        match self.config.api {
            Api::Converse => {
                let open = self.converse_stream(request, &call);
                reading::drive(&call, ctx, sink, Decoder::default(), open).await
            }
            Api::Invoke(family) => {
                let open = self.invoke_stream(family, request, &call);
                reading::drive(&call, ctx, sink, invoke::Decoder::new(family, self.config.clone()), open)
                    .await
            }
        }
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        llms_core::model::stream_of_drive(self, request, ctx)
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        match self.config.health {
            HealthProbe::Cheap => probe::check(self, ctx).await,
            HealthProbe::OneToken => {
                let mut health = health::one_token(self, ctx).await;
                health.details.extend(probe::details(self));
                health
            }
        }
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
