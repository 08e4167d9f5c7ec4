//! Golden cases on comparisons, families of tests and runs.

use bench_analysis::stats::equivalence;
use bench_analysis::stats::multiple::{benjamini_hochberg, holm};
use bench_analysis::stats::paired::{log_ratios, paired_ratio, sign_test};
use bench_analysis::stats::permutation::exact;
use bench_analysis::stats::proportion::mcnemar_exact;
use bench_analysis::stats::quantile::{QuantileType, Sample};
use bench_analysis::stats::ratio;
use bench_analysis::stats::runs::run_variance;
use bench_analysis::stats::signed_rank::signed_rank;
use bench_analysis::stats::two_sample as two;
use serde_json::{Value, json};

use super::{Case, finite, floats};

pub(crate) fn two_sample(case: &Case<'_>) -> Value {
    let (x, y) = (case.list("x"), case.list("y"));
    let mwu = two::mann_whitney(&x, &y).unwrap();
    let bm = two::brunner_munzel(&x, &y).unwrap();
    let cliff = two::cliff_delta(&x, &y, 0.95).unwrap();
    let hl = two::hodges_lehmann(&x, &y, 0.95).unwrap();
    let welch = ratio::welch(&x, &y, 0.95).unwrap();
    let ks = two::kolmogorov_smirnov(&x, &y).unwrap();
    json!({
        "U": mwu.u, "mwu_p_asymptotic_cc": mwu.p_normal, "mwu_p_exact": mwu.p_exact,
        "bm_p_hat_x_lt_y": bm.p_less, "bm_W": bm.w, "bm_df": bm.df, "bm_p": bm.p,
        "cliffs_delta": cliff.delta, "cliffs_var": cliff.variance,
        "cliffs_lo": cliff.interval.low, "cliffs_hi": cliff.interval.high,
        "hl_shift_x_minus_y": hl.shift, "hl_ci": [hl.interval.low, hl.interval.high],
        "hl_ci_rank": hl.rank, "hl_ci_achieved": hl.achieved,
        "welch_t": welch.t, "welch_df": welch.df, "welch_p": welch.p,
        "welch_ci": [welch.interval.low, welch.interval.high],
        "ks_D": ks.d, "ks_p_exact": ks.p,
    })
}

/// The statistic stands in the case's name: the median, or a type-7 quantile `pNN`.
pub(crate) fn permutation(case: &Case<'_>) -> Value {
    let word =
        case.name.split('-').find(|w| *w == "median" || w.starts_with('p') && w[1..].parse::<f64>().is_ok());
    let level = match word.expect("the name says which statistic") {
        "median" => 0.5,
        other => other[1..].parse::<f64>().unwrap() / 100.0,
    };
    let statistic = |s: &[f64]| Sample::new(s).unwrap().quantile(level, QuantileType::Type7).unwrap();
    let result = exact(&case.list("x"), &case.list("y"), statistic).unwrap();
    json!({ "observed": result.observed, "count": result.count, "total": result.total, "p": result.p })
}

pub(crate) fn paired(case: &Case<'_>) -> Value {
    let (x, y) = (case.list("x"), case.list("y"));
    let differences: Vec<f64> = x.iter().zip(&y).map(|(a, b)| a - b).collect();
    let rank = signed_rank(&differences, 0.95).unwrap();
    let (logs, _) = log_ratios(x.into_iter().zip(y)).unwrap();
    let ratio = paired_ratio(&logs, 0.95).unwrap();
    json!({
        "V": rank.v, "p_exact": rank.p, "pseudo_median": rank.pseudo_median,
        "pm_ci": [finite(rank.interval.low), finite(rank.interval.high)],
        "ratio": ratio.ratio, "ratio_ci": [ratio.interval.low, ratio.interval.high],
        "log_t": ratio.t, "log_p": ratio.p, "sign_p": sign_test(&differences),
    })
}

pub(crate) fn mcnemar(case: &Case<'_>) -> Value {
    json!({ "p": mcnemar_exact(case.number("b") as u64, case.number("c") as u64) })
}

pub(crate) fn fieller(case: &Case<'_>) -> Value {
    let (ratio, interval) = ratio::fieller(&case.list("x"), &case.list("y"), 0.95).unwrap();
    json!({ "ratio": ratio, "lo": interval.low, "hi": interval.high })
}

pub(crate) fn mover(case: &Case<'_>) -> Value {
    let (x, y) = (Sample::new(case.list("x")).unwrap(), Sample::new(case.list("y")).unwrap());
    let r = ratio::quantile_ratio(&x, &y, case.number("p"), 0.95).unwrap();
    json!({
        "ratio": r.ratio, "lo": r.interval.low, "hi": r.interval.high,
        "ranks_x": [r.ranks_x.lower, r.ranks_x.upper], "ranks_y": [r.ranks_y.lower, r.ranks_y.upper],
    })
}

pub(crate) fn adjust(case: &Case<'_>) -> Value {
    let p = case.list("p");
    json!({ "holm": holm(&p), "bh": benjamini_hochberg(&p) })
}

pub(crate) fn tost_ratio(case: &Case<'_>) -> Value {
    let margin = case.number("margin_ratio");
    let e = equivalence::tost_independent(&case.list("x"), &case.list("y"), margin, 0.05).unwrap();
    json!({
        "p_lower": e.p_lower, "p_upper": e.p_upper, "p_tost": e.p_tost, "ratio": e.ratio,
        "ratio_ci90": [e.interval.low, e.interval.high], "noninferior_p": e.p_upper,
    })
}

pub(crate) fn tost_paired(case: &Case<'_>) -> Value {
    let (logs, _) = log_ratios(case.list("x").into_iter().zip(case.list("y"))).unwrap();
    let e = equivalence::tost_paired(&logs, case.number("margin_ratio"), 0.05).unwrap();
    json!({ "p_tost": e.p_tost, "p_lower": e.p_lower, "p_upper": e.p_upper })
}

pub(crate) fn hierarchy(case: &Case<'_>) -> Value {
    let runs: Vec<Vec<f64>> = case.input["runs"].as_array().unwrap().iter().map(floats).collect();
    let v = run_variance(&runs, 10.0, 0.95).unwrap();
    json!({
        "mean": v.mean.mean, "S1_sq": v.within, "S2_sq": v.of_means, "T2_sq": v.between,
        "ci": [v.mean.interval.low, v.mean.interval.high], "icc": v.intraclass, "optimal_m": v.best_requests,
        "anova_F": v.anova_f, "anova_p": v.anova_p,
    })
}

pub(crate) fn pareto(case: &Case<'_>) -> Value {
    let rows = case.input["points"].as_array().unwrap();
    let points: Vec<Vec<f64>> =
        rows.iter().map(|r| floats(&Value::from(&r.as_array().unwrap()[1..]))).collect();
    bench_analysis::stats::pareto::front(&points).into_iter().map(|i| rows[i][0].clone()).collect()
}
