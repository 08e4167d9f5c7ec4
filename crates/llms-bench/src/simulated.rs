//! The default comparison: four simulated vendors on loopback, over real HTTP, and how far the measurement lay
//! from what they really sent.

use std::{collections::HashMap, path::Path, sync::Arc};

use bench_analysis::stats::quantile::{QuantileType, Sample};
use bench_mock::{
    Dist, TruthRecord,
    server::{Protocol, Server, ServerConfig},
};
use bench_runner::ScenarioRegistry;
use llms_core::{
    Capabilities, ModelInfo,
    bench::{Load, Order, RecordSource, Scenario, Target, TargetInfo, Warmup},
    config::ModelConfig,
    registry::BuildContext,
    time::Timestamp,
    wire::Transport,
};

use crate::{exit::Failure, providers};

/// Measured requests per simulated vendor.
pub const REQUESTS: u64 = 400;
/// Users of the default comparison: enough for its requests within the half minute it may take.
const USERS: u32 = 64;
/// Tokens of a simulated answer.
const TOKENS: u32 = 16;
/// Seed of the simulated vendors unless `--seed` is given.
const SEED: u64 = 1;
/// When a simulated gateway gives up on an answer; short, as the comparison may take half a minute in all.
const GATEWAY_GIVES_UP_MS: f64 = 2_000.0;
/// What simulated vendors call their model.
const MODEL: &str = "simulated";

/// What the simulated vendors would cost, in the form of a price file.
pub fn prices() -> serde_json::Value {
    let models: Vec<_> = Protocol::ALL
        .into_iter()
        .filter_map(|protocol| {
            let p = protocol.preset().profile().prices?;
            let (input, output) = (p.input_usd_per_mtok.to_string(), p.output_usd_per_mtok.to_string());
            Some(serde_json::json!({ "provider": protocol.as_str(), "model": MODEL, "input": input, "output": output }))
        })
        .collect();
    serde_json::json!({ "schema": 1, "source": "simulated prices", "date": "2026-11-22", "models": models })
}

/// What the simulated vendors are asked.
pub fn default_scenario() -> Scenario {
    let prompts = ScenarioRegistry::builtin().get("simple").map(|s| s.prompts.clone()).unwrap_or_default();
    let mut scenario = Scenario {
        name: "four-vendors".to_owned(),
        description: "four simulated vendors over real HTTP on this machine".to_owned(),
        prompts,
        warmup: Warmup { requests: 8, prompts: Vec::new() },
        load: Load::closed(USERS),
        requests: Some(REQUESTS),
        order: Order::Interleaved,
        ..Scenario::default()
    };
    scenario.options.max_tokens = Some(TOKENS);
    scenario.with_ids()
}

/// What the simulated vendors are called, before they run.
pub fn targets_info() -> Vec<TargetInfo> {
    let info = |protocol: Protocol| TargetInfo {
        name: format!("sim-{protocol}"),
        model: ModelInfo {
            provider: protocol.as_str().to_owned(),
            model: MODEL.to_owned(),
            endpoint: None,
            capabilities: Capabilities::default(),
        },
        simulated: true,
        transport: None,
        unavailable: None,
    };
    Protocol::ALL.into_iter().map(info).collect()
}

/// The simulated vendors while they run.
#[derive(Debug)]
pub struct Simulation {
    server: Server,
}

impl Simulation {
    /// Starts the four protocols on a free loopback port, on threads of their own.
    ///
    /// # Errors
    /// When the port or the truth log cannot be opened.
    pub fn start(seed: Option<u64>, truth_log: Option<&Path>) -> Result<Self, Failure> {
        let mut config = ServerConfig::default();
        for protocol in Protocol::ALL {
            // The look-alike presets with their faults, at the length of a short answer.
            let mut profile = protocol.preset().profile().with_seed(seed.unwrap_or(SEED));
            profile.output_tokens = Dist::constant(f64::from(TOKENS));
            for fault in &mut profile.faults {
                fault.pause_ms = Some(GATEWAY_GIVES_UP_MS);
            }
            config = config.with_profile(protocol, profile);
        }
        config.truth_file = truth_log.map(Path::to_owned);
        let server =
            config.start().map_err(|e| Failure::run(format!("cannot start the simulated vendors: {e}")))?;
        Ok(Self { server })
    }

    /// The four targets, through the same providers and transport as real ones.
    ///
    /// # Errors
    /// When a provider cannot be built.
    pub async fn targets(
        &self,
        scenario: &Scenario,
        transport: &Arc<dyn Transport>,
    ) -> Result<Vec<Target>, Failure> {
        let registry = providers::registry();
        // Nothing of the user's environment reaches the simulation.
        let env = |_: &str| None;
        let build = BuildContext { transport: transport.clone(), env: &env };
        let mut targets = Vec::new();
        for protocol in Protocol::ALL {
            let config = ModelConfig::new(protocol.as_str(), MODEL)
                .with_base_url(self.server.base_url(protocol))
                .with_timeout(scenario.timeout);
            let model = registry.create(&config, &build).await?;
            targets.push(Target {
                info: TargetInfo {
                    name: format!("sim-{protocol}"),
                    model: model.info().clone(),
                    simulated: true,
                    transport: Some(transport.info()),
                    unavailable: None,
                },
                model: Some(model),
            });
        }
        Ok(targets)
    }

    /// Stops the vendors and holds the run against their truth log.
    ///
    /// # Errors
    /// When the truth log could not be written, or the records cannot be read.
    pub fn finish(self, records: &dyn RecordSource) -> Result<Vec<String>, Failure> {
        let log = self.server.truth_log().clone();
        self.server.shutdown().map_err(|e| Failure::run(format!("the truth log: {e}")))?;
        Ok(against_truth(records, &log.records())?.into_iter().collect())
    }
}

/// How far arrivals as reported lie from the writes as they happened: zero inside `[before, after]`, else the
/// distance from that bracket. First tokens and all chunks apart; p50 and p99 by nearest rank.
fn against_truth(records: &dyn RecordSource, truth: &[TruthRecord]) -> Result<Option<String>, Failure> {
    let by_id: HashMap<&str, &TruthRecord> = truth.iter().map(|t| (t.request_id.as_str(), t)).collect();
    let (mut first, mut all, mut miscounted) = (Vec::new(), Vec::new(), 0_u64);
    records.each(&mut |record| {
        let Some(told) = by_id.get(&*record.request_id).filter(|_| record.is_ok()) else { return Ok(()) };
        let writes: Vec<_> = told.writes.iter().filter(|w| w.tokens > 0).collect();
        if writes.len() != record.chunks.len() {
            miscounted += 1;
            return Ok(());
        }
        for (i, (write, chunk)) in writes.iter().zip(&record.chunks).enumerate() {
            let error = distance(chunk.stamp.arrival(), write.before, write.after);
            all.push(error);
            if i == 0 {
                first.push(error);
            }
        }
        Ok(())
    })?;
    if first.is_empty() {
        return Ok(None);
    }
    let counts = if miscounted == 0 {
        "every chunk accounted for".to_owned()
    } else {
        format!("{miscounted} answers with another number of chunks than were written")
    };
    Ok(Some(format!(
        "against the simulated vendors' own log, reported arrival − true write: first token p50 {} µs, p99 {} µs (n {}); all chunks p50 {} µs, \
         p99 {} µs (n {}); {counts}",
        rank(&first, 0.5),
        rank(&first, 0.99),
        first.len(),
        rank(&all, 0.5),
        rank(&all, 0.99),
        all.len(),
    )))
}

fn distance(at: Timestamp, before: Timestamp, after: Timestamp) -> u64 {
    let early = before.saturating_since(at);
    let late = at.saturating_since(after);
    u64::try_from(early.max(late).as_nanos()).unwrap_or(u64::MAX)
}

/// Nearest-rank (type 1) quantile in whole microseconds; there are values.
fn rank(nanos: &[u64], p: f64) -> u64 {
    let values: Vec<f64> = nanos.iter().map(|n| *n as f64).collect();
    let quantile = Sample::new(values).and_then(|s| s.quantile(p, QuantileType::Type1));
    (quantile.expect("invariant: finite values, and some") / 1e3).round() as u64
}
