//! One answer, worked out in full before it is sent: what is said, and the instant of each chunk counted from
//! the start of service.
//!
//! Everything is drawn here and nothing while sending, so instants are absolute and never add up delays.

use rand::RngExt;

use crate::{
    ask::{Ask, Choice},
    draw::{Purpose, stream},
    profile::{FaultKind, FaultRule, MaxTokens, Prepared},
    tools, words,
};

/// Stall when the rule says nothing else.
const STALL_MS: f64 = 2_000.0;
/// Wait for a gateway to give up when the rule says nothing else.
const TIMEOUT_MS: f64 = 10_000.0;
/// Bytes of argument text that count as one token.
const ARGUMENT_BYTES: usize = 4;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub input_tokens: u32,
    pub cached_tokens: u32,
    /// Generated, reasoning included, also what a fault keeps from being sent.
    pub output_tokens: u32,
    pub reasoning_tokens: u32,
    /// Tokens sent by the steps.
    pub sent_tokens: u32,
    /// All text of the steps.
    pub text: String,
    pub calls: Vec<Call>,
    pub steps: Vec<Step>,
    /// When head and preamble are sent, in ns.
    pub head_at: u64,
    /// When the answer ends, well or not, in ns; the slot is free then.
    pub end_at: u64,
    pub finish: Finish,
    pub ending: Ending,
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
    Length,
    Tools,
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

    /// Draws the answer to `ask`. `number` counts requests from 1, `elapsed` are the hours since the first.
    pub(crate) fn draw(
        ask: &Ask,
        p: &Prepared,
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
        let cached_tokens = (f64::from(input_tokens) * profile.cached_share) as u32;
        let ttft_ms = p.ttft.draw(&mut stream(key, Purpose::Ttft));
        let ttft = ns(ttft_ms + profile.prefill_ms(input_tokens, cached_tokens));

        let pace = p.pace.draw(&mut stream(key, Purpose::Pace));
        let mut gaps = stream(key, Purpose::Gaps);
        let mut gap = || ns(p.gap.draw(&mut gaps) * pace);
        let mut chunks = stream(key, Purpose::Chunks);
        let mut at = ttft;
        if !profile.reasoning.as_ref().is_none_or(|r| r.visible) {
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
        let hidden = if visible_reasoning(p) { 0 } else { content.reasoning_tokens };
        let mut plan = Self {
            input_tokens,
            cached_tokens,
            output_tokens: visible + hidden,
            reasoning_tokens: content.reasoning_tokens,
            sent_tokens: visible,
            text: std::mem::take(&mut content.text),
            calls: std::mem::take(&mut content.calls),
            steps,
            head_at: (first_at as f64 * profile.head_share) as u64,
            end_at,
            finish: content.finish,
            ending: Ending::Complete,
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

fn visible_reasoning(p: &Prepared) -> bool {
    p.profile.reasoning.as_ref().is_some_and(|r| r.visible)
}

struct Token {
    part: Part,
    from: usize,
    to: usize,
}

/// What is said, token by token.
struct Content {
    text: String,
    tokens: Vec<Token>,
    calls: Vec<Call>,
    reasoning_tokens: u32,
    finish: Finish,
}

impl Content {
    fn draw(ask: &Ask, p: &Prepared, key: u64, number: u64) -> Self {
        let mut length = stream(key, Purpose::Length);
        let drawn = p.output.draw(&mut length) * p.profile.verbosity;
        let wanted = (drawn.round().max(1.0) as u32).min(crate::profile::MAX_OUTPUT_TOKENS);
        let limit = ask.max_tokens.unwrap_or(u32::MAX).max(1);
        let reasoning = p.reasoning.as_ref().map_or(0, |r| r.draw(&mut length).round() as u32);
        let reasoning_tokens = reasoning.min(limit - 1);
        let limit = limit - reasoning_tokens;

        let mut content = Self {
            text: String::new(),
            tokens: Vec::new(),
            calls: Vec::new(),
            reasoning_tokens,
            finish: Finish::Stop,
        };
        if visible_reasoning(p) {
            content.words(Part::Reasoning, reasoning_tokens, key ^ 1);
        }
        let before = content.tokens.len();
        let called = called_tools(ask, p, key);
        if !called.is_empty() {
            content.call(ask, &called, key);
            content.finish = Finish::Tools;
        } else if !p.profile.responses.is_empty() {
            let n = p.profile.responses.len() as u64;
            content.given(&p.profile.responses[((number - 1) % n) as usize]);
        } else if p.profile.max_tokens == MaxTokens::Echo && ask.max_tokens.is_some() {
            content.words(Part::Text, limit.min(crate::profile::MAX_OUTPUT_TOKENS), key);
            content.finish = Finish::Length;
        } else {
            content.words(Part::Text, wanted.min(limit), key);
            if wanted > limit {
                content.finish = Finish::Length;
            }
        }
        if content.tokens.len() - before > limit as usize {
            content.tokens.truncate(before + limit as usize);
            content.finish = Finish::Length;
        }
        content
    }

    fn words(&mut self, part: Part, n: u32, key: u64) {
        let Self { text, tokens, .. } = self;
        tokens.reserve(n as usize);
        let mut own = String::with_capacity(n as usize * 6);
        let (base, mut from) = (text.len(), 0);
        words::append(&mut own, n, &mut stream(key, Purpose::Text), |to| {
            tokens.push(Token { part, from: base + from, to: base + to });
            from = to;
        });
        text.push_str(&own);
    }

    fn given(&mut self, answer: &str) {
        for piece in words::pieces(answer) {
            let from = self.text.len();
            self.text.push_str(piece);
            self.tokens.push(Token { part: Part::Text, from, to: self.text.len() });
        }
    }

    fn call(&mut self, ask: &Ask, called: &[usize], key: u64) {
        let mut rng = stream(key ^ 2, Purpose::Tools);
        for (i, tool) in called.iter().map(|t| &ask.tools[*t]).enumerate() {
            let arguments = tools::arguments(&tool.schema, &mut rng);
            let id = format!("{:024x}", u128::from(rng.random::<u64>()) << 32 | i as u128);
            let mut from = self.text.len();
            self.tokens.push(Token { part: Part::Open(i), from, to: from });
            self.text.push_str(&arguments);
            while from < self.text.len() {
                let to = self.text.ceil_char_boundary(from + ARGUMENT_BYTES);
                self.tokens.push(Token { part: Part::Arguments(i), from, to });
                from = to;
            }
            self.calls.push(Call { id, name: tool.name.clone(), arguments });
        }
    }
}

/// The tools that the answer calls, as indices into those offered; empty for an answer in words.
fn called_tools(ask: &Ask, p: &Prepared, key: u64) -> Vec<usize> {
    let rules = &p.profile.tools;
    let mut rng = stream(key, Purpose::Tools);
    let draw: f64 = rng.random();
    if ask.tools.is_empty() {
        return Vec::new();
    }
    match &ask.choice {
        Choice::Never => Vec::new(),
        Choice::This(name) => ask.tools.iter().position(|t| t.name == *name).into_iter().collect(),
        Choice::Some => pick(ask, rules.calls, &mut rng),
        Choice::Free => {
            let triggered = rules.trigger.as_ref().is_none_or(|t| ask.prompt.contains(t.as_str()));
            if ask.answered || !triggered || draw >= rules.share {
                Vec::new()
            } else {
                pick(ask, rules.calls, &mut rng)
            }
        }
    }
}

fn pick(ask: &Ask, calls: u32, rng: &mut impl rand::Rng) -> Vec<usize> {
    (0..calls).map(|_| rng.random_range(0..ask.tools.len())).collect()
}
