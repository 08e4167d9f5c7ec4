//! Spans and metrics of a run over OTLP: what arrives, also after Ctrl-C, and what does not when nobody listens.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use crate::common;

use bench_mock::{
    Dist,
    server::{Protocol, ServerConfig},
};
use common::{Bench, Ended, collector::Collector, http::answer, nobody, quick, vendors};

const SHORT: [&str; 8] = ["compare", "-n", "5", "--warmup", "1", "--concurrency", "2", "--no-save"];
/// Four simulated vendors, five calls and one before.
const CALLS: usize = 4 * (5 + 1);

#[track_caller]
fn delivered(collector: &Collector, calls: usize) {
    let spans = collector.spans();
    assert_eq!(spans.len(), calls);
    for span in &spans {
        assert!(span.name.starts_with("chat "), "{span:?}");
        for attribute in
            ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address"]
        {
            assert!(span.attributes.contains_key(attribute), "{attribute} in {span:?}");
        }
    }
    let metrics = collector.metrics();
    for metric in ["gen_ai.client.operation.duration", "gen_ai.client.token.usage"] {
        assert!(metrics.contains(metric), "{metric} in {metrics:?}");
    }
    for request in collector.posted() {
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"), "{}", request.head);
        let body = String::from_utf8_lossy(&request.body);
        assert!(body.contains("service.name") && body.contains("service.version"), "{}", request.path());
    }
}

/// One line about telemetry in the report, and nothing on standard error.
#[track_caller]
fn note(ended: &Ended) -> String {
    let lines: Vec<_> = ended.stdout.lines().filter(|l| l.contains("telemetry")).collect();
    assert_eq!(lines.len(), 1, "{}", ended.stdout);
    assert!(ended.stderr.is_empty(), "{}", ended.stderr);
    // As the report has it, over several lines.
    let at = ended.stdout.find(lines[0]).unwrap();
    ended.stdout[at..].split_whitespace().collect::<Vec<_>>().join(" ")
}

fn short(bench: &Bench, more: &[&str]) -> Ended {
    bench.run(&[&SHORT[..], &["-q"], more].concat())
}

#[test]
fn asked_for_by_flag() {
    let collector = Collector::start();
    let ended = short(&Bench::new(), &["--otlp", &collector.address]).with(0);
    delivered(&collector, CALLS);
    let note = note(&ended);
    assert!(note.contains(&format!("{CALLS} spans")), "{note}");
    assert!(note.contains(&format!("{}/v1/traces", collector.address)), "{note}");
    let providers =
        collector.spans().iter().map(|s| s.attributes["gen_ai.provider.name"].clone()).collect::<Vec<_>>();
    for provider in ["openai", "anthropic", "aws.bedrock", "ollama"] {
        assert_eq!(
            providers.iter().filter(|p| *p == provider).count(),
            CALLS / 4,
            "{provider}: {providers:?}"
        );
    }
}

#[test]
fn asked_for_by_variables() {
    let collector = Collector::start();
    let bench = Bench::new()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.address)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue%20one")
        .env("OTEL_SERVICE_NAME", "my-bench")
        .env("OTEL_RESOURCE_ATTRIBUTES", "team=red");
    short(&bench, &[]).with(0);
    delivered(&collector, CALLS);
    for request in collector.posted() {
        assert_eq!(request.header("x-tenant"), Some("blue one"), "{}", request.head);
        let body = String::from_utf8_lossy(&request.body);
        assert!(body.contains("my-bench") && body.contains("team") && body.contains("red"));
    }
}

#[test]
fn the_flag_goes_before_the_variables() {
    let (flag, variable) = (Collector::start(), Collector::start());
    let bench = Bench::new().env("OTEL_EXPORTER_OTLP_ENDPOINT", &*variable.address);
    short(&bench, &["--otlp", &flag.address]).with(0);
    delivered(&flag, CALLS);
    assert!(variable.posted().is_empty());
}

#[test]
fn one_kind_only() {
    let collector = Collector::start();
    let bench = Bench::new().env("OTEL_METRICS_EXPORTER", "none");
    let ended = short(&bench, &["--otlp", &collector.address]).with(0);
    assert!(note(&ended).contains("/v1/traces") && !note(&ended).contains("/v1/metrics"), "{}", ended.stdout);
    assert_eq!((collector.spans().len(), collector.metrics().len()), (CALLS, 0));
}

#[test]
fn every_verdict_of_a_call_has_its_span() {
    let (server, collector) = (vendors(), Collector::start());
    let base = server.base_url(Protocol::OpenAi);
    let args =
        ["run", "--target", &format!("openai:mock-midstream-500@{base}"), "-n", "3", "--warmup", "1", "-q"];
    let ended = Bench::new().run(&[&args[..], &["--no-save", "--otlp", &collector.address]].concat()).with(3);
    note(&ended);
    let spans = collector.spans();
    // The call that looks whether the target works is not the run's.
    assert_eq!(spans.len(), 4);
    assert!(spans.iter().all(|s| s.attributes.contains_key("error.type")), "{spans:?}");
}

#[test]
fn flushed_after_ctrl_c() {
    // Slow enough to be in the middle of it, and a metric interval that would never come.
    let collector = Collector::start();
    let slow = |p: bench_mock::Profile| bench_mock::Profile { ttft_ms: Dist::constant(2500.0), ..p };
    let server = quick(ServerConfig::default()).map_profiles(slow).start().unwrap();
    let targets =
        [Protocol::OpenAi, Protocol::Ollama].map(|p| format!("{}:mock@{}", p.as_str(), server.base_url(p)));
    let bench = Bench::new();
    let running = bench.start(&[
        "compare",
        "--target",
        &targets[0],
        "--target",
        &targets[1],
        "--duration",
        "10m",
        "--concurrency",
        "2",
        "-q",
        "--otlp",
        &collector.address,
    ]);
    collector.wait_for_spans(4);
    let ended = running.interrupt().with(130);
    let note = note(&ended);
    assert!(note.contains("spans") && note.contains("delivered to"), "{note}");
    let told: usize = note.split("telemetry: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(collector.spans().len(), told);
    assert!(collector.metrics().contains("gen_ai.client.operation.duration"));
    // Every call that finished has its span.
    assert!(told >= server.truth().len() - 2 - 2, "{told} of {}", server.truth().len());
}

#[test]
fn interrupted_before_the_first_answer() {
    let (server, collector) = (vendors(), Collector::start());
    let target = format!("openai:mock-slow@{}", server.base_url(Protocol::OpenAi));
    let bench = Bench::new();
    let running = bench.start(&["run", "--target", &target, "-n", "5", "-q", "--otlp", &collector.address]);
    std::thread::sleep(std::time::Duration::from_millis(700));
    let ended = running.interrupt().with(130);
    assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
}

#[test]
fn without_a_collector_the_run_is_as_good_and_one_note_says_so() {
    let address = nobody();
    let ended = short(&Bench::new(), &["--otlp", &address]).with(0);
    let told = note(&ended);
    assert!(told.contains("not delivered") && told.contains("refused"), "{told}");
    assert!(ended.stdout.contains("sim-openai"), "{}", ended.stdout);
    // Also where it is there and refuses.
    let collector = Collector::answering(|_| answer(503, "text/plain", "", b"full"));
    let bench = Bench::new().env("OTEL_EXPORTER_OTLP_TIMEOUT", "2000");
    let told = note(&short(&bench, &["--otlp", &collector.address]).with(0));
    assert!(told.contains("not delivered") && told.contains("503"), "{told}");
    // Without a value, the usual place on this machine; somebody may listen there.
    let ended = short(&Bench::new(), &["--otlp"]).with(0);
    assert!(note(&ended).contains("http://127.0.0.1:4318/v1/"), "{}", ended.stdout);
}

#[test]
fn switched_off() {
    let collector = Collector::start();
    let bench = Bench::new().env("OTEL_SDK_DISABLED", "true");
    let bench = bench.env("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.address);
    let ended = short(&bench, &[]).with(0);
    assert!(!ended.stdout.contains("telemetry") && collector.posted().is_empty(), "{}", ended.stdout);
    short(&bench, &["--otlp", &collector.address]).with(2).says("OTEL_SDK_DISABLED").is_one_message();
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let address = "http://127.0.0.1:4317";
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ] {
        let ended = short(&Bench::new().env(name, value), &["--otlp", address]).with(2);
        ended.says(name).says(value).is_one_message();
    }
    for wrong in ["127.0.0.1:4318", "grpc://h", "nonsense"] {
        short(&Bench::new(), &["--otlp", wrong]).with(2).says("http://127.0.0.1:4318").is_one_message();
    }
}

#[test]
fn nothing_is_logged_unless_asked_for() {
    let server = vendors();
    let target = format!("openai:mock-midstream-500@{}", server.base_url(Protocol::OpenAi));
    let args = ["run", "--target", &target, "-n", "3", "--warmup", "0", "-q", "--no-save"];
    let silent = Bench::new().run(&args).with(3);
    assert!(silent.stderr.is_empty(), "{}", silent.stderr);
    // At `warn` the failures, one line each; at `off` nothing.
    let lines = |ended: Ended| ended.stderr.lines().filter(|l| l.contains("llms_telemetry::call")).count();
    let log = |filter: &str| Bench::new().run(&[&args[..], &["--log", filter]].concat()).with(3);
    assert_eq!([lines(log("warn")), lines(log("info")), lines(log("off"))], [3, 3, 0]);
    assert_eq!(lines(Bench::new().env("LLMS_BENCH_LOG", "warn").run(&args)), 3);
    let json = Bench::new().run(&[&args[..], &["--log", "warn", "--log-format", "json"]].concat());
    for line in json.stderr.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}
