//! How large a request is, before anybody has counted.

use llms_core::{
    ChatRequest, Message,
    chat::{Content, DocumentData},
};

/// Characters of English text per token, roughly; the rule of thumb vendors give.
const CHARS_PER_TOKEN: f64 = 4.0;
/// Tokens that roles and separators of a message cost, roughly.
const PER_MESSAGE: u64 = 4;
/// Tokens of an image, roughly: vendors charge from 85 to some 1,600.
const PER_IMAGE: u64 = 800;

/// Input tokens of a request, estimated: a quarter of the characters of messages and tools, 4 a message, 800 an image. An
/// estimate to hold limits by, never a measurement.
pub fn estimated_input_tokens(request: &ChatRequest) -> u64 {
    let mut chars = 0;
    let mut tokens = 0;
    for message in &request.messages {
        tokens += PER_MESSAGE;
        match message {
            Message::User { content } => {
                for part in content {
                    match part {
                        Content::Text { text } | Content::Document { data: DocumentData::Text(text), .. } => {
                            chars += text.len();
                        }
                        Content::Document { data: DocumentData::Inline { base64, .. }, .. } => {
                            chars += base64.len() / 4 * 3;
                        }
                        _ => tokens += PER_IMAGE,
                    }
                }
            }
            Message::Assistant { content, tool_calls, reasoning } => {
                chars += content.len();
                chars += tool_calls.iter().map(|c| c.name.len() + c.arguments.len()).sum::<usize>();
                chars += reasoning.iter().map(|r| r.text.len()).sum::<usize>();
            }
            Message::System { content } | Message::Tool { content, .. } => chars += content.len(),
        }
    }
    for tool in &request.tools {
        chars += tool.name.len() + tool.description.len() + tool.parameters.to_string().len();
    }
    tokens + (chars as f64 / CHARS_PER_TOKEN).ceil() as u64
}

/// Tokens a request may come to: its estimated input, and its `max_tokens` where it has one. This is what vendors that
/// limit tokens per minute count before they know the answer.
pub fn reserved_tokens(request: &ChatRequest) -> u64 {
    estimated_input_tokens(request) + request.options.max_tokens.map_or(0, u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_grows_with_everything_that_is_sent() {
        let plain = ChatRequest::text("x".repeat(400)).with_max_tokens(50);
        assert_eq!(estimated_input_tokens(&plain), 104);
        assert_eq!(reserved_tokens(&plain), 154);
        let with_system = plain.clone().with_system("y".repeat(40));
        assert_eq!(estimated_input_tokens(&with_system), 118);
        let mut image = plain;
        image.messages.push(Message::User { content: vec![Content::image("image/png", "AAAA")] });
        assert_eq!(estimated_input_tokens(&image), 908);
    }
}
