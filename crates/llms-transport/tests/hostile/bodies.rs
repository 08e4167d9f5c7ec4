//! Hostile bodies, read as a model reads them: without an end, of claimed gigabytes, too slow; through transport, framer
//! and decoder.

use std::time::Duration;

use llms_core::{CallPhase, Error, ErrorCode};
use llms_transport::Options;

use crate::{
    client::both,
    codec::{MAX_FRAME, Way, call},
    memory,
    server::Server,
};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
const CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// What a stream may cost: a frame of the largest size, twice while its buffer grows, and the buffers around it.
const BOUND: usize = 4 * MAX_FRAME + (4 << 20);

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Sends `start`, then `again` for as long as the client reads.
fn endless(start: impl Into<String>, again: &'static str) -> Server {
    let start = start.into();
    Server::start(move |peer| {
        if peer.request().is_some() && peer.try_send(&start) {
            let many = again.repeat((16 << 10) / again.len() + 1);
            while peer.try_send(&many) {}
        }
    })
}

/// Calls with each transport; `judge` gets the events delivered and the error.
#[track_caller]
fn each(server: &Server, way: Way, deadline: Duration, judge: impl Fn(&str, u64, Error)) {
    for (name, transport) in both(&Options::default()) {
        let (events, ended) = block(call(way, server.url("/"), transport, deadline));
        judge(name, events, ended.expect_err(name));
    }
}

const PATIENT: Duration = Duration::from_secs(30);

/// Both transports, and the code with this message.
#[track_caller]
fn malformed(server: &Server, way: Way, says: &str) {
    each(server, way, PATIENT, |name, _, error| {
        assert_eq!(error.code(), ErrorCode::MalformedResponse, "{name}, {way:?}: {error}");
        assert!(error.message().contains(says), "{name}, {way:?}: {error}");
        assert_eq!(error.provider(), Some("plain"), "{name}");
    });
}

#[test]
fn a_frame_without_an_end() {
    let turn = memory::turn();
    let says = format!("at most {MAX_FRAME} bytes");
    for head in [CLOSE, LENGTH, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffff\r\n"] {
        malformed(&endless(format!("{head}data: "), "aaaaaaaa"), Way::Sse, &says);
        malformed(&endless(format!("{head}{{"), "aaaaaaaa"), Way::Ndjson, &says);
        // One event of many lines.
        malformed(&endless(head, "data: a\n"), Way::Sse, &says);
    }
    turn.within(BOUND);
}

/// What carries no event takes no memory, however much of it comes; the deadline ends it.
#[test]
fn comments_and_empty_lines_without_an_end() {
    let turn = memory::turn();
    for (way, again) in
        [(Way::Sse, ": ping\n\n"), (Way::Sse, "\n"), (Way::Ndjson, "\n"), (Way::Ndjson, "\r\n")]
    {
        each(&endless(CLOSE, again), way, Duration::from_millis(300), |name, events, error| {
            assert_eq!(error.code(), ErrorCode::DeadlineExceeded, "{name}, {way:?}: {error}");
            assert_eq!((events, error.phase()), (0, Some(CallPhase::Stream)), "{name}");
        });
    }
    turn.within(BOUND);
}

/// Events for ever: all are delivered, none is kept. A reader that never has to wait must not miss its deadline either:
/// the runtime's timer does not fire for a task that always has something to read.
#[test]
fn events_without_an_end_are_bounded_by_the_deadline() {
    let turn = memory::turn();
    for (way, again) in [(Way::Sse, "data: a\n\n"), (Way::Ndjson, "{}\n")] {
        each(&endless(CLOSE, again), way, Duration::from_millis(300), |name, events, error| {
            assert_eq!(error.code(), ErrorCode::DeadlineExceeded, "{name}: {error}");
            assert!(events > 1000, "{name}: {events}");
        });
    }
    turn.within(BOUND);
}

#[test]
fn chunk_framing_without_an_end() {
    let turn = memory::turn();
    malformed(
        &endless(format!("{CHUNKED}5;x="), "aaaaaaaa"),
        Way::Sse,
        "transfer coding of the body is broken",
    );
    malformed(
        &endless(format!("{CHUNKED}5;x="), "aaaaaaaa"),
        Way::Whole,
        "transfer coding of the body is broken",
    );
    malformed(
        &endless(format!("{CHUNKED}0\r\nx: "), "aaaaaaaa"),
        Way::Whole,
        "transfer coding of the body is broken",
    );
    malformed(
        &endless(format!("{CHUNKED}0\r\n"), "x: y\r\n"),
        Way::Whole,
        "transfer coding of the body is broken",
    );
    // Digits beyond any number.
    malformed(
        &endless(format!("{CHUNKED}1"), "00000000"),
        Way::Whole,
        "transfer coding of the body is broken",
    );
    turn.within(BOUND);
}

/// A size that is only claimed costs nothing: no memory is taken in advance.
#[test]
fn claimed_gigabytes() {
    let turn = memory::turn();
    for head in [LENGTH.to_owned(), format!("{CHUNKED}ffffffffffffff\r\n")] {
        for way in [Way::Sse, Way::Ndjson, Way::Whole] {
            each(&Server::answering_once(format!("{head}hello")), way, PATIENT, |name, _, error| {
                assert_eq!(error.code(), ErrorCode::StreamClosed, "{name}, {way:?}: {error}");
            });
        }
    }
    turn.within(BOUND);
}

/// A whole body is read up to its limit of 64 MiB; its buffer doubles, so that both halves exist for a moment.
#[test]
fn a_whole_body_without_an_end() {
    let turn = memory::turn();
    for head in [CLOSE, LENGTH] {
        malformed(&endless(head, "aaaaaaaa"), Way::Whole, "expected a body of at most 67108864 bytes");
    }
    turn.within((64 << 20) * 3 + (8 << 20));
}

/// Of a refusal a mebibyte is enough.
#[test]
fn a_refusal_without_an_end() {
    let turn = memory::turn();
    for way in [Way::Sse, Way::Whole] {
        let server = endless("HTTP/1.1 500 Internal Server Error\r\n\r\n", "aaaaaaaa");
        each(&server, way, PATIENT, |name, _, error| {
            assert_eq!((error.code(), error.status()), (ErrorCode::Internal, Some(500)), "{name}: {error}");
        });
    }
    turn.within(BOUND);
}

#[test]
fn a_body_that_trickles_in_is_bounded_by_the_deadline() {
    let turn = memory::turn();
    for (head, way) in [(CLOSE, Way::Sse), (LENGTH, Way::Ndjson), (LENGTH, Way::Whole)] {
        let server = Server::start(move |peer| {
            if peer.request().is_some() && peer.try_send(head) {
                while peer.try_send("a") {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        each(&server, way, Duration::from_millis(300), |name, _, error| {
            assert_eq!(error.code(), ErrorCode::DeadlineExceeded, "{name}, {way:?}: {error}");
            let expected = if way == Way::Whole { CallPhase::Body } else { CallPhase::Stream };
            assert_eq!(error.phase(), Some(expected), "{name}");
        });
    }
    turn.within(BOUND);
}

/// Nothing behind the end of an answer is read for long.
#[test]
fn what_follows_the_end_is_not_waited_for() {
    let turn = memory::turn();
    for (way, done, again) in
        [(Way::Sse, "data: [DONE]\n\n", "data: a\n\n"), (Way::Ndjson, "[DONE]\n", "{}\n")]
    {
        let server = endless(format!("{CLOSE}{done}"), again);
        for (name, transport) in both(&Options::default()) {
            let (events, ended) = block(call(way, server.url("/"), transport, PATIENT));
            assert!(ended.is_ok() && events == 1, "{name}: {events} {ended:?}");
        }
    }
    turn.within(BOUND);
}
