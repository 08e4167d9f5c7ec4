//! What the machine did meanwhile, as far as Linux tells: pressure on the processors, and time taken by the host.

use std::fs;

/// Counters of one instant; absent where the platform has none.
pub(crate) struct Pressure {
    /// Microseconds in which some task waited for a processor, since boot.
    waiting_us: Option<u64>,
    /// Ticks of all processors, and of these stolen by the host.
    ticks: Option<(u64, u64)>,
    at: std::time::Instant,
}

impl Pressure {
    pub(crate) fn now() -> Self {
        let pressure = fs::read_to_string("/proc/pressure/cpu").ok();
        let stat = fs::read_to_string("/proc/stat").ok();
        Self {
            waiting_us: pressure.as_deref().and_then(total),
            ticks: stat.as_deref().and_then(ticks),
            at: std::time::Instant::now(),
        }
    }

    /// In words, what happened since.
    pub(crate) fn since(&self, before: &Self) -> Vec<String> {
        let mut said = Vec::new();
        let wall = self.at.duration_since(before.at).as_micros().max(1) as f64;
        match self.waiting_us.zip(before.waiting_us) {
            Some((now, then)) => said.push(format!(
                "tasks of this machine waited for a processor in {:.0} % of the time",
                now.saturating_sub(then) as f64 / wall * 100.0
            )),
            None => said.push("pressure on the processors: not told by this platform".to_owned()),
        }
        if let Some((now, then)) = self.ticks.zip(before.ticks) {
            let share = now.1.saturating_sub(then.1) as f64 / now.0.saturating_sub(then.0).max(1) as f64;
            said.push(format!("the host took {:.1} % of its processors", share * 100.0));
        }
        said
    }
}

/// `some avg10=… total=…`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.starts_with("some"))?;
    line.split_whitespace().find_map(|w| w.strip_prefix("total="))?.parse().ok()
}

/// All ticks and those stolen, of the first line of `/proc/stat`.
fn ticks(text: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> =
        text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|w| w.parse().ok()).collect();
    // guest and guest_nice are counted in user and nice already
    Some((fields.iter().take(8).sum(), *fields.get(7)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes() {
        assert_eq!(
            total("some avg10=0.61 avg60=0.90 avg300=0.60 total=12345\nfull avg10=0.00 total=0\n"),
            Some(12345)
        );
        assert_eq!(total(""), None);
        assert_eq!(ticks("cpu  10 1 5 80 2 0 1 7 3 0\ncpu0 1 1\n"), Some((106, 7)));
        assert_eq!(ticks("cpu  10 1\n"), None);
    }
}
