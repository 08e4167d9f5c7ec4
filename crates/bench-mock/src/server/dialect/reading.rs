//! What all protocols read alike: sizes, the last user message, tools, limits, and the shape of the answer.

use serde_json::Value;

use crate::{
    ask::{Ask, IMAGE_TOKENS, OfferedTool, Shape},
    words,
};

/// What a prompt weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    bytes: usize,
    images: u32,
}

impl Weight {
    pub(super) fn of(content: &Value) -> Self {
        let mut weight = Self::default();
        weight.add(content);
        weight
    }

    /// Adds a message content: a string, or parts of any protocol.
    pub(super) fn add(&mut self, content: &Value) {
        match content {
            Value::String(text) => self.bytes += text.len(),
            Value::Array(parts) => parts.iter().for_each(|part| self.add(part)),
            Value::Object(part) => {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
                if matches!(kind, "image" | "image_url" | "input_image") || part.contains_key("image") {
                    self.images += 1;
                } else if matches!(kind, "document" | "file" | "input_file") || part.contains_key("document")
                {
                    self.document(content);
                } else {
                    for key in ["text", "content", "toolResult", "guardContent", "output"] {
                        part.get(key).into_iter().for_each(|inner| self.add(inner));
                    }
                }
            }
            _ => {}
        }
    }

    /// A document: its text, or the bytes that its base64 stands for.
    fn document(&mut self, part: &Value) {
        let source = part.get("source").or_else(|| part.pointer("/document/source")).unwrap_or(part);
        let encoded = source.get("data").or_else(|| source.get("bytes")).or_else(|| source.get("file_data"));
        let encoded = encoded.or_else(|| source.pointer("/file/file_data")).and_then(Value::as_str);
        match encoded {
            Some(text) if source["type"] == "text" => self.bytes += text.len(),
            Some(base64) => self.bytes += base64.len() / 4 * 3,
            None => {
                for key in ["text", "content"] {
                    source.get(key).into_iter().for_each(|inner| self.add(inner));
                }
            }
        }
    }

    pub(super) fn tokens(self) -> u32 {
        words::count(self.bytes).saturating_add(self.images.saturating_mul(IMAGE_TOKENS))
    }
}

/// All text of a message content.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(text_of).collect(),
        Value::Object(part) => part.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

/// What all protocols with messages read alike: sizes, and the last user message.
pub(super) fn messages(ask: &mut Ask, messages: &[Value], system: &Value) {
    let mut weight = Weight::of(system);
    for message in messages {
        weight.add(&message["content"]);
        // Ollama's images stand beside the text.
        let images = message["images"].as_array().map_or(0, Vec::len);
        weight.images += images as u32;
    }
    ask.input_tokens = weight.tokens();
    let user = messages.iter().rfind(|m| m["role"] == "user");
    ask.prompt = user.map(|m| text_of(&m["content"])).unwrap_or_default();
    ask.answered = messages.last().is_some_and(|m| m["role"] == "tool");
}

/// Whether the last message holds a part for which `is` holds.
pub(super) fn last_holds(messages: &[Value], is: impl Fn(&Value) -> bool) -> bool {
    messages.last().and_then(|m| m["content"].as_array()).is_some_and(|parts| parts.iter().any(is))
}

/// Tools of a list, given where a tool has its name and schema.
pub(super) fn tools(tools: &Value, name: &str, schema: &str) -> Vec<OfferedTool> {
    tools
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tool| {
            let name = tool.pointer(name)?.as_str()?.to_owned();
            Some(OfferedTool { name, schema: tool.pointer(schema).cloned().unwrap_or_default() })
        })
        .collect()
}

pub(super) fn number(value: &Value) -> Option<u32> {
    value.as_u64().map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// One text or several.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A `format` of type `json_object` or `json_schema`, given where the schema stands.
pub(super) fn shape(format: &Value, schema: &str) -> Shape {
    match format["type"].as_str() {
        Some("json_object") => Shape::Json,
        Some("json_schema") => match format.pointer(schema) {
            Some(schema) => Shape::Schema(schema.clone()),
            None => Shape::Json,
        },
        _ => Shape::Words,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(content: &Value, tokens: u32) {
        assert_eq!(Weight::of(content).tokens(), tokens, "{content}");
    }

    #[test]
    fn images_and_documents_count() {
        check(&json!("hello"), 2);
        check(&json!([{"type": "text", "text": "hell"}, {"text": "o"}]), 2);
        check(&json!([{"type": "image_url", "image_url": {"url": "data:…"}}]), 1 + IMAGE_TOKENS);
        check(&json!([{"image": {"format": "png"}}, {"text": "hello"}]), 2 + IMAGE_TOKENS);
        let base64 = "A".repeat(400);
        check(&json!([{"type": "document", "source": {"type": "base64", "data": base64}}]), 75);
        check(&json!([{"type": "document", "source": {"type": "text", "data": "a".repeat(40)}}]), 10);
        check(&json!([{"type": "file", "file": {"file_data": base64}}]), 75);
        check(&json!([{"type": "input_file", "file_data": base64}]), 75);
        check(&json!([{"document": {"source": {"bytes": base64}}}]), 75);
        check(&json!([{"toolResult": {"content": [{"text": "a".repeat(40)}]}}]), 10);
        check(&json!([{"guardContent": {"text": {"text": "a".repeat(40)}}}]), 10);
    }
}
