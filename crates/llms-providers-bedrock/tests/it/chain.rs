//! AWS's own chain: shared configuration files, profiles, and what is said when nothing is found. aws-config reads the
//! process environment, so each case runs in a child process with an environment of its own, without network.

// Helpers may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::process::Command;

use llms_core::{
    ChatModel,
    config::{ModelConfig, process_env},
};
use llms_providers_bedrock::{Config, model};
use support::{Answer, Scripted};

/// Tells the child which profile to name in the configuration.
const PROFILE: &str = "TEST_PROFILE";
/// Tells the child which model to name.
const MODEL: &str = "TEST_MODEL";

#[test]
#[ignore = "the child process of the tests below"]
fn child() {
    let transport = Scripted::new([Answer::new(404, "")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let id = process_env(MODEL).unwrap_or_else(|| "m".to_owned());
        let mut config = ModelConfig::new("bedrock", id);
        if let Some(profile) = process_env(PROFILE) {
            config = config.with_specific("profile", profile);
        }
        match model(Config::new(&config, &process_env).unwrap(), transport.clone()).await {
            Err(error) => println!("{error}"),
            Ok(model) => {
                model.check_health(&support::context()).await;
                let request = transport.request();
                let authorization = request.headers["authorization"].to_str().unwrap();
                println!("{} {} {}", model.region(), request.uri.authority().unwrap(), authorization);
            }
        }
    });
}

/// What the child says in this environment.
fn said(env: &[(&str, &str)]) -> String {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aws");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "chain::child", "--ignored", "--nocapture"])
        .env_clear()
        .env("AWS_CONFIG_FILE", format!("{files}/config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", format!("{files}/credentials"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(env.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn check(env: &[(&str, &str)], expected: &[&str]) {
    let said = said(env);
    for part in expected {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("wJalr") && !said.contains("other-secret"), "{said}");
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "OTHER"), ("AWS_SECRET_ACCESS_KEY", "other-secret")];

#[test]
fn a_profile_gives_keys_region_and_endpoint() {
    let at = "ap-south-1 bedrock-runtime.ap-south-1.amazonaws.com";
    check(
        &[("AWS_PROFILE", "keys")],
        &[at, "Credential=AKIAIOSFODNN7EXAMPLE/", "/ap-south-1/bedrock/aws4_request"],
    );
    // Keys of the environment come before AWS_PROFILE, as in AWS's chain; the region is still the profile's.
    check(&[("AWS_PROFILE", "keys"), KEYS[0], KEYS[1]], &[at, "Credential=OTHER/"]);
    // A profile named in the configuration gives way to nothing.
    check(&[(PROFILE, "keys"), KEYS[0], KEYS[1]], &[at, "Credential=AKIAIOSFODNN7EXAMPLE/"]);
    check(&[KEYS[0], KEYS[1]], &["eu-west-1 bedrock-runtime.eu-west-1.amazonaws.com", "Credential=OTHER/"]);
}

#[test]
fn an_api_key_comes_before_every_other() {
    let token = ("AWS_BEARER_TOKEN_BEDROCK", "the-api-key");
    check(&[token, KEYS[0], KEYS[1]], &["eu-west-1 ", " Bearer the-api-key"]);
    check(&[token, (PROFILE, "keys")], &["Credential=AKIAIOSFODNN7EXAMPLE/"]);
}

#[test]
fn missing_credentials_say_what_to_set() {
    let help = [
        "authentication_error",
        "in prepare",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_PROFILE",
        "export-credentials",
    ];
    check(&[], &help);
    check(&[(PROFILE, "nowhere")], &[&help[..], &["profile `nowhere` was not defined"]].concat());
    check(&[("AWS_PROFILE", "sso")], &[&help[..], &["sso"]].concat());
}

/// aws-config is built without these; what the user sees names the missing part and the way round it.
#[test]
fn profiles_that_need_a_part_left_out_say_so() {
    for (profile, part) in
        [("sso", "sso"), ("process", "credentials-process"), ("login", "credentials-login")]
    {
        for name in ["AWS_PROFILE", PROFILE] {
            check(
                &[(name, profile)],
                &["authentication_error", part, "eval \"$(aws configure export-credentials --format env)\""],
            );
        }
    }
}

#[test]
fn the_region_order_ends_with_the_arn_and_the_default() {
    let (arn, token) =
        ("arn:aws:bedrock:us-west-2:123456789012:inference-profile/x", ("AWS_BEARER_TOKEN_BEDROCK", "t"));
    let nowhere = ("AWS_CONFIG_FILE", "/nonexistent");
    check(
        &[token, (MODEL, arn), ("AWS_REGION", "eu-north-1"), ("AWS_DEFAULT_REGION", "sa-east-1")],
        &["eu-north-1 "],
    );
    check(&[token, (MODEL, arn), ("AWS_DEFAULT_REGION", "sa-east-1")], &["sa-east-1 "]);
    check(&[token, (MODEL, arn)], &["eu-west-1 "]);
    check(&[token, (MODEL, arn), ("AWS_PROFILE", "keys")], &["ap-south-1 "]);
    check(&[token, (MODEL, arn), nowhere], &["us-west-2 bedrock-runtime.us-west-2.amazonaws.com"]);
    check(&[token, nowhere], &["us-east-1 bedrock-runtime.us-east-1.amazonaws.com"]);
}

#[test]
fn an_endpoint_of_the_environment_is_used() {
    let token = ("AWS_BEARER_TOKEN_BEDROCK", "t");
    let general = said(&[token, ("AWS_ENDPOINT_URL", "https://gateway.example/aws")]);
    assert!(general.contains("eu-west-1 gateway.example "), "{general}");
    let specific = said(&[
        token,
        ("AWS_ENDPOINT_URL", "https://gateway.example"),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "https://nearer.example"),
    ]);
    assert!(specific.contains("eu-west-1 nearer.example "), "{specific}");
}
