//! Whether a route can take a request at all.

use llms_core::{ChatRequest, Message, chat::Content};

use super::{Complexity, Route};
use crate::size::estimated_input_tokens;

/// Why the route cannot take the request; `None` when it can.
pub(super) fn misfit(
    route: &Route,
    request: &ChatRequest,
    streamed: bool,
    complexity: Complexity,
) -> Option<String> {
    let has = &route.model.info().capabilities;
    let has_part = |wanted: fn(&Content) -> bool| {
        request.messages.iter().any(|m| matches!(m, Message::User { content } if content.iter().any(wanted)))
    };
    let needs = [
        (streamed && !has.streaming, "does not stream"),
        (!request.tools.is_empty() && !has.tools, "calls no tools"),
        (has_part(|c| matches!(c, Content::Image { .. })) && !has.images, "reads no images"),
        (has_part(|c| matches!(c, Content::Document { .. })) && !has.documents, "reads no documents"),
        (request.format.is_some() && !has.structured_output, "has no structured output"),
        (!request.cache.is_empty() && !has.prompt_cache, "takes no cache marks"),
    ];
    if let Some((_, why)) = needs.iter().find(|(lacks, _)| *lacks) {
        return Some((*why).to_owned());
    }
    let output = u64::from(request.options.max_tokens.unwrap_or(0));
    if let Some(most) = has.max_output_tokens
        && output > u64::from(most)
    {
        return Some(format!("generates at most {most} tokens, {output} are asked for"));
    }
    if let Some(context) = has.context_tokens {
        let needed = estimated_input_tokens(request) + output;
        if needed > u64::from(context) {
            return Some(format!("has a context of {context} tokens, about {needed} are needed"));
        }
    }
    match route.max_complexity {
        Some(most) if complexity > most => {
            Some(format!("takes requests up to complexity {most}, this one is {complexity}"))
        }
        _ => None,
    }
}
