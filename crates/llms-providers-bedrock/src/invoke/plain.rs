//! Conversations for bodies that hold text only: alternating turns, everything else refused by name.

use llms_core::{
    ChatRequest, FinishReason, Message, Result,
    chat::{Content, ToolChoice},
};

use super::{Family, request::cannot};
use crate::request::refused;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    User,
    Assistant,
}

/// A conversation of texts: begins and ends with the user, speakers alternate.
#[derive(Debug)]
pub(super) struct Plain {
    /// All system texts, joined by blank lines.
    pub(super) system: Option<String>,
    /// The turns before the last.
    pub(super) history: Vec<(Speaker, String)>,
    /// What the user says last.
    pub(super) last: String,
}

impl Plain {
    /// The conversation of a request. Neighbours by one speaker are joined by blank lines.
    ///
    /// # Errors
    /// `invalid_request` naming the part that is no text, or the turn that is out of order.
    pub(super) fn of(family: Family, request: &ChatRequest) -> Result<Self> {
        debug_assert!(request.tools.is_empty() || request.tool_choice == ToolChoice::None);
        let mut turns = Vec::<(Speaker, String)>::new();
        for (i, message) in request.messages.iter().enumerate() {
            let (speaker, text) = match message {
                Message::System { .. } => continue,
                Message::User { content } => (Speaker::User, user(family, i, content)?),
                Message::Assistant { content, tool_calls, reasoning } => {
                    if !tool_calls.is_empty() {
                        return Err(cannot(&format!("messages[{i}].tool_calls"), family));
                    }
                    if !reasoning.is_empty() {
                        return Err(cannot(&format!("messages[{i}].reasoning"), family));
                    }
                    (Speaker::Assistant, content.clone())
                }
                Message::Tool { .. } => return Err(cannot(&format!("messages[{i}]"), family)),
            };
            if text.is_empty() {
                return Err(refused(format!(
                    "messages[{i}]: expected text; the models refuse blank messages"
                )));
            }
            match turns.last_mut() {
                Some((last, joined)) if *last == speaker => {
                    joined.push_str("\n\n");
                    joined.push_str(&text);
                }
                _ => turns.push((speaker, text)),
            }
        }
        if turns.first().is_none_or(|(speaker, _)| *speaker != Speaker::User) {
            return Err(refused("messages: expected the user to speak first"));
        }
        match turns.pop() {
            Some((Speaker::User, last)) => {
                Ok(Self { system: request.system_text().filter(|s| !s.is_empty()), history: turns, last })
            }
            _ => Err(refused("messages: expected the user to speak last")),
        }
    }

    /// The same for a body without a place for system texts.
    pub(super) fn without_system(family: Family, request: &ChatRequest) -> Result<Self> {
        match request.messages.iter().position(|m| matches!(m, Message::System { .. })) {
            Some(i) => Err(cannot(&format!("messages[{i}]"), family)),
            None => Self::of(family, request),
        }
    }
}

fn user(family: Family, i: usize, parts: &[Content]) -> Result<String> {
    let mut joined = String::new();
    for (k, part) in parts.iter().enumerate() {
        match part {
            Content::Text { text } => joined.push_str(text),
            _ => return Err(cannot(&format!("messages[{i}].content[{k}]"), family)),
        }
    }
    Ok(joined)
}

/// The reason to stop in the words of Llama and Mistral.
pub(super) fn finish(word: &str) -> FinishReason {
    match word {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        other => FinishReason::Other(other.to_owned()),
    }
}
