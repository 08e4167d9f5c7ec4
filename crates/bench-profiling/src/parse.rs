//! The kernel's texts, read without allocating: pure functions of bytes. What is not understood is `None`, never a guess.

/// The text of a number field, or of a whole small file.
fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n')
}

/// The first field after `key` at the start of a line.
fn after<'a>(text: &'a [u8], key: &str) -> Option<&'a [u8]> {
    lines(text).find_map(|line| fields(line.strip_prefix(key.as_bytes())?).next())
}

/// `/proc/…/schedstat`: one thread's account with the scheduler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SchedStat {
    /// On a processor, nanoseconds.
    pub(crate) run_ns: u64,
    /// Ready and waiting for one, nanoseconds.
    pub(crate) wait_ns: u64,
    /// Times put on one.
    pub(crate) slices: u64,
}

impl SchedStat {
    /// Growth since `earlier`; `None` when this is not the same account further on.
    pub(crate) fn since(self, earlier: Self) -> Option<Self> {
        Some(Self {
            run_ns: self.run_ns.checked_sub(earlier.run_ns)?,
            wait_ns: self.wait_ns.checked_sub(earlier.wait_ns)?,
            slices: self.slices.checked_sub(earlier.slices)?,
        })
    }

    pub(crate) fn plus(self, more: Self) -> Self {
        Self {
            run_ns: self.run_ns + more.run_ns,
            wait_ns: self.wait_ns + more.wait_ns,
            slices: self.slices + more.slices,
        }
    }
}

/// Three numbers; a kernel that keeps no account writes zeros, which is for the caller to see.
pub(crate) fn schedstat(text: &[u8]) -> Option<SchedStat> {
    let mut numbers = fields(text).map(number);
    Some(SchedStat { run_ns: numbers.next()??, wait_ns: numbers.next()??, slices: numbers.next()?? })
}

/// The `some` line of a pressure file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PressureLine {
    /// Percent.
    pub(crate) avg10: f64,
    /// Microseconds since boot.
    pub(crate) total_us: u64,
}

pub(crate) fn pressure(text: &[u8]) -> Option<PressureLine> {
    let some = lines(text).find_map(|l| l.strip_prefix(b"some "))?;
    let value = |key: &str| fields(some).find_map(|f| f.strip_prefix(key.as_bytes()));
    let avg10: f64 = std::str::from_utf8(value("avg10=")?).ok()?.parse().ok()?;
    let total_us = number(value("total=")?)?;
    avg10.is_finite().then_some(PressureLine { avg10, total_us })
}

/// What is used here of `/proc/self/status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) high_water_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
    /// Processors the process may run on.
    pub(crate) processors: Option<u32>,
}

pub(crate) fn status(text: &[u8]) -> Status {
    let kib = |key| after(text, key).and_then(number).and_then(|n| n.checked_mul(1024));
    Status {
        rss_bytes: kib("VmRSS:"),
        high_water_bytes: kib("VmHWM:"),
        threads: after(text, "Threads:").and_then(number),
        processors: after(text, "Cpus_allowed_list:").and_then(processor_list),
    }
}

/// Voluntary and involuntary context switches of a thread's `status`.
pub(crate) fn switches(text: &[u8]) -> Option<(u64, u64)> {
    let count = |key| after(text, key).and_then(number);
    Some((count("voluntary_ctxt_switches:")?, count("nonvoluntary_ctxt_switches:")?))
}

/// How many processors a list such as `0-3,8,10-11` names.
pub(crate) fn processor_list(list: &[u8]) -> Option<u32> {
    let mut count = 0_u32;
    for part in list.split(|b| *b == b',') {
        let mut ends = part.splitn(2, |b| *b == b'-');
        let first = u32::try_from(number(ends.next()?)?).ok()?;
        let last = match ends.next() {
            Some(last) => u32::try_from(number(last)?).ok()?,
            None => first,
        };
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count).filter(|c| 0 < *c)
}

/// User and system time of `/proc/self/stat`, in the kernel's ticks. The program's name may hold spaces and brackets.
pub(crate) fn stat_times(text: &[u8]) -> Option<(u64, u64)> {
    let name_end = text.iter().rposition(|b| *b == b')')?;
    // After the name: state is field 3 of proc(5), utime 14, stime 15.
    let mut rest = fields(&text[name_end + 1..]).skip(11);
    Some((number(rest.next()?)?, number(rest.next()?)?))
}

/// All processors together since boot, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MachineCpu {
    pub(crate) all: u64,
    /// Idle or waiting for disks.
    pub(crate) idle: u64,
    pub(crate) stolen: u64,
}

/// The first line of `/proc/stat`. `None` on kernels that do not tell stolen time (before 2.6.11).
pub(crate) fn machine_cpu(text: &[u8]) -> Option<MachineCpu> {
    let line = lines(text).find_map(|l| l.strip_prefix(b"cpu "))?;
    // user nice system idle iowait irq softirq steal; guest time, further on, is part of user and nice.
    let mut columns = [0; 8];
    let mut values = fields(line).map(number);
    for column in &mut columns {
        *column = values.next()??;
    }
    Some(MachineCpu { all: columns.iter().sum(), idle: columns[3] + columns[4], stolen: columns[7] })
}

/// IPv4 TCP sockets in use, and sockets in TIME_WAIT, of `/proc/net/sockstat`.
pub(crate) fn sockets(text: &[u8]) -> Option<(u64, u64)> {
    let line = lines(text).find_map(|l| l.strip_prefix(b"TCP:"))?;
    let value = |key: &[u8]| {
        let mut words = fields(line);
        words.find(|w| *w == key)?;
        number(words.next()?)
    };
    Some((value(b"inuse")?, value(b"tw")?))
}

/// How many ports `ip_local_port_range` spans.
pub(crate) fn port_range(text: &[u8]) -> Option<u64> {
    let mut ends = fields(text).map(number);
    ends.next()??.checked_sub(1).and_then(|below| ends.next()??.checked_sub(below))
}

/// Ticks per second (`AT_CLKTCK`) of the auxiliary vector: pairs of native words.
pub(crate) fn clock_ticks(auxv: &[u8]) -> Option<u64> {
    const AT_CLKTCK: usize = 17;
    const WORD: usize = size_of::<usize>();
    let word = |bytes: &[u8]| Some(usize::from_ne_bytes(bytes.try_into().ok()?));
    auxv.chunks_exact(2 * WORD)
        .find_map(|pair| (word(&pair[..WORD])? == AT_CLKTCK).then(|| word(&pair[WORD..]))?)
        .map(|ticks| ticks as u64)
        .filter(|ticks| 0 < *ticks)
}

/// `cpu.max` of a control group (version 2): processors allowed; `max` is no quota.
pub(crate) fn cpu_max(text: &[u8]) -> Option<f64> {
    let mut parts = fields(text);
    let quota = number(parts.next()?)?;
    let period = number(parts.next()?).filter(|p| 0 < *p)?;
    Some(quota as f64 / period as f64)
}

/// `cpu.cfs_quota_us` and `cpu.cfs_period_us` of a control group (version 1); −1 is no quota.
pub(crate) fn cfs_quota(quota: &[u8], period: &[u8]) -> Option<f64> {
    let quota: i64 = std::str::from_utf8(quota).ok()?.trim().parse().ok()?;
    let period = number(period).filter(|p| 0 < *p)?;
    (0 < quota).then(|| quota as f64 / period as f64)
}

/// Periods in which a quota ran out, and nanoseconds held back, of `cpu.stat` in either version.
pub(crate) fn throttled(text: &[u8]) -> Option<(u64, u64)> {
    let count = |key| after(text, key).and_then(number);
    let periods = count("nr_throttled ")?;
    let nanos =
        count("throttled_usec ").map(|us| us.saturating_mul(1000)).or_else(|| count("throttled_time "));
    Some((periods, nanos?))
}

/// Threads and links are named by their numbers.
pub(crate) fn directory_number(name: &[u8]) -> Option<u32> {
    let digits = !name.is_empty() && name.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(name).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduler_accounts() {
        let some = |run_ns, wait_ns, slices| Some(SchedStat { run_ns, wait_ns, slices });
        for (text, expected) in [
            ("187960 3036616 2\n", some(187960, 3036616, 2)),
            ("0 0 0\n", some(0, 0, 0)),
            ("18446744073709551615 1 2", some(u64::MAX, 1, 2)),
            ("1 2", None),
            ("", None),
            ("-1 2 3\n", None),
            ("a b c\n", None),
        ] {
            assert_eq!(schedstat(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn pressure_lines() {
        let some = |avg10, total_us| Some(PressureLine { avg10, total_us });
        for (text, expected) in [
            (
                "some avg10=5.81 avg60=6.08 avg300=5.53 total=9455699745\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
                some(5.81, 9_455_699_745),
            ),
            // Before 5.13 processors had no `full` line.
            ("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", some(0.0, 0)),
            ("full avg10=1.00 avg60=0.00 avg300=0.00 total=9\n", None),
            ("some avg10=nan avg60=0.00 avg300=0.00 total=9\n", None),
            ("some avg60=0.00 total=9\n", None),
            ("", None),
        ] {
            assert_eq!(pressure(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn status_files() {
        let text = "Name:\tThreads: 9\nVmHWM:\t    1612 kB\nVmRSS:\t    1600 kB\nThreads:\t12\nCpus_allowed:\t3\n\
                    Cpus_allowed_list:\t0-1\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t1\n";
        let expected = Status {
            rss_bytes: Some(1600 * 1024),
            high_water_bytes: Some(1612 * 1024),
            threads: Some(12),
            processors: Some(2),
        };
        assert_eq!(status(text.as_bytes()), expected);
        assert_eq!(switches(text.as_bytes()), Some((7, 1)));
        // A kernel thread has no memory of its own, a kernel without a field does not invent one.
        assert_eq!(status(b"Name:\tx\nThreads:\t1\n"), Status { threads: Some(1), ..Status::default() });
        assert_eq!(switches(b"voluntary_ctxt_switches:\t7\n"), None);
        assert_eq!(status(b"VmRSS:\nVmHWM:\t99999999999999999999 kB\n"), Status::default());
    }

    #[test]
    fn processor_lists() {
        for (list, count) in [
            ("0-1", Some(2)),
            ("5", Some(1)),
            ("0-3,8,10-11", Some(7)),
            ("", None),
            ("3-1", None),
            ("0,,1", None),
            ("a-b", None),
            ("0-4294967295", None),
        ] {
            assert_eq!(processor_list(list.as_bytes()), count, "{list:?}");
        }
    }

    #[test]
    fn times_of_a_process_whatever_its_name() {
        let rest = "R 1 1 1 0 -1 4194304 102 0 0 0 31 17 0 0 20 0 1 0 2381447 3133440";
        for name in ["(cat)", "(a) R 9 9 (b)", "(\u{e9} x)", "())"] {
            assert_eq!(stat_times(format!("1854 {name} {rest}").as_bytes()), Some((31, 17)), "{name}");
        }
        assert_eq!(stat_times(b"1 (\xff\xfe) R 1 1 1 0 -1 4 1 0 0 0 3 4 0\n"), Some((3, 4)));
        assert_eq!(stat_times(b"1854 (cat) R 1 1"), None);
        assert_eq!(stat_times(b"1854 cat"), None);
    }

    #[test]
    fn machine_times() {
        let text =
            "cpu  3191096 320277 297021 908712 13592 0 6311 16630 5 6\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 99\n";
        let all = 3191096 + 320277 + 297021 + 908712 + 13592 + 6311 + 16630;
        let expected = MachineCpu { all, idle: 908712 + 13592, stolen: 16630 };
        assert_eq!(machine_cpu(text.as_bytes()), Some(expected));
        assert_eq!(machine_cpu(b"cpu  1 2 3 4 5 6 7\n"), None, "no steal column is unknown, not 0");
        assert_eq!(machine_cpu(b"cpu0 1 2 3 4 5 6 7 8\n"), None);
        assert_eq!(machine_cpu(b""), None);
    }

    #[test]
    fn sockets_and_ports() {
        let text = "sockets: used 17\nTCP: inuse 1 orphan 0 tw 12 alloc 1 mem 0\nUDP: inuse 0 mem 0\n";
        assert_eq!(sockets(text.as_bytes()), Some((1, 12)));
        assert_eq!(sockets(b"UDP: inuse 0 mem 0\n"), None);
        assert_eq!(sockets(b"TCP: inuse tw\n"), None);
        assert_eq!(port_range(b"32768\t60999\n"), Some(28232));
        assert_eq!(port_range(b"5 5\n"), Some(1));
        for wrong in ["", "1", "9 1", "x y", "0 9"] {
            assert_eq!(port_range(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn ticks_of_the_auxiliary_vector() {
        let vector = |pairs: &[(usize, usize)]| -> Vec<u8> {
            pairs.iter().flat_map(|(k, v)| [k.to_ne_bytes(), v.to_ne_bytes()].concat()).collect()
        };
        assert_eq!(clock_ticks(&vector(&[(33, 17), (17, 100), (0, 0)])), Some(100));
        assert_eq!(clock_ticks(&vector(&[(33, 17), (0, 0)])), None);
        assert_eq!(clock_ticks(&vector(&[(17, 0)])), None);
        assert_eq!(clock_ticks(&[1, 2, 3]), None);
    }

    #[test]
    fn quotas_of_both_versions() {
        for (text, expected) in [
            ("max 100000\n", None),
            ("5000 100000\n", Some(0.05)),
            ("250000 100000\n", Some(2.5)),
            ("5000 0\n", None),
            ("max\n", None),
            ("", None),
        ] {
            assert_eq!(cpu_max(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(cfs_quota(b"-1\n", b"100000\n"), None);
        assert_eq!(cfs_quota(b"5000\n", b"100000\n"), Some(0.05));
        assert_eq!(cfs_quota(b"5000\n", b"0\n"), None);
        assert_eq!(cfs_quota(b"", b"100000\n"), None);
    }

    #[test]
    fn time_held_back_in_both_versions() {
        let two = "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 7\nnr_throttled 3\nthrottled_usec 250\nnr_bursts 0\n";
        assert_eq!(throttled(two.as_bytes()), Some((3, 250_000)));
        assert_eq!(throttled(b"nr_periods 7\nnr_throttled 3\nthrottled_time 250000\n"), Some((3, 250_000)));
        // Without the controller the file has usage only.
        assert_eq!(throttled(b"usage_usec 9\nuser_usec 5\nsystem_usec 4\n"), None);
        assert_eq!(throttled(b""), None);
    }

    #[test]
    fn names_of_directories() {
        assert_eq!(directory_number(b"1854"), Some(1854));
        for other in ["", ".", "..", "12a", "-1", "99999999999"] {
            assert_eq!(directory_number(other.as_bytes()), None, "{other:?}");
        }
    }
}
