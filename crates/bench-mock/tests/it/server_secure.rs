//! HTTP/2, HTTPS, keys, signatures and the headers of rate limits: over real connections, by hyper and rustls.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use std::{pin::Pin, sync::Arc, time::SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bench_mock::{
    FaultKind, FaultRule, PrefixCache, Profile, RateLimit, Stamps, TruthOutcome, TruthRecord,
    server::{AwsCredentials, Limits, Protocol, Server, ServerConfig, Tls},
};
use bytes::Bytes;
use common::{
    exact,
    raw::{Answer, Client, End, chat, post},
    said::said,
};
use http_body::{Body, Frame, SizeHint};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

fn quick(profile: Profile) -> ServerConfig {
    let profile = Profile { head_share: 0.5, ..profile.with_time_scale(0.1) };
    ServerConfig::default().map_profiles(|_| profile.clone())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A body given at once.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.take().map(|b| Ok(Frame::data(b))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |b| b.len() as u64))
    }
}

type Sender = http2::SendRequest<Whole>;

/// HTTP/2 at once, without asking first.
async fn connect<S>(socket: S) -> Sender
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends what the raw client would, over HTTP/2.
async fn send(sender: &mut Sender, raw: &[u8]) -> Result<Answer, End> {
    let text = std::str::from_utf8(raw).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let mut request = Request::builder().method(method).uri(format!("http://mock{path}"));
    for (name, value) in lines.map(|l| l.split_once(": ").unwrap()) {
        if !matches!(name, "host" | "content-length") {
            request = request.header(name, value);
        }
    }
    let request = request.body(Whole(Some(Bytes::copy_from_slice(body.as_bytes())))).unwrap();
    let response = sender.send_request(request).await.map_err(|_| End::Reset)?;
    let (parts, mut incoming) = response.into_parts();
    let (mut body, mut end) = (Vec::new(), End::Complete);
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        match frame {
            Ok(frame) => body.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => {
                end = End::Reset;
                break;
            }
        }
    }
    let headers = parts.headers.iter();
    let headers = headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
    Ok(Answer { status: parts.status.as_u16(), headers, body, end })
}

#[test]
fn http2_by_prior_knowledge_says_what_http1_says() {
    let server = quick(exact()).start().unwrap();
    run(async {
        let mut sender = connect(TcpStream::connect(server.addr()).await.unwrap()).await;
        for protocol in Protocol::ALL {
            for stream in [false, true] {
                let request = chat(protocol, "m", "r-1", stream, &json!({}));
                let answer = send(&mut sender, &request).await.unwrap();
                let addr = server.addr();
                let plain =
                    tokio::task::spawn_blocking(move || Client::connect(addr).call(&request).unwrap());
                let plain = plain.await.unwrap();
                assert_eq!((answer.status, answer.end), (200, End::Complete));
                let (found, expected) = (said(protocol, &answer, stream), said(protocol, &plain, stream));
                assert_eq!(found, expected, "{protocol}");
                assert_eq!(answer.headers["content-type"], plain.headers["content-type"]);
                assert!(!answer.headers.contains_key("connection"));
            }
        }
        let models = send(&mut sender, b"GET /v1/models HTTP/2\r\n\r\n").await.unwrap();
        assert!(models.json()["data"].is_array());
    });
    let truth = server.truth();
    let (handed, called): (Vec<_>, Vec<_>) = truth.iter().partition(|r| r.stamps == Stamps::HandOver);
    assert_eq!((handed.len(), called.len()), (8, 8));
    for r in handed {
        assert_eq!((r.tokens(), r.outcome, r.conn), (5, TruthOutcome::Complete, 1));
        assert!(r.writes.iter().zip(&r.targets_ns).all(|(w, t)| w.before >= *t));
        assert!(serde_json::to_value(r).unwrap()["stamps"] == "hand_over");
    }
}

#[test]
fn streams_of_one_connection_are_served_at_once() {
    let server = quick(exact()).start().unwrap();
    run(async {
        let sender = connect(TcpStream::connect(server.addr()).await.unwrap()).await;
        let calls = (0..50).map(|i| {
            let mut sender = sender.clone();
            async move {
                let request = chat(Protocol::OpenAi, "m", &format!("r-{i}"), true, &json!({}));
                send(&mut sender, &request).await.unwrap().status
            }
        });
        assert_eq!(futures_util::future::join_all(calls).await, [200; 50]);
    });
    let truth = server.truth();
    let first_end = truth.iter().map(|r| r.end_ns).min().unwrap();
    assert!(truth.iter().all(|r| r.arrival_ns < first_end && r.conn == 1));
}

#[test]
fn faults_and_refusals_over_http2() {
    for (kind, outcome) in [
        (FaultKind::Reset, Ok(End::Reset)),
        (FaultKind::Close, Ok(End::Reset)),
        (FaultKind::Truncate, Ok(End::Complete)),
        (FaultKind::Network, Err(End::Reset)),
        (FaultKind::RateLimit, Ok(End::Complete)),
    ] {
        let server = quick(exact().with_fault(FaultRule::always(kind).after_tokens(2))).start().unwrap();
        let found = run(async {
            let mut sender = connect(TcpStream::connect(server.addr()).await.unwrap()).await;
            send(&mut sender, &chat(Protocol::OpenAi, "m", "r", true, &json!({}))).await
        });
        assert_eq!(found.as_ref().map(|a| a.end).map_err(|e| *e), outcome, "{kind}");
        if let Ok(answer) = found {
            assert_eq!(answer.status == 429, kind == FaultKind::RateLimit);
        }
    }
    let limits = Limits { body_bytes: 100, ..Limits::default() };
    let server = ServerConfig { limits, ..quick(exact()) }.start().unwrap();
    let large = post("/v1/messages", "r", &json!({"x": "y".repeat(200)}));
    let refused = run(async {
        let mut sender = connect(TcpStream::connect(server.addr()).await.unwrap()).await;
        send(&mut sender, &large).await.unwrap().status
    });
    assert_eq!(refused, 413);
}

#[test]
fn a_client_that_drops_its_stream_is_gone() {
    let server = quick(exact().with_output_tokens(10_000)).start().unwrap();
    run(async {
        let mut sender = connect(TcpStream::connect(server.addr()).await.unwrap()).await;
        let request = chat(Protocol::OpenAi, "m", "r", true, &json!({}));
        let limit = std::time::Duration::from_millis(100);
        assert!(tokio::time::timeout(limit, send(&mut sender, &request)).await.is_err());
        // The connection lives on.
        assert_eq!(send(&mut sender, b"GET /v1/models HTTP/2\r\n\r\n").await.unwrap().status, 200);
        while server.truth_log().open() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    });
    assert_eq!(server.truth()[0].outcome, TruthOutcome::Abandoned);
}

fn trusting(pem: &str, alpn: &[&[u8]]) -> tokio_rustls::TlsConnector {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let body: String = pem.lines().filter(|l| !l.starts_with("-----")).collect();
    let mut roots = RootCertStore::empty();
    roots.add(BASE64_STANDARD.decode(body).unwrap().into()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Arc::new(config).into()
}

#[test]
fn https_with_a_certificate_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mock.pem");
    let tls = Tls { certificate_file: Some(file.clone()), names: vec!["mock.internal".into()] };
    let server = ServerConfig { tls: Some(tls), ..quick(exact()) }.start().unwrap();
    assert!(server.base_url(Protocol::OpenAi).starts_with("https://127.0.0.1:"));
    let pem = std::fs::read_to_string(&file).unwrap();
    assert_eq!(server.certificate(), Some(pem.as_str()));
    run(async {
        for (name, alpn) in
            [("127.0.0.1", &b"http/1.1"[..]), ("localhost", b"h2"), ("mock.internal", b"http/1.1")]
        {
            let socket = TcpStream::connect(server.addr()).await.unwrap();
            let name = ServerName::try_from(name).unwrap();
            let mut socket = trusting(&pem, &[alpn]).connect(name, socket).await.unwrap();
            assert_eq!(socket.get_ref().1.alpn_protocol(), Some(alpn));
            let mut request = chat(Protocol::Anthropic, "m", "r", true, &json!({}));
            let text = if alpn == b"h2" {
                let answer = send(&mut connect(socket).await, &request).await.unwrap();
                assert_eq!(said(Protocol::Anthropic, &answer, true).text.split(' ').count(), 5);
                answer.text().to_owned()
            } else {
                let close = b"connection: close\r\n";
                let at = request.windows(2).position(|w| w == b"\r\n").unwrap() + 2;
                request.splice(at..at, close.iter().copied());
                socket.write_all(&request).await.unwrap();
                let mut answer = String::new();
                socket.read_to_string(&mut answer).await.expect("it ends as TLS wants it");
                answer
            };
            assert!(text.contains("message_stop"), "{text}");
        }
        // A stranger to the certificate does not come in.
        let socket = TcpStream::connect(server.addr()).await.unwrap();
        let other = ServerName::try_from("elsewhere.example").unwrap();
        assert!(trusting(&pem, &[]).connect(other, socket).await.is_err());
    });
    assert_eq!(server.truth().iter().map(TruthRecord::tokens).sum::<u64>(), 15);
}

/// A Converse request, signed by AWS's code as a client would.
fn signed(server: &Server, key: &str, secret: &str, token: Option<&str>) -> Vec<u8> {
    let identity = Credentials::new(key, secret, token.map(str::to_owned), None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("bedrock")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}).to_string();
    let path = "/model/us.anthropic.claude-v1%3A0/converse";
    let host = server.addr().to_string();
    let headers = [("content-type", "application/json"), ("x-request-id", "r"), ("host", host.as_str())];
    let request = SignableRequest::new(
        "POST",
        format!("http://{host}{path}"),
        headers.into_iter(),
        SignableBody::Bytes(body.as_bytes()),
    )
    .unwrap();
    let instructions = sign(request, &params).unwrap().into_parts().0;
    let mut lines = String::new();
    for (name, value) in headers.into_iter().chain(instructions.headers()) {
        lines.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("POST {path} HTTP/1.1\r\n{lines}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[track_caller]
fn check_bedrock(server: &Server, request: &[u8], status: u16, kind: Option<&str>) {
    let answer = Client::connect(server.addr()).call(request).unwrap();
    assert_eq!(answer.status, status, "{}", answer.text());
    let found = answer.headers.get("x-amzn-errortype").map(|k| k.split(':').next().unwrap());
    assert_eq!(found, kind);
    if kind.is_some() {
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(!message.is_empty() && !message.contains("secret"), "{message}");
    }
}

fn with_header(mut request: Vec<u8>, header: &str) -> Vec<u8> {
    let at = request.windows(2).position(|w| w == b"\r\n").unwrap() + 2;
    request.splice(at..at, format!("{header}\r\n").bytes());
    request
}

#[test]
fn signatures_are_checked_where_a_secret_is_configured() {
    let pair = AwsCredentials::new("AKIDEXAMPLE", "secret-1");
    assert!(!format!("{pair:?}").contains("secret-1"));
    let server = ServerConfig { aws_credentials: Some(pair), ..quick(exact()) }.start().unwrap();
    check_bedrock(&server, &signed(&server, "AKIDEXAMPLE", "secret-1", None), 200, None);
    check_bedrock(&server, &signed(&server, "AKIDEXAMPLE", "secret-1", Some("session")), 200, None);
    let wrong = signed(&server, "AKIDEXAMPLE", "secret-2", None);
    check_bedrock(&server, &wrong, 403, Some("InvalidSignatureException"));
    let stranger = signed(&server, "AKIDSTRANGER", "secret-1", None);
    check_bedrock(&server, &stranger, 403, Some("UnrecognizedClientException"));
    let mut changed = signed(&server, "AKIDEXAMPLE", "secret-1", None);
    let at = changed.windows(5).position(|w| w == b"hello").unwrap();
    changed[at] = b'H';
    check_bedrock(&server, &changed, 403, Some("InvalidSignatureException"));
    let plain = || chat(Protocol::Bedrock, "m", "r", false, &json!({}));
    check_bedrock(&server, &plain(), 403, Some("MissingAuthenticationTokenException"));
    // Bedrock's API keys are bearer tokens.
    check_bedrock(&server, &with_header(plain(), "authorization: Bearer bedrock-api-key-1"), 200, None);
    let answer =
        Client::connect(server.addr()).call(&with_header(plain(), "authorization: Bearer bad-key")).unwrap();
    assert_eq!(answer.status, 403);
    // The other protocols know nothing of it.
    let request = chat(Protocol::OpenAi, "m", "r", false, &json!({}));
    assert_eq!(Client::connect(server.addr()).call(&request).unwrap().status, 200);

    // Without a secret any signature will do, as long as it looks like one.
    let server = quick(exact()).start().unwrap();
    check_bedrock(&server, &signed(&server, "ANY", "thing", None), 200, None);
    check_bedrock(&server, &plain(), 200, None);
    let cut = with_header(plain(), "authorization: AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request");
    check_bedrock(&server, &cut, 403, Some("IncompleteSignatureException"));
}

fn ask(server: &Server, protocol: Protocol, more: &Value) -> Answer {
    Client::connect(server.addr()).call(&chat(protocol, "m", "r", false, more)).unwrap()
}

#[track_caller]
fn has(answer: &Answer, rows: &[(&str, &str)]) {
    for (name, value) in rows {
        assert_eq!(answer.headers.get(*name).map(String::as_str), Some(*value), "{name}");
    }
}

#[test]
fn limit_headers_tell_how_the_buckets_stand() {
    let limit = RateLimit { tokens_per_min: Some(1_000.0), ..RateLimit::requests(0.001, 3.0) };
    let server = quick(Profile { rate_limit: Some(limit), ..exact() }).start().unwrap();
    for remaining in ["2", "1", "0"] {
        let answer = ask(&server, Protocol::OpenAi, &json!({"max_tokens": 100}));
        let rows = [
            ("x-ratelimit-limit-requests", "3"),
            ("x-ratelimit-remaining-requests", remaining),
            ("x-ratelimit-limit-tokens", "1000"),
        ];
        has(&answer, &rows);
        assert_eq!(answer.status, 200);
    }
    let refused = ask(&server, Protocol::OpenAi, &json!({}));
    assert_eq!(refused.status, 429);
    has(&refused, &[("x-ratelimit-remaining-requests", "0")]);
    // 1000 s a request: 16 min 40 s less what has passed; three of them until it is full.
    assert!(refused.headers["x-ratelimit-reset-requests"].starts_with("49m5"), "{:?}", refused.headers);
    let wait: u64 = refused.headers["retry-after"].parse().unwrap();
    assert!((900..=1_000).contains(&wait));

    let limit = RateLimit {
        input_tokens_per_min: Some(500.0),
        output_tokens_per_min: Some(200.0),
        ..RateLimit::per_minute(50.0)
    };
    let server = quick(Profile { rate_limit: Some(limit), ..exact() }).start().unwrap();
    let answer = ask(&server, Protocol::Anthropic, &json!({}));
    has(
        &answer,
        &[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-input-tokens-limit", "500"),
            ("anthropic-ratelimit-input-tokens-remaining", "498"),
            ("anthropic-ratelimit-output-tokens-remaining", "195"),
            ("anthropic-ratelimit-tokens-limit", "700"),
        ],
    );
    let reset = &answer.headers["anthropic-ratelimit-requests-reset"];
    assert!(reset.len() == 20 && reset.ends_with('Z'), "{reset}");

    // Without limits: the usual ones, of which this request is used. The others have no such headers.
    let server = quick(exact()).start().unwrap();
    has(&ask(&server, Protocol::OpenAi, &json!({})), &[("x-ratelimit-remaining-requests", "9999")]);
    for protocol in [Protocol::Bedrock, Protocol::Ollama] {
        assert!(!ask(&server, protocol, &json!({})).headers.keys().any(|k| k.contains("ratelimit")));
    }
}

#[test]
fn marked_prompts_are_created_and_read_and_automatic_ones_are_read() {
    let cache = |cache| quick(Profile { prefix_cache: Some(cache), ..exact() }).start().unwrap();
    let server = cache(PrefixCache { min_tokens: 100, ..PrefixCache::marked() });
    let control = json!({"type": "ephemeral"});
    let system = json!([{"type": "text", "text": "s".repeat(800), "cache_control": control}]);
    let usage = |more: &Value| ask(&server, Protocol::Anthropic, more).json()["usage"].clone();
    let (first, second) = (usage(&json!({"system": system})), usage(&json!({"system": system})));
    let counts = |u: &Value| {
        let n = |field: &str| u[field].as_u64().unwrap_or(0);
        (n("cache_creation_input_tokens"), n("cache_read_input_tokens"), n("input_tokens"))
    };
    assert_eq!((counts(&first), counts(&second)), ((200, 0, 2), (0, 200, 2)), "{first} {second}");

    let server = cache(PrefixCache::default());
    let messages = json!([{"role": "user", "content": "u".repeat(800)}]);
    let more = json!({"messages": messages});
    let cached = |answer: Answer| answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"].clone();
    assert_eq!(cached(ask(&server, Protocol::OpenAi, &more)), 0);
    assert_eq!(cached(ask(&server, Protocol::OpenAi, &more)), 192);
}
