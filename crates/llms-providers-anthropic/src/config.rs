//! Where requests go and what every one of them carries: [`ModelConfig`] and the environment, checked once.
//!
//! First step of the flow; everything after it is infallible setup. It decides base URL, credential, API version and
//! headers. It sends nothing and reads no environment but through the given function.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `ANTHROPIC_API_KEY` | key, sent as `x-api-key`; goes to `api.anthropic.com`, to the host of `ANTHROPIC_BASE_URL`, to loopback |
//! | `ANTHROPIC_AUTH_TOKEN` | token, sent as `authorization: Bearer` where there is no key; goes to the same places |
//! | `ANTHROPIC_BASE_URL` | base URL when the configuration names none |

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use llms_core::{
    CallPhase, Capabilities, ChatOptions, Error, ErrorCode, ModelInfo, Result,
    config::{ConfigErrors, Env, ModelConfig, key_may_go_to, parse_base_url, shown_address},
    health::HealthProbe,
    wire::{
        headers::{bearer, sensitive, user_headers},
        refusal::clean,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::{codec::PROVIDER, request};

/// Used when nothing else is named.
pub const DEFAULT_BASE_URL: &str = "https://api.anthropic.com";
/// Anthropic's own hosts.
pub const ANTHROPIC_HOSTS: &[&str] = &["api.anthropic.com"];
/// The version asked for unless `api_version` names another: the last one in which temperature, top_p and top_k can be
/// said, and the one that every compatible server knows.
pub const DEFAULT_API_VERSION: &str = "2023-06-01";
/// From this version on the API refuses temperature, top_p and top_k.
pub const NO_SAMPLING_SINCE: &str = "2026-10-21";

/// Keys understood in [`ModelConfig::provider_specific`]; any other is refused by name.
///
/// `api_version`: a date, sent as `anthropic-version`. `beta`: one name or a list of them, sent as `anthropic-beta`.
pub const SPECIFIC_KEYS: &[&str] = &["api_version", "beta"];

/// Headers that have a setting of their own.
const RESERVED: &[(&str, &str)] =
    &[("anthropic-version", "expected the version as provider_specific.api_version")];

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// A checked configuration. Built by [`Config::new`] only, so that what follows need not check again.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) model: String,
    pub(crate) base: Url,
    pub(crate) messages: Uri,
    pub(crate) model_info: Uri,
    pub(crate) count_tokens: Uri,
    /// Whether requests go to Anthropic itself.
    pub(crate) is_vendor: bool,
    /// What every request carries; credentials are marked sensitive.
    pub(crate) headers: HeaderMap,
    /// Everything that must never be printed.
    pub(crate) secrets: Vec<SecretString>,
    pub(crate) has_key: bool,
    pub(crate) api_version: String,
    pub(crate) options: ChatOptions,
    pub(crate) timeout: Duration,
    pub(crate) health: HealthProbe,
}

impl Config {
    /// Checks `config` and looks up in `env` what it leaves out.
    ///
    /// # Errors
    /// `invalid_config` naming every wrong field, also options that this API has not; `authentication_error` when the
    /// address is the vendor's own and there is no key for it, naming the variable to set.
    pub fn new(config: &ModelConfig, env: &Env<'_>) -> Result<Self> {
        let mut errors = config.validate(&capabilities()).err().unwrap_or_default();
        let specific = Specific::read(&config.provider_specific, &mut errors);
        let api_version = specific.api_version.unwrap_or_else(|| DEFAULT_API_VERSION.to_owned());
        request::refuse_unsayable(&config.options, &api_version, &mut errors);
        let place = match Place::find(config, env) {
            Ok(place) => Some(place),
            // `validate` has already named a bad base_url or an empty model.
            Err((field, ..)) if errors.errors.iter().any(|e| e.field == field) => None,
            Err((field, message, found)) => {
                errors.push(field, message, found);
                None
            }
        };
        let user = user_headers(&config.headers, RESERVED, &mut errors);
        let key = config.api_key.clone().filter(|k| !k.expose_secret().trim().is_empty());
        errors.check(
            key.as_ref().is_none_or(|k| sensitive(k.expose_secret().trim()).is_some()),
            "api_key",
            "expected visible ASCII characters",
            "others",
        );
        errors.into_result()?;
        let place = place.expect("invariant: without a place there was an error");

        let own = user.contains_key(API_KEY) || user.contains_key(header::AUTHORIZATION);
        let credential = match key {
            Some(key) => Some(Credential::ApiKey(key)),
            None if own => None,
            None => credential_from_env(&place, env)?,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("llms-bench/", env!("CARGO_PKG_VERSION"))),
        );
        headers.insert(VERSION, header_value(&api_version)?);
        if let Some(beta) = &specific.beta {
            headers.insert(BETA, header_value(beta)?);
        }
        let mut secrets: Vec<SecretString> =
            user.values().filter_map(|v| v.to_str().ok()).flat_map(secret_parts).collect();
        let has_key = own || credential.is_some();
        if let Some(credential) = credential {
            let (name, value) = credential.header().ok_or_else(bad_value)?;
            headers.insert(name, value);
            secrets.push(credential.secret().into());
        }
        // What the user wrote wins, also over the key.
        headers.extend(user);
        Ok(Self {
            model: config.model.clone(),
            is_vendor: ANTHROPIC_HOSTS.contains(&place.host()),
            base: place.base,
            messages: place.messages,
            model_info: place.model_info,
            count_tokens: place.count_tokens,
            headers,
            secrets,
            has_key,
            api_version,
            options: config.options.clone(),
            timeout: config.timeout,
            health: config.health,
        })
    }

    /// The model as the server names it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Where requests go, up to but without `/v1/messages`.
    pub fn base_url(&self) -> &Url {
        &self.base
    }

    /// Whether requests carry a key.
    pub fn has_key(&self) -> bool {
        self.has_key
    }

    /// The version of the API that is asked for.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// Limit of one call, for the caller's context.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How health is probed.
    pub fn health_probe(&self) -> HealthProbe {
        self.health
    }

    /// `text` of a server without the keys it may quote; borrowed where it quotes none.
    pub(crate) fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        clean(text, self.secrets())
    }

    /// What may never be printed.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> + Clone {
        self.secrets.iter().map(ExposeSecret::expose_secret)
    }

    /// Who answers, where, and what it can do.
    pub(crate) fn info(&self) -> ModelInfo {
        ModelInfo {
            provider: PROVIDER.to_owned(),
            model: self.model.clone(),
            endpoint: Some(self.base.as_str().trim_end_matches('/').to_owned()),
            capabilities: capabilities(),
        }
    }
}

/// What the wire can say. Whether a model understands images or tools is the model's affair; refusals are clear.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities {
        streaming: true,
        tools: true,
        images: true,
        documents: true,
        structured_output: true,
        prompt_cache: true,
        usage: true,
        seed: false,
        max_temperature: Some(1.0),
        ..Capabilities::default()
    }
}

/// [`ModelConfig::provider_specific`], read.
#[derive(Default)]
struct Specific {
    api_version: Option<String>,
    beta: Option<String>,
}

impl Specific {
    fn read(map: &BTreeMap<String, Value>, errors: &mut ConfigErrors) -> Self {
        let mut s = Self::default();
        for (key, value) in map {
            let field = format!("provider_specific.{key}");
            match key.as_str() {
                "api_version" => {
                    s.api_version = value.as_str().filter(|v| is_date(v)).map(str::to_owned);
                    errors.check(
                        s.api_version.is_some(),
                        &field,
                        "expected a version such as 2023-06-01",
                        value,
                    );
                }
                "beta" => {
                    s.beta = beta(value);
                    errors.check(
                        s.beta.is_some(),
                        &field,
                        "expected the name of a beta feature, or a list of them",
                        value,
                    );
                }
                _ => errors.push(
                    field,
                    format!("expected one of {}", SPECIFIC_KEYS.join(", ")),
                    "an unknown setting",
                ),
            }
        }
        s
    }
}

/// Versions are dates, so that they can be compared as texts.
fn is_date(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if matches!(i, 4 | 7) { b == b'-' } else { b.is_ascii_digit() })
}

/// One name or several, joined as the header wants them.
fn beta(value: &Value) -> Option<String> {
    let name = |v: &Value| {
        let text = v.as_str()?.trim();
        (!text.is_empty() && HeaderValue::from_str(text).is_ok()).then(|| text.to_owned())
    };
    match value {
        Value::Array(list) if !list.is_empty() => {
            Some(list.iter().map(name).collect::<Option<Vec<_>>>()?.join(","))
        }
        single => name(single),
    }
}

/// Where requests go.
struct Place {
    base: Url,
    messages: Uri,
    model_info: Uri,
    count_tokens: Uri,
    /// The address of the vendor's `*_BASE_URL` variable, where its key may go.
    env_base: Option<Url>,
}

/// Field, what was expected, what was found.
type Wrong = (&'static str, String, String);

impl Place {
    fn find(config: &ModelConfig, env: &Env<'_>) -> Result<Self, Wrong> {
        const VARIABLE: &str = "ANTHROPIC_BASE_URL";
        let env_base = env(VARIABLE)
            .map(|text| parse_base_url(&text).map_err(|e| (VARIABLE, e, shown_address(&text).into_owned())));
        // A broken variable matters only when it is needed.
        let (mut base, env_base) = match &config.base_url {
            Some(text) => (
                parse_base_url(text).map_err(|e| ("base_url", e, shown_address(text).into_owned()))?,
                env_base.and_then(Result::ok),
            ),
            None => match env_base.transpose()? {
                Some(url) => (url.clone(), Some(url)),
                None => (Url::parse(DEFAULT_BASE_URL).expect("invariant: the default is a URL"), None),
            },
        };
        let path = base.path().trim_end_matches('/');
        let path = path.strip_suffix("/messages").unwrap_or(path);
        let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        base.set_path(&path);
        let uri = |segments: &[&str]| {
            let mut url = base.clone();
            url.path_segments_mut()
                .expect("invariant: http addresses have a path")
                .pop_if_empty()
                .extend(segments);
            let expected =
                |e| ("base_url", format!("expected an address HTTP can say ({e})"), url.to_string());
            url.as_str().parse::<Uri>().map_err(expected)
        };
        Ok(Self {
            messages: uri(&["v1", "messages"])?,
            model_info: uri(&["v1", "models", &config.model])?,
            count_tokens: uri(&["v1", "messages", "count_tokens"])?,
            env_base,
            base,
        })
    }

    fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }
}

/// What proves who asks.
enum Credential {
    /// `x-api-key`.
    ApiKey(SecretString),
    /// `authorization: Bearer`.
    Token(SecretString),
}

impl Credential {
    fn secret(&self) -> &str {
        match self {
            Self::ApiKey(s) | Self::Token(s) => s.expose_secret().trim(),
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        Some(match self {
            Self::ApiKey(_) => (API_KEY, sensitive(self.secret())?),
            Self::Token(token) => (header::AUTHORIZATION, bearer(token)?),
        })
    }
}

/// The credential of the vendor's usual variables, if it may be sent there; the key comes first, as in the SDKs.
fn credential_from_env(place: &Place, env: &Env<'_>) -> Result<Option<Credential>> {
    let host = place.host();
    let required = ANTHROPIC_HOSTS.contains(&host);
    let refuse = |message: String| {
        Err(Error::new("anthropic.configure", ErrorCode::Authentication, message)
            .with_provider(PROVIDER)
            .with_phase(CallPhase::Prepare))
    };
    let found = match (env("ANTHROPIC_API_KEY"), env("ANTHROPIC_AUTH_TOKEN")) {
        (Some(key), _) => Some(("ANTHROPIC_API_KEY", Credential::ApiKey(key.into()))),
        (None, Some(token)) => Some(("ANTHROPIC_AUTH_TOKEN", Credential::Token(token.into()))),
        (None, None) => None,
    };
    match found {
        Some((variable, credential))
            if key_may_go_to(&place.base, ANTHROPIC_HOSTS, place.env_base.as_ref()) =>
        {
            if credential.header().is_none() {
                return refuse(format!(
                    "the value of {variable} holds characters that no key has; set it again"
                ));
            }
            Ok(Some(credential))
        }
        Some(_) if required => {
            refuse(format!("a key is never sent to {host} in the clear; use https://{host}"))
        }
        None if required => {
            refuse(format!("{host} needs a key; set ANTHROPIC_API_KEY, or api_key_env in the target's table"))
        }
        _ => Ok(None),
    }
}

fn header_value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| bad_value())
}

fn bad_value() -> Error {
    let message = "a setting holds characters that no HTTP header can carry; set it again";
    Error::new("anthropic.configure", ErrorCode::InvalidConfig, message).with_phase(CallPhase::Prepare)
}

/// What of a header may be a secret: all of it, and what follows a scheme such as `Bearer`.
fn secret_parts(value: &str) -> impl Iterator<Item = SecretString> {
    let value = value.trim();
    let after_scheme = value.split_once(' ').map(|(_, rest)| rest.trim());
    [Some(value), after_scheme].into_iter().flatten().filter(|s| !s.is_empty()).map(SecretString::from)
}
