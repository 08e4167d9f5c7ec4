//! What Bedrock reports about itself, and what signing costs, under stable keys. Pure look-ups.
//!
//! Bedrock reports no rate limits: neither a limit, nor what is left of it, nor when it resets, stands in any header
//! or body (limits are quotas of the account, seen in Service Quotas and CloudWatch), so there are no such keys here.
//! `Retry-After` is read with refusals where a gateway adds it (`error.rs`).

use http::HeaderMap;
use llms_core::{
    Usage,
    observe::HookValue,
    wire::{
        Hooks,
        refusal::{clean, redact},
    },
};

use crate::{config::Config, guardrail::Guardrail};

/// Every key reported, with what it means.
pub const KEYS: &[(&str, &str)] = &[
    (SIGN_MS, "our own time to build and sign: request handed to the SDK until handed to the transport, ms"),
    (
        LATENCY_MS,
        "the service's own duration of the call, ms: metrics.latencyMs of Converse; header \
      x-amzn-bedrock-invocation-latency or invocationMetrics.invocationLatency of InvokeModel",
    ),
    (
        FIRST_BYTE_MS,
        "invocationMetrics.firstByteLatency of an InvokeModel stream: the service's own time to first byte, ms",
    ),
    (REQUEST_ID, "header x-amzn-requestid, for the vendor's support"),
    (
        SERVICE_TIER,
        "serviceTier.type or header x-amzn-bedrock-service-tier: default, flex, priority, reserved",
    ),
    (
        PERFORMANCE_LATENCY,
        "performanceConfig.latency or header x-amzn-bedrock-performanceconfig-latency: standard, optimized",
    ),
    (
        INPUT_TOKENS,
        "input tokens as Bedrock counts them beside the body (x-amzn-bedrock-input-token-count, \
      invocationMetrics.inputTokenCount), without those from or to the cache; InvokeModel only",
    ),
    (
        OUTPUT_TOKENS,
        "output tokens as Bedrock counts them beside the body (x-amzn-bedrock-output-token-count, \
      invocationMetrics.outputTokenCount); InvokeModel only. Not always the body's own count",
    ),
    (
        CACHE_READ_TOKENS,
        "input tokens read from the prompt cache: usage.cacheReadInputTokens of Converse, \
      x-amzn-bedrock-cache-read-input-token-count, invocationMetrics.cacheReadInputTokenCount",
    ),
    (
        CACHE_WRITE_TOKENS,
        "input tokens written to the prompt cache: usage.cacheWriteInputTokens of Converse, \
      x-amzn-bedrock-cache-write-input-token-count, invocationMetrics.cacheWriteInputTokenCount",
    ),
    (
        CACHE_WRITE_5M_TOKENS,
        "part of the cache write kept for five minutes: usage.cacheDetails of Converse, usage.cache_creation of Anthropic's bodies",
    ),
    (CACHE_WRITE_1H_TOKENS, "part of the cache write kept for an hour, likewise"),
    (INVOKED_MODEL, "trace.promptRouter.invokedModelId: the model that a prompt router chose"),
    (
        GUARDRAIL_ACTION,
        "whether the guardrail acted: intervened, none; from the stop reason and the trace, or \
      amazon-bedrock-guardrailAction. Absent without a guardrail",
    ),
    (GUARDRAIL_REASON, "trace.guardrail.actionReason, in the service's words"),
    (
        GUARDRAIL_POLICIES,
        "the policies that found something, by name with commas between: topic, content, word, \
      sensitive_information, contextual_grounding, automated_reasoning; only when the trace is enabled",
    ),
    (GUARDRAIL_INPUT_MS, "guardrailProcessingLatency of the assessments of the input, summed, ms"),
    (GUARDRAIL_OUTPUT_MS, "guardrailProcessingLatency of the assessments of the output, summed, ms"),
];

/// Milliseconds from handing the request to the SDK to handing the signed request to the transport.
pub(crate) const SIGN_MS: &str = "bedrock.sign_ms";
const LATENCY_MS: &str = "bedrock.latency_ms";
const FIRST_BYTE_MS: &str = "bedrock.first_byte_ms";
const REQUEST_ID: &str = "bedrock.request_id";
const SERVICE_TIER: &str = "bedrock.service_tier";
const PERFORMANCE_LATENCY: &str = "bedrock.performance_latency";
const INPUT_TOKENS: &str = "bedrock.input_tokens";
const OUTPUT_TOKENS: &str = "bedrock.output_tokens";
const CACHE_READ_TOKENS: &str = "bedrock.cache_read_tokens";
const CACHE_WRITE_TOKENS: &str = "bedrock.cache_write_tokens";
const CACHE_WRITE_5M_TOKENS: &str = "bedrock.cache_write_5m_tokens";
const CACHE_WRITE_1H_TOKENS: &str = "bedrock.cache_write_1h_tokens";
const INVOKED_MODEL: &str = "bedrock.invoked_model";
const GUARDRAIL_ACTION: &str = "bedrock.guardrail_action";
const GUARDRAIL_REASON: &str = "bedrock.guardrail_reason";
const GUARDRAIL_POLICIES: &str = "bedrock.guardrail_policies";
const GUARDRAIL_INPUT_MS: &str = "bedrock.guardrail_input_ms";
const GUARDRAIL_OUTPUT_MS: &str = "bedrock.guardrail_output_ms";

/// Header, key, whether the value is a number.
const HEADERS: &[(&str, &str, bool)] = &[
    ("x-amzn-requestid", REQUEST_ID, false),
    ("x-amzn-bedrock-invocation-latency", LATENCY_MS, true),
    ("x-amzn-bedrock-input-token-count", INPUT_TOKENS, true),
    ("x-amzn-bedrock-output-token-count", OUTPUT_TOKENS, true),
    ("x-amzn-bedrock-cache-read-input-token-count", CACHE_READ_TOKENS, true),
    ("x-amzn-bedrock-cache-write-input-token-count", CACHE_WRITE_TOKENS, true),
    ("x-amzn-bedrock-service-tier", SERVICE_TIER, false),
    ("x-amzn-bedrock-performanceconfig-latency", PERFORMANCE_LATENCY, false),
];

/// What stands in the headers of every answer; a secret that the server quotes there is redacted.
pub(crate) fn of_headers(headers: &HeaderMap, config: &Config, report: &mut Hooks<'_>) {
    for &(header, key, is_number) in HEADERS {
        let Some(text) = headers.get(header).and_then(|v| v.to_str().ok()) else { continue };
        if !is_number {
            report(key, HookValue::Text(&redact(text, config.secrets())));
        } else if let Ok(number) = text.trim().parse() {
            report(key, HookValue::Number(number));
        }
    }
}

/// Tokens as Bedrock counts them beside the body: in headers, or in the last chunk of a stream. Disjoint, as
/// Converse's are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) cache_read: Option<u64>,
    pub(crate) cache_write: Option<u64>,
}

impl Counts {
    /// Those in the headers of a whole answer.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        let count = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        Self {
            input: count("x-amzn-bedrock-input-token-count"),
            output: count("x-amzn-bedrock-output-token-count"),
            cache_read: count("x-amzn-bedrock-cache-read-input-token-count"),
            cache_write: count("x-amzn-bedrock-cache-write-input-token-count"),
        }
    }

    /// As usage, whose input contains what came from the cache or went to it; `None` when nothing was counted.
    pub(crate) fn usage(self) -> Option<Usage> {
        (self != Self::default()).then(|| Usage {
            input_tokens: self
                .input
                .map(|n| n + self.cache_read.unwrap_or(0) + self.cache_write.unwrap_or(0)),
            output_tokens: self.output,
            cache_read_tokens: self.cache_read,
            cache_write_tokens: self.cache_write,
            ..Usage::default()
        })
    }
}

/// What an answer reports beside its content, in its body or its stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) latency_ms: Option<f64>,
    pub(crate) first_byte_ms: Option<f64>,
    pub(crate) service_tier: Option<String>,
    pub(crate) performance: Option<String>,
    pub(crate) counts: Counts,
    pub(crate) cache_write_5m: Option<u64>,
    pub(crate) cache_write_1h: Option<u64>,
    pub(crate) invoked_model: Option<String>,
    pub(crate) guardrail: Guardrail,
}

impl Facts {
    /// Reports what there is.
    pub(crate) fn report(&self, config: &Config, report: &mut Hooks<'_>) {
        let mut text = |key, value: Option<&str>| {
            if let Some(text) = value {
                report(key, HookValue::Text(&clean(text, config.secrets())));
            }
        };
        text(SERVICE_TIER, self.service_tier.as_deref());
        text(PERFORMANCE_LATENCY, self.performance.as_deref());
        text(INVOKED_MODEL, self.invoked_model.as_deref());
        text(GUARDRAIL_ACTION, self.guardrail.action());
        text(GUARDRAIL_REASON, self.guardrail.reason.as_deref());
        text(GUARDRAIL_POLICIES, self.guardrail.policies().as_deref());
        let count = |n: Option<u64>| n.map(|n| n as f64);
        for (key, value) in [
            (LATENCY_MS, self.latency_ms),
            (FIRST_BYTE_MS, self.first_byte_ms),
            (INPUT_TOKENS, count(self.counts.input)),
            (OUTPUT_TOKENS, count(self.counts.output)),
            (CACHE_READ_TOKENS, count(self.counts.cache_read)),
            (CACHE_WRITE_TOKENS, count(self.counts.cache_write)),
            (CACHE_WRITE_5M_TOKENS, count(self.cache_write_5m)),
            (CACHE_WRITE_1H_TOKENS, count(self.cache_write_1h)),
            (GUARDRAIL_INPUT_MS, self.guardrail.input_ms),
            (GUARDRAIL_OUTPUT_MS, self.guardrail.output_ms),
        ] {
            if let Some(number) = value {
                report(key, HookValue::Number(number));
            }
        }
    }
}
