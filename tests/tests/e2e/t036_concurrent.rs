//! T035 and T036: the whole comparison within half a minute of realistic delays, a hundred operations at once, a hundred
//! benchmarks at once; nothing lost, every count exact. On simulated time; that the program itself takes no longer on a
//! real clock is to be seen at the end of `.ci/run`.

use std::{collections::BTreeSet, time::Duration};

use bench_runner::Runner;
use llms_bench::simulated::default_scenario;
use llms_core::{
    CallContext,
    bench::{BenchmarkRunner as _, Load, NullSink, RequestRecord, RunPhase, Scenario, Seeds, Target},
    time::{Clock as _, VirtualClock},
};
use std::sync::Arc;

use crate::support::{comparison, judge, scenario, simulate, simulated, steady};

#[test]
fn t035_four_realistic_vendors_are_compared_within_half_a_minute() {
    use bench_mock::Preset;
    let vendors = [Preset::OpenAi, Preset::Anthropic, Preset::Bedrock, Preset::Ollama];
    let names = ["openai", "anthropic", "bedrock", "ollama"];
    let targets =
        simulated(names.into_iter().zip(vendors.map(|v| v.profile().with_seed(1).with_output_tokens(16))));
    let asked = Scenario { seeds: Seeds { nonce: Some(1), ..Seeds::from_one(1) }, ..default_scenario() };
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let run = clock.block_on(Runner::new().run(&targets, &asked, &mut NullSink, &ctx)).unwrap();
    let took = Duration::from_nanos(clock.now().as_nanos());
    assert!(took < Duration::from_secs(30), "{took:?}");
    let found = comparison(&run);
    assert_eq!(found.rankings.len(), 4, "{found:?}");
    for target in judge(&run).targets {
        assert_eq!(target.scheduled, asked.requests.unwrap(), "{}", target.target);
    }
}

#[test]
fn t036_a_hundred_operations_at_once() {
    let targets = simulated([("mock", steady(500.0))]);
    let run = simulate(&targets, &scenario(1_000, 100));
    let records: Vec<&RequestRecord> = run.measured(0).collect();
    let ids: BTreeSet<&str> = records.iter().map(|r| &*r.request_id).collect();
    assert_eq!((records.len(), ids.len()), (1_000, 1_000));
    assert!(records.iter().all(|r| r.is_ok()));
    // In flight at the instant before each end, that one included.
    let most = |r: &&&RequestRecord| {
        let at = r.end.unwrap();
        records.iter().filter(|o| o.sent.unwrap() < at && at <= o.end.unwrap()).count()
    };
    assert_eq!(records.iter().map(|r| most(&r)).max(), Some(100));
    // Ten rounds of 500 ms and eight gaps of 2 ms, the last before the end of the answer, without a moment lost between them.
    let window = run.manifest.window.unwrap();
    let ends = records.iter().filter_map(|r| r.end).max().unwrap();
    assert_eq!(ends.since(window.start), Some(Duration::from_millis(10 * 516)));
}

#[test]
fn t036_a_hundred_benchmarks_at_once_do_not_mix() {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let targets: Vec<Target> =
        (1..=100).flat_map(|i| simulated([("mock", steady(f64::from(i) * 10.0))])).collect();
    let asked = Scenario { load: Load::closed(2), ..scenario(20, 2) };
    let runs = clock.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for (i, target) in targets.into_iter().enumerate() {
            let (asked, ctx) = (asked.clone(), ctx.clone());
            tasks.spawn(async move {
                // At one simulated instant the same scenario would draw the same id.
                let runner = Runner::builder().run_id(format!("run-{i}")).build();
                (i, runner.run(&[target], &asked, &mut NullSink, &ctx).await.unwrap())
            });
        }
        tasks.join_all().await
    });
    assert_eq!(runs.len(), 100);
    let mut ids = BTreeSet::new();
    for (i, run) in runs {
        let ttft = Duration::from_millis((i as u64 + 1) * 10);
        assert_eq!(run.records.iter().filter(|r| r.phase == RunPhase::Measured && r.is_ok()).count(), 20);
        for r in run.measured(0) {
            assert_eq!(r.chunks[0].stamp.user.since(r.sent.unwrap()), Some(ttft));
            assert!(ids.insert(r.request_id.clone()), "{} twice", r.request_id);
        }
    }
    assert_eq!(ids.len(), 2_000);
}
