//! OpenAI's first completions: a prompt goes on as text.

use std::io::Write as _;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    super::{Reply, Scene, Speaker, quote, quoted, reading},
    answer, invalid, no_model, stream_error,
};
use crate::{
    ask::{Ask, Choice},
    plan::{Finish, Part, Step},
    words,
};

/// The vendor's limit where a request has none.
const MAX_TOKENS: u32 = 16;

pub(in super::super) fn parse(body: &Value, deployment: Option<String>) -> Result<Ask, Reply> {
    let Some(model) = deployment.or_else(|| body["model"].as_str().map(str::to_owned)) else {
        return Err(no_model());
    };
    let one = "the mock answers one prompt with one choice; leave out 'n' and 'best_of'";
    for field in ["n", "best_of"] {
        if body[field].as_u64().is_some_and(|n| n != 1) {
            return Err(invalid(one, Some(field)));
        }
    }
    let prompt = match &body["prompt"] {
        Value::Array(prompts) if prompts.len() == 1 && !prompts[0].is_number() => &prompts[0],
        prompt => prompt,
    };
    let (prompt, input_tokens) = match prompt {
        Value::Null => (String::new(), 1),
        Value::String(text) => (text.clone(), words::count(text.len())),
        // A prompt in tokens.
        Value::Array(tokens) if tokens.iter().all(Value::is_number) => {
            (String::new(), u32::try_from(tokens.len()).unwrap_or(u32::MAX).max(1))
        }
        _ => return Err(invalid(one, Some("prompt"))),
    };
    Ok(Ask {
        model,
        stream: body["stream"] == true,
        stream_usage: body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)),
        max_tokens: reading::number(&body["max_tokens"]).or(Some(MAX_TOKENS)),
        min_tokens: reading::number(&body["min_tokens"]),
        ignore_eos: body["ignore_eos"] == true,
        input_tokens,
        prompt,
        choice: Choice::Never,
        stop: reading::texts(&body["stop"]),
        ..Ask::default()
    })
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::Refused => "content_filter",
        Finish::Stop | Finish::StopSequence | Finish::Tools => "stop",
    }
}

fn id(scene: &Scene<'_>) -> String {
    format!("cmpl-{:016x}", scene.key)
}

fn usage(scene: &Scene<'_>) -> Value {
    let (input, output) = (scene.plan.input_tokens, scene.plan.output_tokens);
    let mut usage = json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": u64::from(input) + u64::from(output)
    });
    if scene.plan.cached_tokens > 0 {
        usage["prompt_tokens_details"] = json!({"cached_tokens": scene.plan.cached_tokens});
    }
    usage
}

pub(in super::super) fn whole(scene: &Scene<'_>) -> Reply {
    let plan = scene.plan;
    let mut body = json!({
        "id": id(scene),
        "object": "text_completion",
        "created": scene.created.unix_timestamp(),
        "model": scene.ask.model,
        "choices": [{
            "text": plan.joined(Part::Text),
            "index": 0,
            "logprobs": null,
            "finish_reason": finish_reason(plan.finish)
        }]
    });
    if scene.profile.usage {
        body["usage"] = usage(scene);
    }
    answer(scene, &body)
}

/// Says a stream of chunks.
pub(in super::super) struct Completions {
    /// Each chunk as far as its choices.
    prefix: String,
    /// What follows them.
    suffix: String,
    told: bool,
}

impl Completions {
    pub(in super::super) fn new(scene: &Scene<'_>) -> Self {
        let told = scene.ask.stream_usage && scene.profile.usage;
        let prefix = format!(
            "data: {{\"id\":\"{}\",\"object\":\"text_completion\",\"created\":{},\"choices\":[",
            id(scene),
            scene.created.unix_timestamp(),
        );
        let usage = if told { ",\"usage\":null" } else { "" };
        let suffix = format!("],\"model\":{}{usage}}}\n\n", quoted(&scene.ask.model));
        Self { prefix, suffix, told }
    }

    fn chunk(&self, out: &mut Vec<u8>, text: &str, finish: Option<Finish>) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(b"{\"text\":");
        quote(out, text);
        out.extend_from_slice(b",\"index\":0,\"logprobs\":null,\"finish_reason\":");
        match finish {
            Some(finish) => quote(out, finish_reason(finish)),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
        out.extend_from_slice(self.suffix.as_bytes());
    }
}

impl Speaker for Completions {
    /// The protocol has none.
    fn preamble(&mut self, _scene: &Scene<'_>, _out: &mut Vec<u8>) {}

    fn step(&mut self, scene: &Scene<'_>, step: &Step, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        if step.part == Part::Text {
            self.chunk(out, scene.plan.piece(step), None);
        }
    }

    fn finish(&mut self, scene: &Scene<'_>, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.chunk(out, "", Some(scene.plan.finish));
        if self.told {
            let _ = write!(
                out,
                "{}],\"model\":{},\"usage\":{}}}\n\n",
                self.prefix,
                quoted(&scene.ask.model),
                usage(scene)
            );
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn error(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        let _ = write!(out, "data: {}\n\n", stream_error(scene));
    }
}
