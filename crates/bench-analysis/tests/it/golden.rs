//! Reference values: every case of every `tests/golden/*.json` is computed by this crate and compared.
//!
//! A case is found by the prefix of its name; one that nobody handles fails the test, and so does a line of `PENDING` that
//! no case needs any more. Numbers must agree within the case's `rel_tol` of max(1, |expected|); whole numbers, booleans
//! and null exactly (null = undefined or +∞).

#![allow(clippy::unwrap_used)] // a panic here is the report

mod change;
mod compare;
mod cost;
mod dependence;
mod interval;
mod load;
mod quantile;
mod records;

use serde_json::Value;

/// Cases that wait for their topic: prefix of the name, and the issue that owns it.
const PENDING: &[(&str, &str)] = &[];

/// One case of a golden file, with its whole file for cases that refer to another.
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) input: &'a Value,
    pub(crate) expected: &'a Value,
    pub(crate) all: &'a [Value],
}

impl Case<'_> {
    pub(crate) fn list(&self, key: &str) -> Vec<f64> {
        floats(&self.input[key])
    }

    pub(crate) fn number(&self, key: &str) -> f64 {
        self.input[key].as_f64().unwrap_or_else(|| panic!("{}: input {key} is a number", self.name))
    }
}

pub(crate) fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().unwrap_or(f64::INFINITY)).collect()
}

/// A number, or null for an infinity.
pub(crate) fn finite(x: f64) -> Value {
    if x.is_finite() { Value::from(x) } else { Value::Null }
}

type Handler = fn(&Case<'_>) -> Value;

fn handler(case: &Case<'_>) -> Option<Handler> {
    let prefixes: &[(&str, Handler)] = &[
        ("quantile/hyndman-fan", quantile::hyndman_fan),
        ("quantile/failures-as-infinity", quantile::failures),
        ("quantile/token-weighted", quantile::weighted),
        ("sketch/hdr", quantile::hdr),
        ("sketch/ddsketch", quantile::ddsketch),
        ("summary/", quantile::summary),
        ("ci/order-statistic-ranks", interval::ranks),
        ("ci/order-statistic-p", interval::order_statistic),
        ("ci/min-n-one-sided", interval::smallest_n),
        ("ci/harrell-davis", quantile::harrell_davis),
        ("ci/proportion-difference-newcombe", interval::newcombe),
        ("ci/proportion", interval::proportion),
        ("ci/poisson-rate", interval::poisson),
        ("ci/mean-t", interval::mean_t),
        ("plan/quantile-sample-size", interval::quantile_sample_size),
        ("stop/mlperf-min-passing", interval::early_stopping_under),
        ("stop/mlperf-estimate", interval::early_stopping_bound),
        ("bootstrap/bca-given-resamples", interval::bca),
        ("bootstrap/studentized-given-resamples", interval::studentized),
        ("bootstrap/exact-mean", interval::exact_mean),
        ("bootstrap/exact-quantile", interval::exact_quantile),
        ("dependence/ess-order-stat", dependence::ess_order_statistic),
        ("dependence/politis-white", dependence::block_length),
        ("dependence/", dependence::series),
        ("compare/permutation-exact", compare::permutation),
        ("compare/paired", compare::paired),
        ("compare/mcnemar", compare::mcnemar),
        ("compare/ratio-fieller", compare::fieller),
        ("compare/quantile-ratio-mover", compare::mover),
        ("multiple/adjust", compare::adjust),
        ("multiple/tost-paired", compare::tost_paired),
        ("multiple/tost-ratio", compare::tost_ratio),
        ("hierarchy/", compare::hierarchy),
        ("cost/pareto", compare::pareto),
        ("censor/", load::kaplan_meier),
        ("change/edivisive", change::edivisive),
        ("change/rank-scan", change::rank_scan_ties),
        ("change/pelt", change::pelt),
        ("change/bocpd", change::bocpd),
        ("change/cusum-ewma", change::charts),
        ("change/tcpd-scores", change::tcpd),
        ("change/online-rank-thresholds", change::online),
        ("warmup/", load::warmup),
        ("trend/mann-kendall", load::trend),
        ("trend/recovery-time", load::recovery),
        ("queue/mmc-mdc", load::mmc_mdc),
        ("queue/md1-wait-cdf", load::md1),
        ("queue/mg1", load::mg1),
        ("queue/usl-fit", load::usl),
        ("queue/pava-decreasing", load::pava),
        ("queue/kneedle-discrete", load::knee),
        ("queue/pathwise-fifo", load::pathwise),
        ("plan/mm1-sample-size", load::mm1_sample_size),
        ("load/coordinated-omission", load::coordinated_omission),
        ("load/poisson-arrival-check", load::poisson),
        ("cost/burn-rate", load::burn_rate),
        ("stream/", records::stream),
        ("system/window", records::window),
        ("cost/usage-", records::usage),
        ("cost/waste", cost::waste),
        ("cost/cache-break-even", cost::break_even),
    ];
    let by_name = prefixes.iter().find(|(prefix, _)| case.name.starts_with(prefix)).map(|(_, h)| *h);
    by_name.or_else(|| {
        // two-sample cases are named after their data; their shape tells them
        (case.name.starts_with("compare/") && case.expected.get("bm_W").is_some())
            .then_some(compare::two_sample as Handler)
    })
}

/// Where computed and expected differ, as lines; every expected key must have been computed.
fn differences(path: &str, expected: &Value, got: Option<&Value>, tolerance: f64, out: &mut Vec<String>) {
    let Some(got) = got else {
        out.push(format!("{path}: not computed, expected {expected}"));
        return;
    };
    match (expected, got) {
        (Value::Object(map), Value::Object(_)) => {
            for (key, value) in map {
                differences(&format!("{path}.{key}"), value, got.get(key), tolerance, out);
            }
        }
        (Value::Array(list), Value::Array(other)) => {
            if list.len() != other.len() {
                out.push(format!("{path}: {} values, expected {}", other.len(), list.len()));
            }
            for (i, value) in list.iter().enumerate() {
                differences(&format!("{path}[{i}]"), value, other.get(i), tolerance, out);
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().expect("a double"), b.as_f64().expect("a double"));
            let allowed = if expected.is_i64() { 0.0 } else { tolerance * a.abs().max(1.0) };
            if (a - b).abs() > allowed {
                out.push(format!("{path}: got {b}, expected {a}"));
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{path}: got {b}, expected {a}")),
    }
}

/// What came of the cases of some files.
struct Tally {
    failures: Vec<String>,
    used: Vec<bool>,
    passed: usize,
    pending: usize,
}

impl Tally {
    fn new() -> Self {
        Self { failures: Vec::new(), used: vec![false; PENDING.len()], passed: 0, pending: 0 }
    }

    /// Computes every case of one file.
    fn file(&mut self, name: &str, file: &Value) {
        if file["schema"] != 1 {
            self.failures.push(format!("{name}: schema 1 expected, found {}", file["schema"]));
            return;
        }
        let Some(all) = file["cases"].as_array().filter(|all| !all.is_empty()) else {
            self.failures.push(format!("{name}: a list of cases expected"));
            return;
        };
        for case in all {
            self.case(case, all);
        }
    }

    fn case(&mut self, case: &Value, all: &[Value]) {
        let name = case["name"].as_str().unwrap();
        let one = Case { name, input: &case["input"], expected: &case["expected"], all };
        if let Some(run) = handler(&one) {
            let got = run(&one);
            let tolerance = case["rel_tol"].as_f64().unwrap();
            let before = self.failures.len();
            differences(name, one.expected, Some(&got), tolerance, &mut self.failures);
            self.passed += usize::from(before == self.failures.len());
        } else if let Some(i) = PENDING.iter().position(|(prefix, _)| name.starts_with(prefix)) {
            self.used[i] = true;
            self.pending += 1;
        } else {
            self.failures
                .push(format!("{name}: nobody computes this case; write a handler or list it as pending"));
        }
    }
}

#[test]
fn golden_cases() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no golden files in {folder}");
    let mut tally = Tally::new();
    for path in &files {
        let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        tally.file(&path.display().to_string(), &file);
    }
    for ((prefix, owner), used) in PENDING.iter().zip(&tally.used) {
        if !used {
            tally
                .failures
                .push(format!("pending {prefix} ({owner}): no case needs it any more, take the line out"));
        }
    }
    let Tally { failures, passed, pending, .. } = tally;
    println!("golden cases: {passed} passed, {pending} pending, {} files", files.len());
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// What a further file of the folder meets.
#[test]
fn a_further_file_is_computed_and_an_unknown_case_fails_loudly() {
    let file = |name: &str, expected: f64| {
        serde_json::json!({ "schema": 1, "cases": [{
            "name": name, "input": { "x": [1.0, 2.0, 4.0] }, "expected": { "median": expected }, "rel_tol": 1e-9,
        }]})
    };
    #[track_caller]
    fn check(file: &Value, passed: usize, failure: Option<&str>) {
        let mut tally = Tally::new();
        tally.file("further.json", file);
        assert_eq!((tally.passed, tally.failures.len()), (passed, usize::from(failure.is_some())));
        if let Some(text) = failure {
            assert!(tally.failures[0].contains(text), "{}", tally.failures[0]);
        }
    }
    check(&file("summary/three", 2.0), 1, None);
    check(&file("summary/three", 3.0), 0, Some("summary/three.median: got 2"));
    check(&file("unheard/of", 2.0), 0, Some("unheard/of: nobody computes this case"));
    check(&serde_json::json!({ "schema": 2, "cases": [] }), 0, Some("schema 1 expected"));
    check(&serde_json::json!({ "schema": 1, "cases": [] }), 0, Some("a list of cases expected"));
}
