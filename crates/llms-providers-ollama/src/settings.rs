//! Settings that only Ollama knows, and what they may say: which endpoint, how long a model stays loaded, whether it
//! thinks.
//!
//! Pure checks of values, used for the configuration and for the extra fields of a request alike. Nothing is sent.
//!
//! # Source
//! ollama/ollama, `api/types.go`: `Duration.UnmarshalJSON`, `ThinkValue`, `Options`, `Runner`; Go's
//! `time.ParseDuration`.

use llms_core::config::ConfigErrors;
use serde_json::Value;

/// Which endpoint answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Api {
    /// `POST /api/chat`: a conversation, tools, images.
    #[default]
    Chat,
    /// `POST /api/generate`: one prompt with one system text; also raw prompts and filling in the middle.
    Generate,
}

impl Api {
    /// The name in the configuration and at the end of the path: `chat`, `generate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Generate => "generate",
        }
    }

    /// The operation that errors of a refused call name.
    pub(crate) fn op(self) -> &'static str {
        match self {
            Self::Chat => "ollama.chat",
            Self::Generate => "ollama.generate",
        }
    }
}

/// The model parameters that Ollama knows: what may stand in `options`. It ignores any other, with a line in its own
/// log only.
///
/// The second half are parameters of older servers, which newer ones ignore.
pub const MODEL_OPTIONS: &[&str] = &[
    "draft_num_predict",
    "frequency_penalty",
    "main_gpu",
    "min_p",
    "num_batch",
    "num_ctx",
    "num_gpu",
    "num_keep",
    "num_predict",
    "num_thread",
    "presence_penalty",
    "repeat_last_n",
    "repeat_penalty",
    "seed",
    "stop",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "use_mmap",
    // Older servers only.
    "f16_kv",
    "logits_all",
    "low_vram",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "numa",
    "penalize_newline",
    "tfs_z",
    "use_mlock",
    "vocab_only",
];

/// Checks how long the model stays loaded.
pub(crate) fn check_keep_alive(field: &str, value: &Value, errors: &mut ConfigErrors) {
    let ok = match value {
        Value::Number(_) => true,
        Value::String(text) => is_go_duration(text),
        _ => false,
    };
    errors.check(
        ok,
        field,
        "expected seconds as a number (0 unloads at once, -1 keeps for ever), or a duration with its unit such as \
         \"5m\"",
        value,
    );
}

/// Checks whether and how hard the model thinks.
pub(crate) fn check_think(field: &str, value: &Value, errors: &mut ConfigErrors) {
    let ok = match value {
        Value::Bool(_) => true,
        Value::String(level) => matches!(level.as_str(), "low" | "medium" | "high" | "max"),
        _ => false,
    };
    errors.check(ok, field, "expected true, false, \"low\", \"medium\", \"high\" or \"max\"", value);
}

/// What Go's `time.ParseDuration` takes: a sign, then numbers each with a unit; or 0.
fn is_go_duration(text: &str) -> bool {
    const UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        if digits.matches('.').count() > 1 || !digits.bytes().any(|b| b.is_ascii_digit()) {
            return false;
        }
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        if !UNITS.contains(&&tail[..unit]) {
            return false;
        }
        rest = &tail[unit..];
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: Value, keep_alive: bool, think: bool) {
        let errors = |check: fn(&str, &Value, &mut ConfigErrors)| {
            let mut errors = ConfigErrors::default();
            check("x", &value, &mut errors);
            errors.errors.is_empty()
        };
        assert_eq!((errors(check_keep_alive), errors(check_think)), (keep_alive, think), "{value}");
    }

    #[test]
    fn values_are_taken_as_ollama_takes_them() {
        for text in ["5m", "1h30m", "0", "-1s", "+1.5h", "300ms", "10µs", ".5s", "1.s"] {
            check(json!(text), true, false);
        }
        for text in ["", "-1", "5", "5 m", "m", "1d", "1.2.3s", ".s", "-", "5m3"] {
            check(json!(text), false, false);
        }
        for level in ["low", "medium", "high", "max"] {
            check(json!(level), false, true);
        }
        check(json!(0), true, false);
        check(json!(-1), true, false);
        check(json!(2.5), true, false);
        check(json!(true), false, true);
        check(json!(false), false, true);
        check(json!("hard"), false, false);
        check(json!(null), false, false);
        check(json!([1]), false, false);
    }
}
