//! `llms-bench mock serve`: the simulated vendors for anybody's client.

mod args;

use std::{fs, io::Write, path::Path};

use bench_mock::{
    Capacity, Preset, Profile,
    server::{AwsCredentials, Protocol, ServerConfig, StartError, Tls},
};
use llms_core::config::ConfigErrors;
use secrecy::ExposeSecret as _;

use crate::{
    exit::{Exit, Failure},
    signals::SignalsToEnd,
};

pub use args::{Full, MockServeArgs};

/// Serves until interrupted.
pub(crate) async fn serve(args: &MockServeArgs) -> Result<Exit, Failure> {
    let seed = args.seed.unwrap_or_else(rand::random);
    if args.api_key.as_ref().is_some_and(|key| key.expose_secret().starts_with("bad-")) {
        return Err(Failure::usage(
            "--api-key (or LLMS_MOCK_API_KEY): a key that begins with bad- is refused by every vendor here; choose another",
        ));
    }
    let mut config = ServerConfig {
        bind: args.addr(),
        allow_remote: !args.host.is_loopback(),
        truth_file: args.truth_log.clone(),
        threads: usize::from(args.threads),
        api_key: args.api_key.clone(),
        aws_credentials: credentials(args)?,
        allow_remote_admin: args.allow_remote_admin,
        max_connections: args.max_connections as usize,
        when_full: args.when_full.into(),
        tls: args.tls.then(|| Tls { certificate_file: args.tls_cert.clone(), ..Tls::default() }),
        ..ServerConfig::default()
    };
    if let Some(name) = &args.preset {
        let preset: Preset = name.parse().map_err(|e: ConfigErrors| Failure::from(e).at("--preset"))?;
        for protocol in Protocol::ALL {
            config = config.with_profile(protocol, preset.profile().quiet());
        }
    }
    if let Some(path) = &args.profiles {
        let text = fs::read_to_string(path)
            .map_err(|e| Failure::usage(format!("--profiles: cannot read {}: {e}", path.display())))?;
        let file: serde_json::Value =
            toml::from_str(&text).map_err(|e| Failure::usage(e.to_string().trim_end()).at(path.display()))?;
        config = config.merge_profiles(file).map_err(|e| Failure::from(e).at(path.display()))?;
    }
    for (i, (name, preset)) in args.models.iter().enumerate() {
        if args.models[..i].iter().any(|(other, _)| other == name) {
            return Err(Failure::usage(format!("--model: expected each name once, `{name}` is given twice")));
        }
        config = config.with_model(name, preset.profile().quiet());
    }
    let change = |mut p: Profile| {
        p.time_scale = args.time_scale.unwrap_or(p.time_scale);
        if let Some(slots) = args.slots {
            p.capacity = Capacity { slots: Some(slots), ..p.capacity };
        }
        if let Some(tokens) = args.output_tokens {
            p = p.with_output_tokens(tokens);
        }
        p.with_seed(seed)
    };
    config = config.map_profiles(change).map_presets(change);
    if !args.host.is_loopback() {
        let warning = if args.allow_remote_admin {
            "warning: anyone who reaches this port can change what it answers (/mock/config, --allow-remote-admin)"
        } else {
            "warning: anyone who reaches this port can use it, and read its profiles and truth log (/mock/profiles, /mock/truth)"
        };
        writeln!(std::io::stderr(), "llms-bench: {warning}").ok();
    }
    let mut signals =
        SignalsToEnd::listen().map_err(|e| Failure::run(format!("cannot listen for Ctrl-C: {e}")))?;
    let server = config.start().map_err(|e| match e {
        StartError::Config(errors) => errors.into(),
        StartError::Io(why) => Failure::usage(why),
    })?;
    announce(&server, seed, args.tls_cert.as_deref())
        .map_err(|e| Failure::run(format!("cannot write to standard output: {e}")))?;
    signals.asked().await;
    let total = server.truth_log().total();
    server.shutdown().map_err(|e| Failure::run(format!("the truth log: {e}")))?;
    writeln!(std::io::stdout(), "served {total} requests").ok();
    Ok(Exit::Ok)
}

/// The pair that signatures are checked with: both halves or none.
fn credentials(args: &MockServeArgs) -> Result<Option<AwsCredentials>, Failure> {
    match (&args.aws_key_id, &args.aws_secret) {
        (Some(id), Some(secret)) => {
            let (access_key_id, secret_access_key) = (id.clone(), secret.clone());
            Ok(Some(AwsCredentials { access_key_id, secret_access_key }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(Failure::usage(
            "--aws-key-id: expected its secret too, as --aws-secret or in LLMS_MOCK_AWS_SECRET",
        )),
        (None, Some(_)) => Err(Failure::usage(
            "--aws-secret (or LLMS_MOCK_AWS_SECRET): expected the id of the key too, as --aws-key-id",
        )),
    }
}

fn announce(
    server: &bench_mock::server::Server,
    seed: u64,
    certificate: Option<&Path>,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "simulated vendors on {} (seed {seed}); Ctrl-C ends them", server.addr())?;
    for protocol in Protocol::ALL {
        let variable = match protocol {
            Protocol::OpenAi => "OPENAI_BASE_URL",
            Protocol::Anthropic => "ANTHROPIC_BASE_URL",
            Protocol::Bedrock => "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
            Protocol::Ollama => "OLLAMA_HOST",
        };
        writeln!(out, "  {protocol:<10} {variable}={}", server.base_url(protocol))?;
    }
    if let Some(path) = certificate {
        writeln!(out, "  trust {} (SSL_CERT_FILE, NODE_EXTRA_CA_CERTS, AWS_CA_BUNDLE)", path.display())?;
    }
    out.flush()
}
