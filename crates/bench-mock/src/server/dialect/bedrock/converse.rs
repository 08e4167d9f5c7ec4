//! Converse and ConverseStream; Nova's own bodies are nearly the same.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    super::{Block, Reply, Scene, Speaker, anthropic, parsed_arguments, reading, sealed, whole_calls},
    chunk, event, exception, invalid, invocation_metrics, pad,
};
use crate::{
    ask::{Ask, Choice, Shape, Thinking},
    plan::{Finish, Part, Step},
};

/// A made-up signature of a reasoning block.
const SIGNATURE: &str = "c2ltdWxhdGVk";

pub(in super::super) fn parse(body: &Value, model: String, stream: bool) -> Result<Ask, Reply> {
    let Some(messages) = body["messages"].as_array().filter(|m| !m.is_empty()) else {
        return Err(invalid(
            "1 validation error detected: Value at 'messages' failed to satisfy constraint: Member must not be null",
        ));
    };
    let choice = &body["toolConfig"]["toolChoice"];
    let config = &body["inferenceConfig"];
    let extra = &body["additionalModelRequestFields"];
    let mut ask = Ask {
        model,
        stream,
        stream_usage: true,
        max_tokens: reading::number(&config["maxTokens"])
            .or_else(|| reading::number(&config["max_new_tokens"])),
        tools: reading::tools(&body["toolConfig"]["tools"], "/toolSpec/name", "/toolSpec/inputSchema/json"),
        choice: match choice["tool"]["name"].as_str() {
            Some(name) => Choice::This(name.to_owned()),
            None if choice.get("any").is_some() => Choice::Some,
            None => Choice::Free,
        },
        stop: reading::texts(&config["stopSequences"]),
        shape: shape(&body["outputConfig"]["textFormat"]),
        thinking: match anthropic::thinking(&extra["thinking"]) {
            Thinking::Unsaid => anthropic::thinking(&extra["reasoning_config"]),
            thinking => thinking,
        },
        echo: json!({
            "guardrail": body["guardrailConfig"],
            "performanceConfig": body["performanceConfig"],
            "serviceTier": body["serviceTier"],
            "paths": body["additionalModelResponseFieldPaths"]
        }),
        ..Ask::default()
    };
    reading::messages(&mut ask, messages, &body["system"]);
    ask.answered = reading::last_holds(messages, |part| part.get("toolResult").is_some());
    Ok(ask)
}

/// A schema, which stands there as text.
fn shape(format: &Value) -> Shape {
    let schema = match &format["structure"]["jsonSchema"]["schema"] {
        Value::String(text) => serde_json::from_str(text).ok(),
        Value::Null => None,
        schema => Some(schema.clone()),
    };
    match schema {
        Some(schema) => Shape::Schema(schema),
        None if format["type"] == "json_schema" => Shape::Json,
        None => Shape::Words,
    }
}

pub(super) fn stop_reason(scene: &Scene<'_>) -> &'static str {
    match scene.plan.finish {
        Finish::Stop => "end_turn",
        Finish::StopSequence => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::Tools => "tool_use",
        Finish::Refused if scene.ask.echo["guardrail"].is_object() => "guardrail_intervened",
        Finish::Refused => "content_filtered",
    }
}

fn usage(scene: &Scene<'_>) -> Value {
    let plan = scene.plan;
    json!({
        "inputTokens": plan.input_tokens - plan.cached_tokens - plan.cache_write_tokens,
        "outputTokens": plan.output_tokens,
        "totalTokens": u64::from(plan.input_tokens) + u64::from(plan.output_tokens),
        "cacheReadInputTokens": plan.cached_tokens,
        "cacheWriteInputTokens": plan.cache_write_tokens,
        "serverToolUsage": {}
    })
}

/// The message of a whole answer.
pub(super) fn message(scene: &Scene<'_>) -> Value {
    let plan = scene.plan;
    let (text, reasoning) = (plan.joined(Part::Text), plan.joined(Part::Reasoning));
    let mut content = Vec::new();
    if !reasoning.is_empty() && plan.redacted {
        content.push(json!({"reasoningContent": {"redactedContent": sealed(scene.key)}}));
    } else if !reasoning.is_empty() {
        let signed = json!({"text": reasoning, "signature": SIGNATURE});
        content.push(json!({"reasoningContent": {"reasoningText": signed}}));
    }
    if !text.is_empty() {
        content.push(json!({"text": text}));
    }
    content.extend(whole_calls(plan).map(|i| {
        let call = &plan.calls[i];
        let id = format!("tooluse_{}", call.id);
        json!({"toolUse": {"toolUseId": id, "name": call.name, "input": parsed_arguments(plan, i)}})
    }));
    json!({"role": "assistant", "content": content})
}

/// Adds what the request asked to be told: its tier, its latency class, what the guardrail saw.
fn told(scene: &Scene<'_>, body: &mut Value) {
    let echo = &scene.ask.echo;
    for field in ["performanceConfig", "serviceTier"] {
        if echo[field].is_object() {
            body[field] = echo[field].clone();
        }
    }
    if echo["guardrail"]["trace"].as_str().is_some_and(|trace| trace.starts_with("enabled")) {
        body["trace"] = json!({"guardrail": trace(scene)});
    }
}

fn trace(scene: &Scene<'_>) -> Value {
    let id = scene.ask.echo["guardrail"]["guardrailIdentifier"].as_str().unwrap_or("simulated");
    let assessed = |characters: usize| {
        json!({
            "invocationMetrics": {
                "guardrailProcessingLatency": 1,
                "usage": {
                    "topicPolicyUnits": 1, "contentPolicyUnits": 1, "wordPolicyUnits": 1,
                    "sensitiveInformationPolicyUnits": 1, "sensitiveInformationPolicyFreeUnits": 0,
                    "contextualGroundingPolicyUnits": 0
                },
                "guardrailCoverage": {"textCharacters": {"guarded": characters, "total": characters}}
            }
        })
    };
    let text = scene.plan.joined(Part::Text);
    let mut output = assessed(text.chars().count());
    if scene.plan.finish == Finish::Refused {
        let filter = json!({"type": "MISCONDUCT", "confidence": "HIGH", "action": "BLOCKED"});
        output["contentPolicy"] = json!({"filters": [filter]});
    }
    json!({
        "modelOutput": [text],
        "inputAssessment": {id: assessed(scene.ask.prompt.chars().count())},
        "outputAssessments": {id: [output]}
    })
}

/// Fields of the model's own answer that the request asked for.
fn own_fields(scene: &Scene<'_>, body: &mut Value) {
    let asked = scene.ask.echo["paths"].as_array();
    if asked.is_some_and(|paths| paths.iter().any(|path| path == "/stop_sequence")) {
        body["additionalModelResponseFields"] = json!({"stop_sequence": scene.plan.stop});
    }
}

pub(in super::super) fn whole(scene: &Scene<'_>) -> Reply {
    let mut body = json!({
        "output": {"message": message(scene)},
        "stopReason": stop_reason(scene),
        "metrics": {"latencyMs": scene.total_ns() / 1_000_000}
    });
    if scene.profile.usage {
        body["usage"] = usage(scene);
    }
    told(scene, &mut body);
    own_fields(scene, &mut body);
    Reply::json(200, &body).with("x-amzn-requestid", scene.request_id)
}

/// Says a stream of binary frames.
#[derive(Default)]
pub(in super::super) struct Converse {
    /// Each event is a chunk of InvokeModel's stream (Nova).
    wrapped: bool,
    begun: bool,
    open: Option<Block>,
    /// Blocks opened so far.
    blocks: usize,
    frames: usize,
}

impl Converse {
    pub(super) fn nova() -> Self {
        Self { wrapped: true, ..Self::default() }
    }

    fn event(&mut self, name: &'static str, mut payload: Value, out: &mut Vec<u8>) {
        self.frames += 1;
        if self.wrapped {
            return chunk(json!({name: payload}).to_string().as_bytes(), self.frames, out);
        }
        payload["p"] = pad(self.frames).into();
        event(name, &payload, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.event("messageStart", json!({"role": "assistant"}), out);
        }
    }

    fn delta(&mut self, delta: &Value, out: &mut Vec<u8>) {
        let index = self.blocks - 1;
        self.event("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}), out);
    }

    fn close(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        if let Some(block) = self.open.take() {
            if block == Block::Thinking && !scene.plan.redacted {
                self.delta(&json!({"reasoningContent": {"signature": SIGNATURE}}), out);
            }
            self.event("contentBlockStop", json!({"contentBlockIndex": self.blocks - 1}), out);
        }
    }
}

impl Speaker for Converse {
    fn preamble(&mut self, _scene: &Scene<'_>, out: &mut Vec<u8>) {
        self.begin(out);
    }

    fn step(&mut self, scene: &Scene<'_>, step: &Step, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.begin(out);
        let block = Block::of(step.part);
        let opens = self.open != Some(block);
        if opens {
            self.close(scene, out);
            self.open = Some(block);
            self.blocks += 1;
        }
        let piece = scene.plan.piece(step);
        let delta = match step.part {
            Part::Text => json!({"text": piece}),
            Part::Reasoning if scene.plan.redacted && opens => {
                json!({"reasoningContent": {"redactedContent": sealed(scene.key)}})
            }
            Part::Reasoning if scene.plan.redacted => return,
            Part::Reasoning => json!({"reasoningContent": {"text": piece}}),
            Part::Arguments(_) => json!({"toolUse": {"input": piece}}),
            // Only blocks of calls are announced.
            Part::Open(i) => {
                let call = &scene.plan.calls[i];
                let start = json!({"toolUseId": format!("tooluse_{}", call.id), "name": call.name});
                let index = self.blocks - 1;
                let payload = json!({"contentBlockIndex": index, "start": {"toolUse": start}});
                return self.event("contentBlockStart", payload, out);
            }
        };
        self.delta(&delta, out);
    }

    fn finish(&mut self, scene: &Scene<'_>, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(scene, out);
        let mut stop = json!({"stopReason": stop_reason(scene)});
        own_fields(scene, &mut stop);
        self.event("messageStop", stop, out);
        if self.wrapped {
            let metadata = json!({
                "metadata": {"usage": super::invoke::nova_usage(scene), "metrics": {}, "trace": {}},
                "amazon-bedrock-invocationMetrics": invocation_metrics(scene)
            });
            self.frames += 1;
            return chunk(metadata.to_string().as_bytes(), self.frames, out);
        }
        let mut metadata = json!({"metrics": {"latencyMs": scene.total_ns() / 1_000_000}});
        if scene.profile.usage {
            metadata["usage"] = usage(scene);
        }
        told(scene, &mut metadata);
        self.event("metadata", metadata, out);
    }

    fn error(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        exception(scene, self.wrapped, out);
    }
}
