//! Prompt files: the shapes that benchmark data sets come in, told apart by their fields.
//!
//! JSON Lines or a JSON array whose items are texts or objects with `messages`, `prompt`, `text`, `question`,
//! `turns` (the first one is asked) or `conversations` (ShareGPT; the first human turn); or plain text, one
//! prompt per line.

use std::path::Path;

use llms_core::{Error, ErrorCode, Message, Result, bench::Prompt};
use serde_json::Value;

/// Reads prompts from a file; `.json` and `.jsonl` hold JSON, anything else one prompt per line. The ids are the
/// items' own (`id`, `question_id`), else `<file name>-<line>`.
///
/// # Errors
/// `invalid_config` with file and line.
pub fn load_prompts(path: &Path) -> Result<Vec<Prompt>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| wrong(format!("cannot read the prompt file `{name}`")).with_source(e))?;
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("p");
    let json = matches!(path.extension().and_then(|e| e.to_str()), Some("json" | "jsonl" | "ndjson"));
    let prompts = if json { parse_prompts(&text, &name, stem)? } else { plain_lines(&text, stem) };
    if prompts.is_empty() {
        return Err(wrong(format!("expected at least one prompt in `{name}`, found none")));
    }
    Ok(prompts)
}

/// Reads prompts from JSON Lines or a JSON array; `name` stands in messages, `stem` in made-up ids.
///
/// # Errors
/// `invalid_config` with name and line or item.
pub fn parse_prompts(text: &str, name: &str, stem: &str) -> Result<Vec<Prompt>> {
    let bad_json =
        |line: usize, e: serde_json::Error| wrong(format!("{name}:{line}: expected JSON")).with_source(e);
    let items: Vec<(usize, Value)> = if text.trim_start().starts_with('[') {
        let items: Vec<Value> = serde_json::from_str(text).map_err(|e| bad_json(e.line(), e))?;
        (1..).zip(items).collect()
    } else {
        (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(n, line)| serde_json::from_str(line).map(|v| (n, v)).map_err(|e| bad_json(n, e)))
            .collect::<Result<_>>()?
    };
    items
        .into_iter()
        .map(|(n, item)| {
            let messages = messages(&item).ok_or_else(|| {
                wrong(format!(
                    "{name}: item {n}: expected a text or an object with messages, prompt, text, question, \
                     turns or conversations"
                ))
            })?;
            Ok(Prompt { id: own_id(&item).unwrap_or_else(|| format!("{stem}-{n}")), messages })
        })
        .collect()
}

fn wrong(message: String) -> Error {
    Error::new("prompts.load", ErrorCode::InvalidConfig, message)
}

fn plain_lines(text: &str, stem: &str) -> Vec<Prompt> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(n, line): (usize, _)| Prompt::new(format!("{stem}-{n}"), line.trim()))
        .collect()
}

fn own_id(item: &Value) -> Option<String> {
    ["id", "question_id"].iter().find_map(|key| match item.get(key)? {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    })
}

fn messages(item: &Value) -> Option<Vec<Message>> {
    if let Some(text) = item.as_str() {
        return Some(vec![Message::user(text)]);
    }
    if let Some(list) = item.get("messages") {
        return list.as_array()?.iter().map(message).collect();
    }
    for key in ["prompt", "text", "question"] {
        if let Some(text) = item.get(key).and_then(Value::as_str) {
            return Some(vec![Message::user(text)]);
        }
    }
    if let Some(first) = item.get("turns").and_then(|t| t.get(0)).and_then(Value::as_str) {
        return Some(vec![Message::user(first)]);
    }
    let turns = item.get("conversations")?.as_array()?;
    let human = turns.iter().find(|t| matches!(t["from"].as_str(), Some("human" | "user")))?;
    Some(vec![Message::user(human["value"].as_str()?)])
}

/// Our own shape of a message, or the common one whose content is a text.
fn message(value: &Value) -> Option<Message> {
    if let Some(text) = value["content"].as_str() {
        match value["role"].as_str()? {
            "user" => return Some(Message::user(text)),
            "system" | "developer" => return Some(Message::system(text)),
            "assistant" => return Some(Message::assistant(text)),
            _ => {}
        }
    }
    serde_json::from_value(value.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let prompts = parse_prompts(text, "f.jsonl", "f").unwrap();
        let found: Vec<_> =
            prompts.iter().map(|p| (p.id.clone(), p.messages.last().unwrap().text())).collect();
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_shapes_of_known_data_sets() {
        check("\"a\"\n\n{\"prompt\":\"b\"}\n", &[("f-1", "a"), ("f-3", "b")]);
        check(r#"{"question": "2+2?", "answer": "4"}"#, &[("f-1", "2+2?")]);
        check(r#"{"question_id": 81, "turns": ["one", "two"]}"#, &[("81", "one")]);
        check(
            r#"[{"id": "x", "conversations": [{"from": "gpt", "value": "?"}, {"from": "human", "value": "hi"}]}]"#,
            &[("x", "hi")],
        );
        check(
            r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}"#,
            &[("f-1", "u")],
        );
    }

    #[test]
    fn messages_say_where() {
        for (text, place) in [("\"a\"\n{", "f.jsonl:2"), ("{\"a\": 1}", "f.jsonl: item 1"), ("[1]", "item 1")]
        {
            let e = parse_prompts(text, "f.jsonl", "f").unwrap_err();
            assert!(e.message().contains(place), "{e}");
        }
    }
}
