//! Over real sockets, with both transports: what arrives is signed as AWS would check it, what is answered is read,
//! stamped in order, and the connection is used again.

// Helpers may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use llms_core::{
    CallContext, ChatModel, ChatModelExt, ChatRequest, ErrorCode, TimedEvent, config::ModelConfig,
    observe::Timeline, wire::Transport,
};
use llms_providers_bedrock::{Config, Model, model};
use support::{
    recordings, short_stream,
    sigv4::{Arrived, check_with_vectors},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// One answer: head without framing, and the pieces of the body, each flushed alone.
#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    pieces: Vec<Vec<u8>>,
}

/// Answers every request with what `reply` makes of it and reports what arrived.
struct Server {
    address: String,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    connections: Arc<AtomicU32>,
}

impl Server {
    async fn start(reply: impl Fn(&Arrived) -> Reply + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (tell, arrived) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicU32::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Relaxed);
                tokio::spawn(serve(socket, reply.clone(), tell.clone()));
            }
        });
        Self { address, arrived, connections }
    }

    async fn model(&self, transport: Arc<dyn Transport>, model_id: &str) -> Model {
        let env = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some("AKIDEXAMPLE".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
            "AWS_SESSION_TOKEN" => Some("session/token+1=".to_owned()),
            _ => None,
        };
        let mut config = ModelConfig::new("bedrock", model_id).with_base_url(&self.address);
        config.headers.insert("x-team".to_owned(), "a".to_owned());
        model(Config::new(&config, &env).unwrap(), transport).await.unwrap()
    }
}

async fn serve(socket: TcpStream, reply: impl Fn(&Arrived) -> Reply, tell: mpsc::UnboundedSender<Arrived>) {
    let mut socket = BufReader::new(socket);
    loop {
        let mut arrived = Arrived::default();
        let mut line = String::new();
        if socket.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split(' ');
        arrived.method = words.next().unwrap().to_owned();
        arrived.target = words.next().unwrap().to_owned();
        loop {
            line.clear();
            socket.read_line(&mut line).await.unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            arrived.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = arrived.header("content-length").unwrap().parse().unwrap();
        arrived.body.resize(length, 0);
        socket.read_exact(&mut arrived.body).await.unwrap();
        let reply = reply(&arrived);
        tell.send(arrived).unwrap();
        let mut head = format!("HTTP/1.1 {} X\r\ntransfer-encoding: chunked\r\n", reply.status);
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let out = socket.get_mut();
        out.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        for piece in &reply.pieces {
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend_from_slice(piece);
            chunk.extend_from_slice(b"\r\n");
            if out.write_all(&chunk).await.is_err() {
                return;
            }
            out.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        if out.write_all(b"0\r\n\r\n").await.is_err() {
            return;
        }
    }
}

fn transports() -> Vec<Arc<dyn Transport>> {
    vec![Arc::new(llms_transport::direct()), Arc::new(llms_transport::pooled().unwrap())]
}

fn on_sockets<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn the_witness_agrees_with_aws_vectors() {
    check_with_vectors();
}

#[test]
fn what_arrives_is_signed_and_the_connection_is_used_again() {
    on_sockets(async {
        for transport in transports() {
            let mut server = Server::start(|_| Reply {
                status: 200,
                headers: vec![("x-amzn-requestid".to_owned(), "id-1".to_owned())],
                pieces: short_stream(),
            })
            .await;
            let name = transport.info().name;
            for model_id in ["amazon.nova-micro-v1:0", "arn:aws:bedrock:us-east-1:1:inference-profile/us.x~y"]
            {
                let model = server.model(transport.clone(), model_id).await;
                let timeline = Timeline::new();
                let ctx =
                    CallContext::new().with_observer(Arc::new(timeline.clone())).with_request_id("request-1");
                let mut events: Vec<TimedEvent> = Vec::new();
                let outcome = model.drive(&ChatRequest::text("Grüße"), &ctx, &mut events).await.expect(&name);
                assert_eq!(outcome.usage.unwrap().output_tokens, Some(2));
                let seen = timeline.take();
                let stamps: Vec<_> = events.iter().map(|e| e.stamp).collect();
                assert!(stamps.is_sorted_by_key(|s| (s.read, s.user)), "{name}: {stamps:?}");
                let sent = seen.sent.unwrap();
                assert!(sent <= seen.headers.unwrap().user && seen.headers.unwrap().user <= stamps[0].user);
                assert!(stamps.last().unwrap().user <= seen.end.unwrap());
                let arrived = server.arrived.recv().await.unwrap();
                assert!(arrived.is_signed_with(SECRET, true), "{name}: {arrived:?}");
                assert!(!Arrived { body: b"{}".to_vec(), ..arrived.clone() }.is_signed_with(SECRET, true));
                assert_eq!(arrived.header("x-request-id"), Some("request-1"));
                assert_eq!(arrived.header("x-team"), Some("a"));
                assert_eq!(arrived.header("x-amz-security-token"), Some("session/token+1="));
            }
            assert_eq!(server.connections.load(Relaxed), 1, "{name}: one connection for both");
        }
    });
}

#[test]
fn recordings_read_the_same_over_sockets() {
    on_sockets(async {
        for transport in transports() {
            for recording in recordings() {
                let pieces = recording.answer.clone().split(&[97, 1, 512]).reads;
                let status = recording.answer.status;
                let server =
                    Server::start(move |_| Reply { status, headers: Vec::new(), pieces: pieces.clone() })
                        .await;
                let model = server.model(transport.clone(), "m").await;
                let (request, ctx) = (ChatRequest::text("?"), CallContext::new());
                let response = if recording.stream {
                    model.collect(&request, &ctx).await
                } else {
                    model.generate(&request, &ctx).await
                };
                match recording.expected["text"].as_str() {
                    Some(text) => assert_eq!(response.expect(&recording.id).text, text, "{}", recording.id),
                    None => assert_eq!(response.unwrap_err().code(), ErrorCode::ModelNotAvailable),
                }
            }
        }
    });
}

#[test]
fn an_unreachable_server_is_a_network_error() {
    on_sockets(async {
        for transport in transports() {
            let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let config = ModelConfig::new("bedrock", "m").with_base_url(format!("http://{free}"));
            let model = model(Config::new(&config, &|_| None).unwrap(), transport).await.unwrap();
            let error = model.generate(&ChatRequest::text("?"), &CallContext::new()).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::NetworkError);
            assert_eq!(error.phase(), Some(llms_core::CallPhase::Connect));
        }
    });
}
