//! `llms-bench mock serve`: the simulated vendors for anybody's client.

use std::{fs, io::Write, path::Path};

use bench_mock::{
    Capacity, Preset,
    server::{AwsCredentials, Protocol, ServerConfig, StartError, Tls},
};
use llms_core::config::ConfigErrors;
use secrecy::SecretString;

use crate::{
    cli::MockServeArgs,
    exit::{Exit, Failure},
    signals::asked_to_end,
};

/// Serves until interrupted.
pub(crate) async fn serve(args: &MockServeArgs) -> Result<Exit, Failure> {
    let seed = args.seed.unwrap_or_else(rand::random);
    let mut config = ServerConfig {
        bind: args.addr(),
        allow_remote: !args.host.is_loopback(),
        truth_file: args.truth_log.clone(),
        threads: usize::from(args.threads),
        api_key: args.api_key.clone().map(SecretString::from),
        aws_credentials: args
            .aws_key_id
            .as_ref()
            .zip(args.aws_secret.as_ref())
            .map(|(id, secret)| AwsCredentials::new(id, secret)),
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
    config = config.map_profiles(|mut p| {
        p.time_scale = args.time_scale.unwrap_or(p.time_scale);
        if let Some(slots) = args.slots {
            p.capacity = Capacity { slots: Some(slots), ..p.capacity };
        }
        if let Some(tokens) = args.output_tokens {
            p = p.with_output_tokens(tokens);
        }
        p.with_seed(seed)
    });
    let server = config.start().map_err(|e| match e {
        StartError::Config(errors) => errors.into(),
        StartError::Io(why) => Failure::usage(why),
    })?;
    announce(&server, seed, args.tls_cert.as_deref())
        .map_err(|e| Failure::run(format!("cannot write to standard output: {e}")))?;
    asked_to_end().await.map_err(|e| Failure::run(format!("cannot wait for Ctrl-C: {e}")))?;
    let total = server.truth_log().total();
    server.shutdown().map_err(|e| Failure::run(format!("the truth log: {e}")))?;
    writeln!(std::io::stdout(), "served {total} requests").ok();
    Ok(Exit::Ok)
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
