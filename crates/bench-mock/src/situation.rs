//! Situations that a client asks for by the name of a model, so that any client can meet them unchanged.
//!
//! A situation lies over the profile that answers the protocol, or over that of the model in this process: the same
//! delays, slots and seeds, another content or end. Names that [`ServerConfig::models`](crate::server::ServerConfig::models) gives to a profile are that
//! profile's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use llms_core::health::HealthState;

use crate::{
    ask::{Ask, Choice, OfferedTool, Shape, Thinking},
    dist::Dist,
    profile::{FaultKind, FaultRule, Prepared, Profile, Reasoning, ToolAnswers},
};

/// Names of models that bring a situation about, and what happens; for help texts and listings. They work on every
/// protocol and endpoint, also with a vendor's prefix (`anthropic.mock-json`) or a tag (`mock-json:latest`), and in
/// process. An endpoint that has no tools or shows no reasoning, as the vendors' have none, answers in plain words.
pub const SITUATIONS: &[(&str, &str)] = &[
    ("mock", "answers as the protocol's profile has it"),
    ("mock-fast", "10 ms to the first token, 200 tokens/s"),
    ("mock-slow", "5 s to the first token, 1 token/s, 8 tokens unless told otherwise"),
    ("mock-long", "an answer of 1000 tokens, unless the request limits it"),
    ("mock-json", "JSON that fits the schema of the request, else an object"),
    (
        "mock-tool-call",
        "calls one of the tools offered, else a `get_weather` of its own; plain words where the endpoint has no tools \
         (/v1/completions, /api/generate, Titan, Llama)",
    ),
    ("mock-tool-calls", "the same, two calls in one answer"),
    (
        "mock-thinking",
        "reasons for 24 tokens first (`reasoning_content`, thinking blocks, reasoning items); not where the endpoint \
         shows none (/v1/completions, Titan, Llama)",
    ),
    ("mock-reasoning", "the same; OpenAI's chat names the field `reasoning`, as newer vLLM does"),
    ("mock-redacted", "reasons, but what it thought is redacted or encrypted"),
    ("mock-refusal", "declines to answer, in the protocol's way"),
    ("mock-flaky", "fails with status 500 the first time a body is sent, works the next time, and so on"),
    ("mock-error-400", "refuses with status 400"),
    ("mock-error-401", "refuses with status 401"),
    ("mock-error-403", "refuses with status 403"),
    ("mock-error-404", "refuses with status 404"),
    ("mock-error-429", "refuses with status 429 and `retry-after: 1`"),
    ("mock-error-500", "refuses with status 500"),
    ("mock-error-503", "refuses with status 503"),
    ("mock-error-529", "refuses with status 529"),
    ("mock-midstream-error", "an error object after 3 tokens (status 500 where the answer is whole)"),
    ("mock-midstream-400", "the same, an invalid request found out late"),
    ("mock-midstream-429", "the same, throttled"),
    ("mock-midstream-500", "the same, an internal error"),
    ("mock-midstream-503", "the same, unavailable"),
    ("mock-midstream-504", "the same, timed out"),
    ("mock-truncate", "the stream ends politely after 3 tokens, without the protocol's last event"),
    ("mock-reset", "the connection is reset (RST) after 3 tokens"),
    ("mock-close", "the connection is closed (FIN) after 3 tokens"),
    ("mock-stall", "nothing comes for 30 s after 3 tokens, then the rest"),
    ("mock-timeout", "no answer for 10 s, then status 504"),
    ("mock-missing", "there is no such model"),
];

/// Tokens sent before a fault in mid-stream.
const BEFORE_FAULT: u32 = 3;
/// Tokens of reasoning.
const REASONING_TOKENS: f64 = 24.0;
/// Tokens of a long answer.
const LONG: f64 = 1_000.0;
/// A stall in ms.
const STALL_MS: f64 = 30_000.0;
/// What a refusal says.
const DECLINED: &str = "I'm sorry, but I can't help with that.";

/// What a model's name asks for, beyond what the profile does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Situation {
    Long,
    Json,
    /// So many calls.
    Tools(u32),
    /// Whether OpenAI's chat shall name it `reasoning`.
    Thinking(bool),
    Redacted,
    Refusal,
    Flaky,
    /// Refused with this status.
    Error(u16),
    /// In mid-stream; what the error object says, if not the usual.
    Fault(FaultKind, Option<FaultKind>),
}

impl Situation {
    /// The situation that a model's name asks for.
    pub(crate) fn named(model: &str) -> Option<Self> {
        let name = bare(model)?;
        Some(match name {
            "mock-long" => Self::Long,
            "mock-json" => Self::Json,
            "mock-tool-call" => Self::Tools(1),
            "mock-tool-calls" => Self::Tools(2),
            "mock-thinking" => Self::Thinking(false),
            "mock-reasoning" => Self::Thinking(true),
            "mock-redacted" => Self::Redacted,
            "mock-refusal" => Self::Refusal,
            "mock-flaky" => Self::Flaky,
            "mock-midstream-error" => Self::Fault(FaultKind::StreamError, None),
            "mock-truncate" => Self::Fault(FaultKind::Truncate, None),
            "mock-reset" => Self::Fault(FaultKind::Reset, None),
            "mock-close" => Self::Fault(FaultKind::Close, None),
            "mock-stall" => Self::Fault(FaultKind::Stall, None),
            "mock-timeout" => Self::Fault(FaultKind::Timeout, None),
            _ => {
                if let Some(status) = name.strip_prefix("mock-error-") {
                    let status = status.parse().ok()?;
                    of_status(status).filter(|kind| kind.is_refusal()).map(|_| Self::Error(status))?
                } else {
                    let status = name.strip_prefix("mock-midstream-")?.parse().ok()?;
                    Self::Fault(FaultKind::StreamError, Some(of_status(status)?))
                }
            }
        })
    }

    /// The same for a model by itself, of which nobody else says that it is missing.
    pub(crate) fn named_or_missing(model: &str) -> Option<Self> {
        let missing = bare(model) == Some("mock-missing");
        Self::named(model).or(missing.then_some(Self::Error(404)))
    }

    /// The refusal of a model whose name asks for nothing but that, and its status.
    pub(crate) fn refusal(self) -> Option<(FaultKind, u16)> {
        if let Self::Error(status) = self { Some((of_status(status)?, status)) } else { None }
    }

    /// The profile `base` in this situation.
    pub(crate) fn over(self, base: &Profile) -> Profile {
        let mut profile = Profile { faults: Vec::new(), health: HealthState::Healthy, ..base.clone() };
        match self {
            Self::Long => {
                profile.output_tokens = Dist::constant(LONG);
                profile.verbosity = 1.0;
                profile.responses.clear();
            }
            Self::Tools(calls) => profile.tools = ToolAnswers { calls, ..ToolAnswers::default() },
            Self::Thinking(_) | Self::Redacted => {
                let own = profile.reasoning.take().map(|r| r.tokens);
                let tokens = own.unwrap_or_else(|| Dist::constant(REASONING_TOKENS));
                profile.reasoning = Some(Reasoning { tokens, visible: true });
            }
            Self::Refusal => profile.responses = vec![DECLINED.to_owned()],
            Self::Json | Self::Flaky => {}
            Self::Error(status) => {
                profile.rate_limit = None;
                profile.faults.extend(of_status(status).map(FaultRule::always));
            }
            Self::Fault(FaultKind::Timeout, _) => {
                profile.faults.push(FaultRule::always(FaultKind::Timeout));
            }
            Self::Fault(kind, says) => {
                let mut rule = FaultRule::always(kind).after_tokens(BEFORE_FAULT);
                rule.says = says;
                if kind == FaultKind::Stall {
                    rule = rule.pause_ms(STALL_MS);
                }
                profile.faults.push(rule);
            }
        }
        profile
    }

    /// Changes what is asked for where the situation has a say in it. `tools`: the endpoint knows tools; `reasons`: it
    /// can show reasoning.
    pub(crate) fn bend(self, ask: &mut Ask, tools: bool, reasons: bool) {
        match self {
            Self::Thinking(_) | Self::Redacted if !reasons => ask.thinking = Thinking::Off,
            Self::Json if ask.shape == Shape::Words => ask.shape = Shape::Json,
            Self::Tools(_) if tools && ask.tools.is_empty() && ask.choice != Choice::Never => {
                let schema = serde_json::json!({
                    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]
                });
                ask.tools.push(OfferedTool { name: "get_weather".to_owned(), schema });
            }
            _ => {}
        }
    }
}

/// Profiles under situations, made when first asked for and again when the profile changes.
#[derive(Debug, Default)]
pub(crate) struct Overlays {
    made: Mutex<BTreeMap<Situation, Overlay>>,
}

/// What a profile became, and the profile.
#[derive(Debug)]
struct Overlay {
    of: Arc<Prepared>,
    over: Arc<Prepared>,
}

impl Overlays {
    /// `base` in this situation.
    pub(crate) fn over(&self, situation: Option<Situation>, base: Arc<Prepared>) -> Arc<Prepared> {
        let Some(situation) = situation else { return base };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(&situation)
            && Arc::ptr_eq(&known.of, &base)
        {
            return known.over.clone();
        }
        let over = Prepared::new(situation.over(&base.profile)).map_or_else(|_| base.clone(), Arc::new);
        made.insert(situation, Overlay { of: base, over: over.clone() });
        over
    }
}

/// The name without a vendor's prefix and without a tag or version; `None` for names that ask for nothing.
pub(crate) fn bare(model: &str) -> Option<&str> {
    let name = model.rsplit(['/', '.']).next().unwrap_or(model);
    let name = name.split(':').next().unwrap_or(name);
    let name = name.strip_suffix("-v1").unwrap_or(name);
    name.starts_with("mock-").then_some(name)
}

/// Whether the name is one that situations have to themselves and none has.
pub(crate) fn is_unknown(model: &str) -> bool {
    bare(model).is_some_and(|name| Situation::named(name).is_none())
}

/// The name in `known` that is nearest to `name`: the fewest letters to put in, leave out or change.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    known.into_iter().min_by_key(|other| distance(&name, &other.to_ascii_lowercase()))
}

/// Levenshtein's distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// The fault that a vendor answers with this status.
fn of_status(status: u16) -> Option<FaultKind> {
    Some(match status {
        400 => FaultKind::BadRequest,
        401 => FaultKind::Auth,
        403 => FaultKind::Forbidden,
        404 => FaultKind::NotFound,
        429 => FaultKind::RateLimit,
        500 => FaultKind::Server,
        503 | 529 => FaultKind::Overloaded,
        504 => FaultKind::Timeout,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    #[test]
    fn every_name_listed_is_understood_and_valid() {
        let elsewhere = ["mock", "mock-fast", "mock-slow", "mock-missing"];
        for (name, what) in SITUATIONS {
            assert!(!what.is_empty());
            let Some(situation) = Situation::named(name) else {
                assert!(elsewhere.contains(name), "{name}");
                continue;
            };
            situation.over(&Preset::OpenAi.profile()).validate().unwrap();
        }
    }

    #[test]
    fn prefixes_and_tags_do_not_matter() {
        for name in [
            "mock-json",
            "mock-json:latest",
            "anthropic.mock-json-v1:0",
            "us.meta.mock-json",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.mock-json",
            "openai/mock-json",
        ] {
            assert_eq!(Situation::named(name), Some(Situation::Json), "{name}");
        }
        for name in
            ["mock", "gpt-4o", "mock-", "mock-error-418", "mock-midstream-418", "mock-error-", "hammock-json"]
        {
            assert_eq!(Situation::named(name), None, "{name}");
            assert_eq!(is_unknown(name), name.starts_with("mock-"), "{name}");
        }
    }

    #[test]
    fn typing_errors_are_near_what_was_meant() {
        for (typed, meant) in [
            ("mock-tolcall", "mock-tool-call"),
            ("mock-jsn", "mock-json"),
            ("mock-flakey", "mock-flaky"),
            ("mock-error-42", "mock-error-429"),
            ("mock-json", "mock-json"),
        ] {
            assert_eq!(nearest(typed, SITUATIONS.iter().map(|(name, _)| *name)), Some(meant));
        }
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
