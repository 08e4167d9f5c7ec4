//! The bare timer loop: how late a thread wakes on this machine that does nothing but wait for a timerfd.
//!
//! `timer --rate 2000 --count 3000` waits for so many instants a second on `CLOCK_MONOTONIC`, planned before the first, and prints
//! how late it woke, in milliseconds: what a send lag is set against where the host takes processors away.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

use std::io;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Nanoseconds of `CLOCK_MONOTONIC`.
fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// The value of `--name`.
fn asked(name: &str) -> Option<u64> {
    let mut args = std::env::args().skip_while(|a| a != name);
    args.nth(1)?.parse().ok().filter(|n| *n > 0)
}

fn main() -> io::Result<()> {
    let (Some(rate), Some(count)) = (asked("--rate"), asked("--count")) else {
        eprintln!("expected --rate PER_SECOND and --count N, both above 0");
        std::process::exit(2);
    };
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let begin = now() + 10_000_000;
    let mut late = Vec::with_capacity(count as usize);
    for n in 0..count {
        let at = begin + n * 1_000_000_000 / rate;
        if now() < at {
            let value = Timespec { tv_sec: (at / 1_000_000_000) as _, tv_nsec: (at % 1_000_000_000) as _ };
            timerfd_settime(
                &timer,
                TimerfdTimerFlags::ABSTIME,
                &Itimerspec { it_interval: zero, it_value: value },
            )?;
            let mut expirations = [0_u8; 8];
            rustix::io::read(&timer, &mut expirations)?;
        }
        late.push(now().saturating_sub(at));
    }
    late.sort_unstable();
    let quantile = |p: f64| late[((p * count as f64).ceil() as usize).clamp(1, late.len()) - 1] as f64 / 1e6;
    println!(
        "{{\"client\":\"timer\",\"rate\":{rate},\"count\":{count},\"p50_ms\":{:.4},\"p99_ms\":{:.4}}}",
        quantile(0.5),
        quantile(0.99)
    );
    Ok(())
}
