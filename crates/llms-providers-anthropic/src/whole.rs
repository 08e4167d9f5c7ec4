//! The reader of answers that are not streamed. The same rules as in `stream.rs`, which reads those that are.

use std::borrow::Cow;

use llms_core::{ChatResponse, ErrorCode, Result, ToolCall, chat::ReasoningBlock, wire::Hooks};

use crate::{
    config::Config,
    error,
    hooks::Said,
    stream::{finish_reason, meaningful},
    wire::{Block, Counts, Ending, Whole},
};

const OP: &str = "anthropic.generate";

/// Reads a whole body.
pub(crate) fn read(config: &Config, body: &[u8], report: &mut Hooks<'_>) -> Result<ChatResponse> {
    if body.trim_ascii().is_empty() {
        return Err(error::empty(OP));
    }
    let unreadable = |e: &dyn std::fmt::Display| error::malformed(config, OP, "a message", e);
    let text = std::str::from_utf8(body).map_err(|e| unreadable(&e))?;
    let answer: Whole<'_> = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
    if answer.error.is_some() {
        return Err(error::in_answer(config, OP, text, ErrorCode::InvalidResponse));
    }
    let Some(content) = answer.content else {
        let message = "expected a message with content, found none; check base_url";
        return Err(error::new(OP, ErrorCode::InvalidResponse, message));
    };
    let mut response = ChatResponse {
        model: answer.model.map(|t| config.clean(&t).into_owned()),
        id: answer.id.map(|t| config.clean(&t).into_owned()),
        ..ChatResponse::default()
    };
    for block in content {
        append(&mut response, block).map_err(|e| unreadable(&e))?;
    }
    let mut said = Said::default();
    if let Some(usage) = &answer.usage {
        said.counts = Counts::from(usage);
        said.usage(usage);
    }
    let ending =
        Ending { reason: answer.stop_reason, sequence: answer.stop_sequence, details: answer.stop_details };
    said.ending(&ending);
    response.usage = said.counts.reported();
    response.finish_reason = ending.reason.map(|word| finish_reason(config, &word));
    said.report(config, report);
    Ok(response)
}

fn append(response: &mut ChatResponse, block: Block<'_>) -> Result<(), &'static str> {
    let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    match &*block.kind {
        "text" => response.text.push_str(&block.text.text()?.unwrap_or_default()),
        "thinking" => {
            let (text, signature) = (block.thinking.said()?, own(block.signature.said()?));
            if let Some(text) = &text {
                response.reasoning.get_or_insert_default().push_str(text);
            }
            if text.is_some() || signature.is_some() {
                let text = own(text).unwrap_or_default();
                response.reasoning_blocks.push(ReasoningBlock {
                    text,
                    signature,
                    ..ReasoningBlock::default()
                });
            }
        }
        "redacted_thinking" => {
            if let Some(data) = own(block.data.said()?) {
                let block = ReasoningBlock { encrypted: Some(data), ..ReasoningBlock::default() };
                response.reasoning_blocks.push(block);
            }
        }
        "tool_use" => {
            let id = own(block.id.text()?).unwrap_or_else(|| format!("call_{}", response.tool_calls.len()));
            response.tool_calls.push(ToolCall {
                id,
                name: own(block.name.text()?).unwrap_or_default(),
                arguments: block.input.and_then(meaningful).unwrap_or_default().to_owned(),
            });
        }
        _ => {}
    }
    Ok(())
}
