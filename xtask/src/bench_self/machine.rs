//! How busy the machine is with other things, as far as Linux tells.

use std::{fs, thread, time::Duration};

/// How long the machine is watched while nothing of ours runs.
const WATCHED: Duration = Duration::from_secs(1);
/// Share of the time, in percent, in which somebody waits for a processor, from which on a machine is busy.
const PRESSURE: f64 = 10.0;
/// Share of the processors, in percent, taken by the host, from which on a machine is busy.
const STEAL: f64 = 1.0;

/// The machine while nothing of ours runs.
pub(crate) struct Rest {
    /// Load average of the last minute.
    pub(crate) load: Option<f64>,
    /// Percent of the time in which some task waited for a processor.
    pub(crate) pressure: Option<f64>,
    /// Percent of the processors' time that the host took.
    pub(crate) steal: Option<f64>,
}

impl Rest {
    /// Watches for a second.
    pub(crate) fn watch() -> Self {
        let read = || {
            (read("/proc/pressure/cpu").and_then(|t| total(&t)), read("/proc/stat").and_then(|t| ticks(&t)))
        };
        let before = read();
        thread::sleep(WATCHED);
        let after = read();
        let pressure = after.0.zip(before.0).map(|(a, b)| (a - b) / WATCHED.as_micros() as f64 * 100.0);
        let steal = after.1.zip(before.1).map(|(a, b)| (a.1 - b.1) / (a.0 - b.0).max(1.0) * 100.0);
        let load = read_load();
        Self { load, pressure: pressure.map(|p| p.clamp(0.0, 100.0)), steal }
    }

    /// Whether something else uses it. Of `ended`, watched after our own load, the load average says nothing.
    pub(crate) fn busy(&self, cpus: usize, ended: bool) -> bool {
        let loaded = !ended && self.load.is_some_and(|l| l > cpus as f64);
        loaded || self.pressure.is_some_and(|p| p > PRESSURE) || self.steal.is_some_and(|s| s > STEAL)
    }

    pub(crate) fn words(&self) -> String {
        let said = |v: Option<f64>, unit| v.map_or("not told".to_owned(), |v| format!("{v:.1}{unit}"));
        format!(
            "load average {}, somebody waited for a processor {} of the time, the host took {}",
            said(self.load, ""),
            said(self.pressure, " %"),
            said(self.steal, " %")
        )
    }
}

/// The processors from some instant on, whoever uses them.
pub(crate) struct Watch(Option<(f64, f64)>);

impl Watch {
    /// From now on.
    pub(crate) fn begin() -> Self {
        Self(read("/proc/stat").and_then(|t| ticks(&t)))
    }

    /// Whether the host took so much of them since that no program wakes in time; `false` where that is not told.
    pub(crate) fn stolen(&self) -> bool {
        let now = read("/proc/stat").and_then(|t| ticks(&t));
        self.0
            .zip(now)
            .is_some_and(|(then, now)| (now.1 - then.1) / (now.0 - then.0).max(1.0) * 100.0 > STEAL)
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn read_load() -> Option<f64> {
    read("/proc/loadavg")?.split_whitespace().next()?.parse().ok()
}

/// Microseconds in which some task waited, of `some avg10=… total=…`.
fn total(text: &str) -> Option<f64> {
    let line = text.lines().find(|l| l.starts_with("some"))?;
    line.split_whitespace().find_map(|w| w.strip_prefix("total="))?.parse().ok()
}

/// All ticks and those stolen, of the first line of `/proc/stat`.
fn ticks(text: &str) -> Option<(f64, f64)> {
    let words = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<f64> = words.split_whitespace().map_while(|w| w.parse().ok()).collect();
    // guest and guest_nice are counted in user and nice already
    Some((fields.iter().take(8).sum(), *fields.get(7)?))
}

/// The processors, by name, and the kernel.
pub(crate) fn describe(cpus: usize) -> String {
    let model = read("/proc/cpuinfo").and_then(|t| {
        let line = t.lines().find(|l| l.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let kernel = read("/proc/sys/kernel/osrelease").map(|k| format!(", Linux {}", k.trim()));
    let model = model.map(|m| format!(" ({m})")).unwrap_or_default();
    format!("{cpus} processors{model}{}", kernel.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes() {
        assert_eq!(total("some avg10=0.61 avg60=0.90 total=12345\nfull avg10=0.00 total=0\n"), Some(12345.0));
        assert_eq!(ticks("cpu  10 1 5 80 2 0 1 7 3 0\ncpu0 1 1\n"), Some((106.0, 7.0)));
        assert_eq!((total(""), ticks("cpu  10 1\n")), (None, None));
    }

    #[test]
    fn busy() {
        let rest =
            |load, pressure, steal| Rest { load: Some(load), pressure: Some(pressure), steal: Some(steal) };
        assert!(!rest(1.9, 3.0, 0.2).busy(2, false));
        assert!(rest(2.1, 3.0, 0.2).busy(2, false));
        assert!(!rest(2.1, 3.0, 0.2).busy(2, true), "our own load");
        assert!(rest(0.1, 30.0, 0.2).busy(2, false));
        assert!(rest(0.1, 3.0, 2.0).busy(2, true));
        assert!(!Rest { load: None, pressure: None, steal: None }.busy(2, false));
    }
}
