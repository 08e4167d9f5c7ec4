//! Our request as Converse's in the SDK's types: messages, tools, inference settings, cache points, the answer's
//! form. Pure; what Converse cannot say is refused by name and never dropped.

use aws_sdk_bedrockruntime::{
    Client,
    operation::{
        converse::builders::ConverseFluentBuilder, converse_stream::builders::ConverseStreamFluentBuilder,
    },
    types::{
        AnyToolChoice, AutoToolChoice, ContentBlock, ConversationRole, InferenceConfiguration,
        JsonSchemaDefinition, Message as WireMessage, OutputConfig, OutputFormat, OutputFormatStructure,
        OutputFormatType, PerformanceConfiguration, ServiceTier, ServiceTierType, SpecificToolChoice,
        SystemContentBlock, Tool, ToolChoice as WireToolChoice, ToolConfiguration, ToolInputSchema,
        ToolSpecification,
    },
};
use aws_smithy_types::Document;
use llms_core::{
    ChatOptions, ChatRequest, Error, ErrorCode, Message, Result, ToolDefinition,
    chat::{CacheAt, CacheBreakpoint, CacheTtl, ResponseFormat, ToolChoice},
};
use serde_json::Value;

use crate::{
    content::{blocks, built, cache_point},
    document::document,
    extra::{Extra, Guardrail},
};

/// Fields of Converse that are filled from elsewhere, or not supported.
const RESERVED: [&str; 7] = [
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "promptVariables",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
];

/// Everything of a request but the model.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    system: Vec<SystemContentBlock>,
    messages: Vec<WireMessage>,
    inference: Option<InferenceConfiguration>,
    tools: Option<ToolConfiguration>,
    output: Option<OutputConfig>,
    tier: Option<ServiceTier>,
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
        let mut extra = Extra::new(&options.extra, &RESERVED)?;
        let effort = extra.effort()?;
        let marks = Marks::new(request)?;
        let (system, messages) = conversation(&request.messages, &marks)?;
        let tools = tool_config(&request.tools, &request.tool_choice, &messages, &marks)?;
        let tier = extra.service_tier.as_deref().map(|tier| {
            ServiceTier::builder().r#type(ServiceTierType::from(tier)).build().map_err(|e| built(&e))
        });
        Ok(Self {
            tools,
            system,
            messages,
            inference: inference(&options)?,
            output: output(request.format.as_ref(), effort)?,
            tier: tier.transpose()?,
            extra,
        })
    }

    /// Whether the body holds documents, whose members the SDK writes in no order.
    pub(crate) fn has_documents(&self) -> bool {
        let extra = &self.extra;
        self.tools.is_some()
            || !extra.fields.is_empty()
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
            .set_output_config(self.output)
            .set_guardrail_config(extra.guardrail.as_ref().map(Guardrail::whole))
            .set_performance_config(extra.performance.clone().map(performance))
            .set_service_tier(self.tier)
            .set_additional_model_request_fields(fields(&extra))
            .set_request_metadata(extra.metadata)
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
            .set_output_config(self.output)
            .set_guardrail_config(extra.guardrail.as_ref().map(Guardrail::stream))
            .set_performance_config(extra.performance.clone().map(performance))
            .set_service_tier(self.tier)
            .set_additional_model_request_fields(fields(&extra))
            .set_request_metadata(extra.metadata)
    }
}

fn performance(latency: aws_sdk_bedrockruntime::types::PerformanceConfigLatency) -> PerformanceConfiguration {
    PerformanceConfiguration::builder().latency(latency).build()
}

fn fields(extra: &Extra) -> Option<Document> {
    (!extra.fields.is_empty()).then(|| document(&Value::Object(extra.fields.clone())))
}

/// The error for what Bedrock cannot say.
pub(crate) fn refused(message: impl Into<String>) -> Error {
    Error::new("bedrock.request", ErrorCode::InvalidRequest, message)
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Where the prompt is to be cached, checked: each mark stands where something is.
pub(crate) struct Marks<'a>(&'a [CacheBreakpoint]);

impl<'a> Marks<'a> {
    /// The marks of a request.
    ///
    /// # Errors
    /// `invalid_request` naming the mark that stands where nothing is.
    pub(crate) fn new(request: &'a ChatRequest) -> Result<Self> {
        let has_system = request.messages.iter().any(|m| matches!(m, Message::System { .. }));
        let has_tools = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
        for (k, mark) in request.cache.iter().enumerate() {
            let (there, expected) = match mark.at {
                CacheAt::Tools => (has_tools, "tools that are sent"),
                CacheAt::System => (has_system, "a system message"),
                CacheAt::Message(i) => (i < request.messages.len(), "the index of a message"),
            };
            if !there {
                return Err(refused(format!("cache[{k}]: expected {expected}, found none there")));
            }
        }
        Ok(Self(&request.cache))
    }

    /// The mark at this place.
    pub(crate) fn at(&self, place: CacheAt) -> Option<CacheTtl> {
        self.0.iter().find(|m| m.at == place).map(|m| m.ttl)
    }
}

type Conversation = (Vec<SystemContentBlock>, Vec<WireMessage>);

/// System texts apart, each as a block of its own; neighbours of one role joined into one message, because
/// Converse wants the roles to alternate and all results of one turn together.
fn conversation(messages: &[Message], marks: &Marks<'_>) -> Result<Conversation> {
    let (mut system, mut turns) = (Vec::new(), Vec::<(ConversationRole, Vec<ContentBlock>)>::new());
    let mut names = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        let mark = marks.at(CacheAt::Message(i)).map(cache_point).transpose()?;
        let role = match message {
            Message::System { content } => {
                system.push(SystemContentBlock::Text(content.clone()));
                system.extend(mark.map(SystemContentBlock::CachePoint));
                continue;
            }
            Message::User { .. } | Message::Tool { .. } => ConversationRole::User,
            Message::Assistant { .. } => ConversationRole::Assistant,
        };
        let mut blocks = blocks(i, message, &mut names)?;
        if blocks.is_empty() {
            return Err(refused(format!(
                "messages[{i}]: expected text, an image, a document or a tool call; Converse refuses blank messages"
            )));
        }
        blocks.extend(mark.map(ContentBlock::CachePoint));
        match turns.last_mut() {
            Some((last, joined)) if *last == role => joined.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    if let Some(ttl) = marks.at(CacheAt::System) {
        system.push(SystemContentBlock::CachePoint(cache_point(ttl)?));
    }
    let messages = turns
        .into_iter()
        .map(|(role, blocks)| {
            WireMessage::builder().role(role).set_content(Some(blocks)).build().map_err(|e| built(&e))
        })
        .collect::<Result<_>>()?;
    Ok((system, messages))
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

/// The form of the answer, and how hard the model is to try.
fn output(format: Option<&ResponseFormat>, effort: Option<String>) -> Result<Option<OutputConfig>> {
    let format = match format {
        None => None,
        Some(ResponseFormat::JsonSchema { name, schema, .. }) => {
            let name = (!name.is_empty()).then(|| name.clone());
            let schema = JsonSchemaDefinition::builder()
                .schema(schema.to_string())
                .set_name(name)
                .build()
                .map_err(|e| built(&e))?;
            let format = OutputFormat::builder()
                .r#type(OutputFormatType::JsonSchema)
                .structure(OutputFormatStructure::JsonSchema(schema))
                .build();
            Some(format.map_err(|e| built(&e))?)
        }
        Some(_) => {
            return Err(refused("format: expected a JSON schema; Converse knows no other form of an answer"));
        }
    };
    if format.is_none() && effort.is_none() {
        return Ok(None);
    }
    Ok(Some(OutputConfig::builder().set_text_format(format).set_effort(effort).build()))
}

fn tool_config(
    tools: &[ToolDefinition],
    choice: &ToolChoice,
    messages: &[WireMessage],
    marks: &Marks<'_>,
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
    if let Some(ttl) = marks.at(CacheAt::Tools) {
        config = config.tools(Tool::CachePoint(cache_point(ttl)?));
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
