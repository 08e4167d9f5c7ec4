//! The simulated vendors on the wire and the scripted model in process. One binary: each further one would be linked anew.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;
mod distributions;
mod endpoints_anthropic;
mod endpoints_bedrock;
mod endpoints_ollama;
mod endpoints_openai;
mod rate_limit_words;
mod recorded_fields;
mod server_faults;
mod server_protocols;
mod server_secure;
mod server_truth;
mod server_wire;
mod situations;
mod situations_in_process;
mod t009_mock_configurator;
mod t021_mock_configurator;
mod t026_enhanced_mock;
mod t026_load;
