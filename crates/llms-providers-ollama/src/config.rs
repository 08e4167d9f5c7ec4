//! Where requests go and what every one of them carries: [`ModelConfig`] and the environment, checked once.
//!
//! First step of the flow; everything after it is infallible setup. It decides base URL, key and headers. It sends
//! nothing and reads no environment but through the given function.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `OLLAMA_HOST` | address when the configuration names none, in any of Ollama's spellings |
//! | `OLLAMA_API_KEY` | key, sent as `authorization: Bearer`; goes to `ollama.com`, to the host of `OLLAMA_HOST`, to loopback |

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderValue, Uri, header};
use llms_core::{
    Capabilities, ChatOptions, ModelInfo, Result,
    config::{ConfigErrors, Env, ModelConfig, shown_address},
    health::HealthProbe,
    wire::{
        headers::{bearer, user_headers},
        refusal::clean,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::{
    codec::PROVIDER,
    place::{Endpoints, Place},
    request,
    settings::{Api, check_keep_alive, check_think},
};

/// Used when nothing else is named.
pub const DEFAULT_BASE_URL: &str = "http://127.0.0.1:11434";
/// Ollama's own hosts, which serve models for a key; a leading `.` matches sub-domains.
pub const OLLAMA_HOSTS: &[&str] = &["ollama.com", ".ollama.com"];

/// Keys understood in [`ModelConfig::provider_specific`]; any other is refused by name.
///
/// - `api`: `chat` (default) or `generate`, the endpoint asked, see [`Api`];
/// - `base_url`: the address in any of the spellings of `OLLAMA_HOST`, where [`ModelConfig::base_url`] is not given;
/// - `keep_alive`: how long the model stays loaded after a request: seconds as a number, or text such as `"5m"`; 0
///   unloads at once, −1 keeps for ever;
/// - `think`: `true`, `false`, or how hard: `"low"`, `"medium"`, `"high"`, `"max"`.
///
/// `keep_alive` and `think` are defaults for the extra fields of these names, which a request may set for itself.
pub const SPECIFIC_KEYS: &[&str] = &["api", "base_url", "keep_alive", "think"];

/// A checked configuration. Built by [`Config::new`] only, so that what follows need not check again.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) model: String,
    pub(crate) api: Api,
    pub(crate) base: Url,
    pub(crate) endpoints: Endpoints,
    /// What every request carries; credentials are marked sensitive.
    pub(crate) headers: HeaderMap,
    /// Everything that must never be printed.
    pub(crate) secrets: Vec<SecretString>,
    pub(crate) has_key: bool,
    pub(crate) options: ChatOptions,
    pub(crate) timeout: Duration,
    pub(crate) health: HealthProbe,
}

impl Config {
    /// Checks `config` and looks up in `env` what it leaves out.
    ///
    /// # Errors
    /// `invalid_config` naming every wrong field; `authentication_error` when the address is the vendor's own and
    /// there is no key for it, naming the variable to set.
    pub fn new(config: &ModelConfig, env: &Env<'_>) -> Result<Self> {
        let (mut options, mut errors) = (config.options.clone(), ConfigErrors::default());
        let api = specific(&config.provider_specific, &mut options, &mut errors);
        errors.errors.extend(config.validate(&capabilities(api)).err().unwrap_or_default().errors);
        request::check_options(api, &config.options, &mut errors);
        let place = match Place::find(config, env, &mut errors) {
            Ok(place) => Some(place),
            // `validate` has already named a bad base_url.
            Err((field, ..)) if errors.errors.iter().any(|e| e.field == field) => None,
            Err((field, message, found)) => {
                errors.push(field, message, shown_address(&found));
                None
            }
        };
        let user = user_headers(&config.headers, &[], &mut errors);
        let key = config.api_key.clone().filter(|k| !k.expose_secret().trim().is_empty());
        errors.check(
            key.as_ref().is_none_or(|k| bearer(k).is_some()),
            "api_key",
            "expected visible ASCII characters",
            "others",
        );
        errors.into_result()?;
        let place = place.expect("invariant: without a place there was an error");

        let own = user.contains_key(header::AUTHORIZATION);
        let key = match key {
            Some(key) => Some(key),
            None if own => None,
            None => place.key_from_env(env)?,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("llms-bench/", env!("CARGO_PKG_VERSION"))),
        );
        let mut secrets: Vec<SecretString> =
            user.values().filter_map(|v| Some(v.to_str().ok()?.into())).collect();
        let has_key = own || key.is_some();
        if let Some(key) = key {
            let value = bearer(&key).expect("invariant: keys are checked where they are found");
            headers.insert(header::AUTHORIZATION, value);
            secrets.push(key.expose_secret().trim().into());
        }
        // What the user wrote wins, also over the key.
        headers.extend(user);
        Ok(Self {
            model: config.model.clone(),
            api,
            base: place.base,
            endpoints: place.endpoints,
            headers,
            secrets,
            has_key,
            options,
            timeout: config.timeout,
            health: config.health,
        })
    }

    /// The model as the server names it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The endpoint asked.
    pub fn api(&self) -> Api {
        self.api
    }

    /// Where requests for answers go.
    pub(crate) fn asked(&self) -> &Uri {
        match self.api {
            Api::Chat => &self.endpoints.chat,
            Api::Generate => &self.endpoints.generate,
        }
    }

    /// Where requests go, up to but without `/api/chat`.
    pub fn base_url(&self) -> &Url {
        &self.base
    }

    /// Whether requests carry a key.
    pub fn has_key(&self) -> bool {
        self.has_key
    }

    /// Limit of one call, for the caller's context.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What may never be printed.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> + Clone {
        self.secrets.iter().map(ExposeSecret::expose_secret)
    }

    /// A name that the server gave, unless it quotes a secret.
    pub(crate) fn clean(&self, name: &str) -> String {
        clean(name, self.secrets()).into_owned()
    }

    /// Who answers, where, and what it can do.
    pub(crate) fn info(&self) -> ModelInfo {
        ModelInfo {
            provider: PROVIDER.to_owned(),
            model: self.model.clone(),
            endpoint: Some(self.base.as_str().trim_end_matches('/').to_owned()),
            capabilities: capabilities(self.api),
        }
    }
}

/// What the wire can say. Whether a model understands images, tools or a schema is the model's affair; refusals are
/// clear.
pub(crate) fn capabilities(api: Api) -> Capabilities {
    Capabilities {
        streaming: true,
        tools: api == Api::Chat,
        images: true,
        structured_output: true,
        usage: true,
        seed: true,
        ..Capabilities::default()
    }
}

/// Reads the settings of [`SPECIFIC_KEYS`] but the address; those that requests carry become defaults of `options`.
fn specific(map: &BTreeMap<String, Value>, options: &mut ChatOptions, errors: &mut ConfigErrors) -> Api {
    let mut api = Api::default();
    for (key, value) in map {
        let field = format!("provider_specific.{key}");
        match (key.as_str(), value.as_str()) {
            ("api", Some("chat")) => api = Api::Chat,
            ("api", Some("generate")) => api = Api::Generate,
            ("api", _) => errors.push(field, "expected chat or generate", value),
            // The address is `Place`'s affair.
            ("base_url", _) => {}
            ("keep_alive", _) => check_keep_alive(&field, value, errors),
            ("think", _) => check_think(&field, value, errors),
            _ => errors.push(
                field,
                format!("expected one of {}", SPECIFIC_KEYS.join(", ")),
                "an unknown setting (format, raw and model parameters are options)",
            ),
        }
        if matches!(key.as_str(), "keep_alive" | "think") {
            options.extra.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    api
}
