//! Hashes of configuration and data: SHA-256 over canonical JSON, the same on every machine and in every later
//! version as long as the meaning is the same.

use llms_core::bench::{Scenario, Seeds};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// The configuration hash: of all fields but the seeds. Fields that have their default value are left out, so a
/// field added later does not change the hash of scenarios that do not use it.
pub fn scenario_hash(scenario: &Scenario) -> String {
    let seedless = |s: &Scenario| match json(&Scenario { seeds: Seeds::default(), ..s.clone() }) {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let default = seedless(&Scenario::default());
    let mut fields = seedless(scenario);
    fields.retain(|name, value| default.get(name) != Some(value));
    digest(&Value::Object(fields))
}

/// The data hash: of the system message and the messages of all prompts in order, whatever their ids; of what follows
/// them where conversations are asked; of the requests of a trace; of the lengths of synthetic prompts, whose words
/// follow from the seeds.
pub fn data_hash(scenario: &Scenario) -> String {
    let messages: Vec<_> = scenario.prompts.iter().map(|p| &p.messages).collect();
    let mut data = vec![json(&scenario.system), json(&messages)];
    // Only where there are any: data that was hashed before these existed keeps its hash.
    if scenario.sessions.is_some() {
        let turns: Vec<_> = scenario.prompts.iter().map(|p| &p.turns).collect();
        data.push(json(&("turns", turns)));
    }
    if let Some(trace) = scenario.load.trace() {
        data.push(json(&("trace", &trace.sha256)));
    }
    if let Some(synthetic) = &scenario.synthetic {
        data.push(json(&("synthetic", synthetic)));
    }
    digest(&Value::Array(data))
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("invariant: scenarios are plain data with text keys")
}

fn digest(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    hex(&Sha256::digest(text))
}

/// JSON without blanks, keys sorted by their bytes, whatever map type `serde_json` was built with.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (i, (name, value)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_sorts_and_escapes() {
        let mut out = String::new();
        canonical(&serde_json::json!({"b": [1, {"z": null, "a\"": 0.5}], "a": "é\n"}), &mut out);
        assert_eq!(out, "{\"a\":\"é\\n\",\"b\":[1,{\"a\\\"\":0.5,\"z\":null}]}");
    }

    #[test]
    fn data_is_what_is_asked_not_what_it_is_called() {
        let a = Scenario::new("a", ["one", "two"]);
        let mut b = Scenario::new("b", ["one", "two"]);
        b.prompts[0].id = "first".to_owned();
        assert_eq!(data_hash(&a), data_hash(&b));
        assert_ne!(data_hash(&a), data_hash(&Scenario::new("a", ["two", "one"])));
        b.system = Some("be brief".to_owned());
        assert_ne!(data_hash(&a), data_hash(&b));
    }
}
