//! TLS on loopback with a certificate made for the test: phases, reuse, stamps below TLS, refusals.

use std::{net::SocketAddr, sync::Arc};

use llms_core::{CallPhase, ErrorCode, wire::Transport};
use llms_transport::{Options, Roots, direct};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    client::{both, get},
    server::{OK, Server},
};

/// How the server ends a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// Serves until the client leaves.
    Never,
    /// After each answer, with a `close_notify`.
    Polite,
    /// After each answer, by closing the socket.
    Rude,
}

pub(crate) struct Tls {
    address: SocketAddr,
    pub(crate) options: Options,
}

impl Tls {
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/", self.address.port())
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, answer: Arc<Vec<u8>>, goodbye: Goodbye) {
    stream.set_nodelay(true).unwrap();
    let Ok(mut stream): Result<TlsStream<TcpStream>, _> = acceptor.accept(stream).await else { return };
    let mut buf = Vec::new();
    while stream.read_buf(&mut buf).await.is_ok_and(|n| n > 0) {
        if !buf.ends_with(b"\r\n\r\n") {
            continue;
        }
        buf.clear();
        let _ = stream.write_all(&answer).await;
        let _ = stream.flush().await;
        match goodbye {
            Goodbye::Never => {}
            Goodbye::Polite => return drop(stream.shutdown().await),
            Goodbye::Rude => return,
        }
    }
}

/// A server for `localhost` on 127.0.0.1, and options that trust it.
pub(crate) async fn start(answer: impl Into<Vec<u8>>, goodbye: Goodbye) -> Tls {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = Roots::default();
    roots.add_der(key.cert.der().to_vec()).unwrap();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], secret)
            .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer.into());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, acceptor.clone(), answer.clone(), goodbye));
        }
    });
    Tls { address, options: Options { roots, ..Options::default() } }
}

#[tokio::test]
async fn a_trusted_server_is_reached_and_its_connection_kept() {
    let server = start(OK, Goodbye::Never).await;
    for (name, transport) in both(&server.options) {
        for n in 0..3 {
            let (got, timeline) = get(&*transport, &server.url()).await.ok();
            assert_eq!(got.payload, b"ok", "{name}");
            assert_eq!(timeline.connection.reused, Some(n > 0), "{name} {n}");
            if name == "direct" {
                let c = &timeline.connection;
                assert_eq!((c.dns.is_some(), c.tcp.is_some(), c.tls.is_some()), (n == 0, n == 0, n == 0));
                assert_eq!(got.stamps.iter().map(|s| s.read).collect::<Vec<_>>(), [0, 0]);
                if let (Some(tcp), Some(tls)) = (c.tcp, c.tls) {
                    assert!([tcp.end, tls.start, tls.end, timeline.written.unwrap()].is_sorted());
                }
            }
            // hyper gives a connection back from a task of its own.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// Session tickets wait unread on a connection opened in advance: that is no reason to discard it.
#[tokio::test]
async fn a_connection_opened_before_survives_its_session_tickets() {
    let server = start(OK, Goodbye::Never).await;
    let transport = llms_transport::Direct::new(server.options.clone());
    transport.open(&server.url().parse().unwrap(), 3).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let (_, timeline) = get(&transport, &server.url()).await.ok();
    assert_eq!((timeline.connection.reused, timeline.resent), (Some(true), false));
}

#[tokio::test]
async fn a_server_that_closes_after_each_reply_costs_nothing() {
    for goodbye in [Goodbye::Polite, Goodbye::Rude] {
        let server = start(OK, goodbye).await;
        for (name, transport) in both(&server.options) {
            for _ in 0..10 {
                let (got, _) = get(&*transport, &server.url()).await.ok();
                assert_eq!(got.payload, b"ok", "{name}");
            }
        }
    }
}

/// Decrypted bytes are numbered by the socket read that brought them.
#[tokio::test]
async fn reads_are_counted_below_tls() {
    let body = "x".repeat(300_000);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = start(answer, Goodbye::Never).await;
    let (got, _) = get(&llms_transport::Direct::new(server.options.clone()), &server.url()).await.ok();
    assert_eq!(got.counters.bytes, 300_000);
    assert!(got.stamps.is_sorted_by(|a, b| (a.read, a.user) <= (b.read, b.user)));
    let mut numbers: Vec<_> = got.stamps[1..].iter().map(|s| s.read).collect();
    numbers.dedup();
    assert_eq!(got.counters.reads as usize, numbers.len());
}

/// A body without a length that ends without `close_notify` may have been cut by anybody.
#[tokio::test]
async fn a_body_cut_below_tls_is_not_complete() {
    for answer in ["HTTP/1.1 200 OK\r\n\r\nuntil", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nuntil"] {
        let server = start(answer, Goodbye::Rude).await;
        for (name, transport) in both(&server.options) {
            let got = get(&*transport, &server.url()).await.result.unwrap();
            assert_eq!(got.end.expect_err(name).code(), ErrorCode::StreamClosed, "{name}");
        }
    }
    let server = start("HTTP/1.1 200 OK\r\n\r\nuntil", Goodbye::Polite).await;
    for (name, transport) in both(&server.options) {
        assert_eq!(get(&*transport, &server.url()).await.ok().0.payload, b"until", "{name}");
    }
}

#[track_caller]
fn refused(error: &llms_core::Error, says: &str, name: &str) {
    assert_eq!(
        (error.code(), error.phase()),
        (ErrorCode::NetworkError, Some(CallPhase::Connect)),
        "{name}: {error:?}"
    );
    assert!(error.message().contains("TLS handshake") && error.message().contains(says), "{name}: {error}");
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_said() {
    let server = start(OK, Goodbye::Never).await;
    for (name, transport) in both(&Options::default()) {
        let error = get(&*transport, &server.url()).await.result.expect_err(name);
        refused(&error, "trust that one too", name);
    }
    for (name, transport) in both(&server.options) {
        let by_address = format!("https://{}/", server.address);
        let error = get(&*transport, &by_address).await.result.expect_err(name);
        refused(&error, "use the name the certificate was issued for", name);
    }
    let plain = Server::start(|peer| {
        peer.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        peer.finish();
    });
    for (name, transport) in both(&server.options) {
        let error = get(&*transport, &format!("https://{}/", plain.address)).await.result.expect_err(name);
        refused(&error, "use http:// in its URL", name);
    }
    let error = get(&direct(), &format!("http://{}/", server.address)).await.result.unwrap_err();
    assert!(error.message().contains("use https:// in its URL"), "{error}");
}
