//! The signals of the client process itself: what its probe saw while it measured.
//!
//! Run-queue wait, quota and clock trouble make a result INVALID: the client was not there when something happened, or its
//! stamps do not share one clock. A busy machine or process makes it SUSPECT.

use llms_core::bench::{ClientHealth, Level, Measured};

use crate::population::Population;

use super::{Judge, kernel_stamped, ms};

/// Limits of the process signals, as [`Thresholds`](super::Thresholds).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClientThresholds {
    /// time that one thread wanted a processor and had none, as a share of the wall time
    pub run_queue: f64,
    /// time held back by a quota, as a share of the wall time
    pub throttled: f64,
    /// step of the wall clock, seconds
    pub clock_step: f64,
    /// disagreement of wall and monotonic clock, parts per million, beyond what reading them can be wrong by
    pub clock_drift_ppm: f64,
    /// lateness of a due task, p99, seconds
    pub runtime_lag: f64,
    /// processor time of the process, as a share of what it may use
    pub cpu: f64,
    /// time in which somebody on the machine waited for a processor, as a share
    pub pressure: f64,
    /// processor time that the host took, as a share of what was wanted
    pub steal: f64,
    /// descriptors open, as a share of their limit
    pub descriptors: f64,
    /// local ports taken towards one destination, as a share of their range
    pub ports: f64,
}

impl Default for ClientThresholds {
    fn default() -> Self {
        Self {
            run_queue: 0.05,
            throttled: 0.01,
            clock_step: 1e-4,
            clock_drift_ppm: 500.0,
            runtime_lag: 5e-3,
            cpu: 0.7,
            pressure: 0.1,
            steal: 0.02,
            descriptors: 0.9,
            ports: 0.8,
        }
    }
}

/// One signal against its limit.
struct Signal {
    name: &'static str,
    level: Level,
    /// Out of bounds: what was measured.
    found: Option<String>,
    threshold: String,
    cure: &'static str,
}

impl Judge<'_> {
    /// The process signals; without a probe they are listed as not measured.
    pub(super) fn client(&mut self, populations: &[Population]) {
        let Some(health) = &self.manifest.client else {
            self.not_measured.push("client process: this run had no process probe".to_owned());
            return;
        };
        let mut absent = Vec::new();
        for (name, reason) in health.not_measured() {
            if JUDGED.contains(&name) {
                absent.push(format!("{name}: {reason}"));
            }
        }
        self.not_measured.extend(absent);
        // Where the arrival is when the program read, its lateness is in every latency of a stream.
        let stamps_carry_lag = self.manifest.scenario.streaming && !kernel_stamped(populations);
        for signal in signals(health, &self.limits.client, stamps_carry_lag) {
            match signal.found {
                Some(measured) => {
                    self.find(signal.name, signal.level, None, measured, signal.threshold, signal.cure);
                }
                None => self.checked(signal.name),
            }
        }
    }
}

/// The signals judged here, by their names in [`ClientHealth::not_measured`].
const JUDGED: [&str; 8] =
    ["cpu", "run_queue", "throttling", "pressure", "steal", "clock", "runtime_lag", "descriptors"];

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// What was measured of the signals there are.
fn signals(health: &ClientHealth, limits: &ClientThresholds, stamps_carry_lag: bool) -> Vec<Signal> {
    let mut all = Vec::new();
    let mut add = |name, level, found: Option<String>, threshold: String, cure| {
        all.push(Signal { name, level, found, threshold, cure });
    };
    if let Measured::Value(wait) = &health.run_queue {
        add(
            "run_queue",
            Level::Invalid,
            (limits.run_queue < wait.worst_thread_share).then(|| {
                format!(
                    "a thread of this client waited {} of the time for a processor",
                    percent(wait.worst_thread_share)
                )
            }),
            format!("at most {}", percent(limits.run_queue)),
            "the client did not get its processors when it needed them: use a quieter or larger machine, or a lower load",
        );
    }
    if let Measured::Value(held) = &health.throttling {
        add(
            "cpu_quota",
            Level::Invalid,
            (limits.throttled < held.share).then(|| {
                let quota = held.quota_cores.map_or_else(String::new, |q| format!(" of {q:.2} processors"));
                format!("the quota{quota} held this client back for {} of the time", percent(held.share))
            }),
            format!("at most {}", percent(limits.throttled)),
            "raise the quota of the container, or lower the load",
        );
    }
    if let Measured::Value(clock) = &health.clock {
        let drift = clock.drift_ppm.abs() - clock.drift_error_ppm;
        let stepped = limits.clock_step < clock.largest_step_s;
        let jumped = health.transport.filter(|t| t.clock_jumps > 0);
        let found = if stepped {
            Some(format!("the wall clock was set by {}", ms(clock.largest_step_s)))
        } else if let Some(t) = jumped {
            let largest = ms(t.clock_jump_max_ns as f64 / 1e9);
            Some(format!(
                "the wall clock was set {} times while kernel stamps were converted, by up to {largest}",
                t.clock_jumps
            ))
        } else {
            (limits.clock_drift_ppm < drift)
                .then(|| format!("wall and monotonic clock drift by {drift:.0} ppm"))
        };
        add(
            "clock_trouble",
            Level::Invalid,
            found,
            format!("steps below {}, drift below {:.0} ppm", ms(limits.clock_step), limits.clock_drift_ppm),
            "kernel stamps are read on the wall clock: repeat when the machine's time service has settled",
        );
    }
    if let Measured::Value(lag) = &health.runtime_lag {
        let (level, cure) = if stamps_carry_lag {
            (
                Level::Invalid,
                "the client's own runtime was slow to act, and arrivals are when it read: latencies contain its delay; use a quieter machine, a lower load, or a transport with kernel stamps (direct, HTTP/1.1, Linux)",
            )
        } else {
            (
                Level::Suspect,
                "the client's own runtime was slow to act; stamps of the kernel do not contain it, sends may",
            )
        };
        add(
            "runtime_lag",
            level,
            (limits.runtime_lag < lag.p99_s).then(|| format!("due tasks ran {} late (p99)", ms(lag.p99_s))),
            format!("p99 at most {}", ms(limits.runtime_lag)),
            cure,
        );
    }
    if let Measured::Value(cpu) = &health.cpu
        && let Some(share) = cpu.share
    {
        add(
            "client_cpu",
            Level::Suspect,
            (limits.cpu < share)
                .then(|| format!("the client used {} of the processors it may", percent(share))),
            format!("at most {}", percent(limits.cpu)),
            "little is left for bursts: use a larger machine or a lower load",
        );
    }
    if let Measured::Value(pressure) = &health.pressure {
        add(
            "cpu_pressure",
            Level::Suspect,
            (limits.pressure < pressure.share).then(|| {
                format!(
                    "somebody on this machine waited for a processor {} of the time",
                    percent(pressure.share)
                )
            }),
            format!("at most {}", percent(limits.pressure)),
            "the machine is busy: repeat when it is quiet",
        );
    }
    if let Measured::Value(steal) = &health.steal
        && let Some(share) = steal.wanted_share
    {
        add(
            "steal",
            Level::Suspect,
            (limits.steal < share)
                .then(|| format!("the host took {} of the processor time wanted", percent(share))),
            format!("at most {}", percent(limits.steal)),
            "other guests share this machine's processors: repeat, or measure from another one",
        );
    }
    if let Measured::Value(open) = &health.descriptors
        && let Some(limit) = open.limit
    {
        let share = open.open.max as f64 / limit.max(1) as f64;
        add(
            "descriptors",
            Level::Suspect,
            (limits.descriptors < share)
                .then(|| format!("{} of {limit} descriptors were open", open.open.max)),
            format!("at most {}", percent(limits.descriptors)),
            "raise the limit (ulimit -n): connections fail when it is reached",
        );
    }
    if let Measured::Value(ports) = &health.ports
        && let Some(share) = ports.share()
    {
        add(
            "local_ports",
            Level::Suspect,
            (limits.ports < share).then(|| {
                format!("up to {} of the local ports towards one address were taken", percent(share))
            }),
            format!("at most {}", percent(limits.ports)),
            "keep connections alive, or widen net.ipv4.ip_local_port_range",
        );
    }
    all
}
