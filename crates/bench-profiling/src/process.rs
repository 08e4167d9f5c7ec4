//! [`ProcessProbe`]: watches this process from a thread of its own.
//!
//! The thread reads everything each [`ProbeOptions::interval`] and sends a heartbeat through each watched runtime each
//! [`ProbeOptions::beat`]; it is no part of any runtime, so a stalled one is seen rather than shared. Between two beats it
//! sleeps. It allocates nothing while it watches.
//!
//! What starves the process starves this thread too: behind a quota or a hog, beats come late or not at all instead of being
//! answered late. Run-queue wait and throttling tell that; the lag tells a runtime that is blocked or overfull.
//!
//! # Cost
//! `benches/probe.rs`, two shared processors (Firecracker, Linux 6.18) at a load average of 14, medians of two runs:
//! - a reading and its telling: 79–121 µs of processor time; with 32 threads more 0.8–1.1 ms (each thread's account is a file);
//!   10,000 open descriptors add nothing (kernels since 6.2);
//! - `start`: 0.5–0.7 ms of processor time, 1.4–2.4 ms of wall time;
//! - watching an idle process, the runtime's answers included, in percent of one processor: readings each half second
//!   0.044–0.048; with a beat each 50 ms 0.25–0.26; each 10 ms 1.0–1.1; each millisecond 7.0–7.5. Hence 50 ms by default. A
//!   busy runtime has less to pay: it is awake anyway.
//!
//! Each span reports its own cost in `ClientHealth::cost`.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use llms_core::{
    bench::{ClientHealth, ClientProbe},
    time::{Clock, RealClock, Timestamp, real_clock},
};
use tokio::runtime::Handle;

use crate::{
    allocator,
    beat::{Beats, due_nanos},
    clock::thread_cpu,
    health::{ThreadAccount, health},
    reading::{Sources, own_thread},
    watch::Watch,
};

/// How often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Between two readings; at least 1 ms.
    pub interval: Duration,
    /// Between two heartbeats of each runtime, on average; at least 100 µs. `None` sends none.
    pub beat: Option<Duration>,
    /// Most samples kept; beyond, every second one goes and the distance doubles. At least 4.
    pub samples: usize,
}

impl Default for ProbeOptions {
    /// A reading each 500 ms, a beat each 50 ms, 512 samples (four minutes undiluted): the cost of both stays below what a
    /// comparison of the client with a bare reader can see. A beat each millisecond finds rarer stalls at many times the cost.
    fn default() -> Self {
        Self { interval: Duration::from_millis(500), beat: Some(Duration::from_millis(50)), samples: 512 }
    }
}

/// The probe of this process. Costs nothing until started; stops when dropped.
///
/// Two probes at once each see everything, but share the allocator's peak, which `start` resets.
pub struct ProcessProbe {
    options: ProbeOptions,
    proc: PathBuf,
    runtimes: Mutex<Vec<Handle>>,
    running: Mutex<Option<Running>>,
}

impl fmt::Debug for ProcessProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessProbe").field("options", &self.options).finish_non_exhaustive()
    }
}

/// One span of watching.
struct Running {
    shared: Arc<Shared>,
    /// `None` when no thread could be had, with the reason in `no_thread`.
    thread: Option<JoinHandle<()>>,
    no_thread: String,
    /// Processor time of readings on callers' threads, nanoseconds.
    callers_ns: u64,
}

/// What the thread and its callers share.
struct Shared {
    options: ProbeOptions,
    stop: AtomicBool,
    cpu_ns: AtomicU64,
    beats_sent: AtomicU64,
    beats: Vec<Arc<Beats>>,
    /// Empty until the first reading is taken.
    watch: Mutex<Option<Watch>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere does not make the numbers wrong.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ProcessProbe {
    /// Of this process, watching no runtime yet.
    pub fn new(options: ProbeOptions) -> Self {
        Self::reading_from(Path::new("/proc"), options)
    }

    /// As [`new`](Self::new), from a process file system mounted elsewhere.
    pub fn reading_from(proc: &Path, options: ProbeOptions) -> Self {
        Self { options, proc: proc.to_path_buf(), runtimes: Mutex::default(), running: Mutex::default() }
    }

    /// Watches the tasks and the lag of one more runtime, from the next start on.
    pub fn watch_runtime(&self, handle: Handle) {
        lock(&self.runtimes).push(handle);
    }

    /// [`new`](Self::new), watching the runtime this is called in, if it is called in one.
    pub fn here(options: ProbeOptions) -> Self {
        let probe = Self::new(options);
        if let Ok(handle) = Handle::try_current() {
            probe.watch_runtime(handle);
        }
        probe
    }

    fn begin(&self) -> Running {
        let runtimes = lock(&self.runtimes).clone();
        let beats: Vec<Arc<Beats>> = match self.options.beat {
            Some(_) => runtimes.iter().map(|_| Arc::new(Beats::new())).collect(),
            None => Vec::new(),
        };
        for (beats, runtime) in beats.iter().zip(&runtimes) {
            beats.answer_on(runtime, real_clock());
        }
        let own_tasks = beats.len() as u64;
        let shared = Arc::new(Shared {
            options: self.options,
            stop: AtomicBool::new(false),
            cpu_ns: AtomicU64::new(0),
            beats_sent: AtomicU64::new(0),
            beats,
            watch: Mutex::new(None),
        });
        let (tell, told) = mpsc::sync_channel(1);
        let (watching, proc) = (shared.clone(), self.proc.clone());
        let thread = thread::Builder::new().name("bench-probe".to_owned()).spawn(move || {
            // Nobody waits any more when this fails: the span is over.
            let _ = tell.send(own_thread(&proc));
            drop(tell);
            watching.run();
        });
        let (thread, no_thread) = match thread {
            Ok(thread) => (Some(thread), String::new()),
            Err(e) => (None, format!("no thread for the probe, only both ends were read: {e}")),
        };
        // The thread's own waiting is not the client's: its number comes before the first reading.
        let own = if thread.is_some() { told.recv().ok().flatten() } else { None };
        allocator::reset_peak();
        let sources = Sources::open(&self.proc, runtimes, own_tasks);
        let watch = Watch::begin(sources, shared.beats.clone(), own, self.options.samples);
        *lock(&shared.watch) = Some(watch);
        Running { shared, thread, no_thread, callers_ns: 0 }
    }
}

impl ClientProbe for ProcessProbe {
    fn start(&self) {
        let mut running = lock(&self.running);
        if let Some(mut before) = running.take() {
            before.end();
        }
        *running = Some(self.begin());
    }

    fn sample(&self) -> ClientHealth {
        match lock(&self.running).as_mut() {
            Some(running) => running.health(),
            None => ClientHealth::unwatched("the process probe was not started"),
        }
    }

    fn finish(&self) -> ClientHealth {
        match lock(&self.running).take() {
            Some(mut running) => {
                // The last reading sees the process as the others did, with the probe's thread in it.
                let health = running.health();
                running.end();
                health
            }
            None => ClientHealth::unwatched("the process probe was not started"),
        }
    }
}

impl Running {
    /// The health after one more reading on this thread.
    fn health(&mut self) -> ClientHealth {
        let mut watch = lock(&self.shared.watch);
        let Some(watch) = watch.as_mut() else {
            return ClientHealth::unwatched("the process probe was not started");
        };
        let before = thread_cpu();
        watch.read();
        if let (Some(before), Some(after)) = (before, thread_cpu()) {
            self.callers_ns += after.saturating_sub(before);
        }
        let options = &self.shared.options;
        let account = ThreadAccount {
            cpu_ns: if self.no_thread.is_empty() {
                Ok(self.shared.cpu_ns.load(Acquire) + self.callers_ns)
            } else {
                Err(self.no_thread.clone())
            },
            beats: self.shared.beats_sent.load(Acquire),
            period_s: options.beat.unwrap_or_default().as_secs_f64(),
            interval_s: options.interval.as_secs_f64(),
        };
        health(watch, &account)
    }

    /// Ends the thread and the tasks that answer it.
    fn end(&mut self) {
        self.shared.stop.store(true, Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the thread was printed where it happened; what was read before it stands.
            let _ = thread.join();
        }
        for beats in &self.shared.beats {
            beats.stop();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    /// The thread: beats and readings, each at its time, until stopped.
    fn run(&self) {
        let interval = self.options.interval.max(Duration::from_millis(1));
        let period = self.options.beat.unwrap_or(interval).max(Duration::from_micros(100)).as_nanos() as u64;
        let start = RealClock.now();
        let due = |k| start + Duration::from_nanos(due_nanos(k, period));
        let (mut beat, mut reading) = (0_u64, start + interval);
        while !self.stop.load(Acquire) {
            let now = RealClock.now();
            if !self.beats.is_empty() && due(beat) <= now {
                for beats in &self.beats {
                    beats.send(RealClock.now());
                }
                self.beats_sent.fetch_add(self.beats.len() as u64, Relaxed);
                // Beats that this thread slept through are not the runtime's fault.
                while due(beat) <= now {
                    beat += 1;
                }
            }
            if reading <= now {
                if let Some(watch) = lock(&self.watch).as_mut() {
                    watch.read();
                }
                reading = later(reading, interval, now);
            }
            self.cpu_ns.store(thread_cpu().unwrap_or(0), Release);
            let next = if self.beats.is_empty() { reading } else { reading.min(due(beat)) };
            thread::park_timeout(next.saturating_since(RealClock.now()));
        }
        self.cpu_ns.store(thread_cpu().unwrap_or(0), Release);
    }
}

/// The first instant of the grid after `now`.
fn later(last: Timestamp, interval: Duration, now: Timestamp) -> Timestamp {
    let steps = now.saturating_since(last).as_nanos() / interval.as_nanos() + 1;
    last + Duration::from_nanos((steps * interval.as_nanos()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_missed_are_not_made_up_for() {
        let (at, interval) = (Timestamp::from_nanos, Duration::from_nanos(10));
        for (now, next) in [(100, 110), (105, 110), (109, 110), (110, 120), (157, 160)] {
            assert_eq!(later(at(100), interval, at(now)), at(next));
        }
    }
}
