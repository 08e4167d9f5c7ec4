//! The analysis against golden values, simulations and the contract rows. One binary: each further one would be linked anew.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod calibration;
mod capacity_search;
mod censoring;
mod client_health;
mod golden;
mod methodology;
mod objectives;
mod statistics;
mod stop_rules;
mod streamed;
mod support;
mod t006_analyzer_contract;
mod t010_comparison;
mod t010_simulation;
mod t013_tokens;
mod t015_scores;
mod t030_change_points;
mod t030_checks;
mod t030_trend;
mod t031_comparator;
mod t032_aggregator;
mod t033_optimization;
mod t038_percentiles;
