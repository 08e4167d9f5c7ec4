//! What is counted of a target's records as they pass: outcomes, tokens, chunks, and what the server said about itself.
//!
//! Bounded whatever the run: counts, sums, one sample of each kind of error, sketches of what is per chunk. Nothing here is
//! judged; [`throughput`](crate::throughput), [`cost`](crate::cost), [`errors`](crate::errors) and
//! [`validity`](crate::validity) read it.

use std::collections::BTreeMap;

use llms_core::bench::{Origin, RecordOutcome, RequestRecord, Scenario, Slo, TokenSummary, Window};
use llms_core::observe::Reported;
use llms_core::time::Timestamp;
use llms_core::wire::OWN_LIMIT;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::clusters::{Clusters, Pool};
use crate::cost::Price;
use crate::cost::summary::of_request;
use crate::errors::Groups;
use crate::request::Request;
use crate::row::Ended;
use crate::throughput::{InWindow, meets};
use crate::validity::versions::Versions;

/// Where a record stands in the order of the schedule.
pub(crate) type Place = (Timestamp, u64);

/// See the module.
#[derive(Debug)]
pub struct Tally {
    streamed: bool,
    slos: Vec<Slo>,
    price: Option<Price>,
    /// complete answers, failures, censored
    pub(crate) ended: [u64; 3],
    pub(crate) errors: Groups,
    pub(crate) finish_reasons: BTreeMap<String, u64>,
    pub(crate) models: BTreeMap<String, u64>,
    /// requests whose transport knows whether it opened a connection, and those that did
    pub(crate) connections: (u64, u64),
    pub(crate) resent: u64,
    /// requests that this machine could not send, and what the first of them said
    pub(crate) own_limits: Option<(u64, String)>,
    /// sums and numbers of what the server reported with answers
    reported: BTreeMap<String, (f64, u64)>,
    pub(crate) tokens: TokenSummary,
    /// answers that came without a count of their tokens
    pub(crate) unreported_output: u64,
    /// answers that count reasoning whose text never came
    pub(crate) hidden_reasoning: u64,
    /// gaps of answers, and those inside one read
    pub(crate) gaps: (u64, u64),
    /// gaps between chunks of answers in different reads
    pub(crate) icl: Clusters,
    /// gaps of answers spread over their tokens
    pub(crate) itl: Clusters,
    /// user − kernel stamp of each chunk
    pub(crate) read_lags: Pool,
    /// records with stamps out of order, and how the first of them is
    pub(crate) disorder: (u64, Option<(Place, String)>),
    pub(crate) versions: Versions,
    /// requests that met every objective, and each of them
    pub(crate) good: (u64, Vec<u64>),
    /// dollars of all requests, of which so many answers had no price, and the tokens they bought
    pub(crate) spent: Spent,
    pub(crate) in_window: Option<InWindow>,
    /// used again for each record
    scratch: Vec<(f64, u64)>,
}

/// What was paid.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) total: Decimal,
    pub(crate) output: u64,
    /// answers without a price
    pub(crate) unpriced: u64,
}

impl Tally {
    pub(crate) fn new(scenario: &Scenario, window: Option<Window>, price: Option<&Price>) -> Self {
        Self {
            streamed: scenario.streaming,
            slos: scenario.slo.clone(),
            price: price.cloned(),
            ended: [0; 3],
            errors: Groups::default(),
            finish_reasons: BTreeMap::new(),
            models: BTreeMap::new(),
            connections: (0, 0),
            resent: 0,
            own_limits: None,
            reported: BTreeMap::new(),
            tokens: TokenSummary::default(),
            unreported_output: 0,
            hidden_reasoning: 0,
            gaps: (0, 0),
            icl: Clusters::default(),
            itl: Clusters::default(),
            read_lags: Pool::default(),
            disorder: (0, None),
            versions: Versions::default(),
            good: (0, vec![0; scenario.slo.len()]),
            spent: Spent::default(),
            in_window: window.and_then(InWindow::new),
            scratch: Vec::new(),
        }
    }

    pub(crate) fn streamed(&self) -> bool {
        self.streamed
    }

    /// Counts a record; returns what it cost, in dollars, and the number of the version that answered.
    pub(crate) fn add(&mut self, request: &Request<'_>, headline: Origin) -> (Option<f64>, Option<u64>) {
        let record = request.record;
        self.ended[Ended::from(&record.outcome) as usize] += 1;
        let place = (record.scheduled, record.block);
        self.errors.add(record, place);
        if let Some(reused) = record.connection.reused {
            self.connections.0 += 1;
            self.connections.1 += u64::from(!reused);
        }
        self.resent += u64::from(record.resent);
        if let RecordOutcome::Failed(e) = &record.outcome
            && e.message.contains(OWN_LIMIT)
        {
            self.own_limits.get_or_insert_with(|| (0, e.message.clone())).0 += 1;
        }
        self.add_usage(record);
        for lag in request.read_lags() {
            self.read_lags.add(lag);
        }
        if let Some(how) = record.disorder() {
            self.disorder.0 += 1;
            if self.disorder.1.as_ref().is_none_or(|(first, _)| place < *first) {
                self.disorder.1 = Some((place, how));
            }
        }
        let version = if record.is_ok() {
            self.add_answer(request);
            self.versions.number(record)
        } else {
            None
        };
        if !self.slos.is_empty() {
            let mut all = true;
            for (slo, good) in self.slos.iter().zip(&mut self.good.1) {
                let is_good = meets(request, headline, std::slice::from_ref(slo));
                *good += u64::from(is_good);
                all &= is_good;
            }
            self.good.0 += u64::from(all);
        }
        if let Some(in_window) = &mut self.in_window {
            in_window.add(request);
        }
        (self.add_cost(request), version)
    }

    fn add_answer(&mut self, request: &Request<'_>) {
        let record = request.record;
        if let Some(reason) = &record.finish_reason {
            count(&mut self.finish_reasons, reason.as_str());
        }
        if let Some(model) = &record.model {
            count(&mut self.models, model);
        }
        for (key, value) in &record.reported {
            if let Reported::Number(x) = value {
                if let Some(sum) = self.reported.get_mut(key) {
                    *sum = (sum.0 + x, sum.1 + 1);
                } else {
                    self.reported.insert(key.clone(), (*x, 1));
                }
            }
        }
        let told = record.tokens.usage.and_then(|u| u.output_tokens).is_some();
        self.unreported_output += u64::from(!told);
        self.hidden_reasoning += u64::from(request.hidden_reasoning());
        self.scratch.clear();
        for gap in request.gaps() {
            self.gaps.0 += 1;
            self.gaps.1 += u64::from(gap.merged);
            if !gap.merged {
                self.scratch.push((gap.seconds, 1));
            }
        }
        self.icl.add(&mut self.scratch);
        if let Some(mut itl) = request.itl() {
            self.itl.add(&mut itl);
        }
    }

    fn add_usage(&mut self, record: &RequestRecord) {
        let t = &mut self.tokens;
        let add = |sum: &mut Option<u64>, part: Option<u64>| {
            if let Some(part) = part {
                *sum = Some(sum.unwrap_or(0) + part);
            }
        };
        match record.tokens.usage {
            Some(u) => {
                t.reported += 1;
                add(&mut t.input_tokens, u.input_tokens);
                add(&mut t.output_tokens, u.output_tokens);
                add(&mut t.cache_read_tokens, u.cache_read_tokens);
                add(&mut t.cache_write_tokens, u.cache_write_tokens);
                add(&mut t.reasoning_tokens, u.reasoning_tokens);
            }
            None if record.is_ok() => t.unreported += 1,
            None => {}
        }
    }

    fn add_cost(&mut self, request: &Request<'_>) -> Option<f64> {
        let price = self.price.as_ref()?;
        let Some(usd) = of_request(request, price) else {
            self.spent.unpriced += u64::from(request.record.is_ok());
            return None;
        };
        self.spent.total += usd;
        self.spent.output += request.record.tokens.usage.and_then(|u| u.output_tokens).unwrap_or(0);
        Some(usd.to_f64().unwrap_or(f64::NAN))
    }

    /// Means of the numbers a server reported about itself.
    pub(crate) fn reported_means(&self) -> BTreeMap<String, f64> {
        self.reported.iter().map(|(key, (sum, n))| (key.clone(), sum / *n as f64)).collect()
    }

    /// Share of chunk gaps inside one read among successes, and how many gaps there are; `None` without gaps.
    pub fn merged_share(&self) -> Option<(f64, u64)> {
        let (gaps, merged) = self.gaps;
        (0 < gaps).then(|| (merged as f64 / gaps as f64, gaps))
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(n) = counts.get_mut(name) {
        *n += 1;
    } else {
        counts.insert(name.to_owned(), 1);
    }
}
