//! Chat completions, as OpenAI, Azure and compatible servers speak them.

use std::io::Write as _;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    super::{Reply, Scene, Speaker, padding, quote, quoted, reading},
    answer, error, invalid, missing, no_model, prompt_filters, safe, stream_error, tier, usage,
};
use crate::{
    ask::{Ask, Choice, Thinking},
    plan::{Finish, Part, Step},
    situation::Situation,
};

pub(in super::super) fn parse(body: &Value, deployment: Option<String>) -> Result<Ask, Reply> {
    // Azure's deployment decides, whatever the body says.
    let Some(model) = deployment.or_else(|| body["model"].as_str().map(str::to_owned)) else {
        return Err(no_model());
    };
    let Some(messages) = body["messages"].as_array() else { return Err(missing("messages")) };
    if messages.is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(error(400, message, "invalid_request_error", Some("messages"), Some("empty_array")));
    }
    if body["n"].as_u64().is_some_and(|n| n != 1) {
        return Err(invalid("the mock answers with one choice only; leave out 'n'", Some("n")));
    }
    let stream_options = &body["stream_options"];
    let mut ask = Ask {
        model,
        stream: body["stream"] == true,
        stream_usage: stream_options["include_usage"] == true,
        usage_always: stream_options["continuous_usage_stats"] == true,
        max_tokens: reading::number(&body["max_completion_tokens"])
            .or_else(|| reading::number(&body["max_tokens"])),
        min_tokens: reading::number(&body["min_tokens"]),
        ignore_eos: body["ignore_eos"] == true,
        tools: reading::tools(&body["tools"], "/function/name", "/function/parameters"),
        choice: choice(&body["tool_choice"], "/function/name"),
        single_call: body["parallel_tool_calls"] == false,
        stop: reading::texts(&body["stop"]),
        shape: reading::shape(&body["response_format"], "/json_schema/schema"),
        thinking: thinking(body),
        echo: json!({"service_tier": tier(&body["service_tier"])}),
        ..Ask::default()
    };
    reading::messages(&mut ask, messages, &Value::Null);
    Ok(ask)
}

/// How tools may be used, given where the name of one stands.
pub(super) fn choice(choice: &Value, name: &str) -> Choice {
    match choice.as_str() {
        Some("none") => Choice::Never,
        Some("required") => Choice::Some,
        _ => match choice.pointer(name).and_then(Value::as_str) {
            Some(name) => Choice::This(name.to_owned()),
            None => Choice::Free,
        },
    }
}

/// OpenAI's word, and those of servers that run open models.
fn thinking(body: &Value) -> Thinking {
    let template = &body["chat_template_kwargs"];
    let off = body["reasoning_effort"] == "none"
        || template["enable_thinking"] == false
        || template["thinking"] == false;
    if off {
        Thinking::Off
    } else if template["enable_thinking"] == true || template["thinking"] == true {
        Thinking::On(u32::MAX)
    } else {
        Thinking::Unsaid
    }
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::Refused => "stop",
        Finish::Length => "length",
        Finish::Tools => "tool_calls",
    }
}

/// The field that reasoning stands in.
fn reasoning_field(scene: &Scene<'_>) -> &'static str {
    if scene.ask.situation == Some(Situation::Thinking(true)) { "reasoning" } else { "reasoning_content" }
}

pub(in super::super) fn whole(scene: &Scene<'_>) -> Reply {
    let plan = scene.plan;
    let (text, reasoning) = (plan.joined(Part::Text), plan.joined(Part::Reasoning));
    let calls: Vec<Value> = (0..plan.calls.len())
        .filter(|i| plan.steps.iter().any(|s| s.part == Part::Open(*i)))
        .map(|i| {
            json!({
                "id": format!("call_{}", plan.calls[i].id),
                "type": "function",
                "function": {"name": plan.calls[i].name, "arguments": plan.joined(Part::Arguments(i))}
            })
        })
        .collect();
    let refused = plan.finish == Finish::Refused;
    let content = if refused || !calls.is_empty() { Value::Null } else { Value::from(text.as_str()) };
    let mut message = json!({
        "role": "assistant",
        "content": content,
        "refusal": if refused { Value::from(text) } else { Value::Null },
        "annotations": []
    });
    if !reasoning.is_empty() && !plan.redacted {
        message[reasoning_field(scene)] = reasoning.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let mut choice = json!({
        "index": 0,
        "message": message,
        "logprobs": null,
        "finish_reason": finish_reason(plan.finish)
    });
    if scene.azure {
        choice["content_filter_results"] = safe();
    }
    let mut body = json!({
        "id": id(scene),
        "object": "chat.completion",
        "created": scene.created.unix_timestamp(),
        "model": scene.ask.model,
        "choices": [choice],
        "system_fingerprint": "fp_simulated"
    });
    if !scene.azure {
        body["service_tier"] = scene.ask.echo["service_tier"].clone();
    }
    if scene.profile.usage {
        body["usage"] = usage(scene, plan.output_tokens);
    }
    if scene.azure {
        body["prompt_filter_results"] = prompt_filters();
    }
    answer(scene, &body)
}

fn id(scene: &Scene<'_>) -> String {
    format!("chatcmpl-{:016x}", scene.key)
}

/// Says a stream of chunks.
pub(in super::super) struct Chat {
    /// Each chunk as far as its choices.
    prefix: String,
    /// What stands before the delta.
    before: String,
    /// `,"usage":null` where usage was asked for.
    suffix: &'static str,
    begun: bool,
    chunks: usize,
    /// Tokens said so far, where each chunk tells.
    sent: u32,
}

impl Chat {
    pub(in super::super) fn new(scene: &Scene<'_>) -> Self {
        let tier = match &scene.ask.echo["service_tier"] {
            tier if !scene.azure => format!("\"service_tier\":{tier},"),
            _ => String::new(),
        };
        let prefix = format!(
            "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{},\
             {tier}\"system_fingerprint\":\"fp_simulated\",\"choices\":",
            id(scene),
            scene.created.unix_timestamp(),
            quoted(&scene.ask.model),
        );
        let before = if scene.azure {
            format!("[{{\"index\":0,\"content_filter_results\":{},\"delta\":{{", safe())
        } else {
            "[{\"index\":0,\"delta\":{".to_owned()
        };
        let told = scene.ask.stream_usage && scene.profile.usage;
        let suffix = if told && !scene.ask.usage_always { ",\"usage\":null" } else { "" };
        Self { prefix, before, suffix, begun: false, chunks: 0, sent: 0 }
    }

    /// One chunk; `delta` writes what stands between the braces.
    fn chunk(
        &mut self,
        scene: &Scene<'_>,
        out: &mut Vec<u8>,
        finish: Option<Finish>,
        delta: impl FnOnce(&mut Vec<u8>),
    ) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(self.before.as_bytes());
        delta(out);
        out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
        match finish {
            Some(finish) => quote(out, finish_reason(finish)),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b"}]");
        out.extend_from_slice(self.suffix.as_bytes());
        if scene.ask.usage_always && scene.profile.usage {
            let _ = write!(out, ",\"usage\":{}", usage(scene, self.sent));
        }
        self.chunks += 1;
        out.extend_from_slice(b",\"obfuscation\":\"");
        out.extend_from_slice(padding(self.chunks));
        out.extend_from_slice(b"\"}\n\n");
    }

    fn role(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        self.begun = true;
        if scene.azure {
            let first = json!({
                "choices": [], "created": 0, "id": "", "model": "", "object": "",
                "prompt_filter_results": prompt_filters()
            });
            let _ = write!(out, "data: {first}\n\n");
        }
        let null = !scene.plan.calls.is_empty() || scene.plan.finish == Finish::Refused;
        let content: &[u8] = if null { b"null" } else { b"\"\"" };
        self.chunk(scene, out, None, |out| {
            out.extend_from_slice(b"\"role\":\"assistant\",\"content\":");
            out.extend_from_slice(content);
            out.extend_from_slice(b",\"refusal\":null");
        });
    }
}

impl Speaker for Chat {
    fn preamble(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        self.role(scene, out);
    }

    fn step(&mut self, scene: &Scene<'_>, step: &Step, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        let plan = scene.plan;
        let piece = plan.piece(step);
        self.sent += step.tokens;
        if step.part == Part::Reasoning && plan.redacted {
            return;
        }
        let role: &[u8] = if self.begun { b"" } else { b"\"role\":\"assistant\"," };
        self.begun = true;
        self.chunk(scene, out, None, |out| {
            out.extend_from_slice(role);
            let field = match step.part {
                Part::Text if plan.finish == Finish::Refused => "refusal",
                Part::Text => "content",
                Part::Reasoning => reasoning_field(scene),
                Part::Open(i) => {
                    let call = &plan.calls[i];
                    let _ = write!(
                        out,
                        "\"tool_calls\":[{{\"index\":{i},\"id\":\"call_{}\",\"type\":\"function\",\
                         \"function\":{{\"name\":{},\"arguments\":\"\"}}}}]",
                        call.id,
                        quoted(&call.name),
                    );
                    return;
                }
                Part::Arguments(i) => {
                    let _ = write!(out, "\"tool_calls\":[{{\"index\":{i},\"function\":{{\"arguments\":");
                    quote(out, piece);
                    return out.extend_from_slice(b"}}]");
                }
            };
            let _ = write!(out, "\"{field}\":");
            quote(out, piece);
        });
    }

    fn finish(&mut self, scene: &Scene<'_>, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.sent = scene.plan.output_tokens;
        self.chunk(scene, out, Some(scene.plan.finish), |_| {});
        if scene.ask.stream_usage && scene.profile.usage {
            out.extend_from_slice(self.prefix.as_bytes());
            let _ = write!(out, "[],\"usage\":{}}}\n\n", usage(scene, self.sent));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn error(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        let _ = write!(out, "data: {}\n\n", stream_error(scene));
    }
}
