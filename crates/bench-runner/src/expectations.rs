//! What a scenario expects of answers, judged: substrings, regular expressions, JSON Schema.
//!
//! The data stands in the scenario ([`Expect`]); here it is made ready once and put behind the seam that code of one's
//! own uses as well ([`ResponseValidator`]). Judging happens when a request is over.

use std::{collections::HashMap, sync::Arc};

use llms_core::{
    ChatResponse,
    bench::{Expect, Prompt, Scenario},
    config::ConfigErrors,
};
use regex::Regex;
use serde_json::Value;

use crate::{
    executor::ResponseValidator,
    workload::schema::{self, Schema},
};

/// The expectations of a scenario and of its prompts, ready to judge.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    all: Ready,
    /// By prompt id.
    own: HashMap<String, Ready>,
}

#[derive(Clone, Debug, Default)]
struct Ready {
    contains: Vec<String>,
    matches: Vec<Regex>,
    schema: Option<Schema>,
}

impl Expectations {
    /// Makes them ready; `None` when nothing is expected.
    ///
    /// # Errors
    /// Every regular expression and schema that is wrong, by field.
    pub fn compile(scenario: &Scenario) -> Result<Option<Self>, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut found =
            Self { all: Ready::new(&scenario.expect, "expect", &mut errors), own: HashMap::new() };
        for (i, prompt) in scenario.prompts.iter().enumerate() {
            if let Some(expect) = prompt.expect.as_ref().filter(|e| !e.is_empty()) {
                let ready = Ready::new(expect, &format!("prompts[{i}].expect"), &mut errors);
                found.own.insert(prompt.id.clone(), ready);
            }
        }
        errors.into_result()?;
        Ok((!scenario.expect.is_empty() || !found.own.is_empty()).then_some(found))
    }

    /// These and a validator of the caller's, whichever there are. What does not compile counts as absent: a run
    /// refuses it before.
    pub(crate) fn with(
        scenario: &Scenario,
        other: Option<Arc<dyn ResponseValidator>>,
    ) -> Option<Arc<dyn ResponseValidator>> {
        let Some(own) = Self::compile(scenario).ok().flatten() else { return other };
        Some(match other {
            None => Arc::new(own),
            Some(other) => Arc::new(move |prompt: &Prompt, response: &ChatResponse| {
                own.validate(prompt, response)?;
                other.validate(prompt, response)
            }),
        })
    }
}

impl ResponseValidator for Expectations {
    fn validate(&self, prompt: &Prompt, response: &ChatResponse) -> Result<(), String> {
        self.all.check(&response.text)?;
        self.own.get(&prompt.id).map_or(Ok(()), |own| own.check(&response.text))
    }
}

impl Ready {
    fn new(expect: &Expect, field: &str, errors: &mut ConfigErrors) -> Self {
        let matches = expect.matches.iter().filter_map(|text| {
            let regex = Regex::new(text);
            if regex.is_err() {
                errors.push(format!("{field}.matches"), "expected a regular expression", text);
            }
            regex.ok()
        });
        let matches = matches.collect();
        let schema = match expect.json_schema.as_ref().map(schema::compile) {
            None => None,
            Some(Ok(schema)) => Some(schema),
            Some(Err(why)) => {
                errors.push(format!("{field}.json_schema"), "expected a schema that is understood", why);
                None
            }
        };
        Self { contains: expect.contains.clone(), matches, schema }
    }

    fn check(&self, text: &str) -> Result<(), String> {
        if let Some(missing) = self.contains.iter().find(|c| !text.contains(c.as_str())) {
            return Err(format!("expected an answer that contains `{missing}`"));
        }
        if let Some(unmatched) = self.matches.iter().find(|m| !m.is_match(text)) {
            return Err(format!("expected an answer that matches `{unmatched}`"));
        }
        let Some(schema) = &self.schema else { return Ok(()) };
        let value: Value = serde_json::from_str(unfenced(text))
            .map_err(|e| format!("expected an answer that is JSON: {e}"))?;
        schema.check(&value).map_err(|why| format!("expected an answer that fits the schema: {why}"))
    }
}

/// What stands inside the one code block that an answer consists of; else the answer itself.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix("```").and_then(|t| t.strip_suffix("```"));
    inside.and_then(|t| t.split_once('\n')).map_or(text, |(_language, json)| json)
}
