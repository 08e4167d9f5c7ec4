//! Our request as the SDK's: messages, tools, inference settings. Pure; what Converse cannot say is refused by
//! name and never dropped.

use aws_sdk_bedrockruntime::{
    Client,
    operation::{
        converse::builders::ConverseFluentBuilder, converse_stream::builders::ConverseStreamFluentBuilder,
    },
    types::{
        AnyToolChoice, AutoToolChoice, ContentBlock, ConversationRole, ImageBlock, ImageFormat, ImageSource,
        InferenceConfiguration, Message as WireMessage, S3Location, SpecificToolChoice, SystemContentBlock,
        Tool, ToolChoice as WireToolChoice, ToolConfiguration, ToolInputSchema, ToolResultBlock,
        ToolResultContentBlock, ToolResultStatus, ToolSpecification, ToolUseBlock,
    },
};
use aws_smithy_types::Blob;
use base64::{Engine, engine::general_purpose::STANDARD};
use llms_core::{
    ChatOptions, ChatRequest, Error, ErrorCode, Message, Result, ToolCall, ToolDefinition,
    chat::{Content, ImageData, ToolChoice},
};

use crate::{
    document::document,
    extra::{Extra, Guardrail},
};

/// Everything of a request but the model.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    system: Vec<SystemContentBlock>,
    messages: Vec<WireMessage>,
    inference: Option<InferenceConfiguration>,
    tools: Option<ToolConfiguration>,
    extra: Extra,
}

/// The options Converse has no field for, with whether each is set.
pub(crate) fn unsupported(options: &ChatOptions) -> [(&'static str, bool); 4] {
    [
        ("top_k", options.top_k.is_some()),
        ("seed", options.seed.is_some()),
        ("frequency_penalty", options.frequency_penalty.is_some()),
        ("presence_penalty", options.presence_penalty.is_some()),
    ]
}

/// What to do about an option that Converse has no field for.
pub(crate) const UNSUPPORTED_HELP: &str = "Converse has no such field; give it in options.extra under the name \
     the model itself uses (it travels in additionalModelRequestFields)";

impl Parts {
    /// The request with `defaults` below its options.
    ///
    /// # Errors
    /// `invalid_request` naming the field that Converse cannot say.
    pub(crate) fn new(request: &ChatRequest, defaults: &ChatOptions) -> Result<Self> {
        let options = request.options.clone().or(defaults);
        if let Some((name, _)) = unsupported(&options).into_iter().find(|(_, set)| *set) {
            return Err(refused(format!("options.{name}: {UNSUPPORTED_HELP}")));
        }
        let (system, messages) = conversation(&request.messages)?;
        Ok(Self {
            tools: tool_config(&request.tools, &request.tool_choice, &messages)?,
            system,
            messages,
            inference: inference(&options)?,
            extra: Extra::new(&options.extra)?,
        })
    }

    /// Whether the body holds documents, whose members the SDK writes in no order.
    pub(crate) fn has_documents(&self) -> bool {
        let extra = &self.extra;
        self.tools.is_some()
            || extra.fields.is_some()
            || extra.metadata.is_some()
            || uses_tools(&self.messages)
    }

    /// As a call of Converse.
    pub(crate) fn converse(self, client: &Client, model: &str) -> ConverseFluentBuilder {
        let extra = self.extra;
        client
            .converse()
            .model_id(model)
            .set_system(some(self.system))
            .set_messages(Some(self.messages))
            .set_inference_config(self.inference)
            .set_tool_config(self.tools)
            .set_guardrail_config(extra.guardrail.as_ref().map(Guardrail::whole))
            .set_performance_config(extra.performance)
            .set_service_tier(extra.service_tier)
            .set_request_metadata(extra.metadata)
            .set_additional_model_request_fields(extra.fields)
    }

    /// As a call of ConverseStream.
    pub(crate) fn converse_stream(self, client: &Client, model: &str) -> ConverseStreamFluentBuilder {
        let extra = self.extra;
        client
            .converse_stream()
            .model_id(model)
            .set_system(some(self.system))
            .set_messages(Some(self.messages))
            .set_inference_config(self.inference)
            .set_tool_config(self.tools)
            .set_guardrail_config(extra.guardrail.as_ref().map(Guardrail::stream))
            .set_performance_config(extra.performance)
            .set_service_tier(extra.service_tier)
            .set_request_metadata(extra.metadata)
            .set_additional_model_request_fields(extra.fields)
    }
}

/// The error for what Converse cannot say.
pub(crate) fn refused(message: impl Into<String>) -> Error {
    Error::new("bedrock.request", ErrorCode::InvalidRequest, message)
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// System texts apart, each as a block of its own; neighbours of one role joined into one message, because
/// Converse wants the roles to alternate and all results of one turn together.
fn conversation(messages: &[Message]) -> Result<(Vec<SystemContentBlock>, Vec<WireMessage>)> {
    let (mut system, mut turns) = (Vec::new(), Vec::<(ConversationRole, Vec<ContentBlock>)>::new());
    for (i, message) in messages.iter().enumerate() {
        let (role, blocks) = match message {
            Message::System { content } => {
                system.push(SystemContentBlock::Text(content.clone()));
                continue;
            }
            Message::User { content } => (ConversationRole::User, user_blocks(i, content)?),
            Message::Assistant { content, tool_calls, .. } => {
                (ConversationRole::Assistant, assistant_blocks(i, content, tool_calls)?)
            }
            Message::Tool { call_id, content, is_error, .. } => {
                (ConversationRole::User, vec![tool_result(i, call_id, content, *is_error)?])
            }
        };
        if blocks.is_empty() {
            return Err(refused(format!(
                "messages[{i}]: expected text, an image or a tool call; Converse refuses blank messages"
            )));
        }
        match turns.last_mut() {
            Some((last, joined)) if *last == role => joined.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    let messages = turns
        .into_iter()
        .map(|(role, blocks)| {
            WireMessage::builder().role(role).set_content(Some(blocks)).build().map_err(|e| built(&e))
        })
        .collect::<Result<_>>()?;
    Ok((system, messages))
}

fn built(error: &dyn std::error::Error) -> Error {
    refused(format!("expected a request that the SDK can build ({error})"))
}

fn user_blocks(i: usize, parts: &[Content]) -> Result<Vec<ContentBlock>> {
    parts
        .iter()
        .filter(|p| !matches!(p, Content::Text { text } if text.is_empty()))
        .map(|part| match part {
            Content::Text { text } => Ok(ContentBlock::Text(text.clone())),
            Content::Image { data } => image(i, data).map(ContentBlock::Image),
            _ => Err(refused(format!("messages[{i}]: expected text or an image"))),
        })
        .collect()
}

fn image(i: usize, data: &ImageData) -> Result<ImageBlock> {
    let (format, source) = match data {
        ImageData::Inline { media_type, base64 } => {
            let format = media_type.strip_prefix("image/").unwrap_or(media_type);
            let bytes = STANDARD
                .decode(base64)
                .map_err(|e| refused(format!("messages[{i}]: expected an image in base64 ({e})")))?;
            (format.to_owned(), ImageSource::Bytes(Blob::new(bytes)))
        }
        ImageData::Url(url) if url.starts_with("s3://") => {
            let location = S3Location::builder().uri(url).build().map_err(|e| built(&e))?;
            (url.rsplit('.').next().unwrap_or_default().to_lowercase(), ImageSource::S3Location(location))
        }
        ImageData::Url(_) => {
            return Err(refused(format!(
                "messages[{i}]: Converse fetches no images from the web; give the bytes inline, or an s3:// address"
            )));
        }
    };
    let format = match format.as_str() {
        "png" => ImageFormat::Png,
        "jpeg" | "jpg" => ImageFormat::Jpeg,
        "gif" => ImageFormat::Gif,
        "webp" => ImageFormat::Webp,
        other => {
            return Err(refused(format!(
                "messages[{i}]: expected an image of type png, jpeg, gif or webp, found `{other}`"
            )));
        }
    };
    ImageBlock::builder().format(format).source(source).build().map_err(|e| built(&e))
}

fn assistant_blocks(i: usize, text: &str, calls: &[ToolCall]) -> Result<Vec<ContentBlock>> {
    let mut blocks = Vec::with_capacity(calls.len() + 1);
    if !text.is_empty() {
        blocks.push(ContentBlock::Text(text.to_owned()));
    }
    for (k, call) in calls.iter().enumerate() {
        let arguments = call.parse_arguments().map_err(|e| {
            refused(format!(
                "messages[{i}].tool_calls[{k}].arguments: expected JSON, which Converse requires ({e})"
            ))
        })?;
        let block = ToolUseBlock::builder()
            .tool_use_id(&call.id)
            .name(&call.name)
            .input(document(&arguments))
            .build()
            .map_err(|e| built(&e))?;
        blocks.push(ContentBlock::ToolUse(block));
    }
    Ok(blocks)
}

fn tool_result(i: usize, call_id: &str, content: &str, is_error: bool) -> Result<ContentBlock> {
    if call_id.is_empty() {
        return Err(refused(format!("messages[{i}].call_id: expected the id of the call that is answered")));
    }
    // Only some models take a status, so it is sent only when it says something.
    let block = ToolResultBlock::builder()
        .tool_use_id(call_id)
        .content(ToolResultContentBlock::Text(content.to_owned()))
        .set_status(is_error.then_some(ToolResultStatus::Error))
        .build()
        .map_err(|e| built(&e))?;
    Ok(ContentBlock::ToolResult(block))
}

fn inference(options: &ChatOptions) -> Result<Option<InferenceConfiguration>> {
    let max_tokens = options
        .max_tokens
        .map(i32::try_from)
        .transpose()
        .map_err(|_| refused(format!("options.max_tokens: expected at most {}", i32::MAX)))?;
    let inference = InferenceConfiguration::builder()
        .set_max_tokens(max_tokens)
        .set_temperature(options.temperature.map(|t| t as f32))
        .set_top_p(options.top_p.map(|p| p as f32))
        .set_stop_sequences(some(options.stop_sequences.clone()))
        .build();
    Ok((inference != InferenceConfiguration::builder().build()).then_some(inference))
}

fn tool_config(
    tools: &[ToolDefinition],
    choice: &ToolChoice,
    messages: &[WireMessage],
) -> Result<Option<ToolConfiguration>> {
    if tools.is_empty() {
        return Ok(None);
    }
    let choice = match choice {
        ToolChoice::Auto => WireToolChoice::Auto(AutoToolChoice::builder().build()),
        ToolChoice::Required => WireToolChoice::Any(AnyToolChoice::builder().build()),
        ToolChoice::Tool(name) => {
            WireToolChoice::Tool(SpecificToolChoice::builder().name(name).build().map_err(|e| built(&e))?)
        }
        // Converse cannot forbid the tools it is told of, so they are not told.
        ToolChoice::None if !uses_tools(messages) => return Ok(None),
        ToolChoice::None => {
            return Err(refused(
                "tool_choice: Converse has no `none` for a conversation that already holds tool calls; use `auto`",
            ));
        }
    };
    let mut config = ToolConfiguration::builder();
    // `auto` is the default; left out it also suits models that know no choice.
    if !matches!(choice, WireToolChoice::Auto(_)) {
        config = config.tool_choice(choice);
    }
    for tool in tools {
        let spec = ToolSpecification::builder()
            .name(&tool.name)
            .set_description(some_text(&tool.description))
            .input_schema(ToolInputSchema::Json(document(&tool.parameters)))
            .build()
            .map_err(|e| built(&e))?;
        config = config.tools(Tool::ToolSpec(spec));
    }
    Ok(Some(config.build().map_err(|e| built(&e))?))
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn uses_tools(messages: &[WireMessage]) -> bool {
    messages
        .iter()
        .flat_map(|m| &m.content)
        .any(|b| matches!(b, ContentBlock::ToolUse(_) | ContentBlock::ToolResult(_)))
}
