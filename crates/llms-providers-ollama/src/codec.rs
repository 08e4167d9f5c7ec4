//! The parts put together: [`Codec`] behind the core's trait.
//!
//! Nothing is decided here but how the service is probed: `GET /api/tags`, which loads no model and says whether the
//! one asked for is there. What the model can do and whether it is loaded, `model.rs` asks for.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use llms_core::{
    ChatRequest, ChatResponse, Error, ModelInfo, Result,
    wire::{self, Delivery, Hooks, Prepared, Probe, ndjson::NdjsonFramer},
};

use crate::{config::Config, error, hooks, request, server, stream};

/// Registry name of this provider.
pub const PROVIDER: &str = "ollama";

/// The wire format of `/api/chat` or `/api/generate` for one model at one address.
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

    pub(crate) fn shared_config(&self) -> Arc<Config> {
        self.config.clone()
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

    fn hooks(&self, headers: &HeaderMap, report: &mut Hooks<'_>) {
        hooks::of_headers(headers, &self.config, report);
    }

    fn probe(&self) -> Result<Probe> {
        let mut headers = self.config.headers.clone();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let uri = self.config.endpoints.tags.clone();
        let request = Prepared { method: Method::GET, uri, headers, body: Bytes::new() };
        Ok(Probe { request, timeout: server::TIMEOUT.min(self.config.timeout) })
    }

    fn judge_probe(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Vec<(String, String)>> {
        const OP: &str = "ollama.health";
        let config = &*self.config;
        if !(200..300).contains(&status) {
            let asked = (OP, &config.endpoints.tags, config.model.as_str());
            return Err(error::classify_for(config, asked, status, headers, body));
        }
        let models =
            server::models(body).map_err(|e| error::malformed(config, OP, "a list of models", &e))?;
        let Some(entry) = models.iter().find(|m| same_model(&m.name, &config.model)) else {
            return Err(error::model_missing(config, OP, models.iter().map(|m| m.name.as_str())));
        };
        let key = if config.has_key { "sent" } else { "none" };
        let mut facts =
            vec![("api_key".to_owned(), key.to_owned()), ("models".to_owned(), models.len().to_string())];
        for (name, value) in [
            ("digest", &entry.digest),
            ("parameter_size", &entry.details.parameter_size),
            ("quantization", &entry.details.quantization_level),
        ] {
            facts.extend(value.as_ref().map(|v| (name.to_owned(), v.clone())));
        }
        Ok(facts)
    }
}

/// Whether two names mean one model: case, the default registry and the default tag do not matter.
pub(crate) fn same_model(a: &str, b: &str) -> bool {
    let full = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(&name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        if has_tag { name.to_owned() } else { format!("{name}:latest") }
    };
    full(a) == full(b)
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
