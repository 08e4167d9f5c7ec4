//! How bytes go to the socket, what is read from it, and how connections are taken: on raw sockets.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use std::{
    io::{Read, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use bench_mock::{
    Drip, Profile, Split, Stamps, TruthRecord, Wire,
    server::{Limits, Protocol, Server, ServerConfig, WhenFull},
};
use common::{
    exact,
    raw::{Answer, Client, End, chat, get},
    said::said,
};
use llms_core::time::Timestamp;
use serde_json::json;

fn serve(wire: Wire) -> Server {
    let profile = Profile { wire, head_share: 0.5, ..exact().with_time_scale(0.1) };
    ServerConfig::default().map_profiles(|_| profile.clone()).start().unwrap()
}

fn call(server: &Server, protocol: Protocol, stream: bool) -> Answer {
    Client::connect(server.addr()).call(&chat(protocol, "m", "r-1", stream, &json!({}))).unwrap()
}

/// The one record there is, checked for what must hold of each.
#[track_caller]
fn record(server: &Server) -> TruthRecord {
    let r = server.truth().pop().unwrap();
    assert_eq!((r.writes.len(), r.tokens(), r.stamps), (r.targets_ns.len(), 5, Stamps::Call));
    let mut last = Timestamp::ZERO;
    for (write, target) in r.writes.iter().zip(&r.targets_ns) {
        assert!(write.before >= *target && last <= write.before && write.before <= write.after);
        last = write.after;
    }
    r
}

#[test]
fn however_writes_are_cut_the_answer_is_the_same_and_the_log_is_true() {
    let plain = serve(Wire::default());
    let split = |split| Wire { split: Some(split), ..Wire::default() };
    let drip = Some(Drip { bytes: 16, pause_ms: 1 });
    let wires = [
        split(Split::Every { bytes: 1, pause_ms: 0 }),
        split(Split::Every { bytes: 7, pause_ms: 1 }),
        split(Split::Random { cuts: 3, pause_ms: 2 }),
        split(Split::At { offsets: vec![1, 5, 20], pause_ms: 1 }),
        Wire { chunks_per_write: 3, ..Wire::default() },
        Wire { slow_head: drip, ..Wire::default() },
        Wire {
            chunks_per_write: 2,
            split: Some(Split::Random { cuts: 5, pause_ms: 1 }),
            slow_head: drip,
            ..Wire::default()
        },
    ];
    for wire in wires {
        for protocol in Protocol::ALL {
            for stream in [true, false] {
                let server = serve(wire.clone());
                let (expected, answer) = (call(&plain, protocol, stream), call(&server, protocol, stream));
                assert_eq!(answer.end, End::Complete);
                let (mut expected, mut found) =
                    (said(protocol, &expected, stream), said(protocol, &answer, stream));
                (expected.events, found.events) = (Vec::new(), Vec::new());
                assert_eq!(found, expected, "{protocol} {wire:?}");
                let pieces = record(&server).writes.len();
                let usual = plain.truth().pop().unwrap().writes.len();
                if wire.chunks_per_write == 3 {
                    assert!(pieces < usual || !stream, "{pieces} {usual}");
                } else {
                    assert!(pieces > usual, "{protocol} {wire:?}: {pieces} {usual}");
                }
            }
        }
    }
}

#[test]
fn tokens_stand_at_the_piece_that_completes_them() {
    let wire = Wire { split: Some(Split::Every { bytes: 10, pause_ms: 0 }), ..Wire::default() };
    let server = serve(wire);
    let mut client = Client::connect(server.addr());
    client.write(&chat(Protocol::Ollama, "m", "r-1", true, &json!({})));
    let answer = client.read(false).unwrap();
    assert_eq!(said(Protocol::Ollama, &answer, true).text.split(' ').count(), 5);
    let r = record(&server);
    // Each chunk has many pieces, and its token only one of them.
    let with: Vec<_> = r.writes.iter().filter(|w| w.tokens > 0).map(|w| w.tokens).collect();
    assert_eq!(with, [1; 5]);
    assert!(r.writes.len() > 50);
    // It is not the first piece of its chunk: that one is due when the chunk is.
    let first = r.writes.iter().position(|w| w.tokens > 0).unwrap();
    assert!(first > 5 && r.targets_ns[first] == r.targets_ns[first - 1]);
}

#[test]
fn coalesced_chunks_come_when_the_last_is_due() {
    let server = serve(Wire { chunks_per_write: 2, ..Wire::default() });
    call(&server, Protocol::OpenAi, true);
    let r = record(&server);
    let start = r.service_start_ns.unwrap();
    let due: Vec<_> = r.targets_ns.iter().map(|t| t.since(start).unwrap().as_micros()).collect();
    assert_eq!(due, [5_000, 11_000, 13_000, 14_000]);
    assert_eq!(r.writes.iter().map(|w| w.tokens).collect::<Vec<_>>(), [0, 2, 2, 1]);
}

#[test]
fn pauses_add_up_within_a_write_and_later_chunks_wait() {
    // Four pieces, 20 ms apart at full speed, in gaps of 10 ms: the writes fall behind, in order.
    let wire = Wire { split: Some(Split::At { offsets: vec![1, 2, 3], pause_ms: 20 }), ..Wire::default() };
    let server = serve(wire);
    call(&server, Protocol::Ollama, true);
    let r = record(&server);
    let gaps: Vec<_> = r.targets_ns.windows(2).map(|w| w[1].since(w[0]).unwrap().as_micros()).collect();
    assert!(gaps[1..].iter().all(|g| *g == 2_000), "{gaps:?}");
}

fn limited(limits: Limits) -> Server {
    ServerConfig { limits, ..ServerConfig::default() }
        .map_profiles(|p| p.with_time_scale(0.01))
        .start()
        .unwrap()
}

#[track_caller]
fn refused(server: &Server, request: &[u8], status: u16) {
    let answer = Client::connect(server.addr()).call(request).unwrap();
    assert_eq!((answer.status, answer.end), (status, End::Complete));
    assert_eq!(answer.headers["connection"], "close");
}

#[test]
fn what_is_too_large_is_refused_with_its_status() {
    let server = limited(Limits { head_bytes: 1_000, headers: 5, body_bytes: 2_000, ..Limits::default() });
    refused(&server, format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2_000)).as_bytes(), 431);
    // Without an end of the head, too.
    refused(&server, format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(2_000)).as_bytes(), 431);
    refused(&server, format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(6)).as_bytes(), 431);
    refused(&server, b"POST /v1/messages HTTP/1.1\r\ncontent-length: 2001\r\n\r\n", 413);
    let chunked =
        format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n7d1\r\n{}", "x".repeat(4_000));
    refused(&server, chunked.as_bytes(), 413);
    assert_eq!(get(&server, "/v1/models").status, 200);
}

#[test]
fn who_is_too_slow_is_refused_and_who_is_idle_is_dropped() {
    let server = limited(Limits {
        request_timeout: Duration::from_millis(80),
        keep_alive: Duration::from_millis(400),
        ..Limits::default()
    });
    refused(&server, b"POST /v1/messages HTTP/1.1\r\ncontent-length: 10\r\n\r\nhalf", 408);
    refused(&server, b"POST /v1/mes", 408);
    let mut dribbling = TcpStream::connect(server.addr()).unwrap();
    let mut head = Vec::new();
    for byte in b"GET / HTTP/1.1\r\nhost: one-byte-at-a-time\r\n\r\n".iter().cycle() {
        thread::sleep(Duration::from_millis(3));
        if dribbling.write_all(&[*byte]).is_err() {
            break;
        }
        dribbling.set_nonblocking(true).unwrap();
        let mut buf = [0; 512];
        let read = dribbling.read(&mut buf);
        dribbling.set_nonblocking(false).unwrap();
        match read {
            Ok(0) => break,
            Ok(n) => head.extend_from_slice(&buf[..n]),
            Err(_) => {}
        }
    }
    assert!(head.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&head));
    let mut idle = TcpStream::connect(server.addr()).unwrap();
    idle.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0, "closed without a word");
}

#[test]
fn a_connection_carries_as_many_requests_as_it_may() {
    let config = ServerConfig { requests_per_connection: Some(2), ..ServerConfig::default() };
    let server = config.map_profiles(|p| p.with_time_scale(0.01)).start().unwrap();
    let mut client = Client::connect(server.addr());
    let request = b"GET /v1/models HTTP/1.1\r\nhost: m\r\n\r\n";
    assert_eq!(client.call(request).unwrap().headers["connection"], "keep-alive");
    assert_eq!(client.call(request).unwrap().headers["connection"], "close");
    assert!(matches!(client.read(false), Err(End::Closed)));
}

fn one_at_a_time(when_full: WhenFull) -> Server {
    ServerConfig { max_connections: 1, when_full, ..ServerConfig::default() }
        .map_profiles(|p| p.with_time_scale(0.01))
        .start()
        .unwrap()
}

#[test]
fn beyond_the_last_connection_there_are_three_ways() {
    let request = b"GET /v1/models HTTP/1.1\r\nhost: m\r\n\r\n";
    let take = |server: &Server| {
        let mut first = Client::connect(server.addr());
        assert_eq!(first.call(request).unwrap().status, 200);
        first
    };

    let server = one_at_a_time(WhenFull::HangUp);
    let first = take(&server);
    let mut second = TcpStream::connect(server.addr()).unwrap();
    assert!(matches!(second.read(&mut [0; 8]), Ok(0) | Err(_)));
    drop(first);

    let server = one_at_a_time(WhenFull::Refuse);
    let first = take(&server);
    let refused = Client::connect(server.addr()).call(request).unwrap();
    assert_eq!((refused.status, refused.text()), (503, "the server has no room: try again\n"));
    drop(first);

    let server = one_at_a_time(WhenFull::Queue);
    let first = take(&server);
    let mut second = Client::connect(server.addr());
    second.write(request);
    let waiting = thread::spawn(move || second.read(false).unwrap().status);
    thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished(), "it waits for the first one to leave");
    drop(first);
    assert_eq!(waiting.join().unwrap(), 200);
}
