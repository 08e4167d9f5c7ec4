//! T021: the configurator applied to what already runs, in process and as a server, and the look-alikes of the
//! contract. What each setting does is in `t009_mock_configurator`.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use bench_mock::{
    Aspects, Configurator, Dist, MockModel, Preset, Profile, TruthOutcome,
    server::{Protocol, Server, ServerConfig},
};
use common::{
    exact, ms,
    raw::{Answer, Client, chat, get, send},
};
use llms_core::{ChatModel, ErrorCode, bench::MockConfigurator};
use serde_json::{Value, json};

fn ask(server: &Server, protocol: Protocol, id: &str) -> Answer {
    Client::connect(server.addr()).call(&chat(protocol, "m", id, true, &json!({}))).unwrap()
}

/// When the first token was due after the start of service, by the record of this request.
fn ttft(server: &Server, id: &str) -> std::time::Duration {
    let truth = server.truth();
    let record = truth.iter().find(|r| r.request_id == id).unwrap();
    let first = record.writes.iter().position(|w| w.tokens > 0).unwrap();
    record.targets_ns[first].since(record.service_start_ns.unwrap()).unwrap()
}

#[test]
fn a_running_server_and_a_model_follow_one_configurator() {
    let base = exact().with_output_tokens(2).with_time_scale(0.1);
    let c = Configurator::new(base, Aspects::default()).unwrap();
    c.configure_memory_usage(0, 1.0).unwrap();
    let config = ServerConfig::default()
        .with_handle(Protocol::OpenAi, c.handle())
        .with_handle(Protocol::Ollama, c.handle());
    let (server, model) = (config.start().unwrap(), c.model());
    for (latency, round) in [(100, "a"), (250, "b")] {
        c.configure_latency(ms(latency), 0.0).unwrap();
        for protocol in [Protocol::OpenAi, Protocol::Ollama] {
            let id = format!("{round}-{protocol}");
            assert_eq!(ask(&server, protocol, &id).status, 200);
            assert_eq!(ttft(&server, &id), ms(latency / 10), "{id}");
        }
        assert_eq!(model.handle().get().true_ttft_median(), ms(latency / 10));
    }
    c.configure_error_injection(1.0, &[ErrorCode::RateLimit]).unwrap();
    assert_eq!(ask(&server, Protocol::OpenAi, "c").status, 429);
    assert_eq!(ask(&server, Protocol::Anthropic, "c-2").status, 200, "it has its own");
    c.reset_to_defaults();
    assert_eq!(ask(&server, Protocol::Ollama, "d").status, 200);
    let outcome = server.truth().iter().find(|r| r.request_id == "c").unwrap().outcome;
    assert_eq!(outcome, TruthOutcome::Refused);
}

#[test]
fn a_configurator_can_take_over_a_running_server() {
    let server = ServerConfig::default().map_profiles(|p| p.with_time_scale(0.01)).start().unwrap();
    let handle = server.handle("anthropic").unwrap();
    let c = Configurator::attach(handle.clone(), Aspects::default()).unwrap();
    assert_eq!(handle.get().true_ttft_median(), ms(1), "the contract's defaults, at the server's scale");
    c.configure_latency(ms(300), 0.0).unwrap();
    ask(&server, Protocol::Anthropic, "a");
    assert_eq!(ttft(&server, "a"), ms(3));
}

#[track_caller]
fn fields(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    let fields = body["error"]["fields"].as_array().unwrap();
    fields.iter().map(|f| f["field"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn profiles_are_read_and_changed_over_http() {
    let server = ServerConfig::default().map_profiles(|p| p.with_time_scale(0.01)).start().unwrap();
    let all = get(&server, "/mock/config").json();
    assert!(all["openai"]["ttft_ms"].is_object() && all["bedrock"].is_object());
    assert_eq!(get(&server, "/mock/config/ollama").json(), all["ollama"]);

    // A change of some fields.
    let changed = send(&server, "PATCH", "/mock/config/openai", &json!({"ttft_ms": 700, "output_tokens": 3}));
    assert_eq!((changed.status, &changed.json()["time_scale"]), (200, &json!(0.01)));
    assert_eq!(changed.json()["ttft_ms"], json!({"kind": "constant", "value": 700.0}));
    let answer = ask(&server, Protocol::OpenAi, "a");
    assert_eq!((answer.status, ttft(&server, "a")), (200, ms(7)));

    // A whole profile; absent fields are the preset's.
    let body = json!({"preset": "very-fast", "seed": 5});
    let put = send(&server, "PUT", "/mock/config/openai", &body).json();
    let expected = serde_json::to_value(Preset::VeryFast.profile().with_seed(5)).unwrap();
    assert_eq!(put, expected);

    // Several at once, or none.
    let body = json!({"openai": {"seed": 6}, "ollama": {"seed": 7}});
    assert_eq!(send(&server, "PATCH", "/mock/config", &body).status, 200);
    assert_eq!(server.handle("ollama").unwrap().get().seed, 7);
    let body = json!({"openai": {"seed": 8}, "ollama": {"time_scale": 0}});
    let refused = send(&server, "PATCH", "/mock/config", &body);
    assert_eq!((refused.status, fields(&refused)), (400, vec!["ollama.time_scale".to_owned()]));
    assert_eq!(server.handle("openai").unwrap().get().seed, 6);

    for (path, body, status, wrong) in [
        (
            "/mock/config/openai",
            json!({"head_share": 3, "verbosity": -1}),
            400,
            vec!["verbosity", "head_share"],
        ),
        ("/mock/config/openai", json!({"ttft": 3, "seed": "x", "usage": true}), 400, vec!["seed", "ttft"]),
        ("/mock/config/openai", json!([1]), 400, vec![]),
        ("/mock/config/nobody", json!({}), 404, vec![]),
    ] {
        let refused = send(&server, "PATCH", path, &body);
        assert_eq!(
            (refused.status, fields(&refused)),
            (status, wrong.into_iter().map(str::to_owned).collect())
        );
    }
    assert_eq!(send(&server, "DELETE", "/mock/config", &Value::Null).status, 405);
}

#[test]
fn everything_is_reset_to_how_it_started() {
    let limit = bench_mock::RateLimit::requests(0.001, 1.0);
    let profile = Profile { rate_limit: Some(limit), ..exact().with_time_scale(0.01) };
    let server = ServerConfig::default().with_profile(Protocol::OpenAi, profile).start().unwrap();
    assert_eq!(ask(&server, Protocol::OpenAi, "a").status, 200);
    assert_eq!(ask(&server, Protocol::OpenAi, "b").status, 429);
    send(&server, "PATCH", "/mock/config/openai", &json!({"output_tokens": 1}));
    assert_eq!(send(&server, "POST", "/mock/reset", &json!({})).json(), json!({"reset": true}));
    assert!(server.truth().is_empty());
    assert_eq!(ask(&server, Protocol::OpenAi, "c").status, 200);
    assert_eq!(server.truth()[0].tokens(), 5);
}

#[test]
fn only_loopback_may_change_it() {
    let config =
        ServerConfig { bind: ([0, 0, 0, 0], 0).into(), allow_remote: true, ..ServerConfig::default() };
    let server = config.clone().start().unwrap();
    let address = (std::net::Ipv4Addr::LOCALHOST, server.addr().port()).into();
    let request = b"GET /mock/config HTTP/1.1\r\nhost: mock\r\n\r\n";
    assert_eq!(Client::connect(address).call(request).unwrap().status, 403);
    let server = ServerConfig { allow_remote_admin: true, ..config }.start().unwrap();
    let address = (std::net::Ipv4Addr::LOCALHOST, server.addr().port()).into();
    assert_eq!(Client::connect(address).call(request).unwrap().status, 200);
}

#[test]
fn look_alikes_are_those_of_the_contract() {
    let openai = Preset::OpenAi.profile();
    assert_eq!(openai.ttft_ms, Dist::log_normal(200.0, 0.3));
    assert_eq!(openai.gap_ms, Dist::log_normal(25.0, 0.2));
    assert_eq!((openai.memory.bytes, openai.memory.streaming_factor), (2_000_000, 1.5));
    assert!((openai.true_error_rate() - 0.02).abs() < 1e-12);
    let anthropic = Preset::Anthropic.profile();
    assert_eq!(anthropic.ttft_ms, Dist::log_normal(150.0, 0.25));
    assert!((anthropic.gap_ms.median() - 1000.0 / 35.0).abs() < 1e-9);
    assert_eq!((anthropic.memory.bytes, anthropic.memory.streaming_factor), (1_500_000, 2.0));
    assert!((anthropic.true_error_rate() - 0.01).abs() < 1e-12);
    assert_eq!(Preset::Bedrock.profile().true_ttft_median(), ms(300));
    assert_eq!(Preset::Ollama.profile().true_ttft_median(), ms(500));
    assert_eq!(Preset::VerySlow.profile().ttft_ms, Dist::log_normal(5000.0, 0.8));
    assert_eq!(Preset::VeryFast.profile().ttft_ms, Dist::log_normal(10.0, 0.05));
    assert_eq!(MockModel::new(openai).unwrap().info().provider, "mock");
}
