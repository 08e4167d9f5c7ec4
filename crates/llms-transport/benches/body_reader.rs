//! What reading costs: the pure decoder per read, the head per answer, and whole exchanges on loopback with both
//! transports against a raw-socket floor.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a panic ends the bench; criterion writes the functions"
)]

use std::{
    future::poll_fn,
    hint::black_box,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use llms_core::{
    CallContext,
    wire::{Prepared, Transport},
};
use llms_transport::{
    direct,
    http1::{BodyDecoder, Framing, HeadParser},
    pooled,
};

/// A chunk as vendors send them: one SSE event of 290 bytes.
const EVENT: usize = 290;
const READ: usize = 8 << 10;
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ndate: Sat, 22 Nov 2025 15:15:00 GMT\r\n\
    content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\
    x-request-id: req_0123456789abcdef0123456789abcdef\r\nopenai-processing-ms: 123\r\n\
    x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n\
    x-ratelimit-reset-requests: 8.64s\r\nserver: cloudflare\r\ncf-cache-status: DYNAMIC\r\n\r\n";

fn chunk() -> Vec<u8> {
    let mut chunk = format!("{EVENT:x}\r\n").into_bytes();
    chunk.extend(std::iter::repeat_n(b'd', EVENT));
    chunk.extend_from_slice(b"\r\n");
    chunk
}

fn decoder(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let chunk = chunk();
    // As many chunks as a read has bytes: a whole number of both.
    let stream = chunk.repeat(READ);
    for (name, size) in [("290 B chunk per read", chunk.len()), ("8 KiB per read", READ)] {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let mut reads = stream.chunks(size).cycle();
        let mut buf = vec![0; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                // Stands for the kernel's copy into the caller's buffer.
                buf.copy_from_slice(reads.next().unwrap());
                black_box(decoder.decode(&mut buf))
            });
        });
        let mut reads = stream.chunks(size).cycle();
        group.bench_function(format!("{name}, the copy alone"), |b| {
            b.iter(|| {
                buf.copy_from_slice(reads.next().unwrap());
                black_box(&buf);
            });
        });
    }
    group.finish();
    c.bench_function("head, 11 headers", |b| b.iter(|| black_box(HeadParser::new(false).parse(HEAD))));
}

/// Answers every request with 32 chunks in one write.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = [HEAD, &chunk().repeat(32), b"0\r\n\r\n"].concat();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut buf = [0; 4096];
                while stream.read(&mut buf).is_ok_and(|n| n > 0) {
                    if stream.write_all(&answer).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

async fn exchange(transport: &dyn Transport, address: SocketAddr, ctx: &CallContext, buf: &mut Vec<u8>) {
    let request = Prepared {
        method: Method::POST,
        uri: format!("http://{address}/v1/chat/completions").parse().unwrap(),
        headers: HeaderMap::new(),
        body: "{}".into(),
    };
    let mut reply = transport.send(request, ctx).await.unwrap();
    buf.clear();
    while poll_fn(|cx| reply.body.poll_read(cx, buf)).await.unwrap().is_some() {}
    assert_eq!(buf.len(), 32 * EVENT);
}

fn loopback(c: &mut Criterion) {
    let address = serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("exchange of 32 chunks on loopback");
    let transports: [(&str, Box<dyn Transport>); 2] =
        [("direct", Box::new(direct())), ("pooled", Box::new(pooled().unwrap()))];
    for (name, transport) in transports {
        let (ctx, mut buf) = (CallContext::new(), Vec::new());
        group.bench_function(name, |b| {
            b.iter(|| runtime.block_on(exchange(&*transport, address, &ctx, &mut buf)));
        });
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let (whole, mut buf) = (HEAD.len() + chunk().len() * 32 + 5, vec![0; READ]);
    group.bench_function("raw blocking socket", |b| {
        b.iter(|| {
            stream.write_all(&[b'x'; 120]).unwrap();
            let mut read = 0;
            while read < whole {
                read += stream.read(&mut buf).unwrap();
            }
        });
    });
    group.finish();
}

criterion_group!(benches, decoder, loopback);
criterion_main!(benches);
