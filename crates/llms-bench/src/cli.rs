//! The command line. Flags are spelled as users of other tools know them; one that cannot be honoured is refused.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::TypedValueParser, error::ErrorKind};
use llms_core::{
    bench::{Arrivals, duration},
    health::HealthProbe,
};

use crate::{
    limit_args::LimitArgs,
    load_args::{ShapeArgs, TraceArgs},
    target::TargetSpec,
    work_args::WorkArgs,
};

pub use crate::backpressure::BackpressureArgs;
pub use crate::mock_serve::{Full, MockServeArgs};
pub use crate::soak::args::{SoakArgs, StressArgs};

/// Measure LLM providers: compare, load, report.
#[derive(Debug, Parser)]
#[command(name = "llms-bench", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Log lines on standard error, as a filter: `info`, `llms_telemetry=debug`. One line a call at `info`, one a failed
    /// call at `warn`; never prompts, answers, headers or keys (therefore nothing of the AWS SDK below `info`).
    #[arg(long, global = true, value_name = "FILTER", env = "LLMS_BENCH_LOG", help_heading = "Logging")]
    pub log: Option<String>,
    /// Form of the log lines.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, help_heading = "Logging")]
    pub log_format: LogFormat,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const EXIT_CODES: &str = "Exit codes: 0 fine · 1 a check of validate failed, a plan does not fit its limits, a gate failed, a soak degrades or has spent its budget, a service stays down after a stress step · 2 usage or configuration, nothing was sent · 3 the run failed, a target could not be \
reached, or more than --max-error-rate of its requests failed · 4 INVALID result under --strict · 5 capacity could not certify a rate, a soak is too short for a slope, a gate could not decide · 130 interrupted, the partial result is saved";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare targets: interleaved, paired, with intervals and verdicts. Without --target and llms-bench.toml:
    /// four simulated vendors over real HTTP on this machine.
    Compare(Box<RunArgs>),
    /// Measure one target.
    Run(Box<RunArgs>),
    /// What a run would do, before anything is sent: requests, time, tokens, cost, and the sample size a precision needs.
    /// Takes the flags of `run` and `compare`.
    Plan(Box<PlanArgs>),
    /// Render a saved run again: judging is repeatable.
    Report(ReportArgs),
    /// How sure the ranks of a saved comparison are: chance to be first, who is beaten by nobody, tails, gates, and how many
    /// requests a wanted difference needs.
    Study(crate::saved::StudyArgs),
    /// Several saved runs of one thing as one answer, with the run as the unit: where the spread comes from, what stands out.
    Aggregate(crate::saved::AggregateArgs),
    /// Saved runs over time: where each number goes, what changed when, and what would confirm it.
    Trend(crate::saved::TrendArgs),
    /// Is a saved run worse than its baseline? Exit code 0 no, 1 yes, 5 cannot tell.
    Gate(crate::saved::GateArgs),
    /// What the tokens of saved runs went into, what they cost, and what would save money, with the evidence.
    Tokens(crate::tokens::TokensArgs),
    /// Simulated vendors for anybody's client.
    #[command(subcommand)]
    Mock(MockCommand),
    /// Keys, addresses, clock and limits: what works from here, what does not, what to do.
    Doctor(DoctorArgs),
    /// The highest rate at which a service holds an objective, with confidence.
    Capacity(Box<CapacityArgs>),
    /// Sustained load for a long time: degradation, error budget, recovery, and the client's own ageing.
    Soak(Box<SoakArgs>),
    /// A ladder of rates: what breaks first, how, and whether it heals when the load drops.
    Stress(Box<StressArgs>),
    /// What a service does with a client that reads more slowly than it generates: pause, buffer, drop or kill; and whether
    /// other clients suffer.
    Backpressure(Box<BackpressureArgs>),
    /// Prove on this machine that the instrument is right: every protocol driven at several loads, and what was
    /// measured held against what the simulated vendors really did.
    Validate(ValidateArgs),
    /// Built-in scenarios.
    Scenarios,
}

/// What is planned. Everything of `run`; its files are not written, and only --format chooses what is printed.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The run to plan.
    #[command(flatten)]
    pub run: RunArgs,
    /// An earlier run of the same work, for latencies and lengths of answers: its directory, its id, or `latest`.
    #[arg(long, value_name = "RUN", help_heading = "Work")]
    pub pilot: Option<String>,
}

/// What to look at, and how closely.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// provider:model or provider:model@http://host:port, repeatable; also those of the configuration file.
    #[arg(long = "target", value_name = "TARGET", value_parser = TargetArg)]
    pub targets: Vec<TargetSpec>,
    /// Configuration file with targets; ./llms-bench.toml is read when there is one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How targets are probed: as cheaply as the provider permits, or by a call of one token, which costs what that
    /// costs and proves that the model answers. Default: what the target's table says, else cheap.
    #[arg(long, value_enum)]
    pub probe: Option<ProbeArg>,
    /// How to connect.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Longest wait for one target.
    #[arg(long, value_parser = some_time, value_name = "TIME", default_value = "30s")]
    pub timeout: Duration,
    /// Form of standard output.
    #[arg(long, value_enum, default_value_t = DoctorFormat::Text)]
    pub format: DoctorFormat,
}

/// What capacity is searched, and how. Everything of `run` but its load.
#[derive(Debug, Args)]
pub struct CapacityArgs {
    /// Target, work and output.
    #[command(flatten)]
    pub run: RunArgs,
    /// Share of requests that must meet the objectives, where they name none.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Search")]
    pub share: Option<f64>,
    /// How far below the share a certified rate may really be.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Search")]
    pub margin: Option<f64>,
    /// Confidence of the answer, over all steps together.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.95, help_heading = "Search")]
    pub confidence: f64,
    /// Lowest rate worth knowing, requests per second.
    #[arg(long, value_name = "RATE", value_parser = above_zero, default_value_t = 1.0, help_heading = "Search")]
    pub min_rate: f64,
    /// First rate probed; the lowest unless given.
    #[arg(long, value_name = "RATE", value_parser = above_zero, help_heading = "Search")]
    pub start_rate: Option<f64>,
    /// Highest rate allowed, requests per second.
    #[arg(long, value_name = "RATE", value_parser = above_zero, default_value_t = 1000.0, help_heading = "Search")]
    pub max_rate: f64,
    /// Most requests of one step; the confirming step takes them all.
    #[arg(long, value_name = "N", default_value_t = 5000, help_heading = "Search")]
    pub max_requests: u64,
    /// Longest time of one step.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "5m", help_heading = "Search")]
    pub step_time: Duration,
    /// Longest wait between steps for the service to come back to its latency at rest.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "1m", help_heading = "Search")]
    pub recovery: Duration,
    /// Relative width of the answer at which to stop narrowing.
    #[arg(long, value_name = "SHARE", value_parser = above_zero, default_value_t = 0.05, help_heading = "Search")]
    pub resolution: f64,
    /// First requests of each step that are not judged, while the queue finds its length.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Search")]
    pub settle: u64,
}

/// A number above 0.
fn above_zero(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

/// A share strictly between 0 and 1.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|s: &f64| *s > 0.0 && *s < 1.0);
    share.ok_or_else(|| "expected a share between 0 and 1, such as 0.99".to_owned())
}

/// How the instrument is validated.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Instead of all this, one long run: so many answers of 100 chunks each (a million unless said), all of which must come,
    /// be counted and be judged, while memory stays where it is.
    #[arg(long, value_name = "REQUESTS", num_args = 0..=1, default_missing_value = "1000000", value_parser = clap::value_parser!(u64).range(1..))]
    pub long: Option<u64>,
    /// Instead of all this, the statistics: intervals on simulated data of known law must hold the truth as often as they say,
    /// equals must rarely be called different, and what was said to be seen must be seen. No socket is opened.
    #[arg(long, conflicts_with = "long")]
    pub statistics: bool,
    /// With --statistics: a twentieth of the data sets, with bands as much wider.
    #[arg(long, requires = "statistics")]
    pub quick: bool,
    /// How to connect.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Form of standard output.
    #[arg(long, value_enum, default_value_t = DoctorFormat::Text, help_heading = "Output")]
    pub format: DoctorFormat,
    /// Do not say what is being done.
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
}

/// How to connect.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectArgs {
    /// HTTP client: `direct` stamps every read in the task that reads; `pooled` is what applications use.
    #[arg(long, value_enum, default_value_t = TransportKind::Direct)]
    pub transport: TransportKind,
    /// Certificates (PEM) of a private authority to trust beside the public ones, repeatable; a file named by
    /// SSL_CERT_FILE is trusted too.
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Vec<PathBuf>,
}

/// Reads a target. clap's own messages would quote it with the credentials that somebody wrote into its address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetArg;

impl TypedValueParser for TargetArg {
    type Value = TargetSpec;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<TargetSpec, clap::Error> {
        let wrong = |e: String| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("--target: {e}\n")).with_cmd(cmd)
        };
        value.to_str().ok_or_else(|| wrong("expected UTF-8".to_owned()))?.parse().map_err(wrong)
    }
}

/// How targets are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeArg {
    /// A list of models or the like.
    Cheap,
    /// A call of one token.
    OneToken,
}

impl From<ProbeArg> for HealthProbe {
    fn from(p: ProbeArg) -> Self {
        match p {
            ProbeArg::Cheap => Self::Cheap,
            ProbeArg::OneToken => Self::OneToken,
        }
    }
}

/// Form of the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For the terminal.
    Text,
    /// For programs.
    Json,
}

/// The simulated vendors.
#[derive(Debug, Subcommand)]
pub enum MockCommand {
    /// Serve the OpenAI, Anthropic, Bedrock and Ollama protocols on one port until interrupted.
    Serve(MockServeArgs),
}

/// A duration that lets something happen.
fn some_time(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("expected a time above 0, such as 30s".to_owned()),
        time => Ok(time),
    }
}

/// Which saved run to render, and how.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Directory of the run, its id, or `latest`.
    #[arg(default_value = "latest")]
    pub run: String,
    /// Where runs are kept.
    #[arg(long, value_name = "DIR", default_value = ".llms-bench")]
    pub output_dir: PathBuf,
    /// Price file instead of the bundled one.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// What goes to standard output and to files.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What goes to standard output and to files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Form of standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Also write the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Exit with 4 when the result is INVALID.
    #[arg(long)]
    pub strict: bool,
}

/// Form of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For the terminal.
    Text,
    /// For a pull request.
    Markdown,
    /// For programs.
    Json,
}

/// Arguments of `compare` and `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// provider:model or provider:model@http://host:port, repeatable. Providers: openai, anthropic, bedrock,
    /// ollama, mock.
    #[arg(long = "target", value_name = "TARGET", value_parser = TargetArg, help_heading = "Targets")]
    pub targets: Vec<TargetSpec>,
    /// Configuration file with targets and scenario; ./llms-bench.toml is read when there is one.
    #[arg(long, value_name = "FILE", help_heading = "Targets")]
    pub config: Option<PathBuf>,
    /// Model at --base-url that speaks OpenAI's protocol: short for --target openai:MODEL@URL.
    #[arg(long, value_name = "MODEL", help_heading = "Targets", conflicts_with = "targets")]
    pub model: Option<String>,
    /// Address for --model.
    #[arg(long, value_name = "URL", help_heading = "Targets", requires = "model")]
    pub base_url: Option<String>,
    /// How to connect.
    #[command(flatten)]
    pub connect: ConnectArgs,

    /// Scenario: the name of a built-in one (see `llms-bench scenarios`) or a TOML or JSON file.
    #[arg(long, value_name = "NAME|FILE", help_heading = "Work")]
    pub scenario: Option<String>,
    /// Prompts instead of the scenario's: JSON or JSONL (fields prompt, text, question, turns, messages, or ShareGPT's
    /// conversations), CSV (a column prompt, text or question), or plain text, one a line.
    #[arg(long, value_name = "FILE", help_heading = "Work")]
    pub prompts: Option<PathBuf>,
    /// System message in front of every prompt.
    #[arg(long, value_name = "TEXT", help_heading = "Work")]
    pub system: Option<String>,
    /// Limit of generated tokens, where a prompt or a trace has none of its own.
    #[arg(long, value_name = "N", help_heading = "Work")]
    pub max_tokens: Option<u32>,
    /// Sampling temperature.
    #[arg(allow_negative_numbers = true, long, value_name = "T", help_heading = "Work")]
    pub temperature: Option<f64>,
    /// Ask for whole answers instead of streams; token-level metrics are then absent.
    #[arg(long, help_heading = "Work")]
    pub no_stream: bool,
    /// Put a random nonce in front of each prompt, so that no cache answers; words made by length are drawn anew instead.
    #[arg(long, help_heading = "Work")]
    pub cache_bust: bool,
    /// What else is asked.
    #[command(flatten)]
    pub work: WorkArgs,

    /// Closed loop: this many users who wait for their answer. With several targets each asks every target in
    /// turn.
    #[arg(long, value_name = "N", help_heading = "Load", conflicts_with = "request_rate")]
    pub concurrency: Option<u32>,
    /// Open loop: requests per second for each target, whatever the completions.
    #[arg(allow_negative_numbers = true, long, value_name = "RATE", help_heading = "Load")]
    pub request_rate: Option<f64>,
    /// Law of the arrivals under --request-rate; gamma takes --burstiness.
    #[arg(long, value_enum, help_heading = "Load")]
    pub arrivals: Option<ArrivalsArg>,
    /// Cap on requests in flight under --request-rate; without a rate the same as --concurrency.
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub max_concurrency: Option<u32>,
    /// Measured requests per target; with --duration, whichever ends first.
    #[arg(long, short = 'n', alias = "num-prompts", value_name = "N", help_heading = "Load")]
    pub num_requests: Option<u64>,
    /// Length of the measured window: 30s, 2m.
    #[arg(long, value_parser = duration::parse, value_name = "TIME", help_heading = "Load")]
    pub duration: Option<Duration>,
    /// Its shape.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Recorded arrivals instead.
    #[command(flatten)]
    pub replay: TraceArgs,
    /// When it ends early.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Requests per target before the measured window, with prompts of their own.
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub warmup: Option<u32>,
    /// Limit of one request.
    #[arg(long, value_parser = duration::parse, value_name = "TIME", help_heading = "Load")]
    pub timeout: Option<Duration>,
    /// One target after the other instead of interleaved; drift between them then looks like a difference.
    #[arg(long, help_heading = "Load")]
    pub sequential: bool,
    /// Seed of arrivals, prompts, order and resampling; drawn and printed unless given.
    #[arg(long, help_heading = "Load")]
    pub seed: Option<u64>,
    /// Seed of the lengths of made prompts and answers; that of --seed unless given.
    #[arg(long, help_heading = "Load")]
    pub seed_lengths: Option<u64>,
    /// Seed of the cache-busting nonce; drawn anew even under --seed unless given.
    #[arg(long, help_heading = "Load")]
    pub seed_nonce: Option<u64>,

    /// Limits of each request for goodput, in ms: 'ttft:200 tpot:50'.
    #[arg(long, value_name = "LIMITS", help_heading = "Judging")]
    pub goodput: Option<String>,
    /// Objective: 'ttft:p99<500ms', repeatable.
    #[arg(long, value_name = "SLO", help_heading = "Judging")]
    pub slo: Vec<String>,
    /// Price file instead of the bundled one.
    #[arg(long, value_name = "FILE", help_heading = "Judging")]
    pub prices: Option<PathBuf>,
    /// Share of failed requests of any target above which the exit code is 3.
    #[arg(
        allow_negative_numbers = true,
        long,
        value_name = "SHARE",
        default_value_t = 0.5,
        help_heading = "Judging"
    )]
    pub max_error_rate: f64,

    /// Name of the run in reports.
    #[arg(long, help_heading = "Output")]
    pub label: Option<String>,
    /// Where runs are kept.
    #[arg(long, value_name = "DIR", default_value = ".llms-bench", help_heading = "Output")]
    pub output_dir: PathBuf,
    /// Before the run, drive a twin of it for 5 s: a server on this machine under the same load, with tokens GAP apart (20ms
    /// unless given). Its log says what this client is wrong by here; the verdict uses it.
    #[arg(long, value_name = "GAP", num_args = 0..=1, require_equals = true, default_missing_value = "20ms", value_parser = some_time, help_heading = "Judging")]
    pub calibrate: Option<Duration>,
    /// Do not keep the run.
    #[arg(long, help_heading = "Output")]
    pub no_save: bool,
    /// Also write one JSON object per request.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub records: Option<PathBuf>,
    /// Also write what the simulated vendors really sent when (simulated targets only).
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub truth_log: Option<PathBuf>,
    /// Export metrics and spans of every call over OTLP/HTTP to this base address; the standard OTEL_* variables do the
    /// same.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "http://127.0.0.1:4318", help_heading = "Output")]
    pub otlp: Option<String>,
    /// No progress display.
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
    /// What goes to standard output and to files.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// HTTP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TransportKind {
    /// Own HTTP/1.1 reader, stamps in the task that reads.
    Direct,
    /// reqwest.
    Pooled,
}

/// Law of the arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArrivalsArg {
    /// Equal gaps.
    Constant,
    /// Exponential gaps.
    Poisson,
    /// Gamma-distributed gaps: see --burstiness.
    Gamma,
}

impl From<ArrivalsArg> for Arrivals {
    fn from(a: ArrivalsArg) -> Self {
        match a {
            ArrivalsArg::Constant => Self::Constant,
            // Until --burstiness says more, the gamma law of shape 1.
            ArrivalsArg::Poisson | ArrivalsArg::Gamma => Self::Poisson,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
