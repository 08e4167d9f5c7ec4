//! What is asked of a model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Message, ToolDefinition};

/// How the model may use tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Required,
    /// This tool.
    Tool(String),
}

/// The shape the answer must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Any JSON object.
    Json,
    /// JSON that fits a schema.
    JsonSchema {
        /// Letters, digits, `_` and `-`; some wires want one.
        name: String,
        /// JSON Schema of the answer.
        schema: Value,
        /// Whether the provider shall enforce it exactly (where it can tell).
        #[serde(default = "yes")]
        strict: bool,
    },
}

fn yes() -> bool {
    true
}

/// How long a provider keeps a cached prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheTtl {
    /// The provider's usual time, about five minutes.
    #[default]
    Short,
    /// The longer time some offer, one hour.
    Long,
}

/// Up to where a prefix is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheAt {
    /// All tools.
    Tools,
    /// Tools and system texts.
    System,
    /// Everything up to and including the message of this index in [`ChatRequest::messages`].
    Message(usize),
}

/// A mark up to which the provider shall cache the prompt, for wires where the caller says so. Wires that cache by
/// themselves, or not at all, refuse it by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CacheBreakpoint {
    /// Where.
    pub at: CacheAt,
    /// How long.
    #[serde(default)]
    pub ttl: CacheTtl,
}

/// Sampling and limits. `None` leaves the provider's own default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatOptions {
    /// 0–2 where the provider states no other range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// In (0, 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Upper limit of generated tokens, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Texts that end the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<String>,
    /// −2 – 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// −2 – 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Sampling seed, where the provider has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Extra body fields, merged into the provider's body as they are (`ignore_eos`, `keep_alive`, …).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Value>,
}

impl ChatOptions {
    /// `self` where set, else `defaults`. Extra fields are merged, those of `self` win.
    pub fn or(mut self, defaults: &Self) -> Self {
        self.temperature = self.temperature.or(defaults.temperature);
        self.top_p = self.top_p.or(defaults.top_p);
        self.top_k = self.top_k.or(defaults.top_k);
        self.max_tokens = self.max_tokens.or(defaults.max_tokens);
        if self.stop_sequences.is_empty() {
            self.stop_sequences.clone_from(&defaults.stop_sequences);
        }
        self.frequency_penalty = self.frequency_penalty.or(defaults.frequency_penalty);
        self.presence_penalty = self.presence_penalty.or(defaults.presence_penalty);
        self.seed = self.seed.or(defaults.seed);
        for (k, v) in &defaults.extra {
            self.extra.entry(k.clone()).or_insert_with(|| v.clone());
        }
        self
    }
}

/// One request to a chat model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The conversation, oldest first. System messages may stand anywhere; wires with one system field get
    /// them joined by blank lines.
    pub messages: Vec<Message>,
    /// Sampling and limits.
    #[serde(default)]
    pub options: ChatOptions,
    /// Tools offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDefinition>,
    /// How the tools may be used; sent only when tools are offered.
    #[serde(default)]
    pub tool_choice: ToolChoice,
    /// The shape the answer must have; `None`: free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ResponseFormat>,
    /// Where the provider shall cache the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<CacheBreakpoint>,
}

impl ChatRequest {
    /// A request of these messages.
    pub fn new(messages: impl Into<Vec<Message>>) -> Self {
        Self { messages: messages.into(), ..Self::default() }
    }

    /// One user message.
    pub fn text(prompt: impl Into<String>) -> Self {
        Self::new([Message::user(prompt)])
    }

    /// Puts a system message in front.
    pub fn with_system(mut self, system: impl Into<String>) -> Self {
        self.messages.insert(0, Message::system(system));
        self
    }

    /// Sets the options.
    pub fn with_options(mut self, options: ChatOptions) -> Self {
        self.options = options;
        self
    }

    /// Limits the generated tokens.
    pub fn with_max_tokens(mut self, max_tokens: u32) -> Self {
        self.options.max_tokens = Some(max_tokens);
        self
    }

    /// Offers tools.
    pub fn with_tools(mut self, tools: impl Into<Vec<ToolDefinition>>) -> Self {
        self.tools = tools.into();
        self
    }

    /// Asks for an answer of this shape.
    pub fn with_format(mut self, format: ResponseFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Asks the provider to cache the prompt up to `at`, for its usual time.
    pub fn with_cache(mut self, at: CacheAt) -> Self {
        self.cache.push(CacheBreakpoint { at, ttl: CacheTtl::default() });
        self
    }

    /// All system texts joined by blank lines; `None` when there is none.
    pub fn system_text(&self) -> Option<String> {
        let parts: Vec<&str> = self
            .messages
            .iter()
            .filter_map(|m| if let Message::System { content } = m { Some(content.as_str()) } else { None })
            .collect();
        (!parts.is_empty()).then(|| parts.join("\n\n"))
    }
}

impl From<&str> for ChatRequest {
    fn from(prompt: &str) -> Self {
        Self::text(prompt)
    }
}

impl From<Message> for ChatRequest {
    fn from(message: Message) -> Self {
        Self::new([message])
    }
}

impl From<Vec<Message>> for ChatRequest {
    fn from(messages: Vec<Message>) -> Self {
        Self::new(messages)
    }
}
