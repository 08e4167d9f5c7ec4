//! `options.extra`: fields of Converse that have no place in our vocabulary, and the model's own.
//!
//! `performanceConfig`, `serviceTier`, `guardrailConfig` and `requestMetadata` go where Converse has them. Names
//! that the request itself fills, and those that would change what an answer means, are refused. Everything else
//! is the model's own and goes to `additionalModelRequestFields` as it is (`top_k`, `thinking`, …).

use std::collections::{BTreeMap, HashMap};

use aws_sdk_bedrockruntime::types::{
    GuardrailConfiguration, GuardrailStreamConfiguration, GuardrailStreamProcessingMode, GuardrailTrace,
    PerformanceConfigLatency, PerformanceConfiguration, ServiceTier, ServiceTierType,
};
use aws_smithy_types::Document;
use llms_core::Result;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{document::document, request::refused};

/// Fields of Converse that are filled from elsewhere, or not supported.
const REFUSED: [&str; 8] = [
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "promptVariables",
    "outputConfig",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
];

/// Extra fields, sorted into their places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) performance: Option<PerformanceConfiguration>,
    pub(crate) service_tier: Option<ServiceTier>,
    pub(crate) guardrail: Option<Guardrail>,
    pub(crate) metadata: Option<HashMap<String, String>>,
    pub(crate) fields: Option<Document>,
}

/// `guardrailConfig` of both operations.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Guardrail {
    #[serde(rename = "guardrailIdentifier")]
    id: String,
    #[serde(rename = "guardrailVersion")]
    version: String,
    trace: Option<String>,
    /// Streams only.
    #[serde(rename = "streamProcessingMode")]
    mode: Option<String>,
}

impl Guardrail {
    /// For Converse.
    pub(crate) fn whole(&self) -> GuardrailConfiguration {
        GuardrailConfiguration::builder()
            .guardrail_identifier(&self.id)
            .guardrail_version(&self.version)
            .set_trace(self.trace.as_deref().map(GuardrailTrace::from))
            .build()
    }

    /// For ConverseStream.
    pub(crate) fn stream(&self) -> GuardrailStreamConfiguration {
        GuardrailStreamConfiguration::builder()
            .guardrail_identifier(&self.id)
            .guardrail_version(&self.version)
            .set_trace(self.trace.as_deref().map(GuardrailTrace::from))
            .set_stream_processing_mode(self.mode.as_deref().map(GuardrailStreamProcessingMode::from))
            .build()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Performance {
    latency: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    r#type: String,
}

impl Extra {
    /// Sorts the fields.
    ///
    /// # Errors
    /// `invalid_request` naming the field that has another form than Converse wants, or another place.
    pub(crate) fn new(extra: &BTreeMap<String, Value>) -> Result<Self> {
        let (mut out, mut fields) = (Self::default(), HashMap::new());
        for (name, value) in extra {
            match name.as_str() {
                "performanceConfig" => {
                    let Performance { latency } = read(name, value)?;
                    let latency = PerformanceConfigLatency::from(latency.as_str());
                    out.performance = Some(PerformanceConfiguration::builder().latency(latency).build());
                }
                "serviceTier" => {
                    let Tier { r#type } = read(name, value)?;
                    let tier = ServiceTier::builder().r#type(ServiceTierType::from(r#type.as_str())).build();
                    out.service_tier = Some(tier.map_err(|e| refused(format!("options.extra.{name}: {e}")))?);
                }
                "guardrailConfig" => out.guardrail = Some(read(name, value)?),
                "requestMetadata" => out.metadata = Some(read(name, value)?),
                _ if REFUSED.contains(&name.as_str()) => {
                    return Err(refused(format!(
                        "options.extra.{name}: this field of Converse cannot be given as an extra; use the request's \
                         own messages, tools and options"
                    )));
                }
                _ => {
                    fields.insert(name.clone(), document(value));
                }
            }
        }
        out.fields = (!fields.is_empty()).then_some(Document::Object(fields));
        Ok(out)
    }
}

fn read<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|e| {
        refused(format!("options.extra.{name}: expected the form that Converse documents ({e})"))
    })
}
