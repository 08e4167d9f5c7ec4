//! The tool's judgement of itself: can these numbers be trusted? Signals that the records and the manifest carry.
//!
//! A signal is in bounds (listed as checked), out of bounds (a finding with what it means and what to do), or cannot be
//! read (listed as not measured). A finding about the server is told and never lowers the client's validity.

use std::collections::BTreeSet;

use llms_core::bench::{Finding, Level, Load, Order, RequestRecord, RunResult, Validity};
use llms_core::observe::Reported;
use time::Date;

use crate::population::Population;
use crate::stats::quantile::{QuantileType, Sample};

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
    /// largest share of chunk gaps inside one read
    pub merged_gaps: f64,
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
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            send_lag: 1e-3,
            send_lag_share: 0.02,
            achieved: 0.99,
            late_share: 0.01,
            merged_gaps: 0.005,
            read_lag: 1e-3,
            read_lag_share: 0.1,
            load_per_core: 1.0,
            price_days: 180,
            least: 20,
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
    run: &RunResult,
    populations: &[Population<'_>],
    price_dates: &[Option<Date>],
    limits: &Thresholds,
) -> Judgement {
    let mut judge = Judge { run, limits, validity: Validity::default(), not_measured: Vec::new() };
    judge.build();
    judge.completeness(populations);
    judge.order(populations);
    judge.machine();
    judge.stamps(populations);
    judge.send_lag(populations);
    judge.achieved(populations);
    judge.merged_reads(populations);
    judge.read_lag(populations);
    judge.tokens(populations);
    judge.server_changed(populations);
    judge.prices(price_dates);
    Judgement { validity: judge.validity, not_measured: judge.not_measured }
}

struct Judge<'a> {
    run: &'a RunResult,
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

fn median(values: Vec<f64>) -> Option<f64> {
    Sample::new(values).ok().map(|s| s.median())
}

impl Judge<'_> {
    fn name(&self, target: usize) -> String {
        self.run.manifest.targets[target].name.clone()
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

    fn build(&mut self) {
        let profile = self.run.manifest.build.profile.as_str();
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

    fn completeness(&mut self, populations: &[Population<'_>]) {
        let manifest = &self.run.manifest;
        let done: usize = populations.iter().map(|p| p.requests.len()).sum();
        let planned: u64 = manifest.planned.iter().sum();
        if manifest.interrupted || !manifest.complete {
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

    fn order(&mut self, populations: &[Population<'_>]) {
        if populations.len() < 2 {
            return;
        }
        if self.run.manifest.scenario.order == Order::Sequential {
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
        let environment = &self.run.manifest.environment;
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

    fn stamps(&mut self, populations: &[Population<'_>]) {
        let mut clean = true;
        for (target, population) in populations.iter().enumerate() {
            let wrong: Vec<String> = population.requests.iter().filter_map(|r| r.record.disorder()).collect();
            if let Some(first) = wrong.first() {
                clean = false;
                self.find(
                    "clock",
                    Level::Invalid,
                    Some(target),
                    format!("{} records with stamps out of order, first: {first}", wrong.len()),
                    "none".to_owned(),
                    "clock trouble: durations cannot be trusted; report it with the run's files",
                );
            }
        }
        if clean {
            self.checked("clock");
        }
    }

    fn send_lag(&mut self, populations: &[Population<'_>]) {
        let open_loop = matches!(self.run.manifest.scenario.load, Load::Open { .. });
        let metric = if self.run.manifest.scenario.streaming { "ttft" } else { "e2e" };
        let mut clean = true;
        for (target, population) in populations.iter().enumerate() {
            let lags: Vec<f64> =
                population.requests.iter().filter_map(crate::request::Request::send_lag).collect();
            if lags.len() < self.limits.least {
                continue;
            }
            let measured = population.ok().filter_map(|r| r.value(metric, population.headline)).collect();
            let (Some(lag), tail) = (p99(lags), p99(measured).unwrap_or(0.0)) else { continue };
            let allowed = self.limits.send_lag.max(self.limits.send_lag_share * tail);
            if allowed < lag {
                clean = false;
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
                let bound = format!("p99 at most {} (1 ms, or 2 % of the p99 of {metric})", ms(allowed));
                self.find("send_lag", level, Some(target), format!("p99 {}", ms(lag)), bound, cure);
            }
        }
        if clean {
            self.checked("send_lag");
        }
    }

    fn achieved(&mut self, populations: &[Population<'_>]) {
        let manifest = &self.run.manifest;
        let (Load::Open { .. }, Some(window)) = (&manifest.scenario.load, manifest.window) else { return };
        let late = self.limits.late_share * window.end.saturating_since(window.start).as_secs_f64();
        let mut clean = true;
        for (target, population) in populations.iter().enumerate() {
            let offered = population.requests.len();
            if offered < self.limits.least {
                continue;
            }
            let on_time = |r: &&crate::request::Request<'_>| r.send_lag().is_some_and(|lag| lag <= late);
            let share = population.requests.iter().filter(on_time).count() as f64 / offered as f64;
            if share < self.limits.achieved {
                clean = false;
                self.find(
                    "achieved_rate",
                    Level::Invalid,
                    Some(target),
                    format!("{:.1} % of the offered requests left on time", share * 100.0),
                    format!("at least {:.0} %", self.limits.achieved * 100.0),
                    "the client could not offer this rate: lower it, or use a faster machine",
                );
            }
            let waited = population.requests.iter().filter(|r| 0.0 < r.cap_wait()).count();
            if 0 < waited {
                self.find(
                    "cap_wait",
                    Level::Valid,
                    Some(target),
                    format!("{waited} of {offered} requests waited for a free slot"),
                    "none".to_owned(),
                    "the cap on concurrency was reached: response times contain the wait, service times do not",
                );
            }
        }
        if clean {
            self.checked("achieved_rate");
        }
    }

    fn merged_reads(&mut self, populations: &[Population<'_>]) {
        if !self.run.manifest.scenario.streaming {
            return;
        }
        let mut clean = true;
        for (target, population) in populations.iter().enumerate() {
            let Some((share, gaps)) = merged_share(population) else { continue };
            if self.limits.least <= gaps && self.limits.merged_gaps < share {
                clean = false;
                self.find(
                    "merged_reads",
                    Level::Invalid,
                    Some(target),
                    format!("{:.1} % of {gaps} chunk gaps lie inside one read", share * 100.0),
                    format!("at most {:.1} %", self.limits.merged_gaps * 100.0),
                    "these gaps are unknown: the server sends several chunks at once, or the client is too slow to see them apart; ICL and stalls are not complete, TTFT and E2E stand",
                );
            }
        }
        if clean {
            self.checked("merged_reads");
        }
    }

    fn read_lag(&mut self, populations: &[Population<'_>]) {
        if !self.run.manifest.scenario.streaming {
            return;
        }
        let (mut seen, mut clean) = (false, true);
        for (target, population) in populations.iter().enumerate() {
            let lags: Vec<f64> =
                population.requests.iter().flat_map(super::request::Request::read_lags).collect();
            if lags.len() < self.limits.least {
                continue;
            }
            seen = true;
            let gap = median(population.ok().flat_map(super::request::Request::icl).collect()).unwrap_or(0.0);
            let allowed = self.limits.read_lag.max(self.limits.read_lag_share * gap);
            if let Some(lag) = p99(lags).filter(|lag| allowed < *lag) {
                clean = false;
                self.find(
                    "read_lag",
                    Level::Suspect,
                    Some(target),
                    format!("p99 {} between kernel and client", ms(lag)),
                    format!("p99 at most {}", ms(allowed)),
                    "the client read late; arrivals are the kernel's stamps, so latencies stand, but the machine is too busy",
                );
            }
        }
        if !seen {
            self.not_measured
                .push("read_lag: no kernel receive stamps; arrival is when the client read".to_owned());
        } else if clean {
            self.checked("read_lag");
        }
    }

    fn tokens(&mut self, populations: &[Population<'_>]) {
        let mut clean = true;
        for (target, population) in populations.iter().enumerate() {
            let ok = population.ok().count();
            let reported = |r: &&crate::request::Request<'_>| {
                r.record.tokens.usage.and_then(|u| u.output_tokens).is_some()
            };
            let without = ok - population.ok().filter(reported).count();
            if 0 < without {
                clean = false;
                self.find(
                    "estimated_tokens",
                    Level::Suspect,
                    Some(target),
                    format!("{without} of {ok} answers came without usage"),
                    "usage with every answer".to_owned(),
                    "token counts are a tokenizer's or missing: token rates and TPOT are estimates, cost is absent",
                );
            }
            if population.ok().any(crate::request::Request::hidden_reasoning) {
                self.find(
                    "hidden_reasoning",
                    Level::Valid,
                    Some(target),
                    "usage counts reasoning that was not streamed".to_owned(),
                    "none".to_owned(),
                    "TPOT counts visible tokens; TTFT contains the reasoning; cost contains all of it",
                );
            }
        }
        if clean {
            self.checked("estimated_tokens");
        }
    }

    fn server_changed(&mut self, populations: &[Population<'_>]) {
        let mut clean = true;
        for (target, population) in populations.iter().enumerate() {
            let models: BTreeSet<&str> = population.ok().filter_map(|r| r.record.model.as_deref()).collect();
            let records: Vec<&RequestRecord> = population.ok().map(|r| r.record).collect();
            let what = if 1 < models.len() {
                Some(format!("answers of {}", models.into_iter().collect::<Vec<_>>().join(", ")))
            } else {
                fingerprint_switch(&records)
            };
            if let Some(what) = what {
                clean = false;
                self.find(
                    "server_changed",
                    Level::Suspect,
                    Some(target),
                    what,
                    "one version throughout".to_owned(),
                    "the numbers mix two servers: repeat the run",
                );
            }
        }
        if clean {
            self.checked("server_changed");
        }
    }

    fn prices(&mut self, dates: &[Option<Date>]) {
        let today = self.run.manifest.started_at.date();
        let mut clean = false;
        for (target, date) in dates.iter().enumerate() {
            let Some(date) = date else { continue };
            let days = (today - *date).whole_days();
            if self.limits.price_days < days {
                self.find(
                    "price_age",
                    Level::Suspect,
                    Some(target),
                    format!("price of {date}, {days} days before the run"),
                    format!("at most {} days", self.limits.price_days),
                    "cost may be out of date: give a current price file; latencies are not touched",
                );
            } else {
                clean = true;
            }
        }
        if clean && !self.validity.findings.iter().any(|f| f.signal == "price_age") {
            self.checked("price_age");
        }
    }
}

/// Share of chunk gaps inside one read among successes, and how many gaps there are; `None` without gaps.
pub fn merged_share(population: &Population<'_>) -> Option<(f64, usize)> {
    let (mut merged, mut gaps) = (0_usize, 0_usize);
    for gap in population.ok().flat_map(super::request::Request::gaps) {
        gaps += 1;
        merged += usize::from(gap.merged);
    }
    (0 < gaps).then(|| (merged as f64 / gaps as f64, gaps))
}

/// A fingerprint or version that the server reports and that was another at the end than at the beginning.
///
/// Vendors answer from several backends in turn; a set that stays the same is no change.
fn fingerprint_switch(records: &[&RequestRecord]) -> Option<String> {
    let third = records.len() / 3;
    if third == 0 {
        return None;
    }
    let keys: BTreeSet<&str> = records
        .iter()
        .flat_map(|r| r.reported.keys())
        .filter(|k| k.ends_with("fingerprint") || k.ends_with("version"))
        .map(String::as_str)
        .collect();
    let seen = |part: &[&RequestRecord], key: &str| -> BTreeSet<String> {
        part.iter()
            .filter_map(|r| match r.reported.get(key)? {
                Reported::Text(t) => Some(t.clone()),
                Reported::Number(_) => None,
            })
            .collect()
    };
    keys.into_iter().find_map(|key| {
        let (early, late) = (seen(&records[..third], key), seen(&records[records.len() - third..], key));
        let apart = !early.is_empty() && !late.is_empty() && early.is_disjoint(&late);
        apart.then(|| format!("{key} changed from {} to {}", join(&early), join(&late)))
    })
}

fn join(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join("/")
}
