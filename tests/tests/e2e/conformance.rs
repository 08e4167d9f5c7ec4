//! The four providers through both transports against the simulated vendors: every promise of `ChatModel`.

use std::sync::Arc;

use bench_mock::{Preset, Profile, ToolAnswers, server::Protocol};
use llms_core::{CallContext, conformance, wire::Transport};

use crate::support::{direct, four_alike, model, pooled};

/// Fast, without faults; a tool is called when the question is about the weather, as the suite's is.
fn profile() -> Profile {
    let tools = ToolAnswers { trigger: Some("weather".to_owned()), ..ToolAnswers::default() };
    Profile { tools, ..Preset::VeryFast.profile().quiet().with_output_tokens(12) }
}

async fn check(protocol: Protocol, transport: Arc<dyn Transport>) {
    let server = four_alike(profile()).start().unwrap();
    let model = model(&server, protocol, "conformant", &transport).await;
    let report = conformance::run(&model, &conformance::Options::new(CallContext::new())).await;
    report.assert_passed();
    let skipped: Vec<_> =
        report.checks.iter().filter(|c| matches!(c.status, conformance::Status::Skipped(_))).collect();
    assert!(skipped.is_empty(), "the simulated vendors leave nothing to skip: {report}");
}

macro_rules! conforms {
    ($($name:ident: $protocol:ident, $transport:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            check(Protocol::$protocol, $transport()).await;
        }
    )*};
}

conforms! {
    openai_direct: OpenAi, direct;
    openai_pooled: OpenAi, pooled;
    anthropic_direct: Anthropic, direct;
    anthropic_pooled: Anthropic, pooled;
    bedrock_direct: Bedrock, direct;
    bedrock_pooled: Bedrock, pooled;
    ollama_direct: Ollama, direct;
    ollama_pooled: Ollama, pooled;
}
