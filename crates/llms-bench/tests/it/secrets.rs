//! No secret of the user appears anywhere, at any verbosity: standard output and error with every log line there is,
//! run directories, records, reports, truth logs, spans and metrics as they go over the wire. Keys come in every way
//! there is; servers accept them, refuse them quoting everything they were sent, or are not there.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use crate::common;

use std::fs;

use base64::{Engine, engine::general_purpose};
use bench_mock::server::Server;
use common::{
    Bench, Ended,
    collector::Collector,
    echo::{Echo, Quotes},
    http::answer,
    nobody, vendors,
};

// Words that no pattern takes for keys: what hides them must know them.
const OPENAI: &str = "plum-openai-key";
const ANTHROPIC: &str = "plum-anthropic-key";
const AWS_SECRET: &str = "plumAws/secret+key";
const AWS_SESSION: &str = "plumAws/session+token==";
const AWS_BEARER: &str = "plum-bedrock-bearer";
const OLLAMA: &str = "plum-ollama-key";
const NAMED: &str = "plum-named-key";
const HEADER: &str = "plum-header-value";
const BEARER: &str = "plum-authorization";
const OTLP: &str = "plum-otlp-key";
const MOCK: &str = "plum-mock-key";
const TYPED: &str = "plum-typed-wrong";
const ALL: [&str; 12] = [
    OPENAI,
    ANTHROPIC,
    AWS_SECRET,
    AWS_SESSION,
    AWS_BEARER,
    OLLAMA,
    NAMED,
    HEADER,
    BEARER,
    OTLP,
    MOCK,
    TYPED,
];

/// Every form in which a secret could stand somewhere: as it is, percent-encoded, in hex, and in base64 wherever in a
/// longer text it began.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned(), secret.replace('/', "\\/")];
    forms.push(secret.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"));
    forms.push(secret.bytes().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat());
    for engine in [general_purpose::STANDARD, general_purpose::URL_SAFE] {
        for before in 0..3 {
            let encoded = engine.encode(format!("{}{secret}", "\0".repeat(before)));
            // Without the characters that depend on what stands before and after.
            let inside = &encoded[[0, 2, 3][before]..];
            let inside = inside.trim_end_matches('=');
            forms.push(inside[..inside.len() - 1].to_owned());
        }
    }
    forms
}

#[track_caller]
fn clean(place: &str, bytes: &[u8]) {
    for secret in ALL {
        for form in forms(secret) {
            if let Some(at) = bytes.windows(form.len()).position(|w| w == form.as_bytes()) {
                let (from, to) = (at.saturating_sub(160), (at + form.len() + 40).min(bytes.len()));
                panic!("{place} shows {secret}: …{}…", String::from_utf8_lossy(&bytes[from..to]));
            }
        }
    }
}

/// What it printed, and every file it left but the configuration that it was given.
#[track_caller]
fn all_clean(bench: &Bench, args: &[&str], ended: &Ended) {
    clean(&format!("{args:?}: standard output"), ended.stdout.as_bytes());
    clean(&format!("{args:?}: standard error"), ended.stderr.as_bytes());
    for path in bench.files() {
        if path.extension().is_none_or(|e| e != "toml") {
            clean(&format!("{args:?}: {}", path.display()), &fs::read(&path).unwrap());
        }
        clean("a file's name", path.to_string_lossy().as_bytes());
    }
}

fn collected_clean(collector: &Collector) {
    for request in collector.posted() {
        clean(request.path(), &request.body);
        // The head holds the collector's own key, which is its to see.
        let head = request.head.lines().filter(|l| !l.to_lowercase().starts_with("x-otlp-key: "));
        clean("the head of an export", head.collect::<Vec<_>>().join("\n").as_bytes());
    }
}

/// All the ways to give a key, to servers at these addresses: OpenAI's, Anthropic's, Bedrock's, Ollama's.
fn with_every_key(at: [&str; 4], collector: &str, signed: bool) -> Bench {
    let [openai, anthropic, bedrock, ollama] = at;
    let config = format!(
        r#"
        [[target]]
        name = "openai"
        provider = "openai"
        model = "m"
        base_url = "{openai}"
        [[target]]
        name = "named"
        provider = "openai"
        model = "m"
        base_url = "{openai}"
        api_key_env = "MY_GATEWAY_KEY"
        headers = {{ x-gateway = "{HEADER}" }}
        [[target]]
        name = "responses"
        provider = "openai"
        model = "m"
        base_url = "{openai}"
        headers = {{ Authorization = "Bearer {BEARER}" }}
        provider_specific = {{ api = "responses" }}
        [[target]]
        name = "anthropic"
        provider = "anthropic"
        model = "m"
        base_url = "{anthropic}"
        headers = {{ x-gateway = "{HEADER}" }}
        [[target]]
        name = "bedrock"
        provider = "bedrock"
        model = "anthropic.m-v1:0"
        base_url = "{bedrock}"
        headers = {{ x-gateway = "{HEADER}" }}
        [[target]]
        name = "ollama"
        provider = "ollama"
        model = "m"
        base_url = "{ollama}"
        headers = {{ x-gateway = "{HEADER}" }}
        "#
    );
    let bench = Bench::new()
        .file("llms-bench.toml", &config)
        .env("OPENAI_API_KEY", OPENAI)
        .env("ANTHROPIC_API_KEY", ANTHROPIC)
        .env("OLLAMA_API_KEY", OLLAMA)
        .env("MY_GATEWAY_KEY", NAMED)
        .env("AWS_REGION", "us-east-1")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-otlp-key={OTLP}"));
    if signed {
        let bench = bench.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", AWS_SECRET);
        bench.env("AWS_SESSION_TOKEN", AWS_SESSION)
    } else {
        bench.env("AWS_BEARER_TOKEN_BEDROCK", AWS_BEARER)
    }
}

const COMPARE: [&str; 16] = [
    "compare",
    "-n",
    "2",
    "--concurrency",
    "1",
    "--warmup",
    "1",
    "--timeout",
    "10s",
    "--records",
    "r.jsonl",
    "--json",
    "r.json",
    "--markdown",
    "r.md",
    "--log=trace",
];

/// Every command at every verbosity, and what it says of servers at these addresses.
fn everywhere(at: [&str; 4], collector: &Collector, codes: &[i32]) -> String {
    let mut said = String::new();
    for (signed, transport, form) in [(true, "direct", "text"), (false, "pooled", "json")] {
        let bench = with_every_key(at, &collector.address, signed);
        let log = ["--log-format", form];
        let transport = ["--transport", transport];
        let mut run = |args: &[&str], codes: &[i32]| {
            let ended = bench.run(args);
            assert!(
                ended.code.is_some_and(|c| codes.contains(&c)),
                "{args:?}: {:?}\n{}",
                ended.code,
                ended.stderr
            );
            assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
            all_clean(&bench, args, &ended);
            said.push_str(&ended.stdout);
            said.push_str(&ended.stderr);
        };
        run(&[&COMPARE[..], &log, &transport].concat(), codes);
        if bench.path().join(".llms-bench").exists() {
            for format in ["text", "json", "markdown"] {
                run(&[&["report", "--log=trace", "--format", format][..], &log].concat(), codes);
            }
        }
        for probe in ["cheap", "one-token"] {
            for format in ["text", "json"] {
                let args = ["doctor", "--log=trace", "--format", format, "--probe", probe];
                run(&[&args[..], &log, &transport].concat(), &[0, 3]);
            }
        }
    }
    collected_clean(collector);
    said
}

#[track_caller]
fn quoted(quotes: Quotes, codes: &[i32]) {
    let (echo, collector) = (Echo::start(quotes), Collector::start());
    let base = echo.address.as_str();
    let v1 = format!("{base}/v1");
    let said = everywhere([&v1, base, base, base], &collector, codes);
    // It had something to quote, and was quoted.
    for secret in [OPENAI, ANTHROPIC, AWS_SESSION, AWS_BEARER, OLLAMA, NAMED, HEADER, BEARER] {
        assert!(echo.seen().contains(secret), "{secret} was never sent");
    }
    if quotes != Quotes::Answered {
        assert!(said.contains("[redacted]"), "{said}");
    }
}

#[test]
fn refused_by_a_server_that_quotes_everything() {
    quoted(Quotes::Refused, &[3]);
}

#[test]
fn streams_refused_by_a_server_that_quotes_everything() {
    quoted(Quotes::StreamRefused, &[0, 3]);
}

#[test]
fn quoted_in_a_stream() {
    quoted(Quotes::InStream, &[0, 3]);
}

#[test]
fn quoted_by_what_is_no_api() {
    let (echo, collector) = (Echo::start(Quotes::Page), Collector::start());
    let base = echo.address.as_str();
    everywhere([&format!("{base}/v1"), base, base, base], &collector, &[3]);
    assert!(echo.seen().contains(OPENAI));
}

#[test]
fn given_back_as_answer_id_and_model() {
    quoted(Quotes::Answered, &[0, 3]);
}

fn addresses(server: &Server) -> [String; 4] {
    use bench_mock::server::Protocol::{Anthropic, Bedrock, Ollama, OpenAi};
    [OpenAi, Anthropic, Bedrock, Ollama].map(|p| server.base_url(p))
}

#[test]
fn accepted() {
    let (server, collector) = (vendors(), Collector::start());
    let at = addresses(&server);
    let said = everywhere(at.each_ref().map(String::as_str), &collector, &[0]);
    // At full verbosity there are lines, in both forms; calls are told; spans have arrived with the collector's key.
    assert!(
        said.contains("TRACE")
            && said.contains("\"level\":\"TRACE\"")
            && said.contains("llms_telemetry::call")
    );
    assert!(collector.spans().len() >= 2 * 6 * 2);
    assert!(collector.posted().iter().all(|r| r.header("x-otlp-key") == Some(OTLP)));
}

#[test]
fn nobody_there_and_a_collector_that_quotes() {
    let nobody = nobody();
    let quoting = |r: &common::http::Request| {
        answer(401, "text/plain", &format!("x-said: {OTLP}\r\n"), r.head.as_bytes())
    };
    let collector = Collector::answering(quoting);
    everywhere([&nobody; 4], &collector, &[3]);
    // Where calls were made, there is something that the collector refuses.
    let server = vendors();
    let at = addresses(&server);
    let said = everywhere(at.each_ref().map(String::as_str), &collector, &[0]);
    assert!(said.contains("telemetry was not delivered") && said.contains("401"), "{said}");
}

#[test]
fn the_servers_side() {
    let bench = Bench::new();
    let args = [
        "mock",
        "serve",
        "--port",
        "0",
        "--api-key",
        MOCK,
        "--aws-key-id",
        "AKIDEXAMPLE",
        "--aws-secret",
        AWS_SECRET,
        "--truth-log",
        "truth.jsonl",
        "--time-scale",
        "0.01",
        "--log",
        "trace",
    ];
    let mut serving = bench.start(&args);
    let line = serving.wait_for("OPENAI_BASE_URL=");
    let openai = line.split('=').nth(1).unwrap().trim();
    let base = openai.trim_end_matches("/v1");
    for key in [MOCK, TYPED] {
        let client = Bench::new().env("OPENAI_API_KEY", key).env("ANTHROPIC_API_KEY", key);
        let client = client.env("AWS_REGION", "us-east-1").env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
        let client = client.env("AWS_SECRET_ACCESS_KEY", if key == MOCK { AWS_SECRET } else { TYPED });
        let targets = [
            format!("openai:m@{openai}"),
            format!("anthropic:m@{base}"),
            format!("bedrock:anthropic.m-v1:0@{base}"),
        ];
        let mut args = COMPARE.to_vec();
        args.extend(targets.iter().flat_map(|t| ["--target", t]));
        let ended = client.run(&args).with(if key == MOCK { 0 } else { 3 });
        all_clean(&client, &args, &ended);
    }
    for path in ["/mock/config", "/mock/profiles", "/mock/truth", "/v1/models"] {
        clean(path, &common::http::get(base, path, &[("authorization", &format!("Bearer {MOCK}"))]));
    }
    let ended = serving.interrupt().with(0);
    all_clean(&bench, &args, &ended);
    assert!(fs::read_to_string(bench.path().join("truth.jsonl")).unwrap().lines().count() >= 9);
}

#[test]
fn the_simulated_vendors_get_nothing_of_it() {
    let collector = Collector::start();
    let bench = with_every_key(["http://127.0.0.1:1"; 4], &collector.address, true);
    fs::remove_file(bench.path().join("llms-bench.toml")).unwrap();
    let args = [&COMPARE[..], &["--truth-log", "truth.jsonl"]].concat();
    let ended = bench.run(&args).with(0);
    all_clean(&bench, &args, &ended);
    collected_clean(&collector);
    assert!(bench.path().join("truth.jsonl").exists());
}

#[track_caller]
fn mistyped(bench: Bench, args: &[&str]) {
    for log in [&[][..], &["--log=trace"]] {
        let args = [args, log].concat();
        let ended = bench.run(&args);
        assert!(
            ended.code.is_some_and(|c| [2, 3].contains(&c)),
            "{args:?}: {:?}\n{}",
            ended.code,
            ended.stderr
        );
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        all_clean(&bench, &args, &ended);
    }
}

/// A target in a file, with this line.
fn target(line: &str) -> Bench {
    let head = "[[target]]\nprovider = \"openai\"\nmodel = \"m\"\n";
    let address = if line.contains("base_url") { "" } else { "base_url = \"http://127.0.0.1:1\"\n" };
    Bench::new().file("llms-bench.toml", &format!("{head}{address}{line}\n"))
}

#[test]
fn secrets_at_the_wrong_place_are_not_shown_when_that_is_told() {
    for line in [
        format!("api_key = \"{TYPED}\""),
        format!("api_key_env = \"{TYPED}\""),
        format!("headers = {{ authorization = \"{TYPED} }}"),
        format!("headers = \"{TYPED}\""),
        format!("headers = {{ authorization = [\"{TYPED}\"] }}"),
        format!("headers = {{ authorization = \"{TYPED}\\n\" }}"),
        format!("base_url = \"http://me:{TYPED}@127.0.0.1:1\""),
        format!("base_url = \"http://127.0.0.1:1/v1?key={TYPED}\""),
        format!("provider_specific = {{ api_key = \"{TYPED}\" }}"),
        format!("provider_specific = {{ organization = \"{TYPED}\\n\" }}"),
    ] {
        mistyped(target(&line), &["run", "-n", "1"]);
        mistyped(target(&line), &["doctor"]);
    }
    for address in [format!("http://me:{TYPED}@127.0.0.1:1"), format!("http://127.0.0.1:1/v1?key={TYPED}")] {
        for provider in ["openai", "anthropic", "bedrock", "ollama"] {
            let target = format!("{provider}:m@{address}");
            mistyped(Bench::new(), &["run", "--target", &target]);
            mistyped(Bench::new(), &["doctor", "--target", &target]);
        }
        mistyped(Bench::new(), &["run", "--model", "m", "--base-url", &address]);
        mistyped(Bench::new(), &["compare", "--otlp", &format!("http://me:{TYPED}@127.0.0.1:1")]);
        for (provider, variable) in [
            ("openai", "OPENAI_BASE_URL"),
            ("anthropic", "ANTHROPIC_BASE_URL"),
            ("bedrock", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
            ("ollama", "OLLAMA_HOST"),
        ] {
            let target = format!("{provider}:m");
            let bench = || {
                let bench = Bench::new().env(variable, address.as_str()).env("OPENAI_API_KEY", OPENAI);
                let bench = bench.env("ANTHROPIC_API_KEY", ANTHROPIC).env("AWS_REGION", "us-east-1");
                bench.env("AWS_BEARER_TOKEN_BEDROCK", AWS_BEARER)
            };
            mistyped(bench(), &["run", "--target", &target, "-n", "1"]);
            mistyped(bench(), &["doctor", "--target", &target]);
        }
    }
}

#[test]
fn keys_that_cannot_be_sent_are_not_shown_when_that_is_told() {
    for (provider, variable) in [
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("bedrock", "AWS_BEARER_TOKEN_BEDROCK"),
        ("ollama", "OLLAMA_API_KEY"),
    ] {
        let target = format!("{provider}:m@http://127.0.0.1:1");
        for key in [format!("{TYPED}\nx"), format!("{TYPED}\u{7f}"), format!("{TYPED}ü")] {
            let bench = || Bench::new().env(variable, key.as_str()).env("AWS_REGION", "us-east-1");
            mistyped(bench(), &["run", "--target", &target, "-n", "1"]);
            mistyped(bench(), &["doctor", "--target", &target]);
        }
    }
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("x-otlp-key={TYPED}\nx")),
        ("OTEL_EXPORTER_OTLP_HEADERS", TYPED.to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://me:{TYPED}@127.0.0.1:1")),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", TYPED.to_owned()),
    ] {
        let bench = Bench::new().env(name, value).env("OTEL_TRACES_EXPORTER", "otlp");
        mistyped(bench, &["compare", "-n", "1"]);
    }
    mistyped(Bench::new(), &["mock", "serve", "--port", "0", "--aws-secret", TYPED]);
    mistyped(Bench::new(), &["mock", "serve", "--api-key", TYPED, "--slots", "many"]);
    mistyped(Bench::new(), &["mock", "serve", "--api-key", TYPED, "--preset", "none"]);
}

#[test]
fn what_this_file_looks_for_would_be_found() {
    let hidden = [
        format!("a {OPENAI} b"),
        general_purpose::STANDARD.encode(format!("me:{ANTHROPIC}!")),
        general_purpose::STANDARD.encode(format!("m:{OLLAMA}")),
        general_purpose::URL_SAFE_NO_PAD.encode(format!("?{AWS_SECRET}")),
        AWS_SESSION.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"),
    ];
    for text in hidden {
        let found = std::panic::catch_unwind(|| clean("here", text.as_bytes()));
        assert!(found.is_err(), "{text}");
    }
    clean("here", b"nothing of the kind: plum, key");
}
