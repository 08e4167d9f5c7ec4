//! The parts put together: [`Codec`] behind the core's trait, the model of codec and transport, the registry entry.
//!
//! Nothing is decided here but how the service is probed: `GET /api/tags`, which loads no model and says whether the
//! one asked for is there.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use llms_core::{
    ChatRequest, ChatResponse, Error, ModelInfo, Result, SharedModel,
    config::ModelConfig,
    registry::{BuildContext, ModelFactory, Registry},
    wire::{self, Delivery, Hooks, HttpModel, Prepared, Probe, Transport, ndjson::NdjsonFramer},
};

use crate::{config::Config, error, request, stream, wire::Tags};

/// Registry name of this provider.
pub const PROVIDER: &str = "ollama";

/// Longest wait for the answer to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The wire format of `/api/chat` for one model at one address.
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
    type Framer = NdjsonFramer;
    type Decoder = stream::Decoder;

    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<Prepared> {
        request::encode(&self.config, request, delivery)
    }

    fn framer(&self) -> NdjsonFramer {
        NdjsonFramer::default()
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

    fn probe(&self) -> Result<Probe> {
        let mut headers = self.config.headers.clone();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let uri = self.config.tags.clone();
        let request = Prepared { method: Method::GET, uri, headers, body: Bytes::new() };
        Ok(Probe { request, timeout: PROBE_TIMEOUT.min(self.config.timeout) })
    }

    fn judge_probe(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Vec<(String, String)>> {
        const OP: &str = "ollama.health";
        let config = &*self.config;
        if !(200..300).contains(&status) {
            return Err(error::classify(config, status, headers, body));
        }
        let tags: Tags<'_> =
            serde_json::from_slice(body).map_err(|e| error::malformed(config, OP, "a list of models", &e))?;
        let Some(entry) = tags.models.iter().find(|m| same_model(&m.name, &config.model)) else {
            return Err(error::model_missing(config, OP, &tags));
        };
        let key = if config.has_key { "sent" } else { "none" };
        let mut facts = vec![
            ("api_key".to_owned(), key.to_owned()),
            ("models".to_owned(), tags.models.len().to_string()),
        ];
        let details = entry.details.as_ref();
        for (name, value) in [
            ("digest", entry.digest.as_deref()),
            ("parameter_size", details.and_then(|d| d.parameter_size.as_deref())),
            ("quantization", details.and_then(|d| d.quantization_level.as_deref())),
        ] {
            facts.extend(value.map(|v| (name.to_owned(), v.to_owned())));
        }
        Ok(facts)
    }
}

/// Whether two names mean one model: case, the default registry and the default tag do not matter.
fn same_model(a: &str, b: &str) -> bool {
    let full = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(&name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        if has_tag { name.to_owned() } else { format!("{name}:latest") }
    };
    full(a) == full(b)
}

/// A model that speaks `/api/chat` over `transport`.
pub fn model<T: Transport + ?Sized>(config: Config, transport: Arc<T>) -> HttpModel<Codec, T> {
    let timeout = config.timeout();
    HttpModel::new(Codec::new(config), transport).with_timeout(timeout)
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

#[cfg(test)]
mod tests {
    use super::same_model;

    #[test]
    fn names_of_one_model() {
        for (a, b, same) in [
            ("tiny:latest", "tiny", true),
            ("Tiny:Latest", "tiny", true),
            ("registry.ollama.ai/library/tiny:latest", "tiny", true),
            ("llama3.2:1b", "llama3.2", false),
            ("someone/tiny:latest", "someone/tiny", true),
            ("someone/tiny:latest", "tiny", false),
            ("host:5000/someone/tiny:latest", "host:5000/someone/tiny", true),
        ] {
            assert_eq!(same_model(a, b), same, "{a} {b}");
        }
    }
}
