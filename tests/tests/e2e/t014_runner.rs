//! T014: what a run over real HTTP leaves behind: real usage, cost and environment, both ways to be answered, tools,
//! warm-up kept apart, the same seed the same bytes, and stamps that agree with what the vendor says it did.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bench_analysis::{
    Analyzer,
    cost::{PriceTable, Prices},
};
use bench_mock::{Preset, Profile, ToolAnswers, TruthOutcome, TruthRecord};
use bench_runner::{Runner, ScenarioRegistry};
use llms_core::{
    CallContext, ChatResponse, FinishReason,
    bench::{
        BenchmarkRunner as _, Load, NullSink, PerformanceAnalyzer as _, Prompt, RequestRecord, RunPhase,
        RunResult, Scenario, Seeds, Target, Warmup,
    },
    time::Timestamp,
    wire::Transport,
};
use rust_decimal::Decimal;

use crate::support::{FOUR, Wiretap, direct, four_alike, judge, run, scenario, targets};

const TOKENS: u32 = 12;

fn profile() -> Profile {
    Preset::VeryFast.profile().quiet().with_output_tokens(TOKENS)
}

async fn four(profile: Profile) -> (bench_mock::server::Server, Vec<Target>) {
    let server = four_alike(profile).start().unwrap();
    let targets = targets(&server, &FOUR, &direct()).await;
    (server, targets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_cost_and_environment_are_real() {
    let (_server, targets) = four(profile()).await;
    let run = run(&targets, &scenario(20, 4)).await;
    for r in &run.records {
        let id = &r.request_id;
        assert!(r.is_ok(), "{:?}", r.outcome);
        let usage = r.tokens.usage.unwrap_or_else(|| panic!("{id}: no usage"));
        assert!(usage.input_tokens.unwrap() > 0, "{id}");
        assert_eq!(usage.output_tokens, Some(u64::from(TOKENS)), "{id}");
        assert_eq!(r.chunks.len(), TOKENS as usize, "{id}: a token a chunk");
        assert!(r.tokens.chars > 0 && r.first_answer == Some(0), "{id}");
        assert_eq!((&r.finish_reason, r.status), (&Some(FinishReason::Stop), Some(200)), "{id}");
        assert!(r.model.is_some() || r.target == 2, "{id}: only Bedrock does not say which model answered");
        assert!(r.headers.is_some() && r.first_byte.is_some() && r.connection.reused.is_some(), "{id}");
        assert!(r.bytes_out.unwrap() > 0 && r.bytes_in.unwrap() > 0 && r.reads.unwrap() > 0, "{id}");
    }
    let m = &run.manifest;
    let e = &m.environment;
    assert!(!e.os.is_empty() && !e.architecture.is_empty() && e.cpu_cores.unwrap() >= 1);
    #[cfg(target_os = "linux")]
    assert!(
        e.kernel.is_some() && e.memory_bytes.is_some() && e.load_before.is_some() && e.load_after.is_some()
    );
    assert!(!m.build.version.is_empty() && !m.build.profile.is_empty());
    for hash in [&m.hashes.scenario, &m.hashes.schedule, &m.hashes.data] {
        assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    }
    assert!(m.targets.iter().all(|t| t.transport.as_ref().is_some_and(|t| t.name == "direct")));

    let table = PriceTable::parse(&llms_bench::simulated::prices().to_string()).unwrap();
    let priced = Analyzer::new().with_prices(Prices::none().with(table.clone())).analyze(&run).unwrap();
    for (i, target) in (0..).zip(&priced.targets) {
        let price = table.find(&target.target, "simulated").unwrap();
        let dollars: Decimal = run
            .measured(i)
            .map(|r| r.tokens.usage.unwrap())
            .map(|u| {
                Decimal::from(u.input_tokens.unwrap()) * price.input
                    + Decimal::from(u.output_tokens.unwrap()) * price.output
            })
            .sum();
        let cost = target.cost.value().unwrap_or_else(|| panic!("{:?}", target.cost));
        assert_eq!(cost.total_usd, dollars / Decimal::from(1_000_000), "{}", target.target);
        assert_eq!(cost.price_date, table.date.to_string());
        // The local model is free because the table says so.
        assert_eq!(cost.total_usd.is_zero(), target.target == "ollama");
    }
    let unpriced = Analyzer::new().with_prices(Prices::none()).analyze(&run).unwrap();
    assert!(unpriced.targets.iter().all(|t| t.cost.value().is_none()), "no price, no cost; never 0");
}

/// An answer that calls a tool with arguments that a program can read.
fn calls_a_tool(_: &Prompt, answer: &ChatResponse) -> Result<(), String> {
    let Some(call) = answer.tool_calls.first() else { return Err("expected a tool call".to_owned()) };
    match call.parse_arguments() {
        Ok(arguments) if arguments.is_object() => Ok(()),
        other => Err(format!("expected an object for {}, found {other:?}", call.name)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_are_offered_and_called_streamed_and_whole() {
    let (_server, targets) = four(Profile { tools: ToolAnswers::default(), ..profile() }).await;
    for streaming in [true, false] {
        let scenario = Scenario {
            requests: Some(12),
            warmup: Warmup { requests: 0, prompts: Vec::new() },
            streaming,
            ..ScenarioRegistry::builtin().get("tool-calling").unwrap().clone()
        };
        let runner = Runner::builder().validator(Arc::new(calls_a_tool)).build();
        let run = runner.run(&targets, &scenario, &mut NullSink, &CallContext::new()).await.unwrap();
        assert_eq!(run.records.len(), 48);
        for r in &run.records {
            let id = &r.request_id;
            assert!(r.is_ok(), "{id} streaming {streaming}: {:?}", r.outcome);
            assert_eq!(r.finish_reason, Some(FinishReason::ToolCalls), "{id} streaming {streaming}");
            assert_eq!(
                r.chunks.is_empty(),
                !streaming,
                "{id}: a piece of a call is a token, a whole answer none"
            );
            assert_eq!(r.first_answer, streaming.then_some(0), "{id}");
            assert!(r.output_tokens().unwrap() > 0, "{id}");
            assert_eq!(r.disorder(), None, "{id}");
        }
        let analysis = judge(&run);
        for target in &analysis.targets {
            assert_eq!(target.finish_reasons, BTreeMap::from([("tool_calls".to_owned(), 12)]));
            assert_eq!(target.metrics.contains_key("ttft"), streaming, "{}", target.target);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_answers_have_latency_and_usage_but_no_token_times() {
    let (_server, targets) = four(profile()).await;
    let run = run(&targets, &Scenario { streaming: false, ..scenario(15, 4) }).await;
    for r in &run.records {
        assert!(r.is_ok() && r.chunks.is_empty() && r.end.is_some(), "{:?}", r.outcome);
        assert_eq!((r.output_tokens(), r.disorder()), (Some(u64::from(TOKENS)), None));
    }
    for target in judge(&run).targets {
        assert_eq!((target.ok, target.metrics.contains_key("e2e")), (15, true), "{}", target.target);
        assert!(!target.metrics.contains_key("tpot"), "{}", target.target);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warm_up_is_recorded_and_counts_nowhere() {
    let (_server, targets) = four(profile()).await;
    let warmup = Warmup { requests: 5, prompts: Vec::new() };
    let run = run(&targets, &Scenario { warmup, ..scenario(10, 4) }).await;
    let start = run.manifest.window.unwrap().start;
    let asked: BTreeSet<_> = run.manifest.scenario.prompts.iter().map(|p| p.id.as_str()).collect();
    for r in &run.records {
        let warm = r.phase == RunPhase::Warmup;
        assert_eq!(r.scheduled < start, warm, "{}", r.request_id);
        assert_eq!(asked.contains(&*r.prompt), !warm, "warm-up has prompts of its own: {}", r.prompt);
    }
    for (i, target) in (0..).zip(judge(&run).targets) {
        assert_eq!((target.warmup, target.scheduled, target.ok), (5, 10, 10), "{}", target.target);
        assert_eq!(target.metrics["ttft"].n, 10);
        let tokens: u64 = run.measured(i).filter_map(RequestRecord::output_tokens).sum();
        assert_eq!(target.tokens.output_tokens, Some(tokens), "measured requests alone are billed");
    }
}

/// Block, position and target of every measured request, in the order of the plan, with its prompt.
fn plan(run: &RunResult) -> Vec<(u64, u32, u32, Arc<str>)> {
    let measured = run.records.iter().filter(|r| r.phase == RunPhase::Measured);
    let mut plan: Vec<_> = measured.map(|r| (r.block, r.position, r.target, r.prompt.clone())).collect();
    plan.sort();
    plan
}

/// When each request was due after the start of the window.
fn due(run: &RunResult) -> BTreeMap<(u64, u32), std::time::Duration> {
    let start = run.manifest.window.unwrap().start;
    run.records.iter().map(|r| ((r.block, r.target), r.scheduled.since(start).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seeds_plan_the_same_order_and_send_the_same_bytes() {
    let server = four_alike(profile()).start().unwrap();
    let tap = Wiretap::new();
    let transport: Arc<dyn Transport> = tap.clone();
    let targets = targets(&server, &FOUR, &transport).await;
    let go = async |seed: u64, nonce: u64, load: Load| {
        let seeds = Seeds { nonce: Some(nonce), ..Seeds::from_one(seed) };
        let run = run(&targets, &Scenario { seeds, load, cache_bust: true, ..scenario(24, 8) }).await;
        let sent = tap.take(&run);
        assert_eq!(sent.len(), 24 * FOUR.len());
        (run, sent)
    };
    for load in [Load::closed(4), Load::poisson(100.0)] {
        let (first, first_sent) = go(7, 1, load.clone()).await;
        let (again, again_sent) = go(7, 1, load.clone()).await;
        assert_ne!(first.manifest.run_id, again.manifest.run_id);
        assert_eq!(plan(&first), plan(&again));
        assert_eq!(first.manifest.hashes, again.manifest.hashes);
        assert_eq!(first_sent, again_sent, "the same bytes under the same number");
        let open = matches!(load, Load::Open { .. });
        assert_eq!(due(&first) == due(&again), open, "the plan knows the time under open loop alone");

        let (_, other_nonce) = go(7, 2, load.clone()).await;
        assert!(first_sent.iter().all(|(id, sent)| other_nonce[id] != *sent), "every prompt has its nonce");
        let (other, _) = go(8, 1, load).await;
        assert_ne!(plan(&first), plan(&other));
        assert_ne!(first.manifest.hashes.schedule, other.manifest.hashes.schedule);
        assert_eq!(first.manifest.hashes.scenario, other.manifest.hashes.scenario, "seeds are no part of it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stamp_lies_after_what_the_vendor_did() {
    let (server, targets) = four(profile()).await;
    let warmup = Warmup { requests: 3, prompts: Vec::new() };
    let run = run(&targets, &Scenario { warmup, ..scenario(40, 8) }).await;
    let log = server.truth_log().clone();
    server.shutdown().unwrap();
    let truth: BTreeMap<String, TruthRecord> =
        log.records().into_iter().map(|t| (t.request_id.clone(), t)).collect();
    assert_eq!(truth.len(), run.records.len(), "one request of the client, one of the vendor");
    for r in &run.records {
        let id = &r.request_id;
        let told = truth.get(&**id).unwrap_or_else(|| panic!("{id}: the vendor never saw it"));
        assert_eq!((r.is_ok(), told.outcome), (true, TruthOutcome::Complete), "{id}");
        assert_eq!(r.disorder(), None, "{id}");
        let sent = r.sent.unwrap();
        assert!(r.released <= sent && sent <= r.written.unwrap(), "{id}");
        assert!(sent <= told.arrival_ns, "{id}: the request arrived before it was sent");
        assert_eq!((r.output_tokens(), told.tokens()), (Some(u64::from(TOKENS)), u64::from(TOKENS)), "{id}");

        let writes: Vec<Timestamp> = told.writes.iter().filter(|w| w.tokens > 0).map(|w| w.before).collect();
        let stamps: Vec<Timestamp> = r.chunks.iter().map(|c| c.stamp.user).collect();
        assert_eq!(stamps.len(), writes.len(), "{id}: a chunk for every write");
        for (i, (stamp, before)) in stamps.iter().zip(&writes).enumerate() {
            assert!(stamp >= before, "{id}: chunk {i} was stamped {stamp} and written at {before}");
        }
        assert!(r.headers.unwrap().user >= told.writes[0].before, "{id}");
        assert!(r.end.unwrap() >= told.writes.last().unwrap().before, "{id}");
        assert!(r.first_byte.unwrap().user <= stamps[0], "{id}");
    }
}
