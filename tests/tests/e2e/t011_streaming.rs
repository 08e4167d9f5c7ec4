//! T011: the streaming rows of the contract (spec 1.3): what a run says of TTFT, gaps, tokens a second and many streams
//! at once equals what the simulated vendors really sent. On simulated time, so equal means equal.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bench_mock::{Dist, MockModel, Preset, Profile, TruthRecord};
use llms_core::{
    ChatModel as _,
    bench::{RequestRecord, RunResult, Target, TargetInfo},
};

use crate::support::{judge, scenario, simulate};

const VENDORS: [(&str, Preset); 3] =
    [("openai", Preset::OpenAi), ("anthropic", Preset::Anthropic), ("ollama", Preset::Ollama)];

fn vendors(change: impl Fn(Profile) -> Profile) -> (Vec<MockModel>, Vec<Target>) {
    let vendor = |(name, preset): (&str, Preset)| {
        let model = MockModel::new(change(preset.profile().quiet().with_seed(5))).unwrap();
        let info = TargetInfo {
            name: name.to_owned(),
            model: model.info().clone(),
            simulated: true,
            transport: None,
            unavailable: None,
        };
        (model.clone(), Target { info, model: Some(Arc::new(model)) })
    };
    VENDORS.map(vendor).into_iter().unzip()
}

/// Each measured record with what the vendor says of it.
fn pairs<'r>(run: &'r RunResult, models: &[MockModel], target: u32) -> Vec<(&'r RequestRecord, TruthRecord)> {
    let mut truth: BTreeMap<String, TruthRecord> =
        models[target as usize].truth().into_iter().map(|t| (t.request_id.clone(), t)).collect();
    run.measured(target).map(|r| (r, truth.remove(&*r.request_id).unwrap())).collect()
}

/// The order statistics between which every definition puts the quantile: those of ranks ⌈p n⌉ and one more.
fn quantile(mut values: Vec<Duration>, p: f64) -> std::ops::RangeInclusive<f64> {
    values.sort_unstable();
    let rank = (p * values.len() as f64).ceil() as usize;
    values[rank - 1].as_secs_f64() - 1e-9..=values[rank].as_secs_f64() + 1e-9
}

#[test]
fn the_streaming_suite_says_what_the_vendors_did() {
    let (models, targets) = vendors(|p| p.with_output_tokens(40));
    let run = simulate(&targets, &scenario(200, 6));
    // Three providers, 600 streams; the contract allows a quarter of a minute, for far fewer.
    let analysis = judge(&run);
    for (i, found) in (0..).zip(&analysis.targets) {
        let pairs = pairs(&run, &models, i);
        assert_eq!((found.ok, pairs.len()), (200, 200));
        let first = |t: &TruthRecord| t.writes.iter().find(|w| w.tokens > 0).unwrap().before;
        let last = |t: &TruthRecord| t.writes.iter().rfind(|w| w.tokens > 0).unwrap().before;
        let ttft: Vec<_> = pairs.iter().map(|(_, t)| first(t).since(t.arrival_ns).unwrap()).collect();
        assert!(ttft.iter().all(|t| !t.is_zero() && *t <= Duration::from_secs(5)), "{ttft:?}");
        let tpot: Vec<_> =
            pairs.iter().map(|(_, t)| last(t).since(first(t)).unwrap() / (t.tokens() as u32 - 1)).collect();
        for (metric, truth) in [("ttft", ttft), ("tpot", tpot)] {
            for p in [0.5, 0.9] {
                let said =
                    found.metrics[metric].quantile(p).unwrap().all.value().unwrap().value.value.unwrap();
                let truth = quantile(truth.clone(), p);
                assert!(truth.contains(&said), "{} {metric} p{p}: {said} not in {truth:?}", found.target);
            }
        }
        let tokens: u64 = pairs.iter().map(|(_, t)| t.tokens()).sum();
        assert_eq!((found.tokens.output_tokens, tokens), (Some(tokens), 200 * 40));
        for (record, truth) in pairs {
            let sent: Vec<_> = truth.writes.iter().filter(|w| w.tokens > 0).map(|w| w.before).collect();
            let came: Vec<_> = record.chunks.iter().map(|c| c.stamp.user).collect();
            assert_eq!(came, sent);
        }
    }
}

#[test]
fn ten_streams_at_once_take_no_longer_than_one() {
    let (_, targets) = vendors(|p| Profile { ttft_ms: Dist::constant(100.0), ..p.with_output_tokens(8) });
    let one = simulate(&targets[..1], &scenario(1, 1)).manifest.window.unwrap();
    let ten = simulate(&targets[..1], &scenario(10, 10));
    let firsts: Vec<_> =
        ten.measured(0).map(|r| r.chunks[0].stamp.user.since(r.scheduled).unwrap()).collect();
    assert_eq!(firsts, [Duration::from_millis(100); 10]);
    let window = ten.manifest.window.unwrap();
    assert!(window.end.since(window.start) < Some(Duration::from_secs(1)), "{window:?} {one:?}");
}

#[test]
fn a_stall_in_mid_stream_is_seen_where_it_was() {
    use bench_mock::{FaultKind, FaultRule};
    let stall = FaultRule {
        every: Some(4),
        after_tokens: Some(10),
        pause_ms: Some(3_000.0),
        ..FaultRule::always(FaultKind::Stall)
    };
    let (models, targets) = vendors(|p| {
        Profile { gap_ms: Dist::constant(20.0), ..p.with_output_tokens(30) }.with_fault(stall.clone())
    });
    let run = simulate(&targets, &scenario(40, 2));
    for i in 0..3 {
        let mut stalled = 0;
        for (record, _) in pairs(&run, &models, i) {
            assert!(record.is_ok());
            let gaps: Vec<_> =
                record.chunks.windows(2).map(|c| c[1].stamp.user.since(c[0].stamp.user).unwrap()).collect();
            let long: Vec<usize> = (0..gaps.len()).filter(|g| Duration::from_secs(2) < gaps[*g]).collect();
            assert!(long.is_empty() || long == [9], "{long:?} of {gaps:?}");
            stalled += long.len();
        }
        assert_eq!(stalled, 10);
    }
}
