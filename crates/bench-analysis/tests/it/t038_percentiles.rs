//! T038: percentile accuracy as properties, 10,000 random samples each.
//!
//! Monotone in p, bounded by the sample, blind to order, equivariant under `a·x + b`, one observed value for type 1, all
//! nine types on samples of one, two and three values and on ties, failures at `+∞` never averaged, NaN refused. Sketches:
//! within their bound at every rank, merging equals pooling in any order and grouping, files give back what was written.

use bench_analysis::stats::ddsketch::DdSketch;
use bench_analysis::stats::interval::StatsError;
use bench_analysis::stats::order_interval::{quantile_estimate, quantile_ranks, smallest_n_two_sided};
use bench_analysis::stats::quantile::{QuantileType, Sample, weighted_quantile};
use llms_core::bench::{Grid, Hdr};
use proptest::prelude::*;
use proptest::sample::select;

fn value() -> impl Strategy<Value = f64> {
    // latencies in ms over seven decades, with many ties
    prop_oneof![3 => 1e-3..1e4_f64, 1 => (0..20_u32).prop_map(|v| f64::from(v) * 5.0)]
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(value(), 1..60)
}

fn kind() -> impl Strategy<Value = QuantileType> {
    select(QuantileType::ALL.to_vec())
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    a == b || (a - b).abs() <= 1e-12 * scale.abs().max(a.abs()).max(b.abs())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn monotone_in_p(x in values(), kind in kind(), p in 0.0..=1.0_f64, q in 0.0..=1.0_f64) {
        let sample = Sample::new(x).unwrap();
        let (low, high) = (p.min(q), p.max(q));
        prop_assert!(sample.quantile(low, kind).unwrap() <= sample.quantile(high, kind).unwrap());
    }

    #[test]
    fn bounded_by_the_sample(x in values(), kind in kind(), p in 0.0..=1.0_f64) {
        let sample = Sample::new(x).unwrap();
        let q = sample.quantile(p, kind).unwrap();
        prop_assert!(sample.values()[0] <= q && q <= sample.values()[sample.len() - 1]);
    }

    #[test]
    fn blind_to_order(x in values().prop_flat_map(|x| (Just(x.clone()), Just(x).prop_shuffle())), kind in kind(), p in 0.0..=1.0_f64) {
        let (a, b) = (Sample::new(x.0).unwrap(), Sample::new(x.1).unwrap());
        prop_assert_eq!(a.quantile(p, kind).unwrap().to_bits(), b.quantile(p, kind).unwrap().to_bits());
    }

    #[test]
    fn follows_scale_and_shift(x in values(), kind in kind(), p in 0.0..=1.0_f64, a in 1e-3..1e3_f64, b in -1e3..1e3_f64) {
        let q = Sample::new(x.as_slice()).unwrap().quantile(p, kind).unwrap();
        let moved: Vec<f64> = x.iter().map(|v| a * v + b).collect();
        let scale = moved.iter().fold(b.abs(), |m, v| m.max(v.abs()));
        prop_assert!(close(Sample::new(moved).unwrap().quantile(p, kind).unwrap(), a * q + b, scale));
    }

    #[test]
    fn type_1_is_the_definition(x in values(), p in 1e-6..=1.0_f64) {
        // smallest x with at least a share p of the sample at or below it; positions within rounding count as reached
        let sample = Sample::new(x).unwrap();
        let n = sample.len() as f64;
        let goal = n * p * (1.0 - 8.0 * f64::EPSILON);
        let expected = sample.values().iter().enumerate().find(|(i, _)| goal <= (*i + 1) as f64).unwrap().1;
        prop_assert_eq!(sample.quantile(p, QuantileType::Type1).unwrap(), *expected);
    }

    #[test]
    fn the_nine_types_stay_within_one_rank(x in values(), kind in kind(), p in 0.0..=1.0_f64) {
        // every definition lies between the order statistics around n·p
        let sample = Sample::new(x).unwrap();
        let rank = sample.len() as f64 * p;
        let (low, high) = (sample.order_statistic((rank - 1.0).max(1.0) as usize), sample.order_statistic((rank + 2.0) as usize));
        let q = sample.quantile(p, kind).unwrap();
        prop_assert!(low <= q && q <= high, "type {}: {q} outside {low}..{high}", kind.number());
    }

    #[test]
    fn one_two_three_values(x in proptest::collection::vec(value(), 1..4), kind in kind()) {
        let sample = Sample::new(x).unwrap();
        let v = sample.values();
        prop_assert_eq!(sample.quantile(0.0, kind).unwrap(), v[0]);
        prop_assert_eq!(sample.quantile(1.0, kind).unwrap(), v[v.len() - 1]);
        let middle = Sample::new(v.to_vec()).unwrap().median();
        let expected = if v.len() == 2 { f64::midpoint(v[0], v[1]) } else { v[v.len() / 2] };
        prop_assert!(close(middle, expected, 1.0));
    }

    #[test]
    fn ties_are_plain_values(v in value(), n in 1..40_usize, kind in kind(), p in 0.0..=1.0_f64) {
        prop_assert_eq!(Sample::new(vec![v; n]).unwrap().quantile(p, kind).unwrap(), v);
    }

    #[test]
    fn failures_rank_last_and_are_never_averaged(x in values(), failed in 1..20_usize, kind in kind(), p in 0.0..=1.0_f64) {
        let sample = Sample::with_failures(x.clone(), failed).unwrap();
        let q = sample.quantile(p, kind).unwrap();
        prop_assert!(!q.is_nan());
        if q.is_finite() {
            let most = x.iter().copied().fold(f64::MIN, f64::max);
            prop_assert!(q <= most);
        } else {
            // nothing but a real failure at that rank may be infinite
            let rank = (sample.len() as f64 * p + 1.5) as usize;
            prop_assert!(sample.order_statistic(rank).is_infinite());
        }
        // the failures cannot make any quantile better
        prop_assert!(Sample::new(x).unwrap().quantile(p, QuantileType::Type1).unwrap() <= sample.quantile(p, QuantileType::Type1).unwrap());
    }

    #[test]
    fn nan_is_refused_wherever_it_stands(x in values(), at in any::<proptest::sample::Index>()) {
        let mut x = x;
        let position = at.index(x.len());
        x[position] = f64::NAN;
        prop_assert_eq!(Sample::new(x), Err(StatsError::NotANumber { position }));
    }

    #[test]
    fn equal_weights_are_no_weights(x in values(), w in 0.1..100.0_f64, p in 0.001..0.999_f64) {
        let weighted = weighted_quantile(&x, &vec![w; x.len()], p).unwrap();
        // a level within rounding of a jump may fall to either side
        let sample = Sample::new(x).unwrap();
        let near = [p - 1e-9, p, p + 1e-9].map(|p| sample.quantile(p, QuantileType::Type1).unwrap());
        prop_assert!(near.contains(&weighted));
    }

    #[test]
    fn the_interval_holds_the_estimate(x in proptest::collection::vec(value(), 60..200), p in 0.2..0.8_f64) {
        let e = quantile_estimate(&Sample::new(x).unwrap(), p, 0.95).unwrap();
        prop_assert!(e.interval.low <= e.value && e.value <= e.interval.high);
        prop_assert!(0.95 <= e.ranks.coverage && e.ranks.coverage <= 1.0);
    }

    #[test]
    fn a_quantile_without_both_ranks_is_refused(n in 1..5_000_usize, p in 0.5..0.9999_f64) {
        let ranks = quantile_ranks(n, p, 0.95).unwrap();
        let carried = ranks.lower.is_some() && ranks.upper.is_some();
        prop_assert_eq!(carried, smallest_n_two_sided(p, 0.95).unwrap() <= n as u64);
    }
}

/// Nanoseconds from a microsecond to the hour that the issue names as the range of sketches.
fn nanos() -> impl Strategy<Value = Vec<u64>> {
    let one = prop_oneof![3 => (3.0..12.55_f64).prop_map(|log| 10_f64.powf(log) as u64), 1 => (0..50_u64).prop_map(|v| v * 1_000_000)];
    proptest::collection::vec(one, 1..80)
}

fn hdr(values: &[u64]) -> Hdr {
    let mut hdr = Hdr::new(Grid::THREE);
    for v in values {
        hdr.add(*v);
    }
    hdr
}

fn merged(mut a: Hdr, b: &Hdr) -> Hdr {
    a.merge(b).unwrap();
    a
}

fn dd(values: &[u64]) -> DdSketch {
    let mut sketch = DdSketch::new(0.01).unwrap();
    for v in values {
        sketch.add((*v).max(1) as f64).unwrap();
    }
    sketch
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn the_sketch_is_within_its_bound_at_every_rank(x in nanos()) {
        let sketch = hdr(&x);
        let sample = Sample::new(x.iter().map(|v| *v as f64).collect::<Vec<_>>()).unwrap();
        let n = x.len();
        // every jump of the quantile function, and between them
        for half in 0..=2 * n {
            let p = half as f64 / (2 * n) as f64;
            let rank = ((p * n as f64).ceil() as usize).clamp(1, n);
            let exact = sample.order_statistic(rank);
            let found = sketch.quantile(p).unwrap() as f64;
            prop_assert!(exact <= found && found - exact <= 1e-3 * exact, "p {}: {} for {}", p, found, exact);
        }
    }

    #[test]
    fn merging_is_pooling_in_any_order_and_grouping(a in nanos(), b in nanos(), c in nanos()) {
        let (ha, hb, hc) = (hdr(&a), hdr(&b), hdr(&c));
        let pooled: Vec<u64> = a.iter().chain(&b).chain(&c).copied().collect();
        let left = merged(merged(ha.clone(), &hb), &hc);
        let right = merged(ha.clone(), &merged(hb.clone(), &hc));
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(&left, &merged(merged(hc, &ha), &hb));
        prop_assert_eq!(&left, &hdr(&pooled));
        prop_assert_eq!(left.len(), pooled.len() as u64);
    }

    #[test]
    fn a_sketch_survives_its_file(x in nanos()) {
        let sketch = hdr(&x);
        let text = serde_json::to_string(&sketch).unwrap();
        prop_assert_eq!(serde_json::from_str::<Hdr>(&text).unwrap(), sketch);
    }

    #[test]
    fn two_sketches_that_share_nothing_agree(x in nanos(), p in 0.0..=1.0_f64) {
        let (first, second) = (hdr(&x).quantile(p).unwrap() as f64, dd(&x).quantile(p).unwrap());
        // each within its own bound of the same order statistic; values below a nanosecond count as one
        prop_assert!((first.max(1.0) - second).abs() <= 0.0115 * first.max(1.0), "{} {}", first, second);
    }

    #[test]
    fn the_second_sketch_merges_too(a in nanos(), b in nanos()) {
        let (mut ab, mut ba) = (dd(&a), dd(&b));
        prop_assert!(ab.merge(&dd(&b)) && ba.merge(&dd(&a)));
        prop_assert_eq!(&ab, &ba);
        let pooled: Vec<u64> = a.iter().chain(&b).copied().collect();
        prop_assert_eq!(ab, dd(&pooled));
    }
}

/// Type 7 against numpy's figures, type 6 against Excel's PERCENTILE.EXC, on the sample of the contract's accuracy test.
#[test]
fn ten_latencies_of_the_contract() {
    let sample = Sample::new((1..=10).map(|i| f64::from(i) * 10.0).collect::<Vec<_>>()).unwrap();
    let at = |p, kind| sample.quantile(p, kind).unwrap();
    assert!((at(0.5, QuantileType::Type7) - 55.0).abs() < 1e-12);
    assert!((at(0.95, QuantileType::Type7) - 95.5).abs() < 1e-12);
    assert!((at(0.95, QuantileType::Type6) - 100.0).abs() < 1e-12);
    assert!((at(0.25, QuantileType::Type6) - 27.5).abs() < 1e-12);
}
