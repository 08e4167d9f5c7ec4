//! Hostile heads: without an end, without sense, too slow; answers nobody asked for.

use std::time::Duration;

use llms_core::{CallContext, CallPhase, ErrorCode, Result};
use llms_transport::Options;

use crate::{
    client::{both, drain, get, request},
    memory::{self, Turn},
    server::{OK, Server},
};

/// What a head may cost: buffers of both sides and of the runtime, far below what the servers here would send.
const BOUND: usize = 4 << 20;

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A call of each transport that must end by `deadline`, and how it ended.
fn each(server: &Server, deadline: Duration, mut judge: impl FnMut(&str, Result<Vec<u8>>)) {
    for (name, transport) in both(&Options::default()) {
        let ctx = CallContext::new().with_timeout(deadline);
        let got = block(ctx.run("test", async {
            let request = request(http::Method::GET, &server.url("/"), "");
            let got = drain(transport.send(request, &ctx).await?).await;
            got.end.map(|()| got.payload)
        }));
        judge(name, got);
    }
}

/// Sends `start`, then `again` for as long as the client reads.
fn endless(start: &'static str, again: &'static str) -> Server {
    Server::start(move |peer| {
        if peer.request().is_some() && peer.try_send(start) {
            let many = again.repeat((16 << 10) / again.len() + 1);
            while peer.try_send(&many) {}
        }
    })
}

/// Both transports call the answer malformed.
#[track_caller]
fn malformed(server: &Server, direct_says: &str) {
    each(server, Duration::from_secs(20), |name, got| {
        let error = got.expect_err(name);
        assert_eq!(error.code(), ErrorCode::MalformedResponse, "{name}: {error}");
        assert_eq!(error.phase(), Some(CallPhase::Headers), "{name}: {error}");
        assert!(name != "direct" || error.message().contains(direct_says), "{error}");
        assert!(
            error.message().chars().count() < 300,
            "{name}: what came is not repeated at length: {error}"
        );
    });
}

#[test]
fn a_header_line_without_an_end() {
    let turn = memory::turn();
    malformed(&endless("HTTP/1.1 200 OK\r\nx: ", "aaaaaaaa"), "exceeds the limit of 65536 bytes");
    malformed(&endless("HTTP/1.1 200 ", "OK OK OK "), "exceeds the limit of 65536 bytes");
    turn.within(BOUND);
}

#[test]
fn headers_without_an_end() {
    let turn = memory::turn();
    malformed(&endless("HTTP/1.1 200 OK\r\n", "x: y\r\n"), "more than 128 headers");
    turn.within(BOUND);
}

#[test]
fn interim_answers_without_an_end() {
    let turn = memory::turn();
    let server = endless("", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
    each(&server, Duration::from_millis(500), |name, got| {
        let error = got.expect_err(name);
        // hyper skips them for as long as they come: there the deadline of the call is what ends it.
        let expected =
            if name == "direct" { ErrorCode::MalformedResponse } else { ErrorCode::DeadlineExceeded };
        assert_eq!(error.code(), expected, "{name}: {error}");
    });
    turn.within(BOUND);
}

#[test]
fn what_is_no_answer() {
    let turn = memory::turn();
    for (line, says) in [
        ("HTTP/1.1 two hundred\r\n\r\n", "expected an HTTP/1.1 head"),
        ("HTTP/9.9 200 OK\r\n\r\n", "expected HTTP/1.1"),
        ("HTTP/1.1 099 Low\r\n\r\n", "expected a status"),
        ("ICY 200 OK\r\n\r\n", "expected an HTTP/1.1 answer"),
        ("\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\r\n\r\n", "expected an HTTP/1.1 answer"),
        ("HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "expected an HTTP/1.1 head"),
        ("HTTP/1.1 200 OK\r\nx: a\u{0}b\r\n\r\n", "expected an HTTP/1.1 head"),
    ] {
        malformed(&Server::answering_once(line), says);
    }
    turn.within(BOUND);
}

/// A byte now and then keeps the connection alive, but not the call.
#[test]
fn a_head_that_trickles_in_is_bounded_by_the_deadline() {
    let turn = memory::turn();
    let server = Server::start(|peer| {
        if peer.request().is_some() {
            for byte in b"HTTP/1.1 200 OK\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
                if !peer.try_send([*byte]) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    each(&server, Duration::from_millis(300), |name, got| {
        assert_eq!(got.expect_err(name).code(), ErrorCode::DeadlineExceeded, "{name}");
    });
    turn.within(BOUND);
}

/// Bytes that decode to a thousand times as many are not decoded at all: no coding was asked for.
#[test]
fn a_content_coding_nobody_asked_for_is_refused() {
    let turn = memory::turn();
    for (coding, refused) in
        [("gzip", true), ("br", true), ("deflate, gzip", true), ("identity", false), ("", false)]
    {
        let server = Server::answering_once(format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: 4\r\n\r\n\u{1f}zip"
        ));
        each(&server, Duration::from_secs(20), |name, got| match got {
            Ok(payload) => {
                assert_eq!((refused, payload.as_slice()), (false, &b"\x1fzip"[..]), "{name} {coding}");
            }
            Err(error) => {
                assert!(refused, "{name} {coding}: {error}");
                assert_eq!(
                    (error.code(), error.phase()),
                    (ErrorCode::MalformedResponse, Some(CallPhase::Headers))
                );
                assert!(error.message().contains(&format!("content-encoding {coding}")), "{name}: {error}");
            }
        });
    }
    turn.within(BOUND);
}

/// A refusal keeps its status, whatever its text is packed in.
#[test]
fn a_coded_refusal_is_still_that_refusal() {
    let _turn: Turn = memory::turn();
    let server = Server::answering_once(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\u{1f}zip",
    );
    for (name, transport) in both(&Options::default()) {
        assert_eq!(block(get(&*transport, &server.url("/"))).ok().0.status, 429, "{name}");
    }
}

/// A second answer behind the first, not asked for, is never taken for the answer to the next request.
#[test]
fn an_answer_nobody_asked_for_is_not_believed() {
    let turn = memory::turn();
    for garbage in ["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL", "\r\nEVIL", "\u{0}\u{0}\u{0}\u{0}"] {
        let server = Server::answering(format!("{OK}{garbage}"));
        for (name, transport) in both(&Options::default()) {
            block(async {
                for _ in 0..5 {
                    let (got, _) = get(&*transport, &server.url("/")).await.ok();
                    assert_eq!((got.status, got.payload.as_slice()), (200, &b"ok"[..]), "{name}");
                    // The rest may come later than the answer it follows.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    }
    turn.within(BOUND);
}
