//! Where requests go: the address of the configuration or of `OLLAMA_HOST`, the endpoints below it, and which key may go
//! there. Part of building a [`Config`](crate::Config); sends nothing.

use std::collections::BTreeMap;

use http::Uri;
use llms_core::{
    CallPhase, Error, ErrorCode, Result,
    config::{ConfigErrors, Env, ModelConfig, key_may_go_to, parse_base_url},
    wire::headers::bearer,
};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use crate::{
    codec::PROVIDER,
    config::{DEFAULT_BASE_URL, OLLAMA_HOSTS},
    host,
};

/// The endpoints below one address.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) chat: Uri,
    pub(crate) generate: Uri,
    pub(crate) tags: Uri,
    pub(crate) show: Uri,
    pub(crate) ps: Uri,
    pub(crate) version: Uri,
    pub(crate) pull: Uri,
}

/// Where requests go.
pub(crate) struct Place {
    pub(crate) base: Url,
    pub(crate) endpoints: Endpoints,
    /// The address of `OLLAMA_HOST`, where the key may go.
    env_base: Option<Url>,
}

/// Field, what was expected, what was found.
pub(crate) type Wrong = (&'static str, String, String);

impl Place {
    pub(crate) fn find(
        config: &ModelConfig,
        env: &Env<'_>,
        errors: &mut ConfigErrors,
    ) -> Result<Self, Wrong> {
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
        let path = ["/chat", "/generate"].iter().find_map(|tail| path.strip_suffix(tail)).unwrap_or(path);
        let path = path.strip_suffix("/api").unwrap_or(path).to_owned();
        base.set_path(&path);
        let uri = |name: &str| {
            let mut url = base.clone();
            url.set_path(&format!("{path}/api/{name}"));
            let expected =
                |e| ("base_url", format!("expected an address HTTP can say ({e})"), url.to_string());
            url.as_str().parse::<Uri>().map_err(expected)
        };
        let endpoints = Endpoints {
            chat: uri("chat")?,
            generate: uri("generate")?,
            tags: uri("tags")?,
            show: uri("show")?,
            ps: uri("ps")?,
            version: uri("version")?,
            pull: uri("pull")?,
        };
        Ok(Self { base, endpoints, env_base })
    }

    /// The key of the usual variable, if it may be sent here.
    pub(crate) fn key_from_env(&self, env: &Env<'_>) -> Result<Option<SecretString>> {
        const VARIABLE: &str = "OLLAMA_API_KEY";
        let host = self.base.host_str().unwrap_or_default();
        let required = OLLAMA_HOSTS
            .iter()
            .any(|own| if own.starts_with('.') { host.ends_with(own) } else { host == *own });
        let refuse = |message: String| {
            Err(Error::new("ollama.configure", ErrorCode::Authentication, message)
                .with_provider(PROVIDER)
                .with_phase(CallPhase::Prepare))
        };
        match env(VARIABLE).map(SecretString::from) {
            Some(key) if key_may_go_to(&self.base, OLLAMA_HOSTS, self.env_base.as_ref()) => {
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
}

fn specific_base(map: &BTreeMap<String, Value>, errors: &mut ConfigErrors) -> Option<String> {
    match map.get("base_url")? {
        Value::String(text) => Some(text.clone()),
        other => {
            errors.push("provider_specific.base_url", "expected an address such as host:11434", other);
            None
        }
    }
}
