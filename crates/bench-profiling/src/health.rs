//! From what was added up to [`ClientHealth`]: shares, reasons for what is absent.

use llms_core::bench::{
    ClientHealth, Measured,
    probe::{
        AllocationUse, CpuUse, Descriptors, LocalPorts, Pressure, ProbeCost, ResidentMemory, RunQueue,
        RuntimeLag, Steal, Switches, Throttling,
    },
};

use crate::{
    allocator::NOT_COUNTED,
    beat,
    clock::clocks,
    histogram::Counts,
    parse::PressureLine,
    reading::Reading,
    watch::{Watch, grown, steal},
};

/// What the probe's thread knows about itself.
#[derive(Debug, Clone)]
pub(crate) struct ThreadAccount {
    /// Its processor time and that of readings on other threads, nanoseconds; or why there is no thread.
    pub(crate) cpu_ns: Result<u64, String>,
    pub(crate) beats: u64,
    pub(crate) period_s: f64,
    pub(crate) interval_s: f64,
}

fn or_absent<T>(value: Option<T>, reason: impl FnOnce() -> String) -> Measured<T> {
    value.map_or_else(|| Measured::absent(reason()), Measured::Value)
}

/// The health of the span up to the last reading.
pub(crate) fn health(watch: &mut Watch, account: &ThreadAccount) -> ClientHealth {
    let switches = switches(watch);
    let wall_s = watch.last.clock.at.saturating_since(watch.first.clock.at).as_secs_f64();
    let share = |seconds: f64| if 0.0 < wall_s { seconds / wall_s } else { 0.0 };
    let (first, last, sources) = (&watch.first, &watch.last, &watch.sources);
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let cpu_s = grown(first, last, |r| r.cpu_ns).map(seconds);
    let cpu = cpu_s.map(|total_s| {
        let split = sources.ticks_per_s.and_then(|per_s| {
            let user = grown(first, last, |r| Some(r.ticks?.0))?;
            let system = grown(first, last, |r| Some(r.ticks?.1))?;
            Some((user as f64 / per_s as f64, system as f64 / per_s as f64))
        });
        let processors = last.status.processors.map(f64::from);
        let allowed_cores = match (processors, sources.group.quota_cores) {
            (Some(processors), Some(quota)) => Some(processors.min(quota)),
            (processors, quota) => processors.or(quota),
        };
        CpuUse {
            total_s,
            user_s: split.map(|s| s.0),
            system_s: split.map(|s| s.1),
            allowed_cores,
            share: allowed_cores.filter(|c| 0.0 < *c).map(|cores| share(total_s) / cores),
        }
    });
    let run_queue = watch.has_threads.then(|| {
        let total = watch.threads.total();
        let (wait_s, run_s) = (seconds(total.wait_ns), seconds(total.run_ns));
        let own_s = account.cpu_ns.as_ref().map_or(0.0, |ns| seconds(*ns));
        RunQueue {
            wait_s,
            share: share(wait_s),
            worst_thread_share: share(seconds(watch.threads.worst_wait_ns())),
            wanting_share: (0.0 < wait_s + run_s).then(|| wait_s / (wait_s + run_s)),
            run_s,
            unseen_run_s: cpu_s.map(|all| (all - own_s - run_s).max(0.0)),
            threads_ended: watch.threads.ended(),
        }
    });
    let throttling = grown(first, last, |r| Some(r.throttled?.1)).map(|nanos| Throttling {
        quota_cores: sources.group.quota_cores,
        throttled_periods: grown(first, last, |r| Some(r.throttled?.0)).unwrap_or(0),
        throttled_s: seconds(nanos),
        share: share(seconds(nanos)),
    });
    let pressure = |of: fn(&Reading) -> Option<PressureLine>, avg10_max| {
        let stalled_s = grown(first, last, |r| Some(of(r)?.total_us))? as f64 / 1e6;
        let (start, end) = (of(first)?, of(last)?);
        let (avg10, avg10_start) = (end.avg10, start.avg10);
        Some(Pressure { avg10, avg10_start, avg10_max, stalled_s, share: share(stalled_s) })
    };
    let highest = &watch.highest;
    let memory = (|| {
        let high_water_bytes = last.status.high_water_bytes?;
        let peak_exact = first.status.high_water_bytes? < high_water_bytes;
        Some(ResidentMemory {
            start_bytes: first.status.rss_bytes?,
            end_bytes: last.status.rss_bytes?,
            peak_bytes: if peak_exact { high_water_bytes } else { highest.rss },
            peak_exact,
            high_water_bytes,
        })
    })();
    let allocations = (|| {
        let (start, end) = (first.allocator?, last.allocator?);
        Some(AllocationUse {
            allocations: end.allocations.saturating_sub(start.allocations),
            allocated_bytes: end.allocated_bytes.saturating_sub(start.allocated_bytes),
            start_live_bytes: start.live_bytes,
            end_live_bytes: end.live_bytes,
            // Told coarsely by each thread: never below what both ends show.
            peak_live_bytes: end.peak_live_bytes.max(start.live_bytes),
        })
    })();
    let no_runtime = || "no async runtime was given to the probe".to_owned();
    let share_of_core = |ns: u64| share(seconds(ns));
    ClientHealth {
        started: first.clock.at,
        ended: last.clock.at,
        wall_s,
        cpu: or_absent(cpu, || "this platform does not tell the process's processor time".to_owned()),
        run_queue: or_absent(run_queue, || sources.why_no_threads()),
        throttling: or_absent(throttling, || sources.group.throttling.why()),
        pressure: or_absent(pressure(|r| r.pressure, highest.avg10), || sources.pressure.why()),
        pressure_own: or_absent(pressure(|r| r.pressure_own, highest.avg10_own), || {
            sources.group.pressure.why()
        }),
        steal: or_absent(
            steal(first, last).map(|(share, wanted_share)| Steal { share, wanted_share }),
            || {
                if last.machine.is_some() {
                    "shorter than a tick of the kernel's account".to_owned()
                } else {
                    sources.machine.why()
                }
            },
        ),
        clock: or_absent(watch.clock.trouble(), || "no time has passed".to_owned()),
        switches: or_absent(switches, || sources.why_no_threads()),
        memory: or_absent(memory, || sources.status.why()),
        allocations: or_absent(allocations, || NOT_COUNTED.to_owned()),
        descriptors: or_absent(
            watch
                .course(highest.descriptors, |r| r.descriptors)
                .map(|open| Descriptors { open, limit: descriptor_limit() }),
            || sources.why_no_descriptors(),
        ),
        ports: or_absent(
            watch.course(highest.time_wait, |r| Some(r.sockets?.1)).map(|time_wait| LocalPorts {
                range: sources.port_range,
                in_use: last.sockets.map_or(0, |s| s.0),
                time_wait,
            }),
            || sources.sockets.why(),
        ),
        threads: or_absent(watch.course(highest.threads, |r| r.status.threads), || sources.status.why()),
        tasks: or_absent(watch.course(highest.tasks, |r| r.tasks), no_runtime),
        runtime_lag: match &account.cpu_ns {
            Err(reason) => Measured::absent(reason),
            Ok(_) => runtime_lag(watch, account),
        },
        transport: None,
        calibration: None,
        cost: match &account.cpu_ns {
            Err(reason) => Measured::absent(reason),
            Ok(ns) => Measured::Value(ProbeCost {
                cpu_s: seconds(*ns),
                share_of_core: share_of_core(*ns),
                readings: watch.readings,
                longest_reading_s: watch.longest_reading.as_secs_f64(),
                beats: account.beats,
            }),
        },
        sample_interval_s: account.interval_s * watch.timeline.every() as f64,
        samples: watch.samples(),
    }
}

fn runtime_lag(watch: &Watch, account: &ThreadAccount) -> Measured<RuntimeLag> {
    if watch.sources.runtimes.is_empty() {
        return Measured::absent("no async runtime was given to the probe");
    }
    if watch.beats.is_empty() {
        return Measured::absent("heartbeats are switched off");
    }
    let mut counts = Counts::new();
    // A moment of its own: a beat sent after the last reading is not late by the time since.
    let now = clocks().at;
    for beats in &watch.beats {
        beats.add_to(&mut counts, now);
    }
    let quantile = |p| counts.quantile(p).map(|ns| ns as f64 / 1e9);
    let (Some(p50_s), Some(p99_s)) = (quantile(0.5), quantile(0.99)) else {
        return Measured::absent("shorter than one heartbeat");
    };
    Measured::Value(RuntimeLag {
        beats: counts.n(),
        period_s: account.period_s,
        runtimes: watch.sources.runtimes.len() as u32,
        workers: watch.sources.runtimes.iter().map(|r| r.metrics().num_workers() as u32).sum(),
        p50_s,
        p99_s,
        max_s: counts.max() as f64 / 1e9,
        method: beat::METHOD.to_owned(),
    })
}

fn switches(watch: &mut Watch) -> Option<Switches> {
    let first = watch.first_switches.as_ref()?;
    let last = watch.sources.switches()?;
    let (mut voluntary, mut involuntary) = (0, 0);
    for (thread, v, i) in last {
        let before = first.iter().find(|f| f.0 == thread).filter(|f| f.1 <= v && f.2 <= i);
        let (v0, i0) = before.map_or((0, 0), |f| (f.1, f.2));
        voluntary += v - v0;
        involuntary += i - i0;
    }
    let scheduled = watch.has_threads.then(|| watch.threads.total().slices)?;
    Some(Switches { scheduled, voluntary, involuntary })
}

#[cfg(unix)]
fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn descriptor_limit() -> Option<u64> {
    None
}
