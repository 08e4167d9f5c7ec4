//! What the modules share: a server of simulated vendors, targets on it through the real providers, and runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bench_analysis::Analyzer;
use bench_mock::{
    Dist, MockModel, Profile,
    server::{Protocol, Server, ServerConfig},
};
use bench_runner::Runner;
use llms_core::{
    CallContext, ChatModel as _, Result, SharedModel,
    bench::{
        Analysis, BenchmarkRunner as _, Comparison, Load, NullSink, PerformanceAnalyzer as _, RunResult,
        Scenario, Seeds, Target, TargetInfo, Warmup,
    },
    config::ModelConfig,
    registry::BuildContext,
    time::VirtualClock,
    wire::{Prepared, Reply, Transport, TransportInfo},
};

pub const PROMPTS: [&str; 3] = ["What is 2+2?", "Write a haiku about technology.", "Name three rivers."];

/// The stopwatch that benchmarks use.
pub fn direct() -> Arc<dyn Transport> {
    Arc::new(llms_transport::direct())
}

/// What applications use.
pub fn pooled() -> Arc<dyn Transport> {
    Arc::new(llms_transport::pooled().unwrap())
}

/// A model of that protocol's provider, asked at the server.
pub async fn model(
    server: &Server,
    protocol: Protocol,
    name: &str,
    transport: &Arc<dyn Transport>,
) -> SharedModel {
    let config = ModelConfig::new(protocol.as_str(), name).with_base_url(server.base_url(protocol));
    // Nothing of the machine's environment reaches a test.
    let build = BuildContext { transport: transport.clone(), env: &|_: &str| None };
    llms_bench::providers::registry().create(&config, &build).await.unwrap()
}

/// Models of the server as targets: name, protocol, model.
pub async fn targets(
    server: &Server,
    named: &[(&str, Protocol, &str)],
    transport: &Arc<dyn Transport>,
) -> Vec<Target> {
    let mut targets = Vec::new();
    for (name, protocol, model_name) in named {
        let model = model(server, *protocol, model_name, transport).await;
        let info = TargetInfo {
            name: (*name).to_owned(),
            model: model.info().clone(),
            simulated: true,
            transport: Some(transport.info()),
            unavailable: None,
        };
        targets.push(Target { info, model: Some(model) });
    }
    targets
}

/// The four protocols, each answered by `profile`.
pub fn four_alike(profile: Profile) -> ServerConfig {
    ServerConfig::default().map_profiles(|p| Profile { name: p.name, ..profile.clone() })
}

/// One target of each protocol, under the protocol's name.
pub const FOUR: [(&str, Protocol, &str); 4] = [
    ("openai", Protocol::OpenAi, "simulated"),
    ("anthropic", Protocol::Anthropic, "simulated"),
    ("bedrock", Protocol::Bedrock, "simulated"),
    ("ollama", Protocol::Ollama, "simulated"),
];

/// A first token after exactly `ttft_ms`, then eight tokens in all at gaps of 2 ms.
pub fn steady(ttft_ms: f64) -> Profile {
    Profile {
        ttft_ms: Dist::constant(ttft_ms),
        gap_ms: Dist::constant(2.0),
        ..Profile::named("steady").with_output_tokens(8)
    }
}

/// `n` requests per target in a closed loop, no warm-up, every seed given.
pub fn scenario(n: u64, users: u32) -> Scenario {
    Scenario {
        requests: Some(n),
        warmup: Warmup { requests: 0, prompts: Vec::new() },
        load: Load::closed(users),
        seeds: Seeds { nonce: Some(1), ..Seeds::from_one(1) },
        ..Scenario::new("test", PROMPTS)
    }
}

/// A run on the real clock, records kept.
pub async fn run(targets: &[Target], scenario: &Scenario) -> RunResult {
    Runner::new().run(targets, scenario, &mut NullSink, &CallContext::new()).await.unwrap()
}

/// In-process targets that play these profiles.
pub fn simulated(profiles: impl IntoIterator<Item = (&'static str, Profile)>) -> Vec<Target> {
    let target = |(name, profile): (&str, Profile)| {
        let model =
            MockModel::builder().profile(profile).name("mock", name).truth_capacity(0).build().unwrap();
        let info = TargetInfo {
            name: name.to_owned(),
            model: model.info().clone(),
            simulated: true,
            transport: None,
            unavailable: None,
        };
        Target { info, model: Some(Arc::new(model) as SharedModel) }
    };
    profiles.into_iter().map(target).collect()
}

/// A run on simulated time.
pub fn simulate(targets: &[Target], scenario: &Scenario) -> RunResult {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    clock.block_on(Runner::new().run(targets, scenario, &mut NullSink, &ctx)).unwrap()
}

/// A target that could not be built.
pub fn unavailable(name: &str, why: &str) -> Target {
    let mut target = simulated([("nobody", Profile::default())]).remove(0);
    name.clone_into(&mut target.info.name);
    target.info.unavailable = Some(why.to_owned());
    Target { model: None, ..target }
}

/// What a run says.
#[track_caller]
pub fn judge(run: &RunResult) -> Analysis {
    Analyzer::new().analyze(run).unwrap()
}

#[track_caller]
pub fn comparison(run: &RunResult) -> Comparison {
    judge(run).comparison.unwrap()
}

/// The targets, best first.
pub fn ranked(comparison: &Comparison) -> Vec<(&str, u32)> {
    comparison.rankings.iter().map(|r| (r.target.as_str(), r.tier)).collect()
}

/// A transport that remembers what went through it: path and body by request id.
#[derive(Debug)]
pub struct Wiretap {
    inner: llms_transport::Direct,
    sent: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
}

impl Wiretap {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { inner: llms_transport::direct(), sent: Mutex::default() })
    }

    /// Takes what was sent, by the part of the request id that does not name the run.
    pub fn take(&self, run: &RunResult) -> BTreeMap<String, (String, Vec<u8>)> {
        let run_id = format!("{}-", run.manifest.run_id);
        let sent = std::mem::take(&mut *self.sent.lock().unwrap());
        sent.into_iter().map(|(id, what)| (id.strip_prefix(&run_id).unwrap().to_owned(), what)).collect()
    }
}

#[async_trait]
impl Transport for Wiretap {
    async fn send(&self, request: Prepared, ctx: &CallContext) -> Result<Reply> {
        let id = request.headers["x-request-id"].to_str().unwrap().to_owned();
        let what = (request.uri.path().to_owned(), request.body.to_vec());
        let before = self.sent.lock().unwrap().insert(id, what);
        assert!(before.is_none(), "a request id was used twice");
        self.inner.send(request, ctx).await
    }

    fn info(&self) -> TransportInfo {
        self.inner.info()
    }
}
