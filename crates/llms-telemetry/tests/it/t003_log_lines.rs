//! T003, FR-014: one structured log line a call, in its own test binary since the level of `tracing` is global.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use std::{
    io,
    sync::{Arc, Mutex},
};

use common::{ANSWER, PROMPT, SECRET, Scripted, on_virtual_time, request};
use llms_core::{ChatModel, ChatModelExt, ErrorCode};
use llms_telemetry::{Instrumented, Metrics, capture::Capture};
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The lines that calls through `metrics` write at the lowest level there is.
fn lines(metrics: &Metrics) -> Vec<Value> {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        on_virtual_time(async |ctx| {
            let ctx = ctx.with_request_id("r-1");
            let good = Instrumented::new(Scripted::default(), metrics.clone());
            good.generate(&request(), &ctx).await.unwrap();
            good.collect(&request(), &ctx).await.unwrap();
            let bad = Instrumented::new(Scripted::failing(ErrorCode::RateLimit), metrics.clone());
            bad.generate(&request(), &ctx).await.unwrap_err();
        });
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for secret in [PROMPT, ANSWER, SECRET] {
        assert!(!text.contains(secret), "{text}");
    }
    let lines = text.lines().map(|l| serde_json::from_str(l).unwrap());
    lines.filter(|l: &Value| l["target"] == llms_telemetry::LOG_TARGET).collect()
}

#[test]
fn calls_are_logged_with_numbers_and_without_content() {
    let capture = Capture::new().unwrap();
    // Without instruments the lines are the same.
    for metrics in [capture.metrics().clone(), Metrics::noop()] {
        let lines = lines(&metrics);
        let fields =
            |l: &Value, keys: &[&str]| keys.iter().map(|k| l[*k].to_string()).collect::<Vec<_>>().join(" ");
        let keys = [
            "level",
            "provider",
            "model",
            "operation",
            "duration_s",
            "first_chunk_s",
            "chunks",
            "input_tokens",
            "output_tokens",
            "error_code",
            "status",
            "phase",
            "request_id",
        ];
        let shown: Vec<_> = lines.iter().map(|l| fields(l, &keys)).collect();
        assert_eq!(
            shown,
            [
                r#""INFO" "openai" "gpt-test" "openai.generate" 0.1 null null 12 30 null null null "r-1""#,
                r#""INFO" "openai" "gpt-test" "openai.stream" 0.17 0.1 3 12 30 null null null "r-1""#,
                r#""WARN" "openai" "gpt-test" "openai.generate" 0.1 null null null null "rate_limit" 429 "headers" "r-1""#,
            ]
        );
    }
}
