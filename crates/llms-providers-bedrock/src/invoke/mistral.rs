//! Mistral's text completion: instructions in brackets, `outputs`. It counts no tokens in its body.
//!
//! Facts: <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-text-completion.html>, and a
//! recording of a whole answer.

use llms_core::{ChatOptions, ChatRequest, EventSink, Result, Stamp, wire::borrow::Text};
use serde::Deserialize;

use super::{
    Family,
    answer::{Answer, parse},
    plain::{Plain, Speaker, finish},
    request::{Body, put, stops},
    stream::Said,
};

pub(super) fn body(request: &ChatRequest, options: &ChatOptions) -> Result<Body> {
    let Plain { history, last, .. } = Plain::without_system(Family::Mistral, request)?;
    let mut prompt = String::from("<s>");
    for (speaker, text) in history {
        match speaker {
            Speaker::User => prompt.push_str(&format!("[INST] {text} [/INST]")),
            Speaker::Assistant => prompt.push_str(&format!(" {text}</s>")),
        }
    }
    prompt.push_str(&format!("[INST] {last} [/INST]"));
    let mut body = Body::new();
    put(&mut body, "prompt", Some(prompt));
    put(&mut body, "max_tokens", options.max_tokens);
    put(&mut body, "temperature", options.temperature);
    put(&mut body, "top_p", options.top_p);
    put(&mut body, "top_k", options.top_k);
    put(&mut body, "stop", stops(options));
    Ok(body)
}

/// Whole answers and chunks have the same members.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    outputs: Vec<Output<'a>>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

pub(super) fn whole(body: &[u8]) -> Result<Answer> {
    let chunk: Chunk<'_> = parse(body, "a Mistral answer with outputs")?;
    let mut answer = Answer::default();
    let output = chunk.outputs.into_iter().next();
    answer.response.finish_reason = output.as_ref().and_then(|o| o.stop_reason.as_deref()).map(finish);
    answer.text(output.and_then(|o| o.text), "outputs")?;
    Ok(answer)
}

/// One chunk of a stream. The last has the reason.
pub(super) fn chunk(json: &[u8], stamp: Stamp, sink: &mut dyn EventSink, said: &mut Said) -> Result<()> {
    let chunk: Chunk<'_> = parse(json, "a Mistral chunk")?;
    let Some(output) = chunk.outputs.into_iter().next() else { return Ok(()) };
    said.text(output.text, stamp, sink);
    if let Some(reason) = output.stop_reason {
        said.stop(finish(&reason));
    }
    Ok(())
}
