//! Streams that wait are cheap: ten thousand of them must fit beside everything else.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Barrier},
    time::Duration,
};

use llms_core::wire::Transport;
use llms_transport::Direct;

use crate::{
    codec::{Way, call},
    memory,
};

const STREAMS: usize = 1_000;
/// What one may cost: task, call, connection, headers, frame buffer. Measured: 5.3 kB;
/// 8.9 kB when reads went straight into a buffer of each stream.
const EACH: usize = 7_000;

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 22:22:22 GMT\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\nx-request-id: req_0123456789abcdef\r\nopenai-processing-ms: 12\r\n\
    transfer-encoding: chunked\r\n\r\n";

/// One HTTP chunk around an event of the size that servers send for a token.
fn event(data: &str) -> Vec<u8> {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

#[test]
fn t012_a_thousand_streams_that_wait_hold_little_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (written, over) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let turn = memory::turn();
    let server = std::thread::spawn({
        let (written, over) = (written.clone(), over.clone());
        move || {
            let mut peers: Vec<_> = (0..STREAMS).map(|_| listener.accept().unwrap().0).collect();
            for peer in &mut peers {
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n{}") {
                    peer.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                peer.write_all(HEAD).unwrap();
                peer.write_all(&event(&"x".repeat(280))).unwrap();
            }
            written.wait();
            over.wait();
            for mut peer in peers {
                peer.write_all(&event("[DONE]")).unwrap();
                peer.write_all(b"0\r\n\r\n").unwrap();
            }
        }
    });

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let transport: Arc<dyn Transport> = Arc::new(Direct::new(llms_transport::Options::default()));
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let before = turn.grown();
        let calls: Vec<_> = (0..STREAMS)
            .map(|_| {
                let call = call(Way::Sse, url.clone(), transport.clone(), Duration::from_secs(60));
                tokio::task::spawn_local(call)
            })
            .collect();
        tokio::task::spawn_blocking(move || written.wait()).await.unwrap();
        // Until all is read: what is taken stands still.
        let mut taken = 0;
        loop {
            let now = turn.grown();
            if std::mem::replace(&mut taken, now) == now {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let each = taken.saturating_sub(before) / STREAMS;
        tokio::task::spawn_blocking(move || over.wait()).await.unwrap();
        for call in calls {
            let (events, ended) = call.await.unwrap();
            ended.unwrap();
            assert_eq!(events, 2);
        }
        assert!(each <= EACH, "{each} bytes for each stream that waits, expected at most {EACH}");
        assert!(each > 1_000, "{each} bytes: the streams were not open");
    });
    server.join().unwrap();
}
