//! The body of `POST …/completions`, which OpenAI calls legacy and every inference server has: one text in, its
//! continuation out, no chat template in between.
//!
//! Only the request: an answer is that of chat completions with one field moved, and read there.

use llms_core::{Message, chat::Content, config::ConfigErrors};
use serde::{Serialize, Serializer};

use crate::request::{Asked, Fields, StreamOptions};

/// The one text to continue.
fn prompt<'a>(asked: &Asked<'a>) -> Option<&'a str> {
    let [Message::User { content }] = asked.request.messages.as_slice() else { return None };
    let [Content::Text { text }] = content.as_slice() else { return None };
    Some(text)
}

/// Adds what this API cannot say.
pub(crate) fn check(asked: Asked<'_>, errors: &mut ConfigErrors) {
    asked.reserve(&["model", "prompt", "stream"], errors);
    let request = asked.request;
    if !request.messages.is_empty() && prompt(&asked).is_none() {
        let message =
            "expected one user message of one text: text completions continue a text, they know no roles";
        errors.push("messages", message, format!("{} messages", request.messages.len()));
    }
    errors.check(
        request.tools.is_empty(),
        "tools",
        "expected none: text completions call no tools",
        request.tools.len(),
    );
    errors.check(
        request.format.is_none(),
        "format",
        "expected none: text completions have no such field; servers that do take it in options.extra",
        "one",
    );
}

/// The body.
pub(crate) struct Body<'a>(pub(crate) Asked<'a>);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Asked { config, options, stream, .. } = self.0;
        let mut fields = Fields { map: s.serialize_map(None)?, extra: &options.extra };
        fields.put("model", config.wire_model())?;
        fields.put("prompt", prompt(&self.0).unwrap_or_default())?;
        if stream {
            fields.put("stream", &true)?;
            if config.stream_usage {
                fields.put("stream_options", &StreamOptions { include_usage: true })?;
            }
        }
        fields.some("temperature", options.temperature.as_ref())?;
        fields.some("top_p", options.top_p.as_ref())?;
        fields.some("top_k", options.top_k.as_ref())?;
        // There never was a `max_completion_tokens` here.
        fields.some("max_tokens", options.max_tokens.as_ref())?;
        fields.some("stop", Some(&options.stop_sequences).filter(|s| !s.is_empty()))?;
        fields.some("frequency_penalty", options.frequency_penalty.as_ref())?;
        fields.some("presence_penalty", options.presence_penalty.as_ref())?;
        fields.some("seed", options.seed.as_ref())?;
        fields.end(&[])
    }
}
