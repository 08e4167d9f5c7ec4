//! The health of the client process while it measures: what the verdict on a run rests on besides its records.
//!
//! [`ClientProbe`] watches the process from the first send to the last answer; [`ClientHealth`] is what it saw, plain
//! data, saved with the run. Implemented by `bench-profiling`, judged by `bench-analysis`, drawn by `bench-report`.
//!
//! Judges nothing. What a platform has not is [`Measured::Absent`] with the reason, never 0.

use serde::{Deserialize, Serialize};

use super::{analysis::Measured, calibration::Calibration};
use crate::{time::Timestamp, wire::TransportCounters};

/// Watches the client process. Implemented by `bench-profiling`; `()` watches nothing.
///
/// All three calls read files of the kernel's, which takes up to some milliseconds on a busy machine, and are made outside the
/// hot path: `start` before the first send of the window, `finish` when the last request is over.
pub trait ClientProbe: Send + Sync {
    /// Begins to watch; a second call forgets what was seen and begins anew.
    fn start(&self);

    /// What was seen since [`start`](Self::start); watching goes on.
    fn sample(&self) -> ClientHealth;

    /// What was seen since [`start`](Self::start), and the end of watching. Without a start every signal is absent.
    fn finish(&self) -> ClientHealth;
}

impl ClientProbe for () {
    fn start(&self) {}

    fn sample(&self) -> ClientHealth {
        ClientHealth::unwatched("this run had no process probe")
    }

    fn finish(&self) -> ClientHealth {
        self.sample()
    }
}

/// Reads the counters of the process's allocator. Implemented by `bench-profiling` over its counting allocator.
pub trait AllocatorProbe: Send + Sync {
    /// The counters now; absent when the binary does not count its allocations.
    fn counters(&self) -> Measured<AllocatorCounters>;
}

/// Counters of the allocator since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatorCounters {
    /// Blocks handed out; a reallocation is one more.
    pub allocations: u64,
    /// Bytes asked for by them; a reallocation asks for its new size.
    pub allocated_bytes: u64,
    /// Bytes asked for and not given back.
    pub live_bytes: u64,
    /// Most bytes live at once since the process began or the peak was last reset; see the allocator for its error.
    pub peak_live_bytes: u64,
}

/// What a probe saw between [`ClientProbe::start`] and now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientHealth {
    /// First instant of the span, on the monotonic clock.
    pub started: Timestamp,
    /// Last instant of the span.
    pub ended: Timestamp,
    /// Length of the span, seconds.
    pub wall_s: f64,
    /// Processor time of the process.
    pub cpu: Measured<CpuUse>,
    /// Time its threads were ready to run and waited for a processor.
    pub run_queue: Measured<RunQueue>,
    /// Time its control group was held back by its quota.
    pub throttling: Measured<Throttling>,
    /// Pressure on the processors of the whole machine.
    pub pressure: Measured<Pressure>,
    /// Pressure on the processors within the process's own control group.
    pub pressure_own: Measured<Pressure>,
    /// Processor time that the hypervisor gave to others.
    pub steal: Measured<Steal>,
    /// Agreement of the clocks.
    pub clock: Measured<ClockTrouble>,
    /// How often its threads got and lost a processor.
    pub switches: Measured<Switches>,
    /// Resident memory.
    pub memory: Measured<ResidentMemory>,
    /// What was allocated in the span.
    pub allocations: Measured<AllocationUse>,
    /// Open descriptors.
    pub descriptors: Measured<Descriptors>,
    /// Local ports.
    pub ports: Measured<LocalPorts>,
    /// Threads of the process, the probe's own among them.
    pub threads: Measured<Course>,
    /// Tasks alive on the watched async runtimes, the probe's own not among them.
    pub tasks: Measured<Course>,
    /// How late the async runtime runs a due task.
    pub runtime_lag: Measured<RuntimeLag>,
    /// What the transport counted of its own work in the span, all targets together; `None` when it does not count, or
    /// the runner was not told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportCounters>,
    /// What this client was wrong by on a twin before the run; `None` when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What watching cost.
    pub cost: Measured<ProbeCost>,
    /// Seconds between two of the samples below; doubled each time there are too many, so their number is bounded.
    pub sample_interval_s: f64,
    /// The course of the signals, in order of time; always with the first and the last instant of the span.
    pub samples: Vec<HealthSample>,
}

impl ClientHealth {
    /// Nothing was watched, because of `reason`.
    pub fn unwatched(reason: &str) -> Self {
        Self {
            started: Timestamp::ZERO,
            ended: Timestamp::ZERO,
            wall_s: 0.0,
            cpu: Measured::absent(reason),
            run_queue: Measured::absent(reason),
            throttling: Measured::absent(reason),
            pressure: Measured::absent(reason),
            pressure_own: Measured::absent(reason),
            steal: Measured::absent(reason),
            clock: Measured::absent(reason),
            switches: Measured::absent(reason),
            memory: Measured::absent(reason),
            allocations: Measured::absent(reason),
            descriptors: Measured::absent(reason),
            ports: Measured::absent(reason),
            threads: Measured::absent(reason),
            tasks: Measured::absent(reason),
            runtime_lag: Measured::absent(reason),
            transport: None,
            calibration: None,
            cost: Measured::absent(reason),
            sample_interval_s: 0.0,
            samples: Vec::new(),
        }
    }

    /// Signals that were not measured, by name, with the reason.
    pub fn not_measured(&self) -> Vec<(&'static str, &str)> {
        [
            ("cpu", self.cpu.reason()),
            ("run_queue", self.run_queue.reason()),
            ("throttling", self.throttling.reason()),
            ("pressure", self.pressure.reason()),
            ("pressure_own", self.pressure_own.reason()),
            ("steal", self.steal.reason()),
            ("clock", self.clock.reason()),
            ("switches", self.switches.reason()),
            ("memory", self.memory.reason()),
            ("allocations", self.allocations.reason()),
            ("descriptors", self.descriptors.reason()),
            ("ports", self.ports.reason()),
            ("threads", self.threads.reason()),
            ("tasks", self.tasks.reason()),
            ("runtime_lag", self.runtime_lag.reason()),
            ("cost", self.cost.reason()),
        ]
        .into_iter()
        .filter_map(|(name, reason)| Some((name, reason?)))
        .collect()
    }
}

/// Processor time of the process over the span, ended threads included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuUse {
    /// User and system together, seconds, to the nanosecond of the kernel's account.
    pub total_s: f64,
    /// In user mode, seconds; in steps of the kernel's tick (10 ms). `None` where the platform does not split.
    pub user_s: Option<f64>,
    /// In the kernel, seconds; in the same steps.
    pub system_s: Option<f64>,
    /// Processors the process may use: its affinity or its control group's quota, whichever is less. A fraction under a
    /// quota. `None` when neither could be read.
    pub allowed_cores: Option<f64>,
    /// total / (wall × allowed cores); can pass 1 by the granularity of a quota's periods.
    pub share: Option<f64>,
}

/// Time that threads of the process were ready to run and waited for a processor.
///
/// Summed from one reading to the next: a thread that ended keeps what it had at the last reading before, one that came is
/// counted from its start. What lived and died between two readings is missed; `unseen_run_s` bounds it from the other
/// side. Waits behind a quota may not count here: see [`Throttling`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunQueue {
    /// Waited, all threads together but the probe's own, seconds.
    pub wait_s: f64,
    /// wait / wall. With several threads this can pass 1.
    pub share: f64,
    /// Waited by the thread that waited most, seconds / wall. In [0, 1] but for rounding.
    pub worst_thread_share: f64,
    /// wait / (wait + run): of the time that threads wanted a processor, the share they had none.
    pub wanting_share: Option<f64>,
    /// Run, the same threads, seconds.
    pub run_s: f64,
    /// Processor time of the process that no thread seen here accounts for, seconds.
    pub unseen_run_s: Option<f64>,
    /// Threads seen that ended in the span.
    pub threads_ended: u64,
}

/// Time that the process's control group was not allowed to run because its quota was used up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throttling {
    /// The tightest quota above the process, processors; `None` when there is none (and then nothing is held back).
    pub quota_cores: Option<f64>,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Held back, seconds, summed over processors as the kernel counts.
    pub throttled_s: f64,
    /// held back / wall.
    pub share: f64,
}

/// Pressure stall information on processors: time in which somebody who could run had to wait.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// The kernel's mean over the last 10 s at the end of the span, percent.
    pub avg10: f64,
    /// The same at the start: what it says about the time before.
    pub avg10_start: f64,
    /// The highest seen in the span.
    pub avg10_max: f64,
    /// Stalled in the span, seconds.
    pub stalled_s: f64,
    /// stalled / wall: exact for the span, where avg10 also remembers what was before.
    pub share: f64,
}

/// Processor time of the machine that its hypervisor gave to others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steal {
    /// stolen / all time of all processors, idle included. In [0, 1].
    pub share: f64,
    /// stolen / time that was wanted (all but idle and waiting for disks). `None` when nothing was wanted.
    pub wanted_share: Option<f64>,
}

/// Agreement of the clocks that stamps are taken on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockTrouble {
    /// Wall clock against monotonic clock over the span, steps taken out, parts per million.
    pub drift_ppm: f64,
    /// How far the reading of two clocks one after the other can be wrong, parts per million of the span.
    pub drift_error_ppm: f64,
    /// Largest step of the wall clock between two readings beyond what the readings can be wrong by, seconds; 0 for none.
    pub largest_step_s: f64,
    /// Steps of more than 0.1 ms.
    pub steps: u64,
    /// Monotonic clock against the unadjusted oscillator, parts per million: how hard the time service pulls. `None`
    /// where the platform has no such clock.
    pub slew_ppm: Option<f64>,
    /// Time that the machine slept in the span, seconds. `None` where the platform does not tell.
    pub suspended_s: Option<f64>,
}

/// How often threads of the process got and lost a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches {
    /// Times a thread was put on a processor; same threads as [`RunQueue`].
    pub scheduled: u64,
    /// Times a thread gave its processor up to wait; threads alive at the end, their whole life when born in the span.
    pub voluntary: u64,
    /// Times one was taken from it while it had work; the same threads.
    pub involuntary: u64,
}

/// Resident memory of the process. The kernel's own counters: exact to some pages per thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResidentMemory {
    /// At the start of the span.
    pub start_bytes: u64,
    /// At its end.
    pub end_bytes: u64,
    /// Highest in the span. Exact when `peak_exact`; else the highest seen at a reading.
    pub peak_bytes: u64,
    /// The kernel's high-water mark rose within the span and is the peak.
    pub peak_exact: bool,
    /// The kernel's high-water mark: highest since the process began.
    pub high_water_bytes: u64,
}

/// What was allocated in the span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationUse {
    /// Blocks handed out in the span; a reallocation is one more.
    pub allocations: u64,
    /// Bytes asked for in the span.
    pub allocated_bytes: u64,
    /// Bytes live at its start.
    pub start_live_bytes: u64,
    /// Bytes live at its end.
    pub end_live_bytes: u64,
    /// Most bytes live at once in the span.
    pub peak_live_bytes: u64,
}

/// Open descriptors against their limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptors {
    /// Open at the start and end of the span, and the most seen at a reading.
    pub open: Course,
    /// The soft limit; `None` when there is none.
    pub limit: Option<u64>,
}

/// Local TCP ports of the network namespace, other processes' sockets included: a hint at exhaustion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPorts {
    /// Ports given to outgoing connections, for one destination.
    pub range: Option<u64>,
    /// IPv4 sockets in use at the end.
    pub in_use: u64,
    /// Sockets waiting out their last segments (TIME_WAIT) at start and end, and the most seen.
    pub time_wait: Course,
}

impl LocalPorts {
    /// Upper bound on the share of local ports taken towards a single destination. `None` without a known range.
    pub fn share(&self) -> Option<f64> {
        let range = self.range.filter(|r| 0 < *r)?;
        Some((self.in_use + self.time_wait.max) as f64 / range as f64)
    }
}

/// A level that rises and falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// At the start of the span.
    pub start: u64,
    /// At its end.
    pub end: u64,
    /// Highest seen at a reading.
    pub max: u64,
}

/// How late the async runtime runs a task that is due: heartbeats from outside the runtime, from the wake to the poll.
///
/// Beats that fall due while an earlier one waits count with their own lateness, so that one long stall weighs as long as
/// it was. Beats still unanswered at the end count with the lateness they had by then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuntimeLag {
    /// Beats counted.
    pub beats: u64,
    /// Seconds between two beats, on average.
    pub period_s: f64,
    /// Runtimes watched.
    pub runtimes: u32,
    /// Their worker threads together.
    pub workers: u32,
    /// Median lateness, seconds.
    pub p50_s: f64,
    /// 99th percentile, seconds: bucketed, at most 1/16 too high, never too low.
    pub p99_s: f64,
    /// Worst, seconds, exact.
    pub max_s: f64,
    /// How it was measured.
    pub method: String,
}

/// What watching cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeCost {
    /// Processor time of the probe's thread, seconds; part of [`CpuUse::total_s`].
    pub cpu_s: f64,
    /// The same as a share of one processor.
    pub share_of_core: f64,
    /// Readings taken.
    pub readings: u64,
    /// Longest time one reading took, seconds of wall time.
    pub longest_reading_s: f64,
    /// Heartbeats sent. What the runtime pays to answer one is not in `cpu_s`.
    pub beats: u64,
}

/// One reading. Counters run from the start of the span, so that thinning loses no event; levels are as they were.
/// `None`: not measured, see the reason at the signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthSample {
    /// When, on the monotonic clock.
    pub at: Timestamp,
    /// Processor time so far, seconds.
    pub cpu_s: Option<f64>,
    /// Waited for a processor so far, all threads, seconds.
    pub wait_s: Option<f64>,
    /// Held back by a quota so far, seconds.
    pub throttled_s: Option<f64>,
    /// Machine's processor pressure so far, seconds stalled.
    pub stalled_s: Option<f64>,
    /// Stolen share of the machine's time so far, in [0, 1].
    pub steal_share: Option<f64>,
    /// Wall clock minus monotonic clock, less the same at the start, seconds.
    pub clock_offset_s: Option<f64>,
    /// Resident memory, bytes.
    pub rss_bytes: Option<u64>,
    /// Bytes live in the allocator.
    pub live_bytes: Option<u64>,
    /// Allocations so far.
    pub allocations: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// Sockets in TIME_WAIT.
    pub time_wait: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Async tasks alive.
    pub tasks: Option<u64>,
    /// Worst lateness of a due task since the sample before this one, seconds.
    pub lag_max_s: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_probe_everything_is_absent_with_a_reason_and_survives_json() {
        let health = ().finish();
        assert_eq!(health.not_measured().len(), 16);
        let text = serde_json::to_string(&health).unwrap();
        assert!(text.contains(r#""cpu":{"absent":"this run had no process probe"}"#), "{text}");
        assert_eq!(serde_json::from_str::<ClientHealth>(&text).unwrap(), health);
    }

    #[test]
    fn measured_signals_are_not_taken_for_absent_ones() {
        let mut health = ClientHealth::unwatched("not yet");
        health.threads = Measured::Value(Course { start: 1, end: 3, max: 4 });
        health.clock = Measured::Value(ClockTrouble {
            drift_ppm: 0.5,
            drift_error_ppm: 0.1,
            largest_step_s: 0.0,
            steps: 0,
            slew_ppm: None,
            suspended_s: None,
        });
        let back: ClientHealth = serde_json::from_str(&serde_json::to_string(&health).unwrap()).unwrap();
        assert_eq!(back, health);
        assert_eq!(back.not_measured().len(), 14);
    }

    #[test]
    fn ports_in_time_wait_are_taken() {
        let time_wait = Course { start: 0, end: 10, max: 90 };
        let ports = LocalPorts { range: Some(1000), in_use: 10, time_wait };
        assert_eq!(ports.share(), Some(0.1));
        assert_eq!(LocalPorts { range: None, ..ports }.share(), None);
        assert_eq!(LocalPorts { range: Some(0), ..ports }.share(), None);
    }
}
