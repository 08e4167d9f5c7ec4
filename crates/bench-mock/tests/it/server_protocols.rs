//! The four protocols on a real socket: each says, whole and streamed, what the profile drew.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use bench_mock::{
    Dist, MaxTokens, Preset, Profile, Reasoning, ToolAnswers,
    server::{Protocol, Server, ServerConfig},
};
use common::{
    exact,
    raw::{Client, End, chat, get, offer, post},
    said::{Said, said, sse},
};
use serde_json::{Value, json};

/// Quick and with everything in it.
fn profile() -> Profile {
    Profile {
        cached_share: 0.5,
        head_share: 0.5,
        end_gap: true,
        ..exact().with_output_tokens(6).with_time_scale(0.1)
    }
}

fn serve(profile: Profile) -> Server {
    ServerConfig::default().map_profiles(|_| profile.clone()).start().unwrap()
}

#[track_caller]
fn ask(server: &Server, protocol: Protocol, stream: bool, more: &Value) -> Said {
    let request = chat(protocol, "some-model", "r-1", stream, more);
    let answer = Client::connect(server.addr()).call(&request).unwrap();
    assert_eq!(answer.end, End::Complete);
    said(protocol, &answer, stream)
}

/// Whole and streamed answers to one request id say the same; returns the streamed one.
#[track_caller]
fn both(server: &Server, protocol: Protocol, more: &Value) -> Said {
    let (whole, streamed) = (ask(server, protocol, false, more), ask(server, protocol, true, more));
    assert!(streamed.terminated && streamed.error.is_none(), "{protocol}: {streamed:?}");
    let content = Said { events: Vec::new(), terminated: false, ..streamed.clone() };
    assert_eq!(whole, content, "{protocol}");
    streamed
}

fn counts(said: &Said) -> Vec<(&str, usize)> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for event in &said.events {
        match counts.last_mut() {
            Some((last, n)) if last == event => *n += 1,
            _ => counts.push((event, 1)),
        }
    }
    counts
}

#[test]
fn text_is_said_whole_and_streamed() {
    let server = serve(profile());
    for protocol in Protocol::ALL {
        let said = both(&server, protocol, &json!({}));
        assert_eq!(said.text.split(' ').count(), 6, "{protocol}: {said:?}");
        // "hello" is two tokens for the mock, one of them cached; Ollama does not tell about its cache.
        let cached = u64::from(protocol != Protocol::Ollama);
        assert_eq!(said.usage, Some((2, cached, 6)), "{protocol}");
        let (finish, events) = match protocol {
            Protocol::OpenAi => ("stop", vec![("role", 1), ("text", 6), ("finish", 1), ("usage", 1)]),
            Protocol::Anthropic => (
                "end_turn",
                vec![
                    ("message_start", 1),
                    ("content_block_start", 1),
                    ("ping", 1),
                    ("content_block_delta", 6),
                    ("content_block_stop", 1),
                    ("message_delta", 1),
                    ("message_stop", 1),
                ],
            ),
            Protocol::Bedrock => (
                "end_turn",
                vec![
                    ("messageStart", 1),
                    ("contentBlockDelta", 6),
                    ("contentBlockStop", 1),
                    ("messageStop", 1),
                    ("metadata", 1),
                ],
            ),
            Protocol::Ollama => ("stop", vec![("line", 6), ("done", 1)]),
        };
        assert_eq!((said.finish.as_str(), counts(&said)), (finish, events), "{protocol}");
    }
}

#[test]
fn without_a_preamble_the_first_token_begins() {
    let server = serve(Profile { role_chunk: false, ..profile() });
    for protocol in Protocol::ALL {
        let said = both(&server, protocol, &json!({}));
        assert_eq!(said.text.split(' ').count(), 6, "{protocol}");
        assert!(!said.events.iter().any(|e| e == "role" || e == "ping"), "{protocol}: {said:?}");
    }
}

#[test]
fn offered_tools_are_called() {
    let server = serve(Profile { tools: ToolAnswers { calls: 2, ..ToolAnswers::default() }, ..profile() });
    for protocol in Protocol::ALL {
        let said = both(&server, protocol, &offer(protocol));
        assert_eq!((said.calls.len(), said.text.as_str()), (2, ""), "{protocol}");
        for (name, arguments) in &said.calls {
            assert!(name == "get_weather" && arguments["city"].is_string(), "{protocol}: {arguments}");
        }
        let finish = match protocol {
            Protocol::OpenAi => "tool_calls",
            Protocol::Anthropic | Protocol::Bedrock => "tool_use",
            Protocol::Ollama => "stop",
        };
        assert_eq!(said.finish, finish);
    }
    // Ollama's calls come in one piece each; their tokens are not lost in the log.
    for r in server.truth() {
        assert!(r.tokens() >= 8, "{r:?}");
    }
}

#[test]
fn reasoning_comes_first() {
    let reasoning = Some(Reasoning { tokens: Dist::constant(3.0), visible: true });
    let server = serve(Profile { reasoning, ..profile() });
    for protocol in Protocol::ALL {
        let said = both(&server, protocol, &json!({}));
        assert_eq!(said.reasoning.split(' ').count(), 3, "{protocol}");
        assert_eq!(said.text.split(' ').count(), 6, "{protocol}");
        assert_eq!(said.usage.unwrap().2, 9, "{protocol}");
    }
}

#[test]
fn the_length_limit_of_each_protocol_is_obeyed() {
    let server = serve(Profile { max_tokens: MaxTokens::Echo, ..profile() });
    for (protocol, limit, finish) in [
        (Protocol::OpenAi, json!({"max_completion_tokens": 3}), "length"),
        (Protocol::OpenAi, json!({"max_tokens": 3}), "length"),
        (Protocol::Anthropic, json!({"max_tokens": 3}), "max_tokens"),
        (Protocol::Bedrock, json!({"inferenceConfig": {"maxTokens": 3}}), "max_tokens"),
        (Protocol::Ollama, json!({"options": {"num_predict": 3}}), "length"),
    ] {
        let said = both(&server, protocol, &limit);
        assert_eq!((said.usage.unwrap().2, said.finish.as_str()), (3, finish), "{protocol}");
    }
}

#[test]
fn usage_is_told_only_where_it_is_asked_for_and_known() {
    let server = serve(profile());
    let silent = json!({"stream_options": null});
    let said = ask(&server, Protocol::OpenAi, true, &silent);
    assert!(said.terminated && said.usage.is_none());
    let server = serve(Profile { usage: false, ..profile() });
    for protocol in [Protocol::OpenAi, Protocol::Anthropic, Protocol::Bedrock] {
        assert_eq!(both(&server, protocol, &json!({})).usage, None, "{protocol}");
    }
}

#[test]
fn azure_names_its_model_in_the_path_and_filters_first() {
    let server = serve(profile());
    let body = json!({"messages": [{"role": "user", "content": "hello"}], "stream": true});
    let request = post("/openai/deployments/mine/chat/completions?api-version=2024-02-01", "r", &body);
    let answer = Client::connect(server.addr()).call(&request).unwrap();
    let events = sse(answer.text());
    let first: Value = serde_json::from_str(events[0].1).unwrap();
    assert_eq!((&first["choices"], first["prompt_filter_results"].is_array()), (&json!([]), true));
    let second: Value = serde_json::from_str(events[1].1).unwrap();
    assert_eq!(second["model"], "mine");
}

#[test]
fn heads_look_like_the_vendors() {
    let server = serve(profile());
    for (protocol, id, kind, others) in [
        (
            Protocol::OpenAi,
            "x-request-id",
            "text/event-stream; charset=utf-8",
            &["openai-processing-ms", "openai-version", "x-ratelimit-remaining-tokens"][..],
        ),
        (
            Protocol::Anthropic,
            "request-id",
            "text/event-stream; charset=utf-8",
            &["anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-input-tokens-reset"][..],
        ),
        (Protocol::Bedrock, "x-amzn-requestid", "application/vnd.amazon.eventstream", &[][..]),
        (Protocol::Ollama, "x-request-id", "application/x-ndjson", &[][..]),
    ] {
        let request = chat(protocol, "m", "r-77", true, &json!({}));
        let answer = Client::connect(server.addr()).call(&request).unwrap();
        assert_eq!(answer.headers[id], "r-77", "the request's own id comes back");
        assert_eq!(answer.headers["content-type"], kind);
        assert!(answer.headers["server"].contains("simulated") && answer.headers["date"].ends_with("GMT"));
        for name in others {
            assert!(answer.headers.contains_key(*name), "{protocol}: {name}");
        }
    }
}

#[test]
fn models_choose_profiles_and_may_be_missing() {
    let named = Profile { responses: vec!["from the named one".into()], ..profile() };
    let server =
        ServerConfig::default().map_profiles(|_| profile()).with_model("special", named).start().unwrap();
    for protocol in Protocol::ALL {
        let call = |model: &str| {
            let request = chat(protocol, model, "r", false, &json!({}));
            Client::connect(server.addr()).call(&request).unwrap()
        };
        assert_eq!(said(protocol, &call("special"), false).text, "from the named one");
        assert_ne!(said(protocol, &call("anything"), false).text, "from the named one");
        assert_eq!(call("mock-missing").status, 404);
    }
    assert_eq!(server.handle("special").unwrap().get().responses.len(), 1);
    assert_eq!(server.handle("mock-fast").unwrap().get().name, Preset::VeryFast.as_str());
    let strict = ServerConfig { only_listed_models: true, ..ServerConfig::default() }
        .with_model("special", profile())
        .start()
        .unwrap();
    for (model, status) in [("special", 200), ("gpt-4o", 404), ("mock-fast", 404)] {
        let request = chat(Protocol::OpenAi, model, "r", false, &json!({}));
        assert_eq!(Client::connect(strict.addr()).call(&request).unwrap().status, status, "{model}");
    }
}

#[test]
fn profiles_can_be_exchanged_while_it_runs() {
    let server = serve(profile());
    let text = |server: &Server| ask(server, Protocol::Ollama, false, &json!({})).text;
    assert_eq!(text(&server).split(' ').count(), 6);
    server.handle("ollama").unwrap().set(profile().with_output_tokens(2)).unwrap();
    assert_eq!(text(&server).split(' ').count(), 2);
}

#[test]
fn listings_are_there() {
    let server = ServerConfig::default().start().unwrap();
    let first = |path: &str, pointer: &str| get(&server, path).json().pointer(pointer).cloned();
    assert_eq!(first("/v1/models", "/data/0/object"), Some(json!("model")));
    assert_eq!(first("/v1/models/gpt-4o", "/id"), Some(json!("gpt-4o")));
    assert_eq!(first("/api/tags", "/models/0/name"), Some(json!("llama3.2:latest")));
    assert_eq!(first("/api/version", "/version"), Some(json!("0.9.3")));
    assert_eq!(first("/api/ps", "/models"), Some(json!([])));
    assert_eq!(first("/mock/profiles", "/openai/name"), Some(json!("openai")));
    assert_eq!(get(&server, "/").text(), "Ollama is running");
    assert_eq!(get(&server, "/v1/models/mock-missing").status, 404);
    assert_eq!(get(&server, "/nowhere").status, 404);
    let mut client = Client::connect(server.addr());
    client.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\n\r\n");
    assert_eq!(client.read(false).unwrap().json()["data"][0]["type"], "model");
    let show = client.call(&post("/api/show", "r", &json!({"model": "llama3.2"}))).unwrap();
    assert_eq!(show.json()["capabilities"][0], "completion");
    let count = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    let count = client.call(&post("/v1/messages/count_tokens", "r", &count)).unwrap();
    assert_eq!(count.json(), json!({"input_tokens": 2}));
    client.write(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(client.read(true).unwrap().status, 200);
}

#[test]
fn nonsense_is_refused_in_the_vendors_manner() {
    let server = serve(profile());
    let hello = json!([{"role": "user", "content": "hello"}]);
    for (path, body, pointer, expected) in [
        (
            "/v1/chat/completions",
            json!({"messages": hello}),
            "/error/message",
            "you must provide a model parameter",
        ),
        ("/v1/chat/completions", json!({"model": "m"}), "/error/code", "missing_required_parameter"),
        ("/v1/chat/completions", json!({"model": "m", "messages": []}), "/error/code", "empty_array"),
        ("/v1/chat/completions", json!({"model": "m", "messages": hello, "n": 2}), "/error/param", "n"),
        (
            "/v1/messages",
            json!({"model": "m", "messages": hello}),
            "/error/message",
            "max_tokens: Field required",
        ),
        ("/v1/messages", json!([]), "/error/type", "invalid_request_error"),
        ("/api/chat", json!({"messages": hello}), "/error", "model is required"),
    ] {
        let answer = Client::connect(server.addr()).call(&post(path, "r", &body)).unwrap();
        assert_eq!(answer.status, 400, "{path} {body}");
        assert_eq!(answer.json().pointer(pointer), Some(&json!(expected)), "{path} {body}");
    }
    let answer = Client::connect(server.addr()).call(&post("/model/m/converse", "r", &json!({}))).unwrap();
    assert!(answer.headers["x-amzn-errortype"].starts_with("ValidationException"));
    let broken = b"POST /api/chat HTTP/1.1\r\ncontent-length: 3\r\n\r\n{x}";
    assert_eq!(Client::connect(server.addr()).call(broken).unwrap().status, 400);
    let tls = Client::connect(server.addr()).call(b"\x16\x03\x01\x02\x00\x01\r\n\r\n").unwrap();
    assert_eq!(tls.status, 400);
    let huge = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(100_000));
    assert_eq!(Client::connect(server.addr()).call(huge.as_bytes()).unwrap().status, 431);
    let fat = b"POST /api/chat HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n";
    assert_eq!(Client::connect(server.addr()).call(fat).unwrap().status, 413);
}

#[test]
fn a_wanted_key_is_asked_for() {
    let config = ServerConfig { api_key: Some("sesame".into()), ..ServerConfig::default() };
    assert!(!format!("{config:?}").contains("sesame"));
    let server = config.map_profiles(|_| profile()).start().unwrap();
    let body = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]})
        .to_string();
    for (header, status) in [
        ("x: y", 401),
        ("authorization: Bearer wrong", 401),
        ("authorization: Bearer sesame", 200),
        ("x-api-key: sesame", 200),
    ] {
        for path in ["/v1/chat/completions", "/v1/messages", "/api/chat"] {
            let request = format!(
                "POST {path} HTTP/1.1\r\n{header}\r\nanthropic-version: 2023-06-01\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = Client::connect(server.addr()).call(request.as_bytes()).unwrap();
            assert_eq!(answer.status, status, "{path} {header}");
        }
    }
}

#[test]
fn http_is_spoken_in_all_its_ways() {
    let server = serve(profile());
    let protocol = Protocol::Ollama;
    let request = chat(protocol, "m", "r-1", true, &json!({}));
    let mut client = Client::connect(server.addr());
    // Two requests at once on one connection, the second cut in half.
    let (half, rest) = request.split_at(request.len() - 9);
    client.write(&[&request[..], half].concat());
    let first = said(protocol, &client.read(false).unwrap(), true);
    client.write(rest);
    assert_eq!(said(protocol, &client.read(false).unwrap(), true).text, first.text);
    // A body in chunks, announced with `expect`.
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).to_string();
    let (a, b) = body.split_at(20);
    client.write(
        b"POST /api/chat HTTP/1.1\r\nx-request-id: r-1\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.read(true).unwrap().status, 100);
    client.write(format!("14\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n", b.len()).as_bytes());
    assert_eq!(said(protocol, &client.read(false).unwrap(), true).text, first.text);
    // HTTP/1.0: no chunks, the end of the body is the end of the connection.
    let old = format!(
        "POST /api/chat HTTP/1.0\r\nx-request-id: r-1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = Client::connect(server.addr()).call(old.as_bytes()).unwrap();
    assert!(!answer.headers.contains_key("transfer-encoding"));
    assert_eq!(said(protocol, &answer, true).text, first.text);
    // A wish to close is granted.
    let last = String::from_utf8(request).unwrap().replace("host: mock", "connection: close");
    let mut client = Client::connect(server.addr());
    assert_eq!(client.call(last.as_bytes()).unwrap().headers["connection"], "close");
    assert_eq!(client.read(false).unwrap_err(), End::Closed);
}

#[test]
fn only_loopback_unless_told_otherwise() {
    let remote = ServerConfig { bind: ([0, 0, 0, 0], 0).into(), ..ServerConfig::default() };
    let error = remote.clone().start().unwrap_err().to_string();
    assert!(error.contains("loopback"), "{error}");
    ServerConfig { allow_remote: true, ..remote }.start().unwrap();
    let taken = ServerConfig::default().start().unwrap();
    let again = ServerConfig { bind: taken.addr(), ..ServerConfig::default() };
    let error = again.start().unwrap_err().to_string();
    assert!(error.contains("choose another port"), "{error}");
    let bad = ServerConfig::default().map_profiles(|p| Profile { time_scale: -1.0, ..p });
    assert!(bad.start().unwrap_err().to_string().contains("openai.time_scale"));
}

#[test]
fn a_file_changes_what_answers() {
    let file = json!({
        "openai": {"output_tokens": {"kind": "constant", "value": 3}},
        "models": {"fast": {"preset": "very-fast"}}
    });
    let config = ServerConfig::default().merge_profiles(file).unwrap();
    assert_eq!(config.profile(Protocol::OpenAi).true_output_tokens_mean(), 3.0);
    let preset = Preset::OpenAi.profile();
    assert_eq!(config.profile(Protocol::OpenAi).ttft_ms, preset.ttft_ms, "the rest stays");
    assert!(config.profile(Protocol::OpenAi).faults.is_empty());
    assert_eq!(config.models["fast"].ttft_ms, Preset::VeryFast.profile().ttft_ms);
    let wrong = json!({"open-ai": {}, "models": {"m": {"seed": -1}}});
    let errors = ServerConfig::default().merge_profiles(wrong).unwrap_err().to_string();
    assert!(errors.contains("open-ai") && errors.contains("models.m"), "{errors}");
}
