//! What a target's measured requests cost together.

use llms_core::bench::{CostSummary, Measured, TargetInfo, TokenSummary};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::bill::{TokenClasses, bill};
use super::prices::{PriceTable, Prices};
use crate::estimate::{Series, Setting};
use crate::population::Population;
use crate::request::Request;

/// Costs of one target.
#[derive(Debug)]
pub struct TargetCost {
    /// dollars of each successful request, in the order of the schedule; empty when cost is absent
    pub per_success: Vec<f64>,
    /// the summary, or why there is none
    pub summary: Measured<CostSummary>,
    /// the day of the price used
    pub price_date: Option<time::Date>,
}

/// Token sums over reported usage; a sum is absent when no request reported its part.
pub fn tokens(population: &Population<'_>) -> TokenSummary {
    let mut t = TokenSummary::default();
    let add = |sum: &mut Option<u64>, part: Option<u64>| {
        if let Some(part) = part {
            *sum = Some(sum.unwrap_or(0) + part);
        }
    };
    for request in &population.requests {
        match request.record.tokens.usage {
            Some(u) => {
                t.reported += 1;
                add(&mut t.input_tokens, u.input_tokens);
                add(&mut t.output_tokens, u.output_tokens);
                add(&mut t.cache_read_tokens, u.cache_read_tokens);
                add(&mut t.cache_write_tokens, u.cache_write_tokens);
                add(&mut t.reasoning_tokens, u.reasoning_tokens);
            }
            None if request.record.is_ok() => t.unreported += 1,
            None => {}
        }
    }
    t
}

/// Dollars of one request; `None` when its usage or a price is unknown.
pub fn of_request(request: &Request<'_>, price: &super::Price) -> Option<Decimal> {
    bill(&TokenClasses::of(&request.record.tokens.usage?)?, price).map(|b| b.usd)
}

/// Prices a target's requests. Every success must be priced, or the cost is absent; a failure costs what its usage says, and
/// nothing when it reported none (a refused request is not billed; a broken stream's bill is not known to anybody here).
pub fn cost(
    population: &Population<'_>,
    info: &TargetInfo,
    prices: &Prices,
    setting: &Setting,
) -> TargetCost {
    let absent = |why: String| TargetCost {
        per_success: Vec::new(),
        summary: Measured::absent(why),
        price_date: None,
    };
    let (table, price): (&PriceTable, _) = match prices.find(&info.model, info.simulated) {
        Ok(found) => found,
        Err(why) => return absent(why),
    };
    let mut total = Decimal::ZERO;
    let mut per_success = Vec::new();
    let (mut ok, mut output, mut unpriced) = (0_u64, 0_u64, 0_u64);
    for request in &population.requests {
        let is_ok = request.record.is_ok();
        ok += u64::from(is_ok);
        match of_request(request, price) {
            Some(usd) => {
                total += usd;
                output += request.record.tokens.usage.and_then(|u| u.output_tokens).unwrap_or(0);
                if is_ok {
                    per_success.push(usd.to_f64().unwrap_or(f64::NAN));
                }
            }
            None => unpriced += u64::from(is_ok),
        }
    }
    if ok == 0 {
        return absent("no request succeeded".to_owned());
    }
    if 0 < unpriced {
        return absent(format!(
            "{unpriced} of {ok} answers lack usage or the price of a token class they used"
        ));
    }
    let per_request = Series::new(&per_success).mean(setting);
    TargetCost {
        summary: Measured::Value(CostSummary {
            total_usd: total.normalize(),
            per_success_usd: Some((total / Decimal::from(ok)).normalize()),
            per_million_output_usd: (0 < output)
                .then(|| (total * Decimal::from(1_000_000) / Decimal::from(output)).normalize()),
            per_request,
            price_source: format!("{}, {}:{}", table.source, price.provider, price.model),
            price_date: table.date.to_string(),
        }),
        per_success,
        price_date: Some(table.date),
    }
}
