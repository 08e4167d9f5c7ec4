//! Cohere's Command R: `message`, `chat_history`, `preamble`; events with an `event_type`. No tokens in its body.
//!
//! Facts: <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command-r-plus.html>, Cohere's
//! page on streams, and a recording of a whole answer.

use llms_core::{ChatOptions, ChatRequest, EventSink, FinishReason, Result, Stamp, wire::borrow::Text};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Family,
    answer::{Answer, parse},
    plain::{Plain, Speaker},
    request::{Body, put, stops},
    stream::Said,
};

pub(super) fn body(request: &ChatRequest, options: &ChatOptions) -> Result<Body> {
    let Plain { system, history, last } = Plain::of(Family::Cohere, request)?;
    let history: Vec<Value> = history
        .into_iter()
        .map(|(speaker, text)| {
            let role = if speaker == Speaker::User { "USER" } else { "CHATBOT" };
            json!({"role": role, "message": text})
        })
        .collect();
    let mut body = Body::new();
    put(&mut body, "message", Some(last));
    put(&mut body, "chat_history", (!history.is_empty()).then_some(history));
    put(&mut body, "preamble", system);
    put(&mut body, "max_tokens", options.max_tokens);
    put(&mut body, "temperature", options.temperature);
    put(&mut body, "p", options.top_p);
    put(&mut body, "k", options.top_k);
    put(&mut body, "seed", options.seed);
    put(&mut body, "frequency_penalty", options.frequency_penalty);
    put(&mut body, "presence_penalty", options.presence_penalty);
    put(&mut body, "stop_sequences", stops(options));
    Ok(body)
}

/// A whole answer, an event of a stream, and the answer within the last of these.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    event_type: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    #[serde(borrow)]
    response_id: Option<Text<'a>>,
    #[serde(borrow)]
    response: Option<Inner<'a>>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    response_id: Option<Text<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

pub(super) fn whole(body: &[u8]) -> Result<Answer> {
    let chunk: Chunk<'_> = parse(body, "a Command R answer with text")?;
    let mut answer = Answer::default();
    answer.response.finish_reason = chunk.finish_reason.as_deref().map(finish);
    answer.response.id = chunk.response_id.map(|t| t.0.into_owned());
    answer.text(chunk.text, "text")?;
    Ok(answer)
}

/// One event of a stream. `stream-end` has the reason, and repeats the text within its `response`.
pub(super) fn chunk(json: &[u8], stamp: Stamp, sink: &mut dyn EventSink, said: &mut Said) -> Result<()> {
    let chunk: Chunk<'_> = parse(json, "a Command R event")?;
    match chunk.event_type.as_deref() {
        Some("text-generation") => said.text(chunk.text, stamp, sink),
        Some("stream-end") => {
            let (id, inner) = chunk.response.map(|r| (r.response_id, r.finish_reason)).unwrap_or_default();
            said.id = id.map(|t| t.0.into_owned());
            let reason = chunk.finish_reason.or(inner);
            said.stop(finish(reason.as_deref().unwrap_or("COMPLETE")));
        }
        _ => {}
    }
    Ok(())
}

fn finish(word: &str) -> FinishReason {
    match word {
        "COMPLETE" | "STOP_SEQUENCE" => FinishReason::Stop,
        "MAX_TOKENS" | "ERROR_LIMIT" => FinishReason::Length,
        "ERROR_TOXIC" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}
