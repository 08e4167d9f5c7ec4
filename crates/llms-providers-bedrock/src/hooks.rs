//! What Bedrock reports about itself, and what signing costs, under stable keys. Pure look-ups.

use aws_sdk_bedrockruntime::types::{PerformanceConfiguration, ServiceTier};
use http::HeaderMap;
use llms_core::{observe::HookValue, wire::Hooks};

/// Every key reported, with what it means.
pub const KEYS: &[(&str, &str)] = &[
    (SIGN_MS, "our own time to build and sign: request handed to the SDK until handed to the transport, ms"),
    (LATENCY_MS, "metrics.latencyMs: the service's own duration of the call, ms"),
    (REQUEST_ID, "header x-amzn-requestid, for the vendor's support"),
    (SERVICE_TIER, "serviceTier.type, when reported: default, flex, priority, reserved"),
    (PERFORMANCE_LATENCY, "performanceConfig.latency, when reported: standard, optimized"),
];

/// Milliseconds from handing the request to the SDK to handing the signed request to the transport.
pub(crate) const SIGN_MS: &str = "bedrock.sign_ms";
const LATENCY_MS: &str = "bedrock.latency_ms";
const REQUEST_ID: &str = "bedrock.request_id";
const SERVICE_TIER: &str = "bedrock.service_tier";
const PERFORMANCE_LATENCY: &str = "bedrock.performance_latency";

/// What stands in the headers of every answer.
pub(crate) fn of_headers(headers: &HeaderMap, report: &mut Hooks<'_>) {
    if let Some(id) = headers.get("x-amzn-requestid").and_then(|v| v.to_str().ok()) {
        report(REQUEST_ID, HookValue::Text(id));
    }
}

/// What an answer reports beside its content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) latency_ms: Option<i64>,
    pub(crate) service_tier: Option<ServiceTier>,
    pub(crate) performance: Option<PerformanceConfiguration>,
}

impl Facts {
    /// Reports what there is.
    pub(crate) fn report(&self, report: &mut Hooks<'_>) {
        if let Some(ms) = self.latency_ms {
            report(LATENCY_MS, HookValue::Number(ms as f64));
        }
        if let Some(tier) = &self.service_tier {
            report(SERVICE_TIER, HookValue::Text(tier.r#type().as_str()));
        }
        if let Some(performance) = &self.performance {
            report(PERFORMANCE_LATENCY, HookValue::Text(performance.latency().as_str()));
        }
    }
}
