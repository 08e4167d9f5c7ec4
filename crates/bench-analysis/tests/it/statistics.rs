//! The coverage simulations, a twentieth of each: rows have names of their own, and every claim holds.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic here is the report

use std::collections::BTreeSet;

use bench_analysis::simulate::{Options, Row, experiments, run};

#[test]
fn every_claim_holds_on_a_twentieth_of_the_data_sets() {
    let experiments = experiments();
    let seeds: BTreeSet<u64> = experiments.iter().map(|e| e.seed).collect();
    assert_eq!(seeds.len(), experiments.len(), "an experiment has a seed of its own");
    let rows = run(&experiments, &Options::quick(), &|_| {});
    let names: BTreeSet<(&str, &str)> = rows.iter().map(|r| (&*r.topic, &*r.name)).collect();
    assert_eq!(names.len(), rows.len(), "a row has a name of its own");
    let failed: Vec<&Row> = rows.iter().filter(|r| !r.pass).collect();
    println!("{} rows", rows.len());
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What `validate --statistics` must keep: full experiments have the size that their bands are stated for.
#[test]
fn coverage_rests_on_two_thousand_data_sets_or_more() {
    for e in experiments().iter().filter(|e| ["intervals", "dependent quantiles"].contains(&e.topic)) {
        assert!(2000 <= e.replications, "{e:?}");
    }
}
