//! One reading of everything the kernel and the runtimes tell, and the open files it comes from.

use std::path::Path;

use llms_core::bench::AllocatorCounters;
use tokio::runtime::Handle;

use crate::{
    allocator,
    cgroup::ControlGroup,
    clock::{self, ClockReading},
    file::{Buffer, KernelDir, KernelFile},
    parse::{self, MachineCpu, PressureLine, SchedStat, Status},
    threads::ThreadTable,
};

/// Everything at one moment; `None` where [`Sources`] has a reason.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) clock: ClockReading,
    pub(crate) cpu_ns: Option<u64>,
    /// User and system, ticks.
    pub(crate) ticks: Option<(u64, u64)>,
    pub(crate) machine: Option<MachineCpu>,
    pub(crate) status: Status,
    pub(crate) pressure: Option<PressureLine>,
    pub(crate) pressure_own: Option<PressureLine>,
    /// Periods, nanoseconds.
    pub(crate) throttled: Option<(u64, u64)>,
    pub(crate) descriptors: Option<u64>,
    /// In use, in TIME_WAIT.
    pub(crate) sockets: Option<(u64, u64)>,
    pub(crate) tasks: Option<u64>,
    pub(crate) allocator: Option<AllocatorCounters>,
}

/// The open files. Reading them allocates nothing.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) stat: KernelFile,
    pub(crate) status: KernelFile,
    pub(crate) machine: KernelFile,
    pub(crate) pressure: KernelFile,
    pub(crate) group: ControlGroup,
    pub(crate) sockets: KernelFile,
    tasks: KernelDir,
    descriptors: KernelDir,
    pub(crate) runtimes: Vec<Handle>,
    /// Tasks of the probe's own on these runtimes.
    own_tasks: u64,
    /// Ticks per second of [`Reading::ticks`].
    pub(crate) ticks_per_s: Option<u64>,
    pub(crate) port_range: Option<u64>,
    buffer: Buffer,
}

impl Sources {
    /// Opens what is there. `proc`: the kernel's file system of processes.
    pub(crate) fn open(proc: &Path, runtimes: Vec<Handle>, own_tasks: u64) -> Self {
        let own = proc.join("self");
        let at_once = |path: &str| std::fs::read(proc.join(path)).ok();
        Self {
            stat: KernelFile::open(&own.join("stat")),
            status: KernelFile::open(&own.join("status")),
            machine: KernelFile::open(&proc.join("stat")),
            pressure: KernelFile::open(&proc.join("pressure/cpu")),
            group: ControlGroup::find(proc),
            // Of the process's own network name space.
            sockets: KernelFile::open(&own.join("net/sockstat")),
            tasks: KernelDir::open(&own.join("task")),
            descriptors: KernelDir::open(&own.join("fd")),
            runtimes,
            own_tasks,
            ticks_per_s: at_once("self/auxv").and_then(|v| parse::clock_ticks(&v)),
            port_range: at_once("sys/net/ipv4/ip_local_port_range").and_then(|t| parse::port_range(&t)),
            buffer: Buffer::new(),
        }
    }

    pub(crate) fn read(&mut self) -> Reading {
        let descriptors = self.open_descriptors();
        let buffer = &mut self.buffer;
        Reading {
            cpu_ns: clock::process_cpu(),
            ticks: self.stat.read(buffer).and_then(parse::stat_times),
            machine: self.machine.read(buffer).and_then(parse::machine_cpu),
            status: self.status.read(buffer).map(parse::status).unwrap_or_default(),
            pressure: self.pressure.read(buffer).and_then(parse::pressure),
            pressure_own: self.group.pressure.read(buffer).and_then(parse::pressure),
            throttled: self.group.throttling.read(buffer).and_then(parse::throttled),
            descriptors,
            sockets: self.sockets.read(buffer).and_then(parse::sockets),
            tasks: self.alive_tasks(),
            allocator: allocator::counters(),
            // Last, so that the moment is the one the cumulative numbers were read before.
            clock: clock::clocks(),
        }
    }

    /// Kernels since 6.2 tell the number as the directory's size; before, the entries are counted.
    fn open_descriptors(&mut self) -> Option<u64> {
        if let Some(n) = self.descriptors.file().size().filter(|n| 0 < *n) {
            return Some(n);
        }
        let mut n = 0;
        self.descriptors.each(|_| n += 1)?;
        Some(n)
    }

    fn alive_tasks(&self) -> Option<u64> {
        let alive: u64 = self.runtimes.iter().map(|r| r.metrics().num_alive_tasks() as u64).sum();
        (!self.runtimes.is_empty()).then(|| alive.saturating_sub(self.own_tasks))
    }

    /// Reads every thread's account into `table`, but that of thread `but`. `None` when the kernel keeps none.
    pub(crate) fn threads(&mut self, table: &mut ThreadTable, but: Option<u32>) -> Option<()> {
        let buffer = &mut self.buffer;
        let mut accounts = false;
        table.begin();
        let listed = self.tasks.each(|thread| {
            if Some(thread.number) == but {
                return;
            }
            let Some(now) = thread.read("schedstat", buffer).and_then(parse::schedstat) else { return };
            accounts |= now != SchedStat::default();
            table.see(thread.number, now);
        });
        table.end();
        listed.filter(|()| accounts)
    }

    /// Voluntary and involuntary switches of each thread alive, by its number.
    pub(crate) fn switches(&mut self) -> Option<Vec<(u32, u64, u64)>> {
        let buffer = &mut self.buffer;
        let mut all = Vec::new();
        self.tasks.each(|thread| {
            if let Some((voluntary, involuntary)) = thread.read("status", buffer).and_then(parse::switches) {
                all.push((thread.number, voluntary, involuntary));
            }
        })?;
        Some(all).filter(|all| !all.is_empty())
    }

    /// Why there is no account of waiting.
    pub(crate) fn why_no_threads(&self) -> String {
        if self.tasks.file().is_open() {
            "this kernel keeps no account of waiting threads (CONFIG_SCHED_INFO)".to_owned()
        } else {
            self.tasks.file().why()
        }
    }

    /// Why there is no number of open descriptors.
    pub(crate) fn why_no_descriptors(&self) -> String {
        self.descriptors.file().why()
    }
}

/// The thread's own number with the kernel.
pub(crate) fn own_thread(proc: &Path) -> Option<u32> {
    let link = std::fs::read_link(proc.join("thread-self")).ok()?;
    parse::directory_number(link.file_name()?.as_encoded_bytes())
}
