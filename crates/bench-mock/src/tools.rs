//! Made-up arguments for the tools that a simulated answer calls: valid by the tool's schema, as far as types,
//! enumerations and required properties go.

use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};

use crate::words;

/// Deepest nesting followed.
const MAX_DEPTH: u32 = 6;

/// JSON text of arguments for `schema`.
pub(crate) fn arguments(schema: &Value, rng: &mut impl Rng) -> String {
    match sample("", schema, rng, 0) {
        value @ Value::Object(_) => value.to_string(),
        _ => "{}".to_owned(),
    }
}

fn sample(name: &str, schema: &Value, rng: &mut impl Rng, depth: u32) -> Value {
    if let Some(value) = schema.get("const").or_else(|| schema.get("default")) {
        return value.clone();
    }
    if let Some(options) = schema.get("enum").and_then(Value::as_array).filter(|o| !o.is_empty()) {
        return options[rng.random_range(0..options.len())].clone();
    }
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    let number = |key: &str, absent: f64| schema.get(key).and_then(Value::as_f64).unwrap_or(absent);
    match type_of(schema) {
        "object" => {
            let mut object = Map::new();
            for (key, part) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                object.insert(key.clone(), sample(key, part, rng, depth + 1));
            }
            object.into()
        }
        "array" => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let n = number("minItems", 1.0).clamp(0.0, 16.0) as usize;
            (0..n).map(|_| sample(name, items, rng, depth + 1)).collect::<Vec<_>>().into()
        }
        "integer" => {
            let low = number("minimum", 1.0);
            json!(rng.random_range(low..=number("maximum", low + 9.0).max(low)).round() as i64)
        }
        "number" => {
            let low = number("minimum", 0.0);
            let value: f64 = rng.random_range(low..=number("maximum", low + 100.0).max(low));
            json!((value * 10.0).round() / 10.0)
        }
        "boolean" => json!(rng.random::<bool>()),
        "null" => Value::Null,
        _ => json!(text(name, schema, rng)),
    }
}

fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => names.first().and_then(Value::as_str).unwrap_or("string"),
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    }
}

fn text(name: &str, schema: &Value, rng: &mut impl Rng) -> &'static str {
    match (schema.get("format").and_then(Value::as_str), name) {
        (Some("date"), _) => "2026-01-31",
        (Some("date-time"), _) => "2026-01-31T12:00:00Z",
        (Some("email"), _) => "someone@example.com",
        (_, "city" | "location" | "place") => ["Paris", "Lisbon", "Oslo", "Quito"][rng.random_range(0..4)],
        _ => words::pick(rng),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Purpose, stream};

    #[test]
    fn arguments_follow_the_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["c", "f"]},
                "days": {"type": "integer", "minimum": 3, "maximum": 3},
                "deep": {"properties": {"on": {"type": ["boolean", "null"]}}},
                "tags": {"type": "array", "items": {"type": "string"}}
            },
            "required": ["city"]
        });
        let text = arguments(&schema, &mut stream(1, Purpose::Tools));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(
            value["city"].is_string() && value["deep"]["on"].is_boolean() && value["tags"][0].is_string()
        );
        assert!(value["unit"] == "c" || value["unit"] == "f");
        assert_eq!(value["days"], 3);
        assert_eq!(arguments(&Value::Null, &mut stream(1, Purpose::Tools)), "{}");
    }
}
