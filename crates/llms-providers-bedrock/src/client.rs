//! The SDK client of a configuration: region, endpoint, credentials, and everything of the SDK that would disturb a
//! measurement switched off.
//!
//! Loopback endpoints are served without opening a file or a socket. Otherwise the region may come from the shared
//! configuration files, and credentials from AWS's chain, which is asked once here, so that missing credentials are
//! an error before the first request and not a slow surprise in it.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region,
    meta::region::ProvideRegion,
    profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider},
    provider_config::ProviderConfig,
};
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sdk_bedrockruntime::{
    Client,
    config::{
        AppName, Builder, IdentityCache, StalledStreamProtectionConfig, Token,
        endpoint::{DefaultResolver, Params, ResolveEndpoint},
        retry::RetryConfig,
        timeout::TimeoutConfig,
    },
};
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use llms_core::{Error, ErrorCode, Result};
use secrecy::ExposeSecret;

use crate::{
    config::{Auth, Config, DEFAULT_REGION, PROVIDER, chain_failed},
    error::chain,
    wire::Wire,
};

/// Longest search for credentials: the instance metadata service answers in milliseconds where there is one, and
/// the SDK would try an absent one for longer.
const CHAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// An SDK client and what is known about it.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) region: String,
    /// Scheme, host and path below which Converse lies.
    pub(crate) endpoint: String,
}

/// Pinned, so that an update of the SDK changes no default.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// Builds the SDK client that sends over `wire`.
///
/// # Errors
/// `authentication_error` when the chain finds no credentials, saying what to set; `invalid_config` for a region
/// without an endpoint.
pub(crate) async fn connect(config: &Config, wire: Wire) -> Result<Connected> {
    let region = region(config).await;
    let mut builder = Builder::default()
        .behavior_version(behavior())
        .region(Region::new(region.clone()))
        .http_client(wire.clone())
        .app_name(AppName::new("llms-bench").expect("invariant: a valid name"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    builder.set_endpoint_url(config.base.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned()));
    let (mut fips, mut dual_stack) = (None, None);
    builder = match &config.auth {
        // Fixed keys need no cache, and the cache needs a timer.
        Auth::Keys(keys) => fixed(builder, keys.clone()),
        Auth::Placeholder => {
            fixed(builder, Credentials::new("placeholder", "placeholder", None, None, "none"))
        }
        Auth::Bearer(key) => builder
            .bearer_token(Token::new(key.expose_secret(), None))
            .auth_scheme_preference([AuthSchemeId::from("httpBearerAuth")])
            .identity_cache(IdentityCache::no_cache()),
        Auth::Chain { profile } => {
            let mut loader = aws_config::defaults(behavior())
                .region(Region::new(region.clone()))
                .http_client(wire.clone());
            if let Some(name) = profile {
                // A profile that was asked for by name must not give way to keys of the environment or of the machine.
                let shared = ProviderConfig::without_region()
                    .with_region(Some(Region::new(region.clone())))
                    .with_http_client(wire);
                let only =
                    ProfileFileCredentialsProvider::builder().profile_name(name).configure(&shared).build();
                loader = loader.profile_name(name).credentials_provider(only);
            }
            let shared = loader.load().await;
            let provider = shared.credentials_provider().ok_or_else(|| chain_failed("no provider"))?;
            match tokio::time::timeout(CHAIN_TIMEOUT, provider.provide_credentials()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(chain_failed(&chain(config, &error))),
                Err(_) => {
                    return Err(chain_failed(&format!("no answer within {} s", CHAIN_TIMEOUT.as_secs())));
                }
            }
            (fips, dual_stack) = (shared.use_fips(), shared.use_dual_stack());
            builder.set_use_fips(fips);
            builder.set_use_dual_stack(dual_stack);
            builder.credentials_provider(provider)
        }
    };
    let endpoint = match &config.base {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => endpoint(&region, fips, dual_stack).await?,
    };
    Ok(Connected { client: Client::from_conf(builder.build()), region, endpoint })
}

fn fixed(builder: Builder, keys: Credentials) -> Builder {
    builder.credentials_provider(keys).identity_cache(IdentityCache::no_cache())
}

/// Configuration or environment, the profile, the model's ARN, the default.
async fn region(config: &Config) -> String {
    if let Some(region) = &config.region {
        return region.clone();
    }
    let of_profile = if config.is_loopback() {
        None
    } else {
        let mut provider = ProfileFileRegionProvider::builder();
        if let Auth::Chain { profile: Some(name) } = &config.auth {
            provider = provider.profile_name(name);
        }
        provider.build().region().await
    };
    match of_profile {
        Some(region) => region.to_string(),
        None => config.region_of_arn().unwrap_or(DEFAULT_REGION).to_owned(),
    }
}

/// AWS's endpoint of a region, as the SDK will resolve it.
async fn endpoint(region: &str, fips: Option<bool>, dual_stack: Option<bool>) -> Result<String> {
    let wrong = |e: &dyn std::fmt::Display| {
        let message = format!("expected a region with a Bedrock endpoint, found {region} ({e})");
        Error::new("bedrock.configure", ErrorCode::InvalidConfig, message).with_provider(PROVIDER)
    };
    let params = Params::builder()
        .region(region)
        .use_fips(fips.unwrap_or(false))
        .use_dual_stack(dual_stack.unwrap_or(false))
        .build()
        .map_err(|e| wrong(&e))?;
    let resolver: &dyn ResolveEndpoint = &DefaultResolver::new();
    let endpoint = resolver.resolve_endpoint(&params).await.map_err(|e| wrong(&e))?;
    Ok(endpoint.url().to_owned())
}
