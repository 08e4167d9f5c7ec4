//! This crate alone: a question to the Ollama of this machine (or of `OLLAMA_HOST`), streamed.
//!
//! `cargo run -p llms-providers-ollama --example ollama-alone -- llama3.2 'Why is the sky blue?'`

#![allow(clippy::print_stdout, reason = "a program that prints its answer")]

use std::sync::Arc;

use futures_util::StreamExt as _;
use llms_core::{CallContext, ChatModel as _, ChatRequest, StreamEvent, config::ModelConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or("expected the name of a model; `ollama list` shows them")?;
    let request = ChatRequest::text(args.next().unwrap_or_else(|| "Why is the sky blue?".to_owned()));

    let config = ModelConfig::new("ollama", name).with_timeout(std::time::Duration::from_secs(120));
    let config = llms_providers_ollama::Config::new(&config, &|name| std::env::var(name).ok())?;
    let model = llms_providers_ollama::model(config, Arc::new(llms_transport::direct()));
    let ctx = CallContext::new();
    let mut events = model.stream(&request, &ctx);
    while let Some(event) = events.next().await {
        if let StreamEvent::Text(text) = event?.event {
            print!("{text}");
        }
    }
    println!();
    Ok(())
}
