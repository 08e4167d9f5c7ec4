//! The parts put together: [`Codec`] behind the core's trait, the model of codec and transport, the registry entry.
//!
//! Nothing is decided here but how the service is probed: `GET …/models`, which every server of this kind has and
//! none charges for.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use llms_core::{
    ChatRequest, ChatResponse, Error, ModelInfo, Result, SharedModel,
    config::ModelConfig,
    registry::{BuildContext, ModelFactory, Registry},
    wire::{self, Delivery, Hooks, HttpModel, Prepared, Probe, Transport, sse::SseFramer},
};

use crate::{address::Service, config::Config, error, hooks, request, stream, wire::ModelList};

/// Registry name of this provider.
pub const PROVIDER: &str = "openai";

/// Longest wait for the answer to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The wire format of one model at one address, in the API of its configuration.
#[derive(Clone, Debug)]
pub struct Codec {
    config: Arc<Config>,
    info: ModelInfo,
}

impl Codec {
    /// The codec of a configuration.
    pub fn new(config: Config) -> Self {
        Self { info: config.info(), config: Arc::new(config) }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl wire::Codec for Codec {
    type Framer = SseFramer;
    type Decoder = stream::Decoder;

    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<Prepared> {
        request::encode(&self.config, request, delivery)
    }

    fn framer(&self) -> SseFramer {
        SseFramer::default()
    }

    fn decoder(&self) -> stream::Decoder {
        stream::Decoder::new(self.config.clone())
    }

    fn decode(&self, body: &[u8], hooks: &mut Hooks<'_>) -> Result<ChatResponse> {
        stream::whole(&self.config, body, hooks)
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
        error::classify(&self.config, status, headers, body)
    }

    fn hooks(&self, headers: &HeaderMap, report: &mut Hooks<'_>) {
        hooks::of_headers(&self.config, headers, report);
    }

    fn probe(&self) -> Result<Probe> {
        let mut headers = self.config.headers.clone();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let uri = self.config.models.clone();
        let request = Prepared { method: Method::GET, uri, headers, body: Bytes::new() };
        Ok(Probe { request, timeout: PROBE_TIMEOUT.min(self.config.timeout) })
    }

    fn judge_probe(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Vec<(String, String)>> {
        let config = &*self.config;
        let key = if config.has_key { "sent" } else { "none" };
        let mut facts =
            vec![("api_key".to_owned(), key.to_owned()), ("api".to_owned(), config.api.as_str().to_owned())];
        let server = headers.get(header::SERVER).and_then(|v| v.to_str().ok());
        let server = server.filter(|s| !config.shows_secret(s));
        facts.extend(server.map(|s| ("server".to_owned(), s.to_owned())));
        if status == 404 && config.service == Service::Compatible {
            // It answers; not every server of this kind lists its models.
            facts.push(("models".to_owned(), "not listed by this server".to_owned()));
            return Ok(facts);
        }
        if !(200..300).contains(&status) {
            return Err(error::classify(config, status, headers, body));
        }
        let list: ModelList<'_> = serde_json::from_slice(body)
            .map_err(|e| error::malformed(config, "openai.health", "a list of models", &e))?;
        let names: Vec<&str> = list.names().collect();
        facts.push(("models".to_owned(), names.len().to_string()));
        // Azure lists base models, while requests name deployments.
        // Ollama adds the tag that a name without one means.
        let is_ours = |n: &str| n == config.model || n.strip_suffix(":latest") == Some(&config.model);
        if config.service == Service::Azure || names.iter().any(|n| is_ours(n)) {
            return Ok(facts);
        }
        Err(error::model_missing(config, &names))
    }
}

/// A model that speaks the configured API over `transport`; the configured timeout limits calls without a deadline.
pub fn model<T: Transport + ?Sized>(config: Config, transport: Arc<T>) -> HttpModel<Codec, T> {
    let (timeout, health) = (config.timeout(), config.health_probe());
    HttpModel::new(Codec::new(config), transport).with_timeout(timeout).with_health_probe(health)
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
