//! T019: what a scenario expects of answers, as data: substrings, regular expressions, JSON Schema.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::common;

use bench_runner::{Expectations, ResponseValidator as _, Runner, workload::from_toml};
use common::*;
use llms_core::{
    ChatResponse, ErrorCode,
    bench::{Expect, NullSink, Prompt, RecordOutcome, RunPhase, Scenario, Warmup},
};
use serde_json::{Value, json};

fn judge(expect: &Expect, text: &str) -> Result<(), String> {
    let scenario = Scenario { expect: expect.clone(), ..scenario(&["q"], 1) };
    let ready = Expectations::compile(&scenario).unwrap().unwrap();
    ready.validate(&scenario.prompts[0], &ChatResponse { text: text.to_owned(), ..ChatResponse::default() })
}

#[track_caller]
fn check(expect: &Expect, good: &[&str], bad: &[(&str, &str)]) {
    for text in good {
        assert_eq!(judge(expect, text), Ok(()), "{text}");
    }
    for (text, why) in bad {
        let e = judge(expect, text).unwrap_err();
        assert!(e.contains(why), "expected `{why}` in: {e}");
    }
}

#[test]
fn texts_and_patterns() {
    let texts = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect();
    check(
        &Expect { contains: texts(&["Paris", "France"]), ..Expect::default() },
        &["Paris, France"],
        &[("Paris", "contains `France`"), ("paris france", "contains `Paris`")],
    );
    check(
        &Expect { matches: texts(&[r"^\d+$"]), ..Expect::default() },
        &["42"],
        &[("42.", r"matches `^\d+$`"), ("", "matches")],
    );
}

#[track_caller]
fn check_schema(schema: Value, good: &[Value], bad: &[(Value, &str)]) {
    let expect = Expect { json_schema: Some(schema), ..Expect::default() };
    for value in good {
        assert_eq!(judge(&expect, &value.to_string()), Ok(()), "{value}");
    }
    for (value, why) in bad {
        let e = judge(&expect, &value.to_string()).unwrap_err();
        assert!(e.contains(why), "expected `{why}` in: {e}");
    }
}

/// Each keyword with what fits and what does not, after the standard's own test suite.
#[test]
fn schemas() {
    check_schema(
        json!({"type": "integer"}),
        &[json!(1), json!(1.0), json!(-3)],
        &[(json!(1.5), "type integer"), (json!("1"), "type integer")],
    );
    check_schema(
        json!({"type": ["string", "null"]}),
        &[json!(null), json!("")],
        &[(json!(0), "type string or null")],
    );
    check_schema(
        json!({"enum": [6, "a", [false]]}),
        &[json!(6.0), json!("a"), json!([false])],
        &[(json!([0]), "one of 6, \"a\", [false]")],
    );
    check_schema(json!({"const": {"a": 1}}), &[json!({"a": 1.0})], &[(json!({"a": 1, "b": 2}), "one of")]);
    check_schema(
        json!({"type": "object", "properties": {"n": {"type": "number"}, "deep": {"properties": {"x": {"minimum": 3}}}},
               "required": ["n"], "additionalProperties": false}),
        &[json!({"n": 1}), json!({"n": 1, "deep": {"x": 3, "y": null}})],
        &[
            (json!({}), "answer: expected a field `n`"),
            (json!({"n": "1"}), "answer.n: expected type number"),
            (json!({"n": 1, "m": 2}), "answer.m: expected nothing here"),
            (json!({"n": 1, "deep": {"x": 2}}), "answer.deep.x: expected minimum 3, found 2"),
        ],
    );
    check_schema(
        json!({"patternProperties": {"^f": {"type": "integer"}}, "additionalProperties": {"type": "string"}}),
        &[json!({"foo": 1, "bar": "x"})],
        &[(json!({"foo": "x"}), "answer.foo"), (json!({"bar": 1}), "answer.bar")],
    );
    check_schema(
        json!({"additionalProperties": {"type": "string"}}),
        &[json!({"a": "x"}), json!(3)],
        &[(json!({"a": 1}), "answer.a")],
    );
    check_schema(
        json!({"propertyNames": {"maxLength": 2}}),
        &[json!({"ab": 1})],
        &[(json!({"abc": 1}), "maxLength 2")],
    );
    check_schema(
        json!({"minProperties": 1, "maxProperties": 2}),
        &[json!({"a": 1}), json!([])],
        &[(json!({}), "minProperties 1")],
    );
    check_schema(
        json!({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}, "minItems": 1}),
        &[json!(["a", 1, 2]), json!(["a"])],
        &[
            (json!([1]), "answer[0]: expected type string"),
            (json!(["a", "b"]), "answer[1]"),
            (json!([]), "minItems 1"),
        ],
    );
    check_schema(
        json!({"prefixItems": [{"type": "string"}]}),
        &[json!(["a", 1])],
        &[(json!([1]), "answer[0]")],
    );
    check_schema(
        json!({"contains": {"minimum": 5}}),
        &[json!([1, 6]), json!("x")],
        &[(json!([1]), "contains"), (json!([]), "contains")],
    );
    check_schema(
        json!({"uniqueItems": true}),
        &[json!([1, 2])],
        &[(json!([1, 1.0]), "no item twice"), (json!([{"a": 1}, {"a": 1}]), "twice")],
    );
    check_schema(json!({"pattern": "^a+$"}), &[json!("aa"), json!(7)], &[(json!("ab"), "matches ^a+$")]);
    check_schema(
        json!({"minLength": 2, "maxLength": 3}),
        &[json!("éé")],
        &[(json!("é"), "minLength 2"), (json!("abcd"), "maxLength 3")],
    );
    check_schema(
        json!({"exclusiveMinimum": 0, "exclusiveMaximum": 1, "multipleOf": 0.1}),
        &[json!(0.3), json!("x")],
        &[
            (json!(0), "exclusiveMinimum 0"),
            (json!(1), "exclusiveMaximum 1"),
            (json!(0.35), "multiple of 0.1"),
        ],
    );
    check_schema(json!({"maximum": 3}), &[json!(3)], &[(json!(3.1), "maximum 3")]);
    check_schema(json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), &[json!(1)], &[(json!(3), "maximum 2")]);
    check_schema(
        json!({"anyOf": [{"type": "string"}, {"minimum": 2}]}),
        &[json!("a"), json!(2)],
        &[(json!(1), "anyOf")],
    );
    check_schema(
        json!({"oneOf": [{"type": "integer"}, {"minimum": 2}]}),
        &[json!(1), json!(2.5)],
        &[(json!(3), "(2 did)"), (json!(1.5), "(0 did)")],
    );
    check_schema(json!({"not": {"type": "null"}}), &[json!(0)], &[(json!(null), "`not` forbids")]);
    check_schema(
        json!({"title": "t", "description": "d", "format": "email", "default": 1}),
        &[json!("no mail")],
        &[],
    );
    check_schema(json!(true), &[json!(1)], &[]);
    check_schema(json!(false), &[], &[(json!(1), "expected nothing here")]);
}

#[test]
fn json_may_stand_in_one_code_block() {
    let expect = Expect { json_schema: Some(json!({"required": ["a"]})), ..Expect::default() };
    check(
        &expect,
        &["{\"a\": 1}", " \n{\"a\": 1}\n", "```json\n{\"a\": 1}\n```", "```\n{\"a\": 1}```\n"],
        &[("Sure! {\"a\": 1}", "that is JSON"), ("```json\n{}\n```", "a field `a`"), ("", "that is JSON")],
    );
}

#[test]
fn what_is_not_understood_is_refused_before_the_run() {
    let wrong = |expect: Expect| {
        let model = Scripted::new("m", |_, _| after(MS));
        let scenario = Scenario { expect, ..scenario(&["q"], 1) };
        let e = simulate(&[target(&model)], &scenario).unwrap_err();
        assert!(model.seen().is_empty());
        e.message().to_owned()
    };
    let e = wrong(Expect { matches: vec!["(".to_owned()], ..Expect::default() });
    assert!(e.contains("scenario.expect.matches: expected a regular expression, found ("), "{e}");
    for (schema, why) in [
        (json!({"$ref": "#/x"}), "schema.$ref: this keyword is not understood"),
        (json!({"properties": {"a": {"if": {}}}}), "schema.properties.a.if: this keyword is not understood"),
        (json!({"type": "float"}), "no type is called `float`"),
        (json!({"required": "a"}), "schema.required: expected a list of texts"),
        (json!({"pattern": "("}), "schema.pattern: expected a regular expression"),
        (json!([]), "expected an object or a boolean"),
    ] {
        let e = wrong(Expect { json_schema: Some(schema), ..Expect::default() });
        assert!(e.contains("scenario.expect.json_schema") && e.contains(why), "{e}");
    }
}

#[test]
fn a_run_counts_what_does_not_fit_as_failed_and_says_why() {
    let model = Scripted::new("m", |n, _| Answer::Tokens { first: MS, gap: MS, n: n as u32 % 3 + 1 });
    let two = |id: &str| Prompt {
        expect: Some(Expect { matches: vec!["^(tok ){2,}$".to_owned()], ..Expect::default() }),
        ..Prompt::new(id, id)
    };
    let expect = Expect { contains: vec!["tok".to_owned()], ..Expect::default() };
    let base = scenario(&["q"], 6);
    let s = Scenario { prompts: vec![two("q")], expect, ..base };
    for streaming in [true, false] {
        let model = Scripted::new("m", |n, _| Answer::Tokens { first: MS, gap: MS, n: n as u32 % 3 + 1 });
        let result = simulate(&[target(&model)], &Scenario { streaming, ..s.clone() }).unwrap();
        let failed: Vec<_> = result
            .records
            .iter()
            .filter_map(|r| match &r.outcome {
                RecordOutcome::Failed(e) => Some((e.code, e.message.clone())),
                _ => None,
            })
            .collect();
        let expected = "expected an answer that matches `^(tok ){2,}$`".to_owned();
        assert_eq!(failed, vec![(ErrorCode::InvalidResponse, expected); 2]);
    }
    // A validator in code judges as well; warm-up is judged by neither.
    let runner = Runner::builder()
        .validator(std::sync::Arc::new(|_: &Prompt, answer: &ChatResponse| {
            if answer.text.len() > 8 { Err("expected a short answer".to_owned()) } else { Ok(()) }
        }))
        .build();
    let warm = Scenario { warmup: Warmup { requests: 3, prompts: Vec::new() }, ..s };
    let result = simulate_with(&runner, &[target(&model)], &warm, &mut NullSink, |_| {}).unwrap();
    let count = |phase| result.records.iter().filter(|r| r.phase == phase && !r.is_ok()).count();
    assert_eq!((count(RunPhase::Warmup), count(RunPhase::Measured)), (0, 4));
}

#[test]
fn scenario_files_say_what_they_expect() {
    let s = from_toml(
        "name = \"x\"\nrequests = 1\nexpect = { contains = \"a\", matches = [\"b\", \"c\"] }\n\
         prompts = [\"p\", { text = \"q\", expect = { json_schema = { type = \"object\" } } }]\n",
    )
    .unwrap();
    assert_eq!((s.expect.contains.len(), s.expect.matches.len()), (1, 2));
    assert_eq!(s.prompts[1].expect.as_ref().unwrap().json_schema, Some(json!({"type": "object"})));
    let json = serde_json::to_string(&s).unwrap();
    assert_eq!(bench_runner::workload::from_json(&json).unwrap(), s);
    let e = from_toml("prompts = [\"p\"]\nexpect = { contain = \"a\" }\n").unwrap_err();
    assert!(e.message().contains("unknown field `contain`"), "{e}");
}
