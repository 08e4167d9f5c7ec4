//! A structural validator for the part of JSON Schema 2020-12 that `docs/schema` uses. A keyword it does not know is a
//! failure, so that nothing in a schema goes unchecked; so is a property that the schema does not describe, so that code
//! and schema cannot drift apart (readers of results are more lenient: the schema itself allows further properties).

use serde_json::{Map, Value};

/// The schema of results.
pub fn result_schema() -> Value {
    serde_json::from_str(include_str!("../../../docs/schema/result.schema.json")).unwrap()
}

/// Everything in `value` that is not as `schema` says: path and complaint.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Validator { root: schema }.check(schema, value, "$", &mut found);
    found
}

/// The same for one of the schema's definitions.
pub fn violations_of(schema: &Value, definition: &str, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Validator { root: schema }.check(&schema["$defs"][definition], value, "$", &mut found);
    found
}

struct Validator<'s> {
    root: &'s Value,
}

impl Validator<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let rules = match schema {
            Value::Bool(true) => return,
            Value::Object(rules) => rules,
            other => panic!("not a schema at {at}: {other}"),
        };
        let mut complain = |what: String| found.push(format!("{at}: {what}"));
        for (keyword, rule) in rules {
            match keyword.as_str() {
                "type" => {
                    if !names(rule).any(|name| is_of_type(value, name)) {
                        complain(format!("expected {rule}, found {value}"));
                    }
                }
                "const" if value != rule => complain(format!("expected {rule}, found {value}")),
                "enum" if !rule.as_array().unwrap().contains(value) => {
                    complain(format!("expected one of {rule}, found {value}"));
                }
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                    if let (Some(x), Some(limit)) = (value.as_f64(), rule.as_f64())
                        && !within(keyword, x, limit)
                    {
                        complain(format!("expected {keyword} {limit}, found {x}"));
                    }
                }
                // Said to the reader, or looked at below; `const` and `enum` come here when they hold.
                "$schema"
                | "$id"
                | "$defs"
                | "title"
                | "description"
                | "format"
                | "const"
                | "enum"
                | "required"
                | "properties"
                | "additionalProperties"
                | "items"
                | "anyOf"
                | "$ref" => {}
                unknown => panic!("the validator does not know the keyword `{unknown}`"),
            }
        }
        if let Some(reference) = rules.get("$ref") {
            let pointer = reference.as_str().unwrap().strip_prefix('#').expect("a local reference");
            let target =
                self.root.pointer(pointer).unwrap_or_else(|| panic!("no such definition: {pointer}"));
            self.check(target, value, at, found);
        }
        if let Some(branches) = rules.get("anyOf") {
            self.any_of(branches.as_array().unwrap(), value, at, found);
        }
        match value {
            Value::Object(fields) => self.object(rules, fields, at, found),
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    if let Some(rule) = rules.get("items") {
                        self.check(rule, item, &format!("{at}[{i}]"), found);
                    }
                }
            }
            _ => {}
        }
    }

    /// The complaints of the branch that fits best, when none fits.
    fn any_of(&self, branches: &[Value], value: &Value, at: &str, found: &mut Vec<String>) {
        let tried = branches.iter().map(|branch| {
            let mut inner = Vec::new();
            self.check(branch, value, at, &mut inner);
            inner
        });
        let best = tried.min_by_key(Vec::len).expect("anyOf has branches");
        found.extend(best);
    }

    fn object(
        &self,
        rules: &Map<String, Value>,
        fields: &Map<String, Value>,
        at: &str,
        found: &mut Vec<String>,
    ) {
        for name in rules.get("required").into_iter().flat_map(|r| r.as_array().unwrap()) {
            if !fields.contains_key(name.as_str().unwrap()) {
                found.push(format!("{at}: {name} is missing"));
            }
        }
        let described = rules.get("properties").and_then(Value::as_object);
        let others = rules.get("additionalProperties");
        for (name, field) in fields {
            let at = format!("{at}.{name}");
            match (described.and_then(|d| d.get(name)), others) {
                (Some(rule), _) | (None, Some(rule)) => self.check(rule, field, &at, found),
                (None, None) if described.is_some() => {
                    found.push(format!("{at}: the schema does not describe it"));
                }
                (None, None) => {}
            }
        }
    }
}

fn names(rule: &Value) -> impl Iterator<Item = &str> {
    let one = rule.as_str().into_iter();
    one.chain(rule.as_array().into_iter().flatten().filter_map(Value::as_str))
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("no such type: {other}"),
    }
}

fn within(keyword: &str, x: f64, limit: f64) -> bool {
    match keyword {
        "minimum" => x >= limit,
        "maximum" => x <= limit,
        "exclusiveMinimum" => x > limit,
        _ => x < limit,
    }
}

/// The objects of `value`, as pointers; of the items of a list the first stands for all.
pub fn objects(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, out: &mut Vec<String>) {
        let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
        match value {
            Value::Object(fields) => {
                out.push(at.to_owned());
                fields.iter().for_each(|(name, v)| walk(v, &format!("{at}/{}", escape(name)), out));
            }
            Value::Array(items) => {
                if let Some(first) = items.first() {
                    walk(first, &format!("{at}/0"), out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(value, "", &mut out);
    out
}
