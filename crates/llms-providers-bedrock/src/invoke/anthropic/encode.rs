//! Our request as Anthropic's body.

use llms_core::{
    ChatOptions, ChatRequest, Message, Result, ToolCall,
    chat::{CacheAt, CacheTtl, Content, DocumentData, ImageData, ReasoningBlock, ResponseFormat, ToolChoice},
};
use serde_json::{Value, json};

use super::super::{
    Family,
    request::{Body, cannot, put, stops},
};
use crate::{
    content::from_the_web,
    request::{Marks, refused},
};

/// The version that every body names.
const VERSION: &str = "bedrock-2023-05-31";
/// `max_tokens` where neither request nor configuration sets it: the body demands one.
const DEFAULT_MAX_TOKENS: u32 = 4096;

/// What the body demands and nobody gave.
pub(crate) fn defaults(body: &mut Body) {
    body.entry("anthropic_version").or_insert_with(|| VERSION.into());
    body.entry("max_tokens").or_insert_with(|| DEFAULT_MAX_TOKENS.into());
}

pub(crate) fn body(request: &ChatRequest, options: &ChatOptions) -> Result<Body> {
    let marks = Marks::new(request)?;
    let (system, messages) = conversation(request, &marks)?;
    let mut body = Body::new();
    put(&mut body, "messages", Some(messages));
    put(&mut body, "system", system);
    put(&mut body, "max_tokens", options.max_tokens);
    put(&mut body, "temperature", options.temperature);
    put(&mut body, "top_p", options.top_p);
    put(&mut body, "top_k", options.top_k);
    put(&mut body, "stop_sequences", stops(options));
    put(&mut body, "output_config", request.format.as_ref().map(format).transpose()?);
    if !request.tools.is_empty() {
        let mut tools: Vec<Value> = request
            .tools
            .iter()
            .map(|t| {
                let mut tool = json!({"name": t.name, "input_schema": t.parameters});
                if !t.description.is_empty() {
                    tool["description"] = t.description.as_str().into();
                }
                tool
            })
            .collect();
        mark(&mut tools, marks.at(CacheAt::Tools));
        put(&mut body, "tools", Some(tools));
        let choice = match &request.tool_choice {
            ToolChoice::Auto => None,
            ToolChoice::None => Some(json!({"type": "none"})),
            ToolChoice::Required => Some(json!({"type": "any"})),
            ToolChoice::Tool(name) => Some(json!({"type": "tool", "name": name})),
        };
        put(&mut body, "tool_choice", choice);
    }
    Ok(body)
}

fn format(format: &ResponseFormat) -> Result<Value> {
    match format {
        ResponseFormat::JsonSchema { schema, .. } => {
            Ok(json!({"format": {"type": "json_schema", "schema": schema}}))
        }
        _ => {
            Err(refused("format: expected a JSON schema; Anthropic's body knows no other form of an answer"))
        }
    }
}

/// Marks the last of these blocks as the end of a cached prefix.
fn mark(blocks: &mut [Value], ttl: Option<CacheTtl>) {
    if let (Some(last), Some(ttl)) = (blocks.last_mut(), ttl) {
        last["cache_control"] = match ttl {
            CacheTtl::Short => json!({"type": "ephemeral"}),
            CacheTtl::Long => json!({"type": "ephemeral", "ttl": "1h"}),
        };
    }
}

/// System texts apart; messages by one speaker in a row are merged; tool results are the user's.
fn conversation(request: &ChatRequest, marks: &Marks<'_>) -> Result<(Option<Value>, Vec<Value>)> {
    let (mut system, mut turns) = (Vec::new(), Vec::<(&str, Vec<Value>)>::new());
    for (i, message) in request.messages.iter().enumerate() {
        let role = match message {
            Message::System { content } => {
                system.push(json!({"type": "text", "text": content}));
                mark(&mut system, marks.at(CacheAt::Message(i)));
                continue;
            }
            Message::User { .. } | Message::Tool { .. } => "user",
            Message::Assistant { .. } => "assistant",
        };
        let mut blocks = blocks(i, message)?;
        if blocks.is_empty() {
            return Err(refused(format!(
                "messages[{i}]: expected text, an image, a document or a tool call; the models refuse blank messages"
            )));
        }
        mark(&mut blocks, marks.at(CacheAt::Message(i)));
        match turns.last_mut() {
            Some((last, joined)) if *last == role => joined.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    mark(&mut system, marks.at(CacheAt::System));
    let messages =
        turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    let is_marked = system.iter().any(|block| block.get("cache_control").is_some());
    let system = if is_marked {
        Some(Value::Array(system))
    } else {
        // A plain text also suits the oldest models.
        request.system_text().filter(|s| !s.is_empty()).map(Value::String)
    };
    Ok((system, messages))
}

fn blocks(i: usize, message: &Message) -> Result<Vec<Value>> {
    let text = |text: &str| (!text.is_empty()).then(|| json!({"type": "text", "text": text}));
    match message {
        Message::System { .. } => Ok(Vec::new()),
        Message::User { content } => content
            .iter()
            .enumerate()
            .filter_map(|(k, part)| match part {
                Content::Text { text: t } => text(t).map(Ok),
                Content::Image { data } => Some(image(i, data)),
                Content::Document { name, data } => Some(document(i, name.as_deref(), data)),
                _ => Some(Err(cannot(&format!("messages[{i}].content[{k}]"), Family::Anthropic))),
            })
            .collect(),
        Message::Assistant { content, tool_calls, reasoning } => {
            let thoughts = reasoning.iter().enumerate().map(|(k, block)| thought(i, k, block));
            let calls = tool_calls.iter().enumerate().map(|(k, call)| tool_use(i, k, call));
            thoughts.chain(text(content).map(Ok)).chain(calls).collect()
        }
        Message::Tool { call_id, content, is_error, .. } => {
            let mut result = json!({"type": "tool_result", "tool_use_id": call_id, "content": content});
            if *is_error {
                result["is_error"] = true.into();
            }
            Ok(vec![result])
        }
    }
}

fn image(i: usize, data: &ImageData) -> Result<Value> {
    match data {
        ImageData::Inline { media_type, base64 } => Ok(json!({
            "type": "image",
            "source": {"type": "base64", "media_type": media_type, "data": base64},
        })),
        ImageData::Url(_) => Err(from_the_web(i, "images")),
    }
}

fn document(i: usize, name: Option<&str>, data: &DocumentData) -> Result<Value> {
    let source = match data {
        DocumentData::Inline { media_type, base64 } if media_type == "application/pdf" => {
            json!({"type": "base64", "media_type": media_type, "data": base64})
        }
        DocumentData::Text(text) => json!({"type": "text", "media_type": "text/plain", "data": text}),
        DocumentData::Inline { media_type, .. } => {
            return Err(refused(format!(
                "messages[{i}]: expected a document of type application/pdf or one of plain text, found \
                 `{media_type}`; Converse takes more types"
            )));
        }
        DocumentData::Url(_) => return Err(from_the_web(i, "documents")),
    };
    let mut document = json!({"type": "document", "source": source});
    if let Some(name) = name {
        document["title"] = name.into();
    }
    Ok(document)
}

fn thought(i: usize, k: usize, block: &ReasoningBlock) -> Result<Value> {
    let field = format!("messages[{i}].reasoning[{k}]");
    if block.id.is_some() {
        return Err(refused(format!("{field}.id: expected none; this reasoning is another vendor's")));
    }
    match (&block.encrypted, &block.signature) {
        (Some(data), _) => Ok(json!({"type": "redacted_thinking", "data": data})),
        (None, Some(signature)) => {
            Ok(json!({"type": "thinking", "thinking": block.text, "signature": signature}))
        }
        (None, None) => {
            Err(refused(format!("{field}.signature: expected the model's; unsigned reasoning is refused")))
        }
    }
}

fn tool_use(i: usize, k: usize, call: &ToolCall) -> Result<Value> {
    let field = format!("messages[{i}].tool_calls[{k}].arguments");
    let input = call.parse_arguments().map_err(|e| refused(format!("{field}: expected JSON ({e})")))?;
    if !input.is_object() {
        return Err(refused(format!("{field}: expected a JSON object")));
    }
    Ok(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}))
}
