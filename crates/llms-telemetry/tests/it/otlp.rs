//! OTLP on loopback: what arrives at shutdown, with which headers; and what happens when nobody listens.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use base64::Engine;
use common::{ANSWER, PROMPT, Scripted, request};
use llms_core::{CallContext, ChatModel, ChatModelExt, SharedModel};
use llms_telemetry::{Config, Telemetry, TelemetryError};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A request as it came in: first line and headers in lower case, and the body.
type Posted = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Answers every POST with `status`.
fn collector(status: u16) -> (String, Posted) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let posted = Posted::default();
    let seen = posted.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let seen = seen.clone();
            thread::spawn(move || serve(stream.unwrap(), status, &seen));
        }
    });
    (address, posted)
}

fn serve(mut stream: impl Read + Write, status: u16, seen: &Posted) {
    let mut bytes = Vec::new();
    let mut buf = [0; 4096];
    loop {
        let n = stream.read(&mut buf).unwrap_or(0);
        if n == 0 {
            return;
        }
        bytes.extend_from_slice(&buf[..n]);
        while let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "))
                .map_or(0, |l| l.parse().unwrap());
            if bytes.len() < end + 4 + length {
                break;
            }
            let body = bytes[end + 4..end + 4 + length].to_vec();
            bytes.drain(..end + 4 + length);
            seen.lock().unwrap().push((head, body));
            write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
            )
            .unwrap();
        }
    }
}

/// The same with TLS and a certificate of its own; also gives the file that holds it.
fn tls_collector() -> (String, Posted, tempfile::NamedTempFile) {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], secret)
        .unwrap();
    let config = Arc::new(config);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let base64 = base64::engine::general_purpose::STANDARD.encode(key.cert.der());
    write!(file, "-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n").unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let posted = Posted::default();
    let seen = posted.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (seen, config) = (seen.clone(), config.clone());
            thread::spawn(move || {
                let connection = rustls::ServerConnection::new(config).unwrap();
                serve(rustls::StreamOwned::new(connection, stream.unwrap()), 200, &seen);
            });
        }
    });
    (address, posted, file)
}

fn env(vars: &[(&'static str, String)]) -> impl Fn(&str) -> Option<String> + Send + Sync + use<> {
    let vars = vars.to_vec();
    move |name: &str| vars.iter().find(|(k, _)| *k == name).map(|(_, v)| v.clone())
}

async fn call(telemetry: &Telemetry) {
    let model: SharedModel = telemetry.instrument(Arc::new(Scripted::default()));
    let ctx = CallContext::new();
    model.generate(&request(), &ctx).await.unwrap();
    model.collect(&request(), &ctx).await.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn has(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|w| w == text.as_bytes())
}

#[test]
fn both_signals_arrive_at_shutdown_inside_a_runtime_of_one_thread() {
    let (address, posted) = collector(200);
    let vars = env(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.clone()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=sk%2Dsecret".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=blue".to_owned()),
    ]);
    assert!(llms_telemetry::wanted(&vars));
    let exported = runtime().block_on(async {
        let telemetry =
            Telemetry::start(Config::new("llms-bench").with_resource("run", "r-9"), &vars).unwrap();
        assert_eq!(
            telemetry.destinations(),
            [format!("{address}/v1/traces"), format!("{address}/v1/metrics")]
        );
        assert!(!format!("{telemetry:?}").contains("secret"));
        call(&telemetry).await;
        // Blocks the only thread of this runtime: export must not need it.
        telemetry.shutdown(Duration::from_secs(20)).unwrap()
    });
    assert_eq!((exported.spans, exported.spans_lost, exported.failures), (2, 0, 0));
    assert!(exported.metric_exports >= 1);

    let posted = posted.lock().unwrap();
    let of = |path: &str| posted.iter().find(|(head, _)| head.starts_with(&format!("post {path} "))).unwrap();
    for path in ["/v1/traces", "/v1/metrics"] {
        let (head, body) = of(path);
        assert!(head.contains("api-key: sk-secret"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        for text in ["service.name", "llms-bench", "team", "blue", "r-9", "gen_ai.provider.name", "gpt-test"]
        {
            assert!(has(body, text), "{text} in {path}");
        }
        assert!(!has(body, PROMPT) && !has(body, ANSWER));
    }
    assert!(has(&of("/v1/traces").1, "chat gpt-test"));
    assert!(has(&of("/v1/metrics").1, "gen_ai.client.operation.duration"));
}

#[test]
fn one_signal_can_be_switched_off() {
    let (address, posted) = collector(200);
    let vars = env(&[("OTEL_TRACES_EXPORTER", "none".to_owned())]);
    let telemetry = Telemetry::start(Config::new("x").with_endpoint(address), &vars).unwrap();
    runtime().block_on(call(&telemetry));
    assert_eq!(telemetry.shutdown(Duration::from_secs(20)).unwrap().spans, 0);
    let posted = posted.lock().unwrap();
    assert!(!posted.is_empty() && posted.iter().all(|(head, _)| head.starts_with("post /v1/metrics ")));
}

/// An address where nobody listens: bound once, and closed again.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn an_unreachable_collector_is_one_error_and_no_hang() {
    let telemetry = Telemetry::start(Config::new("x").with_endpoint(nobody()), &env(&[])).unwrap();
    runtime().block_on(call(&telemetry));
    let start = Instant::now();
    let told = telemetry.shutdown(Duration::from_secs(60)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(30), "far below what was allowed");
    let TelemetryError::NotDelivered { spans_lost, .. } = &told else { panic!("{told}") };
    assert_eq!(*spans_lost, 2);
    let told = told.to_string();
    assert!(told.contains("refused") && told.contains("is a collector listening there"), "{told}");
}

#[test]
fn a_collector_with_a_certificate_of_its_own_is_trusted_by_file_only() {
    let (address, posted, file) = tls_collector();
    let path = file.path().to_str().unwrap().to_owned();
    let vars = env(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", path)]);
    let telemetry = Telemetry::start(Config::new("x").with_endpoint(&address), &vars).unwrap();
    runtime().block_on(call(&telemetry));
    assert_eq!(telemetry.shutdown(Duration::from_secs(20)).unwrap().spans, 2);
    let n = posted.lock().unwrap().len();
    assert!(n >= 2);

    let telemetry = Telemetry::start(Config::new("x").with_endpoint(&address), &env(&[])).unwrap();
    runtime().block_on(call(&telemetry));
    let told = telemetry.shutdown(Duration::from_secs(20)).unwrap_err().to_string();
    assert!(told.contains("something listens on localhost"), "{told}");
    assert_eq!(posted.lock().unwrap().len(), n);

    let missing = env(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "no/such.pem".to_owned())]);
    let told = Telemetry::start(Config::new("x").with_endpoint(&address), &missing).unwrap_err();
    assert!(
        told.to_string().contains("no/such.pem") && told.to_string().contains("expected a PEM file"),
        "{told}"
    );
}

#[test]
fn a_collector_that_refuses_is_told_with_its_status() {
    let (address, _) = collector(401);
    let telemetry = Telemetry::start(Config::new("x").with_endpoint(address), &env(&[])).unwrap();
    runtime().block_on(call(&telemetry));
    let told = telemetry.shutdown(Duration::from_secs(20)).unwrap_err().to_string();
    assert!(told.contains("401") && told.contains("2 spans lost"), "{told}");
}

#[test]
fn a_collector_that_never_answers_is_left_after_the_time_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let telemetry = Telemetry::start(Config::new("x").with_endpoint(address), &env(&[])).unwrap();
    runtime().block_on(call(&telemetry));
    let start = Instant::now();
    let told = telemetry.shutdown(Duration::from_millis(300)).unwrap_err();
    assert!(matches!(told, TelemetryError::Late { .. }), "{told}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn nothing_asked_for_is_nothing_done() {
    let telemetry = Telemetry::start(Config::new("x"), &env(&[])).unwrap();
    assert!(!telemetry.is_exporting() && telemetry.metrics().is_noop());
    assert_eq!(telemetry.shutdown(Duration::ZERO).unwrap(), llms_telemetry::Exported::default());
    let vars = env(&[("OTEL_SDK_DISABLED", "true".to_owned())]);
    let told = Telemetry::start(Config::new("x").with_endpoint("http://h:1"), &vars).unwrap_err();
    assert!(told.to_string().starts_with("OTEL_SDK_DISABLED: "), "{told}");
}
