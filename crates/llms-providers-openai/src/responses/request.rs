//! The body of `POST …/responses`.
//!
//! The conversation becomes a list of items: messages, reasoning as it was given to us, function calls and their
//! results. System messages that lead the conversation become `instructions`, later ones stay where they stand.

use std::borrow::Cow;

use llms_core::{
    Message, ToolCall, ToolDefinition,
    chat::{Content, DocumentData, ReasoningBlock, ResponseFormat, ToolChoice},
    config::ConfigErrors,
};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Map, Value};

use crate::request::{Asked, Fields, arguments, file_data, file_name, image_url};

/// Adds what this API cannot say.
pub(crate) fn check(asked: Asked<'_>, errors: &mut ConfigErrors) {
    asked
        .reserve(&["background", "input", "instructions", "model", "stream", "tool_choice", "tools"], errors);
    let options = asked.options;
    asked.refuse_of_vendor(
        &[
            ("stop_sequences", !options.stop_sequences.is_empty()),
            ("frequency_penalty", options.frequency_penalty.is_some()),
            ("presence_penalty", options.presence_penalty.is_some()),
            ("seed", options.seed.is_some()),
        ],
        errors,
    );
    if asked.request.format.is_some()
        && let Some(text) = options.extra.get("text")
    {
        errors.check(
            text.as_object().is_some_and(|t| !t.contains_key("format")),
            "options.extra.text",
            "expected an object without `format` beside the request's own format",
            text,
        );
    }
    for (m, message) in asked.request.messages.iter().enumerate() {
        let Message::Assistant { reasoning, .. } = message else { continue };
        for (r, block) in reasoning.iter().enumerate() {
            let field = format!("messages[{m}].reasoning[{r}]");
            if block.signature.is_some() {
                errors.push(
                    field,
                    "expected reasoning of this vendor, which is encrypted, not signed",
                    "a signature",
                );
            } else if asked.is_vendor() && block.id.is_none() && block.encrypted.is_none() {
                errors.push(field, "expected the id or the encrypted content the vendor gave", "neither");
            }
        }
    }
}

/// The body.
pub(crate) struct Body<'a>(pub(crate) Asked<'a>);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Asked { config, request, options, stream } = self.0;
        let (instructions, rest) = leading_system(&request.messages);
        let mut fields = Fields { map: s.serialize_map(None)?, extra: &options.extra };
        fields.put("model", config.wire_model())?;
        fields.some("instructions", instructions.as_ref())?;
        fields.put("input", &Input { messages: rest, strict: !self.0.is_vendor() })?;
        if stream {
            fields.put("stream", &true)?;
        }
        fields.some("temperature", options.temperature.as_ref())?;
        fields.some("top_p", options.top_p.as_ref())?;
        fields.some("top_k", options.top_k.as_ref())?;
        fields.some("max_output_tokens", options.max_tokens.as_ref())?;
        fields.some("stop", Some(&options.stop_sequences).filter(|s| !s.is_empty()))?;
        fields.some("frequency_penalty", options.frequency_penalty.as_ref())?;
        fields.some("presence_penalty", options.presence_penalty.as_ref())?;
        fields.some("seed", options.seed.as_ref())?;
        fields = self.tools(fields)?;
        self.end(fields, &[])
    }
}

impl Body<'_> {
    fn tools<'f, M: SerializeMap>(&self, mut fields: Fields<'f, M>) -> Result<Fields<'f, M>, M::Error> {
        let request = self.0.request;
        if !request.tools.is_empty() {
            fields.put("tools", &Tools(&request.tools))?;
            fields.some("tool_choice", choice(&request.tool_choice).as_ref())?;
        }
        Ok(fields)
    }

    /// The format and what `extra` has, the fields in `but` aside.
    fn end<M: SerializeMap>(&self, mut fields: Fields<'_, M>, but: &[&str]) -> Result<M::Ok, M::Error> {
        let Some(format) = &self.0.request.format else { return fields.end(but) };
        // Beside whatever else `extra` wants of the text (`verbosity`).
        let text = self.0.options.extra.get("text").and_then(Value::as_object);
        let mut text = text.cloned().unwrap_or_default();
        text.insert("format".to_owned(), format_of(format));
        fields.map.serialize_entry("text", &text)?;
        fields.end(&[but, &["text"]].concat())
    }
}

/// Fields of `extra` that change the prompt or how it is read: those that a request for its length knows.
/// <https://platform.openai.com/docs/api-reference/responses/input-tokens>
const OF_THE_PROMPT: [&str; 7] = [
    "conversation",
    "parallel_tool_calls",
    "personality",
    "previous_response_id",
    "reasoning",
    "text",
    "truncation",
];

/// The body of `POST …/responses/input_tokens`: what makes the prompt, and nothing else.
pub(crate) struct CountBody<'a>(pub(crate) Asked<'a>);

impl Serialize for CountBody<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Asked { config, request, options, .. } = self.0;
        let (instructions, rest) = leading_system(&request.messages);
        let mut fields = Fields { map: s.serialize_map(None)?, extra: &options.extra };
        fields.put("model", config.wire_model())?;
        fields.some("instructions", instructions.as_ref())?;
        fields.put("input", &Input { messages: rest, strict: !self.0.is_vendor() })?;
        let body = Body(self.0);
        fields = body.tools(fields)?;
        let others = options.extra.keys().map(String::as_str).filter(|k| !OF_THE_PROMPT.contains(k));
        body.end(fields, &others.collect::<Vec<_>>())
    }
}

/// The system messages at the beginning, joined by blank lines, and what follows them.
fn leading_system(messages: &[Message]) -> (Option<Cow<'_, str>>, &[Message]) {
    let leading = messages.iter().take_while(|m| matches!(m, Message::System { .. })).count();
    let (system, rest) = messages.split_at(leading);
    let text = match system {
        [] => None,
        [Message::System { content }] => Some(content.as_str().into()),
        several => Some(several.iter().map(Message::text).collect::<Vec<_>>().join("\n\n").into()),
    };
    (text, rest)
}

fn format_of(format: &ResponseFormat) -> Value {
    let mut object = Map::new();
    match format {
        ResponseFormat::JsonSchema { name, schema, strict } => {
            object.insert("type".to_owned(), "json_schema".into());
            object.insert("name".to_owned(), name.as_str().into());
            object.insert("schema".to_owned(), schema.clone());
            object.insert("strict".to_owned(), (*strict).into());
        }
        _ => {
            object.insert("type".to_owned(), "json_object".into());
        }
    }
    object.into()
}

struct Input<'a> {
    messages: &'a [Message],
    /// For servers that insist on every field that OpenAI's types have (vLLM), or do not have.
    strict: bool,
}

impl Serialize for Input<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut items = s.serialize_seq(None)?;
        for (m, message) in self.messages.iter().enumerate() {
            match message {
                Message::System { content } => {
                    items.serialize_element(&Item::Easy(Easy {
                        role: "system",
                        content: Said::Text(content),
                    }))?;
                }
                Message::User { content } => {
                    let content = content.as_slice().into();
                    items.serialize_element(&Item::Easy(Easy { role: "user", content }))?;
                }
                Message::Assistant { content, tool_calls, reasoning } => {
                    for (r, block) in reasoning.iter().enumerate() {
                        items.serialize_element(&Item::Typed(self.reasoning(block, m, r)))?;
                    }
                    if !content.is_empty() || (tool_calls.is_empty() && reasoning.is_empty()) {
                        items.serialize_element(&Item::Typed(self.answer(content, m)))?;
                    }
                    for call in tool_calls {
                        items.serialize_element(&Item::Typed(call.into()))?;
                    }
                }
                // The wire has no mark of failure: the content has to say it.
                Message::Tool { call_id, content, .. } => {
                    items.serialize_element(&Item::Typed(Typed::FunctionCallOutput {
                        call_id,
                        output: content,
                    }))?;
                }
            }
        }
        items.end()
    }
}

impl Input<'_> {
    /// What the model said. llama.cpp wants type and parts; vLLM wants all that the answer had. OpenAI wants no id that
    /// it did not give.
    fn answer<'t>(&self, text: &'t str, message: usize) -> Typed<'t> {
        Typed::Message {
            id: self.strict.then(|| format!("msg_{message}")),
            role: "assistant",
            status: self.strict.then_some("completed"),
            content: [OutputText { r#type: "output_text", text, annotations: [] }],
        }
    }

    /// Reasoning as it came. Without encrypted content, compatible servers get the text as text: it was no summary.
    fn reasoning<'b>(&self, block: &'b ReasoningBlock, message: usize, at: usize) -> Typed<'b> {
        let id = block.id.as_deref().map(Cow::Borrowed);
        let text = Some(block.text.as_str()).filter(|t| !t.is_empty());
        let plain = self.strict && block.encrypted.is_none();
        let part = |r#type| text.map(|text| TextPart { r#type, text }).into_iter().collect::<Vec<_>>();
        Typed::Reasoning {
            id: id.or_else(|| self.strict.then(|| format!("rs_{message}_{at}").into())),
            summary: if plain { Vec::new() } else { part("summary_text") },
            content: plain.then(|| part("reasoning_text")),
            encrypted_content: block.encrypted.as_deref(),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Easy(Easy<'a>),
    Typed(Typed<'a>),
}

/// A message in its short form, which every server knows.
#[derive(Serialize)]
struct Easy<'a> {
    role: &'static str,
    content: Said<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Typed<'a> {
    Message {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        role: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'static str>,
        content: [OutputText<'a>; 1],
    },
    Reasoning {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        summary: Vec<TextPart<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<Vec<TextPart<'a>>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<&'a str>,
    },
    FunctionCall {
        call_id: &'a str,
        name: &'a str,
        arguments: &'a str,
    },
    FunctionCallOutput {
        call_id: &'a str,
        output: &'a str,
    },
}

impl<'a> From<&'a ToolCall> for Typed<'a> {
    fn from(call: &'a ToolCall) -> Self {
        Self::FunctionCall { call_id: &call.id, name: &call.name, arguments: arguments(&call.arguments) }
    }
}

#[derive(Serialize)]
struct OutputText<'a> {
    r#type: &'static str,
    text: &'a str,
    annotations: [(); 0],
}

#[derive(Serialize)]
struct TextPart<'a> {
    r#type: &'static str,
    text: &'a str,
}

/// A plain string when there is one text.
#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

impl<'a> From<&'a [Content]> for Said<'a> {
    fn from(content: &'a [Content]) -> Self {
        match content {
            [] => Self::Text(""),
            [Content::Text { text }] => Self::Text(text),
            parts => Self::Parts(parts.iter().filter_map(Part::of).collect()),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the names of the wire")]
enum Part<'a> {
    InputText {
        text: &'a str,
    },
    InputImage {
        detail: &'static str,
        image_url: Cow<'a, str>,
    },
    InputFile {
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<&'a str>,
    },
}

impl<'a> Part<'a> {
    fn of(content: &'a Content) -> Option<Self> {
        Some(match content {
            Content::Text { text } => Self::InputText { text },
            Content::Image { data } => Self::InputImage { detail: "auto", image_url: image_url(data) },
            // An address and a name exclude each other.
            Content::Document { data: DocumentData::Url(url), .. } => {
                Self::InputFile { filename: None, file_data: None, file_url: Some(url) }
            }
            Content::Document { name, data } => Self::InputFile {
                filename: Some(file_name(name.as_deref(), data)),
                file_data: file_data(data),
                file_url: None,
            },
            _ => return None,
        })
    }
}

struct Tools<'a>(&'a [ToolDefinition]);

impl Serialize for Tools<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Tool<'a> {
            r#type: &'static str,
            name: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            description: &'a str,
            parameters: &'a Value,
            /// Said, because it is true here unless said, and false in chat completions.
            strict: bool,
        }
        s.collect_seq(self.0.iter().map(|t| Tool {
            r#type: "function",
            name: &t.name,
            description: &t.description,
            parameters: &t.parameters,
            strict: false,
        }))
    }
}

/// `None` for the default, which is not sent.
fn choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Tool(name) => Some(serde_json::json!({"type": "function", "name": name})),
    }
}
