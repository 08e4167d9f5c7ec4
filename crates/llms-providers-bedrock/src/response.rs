//! The SDK's whole answer as ours, and what whole answers and streams share: usage and stop reasons.

use aws_sdk_bedrockruntime::{
    operation::converse::ConverseOutput,
    types::{
        CacheTtl, CitationGeneratedContent, ContentBlock, ConverseOutput as Output, ReasoningContentBlock,
        StopReason, TokenUsage, ToolUseType,
    },
};
use aws_smithy_types::Blob;
use base64::{Engine, engine::general_purpose::STANDARD};
use llms_core::{
    ChatResponse, Error, ErrorCode, FinishReason, Result, ToolCall, Usage, chat::ReasoningBlock,
};

use crate::{
    document::value,
    guardrail::Guardrail,
    hooks::{Counts, Facts},
};

/// A whole answer and what the service says beside it.
///
/// # Errors
/// `invalid_response` when there is no message in it.
pub(crate) fn response(output: ConverseOutput) -> Result<(ChatResponse, Facts)> {
    let trace = output.trace.as_ref();
    let intervened = output.stop_reason == StopReason::GuardrailIntervened;
    let mut facts = Facts {
        latency_ms: output.metrics.and_then(|m| latency(m.latency_ms)),
        service_tier: output.service_tier.map(|t| t.r#type().as_str().to_owned()),
        performance: output.performance_config.map(|p| p.latency().as_str().to_owned()),
        invoked_model: trace.and_then(|t| t.prompt_router.as_ref()).and_then(|r| r.invoked_model_id.clone()),
        guardrail: Guardrail::of_converse(intervened, trace.and_then(|t| t.guardrail.as_ref())),
        ..Facts::default()
    };
    if let Some(usage) = &output.usage {
        cached(usage, &mut facts);
    }
    let Some(Output::Message(message)) = output.output else {
        return Err(Error::new(
            "bedrock.answer",
            ErrorCode::InvalidResponse,
            "expected an answer with output.message; see whether the endpoint really speaks Converse",
        ));
    };
    let mut response = ChatResponse {
        finish_reason: Some(finish_reason(&output.stop_reason)),
        usage: output.usage.as_ref().and_then(usage),
        model: facts.invoked_model.clone(),
        ..ChatResponse::default()
    };
    for block in message.content {
        match block {
            ContentBlock::Text(text) => response.text.push_str(&text),
            // The text of an answer with citations stands here instead.
            ContentBlock::CitationsContent(cited) => {
                for part in cited.content.unwrap_or_default() {
                    if let CitationGeneratedContent::Text(text) = part {
                        response.text.push_str(&text);
                    }
                }
            }
            ContentBlock::ReasoningContent(ReasoningContentBlock::ReasoningText(reasoning)) => {
                response.reasoning.get_or_insert_default().push_str(&reasoning.text);
                // Models that do not sign their reasoning do not want it back.
                if let Some(signature) = reasoning.signature {
                    response.reasoning_blocks.push(ReasoningBlock {
                        text: reasoning.text,
                        signature: Some(signature),
                        ..ReasoningBlock::default()
                    });
                }
            }
            ContentBlock::ReasoningContent(ReasoningContentBlock::RedactedContent(content)) => {
                response.reasoning_blocks.push(ReasoningBlock {
                    encrypted: Some(encrypted(&content)),
                    ..ReasoningBlock::default()
                });
            }
            ContentBlock::ToolUse(call) if is_ours(call.r#type.as_ref()) => {
                response.tool_calls.push(ToolCall {
                    id: call.tool_use_id,
                    name: call.name,
                    arguments: value(&call.input).to_string(),
                });
            }
            // Calls of tools that Bedrock runs itself, their results, what is new.
            _ => {}
        }
    }
    Ok((response, facts))
}

/// The service's own duration, ms. The SDK writes 0 where it is missing.
pub(crate) fn latency(ms: i64) -> Option<f64> {
    (ms > 0).then_some(ms as f64)
}

/// Redacted reasoning as our vocabulary keeps it.
pub(crate) fn encrypted(content: &Blob) -> String {
    STANDARD.encode(content.as_ref())
}

/// Tokens from and to the cache as facts, where the model caches at all.
pub(crate) fn cached(usage: &TokenUsage, facts: &mut Facts) {
    let count = |n: i32| u64::try_from(n).ok();
    facts.counts = Counts {
        cache_read: usage.cache_read_input_tokens.and_then(count),
        cache_write: usage.cache_write_input_tokens.and_then(count),
        ..Counts::default()
    };
    for detail in usage.cache_details() {
        match detail.ttl() {
            CacheTtl::FiveMinutes => facts.cache_write_5m = count(detail.input_tokens()),
            CacheTtl::OneHour => facts.cache_write_1h = count(detail.input_tokens()),
            _ => {}
        }
    }
}

/// Whether the caller is to run the tool; Bedrock runs `server_tool_use` itself.
pub(crate) fn is_ours(kind: Option<&ToolUseType>) -> bool {
    !matches!(kind, Some(ToolUseType::ServerToolUse))
}

/// Bedrock's classes are disjoint: the input excludes what was read from or written to the cache. Ours contain
/// them. A report of nothing but zeros is the SDK's way to say that the fields were missing.
pub(crate) fn usage(usage: &TokenUsage) -> Option<Usage> {
    let count = |n: i32| u64::try_from(n).ok();
    let (input, output, total) =
        (count(usage.input_tokens), count(usage.output_tokens), count(usage.total_tokens));
    if (input, output, total) == (Some(0), Some(0), Some(0)) {
        return None;
    }
    let cache_read = usage.cache_read_input_tokens.and_then(count);
    let cache_write = usage.cache_write_input_tokens.and_then(count);
    Some(Usage {
        input_tokens: input.map(|n| n + cache_read.unwrap_or(0) + cache_write.unwrap_or(0)),
        output_tokens: output,
        cache_read_tokens: cache_read,
        cache_write_tokens: cache_write,
        reasoning_tokens: None,
        total_tokens: total,
        ..Usage::default()
    })
}

/// Our word for Bedrock's; `malformed_…` and new ones keep theirs.
pub(crate) fn finish_reason(reason: &StopReason) -> FinishReason {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence => FinishReason::Stop,
        StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => FinishReason::Length,
        StopReason::ToolUse => FinishReason::ToolCalls,
        StopReason::ContentFiltered | StopReason::GuardrailIntervened => FinishReason::ContentFilter,
        other => FinishReason::Other(other.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_contained_in_the_input() {
        let bedrock = TokenUsage::builder()
            .input_tokens(50)
            .output_tokens(80)
            .total_tokens(4130)
            .cache_read_input_tokens(3000)
            .cache_write_input_tokens(1000)
            .build()
            .unwrap();
        let ours = usage(&bedrock).unwrap();
        assert_eq!(ours.input_tokens, Some(4050));
        assert_eq!(ours.uncached_input_tokens(), Some(50));
        assert_eq!(ours.input_tokens.unwrap() + ours.output_tokens.unwrap(), ours.total_tokens.unwrap());
    }

    #[test]
    fn missing_counts_are_absent_and_not_zero() {
        let empty = TokenUsage::builder().input_tokens(0).output_tokens(0).total_tokens(0).build().unwrap();
        assert_eq!(usage(&empty), None);
    }

    #[test]
    fn every_stop_reason_has_a_word() {
        for (word, ours) in [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("tool_use", "tool_calls"),
            ("content_filtered", "content_filter"),
            ("guardrail_intervened", "content_filter"),
            ("malformed_tool_use", "malformed_tool_use"),
            ("something_new", "something_new"),
        ] {
            assert_eq!(finish_reason(&StopReason::from(word)).as_str(), ours);
        }
    }
}
