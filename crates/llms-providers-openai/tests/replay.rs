//! Recorded answers of real services against what the vendor's own SDK makes of the same bytes, the same answers cut
//! short, and cut in any other way. Origin and licence of the recordings: `recordings/SOURCES.md`.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

#[path = "it/common/mod.rs"]
mod common;

use std::collections::BTreeMap;

use common::{Events, Recording, codec, local_of, play, recordings, usage_of};
use llms_core::{
    ChatResponse, ErrorCode, EventSink, FinishReason, Stamp, StreamEvent,
    chat::ReasoningBlock,
    observe::Reported,
    wire::{Codec as _, Decoder as _, Frame, Framer as _},
};
use llms_providers_openai::Api;
use proptest::prelude::*;
use serde_json::Value;

/// What the SDK's word for the end is in ours.
fn finish_of(r: &Recording) -> Option<String> {
    let sdk = &r.expected;
    let word = match (sdk["finish"].as_str()?, sdk["incomplete_reason"].as_str()) {
        ("completed", _) if sdk["refusal"].is_string() => "content_filter",
        ("completed", _) if sdk["tool_calls"].as_array().is_some_and(|c| !c.is_empty()) => "tool_calls",
        ("completed", _) => "stop",
        ("incomplete", Some("max_output_tokens")) => "length",
        ("incomplete", Some(reason)) => reason,
        (word, _) => word,
    };
    Some(word.to_owned())
}

#[track_caller]
fn check_answer(r: &Recording, answer: &ChatResponse) {
    let (id, sdk) = (&r.id, &r.expected);
    let text = format!("{}{}", sdk["text"].as_str().unwrap(), sdk["refusal"].as_str().unwrap_or_default());
    assert_eq!(answer.text, text, "{id}");
    assert_eq!(answer.reasoning.as_deref(), sdk["reasoning"].as_str().filter(|t| !t.is_empty()), "{id}");
    assert_eq!(answer.finish_reason.as_ref().map(FinishReason::as_str), finish_of(r).as_deref(), "{id}");
    assert_eq!(answer.usage, usage_of(&sdk["usage"]), "{id}");
    assert_eq!(answer.model.as_deref(), sdk["model"].as_str(), "{id}");
    assert_eq!(answer.id.as_deref(), sdk["id"].as_str(), "{id}");
    let calls: Vec<Value> = answer
        .tool_calls
        .iter()
        .map(|c| serde_json::json!({"id": c.id, "name": c.name, "arguments": c.parse_arguments().unwrap()}))
        .collect();
    assert_eq!(Value::Array(calls), sdk["tool_calls"], "{id}");
    let joined =
        |parts: &Value| parts.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<String>();
    // Of a stream the SDK keeps the encrypted content of the last event, which is another text than that of the item's
    // own end; OpenAI says to send back the latter.
    let hide =
        |encrypted: Option<String>| if r.stream { encrypted.map(|_| String::new()) } else { encrypted };
    // OpenRouter draws a new id each time it tells of an item.
    let of_openrouter =
        |id: &str| if id.starts_with("rs_tmp_") { "rs_tmp_".to_owned() } else { id.to_owned() };
    let blocks: Vec<ReasoningBlock> = sdk["reasoning_items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| ReasoningBlock {
            id: item["id"].as_str().map(of_openrouter),
            text: joined(&item["summary"]) + &joined(&item["content"]),
            signature: None,
            encrypted: hide(item["encrypted_content"].as_str().filter(|t| !t.is_empty()).map(str::to_owned)),
        })
        .collect();
    let mut given = answer.reasoning_blocks.clone();
    for block in &mut given {
        block.encrypted = hide(block.encrypted.take());
        block.id = block.id.as_deref().map(of_openrouter);
    }
    assert_eq!(given, blocks, "{id}");
}

#[test]
fn every_answer_is_what_the_sdk_makes_of_it() {
    let mut counts = BTreeMap::new();
    for r in recordings() {
        assert_eq!(r.stream, r.expected["stream"], "{}", r.id);
        assert_eq!(r.status, r.expected["status"], "{}", r.id);
        let kind = if r.status != 200 {
            check_refusal(&r);
            "refused"
        } else if let Some(code) = r.error_inside() {
            let e = if r.stream {
                play(&r.codec, [r.body.as_bytes()]).outcome.unwrap_err()
            } else {
                r.codec.decode(r.body.as_bytes(), &mut |_, _| {}).unwrap_err()
            };
            assert_eq!(e.code(), code, "{}: {e}", r.id);
            let told = [&r.expected["error_in_body"]["message"], &r.expected["error"]["message"]];
            if let Some(message) = told.iter().find_map(|m| m.as_str()) {
                assert_eq!(e.message(), message, "{}", r.id);
            }
            "error in a 200"
        } else if r.stream {
            let played = play(&r.codec, [r.body.as_bytes()]);
            let outcome = played.outcome.as_ref().unwrap();
            let answer = played.collect();
            // llama.cpp names the model at the end only.
            let answer = ChatResponse { model: answer.model.or(outcome.model.clone()), ..answer };
            check_answer(&r, &answer);
            let again = ChatResponse {
                finish_reason: outcome.finish_reason.clone(),
                usage: outcome.usage,
                model: outcome.model.clone(),
                id: outcome.id.clone(),
                ..answer
            };
            check_answer(&r, &again);
            "streamed"
        } else {
            check_answer(&r, &r.codec.decode(r.body.as_bytes(), &mut |_, _| {}).unwrap());
            "whole"
        };
        *counts.entry((r.api.as_str(), kind)).or_insert(0) += 1;
    }
    assert_eq!(
        counts.into_iter().map(|((api, kind), n)| format!("{api} {kind} {n}")).collect::<Vec<_>>(),
        [
            "chat error in a 200 1",
            "chat refused 9",
            "chat streamed 41",
            "chat whole 34",
            "completions refused 1",
            "completions streamed 11",
            "completions whole 13",
            "responses error in a 200 7",
            "responses refused 6",
            "responses streamed 31",
            "responses whole 23",
        ]
    );
}

#[track_caller]
fn check_refusal(r: &Recording) {
    let e = r.codec.classify(r.status, &r.headers, r.body.as_bytes());
    let sdk = &r.expected["error"];
    assert_eq!(e.status(), Some(r.status));
    assert_eq!(e.message(), sdk["message"], "{}", r.id);
    let expected = match (r.status, sdk["class"].as_str().unwrap(), sdk["code"].as_str()) {
        (400, "BadRequestError", Some("model_not_found")) | (404, "NotFoundError", _) => {
            ErrorCode::ModelNotAvailable
        }
        (400, "BadRequestError", _) => ErrorCode::InvalidRequest,
        other => panic!("{}: {other:?}", r.id),
    };
    assert_eq!(e.code(), expected, "{}: {e}", r.id);
    // The server's own code where it is a word, else its type.
    let word = sdk["code"].as_str().filter(|c| c.parse::<u16>().is_err()).or(sdk["type"].as_str());
    assert_eq!(e.provider_code(), word, "{}", r.id);
    assert_eq!(e.request_id(), r.expected["request_id"].as_str(), "{}", r.id);
}

#[test]
fn what_servers_report_is_reported() {
    let find = |id: &str| recordings().into_iter().find(|r| r.id == id).unwrap();
    let r = find("openai-3e80e21b");
    let mut seen = Vec::new();
    r.codec.hooks(&r.headers, &mut |key, value| seen.push((key, Reported::from(value))));
    for (key, value) in [
        ("openai.processing_ms", Reported::Number(326.0)),
        ("openai.request_id", Reported::Text("req_2456c26b1f5f4f83b9d6edc7ffc29c4d".into())),
        ("openai.ratelimit_limit_tokens", Reported::Number(50_000_000.0)),
        ("openai.ratelimit_reset_requests_s", Reported::Number(0.006)),
    ] {
        assert!(seen.contains(&(key, value)), "{key}: {seen:?}");
    }
    let played = play(&r.codec, [r.body.as_bytes()]);
    assert_eq!(played.reported, [("openai.service_tier", Reported::Text("default".into()))]);

    // llama.cpp: 12 prompt tokens of which 11 came from the cache, 48 generated.
    let r = find("llamacpp-0158e040");
    let played = play(&r.codec, [r.body.as_bytes()]);
    for (key, value) in [
        ("openai.timings_prompt_n", Reported::Number(1.0)),
        ("openai.timings_cache_n", Reported::Number(11.0)),
        ("openai.timings_predicted_n", Reported::Number(48.0)),
    ] {
        assert!(played.reported.contains(&(key, value)), "{key}: {:?}", played.reported);
    }
    assert!(played.reported.iter().any(|(k, v)| {
        *k == "openai.timings_predicted_ms" && matches!(v, Reported::Number(ms) if *ms > 0.0)
    }));

    // A response of OpenAI: the tier that served, not the one asked for; cached tokens.
    let r = find("openai-979b1558");
    let played = play(&r.codec, [r.body.as_bytes()]);
    for (key, value) in [
        ("openai.service_tier", Reported::Text("default".into())),
        ("openai.cached_tokens", Reported::Number(8320.0)),
        ("openai.reasoning_tokens", Reported::Number(512.0)),
    ] {
        assert!(played.reported.contains(&(key, value)), "{key}: {:?}", played.reported);
    }
}

/// Where streams end that end well: behind the marker of their API.
fn end_of(r: &Recording) -> usize {
    let marks = match r.api {
        Api::Responses => &["\"type\":\"response.completed\"", "\"type\":\"response.incomplete\""][..],
        Api::Chat | Api::Completions => &["data: [DONE]"],
    };
    let at = marks.iter().find_map(|mark| r.body.find(mark)).unwrap();
    at + r.body[at..].find("\n\n").unwrap() + 2
}

/// After each complete event, and after every single byte, a stream that ends there is truncated; only with the end
/// marker of its API it is whole.
#[test]
fn a_stream_cut_anywhere_is_truncated() {
    let mut cuts = 0;
    for r in recordings().into_iter().filter(|r| r.stream && r.status == 200 && r.error_inside().is_none()) {
        let body = r.body.as_bytes();
        let whole = play(&r.codec, [body]);
        let end = end_of(&r);
        for (at, _) in r.body.match_indices("\n\n").filter(|(at, _)| at + 2 < end) {
            let cut = play(&r.codec, [&body[..at + 2]]);
            let e = cut.outcome.unwrap_err();
            assert_eq!(e.code(), ErrorCode::StreamTruncated, "{} cut at {at}: {e}", r.id);
            assert!(whole.events.starts_with(&cut.events), "{} cut at {at}", r.id);
            cuts += 1;
        }
        let (mut framer, mut decoder, mut events) = (r.codec.framer(), r.codec.decoder(), Events::default());
        for byte in body {
            assert_eq!(decoder.finish().unwrap_err().code(), ErrorCode::StreamTruncated, "{}", r.id);
            framer.buffer().push(*byte);
            while let Some(frame) = framer.next_frame().unwrap() {
                decoder.frame(frame, Stamp::default(), &mut events).unwrap();
            }
            if decoder.is_complete() {
                break;
            }
        }
        assert_eq!(decoder.finish().unwrap(), whole.outcome.unwrap(), "{}", r.id);
        assert_eq!(events.0, whole.events, "{}", r.id);
    }
    assert!(cuts > 2000, "{cuts}");
}

/// A stream says what the whole answer says: reading the last event as a whole answer gives the same.
#[test]
fn a_streamed_response_ends_with_the_whole_one() {
    for r in recordings().into_iter().filter(|r| r.stream && r.api == Api::Responses) {
        if r.status != 200 || r.error_inside().is_some() {
            continue;
        }
        let end = end_of(&r);
        let start = r.body[..end - 2].rfind("data: ").unwrap() + 6;
        let last: Value = serde_json::from_str(&r.body[start..end]).unwrap();
        let whole = r.codec.decode(last["response"].to_string().as_bytes(), &mut |_, _| {}).unwrap();
        let played = play(&r.codec, [r.body.as_bytes()]);
        let mut streamed = ChatResponse { model: whole.model.clone(), ..played.collect() };
        // OpenAI encrypts anew each time it tells: the same thought is another text at the end of its item.
        for (streamed, whole) in streamed.reasoning_blocks.iter_mut().zip(&whole.reasoning_blocks) {
            assert_eq!(streamed.encrypted.is_some(), whole.encrypted.is_some(), "{}", r.id);
            streamed.encrypted.clone_from(&whole.encrypted);
            // OpenRouter draws ids anew, too.
            if whole.id.as_ref().is_some_and(|id| id.starts_with("rs_tmp_")) {
                streamed.id.clone_from(&whole.id);
            }
        }
        assert!(streamed == whole, "{}", r.id);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// However the network cuts the bytes, also inside a character: the same events, the same end.
    #[test]
    fn any_split_gives_the_same_events(
        which in any::<prop::sample::Index>(),
        at in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let all = recordings().into_iter().filter(|r| r.stream && r.status == 200 && r.error_inside().is_none());
        let all: Vec<_> = all.collect();
        let r = which.get(&all);
        let body = r.body.as_bytes();
        let mut at: Vec<usize> = at.iter().map(|i| i.index(body.len())).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let split = play(&r.codec, at.windows(2).map(|w| &body[w[0]..w[1]]));
        let whole = play(&r.codec, [body]);
        prop_assert_eq!(split.events, whole.events);
        prop_assert_eq!(split.outcome.unwrap(), whole.outcome.unwrap());
        prop_assert_eq!(split.reported, whole.reported);
    }

    /// The shortcut for plain text gives what the full parse gives, frame by frame, whatever text servers send.
    #[test]
    fn the_shortcut_agrees_with_the_full_parse(
        api in prop::sample::select(Api::ALL.to_vec()),
        frames in prop::collection::vec(frame(), 1..60),
    ) {
        let codec = local_of(api);
        let mut decoder = codec.decoder();
        for data in &frames {
            let tokens = |decoder: &mut llms_providers_openai::Decoder| {
                let mut tokens = Tokens::default();
                let frame = Frame { event: None, data };
                decoder.frame(frame, Stamp::default(), &mut tokens).map(|()| tokens.0).map_err(|e| e.to_string())
            };
            // A fresh decoder has learned nothing: it parses.
            let parsed = tokens(&mut codec.decoder());
            prop_assert_eq!(tokens(&mut decoder), parsed, "{}", data);
        }
    }

    /// Bytes of any kind end in an error or an answer, never in a panic.
    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300), status in 300_u16..600) {
        let codec = codec("http://127.0.0.1:8000");
        let _ = play(&codec, [body.as_slice()]).outcome;
        let _ = codec.decode(&body, &mut |_, _| {});
        let _ = codec.classify(status, &http::HeaderMap::new(), &body);
        let _ = codec.judge_probe(status, &http::HeaderMap::new(), &body);
    }

    /// The same with JSON of the right field names and the wrong types.
    #[test]
    fn no_json_panics(value in json(), event in prop::option::of(prop::sample::select(EVENTS.to_vec()))) {
        let data = value.to_string();
        for api in Api::ALL {
            let codec = local_of(api);
            let _ = codec.decoder().frame(Frame { event, data: &data }, Stamp::default(), &mut Events::default());
            let _ = codec.decode(data.as_bytes(), &mut |_, _| {});
            let _ = codec.classify(400, &http::HeaderMap::new(), data.as_bytes());
        }
    }
}

/// The generated content of a frame.
#[derive(Default)]
struct Tokens(Vec<StreamEvent<'static>>);

impl EventSink for Tokens {
    fn event(&mut self, event: StreamEvent<'_>, _stamp: Stamp) {
        if event.is_token() && !matches!(event, StreamEvent::ToolCall(_)) {
            self.0.push(event.into_owned());
        }
    }
}

/// A chunk of one of a few shapes; most differ from their neighbours in text only.
fn frame() -> impl Strategy<Value = String> {
    // Characters that end the text or begin an escape come often; some texts look like the wire.
    let text = prop_oneof![
        4 => "[ -~]{1,6}",
        2 => "\\PC{1,4}",
        1 => Just("\"},\"finish_reason\":\"stop".to_owned()),
        1 => Just(String::new()),
        1 => "[\\x00-\\x1f\"\\\\]{1,3}",
    ];
    let padding =
        prop_oneof![3 => "[a-zA-Z0-9]{0,8}", 1 => Just("\",\"x\":\"".to_owned()), 1 => "[ -~]{1,4}"];
    let number = prop_oneof![3 => "[0-9]{1,4}", 1 => "[0-9.eE+-]{0,3}"];
    (text, padding, number, 0..20_u8).prop_map(|(text, padding, number, shape)| {
        let escaped = serde_json::to_string(&text).unwrap();
        let raw = format!("\"{text}\"");
        let delta = |content: &str| {
            format!(
                "{{\"id\":\"a\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{content}}},\
                 \"finish_reason\":null}}]}}"
            )
        };
        match shape {
            0..=4 => delta(&escaped),
            // Not escaped: often no JSON at all, and then not for the shortcut either.
            5 => delta(&raw),
            6..=7 => format!("{{\"choices\":[{{\"delta\":{{\"reasoning\":{escaped},\"content\":null}}}}]}}"),
            8..=10 => format!(
                "{{\"choices\":[{{\"delta\":{{\"content\":{escaped}}}}}],\"obfuscation\":\"{padding}\",\"x\":0}}"
            ),
            11 => format!(
                "{{\"choices\":[{{\"delta\":{{\"content\":{escaped}}},\"finish_reason\":\"stop\"}}],\
                 \"usage\":{{\"prompt_tokens\":1}}}}"
            ),
            14..=15 => format!("{{\"choices\":[{{\"index\":0,\"text\":{escaped},\"finish_reason\":null}}]}}"),
            16..=17 => format!(
                "{{\"type\":\"response.output_text.delta\",\"sequence_number\":{number},\"output_index\":0,\
                 \"delta\":{escaped},\"obfuscation\":\"{padding}\"}}"
            ),
            18 => format!(
                "{{\"delta\":{escaped},\"item_id\":\"r\",\"sequence_number\":{number},\
                 \"type\":\"response.reasoning_text.delta\"}}"
            ),
            19 => format!("{{\"type\":\"response.refusal.delta\",\"delta\":{escaped}}}"),
            _ => {
                format!("{{\"id\":\"b\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{escaped}}}}}]}}")
            }
        }
    })
}

const EVENTS: [&str; 8] = [
    "error",
    "response.created",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.function_call_arguments.delta",
    "response.completed",
    "function_call",
];

/// JSON with the wire's names in it.
fn json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "choices",
        "delta",
        "message",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "index",
        "usage",
        "error",
        "finish_reason",
        "code",
        "type",
        "detail",
        "object",
        "id",
        "prompt_tokens",
        "timings",
        "response",
        "item",
        "output",
        "output_index",
        "item_id",
        "status",
        "summary",
        "incomplete_details",
        "text",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,4}".prop_map(Value::from),
        prop::sample::select(EVENTS.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|m| m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Value>()),
        ]
    })
}
