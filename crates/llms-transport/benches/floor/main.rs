//! The raw floor: what it costs at least to read N streams on this machine. The denominator of every "× the raw reader".
//!
//! One thread, epoll, one 64 KiB buffer, memchr for `data:`, one stamp per read, nothing else: no HTTP parsing beyond
//! looking for the end of the answer, no JSON, no TLS, no timers per stream. Each stream sends its request, reads to
//! the end marker, and begins again on the same connection until all requests are done.
//!
//! `cargo run --release -p llms-transport --example floor -- --url http://127.0.0.1:8399/v1/chat/completions --streams 100
//! --requests 400`. With `--records FILE` a line per request in the format of `llms-bench run --records`, stamps of user
//! space, and every token is looked at to see that it is one. Without it tokens are what was asked for: choose a server
//! that gives that many (`llms-bench mock serve`).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

mod args;
mod stream;

use std::{
    io::{self, Write},
    time::Duration,
};

use rustix::{
    event::epoll,
    time::{ClockId, clock_gettime},
};

use self::{
    args::Args,
    stream::{Step, Stream},
};

/// Nanoseconds of `CLOCK_MONOTONIC`.
fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// CPU time of this process so far, user and system, in seconds.
fn cpu_seconds() -> f64 {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

#[derive(Default)]
struct Totals {
    reads: u64,
    bytes: u64,
    lines: u64,
    done: u64,
}

fn main() -> io::Result<()> {
    let args = match Args::parse() {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}");
            std::process::exit(2);
        }
    };
    let mut records =
        args.records.as_ref().map(|p| std::fs::File::create(p).map(io::BufWriter::new)).transpose()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    // Connections stand before the clock starts.
    let mut streams = (0..args.streams).map(|_| Stream::open(&args)).collect::<io::Result<Vec<_>>>()?;
    for (n, stream) in streams.iter().enumerate() {
        epoll::add(&epoll, stream.as_fd(), epoll::EventData::new_u64(n as u64), epoll::EventFlags::IN)?;
    }

    let mut buf = vec![0_u8; 64 << 10];
    let mut events = Vec::<epoll::Event>::with_capacity(1024);
    let mut totals = Totals::default();
    let (mut sent, mut running) = (0, 0);
    let (wall, cpu) = (now(), cpu_seconds());
    for stream in &mut streams {
        if sent < args.requests {
            stream.send(sent, &args)?;
            (sent, running) = (sent + 1, running + 1);
        }
    }
    while running > 0 {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let stream = &mut streams[event.data.u64() as usize];
            match stream.read(&mut buf, &mut totals)? {
                Step::More => {}
                Step::Done => {
                    totals.done += 1;
                    if let Some(file) = &mut records {
                        stream.write_record(file)?;
                    }
                    if sent < args.requests {
                        stream.send(sent, &args)?;
                        sent += 1;
                    } else {
                        running -= 1;
                    }
                }
            }
        }
    }
    let (wall, cpu) = (Duration::from_nanos(now() - wall), cpu_seconds() - cpu);
    if let Some(mut file) = records {
        file.flush()?;
    }
    let Totals { reads, bytes, lines, done } = totals;
    let tokens = done * u64::from(args.tokens);
    println!(
        "{{\"client\":\"floor\",\"streams\":{},\"requests\":{done},\"reads\":{reads},\"bytes\":{bytes},\"lines\":{lines},\"tokens\":{tokens},\"cpu_s\":{cpu:.4},\"wall_s\":{:.3},\"cpu_s_per_million_tokens\":{:.3}}}",
        args.streams,
        wall.as_secs_f64(),
        cpu / tokens.max(1) as f64 * 1e6,
    );
    Ok(())
}
