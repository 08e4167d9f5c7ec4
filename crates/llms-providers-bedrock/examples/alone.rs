//! This crate alone: one streamed answer of Amazon Bedrock.
//!
//! ```sh
//! AWS_BEARER_TOKEN_BEDROCK=… AWS_REGION=us-east-1 cargo run -p llms-providers-bedrock --example bedrock-alone -- us.amazon.nova-micro-v1:0
//! # with the model's own body, or at a simulated server:
//! API=invoke AWS_ENDPOINT_URL=http://127.0.0.1:8123 cargo run -p llms-providers-bedrock --example bedrock-alone -- anthropic.claude-3-haiku-20240307-v1:0
//! ```
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use llms_core::{
    CallContext, ChatModelExt, ChatRequest, Result,
    config::{ModelConfig, process_env},
};
use llms_providers_bedrock::{Config, model};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let id = std::env::args().nth(1).unwrap_or_else(|| "us.amazon.nova-micro-v1:0".to_owned());
    let api = process_env("API").unwrap_or_else(|| "converse".to_owned());
    let config = ModelConfig::new("bedrock", id).with_specific("api", api);
    let bedrock = model(Config::new(&config, &process_env)?, Arc::new(llms_transport::direct())).await?;
    let answer = bedrock.collect(&ChatRequest::text("Say hello"), &CallContext::new()).await?;
    println!("{}\n{:?}", answer.text, answer.usage);
    Ok(())
}
