//! The load engine on virtual time, against scripted models and the simulated vendors. One binary: each further one would be linked anew.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod budget;
mod common;
mod mock_truth;
mod schedule;
mod t005_runner_contract;
mod t007_collector_contract;
mod t012_load_schedule;
mod t012_sessions;
mod t012_trace;
mod t014_open_loop;
mod t014_runner;
mod t016_metrics_collector;
mod t018_data_round_trip;
mod t019_expectations;
mod t019_scenarios;
mod t019_synthetic;
mod t020_scenario_config;
mod t027_streaming_analyzer;
