//! Amazon Titan Text: `inputText` in the form of a conversation; an answer whose counts may be floats.
//!
//! Facts: <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html>, and recordings.

use llms_core::{
    ChatOptions, ChatRequest, EventSink, FinishReason, Result, Stamp, Usage, wire::borrow::Text,
};
use serde::Deserialize;

use super::{
    Family,
    answer::{Answer, count, parse},
    plain::{Plain, Speaker},
    request::{Body, put, stops},
    stream::Said,
};

pub(super) fn body(request: &ChatRequest, options: &ChatOptions) -> Result<Body> {
    let Plain { history, last, .. } = Plain::without_system(Family::Titan, request)?;
    let mut prompt = String::new();
    for (speaker, text) in history {
        let name = if speaker == Speaker::User { "User" } else { "Bot" };
        prompt.push_str(&format!("{name}: {text}\n"));
    }
    prompt.push_str(&format!("User: {last}\nBot:"));
    let mut config = Body::new();
    put(&mut config, "temperature", options.temperature);
    put(&mut config, "topP", options.top_p);
    put(&mut config, "maxTokenCount", options.max_tokens);
    put(&mut config, "stopSequences", stops(options));
    let mut body = Body::new();
    put(&mut body, "inputText", Some(prompt));
    put(&mut body, "textGenerationConfig", (!config.is_empty()).then_some(config));
    Ok(body)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    input_text_token_count: Option<f64>,
    results: Vec<ResultPart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultPart {
    token_count: Option<f64>,
    #[serde(default)]
    output_text: String,
    completion_reason: Option<String>,
}

pub(super) fn whole(body: &[u8]) -> Result<Answer> {
    let Whole { input_text_token_count, results } = parse(body, "a Titan answer with results")?;
    let mut answer = Answer::default();
    let mut output = None;
    for part in results {
        answer.response.text.push_str(&part.output_text);
        output = count(part.token_count).map(|n| n + output.unwrap_or(0)).or(output);
        if let Some(reason) = part.completion_reason {
            answer.response.finish_reason = Some(finish(&reason));
        }
    }
    answer.usage(usage(count(input_text_token_count), output));
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow)]
    output_text: Option<Text<'a>>,
    #[serde(borrow)]
    completion_reason: Option<Text<'a>>,
    input_text_token_count: Option<f64>,
    total_output_text_token_count: Option<f64>,
}

/// One chunk of a stream. The last has the reason.
pub(super) fn chunk(json: &[u8], stamp: Stamp, sink: &mut dyn EventSink, said: &mut Said) -> Result<()> {
    let chunk: Chunk<'_> = parse(json, "a Titan chunk")?;
    said.text(chunk.output_text, stamp, sink);
    said.usage(usage(count(chunk.input_text_token_count), count(chunk.total_output_text_token_count)));
    if let Some(reason) = chunk.completion_reason {
        said.stop(finish(&reason));
    }
    Ok(())
}

fn usage(input: Option<u64>, output: Option<u64>) -> Usage {
    Usage { input_tokens: input, output_tokens: output, ..Usage::default() }
}

fn finish(word: &str) -> FinishReason {
    match word {
        "FINISH" | "FINISHED" | "STOP_CRITERIA_MET" => FinishReason::Stop,
        "LENGTH" => FinishReason::Length,
        "CONTENT_FILTERED" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}
