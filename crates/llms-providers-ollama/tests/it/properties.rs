//! What must hold for any lines: the shortcut for plain text never changes what is read, and nothing makes the decoder
//! panic.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use llms_core::{
    Stamp, StreamEvent, TimedEvent,
    config::ModelConfig,
    wire::{Codec as _, Decoder as _, Frame},
};
use llms_providers_ollama::{Codec, Config, Decoder};
use proptest::prelude::*;

fn codec() -> Codec {
    Codec::new(Config::new(&ModelConfig::new("ollama", "m"), &|_| None).unwrap())
}

/// Events of one line without the `Start` that only the first one gives and the end of earlier thinking, or its error as
/// text.
fn read(decoder: &mut Decoder, data: &str) -> Result<Vec<StreamEvent<'static>>, String> {
    let mut events: Vec<TimedEvent> = Vec::new();
    decoder.frame(Frame { event: None, data }, Stamp::default(), &mut events).map_err(|e| e.to_string())?;
    let of_earlier =
        |e: &StreamEvent<'_>| matches!(e, StreamEvent::Start { .. } | StreamEvent::ReasoningSeal(_));
    Ok(events.into_iter().map(|e| e.event).filter(|e| !of_earlier(e)).collect())
}

/// Lines that look like text, most of them such, with everything that may go wrong at their seams.
fn line() -> impl Strategy<Value = String> {
    let time = prop_oneof![
        4 => "[0-9:.Z-]{0,8}".prop_map(|t| format!("\"{t}\"")),
        1 => Just("\"a\\u0041\"".to_owned()),
        1 => Just("\"a\",\"x\":\"b\"".to_owned()),
        1 => Just("null".to_owned()),
    ];
    let text = prop_oneof![
        4 => "[a-zé😄 }]{0,6}",
        1 => any::<String>().prop_map(|t| serde_json::to_string(&t).unwrap()[1..].strip_suffix('"').unwrap().to_owned()),
        1 => "[\\\\\"\n\t}{u0]{0,4}",
    ];
    let tail = prop_oneof![
        8 => Just("\"},\"done\":false}".to_owned()),
        1 => Just("\",\"thinking\":\"y\"},\"done\":false}".to_owned()),
        1 => Just("\",\"content\":\"y\"},\"done\":false}".to_owned()),
        1 => Just("\"},\"done\":false,\"error\":\"y\"}".to_owned()),
        1 => Just("\"},\"done\":false".to_owned()),
    ];
    let field = prop_oneof![6 => Just("content"), 1 => Just("thinking")];
    let generate = prop_oneof![1 => Just(false), 1 => Just(true)];
    (time, field, text, tail, generate).prop_map(|(time, field, text, tail, generate)| {
        let chat = format!(
            r#"{{"model":"m","created_at":{time},"message":{{"role":"assistant","{field}":"{text}{tail}"#
        );
        if !generate {
            return chat;
        }
        // The same in the words of the other endpoint.
        let line = chat.replace(r#""message":{"role":"assistant","content":"#, r#""response":"#);
        line.replace(r#""message":{"role":"assistant","#, "").replace(r#""},"done"#, r#"","done"#)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_shortcut_reads_what_the_full_parse_reads(lines in prop::collection::vec(line(), 1..12)) {
        let codec = codec();
        let mut one = codec.decoder();
        for data in &lines {
            // A fresh decoder has learned nothing.
            prop_assert_eq!(read(&mut one, data), read(&mut codec.decoder(), data), "{}", data);
        }
    }

    #[test]
    fn no_line_makes_it_panic(lines in prop::collection::vec(prop::sample::select(DATA), 0..12)) {
        let mut decoder = codec().decoder();
        let mut events: Vec<TimedEvent> = Vec::new();
        for data in lines {
            if decoder.frame(Frame { event: None, data }, Stamp::default(), &mut events).is_err() {
                break;
            }
        }
        let _ = decoder.finish();
    }
}

const DATA: &[&str] = &[
    "{}",
    "null",
    "[]",
    "x",
    r#"{"done":null,"message":null}"#,
    r#"{"model":"m","message":{"content":"","tool_calls":null}}"#,
    r#"{"message":{"tool_calls":[{"function":{"name":"f"}}]}}"#,
    r#"{"message":{"tool_calls":[{"function":{"name":"f","arguments":"\ud800"}}]}}"#,
    r#"{"done":true,"eval_count":18446744073709551615}"#,
    r#"{"error":{}}"#,
];
