//! No secret shows: not the API key, the signing key, the session token, the authorization header or a configured
//! header, in no `Debug`, `Display`, error, hook or health verdict, also when the server echoes them all.
// Helpers may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::{error::Error as StdError, fmt::Write, sync::Arc};

use llms_core::{ChatModel, ChatRequest, config::ModelConfig};
use support::{
    Answer, End, Printed, Scripted, block_on, chunk, connect_with, context, event, exception, short_stream,
};

const BEARER: &str = "bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLETOKEN//////////";
const GATEWAY: &str = "gateway-password-1234";
const SECRETS: [&str; 5] = [BEARER, SECRET, TOKEN, GATEWAY, "AKIAIOSFODNN7EXAMPLE"];

fn echo() -> String {
    let all = SECRETS.join(" and ");
    format!("wrong: {all}, Authorization: Bearer {BEARER}")
}

/// Everything printable about calls with this environment and these answers.
fn printed(env: &[(&str, &str)], api: &str, answers: Vec<Answer>) -> String {
    let mut out = String::new();
    for answer in answers {
        let printed = Arc::new(Printed::default());
        let ctx = context().with_observer(printed.clone());
        block_on(async {
            let change = |mut c: ModelConfig| {
                c.model = String::from("anthropic.claude-v2");
                c.headers.insert("x-gateway".to_owned(), GATEWAY.to_owned());
                c.with_specific("api", api)
            };
            let transport = Scripted::new([answer.clone(), answer.clone(), answer]);
            let model = connect_with(transport.clone(), change, env).await.unwrap();
            writeln!(out, "{model:?} {model:#?} {:?} {:?}", model.config(), model.info()).unwrap();
            let request = ChatRequest::text("?");
            let mut events = Vec::new();
            let results = [
                model.generate(&request, &ctx).await.map(|_| ()),
                model.drive(&request, &ctx, &mut events).await.map(|_| ()),
            ];
            for error in results.into_iter().filter_map(Result::err) {
                writeln!(out, "{error} {error:?} {error:#?}").unwrap();
                let mut source = StdError::source(&error);
                while let Some(e) = source {
                    writeln!(out, "{e} {e:?}").unwrap();
                    source = e.source();
                }
            }
            writeln!(out, "{:?}", model.check_health(&ctx).await).unwrap();
            for request in transport.requests.lock().unwrap().iter() {
                writeln!(out, "{request:?}").unwrap();
            }
        });
        writeln!(out, "{}", printed.0.lock().unwrap()).unwrap();
    }
    out
}

#[test]
fn no_secret_shows_anywhere_also_when_the_server_echoes_it() {
    let json = format!(r#"{{"message":"{}"}}"#, echo());
    let problem = format!(r#"{{"type":"error","error":{{"type":"{0}","message":"{0}"}}}}"#, echo());
    // A text where something else belongs: parsers quote it.
    let misplaced = format!(r#"{{"content":"{0}","usage":"{0}","delta":"{0}"}}"#, echo());
    let begin = short_stream()[0].clone();
    let answers = || {
        vec![
            Answer::new(403, json.clone()).header("x-amzn-errortype", "UnrecognizedClientException"),
            Answer::new(400, json.clone()).header("x-amzn-errortype", "ValidationException"),
            Answer::new(502, format!("<html>{}</html>", echo())),
            Answer::new(500, json.clone()).ending(End::Broken),
            Answer::stream([begin.clone(), exception("validationException", &json)].concat()),
            Answer::stream([begin.clone(), exception(&echo(), &json)].concat()),
            Answer::stream(chunk(&problem)),
            Answer::stream(chunk(&misplaced)),
            Answer::new(200, misplaced.clone()),
            Answer::stream([begin.clone(), event("messageStop", &format!("{{{}", echo()))].concat()),
            Answer::new(200, problem.clone()),
            Answer::new(200, format!("{{{}", echo())),
        ]
    };
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_SESSION_TOKEN", TOKEN),
    ];
    let bearer = [("AWS_BEARER_TOKEN_BEDROCK", BEARER)];
    for env in [&keys[..], &bearer] {
        for api in ["converse", "invoke"] {
            let printed = printed(env, api, answers());
            assert!(printed.contains("[redacted]") && printed.contains("wrong: "), "the echo was read");
            let known: Vec<&str> = env.iter().map(|(_, v)| *v).chain([GATEWAY]).collect();
            for line in printed.lines() {
                for secret in &known {
                    assert!(!line.contains(secret), "{api}: {secret} in {line}");
                }
            }
        }
    }
}
