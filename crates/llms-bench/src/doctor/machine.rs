//! This machine as an instrument: clock, timers, processors, limits.

use std::{fs, time::Duration};

use llms_core::time::{Clock, RealClock};
use rustix::process::{Resource, getrlimit};

use super::{Finding, Mark};

/// Descriptors below which a thousand connections do not fit.
const FEW_DESCRIPTORS: u64 = 4096;
/// Looks at the clock.
const READINGS: usize = 10_000;
/// Sleeps to see how late this machine wakes us.
const SLEEPS: usize = 50;
const SLEEP: Duration = Duration::from_millis(2);

pub(super) fn findings() -> Vec<Finding> {
    [build(), Some(clock()), Some(wake_ups()), Some(load()), Some(descriptors()), pressure(), proxy()]
        .into_iter()
        .flatten()
        .collect()
}

fn build() -> Option<Finding> {
    cfg!(debug_assertions).then(|| {
        let found = "debug: its timings are worthless; use a release build (cargo xtask does)";
        Finding::new(Mark::Warn, "build", found)
    })
}

/// Steps and cost of the clock that everything is stamped with.
fn clock() -> Finding {
    let clock = RealClock;
    let readings: Vec<u64> = (0..READINGS).map(|_| clock.now().as_nanos()).collect();
    let steps = readings.windows(2).map(|w| w[1].saturating_sub(w[0]));
    let smallest = steps.clone().filter(|s| *s > 0).min();
    let mean = (readings[READINGS - 1] - readings[0]) as f64 / (READINGS - 1) as f64;
    match smallest {
        Some(step) if step < 10_000 => Finding::new(
            Mark::Ok,
            "clock",
            format!("monotonic, steps of {step} ns seen, {mean:.0} ns a reading"),
        ),
        Some(step) => Finding::new(
            Mark::Warn,
            "clock",
            format!("monotonic, but its smallest step seen is {step} ns: stamps are that coarse"),
        ),
        None => Finding::new(Mark::Warn, "clock", "it did not move in 10,000 readings: stamps say nothing"),
    }
}

/// How late a sleeping thread runs again: what every timed send has to live with.
fn wake_ups() -> Finding {
    let clock = RealClock;
    let mut late: Vec<f64> = (0..SLEEPS)
        .map(|_| {
            let start = clock.now();
            std::thread::sleep(SLEEP);
            (clock.now().saturating_since(start).saturating_sub(SLEEP)).as_secs_f64() * 1e6
        })
        .collect();
    late.sort_by(f64::total_cmp);
    let (median, worst) = (late[SLEEPS / 2], late[SLEEPS - 1]);
    let found =
        format!("a sleeping thread runs again {median:.0} µs late (median of {SLEEPS}; worst {worst:.0} µs)");
    if worst < 5_000.0 {
        Finding::new(Mark::Ok, "wake-ups", found)
    } else {
        Finding::new(
            Mark::Warn,
            "wake-ups",
            format!("{found}; something else uses this machine: tails will show it"),
        )
    }
}

fn load() -> Finding {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let average =
        fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let what = "processors";
    match average {
        None => Finding::new(Mark::Ok, what, format!("{cpus}; load average not known on this system")),
        Some(load) if load <= cpus as f64 * 0.7 => {
            Finding::new(Mark::Ok, what, format!("{cpus}, load average {load:.1}"))
        }
        Some(load) => Finding::new(
            Mark::Warn,
            what,
            format!(
                "{cpus}, load average {load:.1}: something else uses this machine; results will be marked SUSPECT"
            ),
        ),
    }
}

fn descriptors() -> Finding {
    let limit = getrlimit(Resource::Nofile).current;
    match limit {
        Some(limit) if limit < FEW_DESCRIPTORS => Finding::new(
            Mark::Warn,
            "descriptors",
            format!("at most {limit} open at once, one a connection; raise it with: ulimit -n 65536"),
        ),
        Some(limit) => Finding::new(Mark::Ok, "descriptors", format!("at most {limit} open at once")),
        None => Finding::new(Mark::Ok, "descriptors", "no limit"),
    }
}

/// Share of the last ten seconds in which some task waited for a processor (Linux pressure stall information).
fn pressure() -> Option<Finding> {
    let text = fs::read_to_string("/proc/pressure/cpu").ok()?;
    let share: f64 = text
        .lines()
        .find(|l| l.starts_with("some"))?
        .split("avg10=")
        .nth(1)?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    let found = format!("in {share:.0} % of the last 10 s some task waited for a processor");
    Some(if share < 10.0 {
        Finding::new(Mark::Ok, "pressure", found)
    } else {
        Finding::new(Mark::Warn, "pressure", format!("{found}; measure when it is quiet"))
    })
}

/// Proxies are not used: whoever expects one should know.
fn proxy() -> Option<Finding> {
    const VARIABLES: [&str; 6] =
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let set: Vec<&str> =
        VARIABLES.into_iter().filter(|v| llms_core::config::process_env(v).is_some()).collect();
    (!set.is_empty()).then(|| {
        let found = format!("{} set, and not used: a proxy would be what is measured", set.join(", "));
        Finding::new(Mark::Warn, "proxy", found)
    })
}
