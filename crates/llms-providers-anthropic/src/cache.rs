//! Where the prompt is cached: the marks of a request, checked, and the `cache_control` they become.
//!
//! Called by `request.rs` before anything is written. Marks that the API would refuse are refused here, by name; which
//! block of a message carries a mark is decided in `messages.rs`.

use llms_core::{
    ChatRequest, Message,
    chat::{CacheAt, CacheTtl},
    config::ConfigErrors,
};
use serde::Serialize;

/// Marks that one request may hold.
pub const MAX_CACHE_BREAKPOINTS: usize = 4;

/// `{"type":"ephemeral"}`, with `"ttl":"1h"` for the longer time; five minutes is what the API does unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl From<CacheTtl> for CacheControl {
    fn from(ttl: CacheTtl) -> Self {
        let ttl = match ttl {
            CacheTtl::Short => None,
            CacheTtl::Long => Some("1h"),
        };
        Self { kind: "ephemeral", ttl }
    }
}

/// The marks of a request by place.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) tools: Option<CacheControl>,
    pub(crate) system: Option<CacheControl>,
    /// Index of the message, number of the mark in the request.
    messages: Vec<(usize, usize, CacheControl)>,
}

impl Marks {
    /// `automatic`: the request asks for the automatic mark of the API as well, which counts like ours.
    pub(crate) fn of(request: &ChatRequest, automatic: bool, errors: &mut ConfigErrors) -> Self {
        let mut marks = Self::default();
        let allowed = MAX_CACHE_BREAKPOINTS - usize::from(automatic);
        errors.check(
            request.cache.len() <= allowed,
            "cache",
            &format!("expected at most {allowed} marks"),
            request.cache.len(),
        );
        for (n, mark) in request.cache.iter().enumerate() {
            let control = CacheControl::from(mark.ttl);
            let expected = match mark.at {
                CacheAt::Tools if request.tools.is_empty() => Some(
                    "expected tools in the request (tools in options.extra carry their own cache_control)",
                ),
                CacheAt::System if request.system_text().is_none_or(|s| s.is_empty()) => {
                    Some("expected a system message in the request")
                }
                CacheAt::Message(i) => match request.messages.get(i) {
                    None => Some("expected the index of a message"),
                    Some(Message::System { .. }) => {
                        Some("expected a message of user, assistant or tool; for the system's mark `system`")
                    }
                    Some(_) => None,
                },
                CacheAt::Tools | CacheAt::System => None,
            };
            let field = format!("cache[{n}].at");
            if let Some(expected) = expected {
                errors.push(field, expected, place(mark.at));
                continue;
            }
            errors.check(
                request.cache[..n].iter().all(|m| m.at != mark.at),
                &field,
                "expected one mark a place",
                place(mark.at),
            );
            match mark.at {
                CacheAt::Tools => marks.tools = Some(control),
                CacheAt::System => marks.system = Some(control),
                CacheAt::Message(i) => marks.messages.push((i, n, control)),
            }
        }
        refuse_growing_times(request, errors);
        marks
    }

    /// The mark of a message and its number in the request.
    pub(crate) fn of_message(&self, index: usize) -> Option<(usize, CacheControl)> {
        self.messages.iter().find(|(i, ..)| *i == index).map(|&(_, n, control)| (n, control))
    }
}

/// Along the prompt (tools, system, messages) the longer time comes first.
fn refuse_growing_times(request: &ChatRequest, errors: &mut ConfigErrors) {
    let rank = |at: CacheAt| match at {
        CacheAt::Tools => 0,
        CacheAt::System => 1,
        CacheAt::Message(i) => i.saturating_add(2),
    };
    let first_short = request.cache.iter().filter(|m| m.ttl == CacheTtl::Short).map(|m| rank(m.at)).min();
    for (n, mark) in request.cache.iter().enumerate() {
        let late = mark.ttl == CacheTtl::Long && first_short.is_some_and(|short| short < rank(mark.at));
        errors.check(
            !late,
            &format!("cache[{n}].ttl"),
            "expected marks for an hour to stand before those for five minutes",
            "one behind",
        );
    }
}

fn place(at: CacheAt) -> String {
    match at {
        CacheAt::Tools => "tools".to_owned(),
        CacheAt::System => "system".to_owned(),
        CacheAt::Message(i) => format!("message {i}"),
    }
}

#[cfg(test)]
mod tests {
    use llms_core::chat::CacheBreakpoint;

    use super::*;

    #[track_caller]
    fn check(cache: &[(CacheAt, CacheTtl)], automatic: bool, expected: &[&str]) {
        let mut request =
            ChatRequest::new([Message::system("s"), Message::user("a"), Message::assistant("b")]);
        request.cache = cache.iter().map(|&(at, ttl)| CacheBreakpoint { at, ttl }).collect();
        let mut errors = ConfigErrors::default();
        Marks::of(&request, automatic, &mut errors);
        let fields: Vec<&str> = errors.errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, expected, "{errors}");
    }

    #[test]
    fn marks_that_the_api_would_refuse_are_named() {
        use CacheAt::{Message, System, Tools};
        use CacheTtl::{Long, Short};
        check(&[(System, Short), (Message(2), Short)], false, &[]);
        check(&[(System, Long), (Message(1), Long), (Message(2), Short)], false, &[]);
        check(&[(Tools, Short)], false, &["cache[0].at"]);
        check(&[(Message(0), Short), (Message(3), Short)], false, &["cache[0].at", "cache[1].at"]);
        check(&[(System, Short), (System, Short)], false, &["cache[1].at"]);
        check(&[(Message(1), Short), (Message(2), Long)], false, &["cache[1].ttl"]);
        check(&[(Message(2), Long), (System, Short)], false, &["cache[0].ttl"]);
        let three = [(System, Short), (Message(1), Short), (Message(2), Short)];
        check(&three, true, &[]);
        let four = [three[0], three[1], three[2], (Message(1), Short)];
        check(&four, true, &["cache", "cache[3].at"]);
        check(
            &[four[0], four[1], four[2], four[3], four[3]],
            false,
            &["cache", "cache[3].at", "cache[4].at"],
        );
    }
}
