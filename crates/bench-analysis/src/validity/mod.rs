//! The tool's judgement of itself: can these numbers be trusted? Signals that the records and the manifest carry.
//!
//! A signal is in bounds (listed as checked), out of bounds (a finding with what it means and what to do), or cannot be
//! read (listed as not measured). A finding about the server is told and never lowers the client's validity.

mod books;
mod client;
mod steady;
pub(crate) mod versions;
mod wire;

use llms_core::bench::{Finding, Level, Load, Order, RunManifest, Validity};
use time::Date;

use crate::population::Population;
use crate::stats::quantile::{QuantileType, Sample};

pub use client::ClientThresholds;

/// Every limit in one place. Starting values, to be tuned on the loopback twin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// send lag p99 that is always fine, seconds
    pub send_lag: f64,
    /// send lag p99 allowed as a share of the p99 of what is measured
    pub send_lag_share: f64,
    /// least share of the offered requests that must leave on time
    pub achieved: f64,
    /// seconds after its schedule (cap wait not counted) at which a request counts as late, as a share of the window
    pub late_share: f64,
    /// p of the test that the send lag grows, below which it is believed
    pub trend_p: f64,
    /// rise of the send lag from the first to the last requests that matters, seconds
    pub lag_rise: f64,
    /// largest share of chunk gaps inside one read
    pub merged_gaps: f64,
    /// least share of reads with a kernel stamp, where there are any
    pub stamped_reads: f64,
    /// largest share of requests that were sent once more
    pub resent: f64,
    /// error of TTFT on a twin, p99, as a share of the median TTFT of what is measured
    pub twin_share: f64,
    /// read lag p99 that is always fine, seconds
    pub read_lag: f64,
    /// read lag p99 allowed as a share of the median gap
    pub read_lag_share: f64,
    /// load average before the run, per processor
    pub load_per_core: f64,
    /// age of a price, days
    pub price_days: i64,
    /// least number of requests or gaps at which a share or a p99 is judged
    pub least: usize,
    /// of the client process
    pub client: ClientThresholds,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            send_lag: 1e-3,
            send_lag_share: 0.02,
            achieved: 0.99,
            late_share: 0.01,
            trend_p: 0.01,
            lag_rise: 5e-4,
            merged_gaps: 0.005,
            stamped_reads: 0.95,
            resent: 0.01,
            twin_share: 0.05,
            read_lag: 1e-3,
            read_lag_share: 0.1,
            load_per_core: 1.0,
            price_days: 180,
            least: 20,
            client: ClientThresholds::default(),
        }
    }
}

/// The judgement, and what could not be read.
pub struct Judgement {
    /// level, findings, checked signals
    pub validity: Validity,
    /// signals that could not be read, with the reason
    pub not_measured: Vec<String>,
}

/// Judges a run. `populations` in the order of the targets; `price_dates`: days of the prices used.
pub fn judge(
    manifest: &RunManifest,
    populations: &[Population],
    price_dates: &[Option<Date>],
    limits: &Thresholds,
) -> Judgement {
    let mut judge = Judge { manifest, limits, validity: Validity::default(), not_measured: Vec::new() };
    judge.build();
    judge.completeness(populations);
    judge.order(populations);
    judge.machine();
    judge.client(populations);
    judge.transport();
    judge.calibration(populations);
    judge.resent(populations);
    judge.own_limits(populations);
    judge.stamps(populations);
    judge.send_lag(populations);
    judge.send_lag_trend(populations);
    judge.achieved(populations);
    judge.merged_reads(populations);
    judge.read_lag(populations);
    judge.tokens(populations);
    judge.books(populations);
    judge.steady(populations);
    judge.server_changed(populations);
    judge.prices(price_dates);
    Judgement { validity: judge.validity, not_measured: judge.not_measured }
}

struct Judge<'a> {
    manifest: &'a RunManifest,
    limits: &'a Thresholds,
    validity: Validity,
    not_measured: Vec<String>,
}

fn ms(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

fn p99(values: Vec<f64>) -> Option<f64> {
    Sample::new(values).ok()?.quantile(0.99, QuantileType::Type1).ok()
}

impl Judge<'_> {
    fn name(&self, target: usize) -> String {
        self.manifest.targets[target].name.clone()
    }

    fn checked(&mut self, signal: &str) {
        self.validity.checked.push(signal.to_owned());
    }

    fn find(
        &mut self,
        signal: &str,
        level: Level,
        target: Option<usize>,
        measured: String,
        threshold: String,
        cure: &str,
    ) {
        let target = target.map(|t| self.name(t));
        let (signal, cure) = (signal.to_owned(), cure.to_owned());
        self.validity.add(Finding { signal, level, target, measured, threshold, cure });
    }

    /// One finding for a signal that is out of bounds on some targets; checked when on none.
    fn find_on(
        &mut self,
        signal: &str,
        level: Level,
        on: Vec<(usize, String)>,
        threshold: String,
        cure: &str,
    ) {
        match on.as_slice() {
            [] => self.checked(signal),
            [(target, measured)] => {
                self.find(signal, level, Some(*target), measured.clone(), threshold, cure);
            }
            several => {
                let measured: Vec<String> =
                    several.iter().map(|(target, what)| format!("{}: {what}", self.name(*target))).collect();
                self.find(signal, level, None, measured.join("; "), threshold, cure);
            }
        }
    }

    fn build(&mut self) {
        let profile = self.manifest.build.profile.as_str();
        match profile {
            "" => self.not_measured.push("debug_build: the build profile is unknown".to_owned()),
            "debug" | "dev" => self.find(
                "debug_build",
                Level::Invalid,
                None,
                format!("{profile} build"),
                "release build".to_owned(),
                "an unoptimised client measures itself: repeat with a release build",
            ),
            _ => self.checked("debug_build"),
        }
    }

    fn completeness(&mut self, populations: &[Population]) {
        let manifest = self.manifest;
        let done: usize = populations.iter().map(|p| p.rows.len()).sum();
        let planned: u64 = manifest.planned.iter().sum();
        if let Some(why) = &manifest.stopped {
            self.find(
                "stopped",
                Level::Valid,
                None,
                format!("after {done} measured requests: {why}"),
                "run to its planned end".to_owned(),
                "ended by a rule or a budget that was asked for: the numbers stand, with fewer requests than planned",
            );
        } else if manifest.interrupted || !manifest.complete {
            let what = if manifest.interrupted { "interrupted" } else { "not finished" };
            self.find(
                "incomplete",
                Level::Suspect,
                None,
                format!("{what} after {done} measured requests of {planned} planned"),
                "run to its planned end".to_owned(),
                "what was measured stands, with fewer requests than planned: repeat for the full precision",
            );
        } else {
            self.checked("incomplete");
        }
    }

    fn order(&mut self, populations: &[Population]) {
        if populations.len() < 2 {
            return;
        }
        if self.manifest.scenario.order == Order::Sequential {
            self.find(
                "sequential_order",
                Level::Suspect,
                None,
                "targets measured one after the other".to_owned(),
                "interleaved".to_owned(),
                "drift between them cannot be told from a difference: compare with order = \"interleaved\"",
            );
        } else {
            self.checked("sequential_order");
        }
    }

    fn machine(&mut self) {
        let environment = &self.manifest.environment;
        let (Some(load), Some(cores)) = (environment.load_before, environment.cpu_cores) else {
            self.not_measured.push("machine_load: load average or number of processors unknown".to_owned());
            return;
        };
        let allowed = self.limits.load_per_core * f64::from(cores);
        if allowed < load {
            self.find(
                "machine_load",
                Level::Suspect,
                None,
                format!("load average {load:.1} before the run"),
                format!("at most {allowed:.1} on {cores} processors"),
                "something else used this machine: repeat when it is quiet",
            );
        } else {
            self.checked("machine_load");
        }
    }

    fn stamps(&mut self, populations: &[Population]) {
        let on = each(populations, |population| {
            let (wrong, first) = &population.tally.disorder;
            first.as_ref().map(|(_, how)| format!("{wrong} records with stamps out of order, first: {how}"))
        });
        let cure = "clock trouble: durations cannot be trusted; report it with the run's files";
        self.find_on("clock", Level::Invalid, on, "none".to_owned(), cure);
    }

    fn send_lag(&mut self, populations: &[Population]) {
        let open_loop = matches!(self.manifest.scenario.load, Load::Open { .. });
        let metric = if self.manifest.scenario.streaming { "ttft" } else { "e2e" };
        let limits = self.limits;
        let on = each(populations, |population| {
            let lags: Vec<f64> = population.rows.iter().filter_map(|r| r.send_lag()).collect();
            if lags.len() < limits.least {
                return None;
            }
            let lag = p99(lags)?;
            let measured = population.ok().filter_map(|r| r.value(metric, population.headline)).collect();
            let allowed = limits.send_lag.max(limits.send_lag_share * p99(measured).unwrap_or(0.0));
            (allowed < lag).then(|| format!("p99 {} of {} allowed", ms(lag), ms(allowed)))
        });
        let (level, cure) = if open_loop {
            (
                Level::Invalid,
                "the client sent late and its lateness is in the response times: lower the rate, or use a faster or quieter machine",
            )
        } else {
            (
                Level::Suspect,
                "the client hesitated before sending; service times do not contain it, the load was a little lower than asked: use a quieter machine",
            )
        };
        let share = limits.send_lag_share * 100.0;
        let threshold =
            format!("p99 at most {}, or {share:.0} % of the p99 of {metric}", ms(limits.send_lag));
        self.find_on("send_lag", level, on, threshold, cure);
    }

    fn achieved(&mut self, populations: &[Population]) {
        let manifest = self.manifest;
        let (Load::Open { .. }, Some(window)) = (&manifest.scenario.load, manifest.window) else { return };
        let limits = self.limits;
        let late = limits.late_share * window.end.saturating_since(window.start).as_secs_f64();
        let on = each(populations, |population| {
            let offered = population.rows.len();
            let on_time =
                population.rows.iter().filter(|r| r.send_lag().is_some_and(|lag| lag <= late)).count();
            let share = on_time as f64 / offered as f64;
            (limits.least <= offered && share < limits.achieved)
                .then(|| format!("{:.1} % of the offered requests left on time", share * 100.0))
        });
        let threshold = format!("at least {:.0} %", limits.achieved * 100.0);
        let cure = "the client could not offer this rate: lower it, or use a faster machine";
        self.find_on("achieved_rate", Level::Invalid, on, threshold, cure);
        let on = each(populations, |population| {
            let waited = population.rows.iter().filter(|r| 0.0 < r.cap_wait()).count();
            (0 < waited)
                .then(|| format!("{waited} of {} requests waited for a free slot", population.rows.len()))
        });
        let cure =
            "the cap on concurrency was reached: response times contain the wait, service times do not";
        self.find_on("cap_wait", Level::Valid, on, "none".to_owned(), cure);
    }

    fn read_lag(&mut self, populations: &[Population]) {
        if !self.manifest.scenario.streaming {
            return;
        }
        let limits = self.limits;
        if populations.iter().all(|p| p.tally.read_lags.len() < limits.least as u64) {
            self.not_measured
                .push("read_lag: no kernel receive stamps; arrival is when the client read".to_owned());
            return;
        }
        let on = each(populations, |population| {
            let lag = population.tally.read_lags.quantile(0.99)?;
            let gap = population.tally.icl.median().unwrap_or(0.0);
            let allowed = limits.read_lag.max(limits.read_lag_share * gap);
            (allowed < lag)
                .then(|| format!("p99 {} between kernel and client, {} allowed", ms(lag), ms(allowed)))
        });
        let share = limits.read_lag_share * 100.0;
        let threshold = format!("p99 at most {}, or {share:.0} % of the median gap", ms(limits.read_lag));
        let cure = "the client read late; arrivals are the kernel's stamps, so latencies stand, but the machine is too busy";
        self.find_on("read_lag", Level::Suspect, on, threshold, cure);
    }

    fn tokens(&mut self, populations: &[Population]) {
        let on = each(populations, |population| {
            let (ok, ..) = population.counts();
            let without = population.tally.unreported_output;
            (0 < without).then(|| format!("{without} of {ok} answers came without usage"))
        });
        let cure =
            "token counts are a tokenizer's or missing: token rates and TPOT are estimates, cost is absent";
        self.find_on("estimated_tokens", Level::Suspect, on, "usage with every answer".to_owned(), cure);
        let on = each(populations, |population| {
            let hidden = population.tally.hidden_reasoning;
            (0 < hidden).then(|| format!("{hidden} answers count reasoning that was not streamed"))
        });
        if !on.is_empty() {
            let cure = "TPOT counts visible tokens; TTFT contains the reasoning; cost contains all of it";
            self.find_on("hidden_reasoning", Level::Valid, on, "none".to_owned(), cure);
        }
    }

    fn server_changed(&mut self, populations: &[Population]) {
        let on = each(populations, |population| {
            let models = &population.tally.models;
            if 1 < models.len() {
                let names: Vec<&str> = models.keys().map(String::as_str).collect();
                return Some(format!("answers of {}", names.join(", ")));
            }
            population.tally.versions.switch(population)
        });
        let cure = "the numbers mix two servers: repeat the run";
        self.find_on("server_changed", Level::Suspect, on, "one version throughout".to_owned(), cure);
    }

    fn prices(&mut self, dates: &[Option<Date>]) {
        if dates.iter().all(Option::is_none) {
            return;
        }
        let today = self.manifest.started_at.date();
        let limit = self.limits.price_days;
        let old = |date: &Option<Date>| {
            let date = (*date)?;
            let days = (today - date).whole_days();
            (limit < days).then(|| format!("price of {date}, {days} days before the run"))
        };
        let on = dates.iter().enumerate().filter_map(|(target, date)| Some((target, old(date)?))).collect();
        let cure = "cost may be out of date: give a current price file; latencies are not touched";
        self.find_on("price_age", Level::Suspect, on, format!("at most {limit} days"), cure);
    }
}

/// The targets on which a signal is out of bounds, with what was measured.
fn each(populations: &[Population], signal: impl Fn(&Population) -> Option<String>) -> Vec<(usize, String)> {
    populations.iter().enumerate().filter_map(|(target, p)| Some((target, signal(p)?))).collect()
}

/// Whether arrivals are the kernel's stamps, at least some of them.
fn kernel_stamped(populations: &[Population]) -> bool {
    populations.iter().any(|p| !p.tally.read_lags.is_empty())
}
