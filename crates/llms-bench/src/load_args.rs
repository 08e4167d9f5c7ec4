//! Flags of how load is put on a service, besides the plain ones: its shape over time, recorded arrivals.

use std::{path::Path, time::Duration};

use clap::{Args, ValueEnum};
use llms_core::bench::{
    Arrivals, Load, RatePiece, Scenario, ThinkLaw, Trace, TraceFormat, duration, rate::parse_profile,
};

use crate::exit::Failure;

/// Shape of the load.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Load")]
pub struct ShapeArgs {
    /// Shape of gamma arrivals: below 1 bursty, 1 Poisson, above 1 more even. Means --arrivals gamma.
    #[arg(long, value_name = "SHAPE", allow_negative_numbers = true)]
    pub burstiness: Option<f64>,
    /// The rate rises from 0 (users join one by one) over this time before the window, on top of its duration.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub ramp_up: Option<Duration>,
    /// Rates from the start of the window on, in quotes: TIME:RATE, 'TIME:FROM->TO' (linear) or 'TIME:FROM=>TO' (exponential),
    /// separated by commas: '30s:10,1m:10->40,10s:0'. After the last one --request-rate, if given.
    #[arg(long, value_name = "PIECES", value_parser = profile, conflicts_with = "concurrency")]
    pub rate_profile: Option<Profile>,
    /// Mean pause of a user between answer and next request, under --concurrency.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, conflicts_with = "request_rate")]
    pub think_time: Option<Duration>,
    /// Law of these pauses.
    #[arg(long, value_enum, requires = "think_time")]
    pub think_law: Option<ThinkLawArg>,
}

/// Recorded arrivals.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Load")]
pub struct TraceArgs {
    /// Open loop: play the arrivals recorded in this file, with its prompts or their lengths.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["prompts", "concurrency", "request_rate", "rate_profile", "arrivals", "burstiness", "ramp_up", "think_time"]
    )]
    pub trace: Option<String>,
    /// How the file is written; seen from its first line unless given.
    #[arg(long, value_enum, requires = "trace")]
    pub trace_format: Option<TraceFormatArg>,
    /// Played time over recorded time: 0.5 plays twice as fast.
    #[arg(long, value_name = "X", requires = "trace", allow_negative_numbers = true)]
    pub time_scale: Option<f64>,
    /// Recorded time after the first request at which to begin.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "trace")]
    pub trace_start: Option<Duration>,
    /// Recorded length of the part to play; to the end unless given.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "trace")]
    pub trace_length: Option<Duration>,
}

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceFormatArg {
    /// JSON Lines with timestamp, input_length, output_length, hash_ids.
    Mooncake,
    /// CSV with TIMESTAMP, ContextTokens, GeneratedTokens.
    Azure,
    /// CSV with Timestamp, Request tokens, Response tokens.
    #[value(name = "burstgpt")]
    BurstGpt,
    /// JSON Lines with offset_ms or timestamp, and prompt, messages or input_tokens.
    Jsonl,
}

impl From<TraceFormatArg> for TraceFormat {
    fn from(format: TraceFormatArg) -> Self {
        match format {
            TraceFormatArg::Mooncake => Self::Mooncake,
            TraceFormatArg::Azure => Self::Azure,
            TraceFormatArg::BurstGpt => Self::BurstGpt,
            TraceFormatArg::Jsonl => Self::Jsonl,
        }
    }
}

/// Pieces of a rate over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile(Vec<RatePiece>);

/// Law of the pauses of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ThinkLawArg {
    /// All alike.
    Constant,
    /// Exponential.
    Exponential,
}

impl From<ThinkLawArg> for ThinkLaw {
    fn from(law: ThinkLawArg) -> Self {
        match law {
            ThinkLawArg::Constant => Self::Constant,
            ThinkLawArg::Exponential => Self::Exponential,
        }
    }
}

// The form is the scenario's own; see `RatePiece`.
fn profile(text: &str) -> Result<Profile, String> {
    parse_profile(text).map(Profile)
}

impl ShapeArgs {
    /// Changes the load of a scenario.
    ///
    /// # Errors
    /// A flag that does not fit the load.
    pub fn apply(&self, load: &mut Load) -> Result<(), Failure> {
        if let Some(Profile(pieces)) = &self.rate_profile {
            if matches!(load, Load::Closed { .. }) {
                *load = Load::open(0.0, Arrivals::Poisson);
            }
            *load = load.clone().shaped(pieces.iter().copied());
        }
        if let Some(time) = self.ramp_up {
            *load = load.clone().ramped(time);
        }
        match (self.burstiness, &mut *load) {
            (Some(burstiness), Load::Open { arrivals, .. }) => *arrivals = Arrivals::Gamma { burstiness },
            (Some(_), Load::Closed { .. }) => {
                return Err(Failure::usage(
                    "--burstiness: only arrivals have one; use it with --request-rate",
                ));
            }
            (None, _) => {}
        }
        if let Some(mean) = self.think_time {
            let law = self.think_law.map_or(ThinkLaw::Constant, Into::into);
            if matches!(load, Load::Open { .. }) {
                return Err(Failure::usage(
                    "--think-time: under open loop nobody waits; use it with --concurrency",
                ));
            }
            *load = load.clone().thinking(mean, law);
        }
        Ok(())
    }
}

impl TraceArgs {
    /// Replaces load and prompts of a scenario by the recorded ones, when a trace is named; says whether one is.
    ///
    /// # Errors
    /// A file that cannot be read, with its line and field.
    pub fn apply(&self, scenario: &mut Scenario, cap: Option<u32>) -> Result<bool, Failure> {
        let Some(file) = &self.trace else { return Ok(false) };
        let mut trace = Trace::new(file);
        trace.format = self.trace_format.map(Into::into);
        trace.time_scale = self.time_scale.unwrap_or(1.0);
        trace.start = self.trace_start.unwrap_or_default();
        trace.length = self.trace_length;
        bench_runner::workload::read_trace(&mut trace, Path::new(""))
            .map_err(|e| Failure::from(e).at("--trace"))?;
        scenario.prompts.clear();
        (scenario.synthetic, scenario.sessions) = (None, None);
        scenario.load = Load::replay(trace).capped(cap);
        Ok(true)
    }
}
