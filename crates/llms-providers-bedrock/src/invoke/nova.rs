//! Amazon Nova: bodies much like Converse's, one event of ConverseStream a chunk.
//!
//! Facts: <https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html>, and recordings. Documents,
//! cache points and reasoning to send back are for Converse.

use std::borrow::Cow;

use llms_core::{
    ChatOptions, ChatRequest, Error, ErrorCode, EventSink, FinishReason, Message, Result, Stamp, StreamEvent,
    ToolCall, Usage,
    chat::{Content, ImageData, ToolChoice},
    event::ToolCallDelta,
    wire::borrow::Text,
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    Family,
    answer::{Answer, count, parse},
    request::{Body, cannot, put, stops},
    stream::Said,
};
use crate::{
    content::{extension, from_the_web, image_format},
    request::refused,
};

pub(super) fn body(request: &ChatRequest, options: &ChatOptions) -> Result<Body> {
    let mut body = Body::new();
    put(&mut body, "schemaVersion", Some("messages-v1"));
    let (system, messages) = conversation(&request.messages)?;
    put(&mut body, "messages", Some(messages));
    put(&mut body, "system", (!system.is_empty()).then_some(system));
    let mut config = Body::new();
    put(&mut config, "maxTokens", options.max_tokens);
    put(&mut config, "temperature", options.temperature);
    put(&mut config, "topP", options.top_p);
    put(&mut config, "topK", options.top_k);
    put(&mut config, "stopSequences", stops(options));
    put(&mut body, "inferenceConfig", (!config.is_empty()).then_some(config));
    let choice = match &request.tool_choice {
        ToolChoice::Auto => None,
        ToolChoice::Required => Some(json!({"any": {}})),
        ToolChoice::Tool(name) => Some(json!({"tool": {"name": name}})),
        ToolChoice::None => return Ok(body),
    };
    if !request.tools.is_empty() {
        let tools: Vec<Value> = request
            .tools
            .iter()
            .map(|t| {
                let mut spec = json!({"name": t.name, "inputSchema": {"json": t.parameters}});
                if !t.description.is_empty() {
                    spec["description"] = t.description.as_str().into();
                }
                json!({"toolSpec": spec})
            })
            .collect();
        let mut config = Body::new();
        put(&mut config, "tools", Some(tools));
        put(&mut config, "toolChoice", choice);
        put(&mut body, "toolConfig", Some(config));
    }
    Ok(body)
}

fn conversation(messages: &[Message]) -> Result<(Vec<Value>, Vec<Value>)> {
    let (mut system, mut turns) = (Vec::new(), Vec::<(&str, Vec<Value>)>::new());
    for (i, message) in messages.iter().enumerate() {
        let (role, blocks) = match message {
            Message::System { content } => {
                system.push(json!({"text": content}));
                continue;
            }
            Message::User { content } => ("user", user(i, content)?),
            Message::Assistant { reasoning, .. } if !reasoning.is_empty() => {
                return Err(cannot(&format!("messages[{i}].reasoning"), Family::Nova));
            }
            Message::Assistant { content, tool_calls, .. } => {
                ("assistant", assistant(i, content, tool_calls)?)
            }
            Message::Tool { call_id, content, is_error, .. } => {
                let mut result = json!({"toolUseId": call_id, "content": [{"text": content}]});
                if *is_error {
                    result["status"] = "error".into();
                }
                ("user", vec![json!({"toolResult": result})])
            }
        };
        if blocks.is_empty() {
            return Err(refused(format!("messages[{i}]: expected text, an image or a tool call")));
        }
        match turns.last_mut() {
            Some((last, joined)) if *last == role => joined.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    let turns = turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    Ok((system, turns))
}

fn user(i: usize, parts: &[Content]) -> Result<Vec<Value>> {
    parts
        .iter()
        .enumerate()
        .filter(|(_, p)| !matches!(p, Content::Text { text } if text.is_empty()))
        .map(|(k, part)| match part {
            Content::Text { text } => Ok(json!({"text": text})),
            Content::Image { data } => image(i, data),
            _ => Err(cannot(&format!("messages[{i}].content[{k}]"), Family::Nova)),
        })
        .collect()
}

fn image(i: usize, data: &ImageData) -> Result<Value> {
    let (format, source) = match data {
        ImageData::Inline { media_type, base64 } => (image_format(i, media_type)?, json!({"bytes": base64})),
        ImageData::Url(url) if url.starts_with("s3://") => {
            (image_format(i, &extension(url))?, json!({"s3Location": {"uri": url}}))
        }
        ImageData::Url(_) => return Err(from_the_web(i, "images")),
    };
    Ok(json!({"image": {"format": format, "source": source}}))
}

fn assistant(i: usize, text: &str, calls: &[ToolCall]) -> Result<Vec<Value>> {
    let mut blocks = Vec::with_capacity(calls.len() + 1);
    if !text.is_empty() {
        blocks.push(json!({"text": text}));
    }
    for (k, call) in calls.iter().enumerate() {
        let input = call
            .parse_arguments()
            .map_err(|e| refused(format!("messages[{i}].tool_calls[{k}].arguments: expected JSON ({e})")))?;
        blocks.push(json!({"toolUse": {"toolUseId": call.id, "name": call.name, "input": input}}));
    }
    Ok(blocks)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    #[serde(borrow)]
    output: Option<Output<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Blocks<'a>,
}

#[derive(Deserialize)]
struct Blocks<'a> {
    #[serde(borrow, default)]
    content: Vec<Block<'a>>,
}

/// A block of a whole answer, and the delta of a stream.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Reasoning<'a>>,
}

#[derive(Deserialize)]
struct ToolUse<'a> {
    #[serde(borrow, rename = "toolUseId")]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    /// An object in whole answers, a piece of text in streams.
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// `{reasoningText: {text}}` in whole answers, `{text}` or the former in streams.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_text: Option<ReasoningText<'a>>,
}

#[derive(Deserialize)]
struct ReasoningText<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
}

impl<'a> Reasoning<'a> {
    fn into_text(self) -> Option<Text<'a>> {
        self.text.or(self.reasoning_text.and_then(|r| r.text)).filter(|t| !t.is_empty())
    }
}

/// Disjoint, as Converse's are; the cache counts have other names.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    total_tokens: Option<f64>,
    cache_read_input_token_count: Option<f64>,
    cache_write_input_token_count: Option<f64>,
}

impl Counts {
    fn usage(self) -> Usage {
        let read = count(self.cache_read_input_token_count);
        let write = count(self.cache_write_input_token_count);
        Usage {
            input_tokens: count(self.input_tokens).map(|n| n + read.unwrap_or(0) + write.unwrap_or(0)),
            output_tokens: count(self.output_tokens),
            cache_read_tokens: read,
            cache_write_tokens: write,
            total_tokens: count(self.total_tokens),
            ..Usage::default()
        }
    }
}

/// A whole answer.
pub(super) fn whole(body: &[u8]) -> Result<Answer> {
    let whole: Whole<'_> = parse(body, "a Nova answer")?;
    let Some(output) = whole.output else {
        return Err(Error::new(
            "bedrock.answer",
            ErrorCode::InvalidResponse,
            "expected an answer with output.message; see whether the setting `body` is the model's",
        ));
    };
    let mut answer = Answer::default();
    let response = &mut answer.response;
    response.finish_reason = whole.stop_reason.as_deref().map(finish);
    for block in output.message.content {
        if let Some(text) = block.text {
            response.text.push_str(&text);
        }
        if let Some(text) = block.reasoning_content.and_then(Reasoning::into_text) {
            response.reasoning.get_or_insert_default().push_str(&text);
        }
        if let Some(call) = block.tool_use {
            response.tool_calls.push(ToolCall {
                id: call.id.map(|t| t.0.into_owned()).unwrap_or_default(),
                name: call.name.map(|t| t.0.into_owned()).unwrap_or_default(),
                arguments: call.input.map(|i| i.get().to_owned()).unwrap_or_default(),
            });
        }
    }
    if let Some(counts) = whole.usage {
        answer.usage(counts.usage());
    }
    Ok(answer)
}

/// One event of a stream: one of these is there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    message_start: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    content_block_start: Option<Start<'a>>,
    #[serde(borrow)]
    content_block_delta: Option<Delta<'a>>,
    #[serde(borrow)]
    message_stop: Option<Stop<'a>>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    #[serde(borrow)]
    start: Option<Block<'a>>,
    #[serde(default)]
    content_block_index: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    #[serde(borrow)]
    delta: Block<'a>,
    #[serde(default)]
    content_block_index: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stop<'a> {
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Metadata {
    usage: Option<Counts>,
}

/// What must be remembered from event to event: the blocks that are tool calls.
#[derive(Debug, Default)]
pub(super) struct Open {
    calls: Vec<u32>,
}

impl Open {
    /// One event of a stream.
    pub(super) fn chunk(
        &mut self,
        json: &[u8],
        stamp: Stamp,
        sink: &mut dyn EventSink,
        said: &mut Said,
    ) -> Result<()> {
        let event: Event<'_> = parse(json, "an event of Nova's")?;
        if event.message_start.is_some() {
            said.start(stamp, sink);
        }
        if let Some(Start { start: Some(block), content_block_index }) = event.content_block_start
            && let Some(call) = block.tool_use
        {
            let delta = ToolCallDelta {
                index: self.calls.len() as u32,
                id: call.id.map(|t| t.0),
                name: call.name.map(|t| t.0),
                arguments: Cow::Borrowed(""),
            };
            self.calls.push(content_block_index);
            sink.event(StreamEvent::ToolCall(delta), stamp);
        }
        if let Some(Delta { delta, content_block_index }) = event.content_block_delta {
            if let Some(Text(text)) = delta.reasoning_content.and_then(Reasoning::into_text) {
                sink.event(StreamEvent::Reasoning(text), stamp);
            }
            if let Some(input) = delta.tool_use.and_then(|t| t.input) {
                self.arguments(content_block_index, input, stamp, sink)?;
            }
            if delta.text.is_some() {
                said.text(delta.text, stamp, sink);
            }
        }
        if let Some(stop) = event.message_stop {
            match stop.stop_reason {
                Some(reason) => said.stop(finish(&reason)),
                None => said.end(),
            }
        }
        if let Some(counts) = event.metadata.and_then(|m| m.usage) {
            said.usage(counts.usage());
        }
        Ok(())
    }

    fn arguments(
        &mut self,
        block: u32,
        input: &RawValue,
        stamp: Stamp,
        sink: &mut dyn EventSink,
    ) -> Result<()> {
        let Some(index) = self.calls.iter().position(|b| *b == block) else { return Ok(()) };
        let json = input.get();
        let arguments = if json.starts_with('"') {
            parse::<Text<'_>>(json.as_bytes(), "a piece of a tool's input")?.0
        } else {
            Cow::Borrowed(json)
        };
        if !arguments.is_empty() {
            let delta = ToolCallDelta { index: index as u32, arguments, ..ToolCallDelta::default() };
            sink.event(StreamEvent::ToolCall(delta), stamp);
        }
        Ok(())
    }
}

fn finish(word: &str) -> FinishReason {
    match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "content_filtered" | "guardrail_intervened" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}
