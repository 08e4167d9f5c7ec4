//! What is run: prompts, load, limits, and what a model must be able to do for it.

use std::{collections::HashSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    duration,
    expect::Expect,
    load::{Load, ThinkLaw},
    result::Seeds,
    slo::Slo,
    synthetic::Synthetic,
};
use crate::{
    chat::{ChatOptions, ChatRequest, Message, ToolChoice, ToolDefinition},
    config::{ConfigErrors, validate_options},
    error::{Error, ErrorCode, Result},
    model::{Capabilities, ModelInfo},
};

/// Longest measured window.
const MAX_SECONDS: f64 = 30.0 * 86_400.0;
/// Most warm-up requests per target.
const MAX_WARMUP: u32 = 1_000_000;
/// Most arrivals of a target that are drawn before a run.
const MAX_ARRIVALS: f64 = 1e7;

/// One prompt. A bare string in a file is a user message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "PromptFile")]
pub struct Prompt {
    /// Unique within the scenario; `p0`, `p1`, … unless given.
    pub id: String,
    /// The conversation to send.
    pub messages: Vec<Message>,
    /// What the user says after each answer, in runs of multi-turn sessions; elsewhere never asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<String>,
    /// Upper limit of generated tokens for this prompt; the scenario's when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// What its answers must be like, besides what the scenario expects of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PromptFile {
    Text(String),
    Short {
        #[serde(default)]
        id: String,
        text: String,
        #[serde(default)]
        turns: Vec<String>,
        #[serde(default)]
        max_tokens: Option<u32>,
        #[serde(default)]
        expect: Option<Expect>,
    },
    Full {
        #[serde(default)]
        id: String,
        messages: Vec<Message>,
        #[serde(default)]
        turns: Vec<String>,
        #[serde(default)]
        max_tokens: Option<u32>,
        #[serde(default)]
        expect: Option<Expect>,
    },
}

impl From<PromptFile> for Prompt {
    fn from(file: PromptFile) -> Self {
        match file {
            PromptFile::Text(text) => Self::new("", text),
            PromptFile::Short { id, text, turns, max_tokens, expect } => {
                Self { turns, max_tokens, expect, ..Self::new(id, text) }
            }
            PromptFile::Full { id, messages, turns, max_tokens, expect } => {
                Self { id, messages, turns, max_tokens, expect }
            }
        }
    }
}

impl Prompt {
    /// A user message under an id.
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), messages: vec![Message::user(text)], ..Self::default() }
    }
}

/// Multi-turn conversations: each prompt is one, its [`turns`](Prompt::turns) follow. What arrives (under open loop) or
/// what a user takes up (under closed loop) is then a conversation.
///
/// Every turn's prompt holds the answers really given before, and is due when the answer before it has ended plus the
/// user's pause: later turns are closed loop by nature, whatever the arrivals of conversations. A conversation ends at
/// its last turn, at a turn that failed, or at the end of a timed window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// Mean pause between an answer and the next turn.
    #[serde(with = "duration")]
    pub think_time: Duration,
    /// The law of these pauses.
    pub think_law: ThinkLaw,
    /// At most so many turns of each conversation, the first one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
}

impl Sessions {
    /// Turns of a conversation with that prompt, at least 1.
    pub fn turns_of(&self, prompt: &Prompt) -> u32 {
        let all = u32::try_from(prompt.turns.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.max_turns.map_or(all, |most| all.min(most.max(1)))
    }
}

/// Requests before the measured window, per target. They use prompts of their own, so that prefix caches are as
/// cold for the measured prompts as they would have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Warmup {
    /// Requests per target; 0 switches it off.
    pub requests: u32,
    /// Prompts; the runner's own neutral ones when empty. Must not repeat measured ones.
    pub prompts: Vec<Prompt>,
}

impl Default for Warmup {
    fn default() -> Self {
        Self { requests: 4, prompts: Vec::new() }
    }
}

/// How the targets of a comparison take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Blocks of one prompt × all targets, in a seeded random order: drift hits all targets alike.
    #[default]
    Interleaved,
    /// One target after the other. Drift between them cannot be told from a difference; reports say so.
    Sequential,
}

/// A benchmark scenario, from a file or from code. Times are limits, not measurements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Unique name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// At least one, unless prompts are made from lengths or come with a trace; cycled through when there are more
    /// requests than prompts.
    pub prompts: Vec<Prompt>,
    /// A file of prompts instead of a list; in a scenario file, relative to it. Reading the scenario reads it and puts its
    /// prompts into the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts_file: Option<String>,
    /// Prompts made by length, instead of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
    /// Vocabulary that makes synthetic prompts exactly as long as asked and counts answers beside the server's own count: a
    /// name (`o200k_base`, `cl100k_base`) or a `tokenizer.json`; in a scenario file, relative to it. None is loaded
    /// unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Ask whole conversations, turn by turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Sessions>,
    /// System message put in front of every prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Requests before the measured window.
    pub warmup: Warmup,
    /// Closed or open loop.
    pub load: Load,
    /// Measured requests (with `sessions`: conversations) per target; with `duration`, whichever ends first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Length of the measured window.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// Limit of one request.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How long in-flight requests are waited for after the window; then they are censored.
    #[serde(with = "duration")]
    pub drain: Duration,
    /// Stream the answers. Required for every token-level metric.
    pub streaming: bool,
    /// Refuse models that cannot call tools.
    pub requires_tools: bool,
    /// Tools offered with every prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDefinition>,
    /// How they may be used.
    pub tool_choice: ToolChoice,
    /// Sampling and limits.
    pub options: ChatOptions,
    /// How several targets take turns.
    pub order: Order,
    /// Put a random nonce in front of each prompt so that no cache can answer.
    pub cache_bust: bool,
    /// What every answer must be like to count as a success.
    #[serde(skip_serializing_if = "Expect::is_empty")]
    pub expect: Expect,
    /// Per-request limits for goodput.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slo: Vec<Slo>,
    /// Seeds; drawn and recorded where absent.
    pub seeds: Seeds,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "unnamed".to_owned(),
            description: String::new(),
            prompts: Vec::new(),
            prompts_file: None,
            synthetic: None,
            tokenizer: None,
            sessions: None,
            system: None,
            warmup: Warmup::default(),
            load: Load::default(),
            requests: None,
            duration: None,
            timeout: Duration::from_secs(60),
            drain: Duration::from_secs(60),
            streaming: true,
            requires_tools: false,
            tools: Vec::new(),
            tool_choice: ToolChoice::default(),
            options: ChatOptions::default(),
            order: Order::default(),
            cache_bust: false,
            expect: Expect::default(),
            slo: Vec::new(),
            seeds: Seeds::default(),
        }
    }
}

impl Scenario {
    /// A scenario of these prompts.
    pub fn new(name: impl Into<String>, prompts: impl IntoIterator<Item = impl Into<Prompt>>) -> Self {
        Self { name: name.into(), prompts: prompts.into_iter().map(Into::into).collect(), ..Self::default() }
            .with_ids()
    }

    /// Gives prompts without an id one by position.
    pub fn with_ids(mut self) -> Self {
        for (kind, prompts) in [("p", &mut self.prompts), ("w", &mut self.warmup.prompts)] {
            for (i, p) in prompts.iter_mut().enumerate() {
                if p.id.is_empty() {
                    p.id = format!("{kind}{i}");
                }
            }
        }
        self
    }

    /// The request that asks `prompt`, `nonce` put in front of its last user message when given.
    pub fn request(&self, prompt: &Prompt, nonce: Option<&str>) -> ChatRequest {
        let mut messages = prompt.messages.clone();
        if let Some(system) = &self.system {
            messages.insert(0, Message::system(system));
        }
        if let (Some(nonce), Some(Message::User { content })) =
            (nonce, messages.iter_mut().find(|m| matches!(m, Message::User { .. })))
        {
            content.insert(0, crate::chat::Content::text(format!("[{nonce}] ")));
        }
        ChatRequest {
            messages,
            options: ChatOptions {
                max_tokens: prompt.max_tokens.or(self.options.max_tokens),
                ..self.options.clone()
            },
            tools: self.tools.clone(),
            tool_choice: self.tool_choice.clone(),
            ..ChatRequest::default()
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Every field that is wrong, what was expected, what was found.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        e.check(!self.name.trim().is_empty(), "name", "expected a name", "nothing");
        self.check_prompt_source(&mut e);
        let mut ids = HashSet::with_capacity(self.prompts.len());
        for (i, p) in self.prompts.iter().enumerate() {
            if p.messages.iter().all(|m| m.text().trim().is_empty()) {
                e.push(format!("prompts[{i}]"), "expected a message with text", "none");
            }
            if !ids.insert(p.id.as_str()) {
                e.push(format!("prompts[{i}].id"), "expected an id used once", &p.id);
            }
        }
        for (i, w) in self.warmup.prompts.iter().enumerate() {
            if self.prompts.iter().any(|p| p.messages == w.messages) {
                e.push(format!("warmup.prompts[{i}]"), "expected a prompt that is not measured", &w.id);
            }
        }
        e.nest("load", self.load.validate());
        match (self.requests, self.duration) {
            (None, None) if self.load.profile_length().is_some() || self.load.trace().is_some() => {}
            (None, None) => e.push("requests", "expected a number of requests or a duration", "neither"),
            (Some(0), _) => e.push("requests", "expected at least 1", 0),
            _ => {}
        }
        let seconds = self.duration.map(|d| d.as_secs_f64());
        e.check(
            seconds.is_none_or(|s| s > 0.0 && s <= MAX_SECONDS),
            "duration",
            "expected a duration above 0 s, at most 30 days",
            format!("{} s", seconds.unwrap_or(0.0)),
        );
        e.check(
            self.warmup.requests <= MAX_WARMUP,
            "warmup.requests",
            "expected at most 1000000",
            self.warmup.requests,
        );
        let window = match (seconds, self.requests) {
            (Some(s), _) => s,
            (None, Some(_)) => f64::INFINITY,
            (None, None) => self.load.profile_length().unwrap_or_default().as_secs_f64(),
        };
        let arrivals = self.load.ramp_up_arrivals()
            + self.load.window_arrivals(window).min(self.requests.map_or(f64::INFINITY, |n| n as f64));
        e.check(
            arrivals <= MAX_ARRIVALS,
            "requests",
            "expected at most 10000000 arrivals, which are drawn before the run; shorten it",
            arrivals,
        );
        e.check(
            self.load.ramp_up().as_secs_f64() <= MAX_SECONDS,
            "load.ramp_up",
            "expected at most 30 days",
            format!("{} s", self.load.ramp_up().as_secs_f64()),
        );
        e.check(!self.timeout.is_zero(), "timeout", "expected a duration above 0 s", "0 s");
        e.check(
            !(self.requires_tools && self.tools.is_empty()),
            "tools",
            "expected tools, as requires_tools is set",
            "none",
        );
        for (i, t) in self.tools.iter().enumerate() {
            e.check(!t.name.is_empty(), &format!("tools[{i}].name"), "expected a name", "nothing");
            e.check(
                t.parameters.is_object(),
                &format!("tools[{i}].parameters"),
                "expected a JSON Schema object",
                &t.parameters,
            );
        }
        validate_options(&self.options, &Capabilities::default(), &mut e);
        e.into_result()
    }

    /// Prompts come from exactly one place.
    fn check_prompt_source(&self, e: &mut ConfigErrors) {
        let trace = self.load.trace().is_some();
        let made = self.synthetic.is_some() || trace;
        if let Some(synthetic) = &self.synthetic {
            e.nest("synthetic", synthetic.validate());
            e.check(
                !trace,
                "synthetic",
                "expected none beside a trace, which brings its own lengths",
                "both",
            );
        }
        if let Some(file) = &self.prompts_file {
            e.push("prompts_file", "expected it to have been read before the run", file);
        }
        e.check(made || !self.prompts.is_empty(), "prompts", "expected at least one prompt", "none");
        e.check(
            !made || self.prompts.is_empty(),
            "prompts",
            "expected none: the trace or the synthetic lengths say what is asked",
            self.prompts.len(),
        );
        if let Some(sessions) = &self.sessions {
            e.check(
                !made,
                "sessions",
                "expected a list of prompts with turns",
                "a trace or synthetic prompts",
            );
            e.check(sessions.max_turns != Some(0), "sessions.max_turns", "expected at least 1", 0);
            let some = self.prompts.iter().any(|p| !p.turns.is_empty());
            e.check(made || some, "sessions", "expected a prompt with turns", "none");
            e.check(
                sessions.think_time.as_secs_f64() <= MAX_SECONDS,
                "sessions.think_time",
                "expected at most 30 days",
                sessions.think_time.as_secs_f64(),
            );
        }
    }

    /// Whether `model` can run this scenario.
    ///
    /// # Errors
    /// `invalid_request` naming the missing capability.
    pub fn validate_provider(&self, model: &ModelInfo) -> Result<()> {
        let missing = |what: &str| {
            Err(Error::new(
                "scenario.validate_provider",
                ErrorCode::InvalidRequest,
                format!(
                    "scenario `{}` needs {what}, which {}:{} does not have; choose another model or scenario",
                    self.name, model.provider, model.model
                ),
            ))
        };
        if self.streaming && !model.capabilities.streaming {
            return missing("streaming");
        }
        if (self.requires_tools || !self.tools.is_empty()) && !model.capabilities.tools {
            return missing("tools");
        }
        Ok(())
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::new("", text)
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::new("", text)
    }
}
