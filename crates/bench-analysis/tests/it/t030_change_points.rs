//! T030: change points against series that people marked, and false alarms on runs that are known to be stable.
//!
//! Nothing is set per series, and no number was searched for: the recipe's settings are constants with an argument beside each.
//! Its *form* (lines with memory where levels do not explain a series, silence where these do not either) was compared with
//! others on these 22 series, so the figure flatters a little: over forty neighbouring settings it lies between 0.74 and 0.79.
//! Both halves (every other series by name) are told and pinned apart; TCPD's ten other series were not at hand.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic here is the report

use bench_analysis::stats::change::history::{Recipe, history};
use bench_analysis::stats::change::score::{MARGIN, score};
use bench_analysis::stats::change::{edivisive, pelt};
use serde_json::Value;

use crate::support::each_seed;

fn file(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data/changepoints");
    std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
}

fn floats(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

struct Series {
    values: Vec<f64>,
    marks: Vec<Vec<usize>>,
}

/// In the order of their names; the first dimension of the one that has two.
fn marked() -> Vec<Series> {
    let all: std::collections::BTreeMap<String, Value> =
        serde_json::from_str(&file("tcpd_series.json")).unwrap();
    all.values()
        .map(|s| Series {
            values: floats(&s["series"][0]),
            marks: s["annotations"]
                .as_object()
                .unwrap()
                .values()
                .map(|a| a.as_array().unwrap().iter().map(|p| p.as_u64().unwrap() as usize).collect())
                .collect(),
        })
        .collect()
}

/// Mean F1 of all and of both halves.
fn f1(series: &[Series], detect: impl Fn(&[f64]) -> Vec<usize> + Sync) -> [f64; 3] {
    let scores = each_seed(0..=series.len() as u64 - 1, |i| {
        let s = &series[i as usize];
        score(&detect(&s.values), &s.marks, s.values.len(), MARGIN).f1
    });
    let mean = |pick: &dyn Fn(usize) -> bool| {
        let some: Vec<f64> = (0..scores.len()).filter(|i| pick(*i)).map(|i| scores[i]).collect();
        some.iter().sum::<f64>() / some.len() as f64
    };
    [mean(&|_| true), mean(&|i| i % 2 == 0), mean(&|i| i % 2 == 1)]
}

/// E-divisive as it is usually run: splits again while p < 0.05.
fn plain_e_divisive(x: &[f64]) -> Vec<usize> {
    fn split(x: &[f64], offset: usize, found: &mut Vec<usize>) {
        let Ok((best, p)) = edivisive::test(x, 5, 199, 1) else { return };
        if p < 0.05 {
            split(&x[..best.at], offset, found);
            found.push(offset + best.at);
            split(&x[best.at..], offset + best.at, found);
        }
    }
    let mut found = Vec::new();
    split(x, 0, &mut found);
    found
}

#[test]
fn agrees_with_people_better_than_silence_and_than_each_opinion_alone() {
    let series = marked();
    assert_eq!(series.len(), 22);
    let ours = f1(&series, |x| history(x, &Recipe::new(0.0, 1)).unwrap().supported());
    let silence = f1(&series, |_| Vec::new());
    let usual = f1(&series, |x| pelt::pelt(x, pelt::default_penalty(x).unwrap(), 1).unwrap().changes);
    let energy = f1(&series, plain_e_divisive);
    println!(
        "F1 (all, one half, other half): ours {ours:.3?}, never {silence:.3?}, PELT {usual:.3?}, E-divisive {energy:.3?}"
    );
    assert!(0.76 < ours[0] && 0.75 < ours[1] && 0.75 < ours[2], "{ours:?}");
    for other in [silence, usual, energy] {
        assert!(other[0] + 0.05 < ours[0], "{other:?} against {ours:?}");
    }
    // the score function itself: what is published for silence on these series
    let published: Value = serde_json::from_str(&file("tcpd_published_scores.json")).unwrap();
    let names: std::collections::BTreeMap<String, Value> =
        serde_json::from_str(&file("tcpd_series.json")).unwrap();
    let mut compared = 0;
    for (name, s) in names.keys().zip(&series) {
        if let Some(expected) = published["zero_f1_by_series"][name].as_f64() {
            let zero = score(&[], &s.marks, s.values.len(), MARGIN).f1;
            assert!((zero - expected).abs() < 1e-9, "{name}: {zero}, published {expected}");
            compared += 1;
        }
    }
    assert_eq!(compared, 21);
}

/// 9,600 runs of two benchmarks on three machines that nobody touched, as histories of 100.
#[test]
fn at_most_one_false_alarm_in_a_hundred_stable_runs() {
    for name in ["vm_noise_redis_get_rps.csv", "vm_noise_postgres_latency_ms.csv"] {
        let mut histories: Vec<Vec<f64>> = Vec::new();
        for machine in ["0,", "1,", "2,"] {
            let text = file(name);
            let runs: Vec<f64> = text
                .lines()
                .filter(|l| l.starts_with(machine))
                .map(|l| l.rsplit(',').next().unwrap().parse::<f64>().unwrap().ln())
                .collect();
            assert_eq!(runs.len(), 1600);
            histories.extend(runs.chunks_exact(100).map(<[f64]>::to_vec));
        }
        let counts = each_seed(0..=histories.len() as u64 - 1, |i| {
            let h = history(&histories[i as usize], &Recipe::new(1.05_f64.ln(), i)).unwrap();
            (h.supported().len(), h.changes.len())
        });
        let (alarms, candidates) = counts.iter().fold((0, 0), |(a, c), n| (a + n.0, c + n.1));
        let runs = histories.len();
        println!("{name}: {alarms} alarms, {candidates} with candidates, in {runs} histories of 100 runs");
        assert!(alarms <= runs && candidates <= runs, "{name}: {alarms} {candidates} in {runs} hundreds");
        // measured: 0 and 3; more would mean that the recipe has changed
        assert!(alarms <= 6, "{name}: {alarms}");
    }
}

/// A real benchmark's history: at 5 % the changes are those that another tool reports.
#[test]
fn finds_what_another_tool_finds_at_five_per_cent() {
    let nightly: Value = serde_json::from_str(&file("otava_tigerbeetle.json")).unwrap();
    let logs: Vec<f64> = floats(&nightly["series"]).iter().map(|v| v.ln()).collect();
    let reference: Value = serde_json::from_str(&file("otava_reference.json")).unwrap();
    let expected = floats(&reference["results"]["otava_tigerbeetle"]["p0.001_mag0.05"]);
    let found: Vec<f64> = history(&logs, &Recipe::new(1.05_f64.ln(), 1))
        .unwrap()
        .supported()
        .iter()
        .map(|i| *i as f64)
        .collect();
    assert_eq!(found, expected);
}
