//! What an answer says, token by token, before anything is known of its timing.

use rand::RngExt;

use crate::{
    ask::{Ask, Choice, Shape, Thinking},
    draw::{Purpose, stream},
    plan::{Call, Finish, Part},
    profile::{MAX_OUTPUT_TOKENS, MaxTokens, Prepared},
    situation::Situation,
    tools, words,
};

/// Bytes of JSON text that count as one token.
const JSON_BYTES: usize = 4;
/// Tokens of reasoning where a request asks for it and the profile says nothing.
const THINKING_TOKENS: u32 = 16;

/// A token: where its text stands in the answer's.
pub(crate) struct Token {
    pub part: Part,
    pub from: usize,
    pub to: usize,
}

/// What is said, token by token.
pub(crate) struct Content {
    pub text: String,
    pub tokens: Vec<Token>,
    pub calls: Vec<Call>,
    pub reasoning_tokens: u32,
    /// The reasoning is among the tokens.
    pub visible_reasoning: bool,
    pub finish: Finish,
    pub stop: Option<String>,
}

impl Content {
    pub(crate) fn draw(ask: &Ask, p: &Prepared, key: u64, number: u64) -> Self {
        let mut length = stream(key, Purpose::Length);
        let drawn = p.output.draw(&mut length) * p.profile.verbosity;
        let wanted = drawn.round().max(f64::from(ask.min_tokens.unwrap_or(1))).max(1.0) as u32;
        let wanted = wanted.min(MAX_OUTPUT_TOKENS);
        let limit = ask.max_tokens.unwrap_or(u32::MAX).max(1);
        let (reasoning, visible_reasoning) = match (&p.reasoning, ask.thinking) {
            (_, Thinking::Off) | (None, Thinking::Unsaid) => (0, false),
            (None, Thinking::On(budget)) => (THINKING_TOKENS.min(budget), true),
            (Some(sampler), thinking) => {
                let visible = p.profile.reasoning.as_ref().is_some_and(|r| r.visible);
                let asked = matches!(thinking, Thinking::On(_));
                (sampler.draw(&mut length).round() as u32, visible || asked)
            }
        };
        let reasoning_tokens = reasoning.min(limit - 1);
        let limit = limit - reasoning_tokens;

        let mut content = Self {
            text: String::new(),
            tokens: Vec::new(),
            calls: Vec::new(),
            reasoning_tokens,
            visible_reasoning,
            finish: Finish::Stop,
            stop: None,
        };
        if visible_reasoning {
            content.words(Part::Reasoning, reasoning_tokens, key ^ 1);
        }
        let before = content.tokens.len();
        let called = called_tools(ask, p, key);
        let to_the_limit = p.profile.max_tokens == MaxTokens::Echo || ask.ignore_eos;
        if !called.is_empty() {
            content.call(ask, &called, key);
            content.finish = Finish::Tools;
        } else if ask.situation == Some(Situation::Refusal) {
            content.given(&p.profile.responses[0]);
            content.finish = Finish::Refused;
        } else if ask.shape != Shape::Words {
            let schema = if let Shape::Schema(schema) = &ask.shape { Some(schema) } else { None };
            content.json(&tools::answer(schema, &mut stream(key, Purpose::Text)), Part::Text);
        } else if !p.profile.responses.is_empty() {
            let n = p.profile.responses.len() as u64;
            content.given(&p.profile.responses[((number - 1) % n) as usize]);
        } else if to_the_limit && ask.max_tokens.is_some() {
            content.words(Part::Text, limit.min(MAX_OUTPUT_TOKENS), key);
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
        content.stop_at(&ask.stop);
        content
    }

    /// Cuts the answer before the first of these texts.
    fn stop_at(&mut self, stops: &[String]) {
        let mut text = self.tokens.iter().filter(|t| t.part == Part::Text);
        let (Some(first), last) = (text.next(), text.next_back()) else { return };
        let (from, to) = (first.from, last.unwrap_or(first).to);
        let found = stops.iter().filter(|stop| !stop.is_empty());
        let found = found.filter_map(|stop| Some((self.text[from..to].find(stop.as_str())?, stop)));
        let Some((at, stop)) = found.min_by_key(|(at, _)| *at) else { return };
        let cut = from + at;
        self.tokens.retain(|t| t.part != Part::Text || t.from < cut);
        if let Some(last) = self.tokens.last_mut().filter(|t| t.part == Part::Text) {
            last.to = last.to.min(cut);
        }
        self.stop = Some(stop.clone());
        self.finish = Finish::StopSequence;
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

    fn json(&mut self, json: &str, part: Part) {
        let mut from = self.text.len();
        self.text.push_str(json);
        while from < self.text.len() {
            let to = self.text.ceil_char_boundary(from + JSON_BYTES);
            self.tokens.push(Token { part, from, to });
            from = to;
        }
    }

    fn call(&mut self, ask: &Ask, called: &[usize], key: u64) {
        let mut rng = stream(key ^ 2, Purpose::Tools);
        for (i, tool) in called.iter().map(|t| &ask.tools[*t]).enumerate() {
            let arguments = tools::arguments(&tool.schema, &mut rng);
            let id = format!("{:024x}", u128::from(rng.random::<u64>()) << 32 | i as u128);
            let from = self.text.len();
            self.tokens.push(Token { part: Part::Open(i), from, to: from });
            self.json(&arguments, Part::Arguments(i));
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
    let calls = if ask.single_call { 1 } else { rules.calls };
    match &ask.choice {
        Choice::Never => Vec::new(),
        Choice::This(name) => ask.tools.iter().position(|t| t.name == *name).into_iter().collect(),
        Choice::Some => pick(ask, calls, &mut rng),
        Choice::Free => {
            let triggered = rules.trigger.as_ref().is_none_or(|t| ask.prompt.contains(t.as_str()));
            if ask.answered || !triggered || draw >= rules.share {
                Vec::new()
            } else {
                pick(ask, calls, &mut rng)
            }
        }
    }
}

fn pick(ask: &Ask, calls: u32, rng: &mut impl rand::Rng) -> Vec<usize> {
    (0..calls).map(|_| rng.random_range(0..ask.tools.len())).collect()
}
