//! One answer, worked out in full before it is sent: what is said, and the instant of each chunk counted from
//! the start of service.
//!
//! Everything is drawn here and nothing while sending, so instants are absolute and never add up delays.

use rand::RngExt;

use crate::{
    ask::Ask,
    content::Content,
    draw::{Purpose, stream},
    prefix::Cached,
    profile::{FaultKind, FaultRule, Prepared},
    situation::Situation,
};

/// Stall when the rule says nothing else.
const STALL_MS: f64 = 2_000.0;
/// Wait for a gateway to give up when the rule says nothing else.
const TIMEOUT_MS: f64 = 10_000.0;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub input_tokens: u32,
    /// Read from a cache of prefixes.
    pub cached_tokens: u32,
    /// Written to it, where the request asked for that.
    pub cache_write_tokens: u32,
    /// Generated, reasoning included, also what a fault keeps from being sent.
    pub output_tokens: u32,
    pub reasoning_tokens: u32,
    /// Tokens sent by the steps.
    pub sent_tokens: u32,
    /// All text of the steps.
    pub text: String,
    pub calls: Vec<Call>,
    pub steps: Vec<Step>,
    /// When the prefill is done, in ns.
    pub prefill_ns: u64,
    /// When head and preamble are sent, in ns.
    pub head_at: u64,
    /// When the answer ends, well or not, in ns; the slot is free then.
    pub end_at: u64,
    pub finish: Finish,
    /// The text that the model stopped at; it is not part of the answer.
    pub stop: Option<String>,
    pub ending: Ending,
    /// What the error object of a stream says, if not the usual.
    pub says: Option<FaultKind>,
    /// The text of the reasoning is kept back: it is redacted or encrypted.
    pub redacted: bool,
}

/// A tool call of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

/// One chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// When its last token is there, in ns.
    pub at: u64,
    pub tokens: u32,
    pub part: Part,
    /// Its text in [`Plan::text`]; empty for [`Part::Open`].
    pub from: usize,
    pub to: usize,
}

/// What a chunk is a piece of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Reasoning,
    Text,
    /// Id and name of call number so-and-so.
    Open(usize),
    /// Its arguments.
    Arguments(usize),
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    /// At a text that the request named.
    StopSequence,
    Length,
    Tools,
    /// The model declined.
    Refused,
}

/// How the sending ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As the protocol wants it.
    Complete,
    /// By a fault, instead of what would have come next.
    Broken(FaultKind),
}

impl Plan {
    pub(crate) fn piece(&self, step: &Step) -> &str {
        &self.text[step.from..step.to]
    }

    /// Text of one part, joined.
    pub(crate) fn joined(&self, part: Part) -> String {
        self.steps.iter().filter(|s| s.part == part).map(|s| self.piece(s)).collect()
    }

    /// Whether the argument text of call `i` is sent in full.
    pub(crate) fn call_is_whole(&self, i: usize) -> bool {
        let sent: usize =
            self.steps.iter().filter(|s| s.part == Part::Arguments(i)).map(|s| s.to - s.from).sum();
        sent == self.calls[i].arguments.len() && self.steps.iter().any(|s| s.part == Part::Open(i))
    }

    /// Draws the answer to `ask`. `cached` is what a cache of prefixes knows of it, `number` counts requests from 1,
    /// `elapsed` are the hours since the first.
    pub(crate) fn draw(
        ask: &Ask,
        p: &Prepared,
        cached: Cached,
        key: u64,
        number: u64,
        elapsed_h: f64,
        fault: Option<&FaultRule>,
    ) -> Self {
        let profile = &p.profile;
        let scale = 1e6 * profile.time_scale * (1.0 + profile.drift_per_hour * elapsed_h).max(0.0);
        let ns = |ms: f64| (ms * scale).round() as u64;

        let mut content = Content::draw(ask, p, key, number);
        let input_tokens = ask.input_tokens;
        let cached_tokens = profile.cached_tokens(input_tokens, cached.read);
        let ttft_ms = p.ttft.draw(&mut stream(key, Purpose::Ttft));
        let ttft = ns(ttft_ms + profile.prefill_ms(input_tokens, cached_tokens));

        let pace = p.pace.draw(&mut stream(key, Purpose::Pace));
        let mut gaps = stream(key, Purpose::Gaps);
        let mut gap = || ns(p.gap.draw(&mut gaps) * pace);
        let mut chunks = stream(key, Purpose::Chunks);
        let mut at = ttft;
        if !content.visible_reasoning {
            at += (0..content.reasoning_tokens).map(|_| gap()).sum::<u64>();
        }
        let first_at = at;
        let mut steps = Vec::with_capacity(content.tokens.len());
        let mut from = 0;
        while from < content.tokens.len() {
            let part = content.tokens[from].part;
            let most = content.tokens[from..].iter().take_while(|t| t.part == part).count();
            let want = p.chunk.draw(&mut chunks).round().max(1.0) as usize;
            let n = want.min(most);
            if from > 0 {
                at += (0..n).map(|_| gap()).sum::<u64>();
            }
            let (first, last) = (&content.tokens[from], &content.tokens[from + n - 1]);
            steps.push(Step { at, tokens: n as u32, part, from: first.from, to: last.to });
            from += n;
        }
        let end_at = if profile.end_gap { at + gap() } else { at };
        let visible = content.tokens.len() as u32;
        let hidden = if content.visible_reasoning { 0 } else { content.reasoning_tokens };
        let mut plan = Self {
            input_tokens,
            cached_tokens,
            cache_write_tokens: cached.write.min(input_tokens - cached_tokens),
            output_tokens: visible + hidden,
            reasoning_tokens: content.reasoning_tokens,
            sent_tokens: visible,
            text: std::mem::take(&mut content.text),
            calls: std::mem::take(&mut content.calls),
            steps,
            prefill_ns: ttft,
            head_at: (first_at as f64 * profile.head_share) as u64,
            end_at,
            finish: content.finish,
            stop: content.stop.take(),
            ending: Ending::Complete,
            says: fault.and_then(|rule| rule.says),
            redacted: ask.situation == Some(Situation::Redacted),
        };
        if let Some(rule) = fault {
            let after = rule.after_tokens.unwrap_or_else(|| {
                let mut rng = stream(key, Purpose::Fault);
                let _spent_on_the_share: f64 = rng.random();
                if visible > 1 { rng.random_range(1..visible) } else { 0 }
            });
            plan.strike(rule, after, |ms| ns(rule.pause_ms.unwrap_or(ms)));
        }
        plan
    }

    /// Applies a fault that comes `after` so many tokens.
    fn strike(&mut self, rule: &FaultRule, after: u32, pause: impl Fn(f64) -> u64) {
        let mut sent = 0;
        let kept = self.steps.iter().take_while(|s| {
            sent += s.tokens;
            sent <= after
        });
        let kept = kept.count();
        match rule.kind {
            FaultKind::Stall => {
                let pause = pause(STALL_MS);
                for step in &mut self.steps[kept..] {
                    step.at += pause;
                }
                if kept == 0 {
                    self.head_at += pause;
                }
                self.end_at += pause;
            }
            FaultKind::Timeout | FaultKind::Network => {
                self.steps.clear();
                if rule.kind == FaultKind::Timeout {
                    self.end_at = pause(TIMEOUT_MS);
                } else {
                    self.end_at = self.head_at;
                }
                self.ending = Ending::Broken(rule.kind);
            }
            kind => {
                // The fault comes when the next chunk would have.
                self.end_at = self.steps.get(kept).map_or(self.end_at, |s| s.at);
                self.steps.truncate(kept);
                self.ending = Ending::Broken(kind);
            }
        }
        self.sent_tokens = self.steps.iter().map(|s| s.tokens).sum();
    }
}
