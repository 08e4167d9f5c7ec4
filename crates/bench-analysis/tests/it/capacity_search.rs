//! The capacity search against simulated servers whose capacity is known.
//!
//! The server: bad share `.01 · exp(1.2 (rate − 100))`, the tail of a queue; target .99, so capacity is 100. On it,
//! bisection with a fixed number of requests reports a rate beyond capacity in 52 / 28 / 10 % of searches with 200 / 1,000 /
//! 3,000 requests a step: the setting of the project's measurements.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic here is the report, the figures are for the reader

use crate::support;

use bench_analysis::search::{CapacityOptions, CapacitySearch};
use llms_core::bench::policy::{
    Certified, Look, ProbePurpose, SearchFailure, SearchPolicy, SearchStep, StepEnd, StepVerdict,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::each_seed;

const CAPACITY: f64 = 100.0;

fn bad_share(rate: f64) -> f64 {
    (0.01 * (1.2 * (rate - CAPACITY)).exp()).min(1.0)
}

fn options(requests_max: u64, seed: u64) -> CapacityOptions {
    CapacityOptions {
        rate_min: 5.0,
        rate_start: 20.0,
        rate_max: 500.0,
        requests_max,
        resolution: 0.01,
        seed,
        ..CapacityOptions::default()
    }
}

/// Drives a search; `bad(rate)` makes the source of outcomes of one step. Returns the answer and the requests used.
fn drive<F: FnMut() -> bool>(
    search: &mut CapacitySearch,
    mut bad: impl FnMut(f64) -> F,
) -> (SearchStep, u64) {
    let mut used = 0;
    loop {
        match search.next() {
            SearchStep::Probe(probe) => {
                let mut outcome = bad(probe.rate);
                loop {
                    used += 1;
                    assert!(used < 10_000_000, "the search does not end");
                    if search.observe(!outcome()) == Look::EndStep {
                        break;
                    }
                }
            }
            done => return (done, used),
        }
    }
}

/// Independent outcomes.
fn independent(seed: u64, share: impl Fn(f64) -> f64) -> impl FnMut(f64) -> Box<dyn FnMut() -> bool> {
    let mut seeds = ChaCha8Rng::seed_from_u64(seed);
    move |rate| {
        let p = share(rate);
        let mut rng = ChaCha8Rng::seed_from_u64(seeds.random());
        Box::new(move || rng.random::<f64>() < p)
    }
}

/// Outcomes in clumps: a two-state chain whose bad spells last `spell` requests on average.
fn clumped(seed: u64, spell: f64) -> impl FnMut(f64) -> Box<dyn FnMut() -> bool> {
    let mut seeds = ChaCha8Rng::seed_from_u64(seed);
    move |rate| {
        let p = bad_share(rate).min(0.97);
        let (leave, enter) = (1.0 / spell, p / (1.0 - p) / spell);
        let mut rng = ChaCha8Rng::seed_from_u64(seeds.random());
        let mut bad = rng.random::<f64>() < p;
        Box::new(move || {
            bad = if bad { rng.random::<f64>() >= leave } else { rng.random::<f64>() < enter };
            bad
        })
    }
}

fn fixed_bisection(requests: u64, seed: u64) -> f64 {
    let mut source = independent(seed, bad_share);
    let mut holds = |rate: f64| {
        let mut outcome = source(rate);
        (0..requests).filter(|_| outcome()).count() as f64 <= 0.01 * requests as f64
    };
    let (mut low, mut high) = (0.0, 20.0);
    while holds(high) {
        low = high;
        high *= 1.5;
    }
    for _ in 0..6 {
        let middle = 0.5 * (low + high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

struct Tally {
    answers: usize,
    violations: usize,
    median: f64,
    requests: f64,
}

fn tally(results: Vec<(SearchStep, u64)>) -> Tally {
    let n = results.len();
    let requests = results.iter().map(|r| r.1 as f64).sum::<f64>() / n as f64;
    let mut low: Vec<f64> = results
        .iter()
        .filter_map(|(step, _)| match step {
            SearchStep::Certified(c) => Some(c.low),
            _ => None,
        })
        .collect();
    low.sort_by(f64::total_cmp);
    let t = Tally {
        answers: low.len(),
        violations: low.iter().filter(|l| CAPACITY < **l).count(),
        median: low.get(low.len() / 2).copied().unwrap_or(f64::NAN),
        requests,
    };
    println!(
        "{} of {n} answered, {} beyond capacity, median {:.2}, {:.0} requests a search",
        t.answers, t.violations, t.median, t.requests
    );
    t
}

#[test]
fn a_rate_beyond_capacity_is_reported_in_one_search_of_a_hundred_where_fixed_n_does_so_in_half() {
    const SEARCHES: u64 = 400;
    let fixed = each_seed(1..=SEARCHES, |seed| fixed_bisection(200, seed));
    let wrong = fixed.iter().filter(|rate| CAPACITY < **rate).count();
    println!("fixed 200 a step: {wrong} of {SEARCHES} beyond capacity");
    assert!((160..=260).contains(&wrong), "{wrong} of {SEARCHES}");
    for (requests_max, searches, at_least) in [(3000, SEARCHES, 96.0), (10_000, SEARCHES / 2, 98.0)] {
        let t = tally(each_seed(1..=searches, |seed| {
            let mut search = CapacitySearch::new(options(requests_max, seed)).unwrap();
            drive(&mut search, independent(seed, bad_share))
        }));
        // 1 % and two binomial standard errors
        assert!(t.violations as u64 <= searches / 50, "{} of {searches}", t.violations);
        assert!(
            searches * 95 / 100 <= t.answers as u64 && at_least < t.median && t.median < CAPACITY,
            "median {}",
            t.median
        );
    }
}

/// The claim itself: what is certified holds target − margin, on any curve, with the stated confidence.
#[test]
fn on_a_flat_curve_the_answer_still_holds_target_less_margin() {
    // .99 at 100, .986 at 140: nothing marks the capacity
    let flat = |rate: f64| 0.01 * ((rate - CAPACITY) / 118.9).exp();
    let limit = CAPACITY + 118.9 * 1.4_f64.ln();
    let results = each_seed(1..=200, |seed| {
        let mut search = CapacitySearch::new(options(6000, seed)).unwrap();
        drive(&mut search, independent(seed, flat)).0
    });
    let wrong = results.iter().filter(|s| matches!(s, SearchStep::Certified(c) if limit < c.low)).count();
    println!("flat curve: {wrong} of 200 below target − margin");
    assert!(wrong <= 10, "{wrong} of 200 against 5 % allowed");
}

/// A queue's bad requests come in spells: evidence is discounted, so the claim survives.
#[test]
fn clumped_failures_do_not_certify_too_much() {
    let t = tally(each_seed(1..=100, |seed| {
        let mut search = CapacitySearch::new(options(10_000, seed)).unwrap();
        drive(&mut search, clumped(seed, 8.0))
    }));
    assert!(t.violations <= 5, "{} of 100", t.violations);
    assert!(75 <= t.answers, "{}", t.answers);
}

#[test]
fn a_sharp_server_is_bracketed_within_the_resolution() {
    let mut search = CapacitySearch::new(options(3000, 7)).unwrap();
    let (step, _) = drive(&mut search, |rate| move || 100.0 < rate);
    let SearchStep::Certified(Certified { low, high: Some(high), confidence }) = step else {
        panic!("{step:?}");
    };
    assert!(low <= 100.0 && 100.0 < high && high / low <= 1.01 + 1e-9, "{low} {high}");
    assert_eq!(confidence, 0.95);
    let last = search.steps().last().unwrap();
    assert_eq!((last.probe.purpose, last.requests), (ProbePurpose::Confirm, 3000), "full length");
    assert!(search.steps().iter().any(|s| s.probe.purpose == ProbePurpose::Narrow));
    // after a step that did not pass, the server is given time
    for pair in search.steps().windows(2) {
        assert_eq!(pair[1].probe.recover_first, pair[0].verdict != StepVerdict::Pass);
    }
}

#[test]
fn ends_of_the_range_and_of_the_run_have_their_own_answers() {
    let answer = |bad: fn(f64) -> bool| {
        let mut search = CapacitySearch::new(options(3000, 1)).unwrap();
        drive(&mut search, |rate| move || bad(rate)).0
    };
    assert!(
        matches!(answer(|_| false), SearchStep::Certified(Certified { low, high: None, .. }) if low == 500.0)
    );
    let SearchStep::NotCertified(none) = answer(|_| true) else { panic!("nothing holds") };
    assert_eq!(none.reason, SearchFailure::LowestRateFailed { rate: 5.0 });
    assert_eq!(none.high, Some(5.0));
    // below the start: downwards first
    assert!(matches!(answer(|r| 8.0 < r), SearchStep::Certified(c) if 5.0 <= c.low && c.low <= 8.0));

    let mut search = CapacitySearch::new(options(3000, 1)).unwrap();
    assert!(matches!(search.next(), SearchStep::Probe(p) if p.step == 1));
    assert!(matches!(search.next(), SearchStep::Probe(p) if p.step == 1), "the same step while under way");
    let _ = search.observe(true);
    search.end_step(StepEnd::Interrupted);
    let SearchStep::NotCertified(none) = search.next() else { panic!("interrupted") };
    assert_eq!(none.reason, SearchFailure::Interrupted);
    assert_eq!(search.observe(true), Look::EndStep);
    assert_eq!(search.steps().len(), 1);
}

#[test]
fn a_step_out_of_time_is_undecided_and_a_rate_not_reached_says_nothing() {
    let mut search = CapacitySearch::new(options(3000, 1)).unwrap();
    let _ = search.next();
    for _ in 0..100 {
        assert_eq!(search.observe(true), Look::Continue);
    }
    search.end_step(StepEnd::TimeLimit);
    assert_eq!(search.steps()[0].verdict, StepVerdict::Undecided);
    // 20/s undecided: the next is lower
    assert!(matches!(search.next(), SearchStep::Probe(p) if p.rate < 20.0 && p.recover_first));
    search.end_step(StepEnd::RateNotReached);
    assert_eq!(search.steps()[1].verdict, StepVerdict::Undecided);
    assert_eq!(search.steps()[1].low, None);

    // growth stops where the client cannot follow, and the answer has no upper end
    let mut search = CapacitySearch::new(options(3000, 1)).unwrap();
    let step = loop {
        match search.next() {
            SearchStep::Probe(p) if 50.0 < p.rate => search.end_step(StepEnd::RateNotReached),
            SearchStep::Probe(_) => while search.observe(true) == Look::Continue {},
            done => break done,
        }
    };
    assert!(
        matches!(step, SearchStep::Certified(Certified { low, high: None, .. }) if 49.0 < low && low <= 50.0)
    );
}

#[test]
fn what_passed_once_and_fails_again_is_not_the_answer() {
    let mut search = CapacitySearch::new(options(3000, 3)).unwrap();
    let mut confirming = 0;
    let step = loop {
        match search.next() {
            SearchStep::Probe(p) => {
                // the server degrades after the first confirmation began: 60 is all it can do
                confirming += u32::from(p.purpose == ProbePurpose::Confirm);
                let capacity = if 0 < confirming { 60.0 } else { 100.0 };
                while search.observe(p.rate <= capacity) == Look::Continue {}
            }
            done => break done,
        }
    };
    assert!(matches!(step, SearchStep::Certified(c) if c.low <= 60.0), "{step:?}");
    assert!(2 <= confirming);
}

#[test]
fn settings_that_could_never_decide_are_refused_with_the_number_needed() {
    let refused = |o: CapacityOptions| CapacitySearch::new(o).unwrap_err().to_string();
    let few = refused(options(200, 0));
    assert!(few.contains("needs at least") && few.contains("got 200"), "{few}");
    let base = options(3000, 0);
    for (wrong, word) in [
        (CapacityOptions { margin: 0.0, ..base }, "margin"),
        (CapacityOptions { rate_start: 1.0, ..base }, "first rate"),
        (CapacityOptions { resolution: 0.0, ..base }, "resolution"),
        (CapacityOptions { target: 1.0, ..base }, "target"),
    ] {
        assert!(refused(wrong).contains(word));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the server does: the search ends, steps stay in range, and an answer was confirmed at full length.
    #[test]
    fn every_search_ends_in_order(seed in any::<u64>(), slope in 0.01..3.0_f64, at in 1.0..800.0_f64) {
        let options = options(2000, seed);
        let mut search = CapacitySearch::new(options).unwrap();
        let share = move |rate: f64| (0.01 * (slope * (rate - at)).exp()).min(1.0);
        let (step, _) = drive(&mut search, independent(seed, share));
        prop_assert_eq!(&search.next(), &step);
        let steps = search.steps();
        for s in steps {
            prop_assert!(options.rate_min <= s.probe.rate && s.probe.rate <= options.rate_max);
            prop_assert!(s.requests <= options.requests_max && 1.0 <= s.dependence);
        }
        if let SearchStep::Certified(c) = step {
            let last = steps.last().unwrap();
            prop_assert_eq!(last.probe.purpose, ProbePurpose::Confirm);
            prop_assert_eq!((last.probe.rate, last.requests), (c.low, options.requests_max));
            prop_assert!(c.high.is_none_or(|h| c.low < h));
        }
    }
}
