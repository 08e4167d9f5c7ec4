//! The model of codec and transport, with what takes more than one request: a probe that looks closely, and an error for
//! a missing model that names those the server has. And the registry entry.
//!
//! Answers are [`HttpModel`]'s, unchanged.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use llms_core::{
    CallContext, ChatModel, ChatRequest, ChatResponse, Error, ErrorCode, EventSink, ModelInfo, Outcome,
    Result, SharedModel,
    config::ModelConfig,
    health::{Health, HealthProbe, HealthState},
    model::{EventStream, stream_of_drive},
    registry::{BuildContext, ModelFactory, Registry},
    wire::{HttpModel, Transport},
};

use crate::{
    codec::{Codec, PROVIDER, same_model},
    config::Config,
    error,
    server::{self, Server},
};

/// A model that speaks `/api/chat` or `/api/generate` over a transport.
#[derive(Debug)]
pub struct Model<T: ?Sized = dyn Transport> {
    inner: HttpModel<Codec, T>,
    server: Server<T>,
    probe: HealthProbe,
    /// The models that the server had when the one asked for was found missing; asked for once, however often the
    /// error comes.
    there: OnceLock<String>,
}

/// A model of this configuration over `transport`.
pub fn model<T: Transport + ?Sized>(config: Config, transport: Arc<T>) -> Model<T> {
    let (timeout, probe) = (config.timeout(), config.health);
    let codec = Codec::new(config);
    let server = Server::new(codec.shared_config(), transport.clone());
    let inner = HttpModel::new(codec, transport).with_timeout(timeout).with_health_probe(probe);
    Model { inner, server, probe, there: OnceLock::new() }
}

impl<T: Transport + ?Sized> Model<T> {
    /// The codec.
    pub fn codec(&self) -> &Codec {
        self.inner.codec()
    }

    /// The server it asks, for what is beside answers.
    pub fn server(&self) -> &Server<T> {
        &self.server
    }

    /// `error`, and which models are there if it says that this one is not.
    async fn explain(&self, error: Error, ctx: &CallContext) -> Error {
        if error.code() != ErrorCode::ModelNotAvailable {
            return error;
        }
        if self.there.get().is_none()
            && let Ok(models) = self.server.list(&ctx.ending_within(server::TIMEOUT)).await
        {
            // Another call may have been faster; it found the same.
            let _ = self.there.set(error::there(models.iter().map(|m| m.name.as_str())));
        }
        match self.there.get() {
            Some(there) => error::with_models(&error, there),
            None => error,
        }
    }

    /// What the model is and whether it is loaded, where the server says so: older ones, and what merely speaks like
    /// Ollama, need not. The reason why it cannot answer, if so.
    async fn look_closely(&self, health: &mut Health, ctx: &CallContext) -> Option<String> {
        let ctx = &ctx.ending_within(server::TIMEOUT);
        let model = self.codec().config().model();
        let mut fact = |name: &str, value: Option<String>| {
            health.details.extend(value.map(|v| (name.to_owned(), v)));
        };
        fact("version", self.server.version(ctx).await.ok());
        if let Ok(running) = self.server.running(ctx).await {
            let entry = running.iter().find(|r| same_model(&r.name, model));
            fact("loaded", Some(if entry.is_some() { "yes" } else { "no" }.to_owned()));
            fact("loaded_until", entry.and_then(|r| r.expires_at.clone()));
            fact("loaded_context_tokens", entry.and_then(|r| r.context_length).map(|n| n.to_string()));
            fact("loaded_bytes", entry.and_then(|r| r.size).map(|n| n.to_string()));
            fact("loaded_gpu_bytes", entry.and_then(|r| r.size_vram).map(|n| n.to_string()));
        }
        let shown = self.server.show(model, ctx).await.ok()?;
        fact("context_tokens", shown.context_tokens().map(|n| n.to_string()));
        fact("num_ctx", shown.num_ctx().map(|n| n.to_string()));
        let can = shown.capabilities.join(", ");
        fact("capabilities", (!can.is_empty()).then(|| can.clone()));
        let answers = can.is_empty() || shown.capabilities.iter().any(|c| c == "completion");
        (!answers)
            .then(|| format!("`{model}` generates no text, it is made for: {can}; choose another model"))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Transport + ?Sized> ChatModel for Model<T> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        match self.inner.generate(request, ctx).await {
            Err(e) => Err(self.explain(e, ctx).await),
            answer => answer,
        }
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        match self.inner.drive(request, ctx, sink).await {
            Err(e) => Err(self.explain(e, ctx).await),
            outcome => outcome,
        }
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        stream_of_drive(self, request, ctx)
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        let mut health = self.inner.check_health(ctx).await;
        if health.state == HealthState::Healthy
            && self.probe == HealthProbe::Cheap
            && let Some(reason) = self.look_closely(&mut health, ctx).await
        {
            health.state = HealthState::Degraded;
            health.reason = Some(reason);
        }
        health
    }
}

/// Builds models of this provider for a [`Registry`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Factory;

#[async_trait]
impl ModelFactory for Factory {
    async fn create(&self, config: &ModelConfig, build: &BuildContext<'_>) -> Result<SharedModel> {
        let config = Config::new(config, build.env)?;
        Ok(Arc::new(model(config, build.transport.clone())))
    }
}

/// Registers the provider under [`PROVIDER`].
pub fn register(registry: &Registry) {
    registry.register(PROVIDER, Factory);
}
