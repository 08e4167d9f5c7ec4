//! From flags and file to one scenario and a list of targets. Flags win over the file, the file over defaults.

use std::path::Path;

use bench_runner::ScenarioRegistry;
use llms_core::bench::{Arrivals, Load, Order, Scenario, Seeds, Slo, Warmup, slo};

use crate::{
    cli::{ArrivalsArg, RunArgs},
    config_file::{ConfigFile, DEFAULT_NAME},
    exit::Failure,
    target::TargetSpec,
};

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Empty: the four simulated vendors.
    pub targets: Vec<TargetSpec>,
    /// Complete and valid but for the seeds, which the runner draws.
    pub scenario: Scenario,
}

/// Resolves the arguments of `compare` and `run`.
///
/// # Errors
/// Everything that is wrong, before anything is sent.
pub fn resolve(args: &RunArgs) -> Result<Plan, Failure> {
    let file = config_file(args)?;
    let mut targets = file.targets;
    if let Some(model) = &args.model {
        targets = vec![from_model(model, args.base_url.as_deref())?];
    } else if !args.targets.is_empty() {
        targets.clone_from(&args.targets);
    }
    let simulated = targets.is_empty();
    let named = args.scenario.is_some() || file.scenario.is_some();
    let mut scenario = base_scenario(args, file.scenario, simulated)?;
    if let Some(path) = &args.prompts {
        scenario.synthetic = None;
        scenario.prompts = bench_runner::load_prompts(path).map_err(Failure::from)?;
        // Prompts of one's own, without a count: each once.
        if args.num_requests.is_none() && args.duration.is_none() {
            scenario.requests = Some(scenario.prompts.len() as u64);
        }
    }
    apply_work(args, &mut scenario)?;
    apply_load(args, &mut scenario)?;
    if !named {
        rename(args, &mut scenario);
    }
    apply_judging(args, &mut scenario)?;
    if !(0.0..=1.0).contains(&args.max_error_rate) {
        return Err(Failure::usage(format!(
            "--max-error-rate: expected a share from 0 to 1, found {}",
            args.max_error_rate
        )));
    }
    if args.truth_log.is_some() && !simulated {
        return Err(Failure::usage(
            "--truth-log: only the simulated vendors have a truth log; leave out --target or this flag",
        ));
    }
    scenario.validate().map_err(|e| Failure::from(e).at("scenario"))?;
    Ok(Plan { targets, scenario })
}

fn config_file(args: &RunArgs) -> Result<ConfigFile, Failure> {
    match &args.config {
        Some(path) => ConfigFile::read(path),
        None if Path::new(DEFAULT_NAME).is_file() => ConfigFile::read(Path::new(DEFAULT_NAME)),
        None => Ok(ConfigFile::default()),
    }
}

fn from_model(model: &str, base_url: Option<&str>) -> Result<TargetSpec, Failure> {
    let text = base_url.map_or_else(|| format!("openai:{model}"), |url| format!("openai:{model}@{url}"));
    text.parse().map_err(|e: String| Failure::usage(format!("--model: {e}")))
}

fn base_scenario(args: &RunArgs, from_file: Option<Scenario>, simulated: bool) -> Result<Scenario, Failure> {
    match (&args.scenario, from_file) {
        (Some(name), _) => named_scenario(name),
        (None, Some(scenario)) => Ok(scenario),
        (None, None) if simulated => Ok(crate::simulated::default_scenario()),
        (None, None) => {
            let mut scenario = named_scenario("simple")?;
            scenario.requests = Some(50);
            Ok(scenario)
        }
    }
}

fn named_scenario(name: &str) -> Result<Scenario, Failure> {
    let registry = ScenarioRegistry::builtin();
    if let Ok(scenario) = registry.get(name) {
        return Ok(scenario.clone());
    }
    let path = Path::new(name);
    if path.is_file() {
        return bench_runner::load_scenario(path).map_err(Failure::from);
    }
    let names: Vec<&str> = registry.names().collect();
    Err(Failure::usage(format!(
        "--scenario: expected a file or the name of a built-in scenario ({}), found `{name}`",
        names.join(", ")
    )))
}

/// A scenario that nobody named is called after what is asked instead of its prompts.
fn rename(args: &RunArgs, scenario: &mut Scenario) {
    let asked = match (&args.prompts, &args.replay.trace, &args.work.input_len) {
        (Some(path), _, _) => path.file_name().map(|n| n.to_string_lossy().into_owned()),
        (_, Some(file), _) => Path::new(file).file_name().map(|n| n.to_string_lossy().into_owned()),
        (_, _, Some(_)) => Some("synthetic".to_owned()),
        _ => None,
    };
    if let Some(name) = asked {
        (scenario.name, scenario.description) = (name, String::new());
    }
}

fn apply_work(args: &RunArgs, scenario: &mut Scenario) -> Result<(), Failure> {
    if let Some(system) = &args.system {
        scenario.system = Some(system.clone());
    }
    if args.max_tokens.is_some() {
        scenario.options.max_tokens = args.max_tokens;
    }
    if args.temperature.is_some() {
        scenario.options.temperature = args.temperature;
    }
    scenario.streaming &= !args.no_stream;
    scenario.cache_bust |= args.cache_bust;
    args.work.apply(scenario)
}

fn apply_load(args: &RunArgs, scenario: &mut Scenario) -> Result<(), Failure> {
    if args.arrivals == Some(ArrivalsArg::Gamma) && args.shape.burstiness.is_none() {
        return Err(Failure::usage(
            "--arrivals gamma needs --burstiness: below 1 bursty, 1 Poisson, above 1 more even",
        ));
    }
    let shaped = args.shape.rate_profile.is_some();
    let replayed = args.replay.apply(scenario, args.max_concurrency)?;
    match (args.request_rate.or(shaped.then_some(0.0)), args.concurrency, args.max_concurrency) {
        (Some(rate), _, cap) => {
            let arrivals = args.arrivals.map_or(Arrivals::Poisson, Into::into);
            scenario.load = Load::open(rate, arrivals).capped(cap);
        }
        (None, Some(_), Some(_)) => {
            return Err(Failure::usage(
                "--max-concurrency: a cap needs --request-rate; with --concurrency the number of users is the cap",
            ));
        }
        (None, None, Some(_)) if replayed => {}
        (None, Some(n), None) | (None, None, Some(n)) => scenario.load = Load::closed(n),
        (None, None, None) => {}
    }
    if args.arrivals.is_some() && !matches!(scenario.load, Load::Open { .. }) {
        return Err(Failure::usage(
            "--arrivals: users of a closed loop do not arrive; use it with --request-rate",
        ));
    }
    args.shape.apply(&mut scenario.load)?;
    match (args.num_requests, args.duration) {
        // The profile or the trace says how long.
        (None, None) if shaped || replayed => (scenario.requests, scenario.duration) = (None, None),
        (None, None) => {}
        (requests, duration) => (scenario.requests, scenario.duration) = (requests, duration),
    }
    if let Some(requests) = args.warmup {
        scenario.warmup = Warmup { requests, ..scenario.warmup.clone() };
    }
    if let Some(timeout) = args.timeout {
        scenario.timeout = timeout;
    }
    if args.sequential {
        scenario.order = Order::Sequential;
    }
    if let Some(seed) = args.seed {
        scenario.seeds = Seeds { nonce: scenario.seeds.nonce, ..Seeds::from_one(seed) };
    }
    if args.seed_lengths.is_some() {
        scenario.seeds.lengths = args.seed_lengths;
    }
    if args.seed_nonce.is_some() {
        scenario.seeds.nonce = args.seed_nonce;
    }
    Ok(())
}

fn apply_judging(args: &RunArgs, scenario: &mut Scenario) -> Result<(), Failure> {
    let read = |flag: &str, text: &str| -> Result<Vec<Slo>, Failure> {
        slo::parse_list(text).map_err(|e| Failure::usage(format!("{flag}: {e}")))
    };
    let mut slos = Vec::new();
    if let Some(text) = &args.goodput {
        slos.extend(read("--goodput", text)?);
    }
    for text in &args.slo {
        slos.extend(read("--slo", text)?);
    }
    if !slos.is_empty() {
        scenario.slo = slos;
    }
    Ok(())
}
