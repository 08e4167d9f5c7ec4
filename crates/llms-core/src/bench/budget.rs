//! What a run may spend: limits in money and tokens, kept before each request is sent.

use std::{fmt, sync::Arc};

use rust_decimal::Decimal;

use crate::chat::Usage;

/// Knows what requests cost. Implemented by `bench-analysis` over a price table.
pub trait CostMeter: Send + Sync {
    /// The most that a request to `target` can cost with so many tokens in and out, US dollars; `None` without a price that
    /// holds for it.
    fn worst_case(&self, target: u32, input_tokens: u64, output_tokens: u64) -> Option<Decimal>;

    /// What it did cost, US dollars; `None` when `usage` does not tell, or without a price.
    fn settled(&self, target: u32, usage: &Usage) -> Option<Decimal>;
}

/// Limits of a run over all its targets, warm-up included. Nothing is sent that could pass one of them: the worst case of a
/// request is reserved before it leaves and settled by the usage it reports.
#[derive(Clone, Default)]
pub struct Budget {
    /// US dollars, and who knows what requests cost.
    pub usd: Option<(Decimal, Arc<dyn CostMeter>)>,
    /// Tokens, input and output together.
    pub tokens: Option<u64>,
}

impl Budget {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        self.usd.is_none() && self.tokens.is_none()
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("usd", &self.usd.as_ref().map(|(limit, _)| limit))
            .field("tokens", &self.tokens)
            .finish()
    }
}
