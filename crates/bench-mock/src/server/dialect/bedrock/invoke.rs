//! InvokeModel and its stream: bodies of Anthropic, Titan, Llama and Nova, passed through in chunks.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    super::{super::read::Request, Reply, Scene, Speaker, anthropic, reading},
    chunk, converse, error, exception, invalid, invocation_metrics,
};
use crate::{
    ask::{Ask, Choice, Family},
    plan::{Finish, Part, Step},
    words,
};

/// Titan's and Llama's limit where a request has none.
const MAX_TOKENS: u32 = 512;

pub(in super::super) fn parse(
    body: &Value,
    model: String,
    stream: bool,
    request: &Request,
) -> Result<Ask, Reply> {
    let family = family(body, &model)?;
    let mut ask = match family {
        Family::Anthropic => {
            // `bedrock-2023-05-31` in AWS's pages; Anthropic's own client sends newer dates.
            if !body["anthropic_version"].is_string() {
                return Err(missing("anthropic_version"));
            }
            anthropic::ask(body, model, stream).map_err(|reply| in_our_words(&reply))?
        }
        Family::Nova => converse::parse(body, model, stream)?,
        Family::Titan => {
            let Some(text) = body["inputText"].as_str() else { return Err(missing("inputText")) };
            let config = &body["textGenerationConfig"];
            let stop = reading::texts(&config["stopSequences"]);
            prompted(model, stream, text, &config["maxTokenCount"], stop)
        }
        Family::Llama => {
            let Some(text) = body["prompt"].as_str() else { return Err(missing("prompt")) };
            prompted(model, stream, text, &body["max_gen_len"], Vec::new())
        }
    };
    ask.family = Some(family);
    if family != Family::Nova {
        let tier = request.header("x-amzn-bedrock-service-tier");
        ask.echo = json!({
            "latency": request.header("x-amzn-bedrock-performanceconfig-latency"), "tier": tier
        });
    }
    Ok(ask)
}

/// Whose body it is: by what stands in it, as a model's name may be a profile's or a situation's.
fn family(body: &Value, model: &str) -> Result<Family, Reply> {
    // Bodies of Mistral (a prompt and `max_tokens`) and of Cohere (a message) would be answered in another family's form.
    let named = ["mistral.", "cohere."].iter().any(|maker| model.contains(maker));
    let mistral = body.get("prompt").is_some() && body.get("max_tokens").is_some();
    if named && body.get("messages").is_none() || mistral || body.get("message").is_some() {
        return Err(invalid(
            "this mock has no bodies of Mistral and Cohere; ask Claude, Nova, Titan or Llama, or Converse",
        ));
    }
    Ok(if body.get("inputText").is_some() {
        Family::Titan
    } else if body.get("anthropic_version").is_some() {
        Family::Anthropic
    } else if body.get("messages").is_some() {
        let nova = body.get("inferenceConfig").is_some() || body.get("schemaVersion").is_some();
        if nova || model.contains("nova") { Family::Nova } else { Family::Anthropic }
    } else if body.get("prompt").is_some() {
        Family::Llama
    } else {
        return Err(missing("messages"));
    })
}

fn missing(key: &str) -> Reply {
    invalid(&format!(
        "Malformed input request: #: required key [{key}] not found, please reformat your input and try again."
    ))
}

/// Anthropic's refusal of a body, as Bedrock passes it on.
fn in_our_words(reply: &Reply) -> Reply {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    error(400, "ValidationException", body["error"]["message"].as_str().unwrap_or("Malformed input request"))
}

fn prompted(model: String, stream: bool, text: &str, limit: &Value, stop: Vec<String>) -> Ask {
    Ask {
        model,
        stream,
        stream_usage: true,
        max_tokens: reading::number(limit).or(Some(MAX_TOKENS)),
        input_tokens: words::count(text.len()),
        prompt: text.to_owned(),
        choice: Choice::Never,
        stop,
        ..Ask::default()
    }
}

fn with_latency(reply: Reply, scene: &Scene<'_>) -> Reply {
    let mut reply = reply.with("x-amzn-requestid", scene.request_id);
    for (name, field) in
        [("x-amzn-bedrock-performanceconfig-latency", "latency"), ("x-amzn-bedrock-service-tier", "tier")]
    {
        if let Some(value) = scene.ask.echo[field].as_str() {
            reply = reply.with(name, value);
        }
    }
    reply
}

pub(super) fn nova_usage(scene: &Scene<'_>) -> Value {
    let plan = scene.plan;
    let input = plan.input_tokens - plan.cached_tokens - plan.cache_write_tokens;
    json!({
        "inputTokens": input,
        "outputTokens": plan.output_tokens,
        "totalTokens": u64::from(plan.input_tokens) + u64::from(plan.output_tokens),
        "cacheReadInputTokenCount": plan.cached_tokens,
        "cacheWriteInputTokenCount": plan.cache_write_tokens
    })
}

fn titan_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "LENGTH",
        Finish::Refused => "CONTENT_FILTERED",
        Finish::StopSequence => "STOP_CRITERIA_MET",
        Finish::Stop | Finish::Tools => "FINISH",
    }
}

fn llama_reason(finish: Finish) -> &'static str {
    if finish == Finish::Length { "length" } else { "stop" }
}

pub(in super::super) fn whole(scene: &Scene<'_>) -> Reply {
    let plan = scene.plan;
    let (input, output) = (plan.input_tokens, plan.output_tokens);
    let body = match scene.ask.family.unwrap_or_default() {
        Family::Anthropic => anthropic::message(scene),
        Family::Nova => json!({
            "output": {"message": converse::message(scene)},
            "stopReason": converse::stop_reason(scene),
            "usage": nova_usage(scene)
        }),
        Family::Titan => json!({
            "inputTextTokenCount": input,
            "results": [{
                "tokenCount": output,
                "outputText": plan.joined(Part::Text),
                "completionReason": titan_reason(plan.finish)
            }]
        }),
        Family::Llama => json!({
            "generation": plan.joined(Part::Text),
            "prompt_token_count": input,
            "generation_token_count": output,
            "stop_reason": llama_reason(plan.finish)
        }),
    };
    let metrics = invocation_metrics(scene);
    let mut reply = Reply::json(200, &body);
    for (name, field) in [
        ("x-amzn-bedrock-invocation-latency", "invocationLatency"),
        ("x-amzn-bedrock-input-token-count", "inputTokenCount"),
        ("x-amzn-bedrock-output-token-count", "outputTokenCount"),
    ] {
        reply = reply.with(name, metrics[field].to_string());
    }
    if plan.cached_tokens + plan.cache_write_tokens > 0 {
        reply = reply
            .with("x-amzn-bedrock-cache-read-input-token-count", plan.cached_tokens.to_string())
            .with("x-amzn-bedrock-cache-write-input-token-count", plan.cache_write_tokens.to_string());
    }
    with_latency(reply, scene)
}

pub(in super::super) fn head(scene: &Scene<'_>) -> Reply {
    let reply = Reply { status: 200, content_type: "application/vnd.amazon.eventstream", ..Reply::default() };
    with_latency(reply.with("x-amzn-bedrock-content-type", "application/json"), scene)
}

/// Who says the stream of a family.
pub(in super::super) fn speaker(family: Option<Family>) -> Box<dyn Speaker> {
    match family.unwrap_or_default() {
        Family::Anthropic => Box::new(Claude::default()),
        Family::Nova => Box::new(converse::Converse::nova()),
        Family::Titan | Family::Llama => Box::new(Prompted::default()),
    }
}

/// Anthropic's events, each in a chunk.
#[derive(Default)]
struct Claude {
    inner: anthropic::Anthropic,
    said: Vec<u8>,
    frames: usize,
}

impl Claude {
    /// Wraps what the inner dialect has said since.
    fn wrap(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        let said = String::from_utf8_lossy(&self.said);
        for event in said.split_terminator("\n\n") {
            let Some((name, data)) = event.split_once("\ndata: ") else { continue };
            match name {
                // The service leaves them out.
                "event: ping" => {}
                "event: message_stop" => {
                    let metrics = invocation_metrics(scene);
                    let data = json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics});
                    self.frames += 1;
                    chunk(data.to_string().as_bytes(), self.frames, out);
                }
                _ => {
                    self.frames += 1;
                    chunk(data.as_bytes(), self.frames, out);
                }
            }
        }
        self.said.clear();
    }
}

impl Speaker for Claude {
    fn preamble(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        self.inner.preamble(scene, &mut self.said);
        self.wrap(scene, out);
    }

    fn step(&mut self, scene: &Scene<'_>, step: &Step, wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.inner.step(scene, step, wall, &mut self.said);
        self.wrap(scene, out);
    }

    fn finish(&mut self, scene: &Scene<'_>, wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.inner.finish(scene, wall, &mut self.said);
        self.wrap(scene, out);
    }

    fn error(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        exception(scene, true, out);
    }
}

/// Titan's and Llama's chunks.
#[derive(Default)]
struct Prompted {
    frames: usize,
    tokens: u32,
}

impl Prompted {
    fn say(&mut self, scene: &Scene<'_>, text: &str, last: bool, out: &mut Vec<u8>) {
        let plan = scene.plan;
        let input = if self.frames == 0 { json!(plan.input_tokens) } else { Value::Null };
        let ends = |reason: &'static str| if last { Value::from(reason) } else { Value::Null };
        let mut body = if scene.ask.family == Some(Family::Titan) {
            json!({
                "outputText": text,
                "index": 0,
                "totalOutputTextTokenCount": if last { json!(plan.output_tokens) } else { Value::Null },
                "completionReason": ends(titan_reason(plan.finish)),
                "inputTextTokenCount": input
            })
        } else {
            json!({
                "generation": text,
                "prompt_token_count": input,
                "generation_token_count": self.tokens,
                "stop_reason": ends(llama_reason(plan.finish))
            })
        };
        if last {
            body["amazon-bedrock-invocationMetrics"] = invocation_metrics(scene);
        }
        self.frames += 1;
        chunk(body.to_string().as_bytes(), self.frames, out);
    }
}

impl Speaker for Prompted {
    /// The protocol has none.
    fn preamble(&mut self, _scene: &Scene<'_>, _out: &mut Vec<u8>) {}

    fn step(&mut self, scene: &Scene<'_>, step: &Step, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.tokens += step.tokens;
        if step.part == Part::Text {
            self.say(scene, scene.plan.piece(step), false, out);
        }
    }

    fn finish(&mut self, scene: &Scene<'_>, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.say(scene, "", true, out);
    }

    fn error(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        exception(scene, true, out);
    }
}
