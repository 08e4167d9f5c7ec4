//! What an earlier run tells of latencies and answers.

use std::path::Path;

use bench_analysis::request::Request;
use bench_store::RunDir;
use llms_core::bench::{Origin, RecordOutcome, RequestRecord, RunPhase, RunResult, TargetInfo};

use crate::exit::Failure;

/// The measured requests of an earlier run, on the targets that are planned; on all of them where none has the same name.
pub(super) struct Pilots {
    run: Option<RunResult>,
    targets: Vec<u32>,
}

impl Pilots {
    /// Reads the run, when one is named.
    pub(super) fn read(name: Option<&str>, dir: &Path, planned: &[TargetInfo]) -> Result<Self, Failure> {
        let Some(name) = name else { return Ok(Self { run: None, targets: Vec::new() }) };
        let wrong = |e: llms_core::Error| Failure::usage(format!("--pilot: {}", e.message()));
        let run = RunDir::find(dir, name).and_then(|dir| dir.load()).map_err(wrong)?;
        let all = || (0..).zip(&run.manifest.targets);
        let same = |t: &TargetInfo| planned.iter().any(|p| p.name == t.name);
        let mut targets: Vec<u32> = all().filter(|(_, t)| same(t)).map(|(i, _)| i).collect();
        if targets.is_empty() {
            targets = all().map(|(i, _)| i).collect();
        }
        let found = Self { targets, run: Some(run) };
        if found.records().next().is_none() {
            return Err(Failure::usage(format!(
                "--pilot: {name} has no measured request; choose another run"
            )));
        }
        Ok(found)
    }

    fn records(&self) -> impl Iterator<Item = &RequestRecord> {
        let records = self.run.iter().flat_map(|run| &run.records);
        records.filter(|r| r.phase == RunPhase::Measured && self.targets.contains(&r.target))
    }

    fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
        let (sum, n) = values.fold((0.0, 0_u32), |(sum, n), v| (sum + v, n + 1));
        (n > 0).then(|| sum / f64::from(n))
    }

    /// Mean seconds from sending to the end, of answers.
    pub(super) fn e2e(&self) -> Option<f64> {
        let streamed = self.run.as_ref()?.manifest.scenario.streaming;
        Self::mean(
            self.records()
                .filter(|r| r.is_ok())
                .filter_map(|r| Request::new(r, streamed).value("e2e", Origin::Service)),
        )
    }

    /// Mean tokens of an answer.
    pub(super) fn output(&self) -> Option<f64> {
        Self::mean(self.records().filter(|r| r.is_ok()).filter_map(|r| Some(r.output_tokens()? as f64)))
    }

    /// A metric's values in the order the requests were due, failures as +∞; `None` without a pilot.
    pub(super) fn values(&self, metric: &str, origin: Origin) -> Option<Vec<f64>> {
        let streamed = self.run.as_ref()?.manifest.scenario.streaming;
        let mut records: Vec<&RequestRecord> = self.records().collect();
        records.sort_by_key(|r| r.scheduled);
        let value = |r: &&RequestRecord| match r.outcome {
            RecordOutcome::Ok => Request::new(r, streamed).value(metric, origin),
            RecordOutcome::Failed(_) => Some(f64::INFINITY),
            RecordOutcome::Censored => None,
        };
        Some(records.iter().filter_map(value).collect())
    }

    /// What estimates rest on.
    pub(super) fn basis(&self) -> String {
        match &self.run {
            None => "log-normal latencies with a standard deviation of 0.5 of their logarithm, independent of each other: \
                     --pilot RUN takes those of an earlier run"
                .to_owned(),
            Some(run) => {
                let (n, s) = (self.records().count(), &run.manifest.scenario);
                format!("latencies like the {n} of run {}, scenario {}", run.manifest.run_id, s.name)
            }
        }
    }
}
