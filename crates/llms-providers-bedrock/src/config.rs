//! Where requests go and who signs them: [`ModelConfig`] and the environment, checked once.
//!
//! First step of the flow. It decides region, endpoint, the kind of credentials and headers; it opens no file and
//! no socket and reads no environment but through the given function. Shared configuration files (`~/.aws/config`)
//! and the credential chain are read in `client.rs`, and only when the endpoint is not loopback.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `AWS_BEARER_TOKEN_BEDROCK` | Bedrock API key, sent as `Authorization: Bearer` |
//! | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | keys that sign requests (SigV4); they are not sent |
//! | `AWS_PROFILE` and the rest of AWS's chain | used when neither is set and the endpoint is AWS's own |
//! | `AWS_REGION`, `AWS_DEFAULT_REGION` | region when the configuration names none |
//! | `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`, `AWS_ENDPOINT_URL` | endpoint when the configuration names none |
//!
//! | setting (`provider_specific`) | meaning |
//! | --- | --- |
//! | `api` | `converse` (default): Converse and ConverseStream. `invoke`: InvokeModel and its stream, with the model's own body |
//! | `body` | only with `invoke`: whose body, where the model id does not tell ([`Family`]) |
//! | `region` | the region, before the environment's |
//! | `profile` | the one profile of the shared configuration files that credentials and region come from |
//!
//! The region is the first of: setting `region` · `AWS_REGION` · `AWS_DEFAULT_REGION` · the profile (not asked for
//! loopback endpoints) · the model's ARN · [`DEFAULT_REGION`].
//!
//! Credentials go to Bedrock's own hosts, to the endpoint of the two variables, and to loopback; to another address
//! only when given in the configuration (`api_key`, a Bedrock API key, or the setting `profile`). Without any,
//! requests to loopback are signed with placeholder keys and no file, no metadata service is asked.
//!
//! aws-config is built without its features `sso`, `credentials-login` and `credentials-process`, which bring an HTTP
//! stack and two more SDKs along or run programs of the profile's choice. A profile that needs one of them ends in an
//! `authentication_error` before the first request; it names what is missing and the AWS CLI's line that puts such
//! credentials into the environment: `eval "$(aws configure export-credentials --format env)"`.

use std::{collections::BTreeMap, fmt, time::Duration};

use aws_credential_types::Credentials;
use http::HeaderMap;
use llms_core::{
    CallPhase, Capabilities, ChatOptions, Error, ErrorCode, Result,
    config::{ConfigErrors, Env, ModelConfig, is_loopback, parse_base_url, shown_address},
    health::HealthProbe,
    wire::headers::user_headers,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::{
    error::CREDENTIALS_HELP,
    invoke::Family,
    request::{UNSUPPORTED_HELP, unsupported},
};

/// Registry name of this provider.
pub const PROVIDER: &str = "bedrock";
/// The region when neither the configuration, the environment, the profile nor the model's ARN names one.
pub const DEFAULT_REGION: &str = "us-east-1";
/// Keys understood in [`ModelConfig::provider_specific`]; any other is refused by name.
pub const SPECIFIC_KEYS: &[&str] = &["api", "body", "profile", "region"];

/// Endpoint variables, the more specific first, as the AWS SDKs read them.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"];
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// A checked configuration. Built by [`Config::new`] only, so that what follows need not check again.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) model: String,
    pub(crate) api: Api,
    pub(crate) health: HealthProbe,
    pub(crate) region: Option<String>,
    pub(crate) base: Option<Url>,
    pub(crate) auth: Auth,
    /// What every request carries besides the SDK's headers; marked sensitive.
    pub(crate) headers: HeaderMap,
    /// Everything that must never be printed.
    pub(crate) secrets: Vec<SecretString>,
    pub(crate) options: ChatOptions,
    pub(crate) timeout: Duration,
}

/// Which pair of operations a model is called through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Converse and ConverseStream: one form for all models.
    Converse,
    /// InvokeModel and InvokeModelWithResponseStream: the body that the model's maker defined.
    Invoke(Family),
}

impl Api {
    /// What it can say. Whether a model understands images or tools is the model's affair; refusals are clear.
    pub fn capabilities(self) -> Capabilities {
        match self {
            Self::Converse => Capabilities {
                streaming: true,
                tools: true,
                images: true,
                documents: true,
                structured_output: true,
                prompt_cache: true,
                usage: true,
                max_temperature: Some(1.0),
                ..Capabilities::default()
            },
            Self::Invoke(family) => family.capabilities(),
        }
    }

    /// The options it has no field for, with whether each is set, and what to do instead.
    fn unsupported(self, options: &ChatOptions) -> (Vec<&'static str>, String) {
        match self {
            Self::Converse => {
                let set = unsupported(options).into_iter().filter(|(_, set)| *set).map(|(name, _)| name);
                (set.collect(), UNSUPPORTED_HELP.to_owned())
            }
            Self::Invoke(family) => (family.unsupported(options), family.unsupported_help()),
        }
    }
}

/// Who signs.
#[derive(Clone)]
pub(crate) enum Auth {
    /// AWS's own chain, or only this profile if one is named.
    Chain { profile: Option<String> },
    /// These keys.
    Keys(Credentials),
    /// A Bedrock API key.
    Bearer(SecretString),
    /// Meaningless keys, for servers on loopback that check nothing.
    Placeholder,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Auth {
    /// A word for reports.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Chain { profile: Some(name) } => format!("profile {name}"),
            Self::Chain { profile: None } => "default chain".to_owned(),
            Self::Keys(_) => "access key".to_owned(),
            Self::Bearer(_) => "api key".to_owned(),
            Self::Placeholder => "placeholder".to_owned(),
        }
    }
}

impl Config {
    /// Checks `config` and looks up in `env` what it leaves out.
    ///
    /// # Errors
    /// `invalid_config` naming every wrong field; `authentication_error` when credentials of the environment would
    /// go to an address that is neither AWS's nor this machine's.
    pub fn new(config: &ModelConfig, env: &Env<'_>) -> Result<Self> {
        let mut found = ConfigErrors::default();
        let specific = Specific::read(&config.provider_specific, &mut found);
        let api = specific.api(&config.model, &mut found).unwrap_or(Api::Converse);
        let mut errors = config.validate(&api.capabilities()).err().unwrap_or_default();
        errors.errors.append(&mut found.errors);
        let (unsupported, help) = api.unsupported(&config.options);
        for name in unsupported {
            errors.push(format!("options.{name}"), help.clone(), "a value");
        }
        let env_base = ENDPOINT_VARIABLES.into_iter().find_map(|name| Some((name, env(name)?)));
        let env_base = match env_base.map(|(name, text)| (name, parse_base_url(&text), text)) {
            // A broken variable matters only when it is needed.
            Some((name, Err(e), text)) if config.base_url.is_none() => {
                errors.push(name, e, shown_address(&text).into_owned());
                None
            }
            Some((_, url, _)) => url.ok(),
            None => None,
        };
        // `validate` has already named a bad base_url.
        let base = match &config.base_url {
            Some(text) => parse_base_url(text).ok(),
            None => env_base.clone(),
        };
        let region = specific.region.or_else(|| {
            let (name, region) = REGION_VARIABLES.into_iter().find_map(|name| Some((name, env(name)?)))?;
            errors.check(is_region(&region), name, REGION_EXPECTED, &region);
            Some(region)
        });
        let key = config.api_key.as_ref().map(|k| k.expose_secret().trim()).filter(|k| !k.is_empty());
        errors.check(
            key.is_none_or(is_header_text),
            "api_key",
            "expected visible ASCII characters",
            "others",
        );
        let headers = user_headers(&config.headers, &RESERVED, &mut errors);
        errors.into_result()?;

        let auth = match (key, specific.profile) {
            (Some(key), _) => Auth::Bearer(key.into()),
            (None, Some(profile)) => Auth::Chain { profile: Some(profile) },
            (None, None) => from_env(base.as_ref(), env_base.as_ref(), env)?,
        };
        let mut secrets: Vec<SecretString> = match &auth {
            Auth::Bearer(key) => vec![key.clone()],
            Auth::Keys(keys) => {
                let token = keys.session_token().map(SecretString::from);
                [Some(keys.secret_access_key().into()), token].into_iter().flatten().collect()
            }
            _ => Vec::new(),
        };
        // Short values (`x-team: prod`) are no credentials and would blacken ordinary words.
        let long = headers.values().filter_map(|v| v.to_str().ok().filter(|v| v.len() >= 12));
        secrets.extend(long.map(SecretString::from));
        Ok(Self {
            model: config.model.trim().to_owned(),
            api,
            health: config.health,
            region,
            base,
            auth,
            headers,
            secrets,
            options: config.options.clone(),
            timeout: config.timeout,
        })
    }

    /// The model id, inference profile or ARN.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The operations it is called through.
    pub fn api(&self) -> Api {
        self.api
    }

    /// The region, when configuration or environment name one; else the profile, the model's ARN and
    /// [`DEFAULT_REGION`] are asked in this order.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Where requests go, when it is not AWS's endpoint of the region.
    pub fn base_url(&self) -> Option<&Url> {
        self.base.as_ref()
    }

    /// Limit of one call, for the caller's context.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The region in the model's ARN.
    pub(crate) fn region_of_arn(&self) -> Option<&str> {
        let mut parts = self.model.split(':');
        let arn = (parts.next()? == "arn").then(|| parts.nth(2)).flatten()?;
        is_region(arn).then_some(arn)
    }

    /// Whether the endpoint is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.base.as_ref().is_some_and(is_loopback)
    }

    /// What may never be printed.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> + Clone {
        self.secrets.iter().map(ExposeSecret::expose_secret)
    }
}

/// Headers that are covered by the signature, or are it: sent a second time they would break it.
const RESERVED: [(&str, &str); 4] = [
    ("authorization", "expected api_key, or AWS's variables: the SDK signs"),
    ("x-amz-date", "expected a header that the signature does not cover"),
    ("x-amz-content-sha256", "expected a header that the signature does not cover"),
    ("x-amz-security-token", "expected AWS_SESSION_TOKEN: the SDK signs"),
];

const REGION_EXPECTED: &str = "expected a region such as us-east-1";

/// `us-east-1`, `us-gov-west-1`, `ap-southeast-2`: it becomes a part of a host name.
fn is_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let letters = |p: &str| p.len() >= 2 && p.bytes().all(|b| b.is_ascii_lowercase());
    let number = parts.next_back().is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let words: Vec<&str> = parts.collect();
    number && words.len() >= 2 && words.into_iter().all(letters)
}

/// Whether a host is Bedrock's runtime: `bedrock-runtime[-fips].REGION.SUFFIX`, or an interface endpoint
/// `….bedrock-runtime[-fips].REGION.vpce.SUFFIX`. Not all of `amazonaws.com`: most names below it are customers'.
fn is_bedrock(url: &Url) -> bool {
    const SUFFIXES: [&str; 5] =
        [".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn", ".amazonaws.eu"];
    let Some(host) = url.host_str() else { return false };
    let Some(name) = SUFFIXES.iter().find_map(|s| host.strip_suffix(s)) else { return false };
    let (name, private) = match name.strip_suffix(".vpce") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let mut labels = name.rsplit('.');
    let region = labels.next().is_some_and(is_region);
    let service = labels.next().is_some_and(|l| l == "bedrock-runtime" || l == "bedrock-runtime-fips");
    url.scheme() == "https" && region && service && (labels.next().is_some() == private)
}

/// The credentials of the environment, if they may go to `base`.
fn from_env(base: Option<&Url>, env_base: Option<&Url>, env: &Env<'_>) -> Result<Auth> {
    let same_origin = |url: &Url| env_base.is_some_and(|b| b.origin() == url.origin());
    if let Some(url) = base
        && !(is_bedrock(url) || is_loopback(url) || same_origin(url))
    {
        let message = format!(
            "AWS credentials are not sent to {}, which is neither Bedrock nor this machine; give the key for it in \
             the target's table (api_key_env, or provider_specific.profile), or set {}",
            url.host_str().unwrap_or_default(),
            ENDPOINT_VARIABLES[0]
        );
        return Err(no_credentials(message));
    }
    if let Some(token) = env("AWS_BEARER_TOKEN_BEDROCK") {
        let token = token.trim();
        return if is_header_text(token) {
            Ok(Auth::Bearer(token.into()))
        } else {
            Err(no_credentials(
                "AWS_BEARER_TOKEN_BEDROCK holds characters that no key has; expected visible ASCII, set it again",
            ))
        };
    }
    match (env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => {
            let trim = |text: String| text.trim().to_owned();
            let token = env("AWS_SESSION_TOKEN").map(trim);
            Ok(Auth::Keys(Credentials::new(trim(id), trim(secret), token, None, "environment")))
        }
        (Some(_), None) => {
            Err(no_credentials("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not; set both"))
        }
        (None, Some(_)) => {
            Err(no_credentials("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not; set both"))
        }
        (None, None) if base.is_some_and(is_loopback) => Ok(Auth::Placeholder),
        (None, None) => Ok(Auth::Chain { profile: None }),
    }
}

/// No credentials, or none that may be used.
pub(crate) fn no_credentials(message: impl Into<String>) -> Error {
    Error::new("bedrock.configure", ErrorCode::Authentication, message)
        .with_provider(PROVIDER)
        .with_phase(CallPhase::Prepare)
}

/// The chain came back empty-handed.
pub(crate) fn chain_failed(why: &str) -> Error {
    no_credentials(format!("found no AWS credentials ({why}); {CREDENTIALS_HELP}"))
}

/// [`ModelConfig::provider_specific`], read.
#[derive(Default)]
struct Specific {
    invoke: bool,
    body: Option<String>,
    region: Option<String>,
    profile: Option<String>,
}

impl Specific {
    fn read(map: &BTreeMap<String, Value>, errors: &mut ConfigErrors) -> Self {
        let mut s = Self::default();
        for (key, value) in map {
            let text = value.as_str().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
            let field = format!("provider_specific.{key}");
            match key.as_str() {
                "api" => {
                    let known = matches!(text.as_deref(), Some("converse" | "invoke"));
                    errors.check(known, &field, "expected `converse` or `invoke`", value);
                    s.invoke = text.as_deref() == Some("invoke");
                }
                "body" => {
                    let known = text.as_deref().is_some_and(|t| Family::of_name(t).is_some());
                    errors.check(known, &field, &expected_family(), value);
                    s.body = text;
                }
                "region" => {
                    errors.check(text.as_deref().is_some_and(is_region), &field, REGION_EXPECTED, value);
                    s.region = text;
                }
                "profile" => {
                    errors.check(text.is_some(), &field, "expected the name of a profile", value);
                    s.profile = text;
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

impl Specific {
    /// The operations, and for InvokeModel whose body.
    fn api(&self, model: &str, errors: &mut ConfigErrors) -> Option<Api> {
        let field = "provider_specific.body";
        if !self.invoke {
            let why = "expected it only with api = \"invoke\": Converse has one form for all models";
            errors.check(self.body.is_none(), field, why, "a value");
            return Some(Api::Converse);
        }
        let family = match &self.body {
            Some(name) => Family::of_name(name),
            None => {
                let family = Family::of_model(model);
                let why = format!("{}: the model id does not tell", expected_family());
                errors.check(family.is_some(), field, &why, model);
                family
            }
        };
        family.map(Api::Invoke)
    }
}

fn expected_family() -> String {
    let names: Vec<&str> = Family::ALL.iter().map(|f| f.name()).collect();
    format!("expected one of {}", names.join(", "))
}

fn is_header_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}
