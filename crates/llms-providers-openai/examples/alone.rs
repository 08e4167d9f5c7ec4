//! This crate alone: one question, the answer as it comes, what it cost.
//!
//! ```sh
//! OPENAI_API_KEY=… cargo run -p llms-providers-openai --example openai-alone -- gpt-5-mini "Why is the sky blue?"
//! OPENAI_BASE_URL=http://127.0.0.1:8000/v1 cargo run -p llms-providers-openai --example openai-alone -- MODEL QUESTION [API]
//! ```
#![allow(clippy::print_stdout, reason = "an example that prints")]

use std::{env::args, sync::Arc};

use futures_util::StreamExt as _;
use llms_core::{
    CallContext, ChatModel as _, ChatRequest, Result, StreamEvent,
    config::{ModelConfig, process_env},
};
use llms_providers_openai::{Config, model};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let name = args().nth(1).unwrap_or_else(|| "gpt-5-mini".to_owned());
    let question = args().nth(2).unwrap_or_else(|| "Why is the sky blue?".to_owned());
    let api = args().nth(3).unwrap_or_else(|| "chat".to_owned());

    let config = ModelConfig::new("openai", name).with_specific("api", api);
    let model = model(Config::new(&config, &process_env)?, Arc::new(llms_transport::direct()));
    let (request, ctx) = (ChatRequest::text(question), CallContext::new());
    let (mut events, mut usage) = (model.stream(&request, &ctx), None);
    while let Some(event) = events.next().await {
        match event?.event {
            StreamEvent::Text(text) => print!("{text}"),
            // The last one counts: some servers send one with every chunk.
            StreamEvent::Usage(so_far) => usage = Some(so_far),
            _ => {}
        }
    }
    println!("\n{usage:?}");
    Ok(())
}
