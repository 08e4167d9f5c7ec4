//! OpenAI's Responses: typed items, and a stream of typed events with sequence numbers.

use std::io::Write as _;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    super::{
        Again, Block, Reply, Scene, Speaker, padding, quote,
        reading::{self, Weight},
        sealed,
    },
    answer, chat, error, invalid, missing, no_model as no_model_given, tier, words,
};
use crate::{
    ask::{Ask, Thinking},
    plan::{Finish, Part, Step},
    profile::FaultKind,
};

pub(in super::super) fn parse(body: &Value) -> Result<Ask, Reply> {
    let Some(model) = body["model"].as_str() else { return Err(no_model_given()) };
    let mut ask = Ask {
        model: model.to_owned(),
        stream: body["stream"] == true,
        stream_usage: true,
        max_tokens: reading::number(&body["max_output_tokens"]),
        tools: reading::tools(&body["tools"], "/name", "/parameters"),
        choice: chat::choice(&body["tool_choice"], "/name"),
        single_call: body["parallel_tool_calls"] == false,
        shape: reading::shape(&body["text"]["format"], "/schema"),
        thinking: thinking(&body["reasoning"]),
        echo: echo(body),
        ..Ask::default()
    };
    let mut weight = Weight::of(&body["instructions"]);
    match &body["input"] {
        Value::String(text) => {
            weight.add(&body["input"]);
            ask.prompt.clone_from(text);
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                weight.add(&item["content"]);
                weight.add(&item["output"]);
            }
            let user = items.iter().rfind(|i| i["role"] == "user");
            ask.prompt = user.map(|i| reading::text_of(&i["content"])).unwrap_or_default();
            ask.answered = items.last().is_some_and(|i| i["type"] == "function_call_output");
        }
        // A stored prompt or an earlier response may stand for the input.
        _ if body["prompt"].is_object() || body["previous_response_id"].is_string() => {}
        _ => return Err(missing("input")),
    }
    if body["background"] == true {
        let message = "the mock does not answer in the background; leave out 'background'";
        return Err(invalid(message, Some("background")));
    }
    ask.input_tokens = weight.tokens();
    Ok(ask)
}

fn thinking(reasoning: &Value) -> Thinking {
    if reasoning["effort"] == "none" {
        Thinking::Off
    } else if reasoning["summary"].is_string() || reasoning["generate_summary"].is_string() {
        Thinking::On(u32::MAX)
    } else {
        Thinking::Unsaid
    }
}

/// What a response repeats of its request, with the vendor's values where it says nothing.
fn echo(body: &Value) -> Value {
    let or = |field: &str, absent: Value| match &body[field] {
        Value::Null => absent,
        given => given.clone(),
    };
    let tools: Vec<Value> = body["tools"].as_array().into_iter().flatten().map(tool).collect();
    let reasoning = &body["reasoning"];
    let format = match &body["text"]["format"] {
        Value::Null => json!({"type": "text"}),
        format => format.clone(),
    };
    let verbosity = body["text"]["verbosity"].as_str().unwrap_or("medium");
    json!({
        "background": false,
        "completed_at": null,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "prompt_cache_retention": or("prompt_cache_retention", Value::Null),
        "instructions": or("instructions", Value::Null),
        "max_output_tokens": or("max_output_tokens", Value::Null),
        "max_tool_calls": or("max_tool_calls", Value::Null),
        "metadata": or("metadata", json!({})),
        "parallel_tool_calls": or("parallel_tool_calls", true.into()),
        "previous_response_id": or("previous_response_id", Value::Null),
        "prompt_cache_key": or("prompt_cache_key", Value::Null),
        "reasoning": {"effort": reasoning["effort"], "summary": reasoning["summary"]},
        "safety_identifier": or("safety_identifier", Value::Null),
        "service_tier": tier(&body["service_tier"]),
        "store": or("store", true.into()),
        "temperature": or("temperature", 1.0.into()),
        "text": {"format": format, "verbosity": verbosity},
        "tool_choice": or("tool_choice", "auto".into()),
        "tools": tools,
        "top_logprobs": or("top_logprobs", 0.into()),
        "top_p": or("top_p", 1.0.into()),
        "truncation": or("truncation", "disabled".into()),
        "user": or("user", Value::Null),
        // Not part of the response: whether encrypted reasoning is wanted.
        "include": or("include", json!([]))
    })
}

fn tool(tool: &Value) -> Value {
    let mut tool = tool.clone();
    if tool["type"] == "function" {
        for (field, absent) in [("strict", Value::Bool(true)), ("description", Value::Null)] {
            if tool[field].is_null() {
                tool[field] = absent;
            }
        }
    }
    tool
}

/// How this endpoint says that there is no such model.
pub(in super::super) fn no_model(model: &str, reply: Reply) -> Reply {
    let message = format!("The requested model '{model}' does not exist.");
    let said = error(400, &message, "invalid_request_error", Some("model"), Some("model_not_found"));
    Reply { headers: reply.headers, ..said }
}

/// A stored response that is not there; the mock stores none.
pub(in super::super::super) fn not_found(id: &str) -> Reply {
    let message = format!("Response with id '{id}' not found.");
    error(404, &message, "invalid_request_error", None, None)
}

/// The answer to a count of tokens.
pub(in super::super::super) fn count(body: &Value) -> Reply {
    match parse(body) {
        Ok(ask) => {
            let body = json!({"object": "response.input_tokens", "input_tokens": ask.input_tokens});
            Reply::json(200, &body)
        }
        Err(reply) => reply,
    }
}

fn id(scene: &Scene<'_>, kind: &str, index: usize) -> String {
    format!("{kind}_{:016x}{index:04x}", scene.key)
}

fn usage(scene: &Scene<'_>) -> Value {
    let (input, output) = (scene.plan.input_tokens, scene.plan.output_tokens);
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": scene.plan.cached_tokens},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": scene.plan.reasoning_tokens},
        "total_tokens": u64::from(input) + u64::from(output)
    })
}

/// A response object.
fn response(scene: &Scene<'_>, status: &str, output: Vec<Value>) -> Value {
    let over = status != "in_progress";
    let created = scene.created.unix_timestamp();
    let mut body = scene.ask.echo.clone();
    let details = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
    for (field, value) in [
        ("id", id(scene, "resp", 0).into()),
        ("object", "response".into()),
        ("created_at", created.into()),
        ("status", status.into()),
        ("error", Value::Null),
        ("incomplete_details", details.unwrap_or_default()),
        ("model", scene.ask.model.as_str().into()),
        ("output", output.into()),
        ("usage", if over && scene.profile.usage { usage(scene) } else { Value::Null }),
    ] {
        body[field] = value;
    }
    if status == "completed" {
        body["completed_at"] = (created + (scene.total_ns() / 1_000_000_000) as i64).into();
    }
    if let Value::Object(fields) = &mut body {
        fields.remove("include");
    }
    body
}

/// The items of an answer, as far as it is sent.
fn items(scene: &Scene<'_>) -> Vec<Value> {
    let plan = scene.plan;
    let mut blocks: Vec<Block> = Vec::new();
    if plan.reasoning_tokens > 0 {
        blocks.push(Block::Thinking);
    }
    for step in &plan.steps {
        let block = Block::of(step.part);
        if blocks.last() != Some(&block) {
            blocks.push(block);
        }
    }
    let last = blocks.len().saturating_sub(1);
    let cut = |i| i == last && plan.finish == Finish::Length;
    let status = |i| if cut(i) { "incomplete" } else { "completed" };
    blocks.into_iter().enumerate().map(|(i, block)| item(scene, block, i, status(i), true)).collect()
}

/// One item; `whole`: with its content.
fn item(scene: &Scene<'_>, block: Block, index: usize, status: &str, whole: bool) -> Value {
    let plan = scene.plan;
    match block {
        Block::Thinking => {
            let text = plan.joined(Part::Reasoning);
            let shown = whole && !text.is_empty() && !plan.redacted;
            let summary = if shown { json!([{"type": "summary_text", "text": text}]) } else { json!([]) };
            let mut item = json!({"id": id(scene, "rs", index), "type": "reasoning", "summary": summary});
            let wanted = scene.ask.echo["include"].as_array();
            let wanted = wanted.is_some_and(|w| w.iter().any(|i| i == "reasoning.encrypted_content"));
            if wanted || plan.redacted {
                item["encrypted_content"] = if whole { sealed(scene.key).into() } else { "".into() };
            }
            item
        }
        Block::Text => {
            let content = if whole { vec![part(scene, &plan.joined(Part::Text))] } else { Vec::new() };
            json!({
                "id": id(scene, "msg", index), "type": "message", "status": status, "role": "assistant",
                "content": content
            })
        }
        Block::Call(i) => {
            let call = &plan.calls[i];
            let arguments = if whole { plan.joined(Part::Arguments(i)) } else { String::new() };
            json!({
                "id": id(scene, "fc", index), "type": "function_call", "status": status,
                "arguments": arguments, "call_id": format!("call_{}", call.id), "name": call.name
            })
        }
    }
}

/// The content of a message.
fn part(scene: &Scene<'_>, text: &str) -> Value {
    if scene.plan.finish == Finish::Refused {
        json!({"type": "refusal", "refusal": text})
    } else {
        json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
    }
}

fn status(finish: Finish) -> &'static str {
    if finish == Finish::Length { "incomplete" } else { "completed" }
}

pub(in super::super) fn whole(scene: &Scene<'_>) -> Reply {
    answer(scene, &response(scene, status(scene.plan.finish), items(scene)))
}

/// Says a stream of events.
pub(in super::super) struct Responses {
    sequence: u64,
    /// Items opened so far.
    items: usize,
    open: Option<Block>,
    begun: bool,
    /// Kind and place of the deltas of the open item: from `"type"` as far as the sequence number.
    delta: String,
    /// Its place in the answer, from `"item_id"` as far as the text.
    place: String,
}

impl Responses {
    pub(in super::super) fn new(_scene: &Scene<'_>) -> Self {
        let (delta, place) = (String::new(), String::new());
        Self { sequence: 0, items: 0, open: None, begun: false, delta, place }
    }

    fn event(&mut self, name: &str, mut data: Value, out: &mut Vec<u8>) {
        data["type"] = name.into();
        data["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        let _ = write!(out, "event: {name}\ndata: {data}\n\n");
    }

    fn begin(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            let data = json!({"response": response(scene, "in_progress", Vec::new())});
            self.event("response.created", data.clone(), out);
            self.event("response.in_progress", data, out);
        }
    }

    fn index(&self) -> usize {
        self.items.saturating_sub(1)
    }

    fn open(&mut self, scene: &Scene<'_>, block: Block, out: &mut Vec<u8>) {
        if self.open == Some(block) {
            return;
        }
        self.close(scene, None, out);
        if self.items == 0 && block != Block::Thinking && scene.plan.reasoning_tokens > 0 {
            // Reasoning that nobody sees is an item all the same.
            self.open(scene, Block::Thinking, out);
            self.close(scene, None, out);
        }
        self.open = Some(block);
        self.items += 1;
        let index = self.index();
        let item = item(scene, block, index, "in_progress", false);
        let item_id = item["id"].clone();
        self.event("response.output_item.added", json!({"output_index": index, "item": item}), out);
        let refused = scene.plan.finish == Finish::Refused;
        let (kind, place) = match block {
            Block::Thinking => ("reasoning_summary_text", "\"summary_index\":0,"),
            Block::Text if refused => ("refusal", "\"content_index\":0,"),
            Block::Text => ("output_text", "\"content_index\":0,\"logprobs\":[],"),
            Block::Call(_) => ("function_call_arguments", ""),
        };
        self.delta = format!(
            "event: response.{kind}.delta\ndata: {{\"type\":\"response.{kind}.delta\",\"sequence_number\":"
        );
        self.place = format!(",\"item_id\":{item_id},\"output_index\":{index},{place}\"delta\":");
        if block == Block::Text {
            let data = json!({
                "item_id": item_id, "output_index": index, "content_index": 0, "part": part(scene, "")
            });
            self.event("response.content_part.added", data, out);
        } else if block == Block::Thinking && shown(scene) {
            let part = json!({"type": "summary_text", "text": ""});
            let data = json!({"item_id": item_id, "output_index": index, "summary_index": 0, "part": part});
            self.event("response.reasoning_summary_part.added", data, out);
        }
    }

    /// Closes the open item; `finish` is why the answer ends with it.
    fn close(&mut self, scene: &Scene<'_>, finish: Option<Finish>, out: &mut Vec<u8>) {
        let Some(block) = self.open.take() else { return };
        let (plan, index) = (scene.plan, self.index());
        let item = item(scene, block, index, finish.map_or("completed", status), true);
        let at = |more: Value| {
            let mut data = json!({"item_id": item["id"], "output_index": index});
            for (field, value) in more.as_object().into_iter().flatten() {
                data[field] = value.clone();
            }
            data
        };
        match block {
            Block::Thinking if shown(scene) => {
                let text = plan.joined(Part::Reasoning);
                let data = at(json!({"summary_index": 0, "text": text}));
                self.event("response.reasoning_summary_text.done", data, out);
                let part = json!({"type": "summary_text", "text": text});
                let data = at(json!({"summary_index": 0, "part": part}));
                self.event("response.reasoning_summary_part.done", data, out);
            }
            Block::Thinking => {}
            Block::Text => {
                let text = plan.joined(Part::Text);
                let part = part(scene, &text);
                if plan.finish == Finish::Refused {
                    let data = at(json!({"content_index": 0, "refusal": text}));
                    self.event("response.refusal.done", data, out);
                } else {
                    let data = at(json!({"content_index": 0, "text": text, "logprobs": []}));
                    self.event("response.output_text.done", data, out);
                }
                let data = at(json!({"content_index": 0, "part": part}));
                self.event("response.content_part.done", data, out);
            }
            Block::Call(i) => {
                let data = at(json!({
                    "arguments": plan.joined(Part::Arguments(i)), "name": plan.calls[i].name
                }));
                self.event("response.function_call_arguments.done", data, out);
            }
        }
        self.event("response.output_item.done", json!({"output_index": index, "item": item}), out);
    }
}

/// Whether the text of the reasoning is sent.
fn shown(scene: &Scene<'_>) -> bool {
    !scene.plan.redacted && scene.plan.steps.iter().any(|s| s.part == Part::Reasoning)
}

impl Speaker for Responses {
    fn preamble(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        self.begin(scene, out);
    }

    fn step(&mut self, scene: &Scene<'_>, step: &Step, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.begin(scene, out);
        self.open(scene, Block::of(step.part), out);
        let hidden = step.part == Part::Reasoning && !shown(scene);
        if hidden || matches!(step.part, Part::Open(_)) {
            return;
        }
        let _ = write!(out, "{}{}{}", self.delta, self.sequence, self.place);
        quote(out, scene.plan.piece(step));
        out.extend_from_slice(b",\"obfuscation\":\"");
        out.extend_from_slice(padding(self.sequence as usize));
        out.extend_from_slice(b"\"}\n\n");
        self.sequence += 1;
    }

    fn finish(&mut self, scene: &Scene<'_>, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.begin(scene, out);
        let finish = scene.plan.finish;
        self.close(scene, Some(finish), out);
        let data = json!({"response": response(scene, status(finish), items(scene))});
        self.event(&format!("response.{}", status(finish)), data, out);
    }

    fn error(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        self.begin(scene, out);
        let kind = scene.plan.says.unwrap_or(FaultKind::Server);
        let said = words(kind, &scene.ask.model, Again::default());
        let code = said.code.unwrap_or(said.kind);
        let error = json!({"type": said.kind, "code": code, "message": said.message, "param": said.param});
        self.event("error", json!({"error": error}), out);
        let mut response = response(scene, "failed", Vec::new());
        response["usage"] = Value::Null;
        response["error"] = json!({"code": code, "message": said.message});
        self.event("response.failed", json!({"response": response}), out);
    }
}
