//! Bodies over real sockets: payload, stamps, and how they fail.

use std::{
    future::poll_fn,
    sync::{Mutex, mpsc},
    time::Duration,
};

use http::Method;
use llms_core::{
    ErrorCode,
    wire::{BodyCounters, Transport},
};
use llms_transport::{Options, direct};

use crate::{
    client::{both, get, observed, post, request},
    server::Server,
};

#[tokio::test]
async fn every_read_has_its_stamp() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let server = Server::start(move |peer| {
        let wait = wait.lock().unwrap();
        peer.request();
        // The head and the first two chunks in one packet; then each when the client has read the last.
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n");
        for bytes in ["2\r\nef\r\n", "2\r\ngh\r\n0\r\n\r\n"] {
            wait.recv().unwrap();
            peer.send(bytes);
        }
        peer.wait_for_close();
    });
    let transport = direct();
    let (ctx, timeline) = observed();
    let before = ctx.now();
    let mut reply = transport.send(request(Method::GET, &server.url("/"), ""), &ctx).await.unwrap();
    let mut payload = Vec::new();
    let mut stamps = vec![reply.head];
    for expected in ["abcd", "abcdef", "abcdefgh"] {
        stamps.push(poll_fn(|cx| reply.body.poll_read(cx, &mut payload)).await.unwrap().unwrap());
        assert_eq!(String::from_utf8_lossy(&payload), expected);
        let _ = go.send(());
    }
    assert_eq!(poll_fn(|cx| reply.body.poll_read(cx, &mut payload)).await.unwrap(), None);
    assert_eq!(reply.body.counters(), BodyCounters { bytes: 8, reads: 3 });
    // What came with the head shares its read and its stamp.
    assert_eq!(stamps.iter().map(|s| s.read).collect::<Vec<_>>(), [0, 0, 1, 2]);
    assert_eq!(stamps[0], stamps[1]);
    assert!(stamps.windows(2).all(|w| w[0].user <= w[1].user));

    let t = timeline.take();
    let tcp = t.connection.tcp.unwrap();
    let order = [before, tcp.start, tcp.end, t.written.unwrap(), stamps[0].user, stamps[3].user, ctx.now()];
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!((t.connection.dns, t.connection.tls), (None, None));
    assert_eq!((t.status, t.headers), (Some(200), Some(stamps[0])));
    let head = format!("GET / HTTP/1.1\r\nhost: {}\r\nuser-agent: llms-bench/0.1.0\r\n\r\n", server.address);
    assert_eq!(t.bytes_out, Some(head.len() as u64));
}

#[tokio::test]
async fn a_read_of_framing_alone_is_no_news() {
    let server = Server::start(|peer| {
        peer.request();
        for bytes in [
            "HTTP/1.1 200 OK\r\ntransfer-enc",
            "oding: chunked\r\n\r\n",
            "5",
            ";x\r",
            "\nhello",
            "\r\n0\r\n",
            "\r\n",
        ] {
            peer.send(bytes);
            std::thread::sleep(Duration::from_millis(5));
        }
        peer.wait_for_close();
    });
    let transport = direct();
    let (got, _) = get(&transport, &server.url("/")).await.ok();
    assert_eq!(got.payload, b"hello");
    assert_eq!((got.stamps.len(), got.counters), (2, BodyCounters { bytes: 5, reads: 1 }));
    assert!(got.stamps[1].read > 0);
    assert_eq!(transport.idle(), 1);
}

/// The server sends `answer` and closes. Both transports must deliver `payload` and then fail alike.
#[track_caller]
fn fails(answer: &str, payload: &str, code: ErrorCode, direct_says: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, transport) in both(&Options::default()) {
        let server = Server::answering_once(answer.replace('\n', "\r\n"));
        let called = runtime.block_on(get(&*transport, &server.url("/")));
        let (delivered, error) = match called.result {
            Ok(got) => (got.payload, got.end.expect_err(name)),
            Err(e) => (Vec::new(), e),
        };
        assert_eq!(error.code(), code, "{name}: {error}");
        if name == "direct" {
            assert_eq!(String::from_utf8_lossy(&delivered), payload);
            assert!(error.message().contains(direct_says), "{error}");
        }
    }
}

#[test]
fn a_body_cut_short_is_a_closed_stream() {
    use ErrorCode::StreamClosed;
    let head = "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n";
    fails("HTTP/1.1 200 OK\ncontent-length: 5\n\nhel", "hel", StreamClosed, "after 3 of 5 bytes");
    fails(&format!("{head}5\nhello\n"), "hello", StreamClosed, "before the final chunk");
    fails(&format!("{head}5\nhel"), "hel", StreamClosed, "inside a chunk");
    fails(&format!("{head}5\nhello\n0\n"), "hello", StreamClosed, "inside the trailer");
}

#[test]
fn broken_coding_is_a_malformed_response() {
    use ErrorCode::MalformedResponse;
    let head = "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n";
    fails(&format!("{head}5\nhello\nxyz\n"), "hello", MalformedResponse, "found \"xyz\\r\\n\"");
    fails(&format!("{head}5\nhello0\n\n"), "hello", MalformedResponse, "expected CRLF");
    fails("HTTP/1.1 200 OK\ncontent-length: 1\ncontent-length: 2\n\nab", "", MalformedResponse, "contradict");
    fails("SSH-2.0-OpenSSH_9.9\n", "", MalformedResponse, "expected an HTTP/1.1 answer, found \"SSH-2.0");
    fails(&format!("HTTP/1.1 200 OK\nx: {}\n\n", "y".repeat(1 << 20)), "", MalformedResponse, "65536 bytes");
}

#[tokio::test]
async fn a_body_that_failed_stays_failed() {
    let server = Server::answering_once("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    for (name, transport) in both(&Options::default()) {
        let (ctx, _) = observed();
        let mut reply = transport.send(request(Method::GET, &server.url("/"), ""), &ctx).await.unwrap();
        let mut buf = Vec::new();
        assert!(poll_fn(|cx| reply.body.poll_read(cx, &mut buf)).await.unwrap().is_some(), "{name}");
        for _ in 0..2 {
            let again = poll_fn(|cx| reply.body.poll_read(cx, &mut buf)).await;
            assert_eq!(again.unwrap_err().code(), ErrorCode::StreamClosed, "{name}");
        }
        assert_eq!(buf, b"hel", "{name}");
    }
}

#[tokio::test]
async fn a_close_delimited_body_ends_with_the_connection() {
    let server = Server::answering_once("HTTP/1.1 200 OK\r\n\r\nuntil it closes");
    for (name, transport) in both(&Options::default()) {
        let (got, _) = get(&*transport, &server.url("/")).await.ok();
        assert_eq!(got.payload, b"until it closes", "{name}");
    }
}

#[tokio::test]
async fn a_large_body_takes_large_reads() {
    let body = vec![b'x'; 8 << 20];
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(&body);
    let server = Server::answering(answer);
    for (name, transport) in both(&Options::default()) {
        let (got, _) = get(&*transport, &server.url("/")).await.ok();
        assert!(got.payload == body, "{name}");
        assert_eq!(got.counters.bytes, 8 << 20, "{name}");
        assert!(name != "direct" || got.counters.reads < 1024, "{:?}", got.counters);
    }
}

const REFUSAL: &str =
    "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 7\r\n\r\ntoo big";

/// A refusal of a large body, sent without reading it, is the answer; not a broken pipe.
#[tokio::test]
async fn an_early_refusal_is_read() {
    let transport = direct();
    // Closing with unread bytes resets the connection while the client still writes.
    let resets = Server::start(|peer| {
        peer.head();
        peer.send(REFUSAL);
    });
    let waits = Server::start(|peer| {
        peer.head();
        peer.send(REFUSAL);
        std::thread::sleep(Duration::from_secs(5));
    });
    for server in [resets, waits] {
        for _ in 0..10 {
            let (got, timeline) = post(&transport, &server.url("/"), vec![b'x'; 16 << 20]).await.ok();
            assert_eq!((got.status, got.payload.as_slice()), (413, &b"too big"[..]));
            assert_eq!((timeline.resent, timeline.written), (false, None));
        }
    }
    assert_eq!(transport.idle(), 0);
}

/// A server may begin a good answer before it has read the whole request; it still gets the rest.
#[tokio::test]
async fn an_early_acceptance_does_not_cut_the_request() {
    let transport = direct();
    let server = Server::start(|peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        std::thread::sleep(Duration::from_millis(50));
        let mut rest = vec![0; 16 << 20];
        peer.read_exact(&mut rest);
        peer.send("2\r\nok\r\n0\r\n\r\n");
        peer.wait_for_close();
    });
    let (got, timeline) = post(&transport, &server.url("/"), vec![b'x'; 16 << 20]).await.ok();
    assert_eq!((got.status, got.payload.as_slice()), (200, &b"ok"[..]));
    assert!(timeline.written.is_some() && transport.idle() == 1);
}
