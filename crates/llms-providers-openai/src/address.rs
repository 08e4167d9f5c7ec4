//! Where requests go: the base URL, the dialect spoken there, and the addresses made of both.
//!
//! Part of the configuration step; pure. A base URL may be a host alone, a host with a path, an Azure resource, or the
//! full address of an endpoint; whatever is understood gives the same addresses.

use http::Uri;
use llms_core::config::{Env, ModelConfig, parse_base_url, shown_address};
use url::Url;

use crate::api::Api;

/// Used when nothing else is named.
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";
/// The newest dated version of Azure's deployment paths that is not a preview.
pub const DEFAULT_AZURE_API_VERSION: &str = "2024-10-21";
/// OpenAI's own hosts; a leading `.` matches sub-domains (`eu.api.openai.com`).
pub const OPENAI_HOSTS: &[&str] = &["api.openai.com", ".api.openai.com"];
/// Azure's own hosts.
pub const AZURE_HOSTS: &[&str] =
    &[".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".openai.azure.us"];

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
    /// Anything else with the same APIs: vLLM, SGLang, llama.cpp, Ollama's `/v1`, gateways.
    Compatible,
}

/// Where requests go.
pub(crate) struct Address {
    pub(crate) service: Service,
    pub(crate) api: Api,
    /// Up to but without the path of the API.
    pub(crate) base: Url,
    pub(crate) endpoint: Uri,
    pub(crate) models: Uri,
    /// The deployment that the body has to name, as the path does not.
    pub(crate) deployment: Option<String>,
    /// An Azure version from before `max_completion_tokens` and `stream_options`.
    pub(crate) predates_newer_fields: bool,
}

/// What the configuration says about the address.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) api: Option<Api>,
    pub(crate) deployment: Option<&'a str>,
    pub(crate) api_version: Option<&'a str>,
}

/// Field, what was expected, what was found.
pub(crate) type Wrong = (&'static str, String, String);

impl Address {
    /// The address that `config` names, else the environment, else the vendor's.
    ///
    /// # Errors
    /// The field that is wrong.
    pub(crate) fn find(config: &ModelConfig, wanted: Wanted<'_>, env: &Env<'_>) -> Result<Self, Wrong> {
        let from_env = |name: &'static str| {
            env(name)
                .map(|text| parse_base_url(&text).map_err(|e| (name, e, shown_address(&text).into_owned())))
                .transpose()
        };
        let named = config
            .base_url
            .as_ref()
            .map(|t| parse_base_url(t).map_err(|e| ("base_url", e, shown_address(t).into_owned())));
        let named = named.transpose()?;
        // A broken variable matters only when it is needed.
        let base = match named {
            Some(url) => url,
            None if wanted.deployment.is_some() => from_env("AZURE_OPENAI_ENDPOINT")?.ok_or_else(|| {
                let message = "expected base_url or AZURE_OPENAI_ENDPOINT with the address of the resource";
                ("base_url", message.to_owned(), "neither".to_owned())
            })?,
            None => match from_env("OPENAI_BASE_URL")? {
                Some(url) => url,
                None => Url::parse(DEFAULT_BASE_URL).expect("invariant: the default is a URL"),
            },
        };
        let azure = wanted.deployment.is_some()
            || base.path().contains(DEPLOYMENTS)
            || base.host_str().is_some_and(|h| is_host_of(h, AZURE_HOSTS));
        let (path, api) = split_endpoint(base.path(), wanted.api)?;
        // A host alone gets a path; the full address of an endpoint at the root has none (DeepSeek).
        let whole = path.len() < base.path().trim_end_matches('/').len();
        let path = path.to_owned();
        if azure && api == Api::Responses {
            return Self::azure_responses(base, &path, wanted, env);
        }
        let path = match path.as_str() {
            "" if azure && wanted.deployment.is_none() => "/openai/v1",
            "" if !azure && !whole => "/v1",
            path => path,
        };
        Self::usual(base, path, azure, api, wanted, env)
    }

    /// Everything but responses on Azure: the API's path below the base URL, which may name a deployment.
    fn usual(
        mut base: Url,
        path: &str,
        azure: bool,
        api: Api,
        wanted: Wanted<'_>,
        env: &Env<'_>,
    ) -> Result<Self, Wrong> {
        let path = match wanted.deployment {
            Some(name) if !path.contains(DEPLOYMENTS) => {
                format!("{}{DEPLOYMENTS}{name}", path.strip_suffix("/openai").unwrap_or(path))
            }
            Some(name) if !path.ends_with(&format!("{DEPLOYMENTS}{name}")) => {
                return Err(other_deployment(name));
            }
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
        let version = wanted.api_version.map(str::to_owned).or_else(|| {
            dated.then(|| env(API_VERSION).unwrap_or_else(|| DEFAULT_AZURE_API_VERSION.to_owned()))
        });
        let resource = base.path().split_once(DEPLOYMENTS).map(|(before, _)| format!("{before}/openai"));
        let models = resource.unwrap_or_else(|| path.clone()) + "/models";
        Ok(Self {
            service,
            api,
            endpoint: uri(&base, &format!("{path}{}", api.path()), version.as_deref())?,
            models: uri(&base, &models, version.as_deref())?,
            deployment: None,
            predates_newer_fields: dated
                && version.as_deref().is_some_and(|v| v < AZURE_VERSION_OF_NEWER_FIELDS),
            base,
        })
    }

    /// Responses stand beside the deployments, not below them: the body names the deployment. With a dated version in
    /// `/openai/responses`, else in `/openai/v1/responses`.
    fn azure_responses(mut base: Url, path: &str, wanted: Wanted<'_>, env: &Env<'_>) -> Result<Self, Wrong> {
        let (resource, rest) = match path.split_once(DEPLOYMENTS) {
            Some((before, name)) => (before, Some(name)),
            None => (path, None),
        };
        if let (Some(name), Some(other)) = (wanted.deployment, rest)
            && name != other
        {
            return Err(other_deployment(name));
        }
        let of_v1 = resource.strip_suffix("/openai/v1");
        let resource = of_v1.or(resource.strip_suffix("/openai")).unwrap_or(resource);
        let asked_dated = rest.is_some() || wanted.deployment.is_some() || path.ends_with("/openai");
        let version = match wanted.api_version {
            Some(version) => Some(version.to_owned()),
            None if asked_dated => env(API_VERSION),
            None => None,
        };
        let is_date = |v: &String| v.starts_with(|c: char| c.is_ascii_digit());
        let dated = of_v1.is_none() && version.as_ref().is_some_and(is_date);
        let path = format!("{resource}/openai{}", if dated { "" } else { "/v1" });
        base.set_path(&path);
        Ok(Self {
            service: Service::Azure,
            api: Api::Responses,
            endpoint: uri(&base, &format!("{path}{}", Api::Responses.path()), version.as_deref())?,
            models: uri(&base, &format!("{path}/models"), version.as_deref())?,
            deployment: wanted.deployment.or(rest).map(str::to_owned),
            predates_newer_fields: false,
            base,
        })
    }
}

/// The variable that names Azure's version.
const API_VERSION: &str = "OPENAI_API_VERSION";

fn other_deployment(name: &str) -> Wrong {
    let message = "expected no other deployment than that of base_url";
    ("provider_specific.azure_deployment", message.to_owned(), name.to_owned())
}

/// The path without that of an API, and the API: the one asked for, else that of the path, else chat.
fn split_endpoint(path: &str, asked: Option<Api>) -> Result<(&str, Api), Wrong> {
    let path = path.trim_end_matches('/');
    let found = Api::ALL.into_iter().find_map(|api| Some((path.strip_suffix(api.path())?, api)));
    match (found, asked) {
        (Some((_, of_path)), Some(asked)) if of_path != asked => {
            let message =
                format!("expected `{of_path}`, which base_url is the address of, or another base_url");
            Err(("provider_specific.api", message, asked.to_string()))
        }
        (Some((path, api)), _) => Ok((path, api)),
        (None, asked) => Ok((path, asked.unwrap_or_default())),
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
