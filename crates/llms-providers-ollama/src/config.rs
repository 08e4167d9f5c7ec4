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

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use llms_core::{
    CallPhase, Capabilities, ChatOptions, Error, ErrorCode, ModelInfo, Result,
    config::{ConfigErrors, Env, ModelConfig, key_may_go_to, parse_base_url},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::{codec::PROVIDER, host, request};

/// Used when nothing else is named.
pub const DEFAULT_BASE_URL: &str = "http://127.0.0.1:11434";
/// Ollama's own hosts, which serve models for a key; a leading `.` matches sub-domains.
pub const OLLAMA_HOSTS: &[&str] = &["ollama.com", ".ollama.com"];

/// Keys understood in [`ModelConfig::provider_specific`]; any other is refused by name.
///
/// `base_url`: the address in any of the spellings of `OLLAMA_HOST`, where [`ModelConfig::base_url`] is not given.
pub const SPECIFIC_KEYS: &[&str] = &["base_url"];

/// A checked configuration. Built by [`Config::new`] only, so that what follows need not check again.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) model: String,
    pub(crate) base: Url,
    pub(crate) chat: Uri,
    pub(crate) tags: Uri,
    /// What every request carries; credentials are marked sensitive.
    pub(crate) headers: HeaderMap,
    /// Everything that must never be printed.
    pub(crate) secrets: Vec<SecretString>,
    pub(crate) has_key: bool,
    pub(crate) options: ChatOptions,
    pub(crate) timeout: Duration,
}

impl Config {
    /// Checks `config` and looks up in `env` what it leaves out.
    ///
    /// # Errors
    /// `invalid_config` naming every wrong field; `authentication_error` when the address is the vendor's own and
    /// there is no key for it, naming the variable to set.
    pub fn new(config: &ModelConfig, env: &Env<'_>) -> Result<Self> {
        let mut errors = config.validate(&capabilities()).err().unwrap_or_default();
        request::check_options(&config.options, &mut errors);
        let place = match Place::find(config, env, &mut errors) {
            Ok(place) => Some(place),
            // `validate` has already named a bad base_url.
            Err((field, ..)) if errors.errors.iter().any(|e| e.field == field) => None,
            Err((field, message, found)) => {
                errors.push(field, message, found);
                None
            }
        };
        let user = user_headers(&config.headers, &mut errors);
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
            None => key_from_env(&place, env)?,
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
            base: place.base,
            chat: place.chat,
            tags: place.tags,
            headers,
            secrets,
            has_key,
            options: config.options.clone(),
            timeout: config.timeout,
        })
    }

    /// The model as the server names it.
    pub fn model(&self) -> &str {
        &self.model
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
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
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
        usage: true,
        seed: true,
        ..Capabilities::default()
    }
}

/// Where requests go.
struct Place {
    base: Url,
    chat: Uri,
    tags: Uri,
    /// The address of `OLLAMA_HOST`, where the key may go.
    env_base: Option<Url>,
}

/// Field, what was expected, what was found.
type Wrong = (&'static str, String, String);

impl Place {
    fn find(config: &ModelConfig, env: &Env<'_>, errors: &mut ConfigErrors) -> Result<Self, Wrong> {
        const VARIABLE: &str = "OLLAMA_HOST";
        let specific = specific_base(&config.provider_specific, errors);
        let env_base = env(VARIABLE).map(|text| host::parse(&text).map_err(|e| (VARIABLE, e, text)));
        // A broken variable matters only when it is needed.
        let (mut base, env_base) = match (&config.base_url, specific) {
            (Some(text), None) => {
                let url = parse_base_url(text).map_err(|e| ("base_url", e, text.clone()))?;
                (url, env_base.and_then(Result::ok))
            }
            (None, Some(text)) => {
                let url = host::parse(&text).map_err(|e| ("provider_specific.base_url", e, text))?;
                (url, env_base.and_then(Result::ok))
            }
            (Some(_), Some(text)) => {
                let message = "expected one address, as base_url";
                return Err(("provider_specific.base_url", message.to_owned(), text));
            }
            (None, None) => match env_base.transpose()? {
                Some(url) => (url.clone(), Some(url)),
                None => (Url::parse(DEFAULT_BASE_URL).expect("invariant: the default is a URL"), None),
            },
        };
        let path = base.path().trim_end_matches('/');
        let path = path.strip_suffix("/chat").unwrap_or(path);
        let path = path.strip_suffix("/api").unwrap_or(path).to_owned();
        base.set_path(&path);
        let uri = |tail: &str| {
            let mut url = base.clone();
            url.set_path(&format!("{path}{tail}"));
            let expected =
                |e| ("base_url", format!("expected an address HTTP can say ({e})"), url.to_string());
            url.as_str().parse::<Uri>().map_err(expected)
        };
        Ok(Self { chat: uri("/api/chat")?, tags: uri("/api/tags")?, env_base, base })
    }
}

fn specific_base(map: &BTreeMap<String, Value>, errors: &mut ConfigErrors) -> Option<String> {
    let mut base = None;
    for (key, value) in map {
        let field = format!("provider_specific.{key}");
        match (key.as_str(), value.as_str()) {
            ("base_url", Some(text)) => base = Some(text.to_owned()),
            ("base_url", None) => errors.push(field, "expected an address such as host:11434", value),
            _ => errors.push(
                field,
                format!("expected one of {}", SPECIFIC_KEYS.join(", ")),
                "an unknown setting (keep_alive, think and format are options)",
            ),
        }
    }
    base
}

/// The key of the usual variable, if it may be sent there.
fn key_from_env(place: &Place, env: &Env<'_>) -> Result<Option<SecretString>> {
    const VARIABLE: &str = "OLLAMA_API_KEY";
    let host = place.base.host_str().unwrap_or_default();
    let required =
        OLLAMA_HOSTS.iter().any(|own| if own.starts_with('.') { host.ends_with(own) } else { host == *own });
    let refuse = |message: String| {
        Err(Error::new("ollama.configure", ErrorCode::Authentication, message)
            .with_provider(PROVIDER)
            .with_phase(CallPhase::Prepare))
    };
    match env(VARIABLE).map(SecretString::from) {
        Some(key) if key_may_go_to(&place.base, OLLAMA_HOSTS, place.env_base.as_ref()) => {
            if bearer(&key).is_none() {
                return refuse(format!(
                    "the value of {VARIABLE} holds characters that no key has; set it again"
                ));
            }
            Ok(Some(key))
        }
        Some(_) if required => {
            refuse(format!("a key is never sent to {host} in the clear; use https://{host}"))
        }
        None if required => {
            refuse(format!("{host} needs a key; set {VARIABLE}, or api_key_env in the target's table"))
        }
        _ => Ok(None),
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn bearer(key: &SecretString) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {}", key.expose_secret().trim()))
}

/// The configured headers, all marked sensitive: they may be credentials of a gateway.
fn user_headers(headers: &BTreeMap<String, String>, errors: &mut ConfigErrors) -> HeaderMap {
    const OF_THE_TRANSPORT: [&str; 5] =
        ["host", "content-length", "connection", "transfer-encoding", "accept-encoding"];
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let field = format!("headers.{name}");
        match (HeaderName::try_from(name.as_str()), sensitive(value)) {
            (Ok(n), _) if OF_THE_TRANSPORT.contains(&n.as_str()) => {
                errors.push(field, "expected a header that the transport does not set itself", n);
            }
            (Ok(n), Some(v)) => {
                map.insert(n, v);
            }
            (Err(_), _) => errors.push(field, "expected the name of an HTTP header", name),
            (_, None) => errors.push(field, "expected visible characters", "others"),
        }
    }
    map
}
