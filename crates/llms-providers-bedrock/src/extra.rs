//! `options.extra`: fields of Bedrock that have no place in our vocabulary, and the model's own.
//!
//! `performanceConfig`, `serviceTier`, `guardrailConfig` and `requestMetadata` go where the operation has them: into
//! Converse's members, into InvokeModel's headers. `outputConfig.effort` is Converse's. Names that the request itself
//! fills, and those that would change what an answer means, are refused. Everything else is the model's own and goes
//! to `additionalModelRequestFields`, or into InvokeModel's body, as it is (`top_k`, `thinking`, …).

use std::collections::{BTreeMap, HashMap};

use aws_sdk_bedrockruntime::types::{
    GuardrailConfiguration, GuardrailStreamConfiguration, GuardrailStreamProcessingMode, GuardrailTrace,
    PerformanceConfigLatency,
};
use llms_core::Result;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::request::refused;

/// Extra fields, sorted into their places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) performance: Option<PerformanceConfigLatency>,
    pub(crate) service_tier: Option<String>,
    pub(crate) guardrail: Option<Guardrail>,
    pub(crate) metadata: Option<HashMap<String, String>>,
    /// The model's own.
    pub(crate) fields: Map<String, Value>,
}

/// `guardrailConfig` of all operations.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Guardrail {
    #[serde(rename = "guardrailIdentifier")]
    pub(crate) id: String,
    #[serde(rename = "guardrailVersion")]
    pub(crate) version: String,
    /// `enabled`, `disabled`, `enabled_full`.
    pub(crate) trace: Option<String>,
    /// ConverseStream only: `sync`, `async`.
    #[serde(rename = "streamProcessingMode")]
    pub(crate) mode: Option<String>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    effort: String,
}

impl Extra {
    /// Sorts the fields; those in `reserved` are refused.
    ///
    /// # Errors
    /// `invalid_request` naming the field that has another form than Bedrock wants, or another place.
    pub(crate) fn new(extra: &BTreeMap<String, Value>, reserved: &[&str]) -> Result<Self> {
        let mut out = Self::default();
        for (name, value) in extra {
            match name.as_str() {
                "performanceConfig" => {
                    let Performance { latency } = read(name, value)?;
                    out.performance = Some(PerformanceConfigLatency::from(latency.as_str()));
                }
                "serviceTier" => {
                    let Tier { r#type } = read(name, value)?;
                    out.service_tier = Some(r#type);
                }
                "guardrailConfig" => out.guardrail = Some(read(name, value)?),
                "requestMetadata" => out.metadata = Some(read(name, value)?),
                _ if reserved.contains(&name.as_str()) => return Err(taken(name)),
                _ => {
                    out.fields.insert(name.clone(), value.clone());
                }
            }
        }
        Ok(out)
    }

    /// Takes Converse's `outputConfig`, of which only `effort` is not the request's own.
    pub(crate) fn effort(&mut self) -> Result<Option<String>> {
        let name = "outputConfig";
        let Some(value) = self.fields.remove(name) else { return Ok(None) };
        if value.get("textFormat").is_some() {
            return Err(refused(format!(
                "options.extra.{name}.textFormat: give it as the request's own format"
            )));
        }
        read(name, &value).map(|Output { effort }| Some(effort))
    }
}

/// A field that the request fills itself.
pub(crate) fn taken(name: &str) -> llms_core::Error {
    refused(format!(
        "options.extra.{name}: this field cannot be given as an extra; use the request's own messages, tools and \
         options"
    ))
}

fn read<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|e| {
        refused(format!("options.extra.{name}: expected the form that Converse documents ({e})"))
    })
}
