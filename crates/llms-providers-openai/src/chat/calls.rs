//! Pieces of tool calls, told apart, for every dialect of the `tool_calls` delta.
//!
//! OpenAI: `index` in every piece, id and name in the first. Others leave the index out (one piece per call), give
//! every call index 0, repeat id or name in each piece, or draw a new id for each piece. What goes out is always the
//! first form, indices counted from 0 in order of appearance.

use std::borrow::Cow;

use llms_core::event::ToolCallDelta;

use super::wire::Call;

/// More calls than this in one answer are a server gone wrong.
const MAX_CALLS: usize = 1024;

/// The calls of one answer so far.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    index: u32,
    id: String,
    name: String,
}

impl Calls {
    /// The piece in the core's words; `None` when nothing new is in it.
    ///
    /// # Errors
    /// What is wrong, when there are more calls than any model makes.
    pub(crate) fn piece<'a>(&mut self, call: Call<'a>) -> Result<Option<ToolCallDelta<'a>>, &'static str> {
        let function = call.function.unwrap_or_default();
        let (id, name) = (call.id.0, function.name.0);
        let at = match self.find(call.index, id.as_deref(), name.is_some()) {
            Some(at) => at,
            None if self.seen.len() == MAX_CALLS => return Err("more than 1024 tool calls in one answer"),
            None => {
                let index = call.index.unwrap_or(self.seen.len() as u32);
                self.seen.push(Seen { index, id: String::new(), name: String::new() });
                self.seen.len() - 1
            }
        };
        let seen = &mut self.seen[at];
        let id = id.filter(|_| seen.id.is_empty());
        if let Some(id) = &id {
            seen.id.push_str(id);
        }
        let name = name.filter(|n| *n != seen.name);
        if let Some(name) = &name {
            seen.name.push_str(name);
        }
        let arguments = function.arguments.map_or(Cow::Borrowed(""), |t| t.0);
        let says_something = id.is_some() || name.is_some() || !arguments.is_empty();
        Ok(says_something.then_some(ToolCallDelta { index: at as u32, id, name, arguments }))
    }

    /// The call this piece belongs to; `None`: it begins a new one.
    fn find(&self, index: Option<u32>, id: Option<&str>, named: bool) -> Option<usize> {
        let of = |same: &dyn Fn(&Seen) -> bool| self.seen.iter().rposition(same);
        match (index, id) {
            // A new id alone does not begin a call (older vLLM draws one per piece); with a name it does.
            (Some(index), Some(id)) if named => of(&|s| s.index == index && (s.id.is_empty() || s.id == id)),
            (Some(index), _) => of(&|s| s.index == index),
            (None, Some(id)) => of(&|s| s.id == id),
            (None, None) if named => None,
            (None, None) => self.seen.len().checked_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(index, id, name, arguments)` of what comes out.
    type Piece<'a> = (u32, Option<&'a str>, Option<&'a str>, &'a str);

    #[track_caller]
    fn check(pieces: &[&str], expected: &[Piece<'_>]) {
        let mut calls = Calls::default();
        let out: Vec<_> =
            pieces.iter().filter_map(|p| calls.piece(serde_json::from_str(p).unwrap()).unwrap()).collect();
        let out: Vec<Piece<'_>> =
            out.iter().map(|d| (d.index, d.id.as_deref(), d.name.as_deref(), d.arguments.as_ref())).collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn openai_parallel_calls() {
        check(
            &[
                r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}"#,
                r#"{"index":0,"function":{"arguments":"{}"}}"#,
                r#"{"index":1,"id":"b","type":"function","function":{"name":"f","arguments":""}}"#,
                r#"{"index":1,"function":{"arguments":"{\"x\""}}"#,
                r#"{"index":0,"function":{"arguments":" "}}"#,
            ],
            &[
                (0, Some("a"), Some("f"), ""),
                (0, None, None, "{}"),
                (1, Some("b"), Some("f"), ""),
                (1, None, None, "{\"x\""),
                (0, None, None, " "),
            ],
        );
    }

    #[test]
    fn every_call_with_index_zero() {
        check(
            &[
                r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}"#,
                r#"{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}"#,
                r#"{"index":0,"function":{"arguments":" "}}"#,
            ],
            &[(0, Some("a"), Some("f"), "{}"), (1, Some("b"), Some("g"), "{}"), (1, None, None, " ")],
        );
    }

    #[test]
    fn no_index() {
        check(
            &[
                r#"{"id":"a","function":{"name":"f","arguments":"{"}}"#,
                r#"{"function":{"arguments":"}"}}"#,
                r#"{"function":{"name":"g","arguments":"{}"}}"#,
            ],
            &[(0, Some("a"), Some("f"), "{"), (0, None, None, "}"), (1, None, Some("g"), "{}")],
        );
    }

    #[test]
    fn repeated_names_and_new_ids_in_every_piece() {
        check(
            &[
                r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}"#,
                r#"{"index":0,"id":"b","function":{"name":null,"arguments":"}"}}"#,
                r#"{"index":0,"id":"","function":{"name":"f","arguments":" "}}"#,
                r#"{"index":0,"id":null,"function":{"name":"","arguments":""}}"#,
                r#"{"index":0,"function":null}"#,
            ],
            &[(0, Some("a"), Some("f"), "{"), (0, None, None, "}"), (0, None, None, " ")],
        );
    }

    #[test]
    fn the_number_of_calls_is_bounded() {
        let mut calls = Calls::default();
        for index in 0..MAX_CALLS {
            let json = format!(r#"{{"index":{index},"id":"c","function":{{"name":"f"}}}}"#);
            calls.piece(serde_json::from_str(&json).unwrap()).unwrap();
        }
        let more = serde_json::from_str(r#"{"index":1024,"id":"c","function":{"name":"f"}}"#).unwrap();
        assert!(calls.piece(more).is_err());
    }
}
