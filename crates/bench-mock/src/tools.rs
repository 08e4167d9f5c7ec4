//! Made-up JSON: arguments for the tools that a simulated answer calls, and answers that must be JSON. Valid by their
//! schema as far as types, enumerations, references, choices, bounds and required properties go; not by patterns.

use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};

use crate::words;

/// Deepest nesting followed.
const MAX_DEPTH: u32 = 6;

/// Most values in one document: schemas that refer to themselves could ask for more than there is memory.
const MAX_VALUES: u32 = 2_048;
/// Longest text made up for a `minLength`.
const MAX_TEXT: usize = 1_024;

/// JSON text of arguments for `schema`.
pub(crate) fn arguments(schema: &Value, rng: &mut impl Rng) -> String {
    match (Maker { root: schema, rng, left: MAX_VALUES }).make("", schema, 0) {
        value @ Value::Object(_) => value.to_string(),
        _ => "{}".to_owned(),
    }
}

/// JSON text of an answer: by the schema, else an object of our own.
pub(crate) fn answer(schema: Option<&Value>, rng: &mut impl Rng) -> String {
    match schema {
        Some(schema) => (Maker { root: schema, rng, left: MAX_VALUES }).make("", schema, 0).to_string(),
        None => json!({"answer": words::pick(rng), "score": rng.random_range(1..=10)}).to_string(),
    }
}

/// Makes up values; `root` is what references are looked up in.
struct Maker<'a, R> {
    root: &'a Value,
    rng: &'a mut R,
    /// Values that may still be made.
    left: u32,
}

impl<'a, R: Rng> Maker<'a, R> {
    fn make(&mut self, name: &str, schema: &'a Value, depth: u32) -> Value {
        if self.left == 0 {
            return Value::Null;
        }
        self.left -= 1;
        let list = |key: &str| schema.get(key).and_then(Value::as_array).filter(|o| !o.is_empty());
        if let Some(value) = schema.get("const").or_else(|| schema.get("default")) {
            return value.clone();
        }
        if let Some(options) = list("enum") {
            return options[self.rng.random_range(0..options.len())].clone();
        }
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(there) = schema.get("$ref").and_then(Value::as_str) {
            let found = there.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(Value::Null, |schema| self.make(name, schema, depth + 1));
        }
        if let Some(options) = list("anyOf").or_else(|| list("oneOf")) {
            // Not null where something else will do; a recursive choice ends at its last way out.
            let way = |o: &&Value| o.get("type").is_none_or(|t| t != "null");
            let mut ways = options.iter().filter(way);
            let chosen = if depth + 2 > MAX_DEPTH { options.last() } else { ways.next() };
            return self.make(name, chosen.unwrap_or(&options[0]), depth + 1);
        }
        if let Some(parts) = list("allOf") {
            let mut whole = Map::new();
            for part in parts {
                match self.make(name, part, depth + 1) {
                    Value::Object(fields) => whole.extend(fields),
                    other if parts.len() == 1 => return other,
                    _ => {}
                }
            }
            return whole.into();
        }
        self.typed(name, schema, depth)
    }

    fn typed(&mut self, name: &str, schema: &'a Value, depth: u32) -> Value {
        let number = |key: &str, absent: f64| schema.get(key).and_then(Value::as_f64).unwrap_or(absent);
        match type_of(schema) {
            "object" => {
                let properties = schema.get("properties").and_then(Value::as_object);
                let parts = properties.into_iter().flatten();
                parts.map(|(key, part)| (key.clone(), self.make(key, part, depth + 1))).collect()
            }
            "array" => {
                let items = schema.get("items").unwrap_or(&Value::Null);
                let n = number("minItems", number("maxItems", 1.0).min(1.0)).clamp(0.0, 16.0) as usize;
                (0..n).map(|_| self.make(name, items, depth + 1)).collect()
            }
            "integer" => {
                let low = number("minimum", number("exclusiveMinimum", 0.0) + 1.0);
                let high = number("maximum", number("exclusiveMaximum", low + 10.0) - 1.0).max(low);
                json!((self.rng.random_range(low.ceil()..=high.floor().max(low.ceil()))).floor() as i64)
            }
            "number" => {
                let low = number("minimum", number("exclusiveMinimum", 0.0));
                let high = number("maximum", number("exclusiveMaximum", low + 100.0)).max(low);
                let value: f64 = self.rng.random_range(low..=high);
                json!(((value * 10.0).round() / 10.0).clamp(low, high))
            }
            "boolean" => json!(self.rng.random::<bool>()),
            "null" => Value::Null,
            _ => {
                let mut text = text(name, schema, self.rng).to_owned();
                let (least, most) = (number("minLength", 0.0), number("maxLength", f64::MAX));
                while text.len() < (least as usize).min(MAX_TEXT) {
                    text.push(' ');
                    text.push_str(words::pick(self.rng));
                }
                text.truncate(most as usize);
                json!(text)
            }
        }
    }
}

fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => names.first().and_then(Value::as_str).unwrap_or("string"),
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    }
}

fn text(name: &str, schema: &Value, rng: &mut impl Rng) -> &'static str {
    match (schema.get("format").and_then(Value::as_str), name) {
        (Some("date"), _) => "2026-01-31",
        (Some("time"), _) => "12:00:00Z",
        (Some("date-time"), _) => "2026-01-31T12:00:00Z",
        (Some("duration"), _) => "PT1H",
        (Some("email"), _) => "someone@example.com",
        (Some("uuid"), _) => "00000000-0000-4000-8000-000000000000",
        (Some("uri"), _) => "https://example.com/",
        (Some("hostname"), _) => "example.com",
        (Some("ipv4"), _) => "192.0.2.1",
        (Some("ipv6"), _) => "2001:db8::1",
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

    #[test]
    fn answers_follow_references_choices_and_bounds() {
        let schema = json!({
            "$defs": {
                "tree": {"type": "object", "properties": {
                    "name": {"type": "string", "minLength": 30},
                    "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}
                }},
                "level": {"enum": ["low", "high"]}
            },
            "type": "object",
            "properties": {
                "tree": {"$ref": "#/$defs/tree"},
                "level": {"allOf": [{"$ref": "#/$defs/level"}]},
                "share": {"type": "number", "minimum": 0.25, "maximum": 0.25},
                "short": {"type": "string", "maxLength": 2},
                "list": {"type": "array", "minItems": 3, "items": {"type": "integer", "maximum": 0, "minimum": -5}}
            }
        });
        for seed in 0..50 {
            let text = answer(Some(&schema), &mut stream(seed, Purpose::Text));
            let value: Value = serde_json::from_str(&text).unwrap();
            let mut end = &value["tree"];
            while !end["next"].is_null() {
                assert!(end["name"].as_str().unwrap().len() >= 30);
                end = &end["next"];
            }
            assert!(value["level"] == "low" || value["level"] == "high", "{value}");
            assert_eq!(value["share"], 0.25);
            assert!(value["short"].as_str().unwrap().len() <= 2);
            let list = value["list"].as_array().unwrap();
            assert!(list.len() == 3 && list.iter().all(|n| (-5..=0).contains(&n.as_i64().unwrap())));
        }
        // One that would be 40^6 values.
        let fields: Map<String, Value> = (0..40).map(|i| (format!("f{i}"), json!({"$ref": "#"}))).collect();
        let greedy = json!({"type": "object", "properties": fields});
        assert!(answer(Some(&greedy), &mut stream(1, Purpose::Text)).len() < 100_000);
        let own = answer(None, &mut stream(1, Purpose::Text));
        assert!(serde_json::from_str::<Value>(&own).unwrap().is_object());
    }
}
