//! What Ollama reports about itself, under stable keys: how long each part took by its own clock. Nothing is derived.

use llms_core::{observe::HookValue, wire::Hooks};

use crate::wire::Durations;

/// Every key reported, with what it means. All from the last line of an answer.
pub const KEYS: &[(&str, &str)] = &[
    ("ollama.total_duration_ms", "the whole request; field total_duration"),
    ("ollama.load_duration_ms", "loading the model, large on a cold start; field load_duration"),
    ("ollama.prompt_eval_duration_ms", "processing the prompt; field prompt_eval_duration"),
    ("ollama.eval_duration_ms", "generating the answer; field eval_duration"),
];

/// Reports the durations that the server stated, in milliseconds.
pub(crate) fn of_durations(durations: Durations, report: &mut Hooks<'_>) {
    for ((key, _), nanoseconds) in
        KEYS.iter().zip([durations.total, durations.load, durations.prompt_eval, durations.eval])
    {
        if let Some(ns) = nanoseconds {
            report(key, HookValue::Number(ns as f64 / 1e6));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_not_reported() {
        let mut seen = Vec::new();
        let durations = Durations { total: Some(513_522_613), eval: Some(0), ..Durations::default() };
        of_durations(durations, &mut |key, value| {
            let HookValue::Number(ms) = value else { panic!("{key} is a number") };
            seen.push((key, ms));
        });
        assert_eq!(seen, [("ollama.total_duration_ms", 513.522613), ("ollama.eval_duration_ms", 0.0),]);
    }
}
