//! Scenario files, TOML or JSON. Every message says where: file, line, column, field.

use std::{ops::Range, path::Path};

use llms_core::{
    Error, ErrorCode, Result,
    bench::Scenario,
    config::{ConfigErrors, FieldError},
};
use toml::de::{DeTable, DeValue};

/// Reads a scenario from a `.toml` or `.json` file, and the trace and prompts it names, and checks it.
///
/// # Errors
/// `invalid_config` with file, line and field: the file cannot be read, is not TOML or JSON, has an unknown or
/// malformed field, or a value out of range.
pub fn load_scenario(path: &Path) -> Result<Scenario> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| wrong(format!("cannot read the scenario file `{name}`")).with_source(e))?;
    let base = Some(path.parent().unwrap_or(Path::new("")));
    match path.extension().and_then(|e| e.to_str()) {
        Some("toml") => parse_toml(&text, &name, base),
        Some("json") => parse_json(&text, &name, base),
        _ => Err(wrong(format!("expected a scenario file ending in .toml or .json, found `{name}`"))),
    }
}

/// Reads a scenario from TOML text and checks it. A trace it names lies below the current directory.
///
/// # Errors
/// `invalid_config` with line and field.
pub fn from_toml(text: &str) -> Result<Scenario> {
    parse_toml(text, "scenario", None)
}

/// Reads a scenario from JSON text and checks it. A trace it names lies below the current directory.
///
/// # Errors
/// `invalid_config` with line or field.
pub fn from_json(text: &str) -> Result<Scenario> {
    parse_json(text, "scenario", None)
}

fn wrong(message: String) -> Error {
    Error::new("scenario.load", ErrorCode::InvalidConfig, message)
}

fn parse_toml(text: &str, name: &str, base: Option<&Path>) -> Result<Scenario> {
    let scenario: Scenario = toml::from_str(text).map_err(|e| {
        let place = e.span().map(|span| position(text, span.start));
        let place = place.map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
        wrong(format!("{name}{place}: {}", plain(e.message())))
    })?;
    let document = DeTable::parse(text).ok();
    checked(scenario, name, base, |field| {
        let span = locate(document.as_ref()?.get_ref(), field)?;
        Some(position(text, span.start).0)
    })
}

fn parse_json(text: &str, name: &str, base: Option<&Path>) -> Result<Scenario> {
    let scenario: Scenario = serde_json::from_str(text).map_err(|e| {
        let full = e.to_string();
        let message = full.split(" at line ").next().unwrap_or(&full);
        wrong(format!("{name}:{}:{}: {}", e.line(), e.column(), plain(message)))
    })?;
    checked(scenario, name, base, |_| None)
}

/// Validates, and puts the line in front of every field error where it is known.
fn checked(
    scenario: Scenario,
    name: &str,
    base: Option<&Path>,
    line: impl Fn(&str) -> Option<usize>,
) -> Result<Scenario> {
    let mut scenario = scenario.with_ids();
    read_files(&mut scenario, base.unwrap_or(Path::new("")))?;
    scenario.validate().map_err(|errors| {
        let errors = errors.errors.into_iter().map(|e| match line(&e.field) {
            Some(at) => FieldError { field: format!("{name}:{at}: {}", e.field), ..e },
            None => FieldError { field: format!("{name}: {}", e.field), ..e },
        });
        let errors = ConfigErrors { errors: errors.collect() };
        wrong(errors.to_string()).with_source(errors)
    })?;
    Ok(scenario)
}

/// Reads the files that a scenario names, relative ones below `base`: its trace, its prompts. A tokenizer's file is only given
/// its whole path.
///
/// # Errors
/// `invalid_config` with file, line and field.
pub fn read_files(scenario: &mut Scenario, base: &Path) -> Result<()> {
    if let Some(trace) = scenario.load.trace_mut() {
        super::read_trace(trace, base)?;
    }
    if let Some(file) = &scenario.prompts_file {
        if !scenario.prompts.is_empty() {
            return Err(wrong(format!(
                "prompts_file: expected no prompts beside it, found both; `{file}` has its own"
            )));
        }
        scenario.prompts = super::load_prompts(&base.join(file))?;
        scenario.prompts_file = None;
    }
    if let Some(tokenizer) = &mut scenario.tokenizer
        && Path::new(tokenizer.as_str()).extension().is_some_and(|e| e == "json")
    {
        *tokenizer = base.join(&tokenizer).display().to_string();
    }
    Ok(())
}

/// Says what was expected where the parser only says that nothing fitted.
fn plain(message: &str) -> String {
    let message = message.trim().trim_end_matches('.');
    if message.contains("untagged enum PromptFile") {
        return "expected a prompt: a text, { id, text }, or { id, messages = [{ role, content }] }, with turns and \
                max_tokens if wanted"
            .to_owned();
    }
    if message.contains("untagged enum") {
        return format!("{message}; see the guide for the forms this field takes");
    }
    message.replace('\n', " ")
}

/// Line and column, from 1; the column counts characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Where the field `a.b[2].c` stands, or the nearest thing around it that the file has.
fn locate(document: &DeTable<'_>, field: &str) -> Option<Range<usize>> {
    let mut found = None;
    let mut table = Some(document);
    for step in field.split('.') {
        let (key, index) = match step.split_once('[') {
            Some((key, rest)) => (key, rest.strip_suffix(']')?.parse::<usize>().ok()),
            None => (step, None),
        };
        let Some((name, value)) = table.and_then(|t| t.get_key_value(key)) else { break };
        found = Some(name.span());
        let mut value: &DeValue<'_> = value.get_ref();
        if let Some(item) = index.and_then(|i| value.as_array()?.get(i)) {
            found = Some(item.span());
            value = item.get_ref();
        }
        table = value.as_table();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_one() {
        let text = "a = 1\nbé = 2\n";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, text.find('2').unwrap()), (2, 6));
    }

    #[test]
    fn fields_are_found_in_nested_tables_and_arrays() {
        let text =
            "prompts = [\n  \"a\",\n  { text = \"b\", id = \"x\" },\n]\n[load]\nmode = \"open\"\nrate = 0\n";
        let document = DeTable::parse(text).unwrap();
        let line = |field| locate(document.get_ref(), field).map(|s| position(text, s.start).0);
        assert_eq!(line("prompts[1].id"), Some(3));
        assert_eq!(line("prompts[0]"), Some(2));
        assert_eq!(line("load.rate"), Some(7));
        assert_eq!(line("load.concurrency"), Some(5), "a missing field: the table that lacks it");
        assert_eq!(line("duration"), None);
    }
}
