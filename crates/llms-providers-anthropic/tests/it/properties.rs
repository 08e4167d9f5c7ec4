//! What must hold for any frames: the shortcut for plain text never changes what is read, and nothing makes the decoder
//! panic.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use llms_core::{
    Stamp, StreamEvent,
    config::ModelConfig,
    wire::{Codec as _, Decoder as _, Frame},
};
use llms_providers_anthropic::{Codec, Config};
use proptest::prelude::*;

fn codec() -> Codec {
    let config = ModelConfig::new("anthropic", "m").with_base_url("http://127.0.0.1:9");
    Codec::new(Config::new(&config, &|_| None).unwrap())
}

/// Events of one frame, or its error as text.
fn read(
    decoder: &mut <Codec as llms_core::wire::Codec>::Decoder,
    data: &str,
) -> Result<Vec<StreamEvent<'static>>, String> {
    let mut events: Vec<llms_core::TimedEvent> = Vec::new();
    let frame = Frame { event: Some("content_block_delta"), data };
    decoder.frame(frame, Stamp::default(), &mut events).map_err(|e| e.to_string())?;
    Ok(events.into_iter().map(|e| e.event).collect())
}

/// Frames that look like text deltas, most of them such, with everything that may go wrong at their edges.
fn frame() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        4 => "[a-zé😄 }]{0,6}",
        1 => any::<String>().prop_map(|t| serde_json::to_string(&t).unwrap()[1..].strip_suffix('"').unwrap().to_owned()),
        1 => "[\\\\\"\n\t}{u0]{0,4}",
    ];
    let tail = prop_oneof![
        8 => " {0,4}".prop_map(|blanks| format!("\"}}{blanks}}}")),
        1 => Just("\",\"x\":1}}".to_owned()),
        1 => Just("\"},\"z\":0}".to_owned()),
        1 => Just("\"} \t}".to_owned()),
        1 => Just("\"}".to_owned()),
        1 => Just(String::new()),
    ];
    let kind = prop_oneof![6 => Just("text"), 1 => Just("thinking"), 1 => Just("brand_new")];
    (0..2_u8, kind, text, tail).prop_map(|(index, kind, text, tail)| {
        format!(
            r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}_delta","{kind}":"{text}{tail}"#
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_shortcut_reads_what_the_full_parse_reads(frames in prop::collection::vec(frame(), 1..12)) {
        let codec = codec();
        let mut one = codec.decoder();
        for data in &frames {
            // A fresh decoder has learned nothing.
            prop_assert_eq!(read(&mut one, data), read(&mut codec.decoder(), data), "{}", data);
        }
    }

    #[test]
    fn no_frame_makes_it_panic(
        frames in prop::collection::vec((prop::sample::select(EVENTS), prop::sample::select(DATA)), 0..12),
    ) {
        let mut decoder = codec().decoder();
        let mut events: Vec<llms_core::TimedEvent> = Vec::new();
        for (event, data) in frames {
            if decoder.frame(Frame { event, data }, Stamp::default(), &mut events).is_err() {
                break;
            }
        }
        let _ = decoder.finish();
    }
}

const EVENTS: &[Option<&str>] = &[
    None,
    Some("message_start"),
    Some("content_block_start"),
    Some("content_block_delta"),
    Some("content_block_stop"),
    Some("message_delta"),
    Some("message_stop"),
    Some("error"),
    Some("ping"),
];

const DATA: &[&str] = &[
    "{}",
    "null",
    "[]",
    "x",
    r#"{"type":"message_start","message":{}}"#,
    r#"{"type":"message_start","message":{"usage":{"input_tokens":18446744073709551615,"cache_read_input_tokens":1}}}"#,
    r#"{"index":4294967295,"content_block":{"type":"tool_use","input":{"a":1}}}"#,
    r#"{"index":4294967295,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
    r#"{"index":4294967295}"#,
    r#"{"delta":{},"usage":{}}"#,
    r#"{"delta":{"stop_reason":null},"usage":null}"#,
    r#"{"error":{}}"#,
    r#"{"index":1,"content_block":{"type":"thinking","thinking":"a","signature":"s"}}"#,
    r#"{"index":1,"content_block":{"type":"thinking","thinking":7}}"#,
    r#"{"index":2,"content_block":{"type":"redacted_thinking","data":"x"}}"#,
    r#"{"index":2,"content_block":{"type":"redacted_thinking","data":[{}]}}"#,
    r#"{"index":1,"delta":{"type":"thinking_delta","thinking":"b"}}"#,
    r#"{"index":1,"delta":{"type":"signature_delta","signature":"t"}}"#,
    r#"{"index":1,"delta":{"type":"brand_new_delta","text":{"a":[1]},"signature":2}}"#,
    r#"{"index":1}"#,
    r#"{"delta":{"stop_reason":"refusal","stop_sequence":7,"stop_details":[1]},"usage":{"server_tool_use":7}}"#,
];
