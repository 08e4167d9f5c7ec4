//! JSON Schema for answers: the keywords that describe data, checked exactly.
//!
//! What is understood is listed in [`compile`]; a schema with any other keyword is refused by name before the run, so
//! that no condition is ever silently left out. Left out on purpose: references (`$ref`), conditionals (`if`, `then`,
//! `dependent…`), `unevaluated…` and the contents keywords. `format` and the annotations say nothing about validity, as
//! in the standard's default. Semantics: JSON Schema 2020-12, validation vocabulary.

use regex::Regex;
use serde_json::{Map, Value};

/// A schema ready to judge.
#[derive(Clone, Debug)]
pub(crate) enum Schema {
    /// Everything fits, or nothing does.
    Always(bool),
    /// All of these.
    All(Vec<Rule>),
}

/// One condition.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    Type(Vec<String>),
    OneOfValues(Vec<Value>),
    Properties {
        known: Vec<(String, Schema)>,
        patterns: Vec<(Regex, Schema)>,
        others: Option<Box<Schema>>,
    },
    Required(Vec<String>),
    PropertyNames(Box<Schema>),
    Items {
        first: Vec<Schema>,
        rest: Option<Box<Schema>>,
    },
    Contains(Box<Schema>),
    Unique,
    Pattern(Regex),
    /// Keyword, limit, whether it is a lower one and strict.
    Number {
        keyword: &'static str,
        limit: f64,
        lower: bool,
        strict: bool,
    },
    MultipleOf(f64),
    /// Keyword, what is counted, limit, whether it is a lower one.
    Size {
        keyword: &'static str,
        of: Counted,
        limit: u64,
        lower: bool,
    },
    AllOf(Vec<Schema>),
    AnyOf(Vec<Schema>),
    OneOf(Vec<Schema>),
    Not(Box<Schema>),
}

/// What a size limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Characters,
    Items,
    Properties,
}

const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
const ANNOTATIONS: [&str; 12] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "$anchor",
];
/// Read together with another keyword.
const COMPANIONS: [&str; 3] = ["patternProperties", "additionalProperties", "prefixItems"];

/// Reads a schema.
///
/// # Errors
/// Where in the schema something is not understood, and what.
pub(crate) fn compile(schema: &Value) -> Result<Schema, String> {
    read(schema, "schema")
}

fn read(schema: &Value, at: &str) -> Result<Schema, String> {
    let map = match schema {
        Value::Bool(always) => return Ok(Schema::Always(*always)),
        Value::Object(map) => map,
        other => return Err(format!("{at}: expected an object or a boolean, found {other}")),
    };
    let mut rules = Vec::new();
    for (keyword, value) in map {
        if let Some(rule) = rule(map, keyword, value, at)? {
            rules.push(rule);
        }
    }
    for (companion, leader) in [
        ("patternProperties", "properties"),
        ("additionalProperties", "properties"),
        ("prefixItems", "items"),
    ] {
        // Alone, a companion is a condition too.
        let earlier = companion == "additionalProperties" && map.contains_key("patternProperties");
        if map.contains_key(companion) && !map.contains_key(leader) && !earlier {
            rules.push(if leader == "items" { items(map, at)? } else { properties(map, at)? });
        }
    }
    Ok(Schema::All(rules))
}

fn rule(map: &Map<String, Value>, keyword: &str, value: &Value, at: &str) -> Result<Option<Rule>, String> {
    let here = format!("{at}.{keyword}");
    let wrong = |expected: &str| format!("{here}: expected {expected}, found {value}");
    let one = || Ok::<_, String>(Box::new(read(value, &here)?));
    let several = || -> Result<Vec<Schema>, String> {
        let list = value.as_array().filter(|l| !l.is_empty()).ok_or_else(|| wrong("a list of schemas"))?;
        list.iter().enumerate().map(|(i, s)| read(s, &format!("{here}[{i}]"))).collect()
    };
    let texts = || -> Result<Vec<String>, String> {
        let list = value.as_array().ok_or_else(|| wrong("a list of texts"))?;
        list.iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(|| wrong("a list of texts"))).collect()
    };
    let number = |keyword: &'static str, lower: bool, strict: bool| {
        let limit = value.as_f64().ok_or_else(|| wrong("a number"))?;
        Ok::<_, String>(Rule::Number { keyword, limit, lower, strict })
    };
    let size = |keyword: &'static str, of: Counted, lower: bool| {
        let limit = value.as_u64().ok_or_else(|| wrong("a whole number, 0 or more"))?;
        Ok::<_, String>(Rule::Size { keyword, of, limit, lower })
    };
    Ok(Some(match keyword {
        "type" => {
            let types = if let Some(one) = value.as_str() { vec![one.to_owned()] } else { texts()? };
            if let Some(unknown) = types.iter().find(|t| !TYPES.contains(&t.as_str())) {
                return Err(format!("{here}: no type is called `{unknown}`"));
            }
            Rule::Type(types)
        }
        "enum" => Rule::OneOfValues(value.as_array().ok_or_else(|| wrong("a list"))?.clone()),
        "const" => Rule::OneOfValues(vec![value.clone()]),
        "properties" => properties(map, at)?,
        "required" => Rule::Required(texts()?),
        "propertyNames" => Rule::PropertyNames(one()?),
        "items" => items(map, at)?,
        "contains" => Rule::Contains(one()?),
        "uniqueItems" => {
            let unique = value.as_bool().ok_or_else(|| wrong("true or false"))?;
            return Ok(unique.then_some(Rule::Unique));
        }
        "pattern" => Rule::Pattern(pattern(value.as_str().ok_or_else(|| wrong("a text"))?, &here)?),
        "minimum" => number("minimum", true, false)?,
        "maximum" => number("maximum", false, false)?,
        "exclusiveMinimum" => number("exclusiveMinimum", true, true)?,
        "exclusiveMaximum" => number("exclusiveMaximum", false, true)?,
        "multipleOf" => {
            let step = value.as_f64().filter(|s| *s > 0.0).ok_or_else(|| wrong("a number above 0"))?;
            Rule::MultipleOf(step)
        }
        "minLength" => size("minLength", Counted::Characters, true)?,
        "maxLength" => size("maxLength", Counted::Characters, false)?,
        "minItems" => size("minItems", Counted::Items, true)?,
        "maxItems" => size("maxItems", Counted::Items, false)?,
        "minProperties" => size("minProperties", Counted::Properties, true)?,
        "maxProperties" => size("maxProperties", Counted::Properties, false)?,
        "allOf" => Rule::AllOf(several()?),
        "anyOf" => Rule::AnyOf(several()?),
        "oneOf" => Rule::OneOf(several()?),
        "not" => Rule::Not(one()?),
        _ if ANNOTATIONS.contains(&keyword) || COMPANIONS.contains(&keyword) => return Ok(None),
        _ => {
            return Err(format!(
                "{here}: this keyword is not understood; leave it out or check the answer in code"
            ));
        }
    }))
}

fn pattern(text: &str, at: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|e| format!("{at}: expected a regular expression: {e}"))
}

fn properties(map: &Map<String, Value>, at: &str) -> Result<Rule, String> {
    let table = |keyword: &str| match map.get(keyword) {
        None => Ok(Vec::new()),
        Some(Value::Object(of)) => of
            .iter()
            .map(|(name, schema)| Ok((name.clone(), read(schema, &format!("{at}.{keyword}.{name}"))?)))
            .collect::<Result<Vec<_>, String>>(),
        Some(other) => Err(format!("{at}.{keyword}: expected an object of schemas, found {other}")),
    };
    let patterns = table("patternProperties")?
        .into_iter()
        .map(|(text, schema)| Ok((pattern(&text, &format!("{at}.patternProperties"))?, schema)))
        .collect::<Result<Vec<_>, String>>()?;
    let others = map.get("additionalProperties").map(|s| read(s, &format!("{at}.additionalProperties")));
    Ok(Rule::Properties { known: table("properties")?, patterns, others: others.transpose()?.map(Box::new) })
}

fn items(map: &Map<String, Value>, at: &str) -> Result<Rule, String> {
    let first = match map.get("prefixItems") {
        None => Vec::new(),
        Some(Value::Array(list)) => list
            .iter()
            .enumerate()
            .map(|(i, s)| read(s, &format!("{at}.prefixItems[{i}]")))
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(format!("{at}.prefixItems: expected a list of schemas, found {other}")),
    };
    let rest = map.get("items").map(|s| read(s, &format!("{at}.items"))).transpose()?;
    Ok(Rule::Items { first, rest: rest.map(Box::new) })
}

impl Schema {
    /// Whether `value` fits; else where it does not, and what was expected.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        self.at(value, "answer")
    }

    fn at(&self, value: &Value, place: &str) -> Result<(), String> {
        match self {
            Self::Always(true) => Ok(()),
            Self::Always(false) => Err(format!("{place}: expected nothing here")),
            Self::All(rules) => rules.iter().try_for_each(|rule| rule.at(value, place)),
        }
    }

    fn fits(&self, value: &Value) -> bool {
        self.at(value, "").is_ok()
    }
}

impl Rule {
    fn at(&self, value: &Value, place: &str) -> Result<(), String> {
        let ensure = |holds: bool, expected: &dyn Fn() -> String| {
            if holds {
                Ok(())
            } else {
                Err(format!("{place}: expected {}, found {}", expected(), short(value)))
            }
        };
        match self {
            Self::Type(types) => {
                ensure(types.iter().any(|t| is_a(value, t)), &|| format!("type {}", types.join(" or ")))
            }
            Self::OneOfValues(values) => ensure(values.iter().any(|v| same(v, value)), &|| {
                let all: Vec<String> = values.iter().map(short).collect();
                format!("one of {}", all.join(", "))
            }),
            Self::Properties { known, patterns, others } => {
                let Some(object) = value.as_object() else { return Ok(()) };
                for (name, field) in object {
                    let place = format!("{place}.{name}");
                    let schema = known.iter().find(|(n, _)| n == name).map(|(_, s)| s);
                    let matching = patterns.iter().filter(|(p, _)| p.is_match(name)).map(|(_, s)| s);
                    let mut told = false;
                    for schema in schema.into_iter().chain(matching) {
                        told = true;
                        schema.at(field, &place)?;
                    }
                    if let (false, Some(others)) = (told, others) {
                        others.at(field, &place)?;
                    }
                }
                Ok(())
            }
            Self::Required(names) => {
                let Some(object) = value.as_object() else { return Ok(()) };
                match names.iter().find(|n| !object.contains_key(n.as_str())) {
                    Some(missing) => Err(format!("{place}: expected a field `{missing}`")),
                    None => Ok(()),
                }
            }
            Self::PropertyNames(schema) => {
                let mut names = value.as_object().into_iter().flat_map(Map::keys);
                names.try_for_each(|n| schema.at(&Value::from(n.as_str()), place))
            }
            Self::Items { first, rest } => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    if let Some(schema) = first.get(i).or(rest.as_deref()) {
                        schema.at(item, &format!("{place}[{i}]"))?;
                    }
                }
                Ok(())
            }
            Self::Contains(schema) => {
                ensure(value.as_array().is_none_or(|list| list.iter().any(|item| schema.fits(item))), &|| {
                    "an item that fits `contains`".to_owned()
                })
            }
            Self::Unique => {
                let list = value.as_array().map_or(&[][..], Vec::as_slice);
                let twice = list.iter().enumerate().any(|(i, a)| list[..i].iter().any(|b| same(a, b)));
                ensure(!twice, &|| "no item twice".to_owned())
            }
            Self::Pattern(regex) => ensure(value.as_str().is_none_or(|s| regex.is_match(s)), &|| {
                format!("a text that matches {regex}")
            }),
            Self::Number { keyword, limit, lower, strict } => {
                let fits = |x: f64| match (lower, strict) {
                    (true, false) => x >= *limit,
                    (true, true) => x > *limit,
                    (false, false) => x <= *limit,
                    (false, true) => x < *limit,
                };
                ensure(value.as_f64().is_none_or(fits), &|| format!("{keyword} {limit}"))
            }
            Self::MultipleOf(step) => {
                let fits = |x: f64| {
                    let times = x / step;
                    (times - times.round()).abs() <= 1e-9 * times.abs().max(1.0)
                };
                ensure(value.as_f64().is_none_or(fits), &|| format!("a multiple of {step}"))
            }
            Self::Size { keyword, of, limit, lower } => {
                let count = match of {
                    Counted::Characters => value.as_str().map(|s| s.chars().count()),
                    Counted::Items => value.as_array().map(Vec::len),
                    Counted::Properties => value.as_object().map(Map::len),
                };
                let fits = |n: usize| if *lower { n as u64 >= *limit } else { n as u64 <= *limit };
                ensure(count.is_none_or(fits), &|| format!("{keyword} {limit}"))
            }
            Self::AllOf(all) => all.iter().try_for_each(|s| s.at(value, place)),
            Self::AnyOf(any) => {
                ensure(any.iter().any(|s| s.fits(value)), &|| "one of anyOf to fit".to_owned())
            }
            Self::OneOf(one) => {
                let n = one.iter().filter(|s| s.fits(value)).count();
                ensure(n == 1, &|| format!("exactly one of oneOf to fit ({n} did)"))
            }
            Self::Not(schema) => {
                ensure(!schema.fits(value), &|| "what `not` forbids to be absent".to_owned())
            }
        }
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match (name, value) {
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("object", Value::Object(_))
        | ("array", Value::Array(_))
        | ("string", Value::String(_))
        | ("number", Value::Number(_)) => true,
        // 1.0 is an integer.
        ("integer", Value::Number(n)) => {
            n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|x| x.fract() == 0.0)
        }
        _ => false,
    }
}

/// Equality of JSON values: 1 and 1.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, a)| y.get(k).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
