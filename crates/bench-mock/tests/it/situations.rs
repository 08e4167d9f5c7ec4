//! Situations asked for by the name of a model: on every endpoint, whole and streamed, for any client.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use std::time::{Duration, Instant};

use bench_mock::{
    Profile, SITUATIONS, TruthOutcome,
    server::{Server, ServerConfig},
};
use common::{
    endpoints::{call, call_with, events, frames, lines, ok, quick, serve},
    raw::{Answer, Client, End, get, post},
};
use serde_json::{Value, json};

/// One way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Chat,
    Azure,
    Responses,
    Completions,
    Messages,
    Converse,
    Claude,
    Titan,
    Llama,
    OllamaChat,
    Generate,
}

use Place::*;

const PLACES: [Place; 11] =
    [Chat, Azure, Responses, Completions, Messages, Converse, Claude, Titan, Llama, OllamaChat, Generate];

impl Place {
    fn request(self, model: &str, stream: bool) -> (String, Value) {
        let text = json!([{"role": "user", "content": "hello"}]);
        let invoke = if stream { "invoke-with-response-stream" } else { "invoke" };
        match self {
            Chat => {
                ("/v1/chat/completions".into(), json!({"model": model, "messages": text, "stream": stream}))
            }
            Azure => (
                format!("/openai/deployments/{model}/chat/completions?api-version=2024-10-21"),
                json!({"messages": text, "stream": stream}),
            ),
            Responses => {
                ("/v1/responses".into(), json!({"model": model, "input": "hello", "stream": stream}))
            }
            Completions => (
                "/v1/completions".into(),
                json!({"model": model, "prompt": "hello", "stream": stream, "max_tokens": 2000}),
            ),
            Messages => (
                "/v1/messages".into(),
                json!({"model": model, "max_tokens": 4096, "messages": text, "stream": stream}),
            ),
            Converse => (
                format!("/model/{model}/converse{}", if stream { "-stream" } else { "" }),
                json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}),
            ),
            Claude => (
                format!("/model/{model}/{invoke}"),
                json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 4096, "messages": text}),
            ),
            Titan => (
                format!("/model/{model}/{invoke}"),
                json!({"inputText": "hello", "textGenerationConfig": {"maxTokenCount": 2000}}),
            ),
            Llama => (format!("/model/{model}/{invoke}"), json!({"prompt": "hello", "max_gen_len": 2000})),
            OllamaChat => ("/api/chat".into(), json!({"model": model, "messages": text, "stream": stream})),
            Generate => {
                ("/api/generate".into(), json!({"model": model, "prompt": "hello", "stream": stream}))
            }
        }
    }

    fn ask(self, server: &Server, model: &str, stream: bool) -> Result<Answer, End> {
        let (path, body) = self.request(model, stream);
        Client::connect(server.addr()).call(&post(&path, "r-1", &body))
    }

    /// All text of a good whole answer.
    fn text(self, body: &Value) -> String {
        let pointer = match self {
            Chat | Azure => "/choices/0/message/content",
            Responses => "/output/0/content/0/text",
            Completions => "/choices/0/text",
            Messages | Claude => "/content/0/text",
            Converse => "/output/message/content/0/text",
            Titan => "/results/0/outputText",
            Llama => "/generation",
            OllamaChat => "/message/content",
            Generate => "/response",
        };
        body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Whether a streamed body has the protocol's last event.
    fn ended(self, answer: &Answer) -> bool {
        match self {
            Converse | Claude | Titan | Llama => frames(answer).last().is_some_and(|(kind, last)| {
                kind == "metadata" || last.get("amazon-bedrock-invocationMetrics").is_some()
            }),
            OllamaChat | Generate => lines(answer).last().is_some_and(|l| l["done"] == true),
            _ => {
                answer.text().contains("[DONE]")
                    || answer.text().contains("message_stop")
                    || answer.text().contains("response.completed")
            }
        }
    }

    fn knows_tools(self) -> bool {
        !matches!(self, Completions | Titan | Llama | Generate)
    }

    /// Status of a model that there is not: the vendor's own.
    fn not_found(self) -> u16 {
        if self == Responses { 400 } else { 404 }
    }
}

#[test]
fn errors_have_the_status_that_their_name_says() {
    let server = serve(quick());
    for place in PLACES {
        for status in [400, 401, 403, 404, 429, 500, 503, 529] {
            for stream in [false, true] {
                let answer = place.ask(&server, &format!("mock-error-{status}"), stream).unwrap();
                assert_eq!(answer.status, status, "{place:?}");
                assert_eq!(answer.headers.contains_key("retry-after"), status == 429, "{place:?} {status}");
                assert!(answer.json().is_object(), "{place:?}");
            }
        }
    }
    assert!(server.truth().iter().all(|r| r.outcome == TruthOutcome::Refused && r.fault.is_some()));
}

#[test]
fn answers_have_the_content_that_their_name_says() {
    let server = serve(quick());
    for place in PLACES {
        let whole = |model: &str| place.ask(&server, model, false).unwrap().json();
        assert_eq!(place.text(&whole("mock")).split(' ').count(), 6, "{place:?}");
        let json: Value = serde_json::from_str(&place.text(&whole("mock-json"))).unwrap();
        assert!(json.is_object(), "{place:?}");
        let called = whole("mock-tool-call").to_string();
        assert_eq!(called.contains("get_weather"), place.knows_tools(), "{place:?}: {called}");
        for model in ["mock", "mock-json", "mock-tool-call", "mock-thinking", "mock-redacted", "mock-refusal"]
        {
            let streamed = place.ask(&server, model, true).unwrap();
            assert!(streamed.status == 200 && place.ended(&streamed), "{place:?} {model}");
        }
    }
}

#[test]
fn a_long_answer_is_a_thousand_tokens() {
    let server = serve(quick().with_time_scale(0.001));
    for place in PLACES {
        let whole = place.ask(&server, "mock-long", false).unwrap().json();
        assert_eq!(place.text(&whole).split(' ').count(), 1000, "{place:?}");
    }
}

#[test]
fn thinking_shows_in_every_protocols_way() {
    let server = serve(quick());
    let whole = |place: Place, model: &str| place.ask(&server, model, false).unwrap().json();
    let words = |v: Option<&Value>| v.and_then(Value::as_str).map(|t| t.split(' ').count());
    for (place, pointer) in [
        (Chat, "/choices/0/message/reasoning_content"),
        (Responses, "/output/0/summary/0/text"),
        (Messages, "/content/0/thinking"),
        (Converse, "/output/message/content/0/reasoningContent/reasoningText/text"),
        (Claude, "/content/0/thinking"),
        (OllamaChat, "/message/thinking"),
        (Generate, "/thinking"),
    ] {
        let body = whole(place, "mock-thinking");
        assert_eq!(words(body.pointer(pointer)), Some(24), "{place:?}: {body}");
        let hidden = whole(place, "mock-redacted");
        assert_eq!(words(hidden.pointer(pointer)), None, "{place:?}: {hidden}");
    }
    let reasoning = whole(Chat, "mock-reasoning");
    assert_eq!(words(reasoning.pointer("/choices/0/message/reasoning")), Some(24));
    for (place, pointer) in [
        (Responses, "/output/0/encrypted_content"),
        (Messages, "/content/0/data"),
        (Converse, "/output/message/content/0/reasoningContent/redactedContent"),
        (Claude, "/content/0/data"),
    ] {
        assert!(whole(place, "mock-redacted").pointer(pointer).unwrap().is_string(), "{place:?}");
    }
    let streamed = events(&Messages.ask(&server, "mock-redacted", true).unwrap());
    let starts: Vec<_> = streamed.iter().filter_map(|(_, d)| d["content_block"]["type"].as_str()).collect();
    assert_eq!(starts, ["redacted_thinking", "text"]);
    let streamed = frames(&Converse.ask(&server, "mock-redacted", true).unwrap());
    assert!(streamed.iter().any(|(_, p)| p["delta"]["reasoningContent"]["redactedContent"].is_string()));
}

#[test]
fn what_cannot_be_shown_is_not_there_either() {
    let server = serve(quick());
    for place in [Completions, Titan, Llama] {
        // Six words and no tokens of reasoning behind them, as without a situation.
        let usual = place.ask(&server, "mock", false).unwrap().json();
        for model in ["mock-thinking", "mock-redacted", "mock-tool-call", "mock-tool-calls"] {
            let body = place.ask(&server, model, false).unwrap().json();
            assert_eq!(place.text(&body).split(' ').count(), 6, "{place:?} {model}: {body}");
            for count in ["/usage/completion_tokens", "/results/0/tokenCount", "/generation_token_count"] {
                assert_eq!(body.pointer(count), usual.pointer(count), "{place:?} {model}: {body}");
            }
        }
    }
}

#[test]
fn names_that_no_situation_has_are_not_found_and_the_nearest_is_told() {
    let server = serve(quick());
    let strange = [
        ("mock-tolcall", "mock-tool-call"),
        ("mock-error-42", "mock-error-429"),
        ("mock-slo", "mock-slow"),
        ("mock-openapi", "mock-openai"),
    ];
    for place in PLACES {
        for stream in [false, true] {
            for (name, nearest) in strange {
                let answer = place.ask(&server, name, stream).unwrap();
                let missing = place.ask(&server, "mock-missing", stream).unwrap();
                assert_eq!(
                    (answer.status, missing.status),
                    (place.not_found(), place.not_found()),
                    "{place:?} {name}"
                );
                assert_eq!(answer.headers.get("x-amzn-errortype"), missing.headers.get("x-amzn-errortype"));
                assert!(answer.text().contains(&format!("Did you mean `{nearest}`?")), "{}", answer.text());
                assert!(!missing.text().contains("Did you mean"), "{}", missing.text());
            }
        }
        for name in ["mock-error-418", "mock-midstream-418", "mock-"] {
            assert_eq!(
                place.ask(&server, name, false).unwrap().status,
                place.not_found(),
                "{place:?} {name}"
            );
        }
        for name in ["gpt-4o", "mock", "mockery"] {
            assert_eq!(place.ask(&server, name, false).unwrap().status, 200, "{place:?} {name}");
        }
    }
    assert!(get(&server, "/v1/models/mock-jsn").text().contains("Did you mean `mock-json`?"));
    let shown = call(&server, "/api/show", &json!({"model": "mock-jsn"}));
    assert!(shown.status == 404 && shown.text().contains("Did you mean `mock-json`?"), "{}", shown.text());
    // A profile of that name, or of a name near it.
    let server =
        ServerConfig::default().map_profiles(|_| quick()).with_model("mock-mine", quick()).start().unwrap();
    assert_eq!(Chat.ask(&server, "mock-mine", false).unwrap().status, 200);
    assert!(Chat.ask(&server, "mock-min", false).unwrap().text().contains("`mock-mine`"));
}

#[test]
fn presets_names_can_be_changed_all_at_once() {
    let server = ServerConfig::default().map_presets(|p| p.with_slots(2).with_seed(9)).start().unwrap();
    for name in ["mock-slow", "mock-fast", "mock-anthropic"] {
        let profile = server.handle(name).unwrap().get();
        assert_eq!((profile.capacity.slots, profile.seed), (Some(2), 9), "{name}");
    }
    assert_eq!(server.handle("openai").unwrap().get().capacity.slots, None);
}

#[test]
fn refusals_are_the_protocols_own() {
    let server = serve(quick());
    let whole = |place: Place| place.ask(&server, "mock-refusal", false).unwrap().json();
    let chat = whole(Chat);
    assert!(chat["choices"][0]["message"]["refusal"].as_str().unwrap().starts_with("I'm sorry"));
    assert!(chat["choices"][0]["message"]["content"].is_null());
    let streamed = events(&Chat.ask(&server, "mock-refusal", true).unwrap());
    let pieces = streamed.iter().filter_map(|(_, c)| c["choices"][0]["delta"]["refusal"].as_str());
    assert_eq!(chat["choices"][0]["message"]["refusal"], pieces.collect::<String>());
    assert_eq!(whole(Responses)["output"][0]["content"][0]["type"], "refusal");
    let streamed = events(&Responses.ask(&server, "mock-refusal", true).unwrap());
    assert!(streamed.iter().any(|(name, _)| name == "response.refusal.done"));
    assert_eq!(whole(Messages)["stop_reason"], "refusal");
    assert_eq!(whole(Converse)["stopReason"], "content_filtered");
    assert_eq!(whole(Titan)["results"][0]["completionReason"], "CONTENT_FILTERED");
}

#[test]
fn tools_offered_are_the_ones_called() {
    let server = serve(quick());
    let tool = json!({"type": "function", "function": {"name": "own", "parameters": {"type": "object"}}});
    let body = json!({
        "model": "mock-tool-calls", "messages": [{"role": "user", "content": "hello"}], "tools": [tool]
    });
    let whole = ok(&server, "/v1/chat/completions", &body);
    let calls = whole.pointer("/choices/0/message/tool_calls").unwrap().as_array().unwrap();
    assert!(calls.len() == 2 && calls.iter().all(|c| c["function"]["name"] == "own"));
    assert_ne!(calls[0]["id"], calls[1]["id"]);
}

#[test]
fn streams_break_in_the_middle() {
    let server = serve(quick());
    for place in PLACES {
        let ask = |model: &str| place.ask(&server, model, true).unwrap();
        let broken = ask("mock-midstream-error");
        assert!(broken.end == End::Complete && !place.ended(&broken), "{place:?}");
        let cut = ask("mock-truncate");
        assert!(cut.end == End::Complete && !place.ended(&cut), "{place:?}");
        assert_eq!(ask("mock-reset").end, End::Reset, "{place:?}");
        assert_eq!(ask("mock-close").end, End::Closed, "{place:?}");
        // Where the answer is whole, the error is one of its own.
        let whole = place.ask(&server, "mock-midstream-error", false).unwrap();
        assert_eq!(whole.status, 500, "{place:?}");
    }
    let last = |place: Place, model: &str| {
        let answer = place.ask(&server, model, true).unwrap();
        match place {
            OllamaChat => lines(&answer).pop().unwrap(),
            Converse => json!(frames(&answer).pop().unwrap().0),
            _ => events(&answer).pop().unwrap().1,
        }
    };
    assert_eq!(last(Chat, "mock-midstream-429")["error"]["code"], "rate_limit_exceeded");
    assert_eq!(last(Responses, "mock-midstream-error")["response"]["error"]["code"], "server_error");
    assert_eq!(last(Messages, "mock-midstream-error")["error"]["type"], "overloaded_error");
    assert_eq!(last(Messages, "mock-midstream-500")["error"]["type"], "api_error");
    assert_eq!(last(Converse, "mock-midstream-429"), "throttlingException");
    assert!(last(OllamaChat, "mock-midstream-error")["error"].is_string());
}

#[test]
fn a_stall_holds_the_rest_back() {
    let server = serve(quick());
    let (path, body) = Chat.request("mock-stall", true);
    let mut client = Client::connect(server.addr());
    client.write(&post(&path, "r-1", &body));
    let begun = Instant::now();
    assert!(client.wait_for(1_000));
    assert!(begun.elapsed() < Duration::from_secs(2), "the first tokens come at their time");
    // 30 s by profile, a tenth of that at this scale.
    let answer = client.read(false).unwrap();
    assert!(begun.elapsed() > Duration::from_secs(3) && Chat.ended(&answer));
}

#[test]
fn a_flaky_model_works_when_tried_again() {
    let server = serve(quick());
    for place in PLACES {
        let tries = [1, 2, 3, 4].map(|_| place.ask(&server, "mock-flaky", false).unwrap().status);
        assert_eq!(tries, [500, 200, 500, 200], "{place:?}");
    }
    // Another body is another chain.
    let body = |text: &str| json!({"model": "mock-flaky", "prompt": text});
    let status = |text: &str| call(&server, "/v1/completions", &body(text)).status;
    assert_eq!([status("a"), status("b"), status("a"), status("b")], [500, 500, 200, 200]);
}

#[test]
fn names_of_profiles_win_over_situations() {
    let own = Profile { responses: vec!["mine".into()], ..quick() };
    let server =
        ServerConfig::default().map_profiles(|_| quick()).with_model("mock-json", own).start().unwrap();
    let whole = Chat.ask(&server, "mock-json", false).unwrap().json();
    assert_eq!(Chat.text(&whole), "mine");
}

#[test]
fn every_situation_is_listed() {
    let server = serve(quick());
    let openai = get(&server, "/v1/models").json();
    let tags = get(&server, "/api/tags").json();
    for (name, _) in SITUATIONS {
        let is =
            |list: &Value, key: &str, name: &str| list.as_array().unwrap().iter().any(|m| m[key] == name);
        let listed = *name != "mock-missing";
        assert_eq!(is(&openai["data"], "id", name), listed, "{name}");
        assert_eq!(is(&tags["models"], "name", &format!("{name}:latest")), listed, "{name}");
    }
    assert_eq!(get(&server, "/v1/models/mock-error-429").status, 429);
    let strict = ServerConfig { only_listed_models: true, ..ServerConfig::default() };
    let strict = strict.with_model("own", quick()).start().unwrap();
    assert_eq!(get(&strict, "/v1/models").json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(Chat.ask(&strict, "mock-json", false).unwrap().status, 404);
}

#[test]
fn keys_that_begin_badly_never_work() {
    let server = serve(quick());
    for place in PLACES {
        let (path, body) = place.request("m", false);
        let version = "anthropic-version: 2023-06-01\r\n";
        for header in ["authorization: Bearer bad-key\r\n", "x-api-key: bad-key\r\n", "api-key: bad-\r\n"] {
            let answer = call_with(&server, &path, &format!("{version}{header}"), &body);
            let bedrock = matches!(place, Converse | Claude | Titan | Llama);
            assert_eq!(answer.status, if bedrock { 403 } else { 401 }, "{place:?} {header}");
            assert!(!answer.text().contains("bad-key"), "a key is not repeated");
        }
        let good = call_with(&server, &path, &format!("{version}authorization: Bearer any\r\n"), &body);
        assert_eq!(good.status, 200, "{place:?}");
    }
    let request = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer bad-key\r\n\r\n";
    assert_eq!(Client::connect(server.addr()).call(request).unwrap().status, 401);
}

#[test]
fn refused_requests_are_in_the_truth_log() {
    let server = serve(quick());
    let refused = |path: &str, headers: &str, body: &Value| call_with(&server, path, headers, body).status;
    assert_eq!(refused("/v1/chat/completions", "", &json!({"model": "m"})), 400);
    assert_eq!(refused("/v1/chat/completions", "authorization: Bearer bad-\r\n", &json!({})), 401);
    let (path, body) = OllamaChat.request("mock-missing", false);
    assert_eq!(refused(&path, "", &body), 404);
    let truth = server.truth();
    let seen: Vec<_> = truth.iter().map(|r| (r.status, r.outcome, r.tokens())).collect();
    let refused = |status| (Some(status), TruthOutcome::Refused, 0);
    assert_eq!(seen, [refused(400), refused(401), refused(404)]);
    assert!(
        truth.iter().all(|r| r.request_id == "r-1" && r.service_start_ns.is_none() && r.writes.len() == 1)
    );
}
