//! The measured requests of one target as money sees them: one [`Entry`] per attempt, in the order of the schedule.
//!
//! Built once from records; [`usage`](super::usage), [`waste`](super::waste) and the rules of [`optimize`](crate::optimize) read
//! it. About 200 bytes an attempt. Text is not kept: what prompts share is in the [`Book`] as hashes.

use std::collections::HashMap;

use llms_core::bench::{Load, RecordOutcome, RecordSource, RequestRecord, RunManifest, RunPhase, TargetInfo};
use llms_core::chat::FinishReason;
use llms_core::error::{Error, ErrorCode, Result};
use llms_core::observe::Reported;
use llms_core::time::Timestamp;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::bill::{TokenClasses, bill};
use super::prices::{Price, Prices};
use super::prompts::Book;
use crate::request::Request;
use crate::throughput::meets;

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) scheduled: Timestamp,
    /// block, session and turn: the same for all attempts of one request
    pub(crate) key: (u64, Option<u64>, Option<u32>),
    pub(crate) attempt: u32,
    /// a later attempt took its place
    pub(crate) replaced: bool,
    /// its input was sent a second time after the connection died
    pub(crate) resent: bool,
    pub(crate) ok: bool,
    pub(crate) error: Option<ErrorCode>,
    /// cut off by the token limit
    pub(crate) truncated: bool,
    /// ended well with every objective met
    pub(crate) good: bool,
    pub(crate) tokens: Option<TokenClasses>,
    pub(crate) usd: Option<Decimal>,
    /// dollars that the cache took off; below 0 where writing cost more
    pub(crate) cache_saved: Decimal,
    pub(crate) tokenizer: Option<u64>,
    pub(crate) chunks: Option<u64>,
    /// its prompt in the book, where the text is known
    pub(crate) prompt: Option<u32>,
    pub(crate) max_tokens: Option<u32>,
    /// seconds
    pub(crate) ttft: Option<f64>,
    pub(crate) e2e: Option<f64>,
    /// opening the connection, seconds; `None` on a reused one
    pub(crate) connect: Option<f64>,
    /// TCP handshake, seconds: one round trip
    pub(crate) tcp: Option<f64>,
    pub(crate) reused: Option<bool>,
    /// least share of a rate limit that was left, as the server reported it
    pub(crate) limit_left: Option<f64>,
}

impl Entry {
    /// Complete and not truncated.
    pub(crate) fn useful(&self) -> bool {
        self.ok && !self.truncated
    }

    /// Dollars, 0 where nothing was billed as far as anybody knows.
    pub(crate) fn dollars(&self) -> f64 {
        self.usd.and_then(|d| d.to_f64()).unwrap_or(0.0)
    }

    pub(crate) fn input(&self) -> Option<u64> {
        self.tokens.map(|t| t.input())
    }
}

/// All attempts of one target.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) info: TargetInfo,
    pub(crate) entries: Vec<Entry>,
    pub(crate) price: std::result::Result<Price, String>,
    /// source of the price and its day
    pub(crate) price_source: (String, String),
    pub(crate) streamed: bool,
    pub(crate) has_slo: bool,
    /// answers were checked against what the user expects of them
    pub(crate) has_quality: bool,
    pub(crate) cache_bust: bool,
    pub(crate) concurrency: Option<u32>,
    /// tokens that made-up prompts share, and in how many groups
    pub(crate) synthetic_prefix: Option<(u64, u32)>,
}

impl Ledger {
    /// One ledger per target, and the book of the prompts.
    pub(crate) fn read(
        manifest: &RunManifest,
        records: &dyn RecordSource,
        prices: &Prices,
    ) -> Result<(Vec<Self>, Book)> {
        let mut ledgers: Vec<Self> =
            manifest.targets.iter().map(|info| Self::of_target(manifest, info, prices)).collect();
        let mut book = Book::of(&manifest.scenario);
        records.each(&mut |record| {
            let targets = ledgers.len();
            let Some(ledger) = ledgers.get_mut(record.target as usize) else {
                let message = format!(
                    "expected records of {targets} targets, found target number {} in request {}; are these files of one run?",
                    record.target, record.request_id
                );
                return Err(Error::new("usage.analyze", ErrorCode::InvalidInput, message));
            };
            if record.phase == RunPhase::Measured {
                ledger.add(manifest, record, &mut book);
            }
            Ok(())
        })?;
        ledgers.iter_mut().for_each(Self::in_order);
        Ok((ledgers, book))
    }

    fn of_target(manifest: &RunManifest, info: &TargetInfo, prices: &Prices) -> Self {
        let scenario = &manifest.scenario;
        let found = prices.find(&info.model, info.simulated);
        let price_source = match &found {
            Ok((table, price)) => {
                (format!("{}, {}:{}", table.source, price.provider, price.model), table.date.to_string())
            }
            Err(_) => Default::default(),
        };
        let concurrency = match scenario.load {
            Load::Closed { concurrency, .. } => Some(concurrency),
            Load::Open { .. } => None,
        };
        let prefix = scenario.synthetic.as_ref().and_then(|s| s.prefix);
        Self {
            info: info.clone(),
            entries: Vec::new(),
            price: found.map(|(_, price)| price.clone()),
            price_source,
            streamed: scenario.streaming,
            has_slo: !scenario.slo.is_empty(),
            has_quality: !scenario.expect.is_empty() || scenario.prompts.iter().any(|p| p.expect.is_some()),
            cache_bust: scenario.cache_bust,
            concurrency,
            synthetic_prefix: prefix.map(|p| (u64::from(p.tokens), p.groups)),
        }
    }

    fn add(&mut self, manifest: &RunManifest, r: &RequestRecord, book: &mut Book) {
        let scenario = &manifest.scenario;
        let request = Request::new(r, scenario.streaming);
        let headline = scenario.load.headline_origin();
        let tokens = r.tokens.usage.as_ref().and_then(TokenClasses::of);
        let billed = tokens.as_ref().zip(self.price.as_ref().ok()).and_then(|(t, p)| bill(t, p));
        let prompt = book.find(&r.prompt);
        let seconds =
            |from: Timestamp, to: Timestamp| to.as_nanos().saturating_sub(from.as_nanos()) as f64 / 1e9;
        let tcp = r.connection.tcp.map(|s| seconds(s.start, s.end));
        let ended = r.chunks.last().filter(|_| scenario.streaming).map(|c| c.stamp.arrival()).or(r.end);
        self.entries.push(Entry {
            scheduled: r.scheduled,
            key: (r.block, r.session, r.turn),
            attempt: r.attempt,
            replaced: false,
            resent: r.resent,
            ok: r.is_ok(),
            error: match &r.outcome {
                RecordOutcome::Failed(e) => Some(e.code),
                _ => None,
            },
            truncated: r.is_ok() && r.finish_reason == Some(FinishReason::Length),
            good: meets(&request, headline, &scenario.slo),
            tokens,
            usd: billed.map(|b| b.usd),
            cache_saved: billed.map_or(Decimal::ZERO, |b| b.usd_without_cache - b.usd),
            tokenizer: r.tokens.tokenizer,
            chunks: (scenario.streaming && r.is_ok()).then_some(r.chunks.len() as u64),
            prompt,
            max_tokens: prompt.and_then(|p| book.max_tokens(p)).or(scenario.options.max_tokens),
            ttft: request.ttft(headline),
            e2e: r.sent.zip(ended).filter(|_| r.is_ok()).map(|(sent, end)| seconds(sent, end)),
            connect: request.connect(),
            tcp,
            reused: r.connection.reused,
            limit_left: limit_left(r),
        });
    }

    fn in_order(&mut self) {
        self.entries.sort_by_key(|e| (e.scheduled, e.key, e.attempt));
        let mut last: HashMap<_, u32> = HashMap::with_capacity(self.entries.len());
        for e in &self.entries {
            let attempt = last.entry(e.key).or_insert(0);
            *attempt = (*attempt).max(e.attempt);
        }
        for e in &mut self.entries {
            e.replaced = e.attempt < last[&e.key];
        }
    }

    /// Why money cannot be told, if it cannot: no price, or answers that could not be priced.
    pub(crate) fn unpriced(&self) -> Option<String> {
        if let Err(why) = &self.price {
            return Some(why.clone());
        }
        let ok = self.entries.iter().filter(|e| e.ok).count();
        let lacking = self.entries.iter().filter(|e| e.ok && e.usd.is_none()).count();
        (0 < lacking)
            .then(|| format!("{lacking} of {ok} answers lack usage or the price of a token class they used"))
    }

    /// The unit that resampling would draw: a conversation, else a request with its attempts.
    pub(crate) fn unit(e: &Entry) -> (bool, u64) {
        e.key.1.map_or((false, e.key.0), |session| (true, session))
    }

    /// Dollars of so many input tokens at the plain price; 0 without a price.
    pub(crate) fn input_usd(&self, tokens: u64) -> Decimal {
        let rates = self.price.as_ref().ok().and_then(|p| p.rates(tokens));
        rates.map_or(Decimal::ZERO, |r| Decimal::from(tokens) * r.input / Decimal::from(1_000_000))
    }
}

/// Least of remaining / limit over the limits that the server reported.
fn limit_left(r: &RequestRecord) -> Option<f64> {
    let number = |key: &str| match r.reported.get(key) {
        Some(Reported::Number(x)) => Some(*x),
        _ => None,
    };
    let shares = r.reported.keys().filter(|k| k.contains("ratelimit_remaining_")).filter_map(|key| {
        let limit = number(&key.replace("_remaining_", "_limit_"))?;
        (0.0 < limit).then_some(number(key)? / limit)
    });
    shares.reduce(f64::min)
}
