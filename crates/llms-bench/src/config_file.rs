//! `llms-bench.toml`: targets and the scenario, for people who run the same thing again.
//!
//! Flags win over the file; the file wins over defaults. Unknown keys are errors.

use std::{fs, path::Path};

use bench_runner::workload::read_files;
use llms_core::bench::Scenario;
use serde::Deserialize;

use crate::{exit::Failure, target::TargetSpec};

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigFile {
    /// What to measure.
    #[serde(rename = "target")]
    pub targets: Vec<TargetSpec>,
    /// What to run.
    pub scenario: Option<Scenario>,
}

/// Name looked for in the working directory.
pub const DEFAULT_NAME: &str = "llms-bench.toml";

impl ConfigFile {
    /// Reads `path`.
    ///
    /// # Errors
    /// Line, column, and what was expected.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|e| {
            Failure::usage(format!("cannot read {}: {e}; give another file with --config", path.display()))
        })?;
        let mut file = Self::parse(&text).map_err(|e| e.at(path.display()))?;
        if let Some(scenario) = &mut file.scenario {
            read_files(scenario, path.parent().unwrap_or(Path::new("")))?;
        }
        Ok(file)
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// Line, column, and what was expected.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut file: Self = toml::from_str(text).map_err(|e| Failure::usage(wrong(text, &e)))?;
        file.scenario = file.scenario.map(Scenario::with_ids);
        Ok(file)
    }
}

/// Where and what, but never the line itself nor a text that stands in it: that may be a key at the wrong place.
fn wrong(text: &str, e: &toml::de::Error) -> String {
    let at = e.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    // serde quotes what it found instead of what it expected.
    let mut message = e.message().to_owned();
    if let Some(start) = message.find(": string \"")
        && let Some(end) = message.rfind("\", expected")
    {
        message.replace_range(start..=end, ": a string");
    }
    format!("line {line}, column {column}: {}", message.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file() {
        let file = ConfigFile::parse(
            r#"
            [[target]]
            provider = "openai"
            model = "gpt-4o-mini"
            timeout = "45s"

            [[target]]
            name = "local"
            provider = "ollama"
            model = "llama3.2"
            base_url = "http://127.0.0.1:11434"

            [scenario]
            name = "mine"
            prompts = ["What is 2+2?", { id = "haiku", text = "Write a haiku on technology." }]
            requests = 50
            slo = ["ttft:p99<500ms"]
            load = { mode = "closed", concurrency = 4 }
            [scenario.options]
            max_tokens = 64
            "#,
        )
        .unwrap();
        assert_eq!(file.targets[1].name.as_deref(), Some("local"));
        let scenario = file.scenario.unwrap();
        assert_eq!((scenario.prompts[0].id.as_str(), scenario.prompts[1].id.as_str()), ("p0", "haiku"));
        scenario.validate().unwrap();
    }

    #[test]
    fn mistakes_name_line_and_key() {
        let e = ConfigFile::parse("[[target]]\nprovider = \"openai\"\nmodle = \"x\"\n").unwrap_err();
        assert!(e.message.contains("line 3") && e.message.contains("modle"), "{}", e.message);
        let e = ConfigFile::parse("[[target]\n").unwrap_err();
        assert!(e.message.contains("line 1"), "{}", e.message);
    }

    #[test]
    fn mistakes_do_not_quote_the_line() {
        for line in ["api_key = \"sesame\"", "headers = \"sesame\"", "headers = { a = \"sesame }"] {
            let text = format!("[[target]]\nprovider = \"openai\"\n{line}\n");
            let e = ConfigFile::parse(&text).unwrap_err();
            assert!(e.message.contains("line 3") && !e.message.contains("sesame"), "{}", e.message);
        }
        let e = ConfigFile::parse("[[target]]\nheaders = \"x\"\n").unwrap_err();
        assert!(e.message.ends_with("a string, expected a map"), "{}", e.message);
    }
}
