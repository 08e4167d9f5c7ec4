//! What requests cost while a run goes on: the [`CostMeter`] of a budget.

use llms_core::Usage;
use llms_core::bench::{CostMeter, Target};
use rust_decimal::Decimal;

use super::{Price, Prices, TokenClasses, bill};

/// The prices of a run's targets, in their order.
#[derive(Debug, Clone)]
pub struct PriceMeter {
    prices: Vec<Option<Price>>,
}

impl PriceMeter {
    /// Looks up the price of every target that can be asked.
    ///
    /// # Errors
    /// The sentence why a target has none: a budget in dollars cannot be kept then.
    pub fn new(targets: &[Target], prices: &Prices) -> Result<Self, String> {
        let price = |t: &Target| match t.model {
            None => Ok(None),
            Some(_) => prices.find(&t.info.model, t.info.simulated).map(|(_, price)| Some(price.clone())),
        };
        targets.iter().map(price).collect::<Result<_, _>>().map(|prices| Self { prices })
    }

    fn of(&self, target: u32) -> Option<&Price> {
        self.prices.get(target as usize)?.as_ref()
    }
}

impl CostMeter for PriceMeter {
    /// All input at the dearest class: written to a cache, where that has a price.
    fn worst_case(&self, target: u32, input_tokens: u64, output_tokens: u64) -> Option<Decimal> {
        let price = self.of(target)?;
        let rates = price.rates(input_tokens)?;
        let input = rates.cache_write.map_or(rates.input, |write| write.max(rates.input));
        let output = rates.reasoning.map_or(rates.output, |r| r.max(rates.output));
        let usd = Decimal::from(input_tokens) * input + Decimal::from(output_tokens) * output;
        Some(usd / Decimal::from(1_000_000))
    }

    fn settled(&self, target: u32, usage: &Usage) -> Option<Decimal> {
        bill(&TokenClasses::of(usage)?, self.of(target)?).map(|b| b.usd)
    }
}
