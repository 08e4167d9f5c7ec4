//! Results are data: a saved run reads back as it was, is judged again to the same byte, and its JSON is what
//! `docs/schema/result.schema.json` says.

use std::collections::BTreeSet;

use bench_analysis::{
    Analyzer,
    cost::{PriceTable, Prices},
};
use bench_mock::{FaultKind, FaultRule, Preset, server::Protocol, server::ServerConfig};
use bench_report::{Document, Findings, render_json};
use bench_runner::{Runner, ScenarioRegistry};
use bench_store::{RunDir, RunSink};
use llms_core::{
    CallContext,
    bench::{
        Analysis, Arrivals, BenchmarkRunner as _, Load, PerformanceAnalyzer as _, RunManifest, RunResult,
        Scenario, Target, Warmup,
    },
    chat::ToolChoice,
};
use serde_json::{Value, json};

use crate::{
    schema::{objects, result_schema, violations, violations_of},
    support::{direct, judge, run, scenario, simulate, simulated, steady, targets, unavailable},
};

/// Two vendors that answer, one that breaks off now and then, one that cannot be reached.
async fn mixed() -> (bench_mock::server::Server, Vec<Target>) {
    let profile = || Preset::VeryFast.profile().quiet().with_output_tokens(8);
    let server = ServerConfig::default()
        .with_profile(Protocol::OpenAi, profile())
        .with_profile(Protocol::Anthropic, profile().with_fault(FaultRule::every(FaultKind::Truncate, 5)))
        .with_profile(Protocol::Bedrock, profile().with_fault(FaultRule::every(FaultKind::RateLimit, 7)))
        .start()
        .unwrap();
    let named = [
        ("openai", Protocol::OpenAi, "simulated"),
        ("anthropic", Protocol::Anthropic, "simulated"),
        ("bedrock", Protocol::Bedrock, "simulated"),
    ];
    let mut targets = targets(&server, &named, &direct()).await;
    targets.push(unavailable("gone", "connection refused"));
    (server, targets)
}

fn full_scenario() -> Scenario {
    let mut scenario = Scenario {
        warmup: Warmup { requests: 2, prompts: Vec::new() },
        system: Some("Be brief.".to_owned()),
        slo: vec!["ttft:p99<500ms".parse().unwrap(), "e2e:900".parse().unwrap()],
        load: Load::poisson(60.0).capped(50),
        cache_bust: true,
        ..scenario(60, 1)
    };
    scenario.options.max_tokens = Some(32);
    scenario.options.temperature = Some(0.5);
    scenario.options.stop_sequences = vec!["END".to_owned()];
    scenario
}

fn priced() -> Analyzer {
    let table = PriceTable::parse(&llms_bench::simulated::prices().to_string()).unwrap();
    Analyzer::new().with_prices(Prices::none().with(table))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_run_is_read_back_and_judged_the_same() {
    let root = tempfile::tempdir().unwrap();
    let (_server, targets) = mixed().await;
    let runner = Runner::builder().run_id("run-1").label("saved").fact("why", "to read it back").build();
    let mut sink = RunSink::new(root.path(), "run-1");
    let run = runner.run(&targets, &full_scenario(), &mut sink, &CallContext::new()).await.unwrap();
    let failed = run.records.iter().filter(|r| !r.is_ok()).count();
    assert!(failed > 10 && failed < run.records.len() / 2, "{failed} of {}", run.records.len());

    let back = RunDir::find(root.path(), "latest").unwrap().load().unwrap();
    assert_eq!(back.manifest, run.manifest);
    assert_eq!(back.records.len(), run.records.len());
    for (was, is) in run.records.iter().zip(&back.records) {
        assert_eq!(was, is, "{}", was.request_id);
    }
    for analyzer in [Analyzer::new(), priced()] {
        let (before, after) = (analyzer.analyze(&run).unwrap(), analyzer.analyze(&back).unwrap());
        assert_eq!(before, after);
        assert_eq!(serde_json::to_vec(&before).unwrap(), serde_json::to_vec(&after).unwrap());
    }
    let on_disk = std::fs::read(sink.dir().join("run.json")).unwrap();
    let on_disk: Value = serde_json::from_slice(&on_disk).unwrap();
    assert_eq!(violations_of(&result_schema(), "manifest", &on_disk), [""; 0]);
}

/// The result as JSON, with notes.
fn document(run: &RunResult, analysis: &Analysis) -> Value {
    let notes = ["a note".to_owned()];
    let doc = Document {
        manifest: &run.manifest,
        analysis,
        notes: &notes,
        files: &[],
        findings: Findings::default(),
    };
    serde_json::from_str(&render_json(&doc)).unwrap()
}

#[track_caller]
fn conforms(run: &RunResult, analysis: &Analysis) -> Value {
    let json = document(run, analysis);
    let wrong = violations(&result_schema(), &json);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let manifest: RunManifest = serde_json::from_value(json["manifest"].clone()).unwrap();
    let again: Analysis = serde_json::from_value(json["analysis"].clone()).unwrap();
    assert_eq!((&manifest, &again), (&run.manifest, analysis), "whoever reads it has all of it");
    json
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_of_every_kind_of_result_is_as_its_schema_says() {
    let (_server, targets) = mixed().await;
    let open = run(&targets, &full_scenario()).await;
    let json = conforms(&open, &priced().analyze(&open).unwrap());
    assert_eq!(json["schema_version"], 1);
    // The parts of the schema that this run is there to reach.
    let text = json.to_string();
    for reached in [
        "\"above\":",
        "not_comparable",
        "\"total_usd\"",
        "retry_after_s",
        "\"goodput\"",
        "ttft_service",
        "not_judged",
    ] {
        assert!(text.contains(reached), "{reached} is not reached");
    }
    let mut tools = ScenarioRegistry::builtin().get("tool-calling").unwrap().clone();
    (tools.requests, tools.tool_choice) = (Some(8), ToolChoice::Tool("get_weather".to_owned()));
    let tools = run(&targets[..1], &tools).await;
    assert_eq!(conforms(&tools, &judge(&tools))["analysis"]["comparison"], Value::Null);
}

#[test]
fn results_of_simulated_time_conform_too() {
    let twins = || simulated([("one", steady(50.0)), ("two", steady(50.0))]);
    let tied = simulate(&twins(), &scenario(100, 4));
    let json = conforms(&tied, &judge(&tied));
    assert!(json.to_string().contains("no_detectable_difference"));
    let few = simulate(&twins(), &Scenario { streaming: false, ..scenario(2, 1) });
    conforms(&few, &judge(&few));
    let timed = Scenario {
        requests: None,
        duration: Some(std::time::Duration::from_secs(2)),
        load: Load::open(20.0, Arrivals::Constant),
        ..scenario(1, 1)
    };
    let timed = simulate(&twins(), &timed);
    conforms(&timed, &judge(&timed));
    let failing = simulated([
        ("dead", steady(50.0).with_fault(FaultRule::always(FaultKind::Auth))),
        ("alive", steady(50.0)),
    ]);
    let failing = simulate(&failing, &scenario(100, 4));
    conforms(&failing, &judge(&failing));
}

#[test]
fn the_schema_refuses_what_is_not_a_result() {
    let asked = Scenario { slo: vec!["ttft:p90<500ms".parse().unwrap()], ..scenario(80, 4) };
    let run = simulate(&simulated([("one", steady(50.0)), ("two", steady(90.0))]), &asked);
    let good = document(&run, &priced().analyze(&run).unwrap());
    let schema = result_schema();
    let refused = |at: &str, change: &dyn Fn(&mut Value)| {
        let mut bad = good.clone();
        change(bad.pointer_mut(at).unwrap_or_else(|| panic!("{at} is not there")));
        assert!(!violations(&schema, &bad).is_empty(), "the schema accepts a wrong {at}");
    };
    for (at, wrong) in [
        ("/schema_version", json!(2)),
        ("/notes", json!("a text")),
        ("/manifest/started", json!(-1)),
        ("/manifest/scenario/load", json!({"mode": "half-open"})),
        ("/manifest/scenario/order", json!("as they come")),
        ("/manifest/scenario/prompts/0/messages/0/role", json!("god")),
        ("/analysis/confidence", json!(95)),
        ("/analysis/headline_origin", json!("sent")),
        ("/analysis/validity/level", json!("FINE")),
        ("/analysis/targets/0/ok", json!("80")),
        ("/analysis/targets/0/ok", Value::Null),
        ("/analysis/targets/0/error_rate", json!(0.0)),
        ("/analysis/targets/0/metrics/ttft/quantiles/0/p", json!(50)),
        ("/analysis/targets/0/metrics/ttft/mean/value", json!(0.1)),
        ("/analysis/targets/0/cost", Value::Null),
        ("/analysis/targets/0/objectives/0/verdict", json!("fine")),
        ("/analysis/targets/0/objectives/0/wanted", json!(90)),
        ("/analysis/comparison/pairs/0/verdict/verdict", json!("equal")),
        ("/analysis/comparison/rankings/0/rank", json!(0)),
    ] {
        refused(at, &|v| *v = wrong.clone());
    }
    // No object anywhere may hold a property that is not described, save the maps by name.
    let maps: BTreeSet<&str> = BTreeSet::from([
        "facts",
        "metrics",
        "finish_reasons",
        "models",
        "reported",
        "performance_matrix",
        "winner_by_category",
        "overall_scores",
        "extra",
        "one",
        "two",
    ]);
    for at in objects(&good) {
        let name = at.rsplit('/').next().unwrap();
        if !maps.contains(name) {
            refused(&at, &|v| v["surprise"] = json!(1));
        }
    }
    for at in [
        "/manifest",
        "/manifest/targets/0",
        "/analysis",
        "/analysis/targets/0",
        "/analysis/targets/0/objectives/0",
        "/analysis/comparison/pairs/0",
    ] {
        let names: Vec<String> = good.pointer(at).unwrap().as_object().unwrap().keys().cloned().collect();
        for name in names {
            refused(at, &|v| _ = v.as_object_mut().unwrap().remove(&name));
        }
    }
}
