//! What a request asks for, as far as a simulated answer depends on it; the same for every protocol.

use llms_core::{
    ChatRequest, Message,
    chat::{Content, ResponseFormat, ToolChoice},
};
use serde_json::Value;

use crate::{prefix::Prefix, situation::Situation, words};

/// Tokens that an image counts for.
pub(crate) const IMAGE_TOKENS: u32 = 256;

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub model: String,
    pub stream: bool,
    /// Usage wanted inside a stream; protocols that always report it say `true`.
    pub stream_usage: bool,
    /// Usage wanted in every chunk (vLLM's `continuous_usage_stats`).
    pub usage_always: bool,
    pub max_tokens: Option<u32>,
    /// No fewer than so many.
    pub min_tokens: Option<u32>,
    /// Go on until `max_tokens`.
    pub ignore_eos: bool,
    pub input_tokens: u32,
    pub tools: Vec<OfferedTool>,
    pub choice: Choice,
    /// At most one tool may be called.
    pub single_call: bool,
    /// The last message is the result of a tool.
    pub answered: bool,
    /// Text of the last user message.
    pub prompt: String,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    pub shape: Shape,
    pub thinking: Thinking,
    /// What the model's name asks for.
    pub situation: Option<Situation>,
    /// Whose body it is, where one endpoint takes those of several model families (Bedrock's InvokeModel).
    pub family: Option<Family>,
    /// What of the request the answer repeats, in the protocol's own shape.
    pub echo: Value,
    /// The prompt, for a cache of prefixes.
    pub prefix: Prefix,
    /// How long a local server shall keep the model loaded, and whether that is all that is asked.
    pub keep: Keep,
}

/// A tool offered, with the JSON Schema of its arguments.
#[derive(Clone, Debug)]
pub(crate) struct OfferedTool {
    pub name: String,
    pub schema: Value,
}

/// How tools may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    #[default]
    Free,
    Never,
    Some,
    This(String),
}

/// What the answer must look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Shape {
    #[default]
    Words,
    /// A JSON object.
    Json,
    /// JSON that fits a schema.
    Schema(Value),
}

/// Whether reasoning is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// As the profile has it.
    #[default]
    Unsaid,
    Off,
    /// At most so many tokens.
    On(u32),
}

/// A family of models on Bedrock, by the shape of its bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Family {
    #[default]
    Anthropic,
    Titan,
    Llama,
    Nova,
}

/// What Ollama's `keep_alive` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Keep {
    /// Seconds; negative is for ever.
    pub seconds: Option<f64>,
    /// Nothing is to be generated: the model is to be loaded, or unloaded with 0 seconds.
    pub only: bool,
}

impl Ask {
    /// What an in-process request asks for.
    pub(crate) fn of_request(model: &str, request: &ChatRequest, stream: bool) -> Self {
        let (mut bytes, mut images) = (0, 0);
        for message in &request.messages {
            bytes += match message {
                Message::System { content }
                | Message::Assistant { content, .. }
                | Message::Tool { content, .. } => content.len(),
                Message::User { content } => {
                    images += content.iter().filter(|c| matches!(c, Content::Image { .. })).count();
                    content.iter().map(|c| if let Content::Text { text } = c { text.len() } else { 0 }).sum()
                }
            };
        }
        Self {
            model: model.to_owned(),
            stream,
            stream_usage: true,
            max_tokens: request.options.max_tokens,
            input_tokens: words::count(bytes) + IMAGE_TOKENS * images as u32,
            tools: request
                .tools
                .iter()
                .map(|t| OfferedTool { name: t.name.clone(), schema: t.parameters.clone() })
                .collect(),
            choice: match &request.tool_choice {
                ToolChoice::Auto => Choice::Free,
                ToolChoice::None => Choice::Never,
                ToolChoice::Required => Choice::Some,
                ToolChoice::Tool(name) => Choice::This(name.clone()),
            },
            answered: matches!(request.messages.last(), Some(Message::Tool { .. })),
            prompt: request
                .messages
                .iter()
                .rfind(|m| matches!(m, Message::User { .. }))
                .map(Message::text)
                .unwrap_or_default(),
            stop: request.options.stop_sequences.clone(),
            shape: match &request.format {
                Some(ResponseFormat::JsonSchema { schema, .. }) => Shape::Schema(schema.clone()),
                Some(_) => Shape::Json,
                None => Shape::Words,
            },
            prefix: Prefix::of_request(request),
            ..Self::default()
        }
    }
}
