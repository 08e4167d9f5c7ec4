//! The runner against a simulated vendor's own log: whatever the mock says it sent, the record must say arrived.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::common;

use std::{collections::BTreeMap, sync::Arc};

use bench_mock::{Capacity, MockModel, Preset, Profile, TruthOutcome, TruthRecord};
use common::*;
use llms_core::{
    ChatModel as _,
    bench::{Load, RecordOutcome, RequestRecord, RunResult, Scenario, Target, TargetInfo},
};

fn mock(name: &str, profile: Profile) -> (MockModel, Target) {
    let model = MockModel::new(profile).unwrap();
    let info = TargetInfo {
        name: name.to_owned(),
        model: model.info().clone(),
        simulated: true,
        transport: None,
        unavailable: None,
    };
    (model.clone(), Target { info, model: Some(Arc::new(model)) })
}

fn four() -> (Vec<MockModel>, Vec<Target>) {
    [Preset::OpenAi, Preset::Anthropic, Preset::Bedrock, Preset::Ollama]
        .into_iter()
        .map(|preset| mock(&format!("{preset:?}"), preset.profile()))
        .unzip()
}

/// Each record beside the mock's account of the same request.
fn pairs(run: &RunResult, models: &[MockModel]) -> Vec<(RequestRecord, TruthRecord)> {
    let truth: BTreeMap<String, TruthRecord> =
        models.iter().flat_map(MockModel::truth).map(|t| (t.request_id.clone(), t)).collect();
    assert_eq!(truth.len(), run.records.len());
    run.records.iter().map(|r| (r.clone(), truth[&*r.request_id].clone())).collect()
}

#[track_caller]
fn agree(record: &RequestRecord, truth: &TruthRecord) {
    assert_eq!(record.sent, Some(truth.arrival_ns));
    let sent: Vec<_> = truth.writes.iter().filter(|w| w.tokens > 0).map(|w| w.before).collect();
    let came: Vec<_> = record.chunks.iter().map(|c| c.stamp.user).collect();
    assert_eq!(came, sent, "{}", record.request_id);
    let outcome = match &record.outcome {
        RecordOutcome::Ok => TruthOutcome::Complete,
        RecordOutcome::Failed(e) if e.code == llms_core::ErrorCode::RateLimit => TruthOutcome::Refused,
        RecordOutcome::Failed(_) => truth.outcome,
        RecordOutcome::Censored => TruthOutcome::Abandoned,
    };
    assert_eq!(outcome, truth.outcome);
    assert_eq!(record.disorder(), None);
    if record.is_ok() {
        assert_eq!(record.output_tokens(), Some(truth.tokens()));
    }
}

#[test]
fn every_stamp_equals_what_the_vendor_says_it_sent() {
    for load in [Load::closed(12), Load::poisson(15.0)] {
        let (models, targets) = four();
        let mut scenario = Scenario { load, ..scenario(&["a", "b", "c", "d", "e"], 400) };
        scenario.warmup.requests = 4;
        let run = simulate(&targets, &scenario).unwrap();
        for target in 0..4 {
            assert_eq!(run.measured(target).count(), 400);
            assert!(run.measured(target).filter(|r| r.is_ok()).count() > 360);
        }
        for (record, truth) in pairs(&run, &models) {
            agree(&record, &truth);
        }
    }
}

#[test]
fn a_queue_at_the_server_is_time_of_the_server() {
    let profile = Profile {
        capacity: Capacity { slots: Some(2), ..Capacity::default() },
        ..Preset::VeryFast.profile().quiet()
    };
    let (model, target) = mock("small", profile);
    let scenario = Scenario {
        load: Load::poisson(200.0),
        drain: 600 * SECOND,
        timeout: 600 * SECOND,
        ..scenario(&["q"], 300)
    };
    let run = simulate(&[target], &scenario).unwrap();
    let mut waited = 0;
    for (record, truth) in pairs(&run, std::slice::from_ref(&model)) {
        agree(&record, &truth);
        assert_eq!((record.released, record.sent), (record.scheduled, Some(record.scheduled)));
        waited += usize::from(truth.service_start_ns.unwrap() > truth.arrival_ns);
    }
    assert!(waited > 200, "{waited} of 300 queued at the server, and were sent on time all the same");
}

#[test]
fn a_run_against_the_mock_repeats() {
    let run = || {
        let (_, targets) = four();
        simulate(&targets, &Scenario { load: Load::poisson(20.0), ..scenario(&["a", "b"], 100) }).unwrap()
    };
    assert_eq!(run(), run());
}
