//! The arguments of `llms-bench mock serve`, and their help.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use bench_mock::{Preset, SITUATIONS, server::WhenFull};
use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser, value_parser};
use llms_core::config::ConfigErrors;
use secrecy::SecretString;

/// How to serve the simulated vendors.
#[derive(Debug, Args)]
#[command(after_help = situations())]
pub struct MockServeArgs {
    /// Port; 0 lets the system choose one.
    #[arg(long, default_value_t = 8399)]
    pub port: u16,
    /// Address to listen on; loopback unless told otherwise.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDR")]
    pub host: IpAddr,
    /// Profiles per protocol or model, as TOML (see the guide).
    #[arg(long, value_name = "FILE")]
    pub profiles: Option<PathBuf>,
    /// Seed of all draws; drawn and printed unless given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Write what was really sent when, one JSON object per request.
    #[arg(long, value_name = "FILE")]
    pub truth_log: Option<PathBuf>,

    /// Profile of all four protocols: openai, anthropic, bedrock, ollama, very-fast, very-slow.
    #[arg(long, value_name = "NAME", help_heading = "Behaviour")]
    pub preset: Option<String>,
    /// One more model name, on every protocol, answered as a preset has it, --profiles notwithstanding. Repeatable.
    #[arg(long = "model", value_name = "NAME=PRESET", value_parser = model, help_heading = "Behaviour")]
    pub models: Vec<(String, Preset)>,
    /// Factor on all delays, whatever the model: 0.1 plays ten times as fast.
    #[arg(long, value_name = "FACTOR", value_parser = factor, allow_negative_numbers = true, help_heading = "Behaviour")]
    pub time_scale: Option<f64>,
    /// Tokens of every answer, unless the request limits them; mock-long keeps its 1000.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), help_heading = "Behaviour")]
    pub output_tokens: Option<u32>,
    /// Requests that each protocol, and each model with a profile of its own, serves at once; more wait.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), help_heading = "Behaviour")]
    pub slots: Option<u32>,
    /// Connections at a time.
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = value_parser!(u32).range(1..), help_heading = "Behaviour")]
    pub max_connections: u32,
    /// What becomes of more.
    #[arg(long, value_enum, default_value_t = Full::HangUp, help_heading = "Behaviour")]
    pub when_full: Full,
    /// Threads that serve.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=256), help_heading = "Behaviour")]
    pub threads: u16,

    /// The one key that is accepted; without this any key but those that begin with bad-. Others on this machine can
    /// read arguments: the variable is the better place.
    #[arg(long, value_name = "KEY", value_parser = secret, env = "LLMS_MOCK_API_KEY", hide_env_values = true, help_heading = "Access")]
    pub api_key: Option<SecretString>,
    /// With --aws-secret: check the signatures of Bedrock requests against this pair.
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new(), help_heading = "Access")]
    pub aws_key_id: Option<String>,
    /// Secret of --aws-key-id.
    #[arg(long, value_name = "SECRET", value_parser = secret, env = "LLMS_MOCK_AWS_SECRET", hide_env_values = true, help_heading = "Access")]
    pub aws_secret: Option<SecretString>,
    /// Let /mock/config be changed from elsewhere when --host is not loopback: by anyone who reaches the port.
    #[arg(long, help_heading = "Access")]
    pub allow_remote_admin: bool,
    /// HTTPS, with a certificate made at the start.
    #[arg(long, help_heading = "Access")]
    pub tls: bool,
    /// Where that certificate is written (PEM), for clients to trust.
    #[arg(long, value_name = "FILE", requires = "tls", help_heading = "Access")]
    pub tls_cert: Option<PathBuf>,
}

/// What becomes of a connection when there are `--max-connections` already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Full {
    /// Closed without a word.
    HangUp,
    /// Told 503 and closed; over HTTPS closed without a word.
    Refuse,
    /// Waits until another one ends.
    Queue,
}

impl From<Full> for WhenFull {
    fn from(full: Full) -> Self {
        match full {
            Full::HangUp => Self::HangUp,
            Full::Refuse => Self::Refuse,
            Full::Queue => Self::Queue,
        }
    }
}

impl MockServeArgs {
    /// Where to listen.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// A name and the preset that answers it.
fn model(text: &str) -> Result<(String, Preset), String> {
    let parts = text.rsplit_once('=').filter(|(name, _)| !name.is_empty());
    let (name, preset) = parts.ok_or("expected NAME=PRESET, such as tiny=very-fast")?;
    let preset = preset.parse().map_err(|e: ConfigErrors| e.to_string())?;
    Ok((name.to_owned(), preset))
}

/// A factor on delays.
fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|f: &f64| f.is_finite() && *f > 0.0);
    factor.ok_or_else(|| "expected a number above 0, such as 0.1".to_owned())
}

/// A key or secret. What is refused is empty, so that a message that quotes it gives nothing away.
fn secret(text: &str) -> Result<SecretString, String> {
    let given = (!text.is_empty()).then(|| SecretString::from(text));
    given.ok_or_else(|| "expected a key, not nothing".to_owned())
}

/// The situations that clients can ask for by the name of a model.
fn situations() -> String {
    let width = SITUATIONS.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = "Situations, asked for by the name of the model, on every protocol:\n".to_owned();
    for (name, what) in SITUATIONS {
        text.push_str(&format!("  {name:width$}  {what}\n"));
    }
    text.push_str(
        "\nOther names that begin with mock- are not found, unless a profile has that name; any other name is \
         answered.\nProfiles can be changed while it runs: GET, PUT and PATCH /mock/config, POST /mock/reset; see the \
         guide.",
    );
    text
}
