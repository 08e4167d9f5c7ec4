//! Configuration of a model, the same for every provider, with full validation: all field errors at once.
//!
//! Provider-specific settings travel in [`ModelConfig::provider_specific`] and are checked by the provider.
//! Secrets are [`SecretString`]s: no `Debug`, error or report prints them.

use std::{borrow::Cow, collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use url::{Host, Url};

use crate::{
    chat::ChatOptions,
    error::{Error, ErrorCode},
    health::HealthProbe,
    model::Capabilities,
};

/// Reads an environment variable; a closure, so that tests need not touch the process environment. Empty values
/// count as unset.
pub type Env<'e> = dyn Fn(&str) -> Option<String> + Send + Sync + 'e;

/// The process environment.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.trim().is_empty())
}

/// What a provider needs to build a model. Option values are defaults; those of a request override them.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Registry name of the provider.
    pub provider: String,
    /// The model as the provider names it.
    pub model: String,
    /// The key. Given here it is sent to `base_url`, whatever that is; left out, the provider takes it from its
    /// usual variable, and only for hosts that [`key_may_go_to`] allows.
    #[serde(default)]
    pub api_key: Option<SecretString>,
    /// Another address than the vendor's.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Limit of one call, any positive duration; default 30 s.
    #[serde(default = "default_timeout", with = "duration_secs")]
    pub timeout: Duration,
    /// Defaults for sampling and limits.
    #[serde(default)]
    pub options: ChatOptions,
    /// Extra headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How health checks probe the service.
    #[serde(default)]
    pub health: HealthProbe,
    /// Settings only this provider knows (`organization`, `api_version`, `region`, …).
    #[serde(default)]
    pub provider_specific: BTreeMap<String, Value>,
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

mod duration_secs {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let secs = f64::deserialize(d)?;
        Duration::try_from_secs_f64(secs)
            .map_err(|_| D::Error::custom(format!("expected a number of seconds ≥ 0, found {secs}")))
    }
}

/// Values of headers and of provider-specific settings may be credentials: only their names are shown.
impl fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelConfig")
            .field("provider", &self.provider)
            .field("model", &self.model)
            .field("api_key", &self.api_key)
            .field("base_url", &self.base_url.as_deref().map(shown_address))
            .field("timeout", &self.timeout)
            .field("options", &self.options)
            .field("headers", &self.headers.keys())
            .field("health", &self.health)
            .field("provider_specific", &self.provider_specific.keys())
            .finish()
    }
}

impl ModelConfig {
    /// A configuration with defaults.
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            api_key: None,
            base_url: None,
            timeout: default_timeout(),
            options: ChatOptions::default(),
            headers: BTreeMap::new(),
            health: HealthProbe::default(),
            provider_specific: BTreeMap::new(),
        }
    }

    /// Sets the key.
    pub fn with_api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(SecretString::from(key.into()));
        self
    }

    /// Sets the address.
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// Sets the limit of one call.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the option defaults.
    pub fn with_options(mut self, options: ChatOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets a provider-specific value.
    pub fn with_specific(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.provider_specific.insert(key.into(), value.into());
        self
    }

    /// Checks every field; ranges of sampling options only where `capabilities` say nothing else.
    ///
    /// # Errors
    /// Every field that is wrong, what was expected, and what was found.
    pub fn validate(&self, capabilities: &Capabilities) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        errors.check(
            !self.provider.trim().is_empty(),
            "provider",
            "expected the name of a provider",
            "nothing",
        );
        errors.check(!self.model.trim().is_empty(), "model", "expected the name of a model", "nothing");
        errors.check(!self.timeout.is_zero(), "timeout", "expected a duration above 0 s", "0 s");
        if let Some(url) = &self.base_url
            && let Err(e) = parse_base_url(url)
        {
            errors.push("base_url", e, shown_address(url));
        }
        validate_options(&self.options, capabilities, &mut errors);
        errors.into_result()
    }
}

/// Checks sampling options, adding what is wrong to `errors` under `options.*`.
pub fn validate_options(options: &ChatOptions, capabilities: &Capabilities, errors: &mut ConfigErrors) {
    let max_temperature = capabilities.max_temperature.unwrap_or(2.0);
    let mut range = |field: &str, value: Option<f64>, low: f64, high: f64| {
        if let Some(v) = value
            && !(low..=high).contains(&v)
        {
            errors.push(format!("options.{field}"), format!("expected a number from {low} to {high}"), v);
        }
    };
    range("temperature", options.temperature, 0.0, max_temperature);
    range("top_p", options.top_p, 0.0, 1.0);
    range("top_k", options.top_k.map(f64::from), 1.0, f64::INFINITY);
    range("frequency_penalty", options.frequency_penalty, -2.0, 2.0);
    range("presence_penalty", options.presence_penalty, -2.0, 2.0);
    range(
        "max_tokens",
        options.max_tokens.map(f64::from),
        1.0,
        capabilities.max_output_tokens.map_or(f64::INFINITY, f64::from),
    );
}

/// An `http` or `https` URL with a host, without credentials, query or fragment; the trailing slash is cut.
///
/// # Errors
/// What was expected.
pub fn parse_base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim().trim_end_matches('/'))
        .map_err(|e| format!("expected an address like https://host:port/path ({e})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("expected http:// or https://, found {}://", url.scheme()));
    }
    if url.host().is_none() {
        return Err("expected an address with a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected an address without credentials; name the variable that holds the key with api_key_env (api_key in a program)".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("expected an address without query and fragment".to_owned());
    }
    Ok(url)
}

/// An address as it may be printed: without the credentials somebody wrote into it, and without its query, which may
/// hold a key.
pub fn shown_address(text: &str) -> Cow<'_, str> {
    let (text, query) = match text.find('?') {
        Some(at) if at + 1 < text.len() => (&text[..at], "?[redacted]"),
        _ => (text, ""),
    };
    let start = text.find("//").map_or(0, |at| at + 2);
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    match text[start..end].rfind('@') {
        Some(at) => Cow::Owned(format!("{}[redacted]{}{query}", &text[..start], &text[start + at..])),
        None if !query.is_empty() => Cow::Owned(format!("{text}{query}")),
        None => Cow::Borrowed(text),
    }
}

/// Whether an address is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// Whether a key from the vendor's usual variable may be sent to `url`: only to the vendor's own hosts (`hosts`,
/// a leading `.` matches sub-domains; over https), to the address of its `*_BASE_URL` variable, and to loopback.
pub fn key_may_go_to(url: &Url, hosts: &[&str], env_base: Option<&Url>) -> bool {
    let own = url.scheme() == "https"
        && url.host_str().is_some_and(|h| {
            hosts.iter().any(|own| if own.starts_with('.') { h.ends_with(own) } else { h == *own })
        });
    let same_origin = env_base.is_some_and(|b| b.origin() == url.origin());
    own || same_origin || is_loopback(url)
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field, dotted: `options.temperature`.
    pub field: String,
    /// What was expected.
    pub message: String,
    /// What was found; never a secret.
    pub found: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, found {}", self.field, self.message, self.found)
    }
}

/// Every field of a configuration that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// In the order they were checked.
    pub errors: Vec<FieldError>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, e) in self.errors.iter().enumerate() {
            write!(f, "{}{e}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl ConfigErrors {
    /// Adds a wrong field.
    pub fn push(&mut self, field: impl Into<String>, message: impl Into<String>, found: impl fmt::Display) {
        self.errors.push(FieldError {
            field: field.into(),
            message: message.into(),
            found: found.to_string(),
        });
    }

    /// Adds a wrong field unless `ok`.
    pub fn check(&mut self, ok: bool, field: &str, message: &str, found: impl fmt::Display) {
        if !ok {
            self.push(field, message, found);
        }
    }

    /// Adds the errors of a part under `prefix.`.
    pub fn nest(&mut self, prefix: &str, part: Result<(), Self>) {
        if let Err(part) = part {
            self.errors.extend(
                part.errors.into_iter().map(|e| FieldError { field: format!("{prefix}.{}", e.field), ..e }),
            );
        }
    }

    /// `Ok` when nothing is wrong.
    ///
    /// # Errors
    /// All of them otherwise.
    pub fn into_result(self) -> Result<(), Self> {
        if self.errors.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        Error::new("config.validate", ErrorCode::InvalidConfig, errors.to_string()).with_source(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let mut config = ModelConfig::new("", " ").with_base_url("ftp://x").with_timeout(Duration::ZERO);
        config.options.temperature = Some(3.0);
        config.options.max_tokens = Some(0);
        let errors = config.validate(&Capabilities::default()).unwrap_err();
        let fields: Vec<_> = errors.errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(
            fields,
            ["provider", "model", "timeout", "base_url", "options.temperature", "options.max_tokens"]
        );
    }

    #[test]
    fn capabilities_narrow_the_ranges() {
        let mut config = ModelConfig::new("anthropic", "m");
        config.options.temperature = Some(1.5);
        assert!(config.validate(&Capabilities::default()).is_ok());
        let one = Capabilities { max_temperature: Some(1.0), ..Capabilities::default() };
        assert_eq!(
            config.validate(&one).unwrap_err().to_string(),
            "options.temperature: expected a number from 0 to 1, found 1.5"
        );
    }

    #[test]
    fn a_key_goes_only_where_it_belongs() {
        let url = |s: &str| Url::parse(s).unwrap();
        let hosts = ["api.openai.com", ".openai.azure.com"];
        for (to, ok) in [
            ("https://api.openai.com/v1", true),
            ("http://api.openai.com/v1", false),
            ("https://api.openai.com.evil.example/v1", false),
            ("https://mine.openai.azure.com", true),
            ("https://evilopenai.azure.com", false),
            ("http://127.0.0.1:8000/v1", true),
            ("http://[::1]:8000/v1", true),
            ("http://localhost:8000/v1", true),
            ("https://gateway.example/v1", false),
        ] {
            assert_eq!(key_may_go_to(&url(to), &hosts, None), ok, "{to}");
        }
        let base = url("https://gateway.example/openai");
        assert!(key_may_go_to(&url("https://gateway.example/v1"), &hosts, Some(&base)));
        assert!(!key_may_go_to(&url("https://other.example/v1"), &hosts, Some(&base)));
    }

    #[test]
    fn credentials_in_an_address_never_show() {
        for (text, shown) in [
            ("https://me:pw@host/a@b", "https://[redacted]@host/a@b"),
            ("https://p@w@host", "https://[redacted]@host"),
            ("https://host/v1?a=b@c", "https://host/v1?[redacted]"),
            ("https://me:pw@host/v1?a=b", "https://[redacted]@host/v1?[redacted]"),
            ("me:pw@host", "[redacted]@host"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(shown_address(text), shown);
        }
        let config = ModelConfig::new("openai", "m").with_base_url("https://me:hunter2@host");
        let error = Error::from(config.validate(&Capabilities::default()).unwrap_err());
        assert!(!format!("{config:?} {error:?} {error}").contains("hunter2"), "{error}");
    }

    #[test]
    fn a_key_never_shows() {
        let mut config = ModelConfig::new("openai", "m")
            .with_api_key("sk-very-secret")
            .with_specific("session_token", "very-secret-token");
        config.headers.insert("x-gateway".into(), "very-secret-header".into());
        let shown = format!("{config:?}");
        assert!(!shown.contains("very-secret") && shown.contains("x-gateway"), "{shown}");
    }
}
