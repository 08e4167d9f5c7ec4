//! This crate alone, with a transport: ask, and print the answer. `ANTHROPIC_API_KEY` and `ANTHROPIC_BASE_URL` are read
//! as the vendor's own clients read them.
//!
//! ```sh
//! ANTHROPIC_API_KEY=… cargo run --release -p llms-providers-anthropic --example anthropic-alone -- claude-haiku-4-5 'Say hello.'
//! ```

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::sync::Arc;

use llms_core::{CallContext, ChatModel, ChatRequest, config::ModelConfig, config::process_env};

#[tokio::main(flavor = "current_thread")]
async fn main() -> llms_core::Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "claude-haiku-4-5".to_owned());
    let prompt = args.next().unwrap_or_else(|| "Say hello.".to_owned());
    let config = llms_providers_anthropic::Config::new(&ModelConfig::new("anthropic", name), &process_env)?;
    let model = llms_providers_anthropic::model(config, Arc::new(llms_transport::direct()));
    let answer = model.generate(&ChatRequest::text(prompt), &CallContext::new()).await?;
    println!("{}\n{:?}", answer.text, answer.usage);
    Ok(())
}
