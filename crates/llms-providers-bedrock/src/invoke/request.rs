//! Our request as the members of InvokeModel: the family's body, and what Bedrock takes in headers.

use aws_sdk_bedrockruntime::{
    Client,
    operation::{
        invoke_model::builders::InvokeModelFluentBuilder,
        invoke_model_with_response_stream::builders::InvokeModelWithResponseStreamFluentBuilder,
    },
    types::{ServiceTierType, Trace},
};
use aws_smithy_types::Blob;
use llms_core::{ChatOptions, ChatRequest, Result, chat::ToolChoice};
use serde_json::{Map, Value};

use super::{Family, anthropic, cohere, llama, mistral, nova, titan};
use crate::{
    extra::{Extra, taken},
    request::refused,
};

const JSON: &str = "application/json";

/// A body under construction; members sort by name, so that the same request is the same bytes.
pub(super) type Body = Map<String, Value>;

/// Everything of a request but the model.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    body: Vec<u8>,
    extra: Extra,
    metadata: Option<String>,
}

impl Invocation {
    /// The request with `defaults` below its options, in the body of `family`; `model` chooses the template where the
    /// family has several.
    ///
    /// # Errors
    /// `invalid_request` naming the field that the body cannot say.
    pub(crate) fn new(
        family: Family,
        request: &ChatRequest,
        defaults: &ChatOptions,
        model: &str,
    ) -> Result<Self> {
        let options = request.options.clone().or(defaults);
        if let Some(name) = family.unsupported(&options).first() {
            return Err(refused(format!("options.{name}: {}", family.unsupported_help())));
        }
        refuse_unsayable(family, request)?;
        let extra = Extra::new(&options.extra, &[])?;
        if extra.guardrail.as_ref().is_some_and(|g| g.mode.is_some()) {
            return Err(refused(
                "options.extra.guardrailConfig.streamProcessingMode: InvokeModel takes it in the body; give it as \
                 options.extra.amazon-bedrock-guardrailConfig",
            ));
        }
        let mut body = match family {
            Family::Anthropic => anthropic::body(request, &options)?,
            Family::Cohere => cohere::body(request, &options)?,
            Family::Llama => llama::body(request, &options, model)?,
            Family::Mistral => mistral::body(request, &options)?,
            Family::Nova => nova::body(request, &options)?,
            Family::Titan => titan::body(request, &options)?,
        };
        for (name, value) in &extra.fields {
            if body.insert(name.clone(), value.clone()).is_some() {
                return Err(taken(name));
            }
        }
        if family == Family::Anthropic {
            anthropic::defaults(&mut body);
        }
        let metadata = extra.metadata.as_ref().map(|m| {
            // Sorted, like the body.
            let pairs: Map<String, Value> =
                m.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
            Value::Object(pairs).to_string()
        });
        Ok(Self { body: Value::Object(body).to_string().into_bytes(), extra, metadata })
    }

    /// As a call of InvokeModel.
    pub(crate) fn whole(self, client: &Client, model: &str) -> InvokeModelFluentBuilder {
        let Extra { performance, service_tier, guardrail, .. } = self.extra;
        let call = client
            .invoke_model()
            .model_id(model)
            .content_type(JSON)
            .accept(JSON)
            .set_performance_config_latency(performance)
            .set_service_tier(service_tier.as_deref().map(ServiceTierType::from))
            .set_request_metadata(self.metadata)
            .body(Blob::new(self.body));
        match guardrail {
            Some(g) => call
                .set_trace(g.trace.as_deref().map(trace))
                .guardrail_identifier(g.id)
                .guardrail_version(g.version),
            None => call,
        }
    }

    /// As a call of InvokeModelWithResponseStream.
    pub(crate) fn stream(self, client: &Client, model: &str) -> InvokeModelWithResponseStreamFluentBuilder {
        let Extra { performance, service_tier, guardrail, .. } = self.extra;
        let call = client
            .invoke_model_with_response_stream()
            .model_id(model)
            .content_type(JSON)
            .accept(JSON)
            .set_performance_config_latency(performance)
            .set_service_tier(service_tier.as_deref().map(ServiceTierType::from))
            .set_request_metadata(self.metadata)
            .body(Blob::new(self.body));
        match guardrail {
            Some(g) => call
                .set_trace(g.trace.as_deref().map(trace))
                .guardrail_identifier(g.id)
                .guardrail_version(g.version),
            None => call,
        }
    }
}

/// Converse writes these words small, InvokeModel in capitals.
fn trace(word: &str) -> Trace {
    Trace::from(word.to_ascii_uppercase().as_str())
}

/// Names the parts of a request that no body of the family has a place for.
fn refuse_unsayable(family: Family, request: &ChatRequest) -> Result<()> {
    let can = family.capabilities();
    let tools = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
    let what = if tools && !can.tools {
        "tools"
    } else if request.format.is_some() && !can.structured_output {
        "format"
    } else if !request.cache.is_empty() && !can.prompt_cache {
        "cache"
    } else {
        return Ok(());
    };
    Err(cannot(what, family))
}

/// The error for a part that the family's body has no place for.
pub(super) fn cannot(field: &str, family: Family) -> llms_core::Error {
    refused(format!(
        "{field}: expected none; InvokeModel's {} body has no place for it here, use api = \"converse\"",
        family.name()
    ))
}

/// Puts a value in its place, if there is one.
pub(super) fn put(body: &mut Body, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value.into());
    }
}

/// The stop sequences, if there are any.
pub(super) fn stops(options: &ChatOptions) -> Option<Value> {
    (!options.stop_sequences.is_empty()).then(|| Value::from(options.stop_sequences.clone()))
}
