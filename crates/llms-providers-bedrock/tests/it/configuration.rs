//! What a configuration means: region, endpoint, whose credentials may go where, what is refused.
// Helpers may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use crate::support;

use llms_core::{
    CallPhase, ChatModel, ErrorCode, SharedModel,
    config::ModelConfig,
    registry::{BuildContext, Registry},
};
use llms_providers_bedrock::{Api, Config, Family, config::SPECIFIC_KEYS, model, register};
use support::{Scripted, block_on};

type Env<'a> = &'a [(&'a str, &'a str)];

fn config(change: impl FnOnce(ModelConfig) -> ModelConfig, env: Env<'_>) -> llms_core::Result<Config> {
    let lookup = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    Config::new(&change(ModelConfig::new("bedrock", "m")), &lookup)
}

const TOKEN: (&str, &str) = ("AWS_BEARER_TOKEN_BEDROCK", "secret-bearer");

#[test]
fn every_wrong_field_is_named_at_once() {
    let wrong = config(
        |mut c| {
            c.model = " ".to_owned();
            c.options.temperature = Some(1.5);
            c.options.seed = Some(1);
            c.headers.insert("Host".to_owned(), "x".to_owned());
            c.with_specific("region", "Frankfurt")
                .with_specific("profile", "")
                .with_specific("colour", "red")
                .with_api_key("a b")
        },
        &[("AWS_ENDPOINT_URL", "ftp://x")],
    )
    .unwrap_err();
    assert_eq!(wrong.code(), ErrorCode::InvalidConfig);
    for field in [
        "model",
        "options.temperature",
        "options.seed",
        "headers.Host",
        "provider_specific.region",
        "provider_specific.profile",
        "provider_specific.colour",
        "api_key",
        "AWS_ENDPOINT_URL",
    ] {
        assert!(wrong.message().contains(&format!("{field}: ")), "{field} in {wrong}");
    }
    assert_eq!(SPECIFIC_KEYS, ["api", "body", "profile", "region"]);
}

#[test]
fn the_api_and_its_body_are_chosen() {
    let with = |id: &str, pairs: &[(&str, &str)]| {
        config(
            |mut c| {
                c.model = id.to_owned();
                pairs.iter().fold(c, |c, (k, v)| c.with_specific(*k, *v))
            },
            &[TOKEN],
        )
    };
    let api = |id: &str, pairs: &[(&str, &str)]| with(id, pairs).unwrap().api();
    let (invoke, titan) = (("api", "invoke"), ("body", "titan"));
    assert_eq!(api("amazon.titan-text-lite-v1", &[]), Api::Converse);
    assert_eq!(api("amazon.titan-text-lite-v1", &[("api", "converse")]), Api::Converse);
    assert_eq!(api("amazon.titan-text-lite-v1", &[invoke]), Api::Invoke(Family::Titan));
    assert_eq!(api("eu.anthropic.claude-v1:0", &[invoke]), Api::Invoke(Family::Anthropic));
    assert_eq!(api("eu.anthropic.claude-v1:0", &[invoke, titan]), Api::Invoke(Family::Titan));
    let opaque = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3";
    assert_eq!(api(opaque, &[invoke, titan]), Api::Invoke(Family::Titan));
    for (id, pairs, field) in [
        (opaque, &[invoke][..], "provider_specific.body: "),
        ("m", &[("api", "chat")], "provider_specific.api: "),
        ("m", &[invoke, ("body", "gpt")], "provider_specific.body: "),
        ("m", &[titan], "provider_specific.body: "),
    ] {
        let error = with(id, pairs).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.message().contains(field), "{error}");
        assert_eq!(error.message().matches("provider_specific").count(), 1, "{error}");
    }
}

#[test]
fn defaults_that_the_body_cannot_say_are_named() {
    let seeded = |api: &str, id: &str| {
        config(
            |mut c| {
                c.model = id.to_owned();
                c.options.seed = Some(1);
                c.options.top_k = Some(5);
                c.with_specific("api", api)
            },
            &[TOKEN],
        )
    };
    assert!(seeded("invoke", "cohere.command-r-v1:0").is_ok());
    let error = seeded("invoke", "anthropic.claude-v2").unwrap_err();
    assert!(error.message().contains("options.seed: ") && !error.message().contains("top_k"), "{error}");
    let error = seeded("converse", "anthropic.claude-v2").unwrap_err();
    assert!(error.message().contains("options.seed: ") && error.message().contains("options.top_k: "));
}

#[test]
fn headers_of_the_signature_cannot_be_given() {
    for name in ["Authorization", "x-amz-date", "X-Amz-Security-Token", "x-amz-content-sha256"] {
        let error = config(
            |mut c| {
                c.headers.insert(name.to_owned(), "x".to_owned());
                c
            },
            &[TOKEN],
        )
        .unwrap_err();
        assert!(
            error.message().contains(&format!("headers.{}", name.to_lowercase()))
                || error.message().contains(&format!("headers.{name}")),
            "{error}"
        );
    }
}

#[test]
fn the_region_comes_from_the_nearest_place() {
    let region = |specific: Option<&str>, env: Env<'_>| {
        let change = |c: ModelConfig| match specific {
            Some(region) => c.with_specific("region", region),
            None => c,
        };
        config(change, env).unwrap().region().map(str::to_owned)
    };
    let (a, d) = (("AWS_REGION", "us-gov-west-1"), ("AWS_DEFAULT_REGION", "ap-southeast-2"));
    assert_eq!(region(Some("eu-central-1"), &[a, d]).as_deref(), Some("eu-central-1"));
    assert_eq!(region(None, &[d, a]).as_deref(), Some("us-gov-west-1"));
    assert_eq!(region(None, &[d]).as_deref(), Some("ap-southeast-2"));
    assert_eq!(region(None, &[]), None);
    let evil = config(|c| c, &[("AWS_REGION", "x.evil.example/")]).unwrap_err();
    assert!(evil.message().contains("AWS_REGION"), "{evil}");
}

#[track_caller]
fn goes(url: &str, env: Env<'_>, allowed: bool) {
    let outcome = config(|c| c.with_base_url(url), env);
    match outcome {
        Ok(_) => assert!(allowed, "{url}"),
        Err(e) => {
            assert!(!allowed, "{url}: {e}");
            assert_eq!((e.code(), e.phase()), (ErrorCode::Authentication, Some(CallPhase::Prepare)));
            assert!(!e.to_string().contains("secret"), "{e}");
        }
    }
}

#[test]
fn credentials_of_the_environment_go_only_where_they_belong() {
    for url in [
        "https://bedrock-runtime.us-east-1.amazonaws.com",
        "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
        "https://bedrock-runtime.cn-north-1.amazonaws.com.cn",
        "https://bedrock-runtime.eu-west-1.api.aws",
        "https://vpce-0a1b.bedrock-runtime.us-east-1.vpce.amazonaws.com",
        "http://127.0.0.1:8080",
        "http://localhost:8080/aws",
    ] {
        goes(url, &[TOKEN], true);
        goes(url, &[], true);
    }
    for url in [
        "http://bedrock-runtime.us-east-1.amazonaws.com",
        "https://bedrock-runtime.us-east-1.amazonaws.com.evil.example",
        "https://bedrock-runtime.s3.amazonaws.com",
        "https://bedrock-runtime.s3-us-west-2.amazonaws.com",
        "https://bedrock-runtime.mine.us-east-1.amazonaws.com",
        "https://x.execute-api.us-east-1.amazonaws.com",
        "https://gateway.example",
    ] {
        goes(url, &[TOKEN], false);
        // AWS's chain may find some later: it is not asked either.
        goes(url, &[], false);
        goes(url, &[TOKEN, ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)], true);
        let given = config(|c| c.with_base_url(url).with_api_key("secret-given"), &[]);
        assert!(given.is_ok(), "a key in the configuration is the user's own decision");
    }
    let env = [TOKEN, ("AWS_ENDPOINT_URL", "https://gateway.example/aws")];
    assert_eq!(config(|c| c, &env).unwrap().base_url().unwrap().as_str(), "https://gateway.example/aws");
}

#[test]
fn half_a_key_pair_is_said() {
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let error = config(|c| c, &[(name, "secret")]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Authentication);
        assert!(error.message().contains("set both"), "{error}");
    }
}

#[test]
fn secrets_never_show() {
    for env in [
        &[TOKEN][..],
        &[
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_SECRET_ACCESS_KEY", "secret-key"),
            ("AWS_SESSION_TOKEN", "secret-token"),
        ],
    ] {
        let change = |mut c: ModelConfig| {
            c.headers.insert("x-gateway-key".to_owned(), "secret-gateway-key".to_owned());
            c.with_specific("region", "us-east-1")
        };
        let config = config(change, env).unwrap();
        let model = block_on(model(config.clone(), Scripted::new([]))).unwrap();
        for printed in [format!("{config:?}"), format!("{config:#?}"), format!("{model:?}")] {
            assert!(!printed.contains("secret-"), "{printed}");
        }
    }
}

#[test]
fn the_endpoint_follows_the_region_unless_given() {
    let at = |region: &str, url: Option<&str>, env: Env<'_>| {
        let change = |c: ModelConfig| {
            let c = c.with_specific("region", region);
            match url {
                Some(url) => c.with_base_url(url),
                None => c,
            }
        };
        let model = block_on(model(config(change, env).unwrap(), Scripted::new([]))).unwrap();
        (model.region().to_owned(), model.info().endpoint.clone().unwrap())
    };
    let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        at("eu-west-3", None, &[TOKEN]),
        owned("eu-west-3", "https://bedrock-runtime.eu-west-3.amazonaws.com")
    );
    assert_eq!(at("cn-north-1", None, &[TOKEN]).1, "https://bedrock-runtime.cn-north-1.amazonaws.com.cn");
    assert_eq!(
        at("us-east-1", Some("http://127.0.0.1:1/x/"), &[]),
        owned("us-east-1", "http://127.0.0.1:1/x")
    );
}

#[test]
fn at_loopback_only_the_arn_or_the_default_name_a_region() {
    let region = |name: &str| {
        let change = |mut c: ModelConfig| {
            c.model = name.to_owned();
            c.with_base_url(support::LOOPBACK)
        };
        block_on(model(config(change, &[]).unwrap(), Scripted::new([]))).unwrap().region().to_owned()
    };
    assert_eq!(region("arn:aws:bedrock:us-west-2:123456789012:inference-profile/x"), "us-west-2");
    assert_eq!(region("amazon.nova-micro-v1:0"), "us-east-1");
}

#[test]
fn the_registry_builds_it_by_name() {
    let registry = Registry::new();
    register(&registry);
    let env = |_: &str| None;
    let build = BuildContext { transport: Scripted::new([]), env: &env };
    let config = ModelConfig::new("bedrock", "m").with_base_url(support::LOOPBACK);
    let model: SharedModel = block_on(registry.create(&config, &build)).unwrap();
    let info = model.info();
    assert_eq!((info.provider.as_str(), info.model.as_str()), ("bedrock", "m"));
    assert!(info.capabilities.streaming && info.capabilities.tools && !info.capabilities.seed);
}
