//! What a target's measured requests cost together.

use llms_core::bench::{CostSummary, Measured, TargetInfo};
use rust_decimal::Decimal;

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

/// Dollars of one request; `None` when its usage or a price is unknown.
pub fn of_request(request: &Request<'_>, price: &super::Price) -> Option<Decimal> {
    bill(&TokenClasses::of(&request.record.tokens.usage?)?, price).map(|b| b.usd)
}

/// What a target's requests cost, priced as they were counted. Every success must be priced, or the cost is absent; a failure costs what its usage says, and
/// nothing when it reported none (a refused request is not billed; a broken stream's bill is not known to anybody here).
pub fn cost(population: &Population, info: &TargetInfo, prices: &Prices, setting: &Setting) -> TargetCost {
    let absent = |why: String| TargetCost {
        per_success: Vec::new(),
        summary: Measured::absent(why),
        price_date: None,
    };
    let (table, price): (&PriceTable, _) = match prices.find(&info.model, info.simulated) {
        Ok(found) => found,
        Err(why) => return absent(why),
    };
    let spent = population.tally.spent;
    let (total, output, unpriced) = (spent.total, spent.output, spent.unpriced);
    let (ok, ..) = population.counts();
    if ok == 0 {
        return absent("no request succeeded".to_owned());
    }
    if 0 < unpriced {
        return absent(format!(
            "{unpriced} of {ok} answers lack usage or the price of a token class they used"
        ));
    }
    let per_success: Vec<f64> = population.ok().filter_map(|r| r.cost).collect();
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
