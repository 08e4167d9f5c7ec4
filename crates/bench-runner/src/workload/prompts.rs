//! Prompt files: the shapes that benchmark data sets come in, told apart by their fields.
//!
//! JSON Lines or a JSON array whose items are texts or objects with `messages`, `prompt`, `text`, `question`, `turns` or
//! `conversations` (ShareGPT); CSV with a column of one of these names; or plain text, one prompt per line. Of several
//! turns the first is asked; the others follow it in runs of sessions. Conversations in which no human says anything, which
//! ShareGPT has, ask nothing and are left out; an id used before gets the number of its item behind it.

use std::{collections::HashSet, path::Path};

use llms_core::{
    Error, ErrorCode, Message, Result,
    bench::Prompt,
    chat::{Content, ImageData},
};
use serde_json::Value;

use super::csv;

/// Reads prompts from a file; `.json` and `.jsonl` hold JSON, `.csv` a table with a header, anything else one prompt per
/// line. The ids are the items' own (`id`, `question_id`), else `<file name>-<line>`; `max_tokens` or `output_tokens`
/// limit the answer to that prompt.
///
/// # Errors
/// `invalid_config` with file and line.
pub fn load_prompts(path: &Path) -> Result<Vec<Prompt>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| wrong(format!("cannot read the prompt file `{name}`")).with_source(e))?;
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("p");
    let prompts = match path.extension().and_then(|e| e.to_str()) {
        Some("json" | "jsonl" | "ndjson") => parse_prompts(&text, &name, stem)?,
        Some("csv") => table(&text, &name, stem)?,
        _ => plain_lines(&text, stem),
    };
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
    let mut ids = HashSet::new();
    items
        .into_iter()
        .filter(|(_, item)| !nobody_asks(item))
        .map(|(n, item)| {
            let (messages, turns) = conversation(&item).ok_or_else(|| {
                wrong(format!(
                    "{name}: item {n}: expected a text or an object with messages, prompt, text, question, \
                     turns or conversations"
                ))
            })?;
            let max_tokens = limit(&item).map_err(|field| {
                wrong(format!("{name}: item {n}: {field}: expected a whole number above 0"))
            })?;
            let id = own_id(&item).unwrap_or_else(|| format!("{stem}-{n}"));
            let id = if ids.insert(id.clone()) { id } else { format!("{id}-{n}") };
            Ok(Prompt { id, messages, turns, max_tokens, expect: None })
        })
        .collect()
}

/// What one of a conversation's speakers is called when a human speaks.
fn is_human(said: &Value) -> bool {
    matches!(said["from"].as_str(), Some("human" | "user"))
}

/// A conversation without a word of a human.
fn nobody_asks(item: &Value) -> bool {
    let said = ["conversations", "conversation"].iter().find_map(|key| item.get(key)?.as_array());
    said.is_some_and(|said| !said.iter().any(is_human))
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

/// What limits the answer; the name of the field that is no count.
fn limit(item: &Value) -> Result<Option<u32>, &'static str> {
    let found = ["max_tokens", "output_tokens"].into_iter().find_map(|key| Some((key, item.get(key)?)));
    let Some((key, value)) = found.filter(|(_, v)| !v.is_null()) else { return Ok(None) };
    let n = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    n.map(Some).ok_or(key)
}

/// The first prompt, and what the user says after the answers.
fn conversation(item: &Value) -> Option<(Vec<Message>, Vec<String>)> {
    let single = |text: &str| Some((vec![Message::user(text)], Vec::new()));
    if let Some(text) = item.as_str() {
        return single(text);
    }
    if let Some(list) = item.get("messages") {
        let messages: Option<Vec<Message>> = list.as_array()?.iter().map(message).collect();
        return Some((messages.filter(|m| !m.is_empty())?, Vec::new()));
    }
    for key in TEXT_FIELDS {
        if let Some(text) = item.get(key).and_then(Value::as_str) {
            return single(text);
        }
    }
    let turns: Vec<&str> = match item.get("turns") {
        Some(turns) => turns.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?,
        None => {
            let said = item.get("conversations").or_else(|| item.get("conversation"))?.as_array()?;
            said.iter().filter(|t| is_human(t)).map(|t| t["value"].as_str()).collect::<Option<_>>()?
        }
    };
    let (first, rest) = turns.split_first()?;
    Some((vec![Message::user(*first)], rest.iter().map(|t| (*t).to_owned()).collect()))
}

/// Where a text stands, in an object or as a column.
const TEXT_FIELDS: [&str; 3] = ["prompt", "text", "question"];

/// A table with a header.
fn table(text: &str, name: &str, stem: &str) -> Result<Vec<Prompt>> {
    let rows = csv::parse(text).map_err(|line| {
        wrong(format!("{name}:{line}: expected a closing quote, found the end of the file"))
    })?;
    let Some(((at, header), rows)) = rows.split_first() else { return Ok(Vec::new()) };
    let column = |names: &[&str]| {
        names.iter().find_map(|n| header.iter().position(|h| h.trim().eq_ignore_ascii_case(n)))
    };
    let Some(asked) = column(&TEXT_FIELDS) else {
        let found = header.join(",");
        return Err(wrong(format!("{name}:{at}: expected a column prompt, text or question, found {found}")));
    };
    let (id, limit) = (column(&["id", "question_id"]), column(&["max_tokens", "output_tokens"]));
    rows.iter()
        .map(|(line, row)| {
            let field = |index: usize| row.get(index).map(|f| f.trim()).filter(|f| !f.is_empty());
            let asked = field(asked)
                .ok_or_else(|| wrong(format!("{name}:{line}: {}: expected a text", header[asked])))?;
            let max_tokens = match limit.and_then(|index| Some((index, field(index)?))) {
                None => None,
                Some((index, text)) => Some(text.parse().ok().filter(|n| *n > 0_u32).ok_or_else(|| {
                    let column = &header[index];
                    wrong(format!("{name}:{line}: {column}: expected a whole number above 0, found `{text}`"))
                })?),
            };
            let id = id.and_then(field).map_or_else(|| format!("{stem}-{line}"), str::to_owned);
            Ok(Prompt { max_tokens, ..Prompt::new(id, asked) })
        })
        .collect()
}

/// Our own shape of a message, or the common one whose content is a text or a list of `text` and `image_url` parts.
pub(super) fn message(value: &Value) -> Option<Message> {
    if let Some(text) = value["content"].as_str() {
        match value["role"].as_str()? {
            "user" => return Some(Message::user(text)),
            "system" | "developer" => return Some(Message::system(text)),
            "assistant" => return Some(Message::assistant(text)),
            _ => {}
        }
    }
    if let Ok(own) = serde_json::from_value(value.clone()) {
        return Some(own);
    }
    let content = value["content"].as_array().filter(|_| value["role"] == "user")?;
    Some(Message::User { content: content.iter().map(part).collect::<Option<_>>()? })
}

/// A part of a user's message as chat completions write it; an image's address may hold the image (`data:image/png;base64,…`).
fn part(value: &Value) -> Option<Content> {
    match value["type"].as_str()? {
        "text" => Some(Content::text(value["text"].as_str()?)),
        "image_url" => {
            let url = value["image_url"]["url"].as_str().or(value["image_url"].as_str())?;
            let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
            Some(match inline {
                Some((media_type, base64)) => Content::image(media_type, base64),
                None => Content::Image { data: ImageData::Url(url.to_owned()) },
            })
        }
        _ => None,
    }
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
    fn what_share_gpt_has_beside_questions() {
        check(
            r#"[{"id": "a", "conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "!"}]},
                {"id": "b", "conversations": [{"from": "gpt", "value": "hello"}]},
                {"id": "c", "conversations": []},
                {"id": "a", "conversations": [{"from": "system", "value": "s"}, {"from": "user", "value": "y"}]}]"#,
            &[("a", "x"), ("a-4", "y")],
        );
    }

    #[test]
    fn images_in_the_shape_of_chat_completions() {
        let text = r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": "https://h/x.png"}}]}]}"#
            .replace('\n', "");
        let prompts = parse_prompts(&text, "f", "f").unwrap();
        let expected = vec![
            Content::text("What is this?"),
            Content::image("image/png", "AAAA"),
            Content::Image { data: ImageData::Url("https://h/x.png".to_owned()) },
        ];
        assert_eq!(prompts[0].messages, [Message::User { content: expected }]);
        let unknown = text.replace("\"type\": \"image_url\"", "\"type\": \"input_audio\"");
        assert!(parse_prompts(&unknown, "f", "f").is_err());
    }

    #[test]
    fn later_turns_follow_and_answers_may_be_limited() {
        let all = parse_prompts(
            r#"[{"turns": ["a", "b", "c"], "max_tokens": 7},
                {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "!"},
                                   {"from": "human", "value": "y"}]}]"#,
            "f",
            "f",
        )
        .unwrap();
        assert_eq!(
            (all[0].turns.clone(), all[0].max_tokens),
            (vec!["b".to_owned(), "c".to_owned()], Some(7))
        );
        assert_eq!((all[1].turns.clone(), all[1].max_tokens), (vec!["y".to_owned()], None));
    }

    #[test]
    fn tables_have_a_column_of_prompts() {
        let all = table("id,Prompt,max_tokens\nx,\"a, b\",9\n,c,\n", "f.csv", "f").unwrap();
        let found: Vec<_> = all.iter().map(|p| (p.id.as_str(), p.messages[0].text(), p.max_tokens)).collect();
        assert_eq!(found, [("x", "a, b".to_owned(), Some(9)), ("f-3", "c".to_owned(), None)]);
        for (text, place) in [
            ("id,body\n1,x\n", "f.csv:1: expected a column prompt, text or question, found id,body"),
            ("prompt,max_tokens\n\"a\n\",1\nb,-1\n", "f.csv:4: max_tokens: expected a whole number"),
            ("prompt,x\n,1\n", "f.csv:2: prompt: expected a text"),
            ("prompt\n\"a\n", "f.csv:2: expected a closing quote"),
        ] {
            let e = table(text, "f.csv", "f").unwrap_err();
            assert!(e.message().contains(place), "{e}");
        }
    }

    #[test]
    fn messages_say_where() {
        for (text, place) in [
            ("\"a\"\n{", "f.jsonl:2"),
            ("{\"a\": 1}", "f.jsonl: item 1"),
            ("[1]", "item 1"),
            (r#"{"prompt": "a", "max_tokens": 0}"#, "item 1: max_tokens: expected a whole"),
        ] {
            let e = parse_prompts(text, "f.jsonl", "f").unwrap_err();
            assert!(e.message().contains(place), "{e}");
        }
    }
}
