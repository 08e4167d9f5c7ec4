//! What one request cost: disjoint token classes times their prices.

use llms_core::Usage;
use rust_decimal::Decimal;

use super::prices::{Price, Rates};

/// Tokens of one request in classes that do not overlap, as they are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenClasses {
    /// input neither read from nor written to a cache
    pub input_uncached: u64,
    /// input read from the provider's cache
    pub cache_read: u64,
    /// input written to the provider's cache
    pub cache_write: u64,
    /// everything generated
    pub output: u64,
    /// part of the output that was reasoning, where reported
    pub reasoning: Option<u64>,
}

impl TokenClasses {
    /// Splits a usage report; `None` when it lacks input or output, or its classes exceed their totals.
    pub fn of(usage: &Usage) -> Option<Self> {
        Some(Self {
            input_uncached: usage.uncached_input_tokens()?,
            cache_read: usage.cache_read_tokens.unwrap_or(0),
            cache_write: usage.cache_write_tokens.unwrap_or(0),
            output: usage.output_tokens?,
            reasoning: usage.reasoning_tokens,
        })
    }

    /// All input tokens.
    pub fn input(&self) -> u64 {
        self.input_uncached + self.cache_read + self.cache_write
    }

    /// Output that was shown; `None` when reasoning was not reported.
    pub fn answer(&self) -> Option<u64> {
        self.output.checked_sub(self.reasoning?)
    }

    /// Share of the input that came from the cache; `None` without input.
    pub fn cache_hit_share(&self) -> Option<f64> {
        (0 < self.input()).then(|| self.cache_read as f64 / self.input() as f64)
    }
}

/// A request's cost, and what it would have been without a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bill {
    /// US dollars
    pub usd: Decimal,
    /// US dollars with all input at the full price
    pub usd_without_cache: Decimal,
}

/// Σ token class × price. `None` when a class that occurs has no price, or the prompt is longer than the price holds.
///
/// A prompt above a limit of the table is billed at the prices of that tier, all of it. Reasoning is output unless it has a
/// price of its own; then a usage report without it makes the bill unknown.
pub fn bill(tokens: &TokenClasses, price: &Price) -> Option<Bill> {
    let rates = price.rates(tokens.input())?;
    let usd = at_rates(tokens, &rates)?;
    let plain = TokenClasses { input_uncached: tokens.input(), cache_read: 0, cache_write: 0, ..*tokens };
    Some(Bill { usd, usd_without_cache: at_rates(&plain, &rates)? })
}

/// What a request would cost in a batch; `None` as for [`bill`], and without a batch price.
pub fn batch_bill(tokens: &TokenClasses, price: &Price) -> Option<Decimal> {
    at_rates(tokens, price.batch_rates(tokens.input())?)
}

/// Dollars of the input alone, at given rates.
pub(crate) fn input_bill(tokens: &TokenClasses, rates: &Rates) -> Option<Decimal> {
    at_rates(&TokenClasses { output: 0, reasoning: Some(0), ..*tokens }, rates)
}

/// US dollars at given rates.
fn at_rates(tokens: &TokenClasses, rates: &Rates) -> Option<Decimal> {
    let part = |count: u64, price: Option<Decimal>| {
        if count == 0 { Some(Decimal::ZERO) } else { price.map(|p| Decimal::from(count) * p) }
    };
    let output = match rates.reasoning {
        Some(reasoning) if reasoning != rates.output => {
            let thought = tokens.reasoning?;
            Decimal::from(tokens.output.checked_sub(thought)?) * rates.output
                + Decimal::from(thought) * reasoning
        }
        _ => Decimal::from(tokens.output) * rates.output,
    };
    let sum = part(tokens.input_uncached, Some(rates.input))?
        + part(tokens.cache_read, rates.cache_read)?
        + part(tokens.cache_write, rates.cache_write)?
        + output;
    Some((sum / Decimal::from(1_000_000)).normalize())
}
