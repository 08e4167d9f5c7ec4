//! Whole answers of InvokeModel, and what Bedrock adds to every family's body and headers.

use http::HeaderMap;
use llms_core::{ChatResponse, Error, ErrorCode, FinishReason, Result, Usage, wire::borrow::Text};
use serde::Deserialize;
use serde_json::Value;

use super::{Family, anthropic, cohere, llama, mistral, nova, titan};
use crate::{
    config::Config,
    hooks::{Counts, Facts},
};

/// A family's answer, before Bedrock's own numbers are added.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) response: ChatResponse,
    pub(super) facts: Facts,
}

impl Answer {
    /// The text, which every answer has.
    pub(super) fn text(&mut self, text: Option<Text<'_>>, member: &str) -> Result<()> {
        let Some(text) = text else {
            return Err(Error::new(
                "bedrock.answer",
                ErrorCode::InvalidResponse,
                format!("expected an answer with {member}; see whether the setting `body` is the model's"),
            ));
        };
        self.response.text = text.0.into_owned();
        Ok(())
    }

    /// The body's own counts, if it has any.
    pub(super) fn usage(&mut self, usage: Usage) {
        self.response.usage = (usage != Usage::default()).then_some(usage);
    }
}

/// Reads a whole answer. Counts of the body stand before those of the headers.
///
/// # Errors
/// `malformed_response` when the body is not JSON of the family, `invalid_response` when the answer is missing.
pub(crate) fn whole(
    family: Family,
    config: &Config,
    body: &[u8],
    headers: &HeaderMap,
) -> Result<(ChatResponse, Facts)> {
    let Answer { mut response, mut facts } = match family {
        Family::Anthropic => anthropic::whole(config, body),
        Family::Cohere => cohere::whole(body),
        Family::Llama => llama::whole(body),
        Family::Mistral => mistral::whole(body),
        Family::Nova => nova::whole(body),
        Family::Titan => titan::whole(body),
    }?;
    let counts = match Tail::of(body)? {
        Some(tail) => tail.note(&mut facts),
        None => Counts::default(),
    };
    let beside = merged(Counts::of_headers(headers).usage(), counts.usage());
    response.usage = merged(beside, response.usage);
    if facts.guardrail.intervened == Some(true) {
        response.finish_reason = Some(FinishReason::ContentFilter);
    }
    Ok((response, facts))
}

/// `later` over `earlier`, field by field.
pub(super) fn merged(earlier: Option<Usage>, later: Option<Usage>) -> Option<Usage> {
    match (earlier, later) {
        (Some(earlier), Some(later)) => Some(earlier.merge(later)),
        (one, other) => other.or(one),
    }
}

/// JSON of the family.
pub(super) fn parse<'f, T: Deserialize<'f>>(json: &'f [u8], expected: &str) -> Result<T> {
    serde_json::from_slice(json).map_err(|e| {
        let why = without_text(&e);
        let message =
            format!("expected {expected} as JSON, see whether the setting `body` is the model's: {why}");
        Error::new("bedrock.answer", ErrorCode::MalformedResponse, message)
    })
}

/// What the parser complains of, place and kind, without the text of the answer that it quotes: that may be long, and
/// may repeat a secret.
fn without_text(e: &serde_json::Error) -> String {
    let text = e.to_string();
    match (text.find('"'), text.rfind('"')) {
        (Some(from), Some(to)) if from < to => format!("{}\"…\"{}", &text[..from], &text[to + 1..]),
        _ => text,
    }
}

/// A count; some bodies write them as floats.
pub(super) fn count(n: Option<f64>) -> Option<u64> {
    n.filter(|n| n.is_finite() && *n >= 0.0).map(|n| n as u64)
}

/// What Bedrock adds to a body, or to the last chunk of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Tail {
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: Option<Metrics>,
    #[serde(rename = "amazon-bedrock-guardrailAction")]
    action: Option<String>,
    #[serde(rename = "amazon-bedrock-trace")]
    trace: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    input_token_count: Option<f64>,
    output_token_count: Option<f64>,
    cache_read_input_token_count: Option<f64>,
    cache_write_input_token_count: Option<f64>,
    invocation_latency: Option<f64>,
    first_byte_latency: Option<f64>,
}

impl Tail {
    /// What Bedrock added; `None` in the chunks that carry nothing but content, which are not parsed for it.
    pub(super) fn of(json: &[u8]) -> Result<Option<Self>> {
        const MARK: &[u8] = b"\"amazon-bedrock-";
        if !json.windows(MARK.len()).any(|w| w == MARK) {
            return Ok(None);
        }
        parse(json, "the members that Bedrock adds").map(Some)
    }

    /// Whether the metrics are there: nothing comes after them.
    pub(super) fn has_metrics(&self) -> bool {
        self.metrics.is_some()
    }

    /// Notes the facts; returns the counts.
    pub(super) fn note(&self, facts: &mut Facts) -> Counts {
        if let Some(action) = &self.action {
            facts.guardrail.acted(action);
        }
        if let Some(trace) = &self.trace {
            facts.guardrail.of_invoke(&trace["guardrail"]);
        }
        let Some(m) = &self.metrics else { return Counts::default() };
        facts.latency_ms = m.invocation_latency;
        facts.first_byte_ms = m.first_byte_latency;
        facts.counts = Counts {
            input: count(m.input_token_count),
            output: count(m.output_token_count),
            cache_read: count(m.cache_read_input_token_count),
            cache_write: count(m.cache_write_input_token_count),
        };
        facts.counts
    }
}
