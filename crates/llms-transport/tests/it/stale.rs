//! The stale-connection table: what happens when a server gives up a connection that was kept alive.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use llms_core::{CallPhase, ErrorCode};
use llms_transport::Options;

use crate::{
    client::{both, get, post},
    server::{OK, Peer, Server},
};

/// Ten calls, one after another, all of which must succeed. Returns how many were marked resent.
async fn ten(name: &str, transport: &dyn llms_core::wire::Transport, server: &Server) -> usize {
    let mut resent = 0;
    for n in 0..10 {
        let body = format!("request {n}");
        let (got, timeline) = post(transport, &server.url("/"), body).await.ok();
        assert_eq!((got.status, got.payload.as_slice()), (200, &b"ok"[..]), "{name} {n}");
        if timeline.resent {
            assert_eq!(
                timeline.connection.reused,
                Some(false),
                "{name} {n}: the second copy is on a fresh one"
            );
            resent += 1;
        }
    }
    resent
}

#[tokio::test]
async fn a_server_that_closes_after_each_reply_costs_nothing() {
    const STREAM: &str = "HTTP/1.1 200 OK\r\nkeep-alive: timeout=5\r\nconnection: keep-alive\r\n\
        transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    // The second is what llama.cpp's server does after a stream.
    for answer in [OK, STREAM] {
        for (name, transport) in both(&Options::default()) {
            let server = Server::start(move |peer| {
                if peer.request().is_some() {
                    peer.send(answer);
                }
            });
            ten(name, &*transport, &server).await;
            // One that gives up unnoticed receives the second copy on another connection; none is lost.
            assert_eq!(server.requests(), 10, "{name}");
        }
    }
}

/// Serves one request per connection, and drops the second after reading it, in whole or in part.
fn drops_the_second(whole: bool) -> (Server, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let counter = dropped.clone();
    let server = Server::start(move |peer: &mut Peer| {
        if peer.request().is_none() {
            return;
        }
        peer.send(OK);
        // With the body unread the close is a reset.
        if if whole { peer.request().is_some() } else { peer.head().is_some() } {
            counter.fetch_add(1, SeqCst);
        }
    });
    (server, dropped)
}

#[tokio::test]
async fn a_server_that_closes_on_receipt_gets_the_request_again() {
    for whole in [true, false] {
        for (name, transport) in both(&Options::default()) {
            let (server, dropped) = drops_the_second(whole);
            let resent = ten(name, &*transport, &server).await;
            assert_eq!(resent, dropped.load(SeqCst), "{name}: every dropped request is marked, no other");
            // `direct` keeps the fresh connection, so that all but the first meet a stale one.
            assert_eq!(resent, if name == "direct" { 9 } else { 5 }, "{name}");
        }
    }
}

#[tokio::test]
async fn the_second_copy_is_the_same_request() {
    for (name, transport) in both(&Options::default()) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let server = Server::start(move |peer| {
            for served in 0.. {
                let Some(request) = peer.request() else { return };
                log.lock().unwrap().push((request.head, request.body));
                if peer.number == 0 && served == 1 {
                    return;
                }
                peer.send(OK);
            }
        });
        post(&*transport, &server.url("/first"), "a").await.ok();
        let (_, timeline) = post(&*transport, &server.url("/second?x=y"), "b".repeat(100_000)).await.ok();
        assert!(timeline.resent, "{name}");
        let seen = seen.lock().unwrap();
        assert_eq!((seen.len(), &seen[1]), (3, &seen[2]), "{name}");
        assert!(seen[2].0.starts_with("POST /second?x=y HTTP/1.1\r\n") && seen[2].1.len() == 100_000);
    }
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_an_error() {
    for (name, transport) in both(&Options::default()) {
        let server = Server::start(|peer| {
            peer.request();
        });
        let called = get(&*transport, &server.url("/")).await;
        let error = called.result.unwrap_err();
        assert_eq!(
            (error.code(), error.phase()),
            (ErrorCode::NetworkError, Some(CallPhase::Headers)),
            "{name}: {error}"
        );
        assert!(error.message().contains("closed the connection without an answer"), "{name}: {error}");
        assert!(!called.timeline.resent, "{name}");
        assert_eq!(server.requests(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_request_is_sent_twice_at_most() {
    for (name, transport) in both(&Options::default()) {
        let server = Server::start(|peer| {
            if peer.request().is_some() && peer.number == 0 {
                peer.send(OK);
                peer.request();
            }
        });
        get(&*transport, &server.url("/")).await.ok();
        let called = get(&*transport, &server.url("/")).await;
        assert_eq!(called.result.unwrap_err().code(), ErrorCode::NetworkError, "{name}");
        assert!(called.timeline.resent, "{name}");
        assert_eq!((server.connections(), server.requests()), (2, 3), "{name}");
    }
}

/// `direct` only: hyper does not tell reqwest whether a byte had come.
#[tokio::test]
async fn after_a_byte_nothing_is_sent_again() {
    for partial in ["H", "HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let server = Server::start(move |peer| {
            if peer.request().is_some() {
                peer.send(OK);
                peer.request();
                peer.send(partial);
            }
        });
        let transport = llms_transport::direct();
        get(&transport, &server.url("/")).await.ok();
        let called = get(&transport, &server.url("/")).await;
        let error = called.result.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NetworkError, "{error}");
        assert!(error.message().contains("closed the connection within the headers"), "{error}");
        assert!(!called.timeline.resent);
        assert_eq!(server.requests(), 2);
    }
}
