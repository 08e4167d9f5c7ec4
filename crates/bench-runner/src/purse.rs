//! The budget while a run goes on: the worst case of each request is reserved before it is sent, and settled by what it used.
//!
//! Knows no prices (a [`CostMeter`](llms_core::bench::CostMeter) does) and stops nothing: it says no.

use std::sync::{Mutex, PoisonError};

use llms_core::{
    ChatRequest, Usage,
    bench::{Budget, RecordOutcome, RequestRecord},
    chat::{Content, Message},
};
use rust_decimal::Decimal;
use tokio::sync::{Notify, futures::Notified};

/// Tokens that a vendor may put around each message and tool, more than any is known to.
const AROUND: u64 = 64;

/// What is set aside for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reserved {
    usd: Decimal,
    tokens: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    spent: Reserved,
    reserved: Reserved,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Purse {
    budget: Budget,
    state: Mutex<State>,
    settled: Notify,
}

/// Why nothing more may be sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refused {
    /// The next request might pass the limit.
    UsedUp {
        /// What is spent, set aside and wanted.
        why: String,
        /// Requests in flight have something set aside, of which a part may come back.
        in_flight: bool,
    },
    /// The worst case of a request is not known.
    Unknown(String),
}

impl Purse {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, state: Mutex::default(), settled: Notify::new() }
    }

    /// Sets the worst case of a request aside.
    pub(crate) fn reserve(&self, target: u32, request: &ChatRequest) -> Result<Reserved, Refused> {
        if self.budget.is_unlimited() {
            return Ok(Reserved::default());
        }
        let Some(output) = request.options.max_tokens.map(u64::from) else {
            return Err(Refused::Unknown(
                "a budget needs --max-tokens: without it an answer has no worst case".into(),
            ));
        };
        let input = most_input(request).ok_or_else(|| {
            Refused::Unknown(
                "a budget cannot bound the tokens of images and documents; leave them or the budget out"
                    .into(),
            )
        })?;
        let usd = match &self.budget.usd {
            None => Decimal::ZERO,
            Some((_, meter)) => meter.worst_case(target, input, output).ok_or_else(|| {
                Refused::Unknown(
                    "a budget in dollars needs a price for every target; give one with --prices".into(),
                )
            })?,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (spent, reserved) = (state.spent, state.reserved);
        if let Some((limit, _)) = &self.budget.usd
            && *limit < spent.usd + reserved.usd + usd
        {
            let why = format!(
                "the budget of ${limit} is used up: ${} spent, ${} set aside for requests in flight, and the next could cost ${}",
                spent.usd.normalize(),
                reserved.usd.normalize(),
                usd.normalize()
            );
            return Err(Refused::UsedUp { why, in_flight: reserved.tokens > 0 });
        }
        let tokens = input + output;
        if let Some(limit) = self.budget.tokens
            && limit < spent.tokens + reserved.tokens + tokens
        {
            let why = format!(
                "the budget of {limit} tokens is used up: {} spent, {} set aside for requests in flight, and the next could take {tokens}",
                spent.tokens, reserved.tokens
            );
            return Err(Refused::UsedUp { why, in_flight: reserved.tokens > 0 });
        }
        state.reserved = Reserved { usd: reserved.usd + usd, tokens: reserved.tokens + tokens };
        Ok(Reserved { usd, tokens })
    }

    /// Completes when a request has been settled after this call.
    pub(crate) fn settled(&self) -> Notified<'_> {
        self.settled.notified()
    }

    /// Gives back what a request did not use. One whose usage nobody reported keeps its worst case spent, unless it was refused
    /// or never sent.
    pub(crate) fn settle(&self, reserved: Reserved, record: &RequestRecord) {
        if self.budget.is_unlimited() {
            return;
        }
        let free = record.sent.is_none()
            || (matches!(record.outcome, RecordOutcome::Failed(_))
                && record.status.is_some_and(|s| s >= 400));
        let used = if free {
            Some(Reserved::default())
        } else {
            self.used(record.target, record.tokens.usage.as_ref())
        };
        let used = used.unwrap_or(reserved);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reserved.usd -= reserved.usd;
        state.reserved.tokens -= reserved.tokens;
        state.spent.usd += used.usd;
        state.spent.tokens += used.tokens;
        drop(state);
        self.settled.notify_waiters();
    }

    fn used(&self, target: u32, usage: Option<&Usage>) -> Option<Reserved> {
        let usage = usage?;
        let tokens = usage.input_tokens? + usage.output_tokens?;
        let usd = match &self.budget.usd {
            None => Decimal::ZERO,
            Some((_, meter)) => meter.settled(target, usage)?,
        };
        Some(Reserved { usd, tokens })
    }

    /// What was spent, under stable keys; nothing when nothing was limited.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let spent = self.state.lock().unwrap_or_else(PoisonError::into_inner).spent;
        let mut facts = Vec::new();
        if self.budget.usd.is_some() {
            facts.push(("spent_usd".to_owned(), spent.usd.normalize().to_string()));
        }
        if !self.budget.is_unlimited() {
            facts.push(("spent_tokens".to_owned(), spent.tokens.to_string()));
        }
        facts
    }
}

/// The most tokens a request can have: no tokenizer makes more tokens of a text than it has bytes. `None` with images or
/// documents, whose tokens only the vendor knows.
pub fn most_input(request: &ChatRequest) -> Option<u64> {
    let mut bytes = 0_u64;
    let mut parts = 0_u64;
    for message in &request.messages {
        parts += 1;
        if let Message::User { content } = message {
            for part in content {
                let Content::Text { text } = part else { return None };
                bytes += text.len() as u64;
            }
        } else {
            bytes += serde_json::to_string(message).ok()?.len() as u64;
        }
    }
    for tool in &request.tools {
        parts += 1;
        bytes += serde_json::to_string(tool).ok()?.len() as u64;
    }
    if let Some(format) = &request.format {
        parts += 1;
        bytes += serde_json::to_string(format).ok()?.len() as u64;
    }
    Some(bytes + parts * AROUND)
}
