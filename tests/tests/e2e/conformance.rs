//! The four providers, through every API they speak and both transports, against the simulated vendors: every promise of
//! `ChatModel`, a hundred calls at once, every failure told apart, and cancellations seen from the server's side.

use std::{sync::Arc, time::Duration};

use bench_mock::{
    Preset, Profile, ToolAnswers,
    server::{Protocol, Server},
};
use llms_core::{
    CallContext, ErrorCode, SharedModel,
    config::ModelConfig,
    conformance::{self, Failing, Status},
    registry::BuildContext,
    wire::Transport,
};

use crate::support::{direct, four_alike, pooled};

/// Fast, without faults, always in the same words; a tool is called when the question is about the weather, as the
/// suite's is.
fn profile() -> Profile {
    let tools = ToolAnswers { trigger: Some("weather".to_owned()), ..ToolAnswers::default() };
    Profile {
        tools,
        responses: vec!["Paris is the capital of France and has been so for a long time".to_owned()],
        ..Preset::VeryFast.profile().quiet()
    }
}

async fn model(
    server: &Server,
    protocol: Protocol,
    (api, body): (&str, &str),
    name: &str,
    transport: &Arc<dyn Transport>,
) -> SharedModel {
    let mut config = ModelConfig::new(protocol.as_str(), name).with_base_url(server.base_url(protocol));
    if !api.is_empty() {
        config = config.with_specific("api", api);
    }
    if !body.is_empty() {
        config = config.with_specific("body", body);
    }
    // Nothing of the machine's environment reaches a test.
    let build = BuildContext { transport: transport.clone(), env: &|_: &str| None };
    llms_bench::providers::registry().create(&config, &build).await.unwrap()
}

/// Situations that every protocol has, and the codes that tell them right.
const FAILURES: &[(&str, &[ErrorCode], bool)] = &[
    ("mock-error-400", &[ErrorCode::InvalidRequest], false),
    ("mock-error-401", &[ErrorCode::Authentication], false),
    // OpenAI refuses with 403 what a project may not use, and calls it a model that is not found.
    ("mock-error-403", &[ErrorCode::Authorization, ErrorCode::ModelNotAvailable], false),
    ("mock-error-404", &[ErrorCode::NotFound, ErrorCode::ModelNotAvailable], false),
    ("mock-missing", &[ErrorCode::NotFound, ErrorCode::ModelNotAvailable], false),
    ("mock-error-429", &[ErrorCode::RateLimit], false),
    ("mock-error-500", &[ErrorCode::Internal], false),
    ("mock-error-503", &[ErrorCode::Overloaded], false),
    ("mock-error-529", &[ErrorCode::Overloaded], false),
    ("mock-midstream-error", &[ErrorCode::Internal, ErrorCode::Stream, ErrorCode::Overloaded], true),
    ("mock-truncate", &[ErrorCode::StreamTruncated, ErrorCode::StreamClosed], true),
    ("mock-reset", &[ErrorCode::StreamClosed, ErrorCode::NetworkError], true),
];

/// `skipped`: checks for which this API has no words.
async fn check(protocol: Protocol, api: (&str, &str), transport: Arc<dyn Transport>, skipped: &[&str]) {
    let server = four_alike(profile()).start().unwrap();
    let main = model(&server, protocol, api, "conformant", &transport).await;
    let mut options = conformance::Options::new(CallContext::new());
    options.concurrency = 100;
    options.deterministic = true;
    for (name, codes, streams_only) in FAILURES {
        let model = model(&server, protocol, api, name, &transport).await;
        options.failing.push(Failing { name, model, codes: codes.to_vec(), streams_only: *streams_only });
    }
    let log = server.truth_log().clone();
    options.busy = Some(Arc::new(move || log.open() as usize));
    // A busy machine may be slow to notice; what must not happen is that nobody notices.
    options.patience = Duration::from_secs(10);
    let report = conformance::run(&main, &options).await;
    report.assert_passed();
    let left: Vec<_> =
        report.checks.iter().filter(|c| matches!(c.status, Status::Skipped(_))).map(|c| c.name).collect();
    assert_eq!(left, skipped, "{report}");
}

/// What an API of one prompt, without conversations and tools, leaves out.
const ONE_PROMPT: &[&str] = &[
    "several_turns_are_answered",
    "tool_call_is_parsed",
    "tool_call_is_streamed",
    "tool_result_is_accepted",
    "tool_loop_ends_in_an_answer",
    "bind_tools_leaves_the_original_alone",
];
/// What an API without tools leaves out.
const NO_TOOLS: &[&str] = &[
    "tool_call_is_parsed",
    "tool_call_is_streamed",
    "tool_result_is_accepted",
    "tool_loop_ends_in_an_answer",
    "bind_tools_leaves_the_original_alone",
];

macro_rules! conforms {
    ($($name:ident: $protocol:ident, $api:literal, $body:literal, $transport:ident, $skipped:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            check(Protocol::$protocol, ($api, $body), $transport(), $skipped).await;
        }
    )*};
}

conforms! {
    openai_direct: OpenAi, "", "", direct, &[];
    openai_pooled: OpenAi, "", "", pooled, &[];
    openai_responses: OpenAi, "responses", "", direct, &[];
    openai_completions: OpenAi, "completions", "", direct, ONE_PROMPT;
    anthropic_direct: Anthropic, "", "", direct, &[];
    anthropic_pooled: Anthropic, "", "", pooled, &[];
    bedrock_direct: Bedrock, "", "", direct, &[];
    bedrock_pooled: Bedrock, "", "", pooled, &[];
    bedrock_invoke_anthropic: Bedrock, "invoke", "anthropic", direct, &[];
    bedrock_invoke_titan: Bedrock, "invoke", "titan", direct, ONE_PROMPT;
    bedrock_invoke_llama: Bedrock, "invoke", "llama", direct, NO_TOOLS;
    ollama_direct: Ollama, "", "", direct, &[];
    ollama_pooled: Ollama, "", "", pooled, &[];
    ollama_generate: Ollama, "generate", "", direct, ONE_PROMPT;
}
