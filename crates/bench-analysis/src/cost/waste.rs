//! Spend that bought nothing: failed requests, truncated answers, input sent again.
//!
//! No request counts twice: an attempt that another one replaced is *retried*; a failed one that was the last is *failed*; a
//! complete answer cut off by the token limit is *truncated*. A resent input is *retried* beside whatever its request was.

use llms_core::bench::{Measured, Waste, WastePart};
use rust_decimal::Decimal;

use super::ledger::{Entry, Ledger};
use super::ratio::ratio_of_sums;
use crate::estimate::Setting;

/// Dollars over requests: what they cost, and what of it was for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// everything, resent input included
    pub total: Decimal,
    /// complete answers
    pub ok: u64,
    /// complete answers that were not truncated
    pub useful: u64,
    /// spent on requests that failed for good
    pub failed: Decimal,
    /// spent on truncated answers
    pub truncated: Decimal,
    /// spent on attempts that were replaced, and on input sent again
    pub retried: Decimal,
}

/// One request for [`Spending::add`].
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// dollars of this attempt
    pub usd: Decimal,
    /// dollars of its input sent again
    pub again: Decimal,
    /// a complete answer
    pub ok: bool,
    /// cut off by the token limit
    pub truncated: bool,
    /// another attempt took its place
    pub replaced: bool,
}

impl Spending {
    /// Adds one attempt.
    pub fn add(&mut self, s: &Spent) {
        self.total += s.usd + s.again;
        self.retried += s.again;
        if s.replaced {
            self.retried += s.usd;
        } else if !s.ok {
            self.failed += s.usd;
        } else if s.truncated {
            self.truncated += s.usd;
        }
        self.ok += u64::from(s.ok);
        self.useful += u64::from(s.ok && !s.truncated);
    }

    /// Everything that bought nothing.
    pub fn wasted(&self) -> Decimal {
        self.failed + self.truncated + self.retried
    }

    /// Dollars per complete answer, failed spend included; `None` without one.
    pub fn per_success(&self) -> Option<Decimal> {
        (0 < self.ok).then(|| self.total / Decimal::from(self.ok))
    }

    /// Dollars per complete answer that was not truncated; `None` without one.
    pub fn per_useful(&self) -> Option<Decimal> {
        (0 < self.useful).then(|| self.total / Decimal::from(self.useful))
    }
}

/// Dollars of input that went out a second time.
pub(crate) fn again(ledger: &Ledger, e: &Entry) -> Decimal {
    if e.resent { ledger.input_usd(e.input().unwrap_or(0)) } else { Decimal::ZERO }
}

pub(crate) fn spending(ledger: &Ledger) -> Spending {
    let mut sum = Spending::default();
    for e in &ledger.entries {
        sum.add(&Spent {
            usd: e.usd.unwrap_or(Decimal::ZERO),
            again: again(ledger, e),
            ok: e.ok,
            truncated: e.truncated,
            replaced: e.replaced,
        });
    }
    sum
}

pub(crate) fn waste(ledger: &Ledger, setting: &Setting) -> Waste {
    let money = spending(ledger);
    let why = ledger.unpriced();
    let part = |is: fn(&Entry) -> bool, of: fn(&Entry) -> bool, tokens: u64, usd: Decimal| WastePart {
        requests: ledger.entries.iter().filter(|e| is(e)).count() as u64,
        share: ratio_of_sums(
            &ledger.entries,
            |e| f64::from(u8::from(is(e))),
            |e| f64::from(u8::from(of(e))),
            setting,
        ),
        tokens,
        usd: why.as_ref().map_or_else(|| Measured::Value(usd.normalize()), Measured::absent),
    };
    let all = |e: &Entry| e.tokens.map_or(0, |t| t.input() + t.output);
    let tokens = |is: fn(&Entry) -> bool| ledger.entries.iter().filter(|e| is(e)).map(all).sum::<u64>();
    let failed: fn(&Entry) -> bool = |e| !e.ok && !e.replaced;
    let truncated: fn(&Entry) -> bool = |e| e.truncated && !e.replaced;
    let retried: fn(&Entry) -> bool = |e| e.replaced || e.resent;
    let resent: u64 = ledger.entries.iter().filter(|e| e.resent).filter_map(Entry::input).sum();
    Waste {
        failed: part(failed, |_| true, tokens(failed), money.failed),
        truncated: part(truncated, |e| e.ok, tokens(truncated), money.truncated),
        retried: part(retried, |_| true, tokens(|e| e.replaced) + resent, money.retried),
    }
}
