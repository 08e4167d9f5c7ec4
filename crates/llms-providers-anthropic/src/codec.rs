//! The parts put together: [`Codec`] behind the core's trait, the model of codec and transport, the registry entry.
//!
//! Nothing is decided here but how the service is probed: `GET /v1/models/{model}`, which costs nothing and also knows
//! the aliases of a model.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use llms_core::{
    ChatRequest, ChatResponse, Error, ErrorCode, ModelInfo, Result, SharedModel,
    config::ModelConfig,
    registry::{BuildContext, ModelFactory, Registry},
    wire::{self, Delivery, Hooks, HttpModel, Prepared, Probe, Transport, borrow::Text, sse::SseFramer},
};
use serde_json::value::RawValue;

use crate::{
    config::Config,
    error, hooks, request, stream, whole,
    wire::{Capability, ModelEntry},
};

/// Registry name of this provider.
pub const PROVIDER: &str = "anthropic";

/// Longest wait for the answer to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The wire format of Messages for one model at one address.
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
        whole::read(&self.config, body, hooks)
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
        error::classify(&self.config, &self.config.messages, "anthropic.messages", status, headers, body)
    }

    fn hooks(&self, headers: &HeaderMap, report: &mut Hooks<'_>) {
        hooks::of_headers(&self.config, headers, report);
    }

    fn probe(&self) -> Result<Probe> {
        let mut headers = self.config.headers.clone();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let uri = self.config.model_info.clone();
        let request = Prepared { method: Method::GET, uri, headers, body: Bytes::new() };
        Ok(Probe { request, timeout: PROBE_TIMEOUT.min(self.config.timeout) })
    }

    fn judge_probe(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Vec<(String, String)>> {
        let config = &*self.config;
        let key = if config.has_key { "sent" } else { "none" };
        let mut facts = vec![
            ("api_key".to_owned(), key.to_owned()),
            ("api_version".to_owned(), config.api_version.clone()),
        ];
        let server = headers.get(header::SERVER).and_then(|v| v.to_str().ok());
        facts.extend(server.map(|s| ("server".to_owned(), config.clean(s).into_owned())));
        // Compatible servers have no such page, or another one: they answer, and that is all that is known.
        let no_such_page = status == 404 && !error::is_of_the_vendor(body);
        if !no_such_page && !(200..300).contains(&status) {
            return Err(error::classify(
                config,
                &config.model_info,
                "anthropic.health",
                status,
                headers,
                body,
            ));
        }
        // What is no API answers with pages.
        if let Err(e) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            return Err(error::malformed(config, "anthropic.health", "a model or an error", &e));
        }
        let entry: ModelEntry<'_> = serde_json::from_slice(body).unwrap_or_default();
        if no_such_page || entry.kind.as_deref() != Some("model") {
            facts.push(("model".to_owned(), "cannot be looked up on this server".to_owned()));
            return Ok(facts);
        }
        if entry.lifecycle.as_deref() == Some("retired") {
            let message = format!("the model {} is retired; choose another", config.model);
            return Err(error::new("anthropic.health", ErrorCode::ModelNotAvailable, message));
        }
        facts.extend(about(&entry).map(|(name, value)| (name.to_owned(), config.clean(&value).into_owned())));
        Ok(facts)
    }
}

/// What the service says about the model, as facts to show.
fn about(entry: &ModelEntry<'_>) -> impl Iterator<Item = (&'static str, String)> {
    let text = |t: &Option<Text<'_>>| t.as_deref().map(str::to_owned);
    let can = entry.capabilities.and_then(|c| {
        // One entry may take another shape; the others still count.
        let all: BTreeMap<String, &RawValue> = serde_json::from_str(c.get()).ok()?;
        let supported = |v: &RawValue| serde_json::from_str(v.get()).is_ok_and(|c: Capability| c.supported);
        let names: Vec<&str> = all.iter().filter(|(_, v)| supported(v)).map(|(k, _)| k.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    });
    [
        ("model", text(&entry.id)),
        ("display_name", text(&entry.display_name)),
        ("lifecycle", text(&entry.lifecycle)),
        ("retires_at", text(&entry.retires_at)),
        ("context_tokens", entry.max_input_tokens.map(|n| n.to_string())),
        ("max_output_tokens", entry.max_tokens.map(|n| n.to_string())),
        ("supports", can),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// A model that speaks Messages over `transport`.
pub fn model<T: Transport + ?Sized>(config: Config, transport: Arc<T>) -> HttpModel<Codec, T> {
    let (timeout, probe) = (config.timeout(), config.health_probe());
    HttpModel::new(Codec::new(config), transport).with_timeout(timeout).with_health_probe(probe)
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
