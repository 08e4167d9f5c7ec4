//! What a guardrail did, from Converse's trace and from the members that InvokeModel adds to the model's body.
//!
//! Only facts: whether it acted, which kinds of policy found something, how long it took. What it found (texts,
//! personal data) is left where it is.

use std::collections::HashMap;

use aws_sdk_bedrockruntime::types::{GuardrailAssessment, GuardrailTraceAssessment};
use serde_json::Value;

/// Policies by the names under which they are reported, in the order of the bits.
const POLICIES: [(&str, &str); 6] = [
    ("topic", "topicPolicy"),
    ("content", "contentPolicy"),
    ("word", "wordPolicy"),
    ("sensitive_information", "sensitiveInformationPolicy"),
    ("contextual_grounding", "contextualGroundingPolicy"),
    ("automated_reasoning", "automatedReasoningPolicy"),
];

/// What a guardrail did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Guardrail {
    /// Whether it acted; `None` when there was none.
    pub(crate) intervened: Option<bool>,
    /// Why, in the service's words.
    pub(crate) reason: Option<String>,
    /// Which of [`POLICIES`] found something.
    found: [bool; 6],
    /// How long the assessments of the input took, ms.
    pub(crate) input_ms: Option<f64>,
    /// How long the assessments of the output took, ms.
    pub(crate) output_ms: Option<f64>,
}

impl Guardrail {
    /// Of Converse: the stop reason says whether it acted, the trace what it saw.
    pub(crate) fn of_converse(intervened: bool, trace: Option<&GuardrailTraceAssessment>) -> Self {
        let mut out = Self { intervened: intervened.then_some(true), ..Self::default() };
        let Some(trace) = trace else { return out };
        out.intervened = Some(intervened);
        out.reason.clone_from(&trace.action_reason);
        for assessment in trace.input_assessment.iter().flat_map(HashMap::values) {
            add(&mut out.input_ms, out.found.see(assessment));
        }
        for assessment in trace.output_assessments.iter().flat_map(HashMap::values).flatten() {
            add(&mut out.output_ms, out.found.see(assessment));
        }
        out
    }

    /// `amazon-bedrock-guardrailAction` of a body or chunk: once it has acted, it has acted.
    pub(crate) fn acted(&mut self, action: &str) {
        let acted = action.eq_ignore_ascii_case("INTERVENED");
        self.intervened = Some(acted || self.intervened == Some(true));
    }

    /// `amazon-bedrock-trace.guardrail` of a body or chunk.
    pub(crate) fn of_invoke(&mut self, trace: &Value) {
        if let Some(reason) = trace["actionReason"].as_str() {
            self.reason = Some(reason.to_owned());
        }
        for assessment in members(&trace["input"]) {
            add(&mut self.input_ms, self.found.see_json(assessment));
        }
        // One map for each part of the output that was assessed.
        for assessment in trace["outputs"].as_array().into_iter().flatten().flat_map(members) {
            add(&mut self.output_ms, self.found.see_json(assessment));
        }
    }

    /// `intervened` or `none`; nothing without a guardrail.
    pub(crate) fn action(&self) -> Option<&'static str> {
        self.intervened.map(|acted| if acted { "intervened" } else { "none" })
    }

    /// The policies that found something.
    pub(crate) fn policies(&self) -> Option<String> {
        let names: Vec<&str> =
            POLICIES.iter().zip(self.found).filter(|(_, found)| *found).map(|((name, _), _)| *name).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

fn members(map: &Value) -> impl Iterator<Item = &Value> {
    map.as_object().into_iter().flat_map(|m| m.values())
}

fn add(sum: &mut Option<f64>, ms: Option<f64>) {
    if let Some(ms) = ms {
        *sum = Some(sum.unwrap_or(0.0) + ms);
    }
}

/// Notes what an assessment found, and returns how long it took, ms.
trait See {
    fn see(&mut self, assessment: &GuardrailAssessment) -> Option<f64>;
    fn see_json(&mut self, assessment: &Value) -> Option<f64>;
}

impl See for [bool; 6] {
    fn see(&mut self, a: &GuardrailAssessment) -> Option<f64> {
        let found = [
            a.topic_policy.as_ref().is_some_and(|p| !p.topics.is_empty()),
            a.content_policy.as_ref().is_some_and(|p| !p.filters.is_empty()),
            a.word_policy
                .as_ref()
                .is_some_and(|p| !p.custom_words.is_empty() || !p.managed_word_lists.is_empty()),
            a.sensitive_information_policy
                .as_ref()
                .is_some_and(|p| !p.pii_entities.is_empty() || !p.regexes.is_empty()),
            a.contextual_grounding_policy.as_ref().is_some_and(|p| !p.filters().is_empty()),
            a.automated_reasoning_policy.as_ref().is_some_and(|p| !p.findings().is_empty()),
        ];
        for (seen, found) in self.iter_mut().zip(found) {
            *seen |= found;
        }
        let ms = a.invocation_metrics.as_ref()?.guardrail_processing_latency?;
        Some(ms as f64)
    }

    fn see_json(&mut self, assessment: &Value) -> Option<f64> {
        for (seen, (_, member)) in self.iter_mut().zip(POLICIES) {
            *seen |= members(&assessment[member]).any(|list| list.as_array().is_some_and(|l| !l.is_empty()));
        }
        assessment["invocationMetrics"]["guardrailProcessingLatency"].as_f64()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_trace_of_a_body_gives_policies_and_times() {
        let mut seen = Guardrail::default();
        seen.acted("NONE");
        assert_eq!(seen.action(), Some("none"));
        seen.acted("INTERVENED");
        seen.acted("NONE");
        let assessment = |ms: i64, words: Value| {
            json!({
                "topicPolicy": {"topics": []},
                "wordPolicy": words,
                "sensitiveInformationPolicy": {"piiEntities": [{"type": "NAME", "match": "Ann"}]},
                "invocationMetrics": {"guardrailProcessingLatency": ms},
            })
        };
        seen.of_invoke(&json!({
            "actionReason": "Guardrail masked.",
            "input": {"g": {"invocationMetrics": {"guardrailProcessingLatency": 11}}},
            "outputs": [{"g": assessment(20, json!(null))}, {"g": assessment(22, json!({"customWords": [{}]}))}],
        }));
        assert_eq!(seen.action(), Some("intervened"));
        assert_eq!(seen.policies().as_deref(), Some("word,sensitive_information"));
        assert_eq!((seen.input_ms, seen.output_ms), (Some(11.0), Some(42.0)));
        assert_eq!(seen.reason.as_deref(), Some("Guardrail masked."));
        assert!(!format!("{seen:?}").contains("Ann"), "what was found stays where it is");
    }
}
