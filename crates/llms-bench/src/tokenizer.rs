//! The vocabulary that a scenario names, loaded only then.

use std::sync::Arc;

use bench_runner::RunnerBuilder;
use llms_core::bench::{Scenario, TokenCounter};

use crate::exit::Failure;

/// A tokenizer, when one is asked for.
pub(crate) type Counter = Option<Arc<dyn TokenCounter>>;

/// Loads what the scenario names.
///
/// # Errors
/// When it is no tokenizer that can be read.
pub(crate) fn load(scenario: &Scenario) -> Result<Counter, Failure> {
    let named = scenario.tokenizer.as_deref().map(llms_tokenize::load).transpose();
    named.map_err(|e| Failure::from(e).at("--tokenizer"))
}

/// A runner that counts with it.
pub(crate) fn counting(builder: RunnerBuilder, counter: &Counter) -> RunnerBuilder {
    match counter {
        Some(counter) => builder.token_counter(counter.clone()),
        None => builder,
    }
}
