//! Calls a simulated model in every way and exports what was seen: to the collector named on the command line, else
//! as the `OTEL_*` variables say.
//!
//! ```text
//! cargo run -p llms-telemetry --example export -- http://127.0.0.1:4318
//! ```

use std::{env, error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt;
use llms_core::{
    CallContext, Capabilities, ChatModel, ChatModelExt, ChatRequest, ChatResponse, ErrorCode, EventSink,
    FinishReason, ModelInfo, Outcome, Result, Stamp, StreamEvent, ToolCall, ToolDefinition, Usage,
    health::Health,
};
use llms_telemetry::{Config, Instrumented, Telemetry};

/// Answers in 30 ms, streams 20 tokens 5 ms apart, calls the first tool it is offered, refuses to talk about `forbidden`.
struct Simulated(ModelInfo);

impl Simulated {
    fn new() -> Self {
        Self(ModelInfo {
            provider: "openai".into(),
            model: "gpt-simulated".into(),
            endpoint: Some("http://127.0.0.1:8080/v1".into()),
            capabilities: Capabilities {
                streaming: true,
                tools: true,
                usage: true,
                ..Capabilities::default()
            },
        })
    }

    async fn think(&self, request: &ChatRequest, ctx: &CallContext, ms: u64) -> Result<()> {
        ctx.clock.sleep_until(ctx.now() + Duration::from_millis(ms)).await;
        if request.messages.iter().any(|m| m.text().contains("forbidden")) {
            let error = llms_core::Error::new("openai.generate", ErrorCode::ContentFiltered, "refused");
            return Err(error.with_status(400));
        }
        Ok(())
    }

    fn usage(n: u64) -> Usage {
        Usage {
            input_tokens: Some(12),
            output_tokens: Some(n),
            cache_read_tokens: Some(8),
            ..Usage::default()
        }
    }
}

#[async_trait]
impl ChatModel for Simulated {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        self.think(request, ctx, 30).await?;
        let call = |tool: &ToolDefinition| ToolCall {
            id: "call_0".into(),
            name: tool.name.clone(),
            arguments: "{}".into(),
        };
        Ok(ChatResponse {
            text: "an answer nobody exports".into(),
            tool_calls: request.tools.first().map(call).into_iter().collect(),
            finish_reason: Some(FinishReason::Stop),
            usage: Some(Self::usage(20)),
            model: Some("gpt-simulated-2026".into()),
            id: Some("resp-1".into()),
            ..ChatResponse::default()
        })
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        self.think(request, ctx, 30).await?;
        for read in 0..20 {
            sink.event(StreamEvent::Text("token ".into()), Stamp::user(ctx.now(), read));
            ctx.clock.sleep_until(ctx.now() + Duration::from_millis(5)).await;
            std::future::poll_fn(|cx| sink.poll_ready(cx)).await;
        }
        Ok(Outcome {
            finish_reason: Some(FinishReason::Length),
            usage: Some(Self::usage(20)),
            model: Some("gpt-simulated-2026".into()),
            id: Some("resp-2".into()),
            ..Outcome::default()
        })
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        Health::pending(&self.0, ctx).settle(Ok([]), Some(Duration::ZERO))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let config = Config::new("llms-telemetry-example").with_resource("example", "export");
    let config = match env::args().nth(1) {
        Some(endpoint) => config.with_endpoint(endpoint),
        None => config,
    };
    let telemetry = Telemetry::start(config, &llms_core::config::process_env)?;
    if !telemetry.is_exporting() {
        return Err("nothing to export to; name a collector, or set OTEL_EXPORTER_OTLP_ENDPOINT".into());
    }
    let model = Instrumented::new(Arc::new(Simulated::new()), telemetry.metrics().clone());
    let ctx = CallContext::new().with_request_id("example-1");

    let tool = ToolDefinition::new("get_weather", "", serde_json::json!({ "type": "object" }));
    model.generate(&ChatRequest::text("the weather?").with_tools([tool]).with_max_tokens(50), &ctx).await?;
    let _refused = model.generate(&"something forbidden".into(), &ctx).await;
    model.collect(&"a stream".into(), &ctx).await?;
    // Given up after the first event.
    let request = ChatRequest::from("a stream that is given up");
    model.stream(&request, &ctx).next().await.transpose()?;
    model.batch(&["one".into(), "two".into(), "three".into()], 2, &ctx).await;
    model.check_health(&ctx).await;

    let destinations = telemetry.destinations().join(" and ");
    let exported = telemetry.shutdown(Duration::from_secs(10))?;
    #[allow(clippy::print_stdout)] // an example that is run to see what it says
    {
        println!(
            "{} spans and {} exports of metrics to {destinations}",
            exported.spans, exported.metric_exports
        );
    }
    Ok(())
}
