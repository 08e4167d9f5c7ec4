//! `cost/waste`, `cost/cache-break-even`.

use bench_analysis::cost::{
    Price, Spending, Spent, TokenClasses, bill, break_even_reads, least_reads, saving_share,
};
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Map, Value, json};

use super::Case;

pub(crate) fn waste(case: &Case<'_>) -> Value {
    let price = Price::plain("x", "y", 2.into(), 8.into());
    let mut sum = Spending::default();
    let (mut ok_count, mut cut) = (0_u32, 0_u32);
    for r in case.input["requests"].as_array().unwrap() {
        let n = |i: usize| r[i].as_u64().unwrap();
        let classes = |input, output| TokenClasses {
            input_uncached: input,
            cache_read: 0,
            cache_write: 0,
            output,
            reasoning: None,
        };
        let usd = |c: TokenClasses| bill(&c, &price).unwrap().usd;
        let (ok, truncated) = (r[2].as_bool().unwrap(), r[3] == "length");
        ok_count += u32::from(ok);
        cut += u32::from(ok && truncated);
        sum.add(&Spent {
            usd: usd(classes(n(0), n(1))),
            again: usd(classes(n(0) * n(4), 0)),
            ok,
            truncated,
            replaced: false,
        });
    }
    json!({
        "total_usd": sum.total.to_f64(),
        "cost_per_success": sum.per_success().unwrap().to_f64(),
        "cost_per_complete": sum.per_useful().unwrap().to_f64(),
        "truncated_share": f64::from(cut) / f64::from(ok_count),
        "waste_usd": sum.wasted().to_f64(),
    })
}

pub(crate) fn break_even(case: &Case<'_>) -> Value {
    let (w, r) = (case.number("w"), case.number("r"));
    let shares: Map<String, Value> =
        [1, 2, 5, 20].into_iter().map(|k| (k.to_string(), saving_share(w, r, k).into())).collect();
    json!({
        "k_break_even": break_even_reads(w, r),
        "k_min_int": least_reads(w, r),
        "saving_share_k": shares,
    })
}
