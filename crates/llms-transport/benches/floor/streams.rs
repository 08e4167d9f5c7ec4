//! The `direct` transport under the same load as the raw floor, to set the one against the other: the same requests, the
//! same number of streams, connections opened before the clock starts, one thread.
//!
//! `--as body` reads bodies and looks for `data:` as the floor does: what the transport itself costs. `--as sse` cuts
//! frames, `--as chat` is the whole way to events: `HttpModel` with the OpenAI codec and a sink that counts.
//! `--records FILE` with `--as chat`: a line per request to set against a truth log, arrivals by the kernel's stamp.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

mod args;

use std::{cell::Cell, future::poll_fn, rc::Rc, sync::Arc, time::Duration};

use llms_core::{
    CallContext, ChatModel as _, ChatRequest, EventSink, Stamp, StreamEvent,
    config::ModelConfig,
    wire::{Framer, Prepared, Transport, sse::SseFramer},
};
use llms_providers_openai as openai;
use llms_transport::{Direct, Options};
use rustix::time::{ClockId, clock_gettime};

use self::args::Args;

/// Tokens seen, and how late the client read them.
#[derive(Default)]
struct Seen {
    tokens: u64,
    late: Vec<u32>,
    /// Of the request under way, when records are wanted.
    stamps: Option<Vec<Stamp>>,
    records: String,
}

impl Seen {
    fn note(&mut self, stamp: Stamp) {
        self.tokens += 1;
        if let Some(late) = stamp.kernel.and_then(|k| stamp.user.since(k)) {
            self.late.push(late.as_nanos() as u32);
        }
        if let Some(stamps) = &mut self.stamps {
            stamps.push(stamp);
        }
    }

    /// The record of a request, as the floor writes it; arrivals are the kernel's where all of them are.
    fn record(&mut self, id: u64, start: u64, end: u64) {
        let Some(stamps) = &mut self.stamps else { return };
        let stamps = std::mem::take(stamps);
        let kernel = stamps.iter().all(|s| s.kernel.is_some());
        let join = |at: &dyn Fn(&Stamp) -> u64| {
            stamps.iter().map(|s| at(s).to_string()).collect::<Vec<_>>().join(",")
        };
        let user = join(&|s| s.user.as_nanos());
        let arrivals = join(&|s| s.arrival().as_nanos());
        let reads = join(&|s| u64::from(s.read));
        let line = format!(
            "{{\"request_id\":\"streams-{id}\",\"start_ns\":{start},\"end_ns\":{end},\"token_ns\":[{arrivals}],\"user_ns\":[{user}],\"reads\":[{reads}],\"output_tokens\":{},\"error\":null,\"stamp\":\"{}\"}}\n",
            stamps.len(),
            if kernel { "kernel" } else { "user" },
        );
        self.records.push_str(&line);
    }
}

impl EventSink for Seen {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        if event.is_token() {
            self.note(stamp);
        }
    }
}

/// One request to its end.
async fn body(transport: &Direct, request: Prepared, ctx: &CallContext, sse: bool, seen: &mut Seen) {
    let mut reply = transport.send(request, ctx).await.expect("the server answers");
    assert_eq!(reply.status, 200);
    let data = memchr::memmem::Finder::new(b"data: ");
    let (mut framer, mut buf) = (SseFramer::new(), Vec::new());
    if sse {
        while let Some(stamp) =
            poll_fn(|cx| reply.body.poll_read(cx, framer.buffer())).await.expect("a whole body")
        {
            while framer.next_frame().expect("frames").is_some() {
                seen.note(stamp);
            }
        }
    } else {
        loop {
            buf.clear();
            let Some(stamp) = poll_fn(|cx| reply.body.poll_read(cx, &mut buf)).await.expect("a whole body")
            else {
                return;
            };
            for _ in data.find_iter(&buf) {
                seen.note(stamp);
            }
        }
    }
}

fn prepared(args: &Args, id: u64) -> Prepared {
    let text = args.request(id);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let mut headers = http::HeaderMap::new();
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").expect("a header line");
        if !["host", "content-length"].contains(&name) {
            headers.insert(
                http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                value.parse().expect("a value"),
            );
        }
    }
    let uri = format!("http://{}{}", args.host, args.path).parse().expect("a URL");
    Prepared { method: http::Method::POST, uri, headers, body: body.to_owned().into() }
}

fn main() {
    let args = match Args::parse() {
        Ok(args) => Arc::new(args),
        Err(why) => {
            eprintln!("{why}");
            std::process::exit(2);
        }
    };
    let cpu = || {
        let t = clock_gettime(ClockId::ProcessCPUTime);
        t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        let transport =
            Direct::new(Options { kernel_stamps: !args.user_stamps, ..Options::default() });
        let uri: http::Uri = format!("http://{}{}", args.host, args.path).parse().expect("a URL");
        transport.open(&uri, args.streams).await.expect("connections");
        let mut config = ModelConfig::new("openai", args.model.clone());
        config.base_url = Some(format!("http://{}/v1", args.host));
        let config = openai::Config::new(&config, &|_: &str| None).expect("a configuration");
        let model = Rc::new(openai::model(config, Arc::new(transport.clone())));
        let ctx = CallContext::new();
        let next = Rc::new(Cell::new(0));
        let (before, start) = (cpu(), ctx.now());
        let tasks: Vec<_> = (0..args.streams)
            .map(|_| {
                let (args, transport, model, ctx, next) =
                    (args.clone(), transport.clone(), model.clone(), ctx.clone(), next.clone());
                tokio::task::spawn_local(async move {
                    let mut seen = Seen { stamps: args.records.is_some().then(Vec::new), ..Seen::default() };
                    loop {
                        let id = next.get();
                        if id >= args.requests {
                            return seen;
                        }
                        next.set(id + 1);
                        let start = ctx.now().as_nanos();
                        if args.reads_as == "chat" {
                            let mut request = ChatRequest::text(format!("floor {id}"));
                            request.options.max_tokens = Some(args.tokens);
                            let ctx = ctx.clone().with_timeout(Duration::from_secs(600));
                            let ctx = ctx.with_request_id(format!("streams-{id}"));
                            model.drive(&request, &ctx, &mut seen).await.expect("an answer");
                        } else {
                            body(&transport, prepared(&args, id), &ctx, args.reads_as == "sse", &mut seen).await;
                        }
                        seen.record(id, start, ctx.now().as_nanos());
                    }
                })
            })
            .collect();
        let mut all = Seen::default();
        for task in tasks {
            let seen = task.await.expect("a task");
            all.tokens += seen.tokens;
            all.late.extend(seen.late);
            all.records.push_str(&seen.records);
        }
        if let Some(path) = &args.records {
            std::fs::write(path, &all.records).expect("the records file can be written");
        }
        let (cpu, wall) = (cpu() - before, ctx.now().saturating_since(start).as_secs_f64());
        let c = transport.counters().expect("counts");
        all.late.sort_unstable();
        let late = |p: usize| all.late.get(all.late.len().saturating_sub(1) * p / 100).map(|ns| ns / 1000).map_or("null".to_owned(), |us| us.to_string());
        let tokens = args.requests * u64::from(args.tokens);
        println!(
            "{{\"client\":\"direct/{}\",\"streams\":{},\"requests\":{},\"reads\":{},\"receive_calls\":{},\"merged\":{},\"seen\":{},\"tokens\":{tokens},\"cpu_s\":{cpu:.4},\"wall_s\":{wall:.3},\"cpu_s_per_million_tokens\":{:.3},\"read_lag_us_p50\":{},\"read_lag_us_p99\":{},\"clock_jumps\":{}}}",
            args.reads_as, args.streams, args.requests, c.reads, c.receive_calls, c.merged_reads, all.tokens,
            cpu / tokens.max(1) as f64 * 1e6, late(50), late(99), c.clock_jumps,
        );
    }));
}
