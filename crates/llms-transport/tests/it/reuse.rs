//! When a connection is kept, and when it is not.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use http::Method;
use llms_core::wire::Transport;
use llms_transport::{ConnectionPolicy, Direct, Options, direct};

use crate::{
    client::{both, get, observed, post, request, send},
    server::{OK, Server},
};

/// Sends two requests; expects them to take this many connections.
#[track_caller]
fn check(answer: &str, method: Method, connections: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, transport) in both(&Options::default()) {
        let server = Server::answering(answer.replace('\n', "\r\n"));
        runtime.block_on(async {
            for n in 0..2 {
                let called = send(&*transport, request(method.clone(), &server.url("/"), "")).await;
                let (_, timeline) = called.ok();
                assert_eq!(timeline.connection.reused, Some(n == 1 && connections == 1), "{name} {n}");
                assert!(!timeline.resent, "{name}");
                // hyper gives a connection back from a task of its own.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        assert_eq!(server.connections(), connections, "{name}: {answer}");
    }
}

#[test]
fn a_complete_answer_leaves_the_connection_usable() {
    check(&OK.replace("\r\n", "\n"), Method::GET, 1);
    check("HTTP/1.1 200 OK\ncontent-length: 0\n\n", Method::POST, 1);
    check("HTTP/1.1 204 No Content\n\n", Method::DELETE, 1);
    check("HTTP/1.1 200 OK\ncontent-length: 500\n\n", Method::HEAD, 1);
    check("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2\nok\n0\n\n", Method::GET, 1);
    check("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\ncontent-length: 2\n\nok", Method::POST, 1);
    check("HTTP/1.0 200 OK\nconnection: keep-alive\ncontent-length: 2\n\nok", Method::GET, 1);
}

#[test]
fn connection_close_is_obeyed() {
    check("HTTP/1.1 200 OK\nconnection: close\ncontent-length: 2\n\nok", Method::GET, 2);
    check("HTTP/1.0 200 OK\ncontent-length: 2\n\nok", Method::GET, 2);
}

/// Not for hyper, which takes what follows an answer for the beginning of the next.
#[tokio::test]
async fn bytes_behind_an_answer_end_the_connection() {
    let transport = direct();
    for answer in [
        format!("{OK}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
        "HTTP/1.1 204 No Content\r\n\r\nevil".to_owned(),
    ] {
        let server = Server::answering(answer);
        for _ in 0..2 {
            let (got, timeline) = get(&transport, &server.url("/")).await.ok();
            assert!(!got.payload.ends_with(b"evil"));
            assert_eq!(timeline.connection.reused, Some(false));
        }
        assert_eq!(transport.idle(), 0);
    }
}

#[tokio::test]
async fn a_server_that_speaks_unasked_is_not_trusted() {
    let transport = direct();
    let server = Server::start(|peer| {
        peer.request();
        peer.send(OK);
        // Behind the answer, in a packet of its own: an idle time-out notice, as some servers send.
        std::thread::sleep(std::time::Duration::from_millis(10));
        peer.send("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n");
        peer.finish();
    });
    get(&transport, &server.url("/")).await.ok();
    assert_eq!(transport.idle(), 1);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let (got, timeline) = get(&transport, &server.url("/")).await.ok();
    assert_eq!((got.status, timeline.connection.reused, timeline.resent), (200, Some(false), false));
}

#[tokio::test]
async fn a_new_connection_per_request_when_asked() {
    let options = Options { policy: ConnectionPolicy::NewPerRequest, ..Options::default() };
    for (name, transport) in both(&options) {
        assert_eq!(transport.info().connections, "new connection per request");
        let server = Server::start(|peer| {
            while let Some(request) = peer.request() {
                let closes = request.head.to_lowercase().contains("\r\nconnection: close");
                peer.send(if closes { OK } else { "HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n" });
            }
        });
        transport.open(&server.url("/").parse().unwrap(), 4).await.unwrap();
        for _ in 0..3 {
            let (got, timeline) = get(&*transport, &server.url("/")).await.ok();
            assert_eq!((got.status, timeline.connection.reused), (200, Some(false)), "{name}");
        }
        assert_eq!(server.connections(), 3, "{name}");
    }
}

#[tokio::test]
async fn connections_opened_before_are_used() {
    let server = Server::answering(OK);
    let transport = direct();
    transport.open(&server.url("/ignored").parse().unwrap(), 100).await.unwrap();
    assert_eq!(transport.idle(), 100);
    // Those that exist count.
    transport.open(&server.url("/").parse().unwrap(), 100).await.unwrap();
    assert_eq!(transport.idle(), 100);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (transport, url) = (transport.clone(), server.url("/"));
            tokio::spawn(async move { get(&transport, &url).await.ok().1 })
        })
        .collect();
    for call in calls {
        let timeline = call.await.unwrap();
        let c = &timeline.connection;
        assert_eq!((c.reused, c.dns, c.tcp, c.tls), (Some(true), None, None, None));
    }
    assert_eq!((server.connections(), transport.idle()), (100, 100));
}

/// By name too, and a second time only what is missing; the requests find DNS, TCP and the handshake done.
#[tokio::test]
async fn t012_connections_to_a_name_are_opened_in_advance() {
    let server = Server::answering(OK);
    let transport = direct();
    let url = format!("http://localhost:{}/", server.address.port());
    for wanted in [5, 5, 8] {
        transport.open(&url.parse().unwrap(), wanted).await.unwrap();
        assert_eq!(transport.idle(), wanted);
    }
    let (_, timeline) = get(&transport, &url).await.ok();
    let c = &timeline.connection;
    assert_eq!((c.reused, c.dns, c.tcp, c.tls), (Some(true), None, None, None));
    let counted = transport.counters().unwrap();
    assert_eq!((counted.opened, counted.reused), (8, 1), "{counted:?}");
}

#[tokio::test]
async fn idle_connections_are_bounded() {
    let server = Server::answering(OK);
    let transport = Direct::new(Options { max_idle_per_host: 2, ..Options::default() });
    transport.open(&server.url("/").parse().unwrap(), 9).await.unwrap();
    assert_eq!(transport.idle(), 2);
}

/// The server must learn at once that nobody listens any more, or it would go on generating.
#[tokio::test]
async fn a_body_dropped_early_closes_the_connection() {
    for (name, transport) in both(&Options::default()) {
        let closed = Arc::new(AtomicBool::new(false));
        let flag = closed.clone();
        let server = Server::start(move |peer| {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
            flag.store(peer.wait_for_close(), SeqCst);
        });
        let (ctx, _) = observed();
        let mut reply = transport.send(request(Method::POST, &server.url("/"), "{}"), &ctx).await.unwrap();
        let mut payload = Vec::new();
        poll_fn(|cx| reply.body.poll_read(cx, &mut payload)).await.unwrap().unwrap();
        assert_eq!(payload, b"hello");
        drop(reply);
        for _ in 0..500 {
            if closed.load(SeqCst) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(closed.load(SeqCst), "{name}");
    }
}

#[tokio::test]
async fn the_host_gets_what_was_meant_for_it() {
    for (name, transport) in both(&Options::default()) {
        let server = Server::start(|peer| {
            while let Some(request) = peer.request() {
                let head = request.head.to_lowercase();
                let length = request.body.len();
                let expected = [
                    "post /v1/x?a=%20b http/1.1\r\n".to_owned(),
                    "\r\nhost: 127.0.0.1:".to_owned(),
                    format!("\r\ncontent-length: {length}"),
                    "\r\nuser-agent: llms-bench/".to_owned(),
                ];
                let good = expected.iter().all(|e| head.contains(e)) && !head.contains("accept-encoding");
                peer.send(if good { OK } else { "HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n" });
            }
        });
        let (got, timeline) = post(&*transport, &server.url("/v1/x?a=%20b"), "{}").await.ok();
        assert_eq!(got.status, 200, "{name}");
        assert_eq!(timeline.connection.protocol.as_deref(), Some("HTTP/1.1"), "{name}");
    }
}
