//! Where requests go and what every one of them carries: [`ModelConfig`] and the environment, checked once.
//!
//! First step of the flow; everything after it is infallible setup. It decides base URL, dialect ([`Service`]), key
//! and headers. It sends nothing and reads no environment but through the given function.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `OPENAI_API_KEY` | key; goes to `api.openai.com` and its regions, to the host of `OPENAI_BASE_URL`, to loopback |
//! | `OPENAI_BASE_URL` | base URL when the configuration names none |
//! | `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID` | headers `OpenAI-Organization`, `OpenAI-Project`, to the vendor's own hosts only |
//! | `AZURE_OPENAI_API_KEY` | key of Azure resources; goes to Azure's hosts, to the host of `AZURE_OPENAI_ENDPOINT`, to loopback |
//! | `AZURE_OPENAI_ENDPOINT` | base URL when `azure_deployment` is given and the configuration names none |
//! | `OPENAI_API_VERSION` | `api-version` of Azure deployment paths when the configuration names none |

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use llms_core::{
    CallPhase, Capabilities, ChatOptions, Error, ErrorCode, FinishReason, ModelInfo, Outcome, Result,
    config::{ConfigErrors, Env, ModelConfig, key_may_go_to, parse_base_url},
    health::HealthProbe,
    wire::{
        headers::{bearer, sensitive, user_headers},
        refusal::{clean, clean_names},
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::{
    address::{AZURE_HOSTS, Address, OPENAI_HOSTS, Service, Wanted, is_host_of},
    api::Api,
    codec::PROVIDER,
};

/// Keys understood in [`ModelConfig::provider_specific`]; any other is refused by name.
pub const SPECIFIC_KEYS: &[&str] = &[
    "api",
    "api_version",
    "azure_deployment",
    "max_tokens_field",
    "organization",
    "project",
    "stream_usage",
];

/// The body field of chat completions that carries [`ChatOptions::max_tokens`]; the other APIs have one name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenLimitField {
    /// `max_completion_tokens`: the only one that reasoning models of OpenAI take.
    MaxCompletionTokens,
    /// `max_tokens`: the one that every compatible server knows; OpenAI calls it deprecated.
    MaxTokens,
}

/// A checked configuration. Built by [`Config::new`] only, so that what follows need not check again.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) model: String,
    /// Named in the body in the place of the model (responses on Azure).
    deployment: Option<String>,
    pub(crate) service: Service,
    pub(crate) api: Api,
    pub(crate) base: Url,
    pub(crate) endpoint: Uri,
    pub(crate) models: Uri,
    /// What every request carries; credentials are marked sensitive.
    pub(crate) headers: HeaderMap,
    /// Everything that must never be printed.
    pub(crate) secrets: Vec<SecretString>,
    pub(crate) has_key: bool,
    pub(crate) token_limit: TokenLimitField,
    pub(crate) stream_usage: bool,
    pub(crate) options: ChatOptions,
    pub(crate) timeout: Duration,
    pub(crate) health: HealthProbe,
}

impl Config {
    /// Checks `config` and looks up in `env` what it leaves out. Speaks the API of `provider_specific.api`, else the one
    /// that `base_url` is the endpoint of, else chat completions.
    ///
    /// # Errors
    /// `invalid_config` naming every wrong field; `authentication_error` when the address is the vendor's own and
    /// there is no key for it, naming the variable to set.
    pub fn new(config: &ModelConfig, env: &Env<'_>) -> Result<Self> {
        Self::speaking(None, config, env)
    }

    /// The same for chat completions.
    ///
    /// # Errors
    /// As [`new`](Self::new); also when `config` names another API.
    pub fn chat(config: &ModelConfig, env: &Env<'_>) -> Result<Self> {
        Self::speaking(Some(Api::Chat), config, env)
    }

    /// The same for the Responses API.
    ///
    /// # Errors
    /// As [`new`](Self::new); also when `config` names another API.
    pub fn responses(config: &ModelConfig, env: &Env<'_>) -> Result<Self> {
        Self::speaking(Some(Api::Responses), config, env)
    }

    /// The same for text completions.
    ///
    /// # Errors
    /// As [`new`](Self::new); also when `config` names another API.
    pub fn completions(config: &ModelConfig, env: &Env<'_>) -> Result<Self> {
        Self::speaking(Some(Api::Completions), config, env)
    }

    fn speaking(api: Option<Api>, config: &ModelConfig, env: &Env<'_>) -> Result<Self> {
        let mut errors = config.validate(&Capabilities::default()).err().unwrap_or_default();
        let specific = Specific::read(&config.provider_specific, &mut errors);
        if let (Some(api), Some(other)) = (api, specific.api)
            && api != other
        {
            errors.push("provider_specific.api", format!("expected `{api}` or nothing"), other);
        }
        let wanted = Wanted {
            api: api.or(specific.api),
            deployment: specific.azure_deployment.as_deref(),
            api_version: specific.api_version.as_deref(),
        };
        let place = match Address::find(config, wanted, env) {
            Ok(place) => Some(place),
            // `validate` has already named a bad base_url.
            Err((field, ..)) if errors.errors.iter().any(|e| e.field == field) => None,
            Err((field, message, found)) => {
                errors.push(field, message, found);
                None
            }
        };
        let headers = user_headers(&config.headers, &[], &mut errors);
        let key = config.api_key.clone().filter(|k| !k.expose_secret().trim().is_empty());
        errors.check(
            key.as_ref().is_none_or(|k| bearer(k).is_some()),
            "api_key",
            "expected visible ASCII characters",
            "others",
        );
        errors.into_result()?;
        let place = place.expect("invariant: without a place there was an error");

        let Address { service, api, base, endpoint, models, deployment, predates_newer_fields } = place;
        let own = headers.contains_key(header::AUTHORIZATION) || headers.contains_key("api-key");
        let key = match key {
            Some(key) => Some(key),
            None if own => None,
            None => key_from_env(service, &base, env)?,
        };
        let mut config = Self {
            model: config.model.clone(),
            deployment,
            service,
            api,
            base,
            endpoint,
            models,
            headers: HeaderMap::new(),
            // What follows the scheme (`Bearer …`). Short values (`x-team: prod`) are no credentials and would blacken
            // ordinary words.
            secrets: headers
                .values()
                .filter_map(|v| v.to_str().ok()?.rsplit(' ').next().filter(|v| v.len() >= 12))
                .map(SecretString::from)
                .collect(),
            has_key: key.is_some() || own,
            token_limit: specific.token_limit.unwrap_or(match service {
                Service::OpenAi | Service::Azure if !predates_newer_fields => {
                    TokenLimitField::MaxCompletionTokens
                }
                _ => TokenLimitField::MaxTokens,
            }),
            stream_usage: specific.stream_usage.unwrap_or(!predates_newer_fields),
            options: config.options.clone(),
            timeout: config.timeout,
            health: config.health,
        };
        config.fill_headers(key, &specific, env, headers)?;
        Ok(config)
    }

    fn fill_headers(
        &mut self,
        key: Option<SecretString>,
        specific: &Specific,
        env: &Env<'_>,
        user: HeaderMap,
    ) -> Result<()> {
        let h = &mut self.headers;
        h.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        h.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("llms-bench/", env!("CARGO_PKG_VERSION"))),
        );
        let own_host = self.service == Service::OpenAi;
        for (name, value, variable) in [
            ("openai-organization", &specific.organization, "OPENAI_ORG_ID"),
            ("openai-project", &specific.project, "OPENAI_PROJECT_ID"),
        ] {
            if let Some(value) = value.clone().or_else(|| env(variable).filter(|_| own_host)) {
                h.insert(HeaderName::from_static(name), sensitive(&value).ok_or_else(|| bad_value(name))?);
            }
        }
        if let Some(key) = key {
            let (name, value) = match self.service {
                Service::Azure => (HeaderName::from_static("api-key"), sensitive(key.expose_secret().trim())),
                Service::OpenAi | Service::Compatible => (header::AUTHORIZATION, bearer(&key)),
            };
            h.insert(name, value.ok_or_else(|| bad_value("the key"))?);
            self.secrets.push(key.expose_secret().trim().into());
        }
        // What the user wrote wins, also over the key.
        h.extend(user);
        Ok(())
    }

    /// The model as the server names it; for Azure the deployment.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Which API is spoken.
    pub fn api(&self) -> Api {
        self.api
    }

    /// How health is probed.
    pub fn health_probe(&self) -> HealthProbe {
        self.health
    }

    /// What bodies name as the model.
    pub(crate) fn wire_model(&self) -> &str {
        self.deployment.as_deref().unwrap_or(&self.model)
    }

    /// Where requests go, up to but without the path of the API (`/chat/completions`).
    pub fn base_url(&self) -> &Url {
        &self.base
    }

    /// Which dialect is spoken.
    pub fn service(&self) -> Service {
        self.service
    }

    /// Whether requests carry a key.
    pub fn has_key(&self) -> bool {
        self.has_key
    }

    /// Which field carries the limit of generated tokens.
    pub fn token_limit_field(&self) -> TokenLimitField {
        self.token_limit
    }

    /// Limit of a call whose context has no deadline.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What may never be printed.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> + Clone {
        self.secrets.iter().map(ExposeSecret::expose_secret)
    }

    /// A name that the server gave, without the secrets that it may quote.
    pub(crate) fn clean<'t>(&self, name: &'t str) -> Cow<'t, str> {
        clean(name, self.secrets())
    }

    /// A reason to stop, without the secrets that its word may quote.
    pub(crate) fn clean_reason(&self, reason: FinishReason) -> FinishReason {
        match reason {
            FinishReason::Other(word) => FinishReason::Other(self.clean(&word).into_owned()),
            known => known,
        }
    }

    /// How a stream ended, with its names cleaned.
    pub(crate) fn cleaned(&self, mut outcome: Outcome) -> Outcome {
        let Outcome { id, model, finish_reason, .. } = &mut outcome;
        clean_names(id, model, finish_reason, self.secrets());
        outcome
    }

    /// Whether a text quotes what may never be printed.
    pub(crate) fn shows_secret(&self, text: &str) -> bool {
        self.secrets().any(|secret| text.contains(secret))
    }

    /// What the wire can say. Whether a model understands images or tools is the model's affair; refusals are clear.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let rich = self.api != Api::Completions;
        Capabilities {
            streaming: true,
            tools: rich,
            images: rich,
            documents: rich,
            structured_output: rich,
            usage: true,
            seed: self.api != Api::Responses || self.service == Service::Compatible,
            ..Capabilities::default()
        }
    }

    /// Who answers, where, and what it can do.
    pub(crate) fn info(&self) -> ModelInfo {
        ModelInfo {
            provider: PROVIDER.to_owned(),
            model: self.model.clone(),
            endpoint: Some(self.base.as_str().trim_end_matches('/').to_owned()),
            capabilities: self.capabilities(),
        }
    }
}

/// [`ModelConfig::provider_specific`], read.
#[derive(Default)]
struct Specific {
    api: Option<Api>,
    api_version: Option<String>,
    azure_deployment: Option<String>,
    organization: Option<String>,
    project: Option<String>,
    token_limit: Option<TokenLimitField>,
    stream_usage: Option<bool>,
}

impl Specific {
    fn read(map: &BTreeMap<String, Value>, errors: &mut ConfigErrors) -> Self {
        let mut s = Self::default();
        for (key, value) in map {
            let mut text = || match value.as_str().map(str::trim) {
                Some(t) if !t.is_empty() && HeaderValue::from_str(t).is_ok() => Some(t.to_owned()),
                _ => {
                    errors.push(format!("provider_specific.{key}"), "expected a text", value);
                    None
                }
            };
            match key.as_str() {
                "api" => {
                    s.api = value.as_str().and_then(Api::of);
                    errors.check(
                        s.api.is_some(),
                        "provider_specific.api",
                        "expected \"chat\", \"responses\" or \"completions\"",
                        value,
                    );
                }
                "api_version" => s.api_version = text(),
                "azure_deployment" => s.azure_deployment = text(),
                "organization" => s.organization = text(),
                "project" => s.project = text(),
                "stream_usage" => {
                    s.stream_usage = value.as_bool();
                    errors.check(
                        value.is_boolean(),
                        "provider_specific.stream_usage",
                        "expected true or false",
                        value,
                    );
                }
                "max_tokens_field" => match value.as_str() {
                    Some("max_tokens") => s.token_limit = Some(TokenLimitField::MaxTokens),
                    Some("max_completion_tokens") => {
                        s.token_limit = Some(TokenLimitField::MaxCompletionTokens);
                    }
                    _ => errors.push(
                        "provider_specific.max_tokens_field",
                        "expected \"max_tokens\" or \"max_completion_tokens\"",
                        value,
                    ),
                },
                _ => errors.push(
                    format!("provider_specific.{key}"),
                    format!("expected one of {}", SPECIFIC_KEYS.join(", ")),
                    "an unknown setting",
                ),
            }
        }
        s
    }
}

/// A variable that may hold a key, and where that key may go besides loopback.
struct KeyVariable {
    name: &'static str,
    hosts: &'static [&'static str],
    base: &'static str,
}

const OPENAI_KEY: KeyVariable =
    KeyVariable { name: "OPENAI_API_KEY", hosts: OPENAI_HOSTS, base: "OPENAI_BASE_URL" };
const AZURE_KEY: KeyVariable =
    KeyVariable { name: "AZURE_OPENAI_API_KEY", hosts: AZURE_HOSTS, base: "AZURE_OPENAI_ENDPOINT" };

/// The key of the first variable whose key may be sent to `to`; `None` when none is needed.
fn key_from_env(service: Service, to: &Url, env: &Env<'_>) -> Result<Option<SecretString>> {
    // Azure's newer API is documented with OpenAI's variables: `OPENAI_BASE_URL` decides where that key goes.
    let variables: &[KeyVariable] = match service {
        Service::Azure => &[AZURE_KEY, OPENAI_KEY],
        Service::OpenAi | Service::Compatible => &[OPENAI_KEY],
    };
    for variable in variables {
        let base = env(variable.base).and_then(|text| parse_base_url(&text).ok());
        if let Some(key) = env(variable.name).map(SecretString::from)
            && key_may_go_to(to, variable.hosts, base.as_ref())
        {
            return match bearer(&key) {
                Some(_) => Ok(Some(key)),
                None => Err(no_key(format!(
                    "{} holds characters that no key has; expected visible ASCII, set it again",
                    variable.name
                ))),
            };
        }
    }
    let KeyVariable { name, hosts, .. } = variables[0];
    let host = to.host_str().unwrap_or_default();
    if !is_host_of(host, hosts) {
        return Ok(None);
    }
    Err(no_key(if to.scheme() == "https" {
        format!("{host} needs a key; set {name}, or api_key_env in the target's table")
    } else {
        format!("a key is not sent to {host} in the clear; use https://{host}")
    }))
}

fn no_key(message: String) -> Error {
    Error::new("openai.configure", ErrorCode::Authentication, message)
        .with_provider(PROVIDER)
        .with_phase(CallPhase::Prepare)
}

fn bad_value(what: &str) -> Error {
    let message = format!("{what} holds characters that no HTTP header can carry; set it again");
    Error::new("openai.configure", ErrorCode::InvalidConfig, message).with_phase(CallPhase::Prepare)
}
