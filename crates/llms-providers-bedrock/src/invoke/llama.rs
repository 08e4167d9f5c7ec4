//! Meta's Llama: one prompt in the template of its generation; `generation` in pieces.
//!
//! Facts: <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html>, Meta's prompt formats
//! (<https://github.com/meta-llama/llama-models>), and recordings.

use llms_core::{ChatOptions, ChatRequest, EventSink, Result, Stamp, Usage, wire::borrow::Text};
use serde::Deserialize;

use super::{
    Family,
    answer::{Answer, count, parse},
    plain::{Plain, Speaker, finish},
    request::{Body, put},
    stream::Said,
};

pub(super) fn body(request: &ChatRequest, options: &ChatOptions, model: &str) -> Result<Body> {
    let plain = Plain::of(Family::Llama, request)?;
    let prompt = if model.contains("llama2") {
        second(&plain)
    } else if model.contains("llama4") {
        turns(&plain, ["<|header_start|>", "<|header_end|>", "<|eot|>"])
    } else {
        turns(&plain, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    };
    let mut body = Body::new();
    put(&mut body, "prompt", Some(prompt));
    put(&mut body, "max_gen_len", options.max_tokens);
    put(&mut body, "temperature", options.temperature);
    put(&mut body, "top_p", options.top_p);
    Ok(body)
}

/// Llama 3 and 4: a header with the role before each text.
fn turns(plain: &Plain, [open, close, end]: [&str; 3]) -> String {
    let mut prompt = String::from("<|begin_of_text|>");
    let mut say = |role: &str, text: &str| prompt.push_str(&format!("{open}{role}{close}\n\n{text}{end}"));
    if let Some(system) = &plain.system {
        say("system", system);
    }
    for (speaker, text) in &plain.history {
        say(if *speaker == Speaker::User { "user" } else { "assistant" }, text);
    }
    say("user", &plain.last);
    prompt.push_str(&format!("{open}assistant{close}\n\n"));
    prompt
}

/// Llama 2: instructions in brackets, the system text within the first.
fn second(plain: &Plain) -> String {
    let mut prompt = String::new();
    let mut system = plain.system.as_ref().map(|s| format!("<<SYS>>\n{s}\n<</SYS>>\n\n"));
    let last = (Speaker::User, plain.last.clone());
    for (speaker, text) in plain.history.iter().chain([&last]) {
        match speaker {
            Speaker::User => {
                let system = system.take().unwrap_or_default();
                prompt.push_str(&format!("<s>[INST] {system}{text} [/INST]"));
            }
            Speaker::Assistant => prompt.push_str(&format!(" {text} </s>")),
        }
    }
    prompt
}

/// Whole answers and chunks have the same members.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    generation: Option<Text<'a>>,
    prompt_token_count: Option<f64>,
    /// So far.
    generation_token_count: Option<f64>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

impl Chunk<'_> {
    fn usage(&self) -> Usage {
        Usage {
            input_tokens: count(self.prompt_token_count),
            output_tokens: count(self.generation_token_count),
            ..Usage::default()
        }
    }
}

pub(super) fn whole(body: &[u8]) -> Result<Answer> {
    let chunk: Chunk<'_> = parse(body, "a Llama answer with generation")?;
    let mut answer = Answer::default();
    answer.usage(chunk.usage());
    answer.response.finish_reason = chunk.stop_reason.as_deref().map(finish);
    answer.text(chunk.generation, "generation")?;
    Ok(answer)
}

/// One chunk of a stream. The last has the reason.
pub(super) fn chunk(json: &[u8], stamp: Stamp, sink: &mut dyn EventSink, said: &mut Said) -> Result<()> {
    let chunk: Chunk<'_> = parse(json, "a Llama chunk")?;
    said.usage(chunk.usage());
    said.text(chunk.generation, stamp, sink);
    if let Some(reason) = chunk.stop_reason {
        said.stop(finish(&reason));
    }
    Ok(())
}
