//! `llms-bench backpressure`: what a service does with a client that reads more slowly than it generates.

mod text;

use std::{sync::Arc, time::Duration};

use bench_analysis::backpressure::{Neighbours, SlowReaderClass, SlowReaderFinding, classify, neighbours};
use bench_runner::slow_reader::{SlowPlan, SlowReadings, Slowly, read_slowly};
use clap::{Args, value_parser};
use llms_core::{
    CallContext,
    bench::{Scenario, duration},
    wire::Transport,
};
use llms_transport::{Direct, Options};
use serde::Serialize;

use crate::{
    cli::{ConnectArgs, DoctorFormat, TargetArg, TransportKind},
    exit::{Exit, Failure},
    output, providers,
    session::cancel_on_interrupt,
    target::TargetSpec,
};

/// Bytes our own kernel may hold: little, so that the server feels the reader soon. Linux doubles it.
const RECEIVE_BUFFER: u32 = 16 << 10;
/// Bytes the kernels on the way may hold unless told: Linux lets a send buffer grow to 4 MiB, and ours is small.
const BUFFERS: u64 = (4 << 20) + 2 * RECEIVE_BUFFER as u64;

/// A reader that stops reading, and what it is held against.
#[derive(Debug, Args)]
pub struct BackpressureArgs {
    /// provider:model or provider:model@http://host:port.
    #[arg(long, value_name = "TARGET", value_parser = TargetArg)]
    pub target: TargetSpec,
    /// How to connect.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// What is asked; something with a long answer.
    #[arg(long, value_name = "TEXT", default_value = "Count from one to one thousand, in words.")]
    pub prompt: String,
    /// Limit of generated tokens. Long answers tell more: what fits into the kernels' buffers tells nothing.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = value_parser!(u32).range(1..))]
    pub max_tokens: u32,
    /// Sampling temperature; 0 lets texts be compared, where the service repeats itself.
    #[arg(allow_negative_numbers = true, long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f64,
    /// How long a slow reader does not read.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "30s")]
    pub pause: Duration,
    /// Chunks it reads before.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u64).range(1..))]
    pub after: u64,
    /// Slow readers, one after the other.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub readers: u32,
    /// Pairs of requests by which neighbours are judged: alone, and beside slow readers. 0 leaves that out.
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub neighbours: u32,
    /// Slow readers at once beside a neighbour.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(1..=1000))]
    pub crowd: u32,
    /// Bytes that the kernels on the way may hold for a reader that does not read.
    #[arg(long, value_name = "BYTES", default_value_t = BUFFERS)]
    pub buffers: u64,
    /// Longest time of one answer, the pause not counted.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "2m")]
    pub timeout: Duration,
    /// Form of standard output.
    #[arg(long, value_enum, default_value_t = DoctorFormat::Text)]
    pub format: DoctorFormat,
}

fn some_time(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("expected a time above 0, such as 30s".to_owned()),
        time => Ok(time),
    }
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Found<'a> {
    target: &'a str,
    simulated: bool,
    /// The class of all readers; absent when they differ.
    class: Option<SlowReaderClass>,
    readers: Vec<SlowReaderFinding>,
    /// Absent when not asked for, or when too few pairs came well.
    neighbours: Option<Neighbours>,
    neighbours_suffer: Option<bool>,
    controls: &'a [llms_core::bench::StreamRead],
    slow: &'a [llms_core::bench::StreamRead],
}

/// Reads slowly, and says what the service did about it.
///
/// # Errors
/// What is wrong with the arguments; when the target cannot be used; when it is interrupted.
pub(crate) async fn execute(args: &BackpressureArgs) -> Result<Exit, Failure> {
    if args.connect.transport == TransportKind::Pooled {
        return Err(Failure::usage(
            "--transport pooled: it reads ahead of the reader; backpressure needs `direct`",
        ));
    }
    let scenario = scenario(args);
    scenario.validate().map_err(|e| Failure::from(e).at("backpressure"))?;
    let ctx = CallContext::new().with_cancel(cancel_on_interrupt());
    let options = Options {
        roots: providers::roots(&args.connect)?,
        receive_buffer: Some(RECEIVE_BUFFER),
        ..Options::default()
    };
    let transport: Arc<dyn Transport> = Arc::new(Direct::new(options));
    let mut targets = providers::build(std::slice::from_ref(&args.target), &scenario, &transport).await?;
    providers::preflight(&mut targets, &scenario, &ctx).await?;
    let target = &targets[0];
    let model = target.model.as_ref().expect("invariant: preflight leaves a target that can be used");
    let request = scenario.request(&scenario.prompts[0], None);
    let plan = SlowPlan {
        slowly: Slowly { after: args.after, pause: args.pause },
        controls: 2,
        readers: args.readers,
        neighbours: args.neighbours,
        crowd: args.crowd,
        timeout: args.timeout,
    };
    let readings = read_slowly(model, &request, &plan, &ctx).await.map_err(|e| {
        let exit = if ctx.cancel.is_cancelled() { Exit::Interrupted } else { Exit::Run };
        Failure { exit, message: e.message().to_owned() }
    })?;
    let found = judge(&target.info.name, target.info.simulated, &readings, args.buffers);
    match args.format {
        DoctorFormat::Text => output::print(&text::render(&found))?,
        DoctorFormat::Json => {
            let json = serde_json::to_string_pretty(&found).expect("invariant: findings are plain data");
            output::print(&(json + "\n"))?;
        }
    }
    Ok(match found.class {
        Some(SlowReaderClass::Inconclusive) | None => Exit::Inconclusive,
        Some(_) => Exit::Ok,
    })
}

fn scenario(args: &BackpressureArgs) -> Scenario {
    let mut scenario = Scenario::new("backpressure", [args.prompt.as_str()]);
    scenario.requests = Some(1);
    scenario.timeout = args.timeout;
    scenario.options.max_tokens = Some(args.max_tokens);
    scenario.options.temperature = Some(args.temperature);
    scenario
}

fn judge<'a>(target: &'a str, simulated: bool, readings: &'a SlowReadings, buffers: u64) -> Found<'a> {
    let SlowReadings { controls, slow, pairs } = readings;
    let readers: Vec<_> = slow.iter().map(|read| classify(controls, read, buffers)).collect();
    let first = readers.first().map(|r| r.class);
    let neighbours = neighbours(pairs).ok();
    Found {
        target,
        simulated,
        class: first.filter(|class| readers.iter().all(|r| r.class == *class)),
        neighbours_suffer: neighbours.as_ref().map(Neighbours::suffer),
        neighbours,
        readers,
        controls,
        slow,
    }
}
