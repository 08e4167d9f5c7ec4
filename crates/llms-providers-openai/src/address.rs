//! Where requests go: the base URL, the dialect spoken there, and the addresses made of both.
//!
//! Part of the configuration step; pure. A base URL may be a host alone, a host with a path, an Azure resource, or the
//! full address of the chat endpoint; whatever is understood gives the same addresses.

use http::Uri;
use llms_core::config::{Env, ModelConfig, parse_base_url};
use url::Url;

/// Used when nothing else is named.
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";
/// The newest dated version of Azure's deployment paths that is not a preview.
pub const DEFAULT_AZURE_API_VERSION: &str = "2024-10-21";
/// OpenAI's own hosts; a leading `.` matches sub-domains (`eu.api.openai.com`).
pub const OPENAI_HOSTS: &[&str] = &["api.openai.com", ".api.openai.com"];
/// Azure's own hosts.
pub const AZURE_HOSTS: &[&str] =
    &[".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".openai.azure.us"];

/// Path of a chat request below the base URL.
const CHAT: &str = "/chat/completions";
/// Mark of Azure's deployment paths.
const DEPLOYMENTS: &str = "/openai/deployments/";

/// From this version on Azure's deployment paths know `max_completion_tokens` and `stream_options`.
/// <https://learn.microsoft.com/en-us/azure/ai-services/openai/api-version-deprecation>
const AZURE_VERSION_OF_NEWER_FIELDS: &str = "2024-09-01";

/// Which dialect is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// OpenAI itself.
    OpenAi,
    /// Azure OpenAI, by deployment path or by its `/openai/v1`.
    Azure,
    /// Anything else with the same API: vLLM, SGLang, llama.cpp, Ollama's `/v1`, gateways.
    Compatible,
}

/// Where requests go.
pub(crate) struct Address {
    pub(crate) service: Service,
    /// Up to but without `/chat/completions`.
    pub(crate) base: Url,
    pub(crate) chat: Uri,
    pub(crate) models: Uri,
    /// An Azure version from before `max_completion_tokens` and `stream_options`.
    pub(crate) predates_newer_fields: bool,
}

/// Field, what was expected, what was found.
pub(crate) type Wrong = (&'static str, String, String);

impl Address {
    /// The address that `config` names, else the environment, else the vendor's.
    ///
    /// # Errors
    /// The field that is wrong.
    pub(crate) fn find(
        config: &ModelConfig,
        deployment: Option<&str>,
        api_version: Option<&str>,
        env: &Env<'_>,
    ) -> Result<Self, Wrong> {
        let from_env = |name: &'static str| {
            env(name).map(|text| parse_base_url(&text).map_err(|e| (name, e, text))).transpose()
        };
        let named =
            config.base_url.as_ref().map(|t| parse_base_url(t).map_err(|e| ("base_url", e, t.clone())));
        let named = named.transpose()?;
        // A broken variable matters only when it is needed.
        let mut base = match named {
            Some(url) => url,
            None if deployment.is_some() => from_env("AZURE_OPENAI_ENDPOINT")?.ok_or_else(|| {
                let message = "expected base_url or AZURE_OPENAI_ENDPOINT with the address of the resource";
                ("base_url", message.to_owned(), "neither".to_owned())
            })?,
            None => match from_env("OPENAI_BASE_URL")? {
                Some(url) => url,
                None => Url::parse(DEFAULT_BASE_URL).expect("invariant: the default is a URL"),
            },
        };
        let azure = deployment.is_some()
            || base.path().contains(DEPLOYMENTS)
            || base.host_str().is_some_and(|h| is_host_of(h, AZURE_HOSTS));
        let path = base.path().trim_end_matches('/');
        let path = path.strip_suffix(CHAT).unwrap_or(path);
        let path = match deployment {
            Some(name) if !path.contains(DEPLOYMENTS) => {
                format!("{}{DEPLOYMENTS}{name}", path.strip_suffix("/openai").unwrap_or(path))
            }
            Some(name) if !path.ends_with(&format!("{DEPLOYMENTS}{name}")) => {
                let message = "expected no other deployment than that of base_url";
                return Err(("provider_specific.azure_deployment", message.to_owned(), name.to_owned()));
            }
            None if path.is_empty() && azure => "/openai/v1".to_owned(),
            None if path.is_empty() => "/v1".to_owned(),
            _ => path.to_owned(),
        };
        base.set_path(&path);
        let service = if azure {
            Service::Azure
        } else if base.host_str().is_some_and(|h| is_host_of(h, OPENAI_HOSTS)) {
            Service::OpenAi
        } else {
            Service::Compatible
        };
        let dated = base.path().contains(DEPLOYMENTS);
        let version = api_version.map(str::to_owned).or_else(|| {
            dated.then(|| env("OPENAI_API_VERSION").unwrap_or_else(|| DEFAULT_AZURE_API_VERSION.to_owned()))
        });
        let resource = base.path().split_once(DEPLOYMENTS).map(|(before, _)| format!("{before}/openai"));
        let models = resource.unwrap_or_else(|| base.path().to_owned()) + "/models";
        Ok(Self {
            service,
            chat: uri(&base, &format!("{path}{CHAT}"), version.as_deref())?,
            models: uri(&base, &models, version.as_deref())?,
            predates_newer_fields: dated
                && version.as_deref().is_some_and(|v| v < AZURE_VERSION_OF_NEWER_FIELDS),
            base,
        })
    }
}

/// Whether `host` is one of `hosts`; a leading `.` there matches sub-domains.
pub(crate) fn is_host_of(host: &str, hosts: &[&str]) -> bool {
    hosts.iter().any(|own| if own.starts_with('.') { host.ends_with(own) } else { host == *own })
}

fn uri(base: &Url, path: &str, version: Option<&str>) -> Result<Uri, Wrong> {
    let mut url = base.clone();
    url.set_path(path);
    if let Some(version) = version {
        url.query_pairs_mut().append_pair("api-version", version);
    }
    url.as_str()
        .parse()
        .map_err(|e| ("base_url", format!("expected an address HTTP can say ({e})"), url.into()))
}
