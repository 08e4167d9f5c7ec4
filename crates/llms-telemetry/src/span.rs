//! What a span of a call carries beyond the labels of its model: the request's settings at its start, answer, usage
//! and timeline at its end. No content: nothing here reads a message, an answer, an argument or an error's text.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use llms_core::{
    ChatRequest, Error,
    observe::{CallEvent, CallObserver, CallTimeline, Reported, Timeline},
    time::Timestamp,
};
use opentelemetry::{Array, KeyValue, StringValue, Value, global::BoxedSpan, trace::Span};

use crate::{metrics::Semconv, seen::Seen, table::key};

/// Keeps the timeline of a call for its span and passes everything on to the caller's observer.
pub(crate) struct Watch {
    pub(crate) timeline: Timeline,
    pub(crate) theirs: Option<Arc<dyn CallObserver>>,
}

impl CallObserver for Watch {
    fn observe(&self, event: &CallEvent<'_>) {
        if !matches!(event, CallEvent::Chunk { .. }) {
            self.timeline.observe(event);
        }
        if let Some(theirs) = &self.theirs {
            theirs.observe(event);
        }
    }

    fn wants_chunks(&self) -> bool {
        self.theirs.as_ref().is_some_and(|t| t.wants_chunks())
    }
}

fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Sampling and limits as asked for; what is not set is not said.
pub(crate) fn request(into: &mut Vec<KeyValue>, request: &ChatRequest, streamed: bool) {
    let o = &request.options;
    let numbers = [
        ("gen_ai.request.temperature", o.temperature),
        ("gen_ai.request.top_p", o.top_p),
        ("gen_ai.request.frequency_penalty", o.frequency_penalty),
        ("gen_ai.request.presence_penalty", o.presence_penalty),
    ];
    into.extend(numbers.iter().filter_map(|(k, v)| Some(KeyValue::new(*k, (*v)?))));
    let integers = [
        ("gen_ai.request.max_tokens", o.max_tokens.map(i64::from)),
        ("gen_ai.request.top_k", o.top_k.map(i64::from)),
        ("gen_ai.request.seed", o.seed.map(int)),
    ];
    into.extend(integers.iter().filter_map(|(k, v)| Some(KeyValue::new(*k, (*v)?))));
    if streamed {
        into.push(KeyValue::new("gen_ai.request.stream", true));
    }
    if request.format.is_some() {
        into.push(KeyValue::new("gen_ai.output.type", "json"));
    }
}

/// What the answer says of itself.
pub(crate) fn answer(span: &mut BoxedSpan, seen: &Seen, semconv: Semconv, failed: bool) {
    let mut set = |k: &'static str, v: Option<Value>| {
        if let Some(v) = v {
            span.set_attribute(KeyValue::new(k, v));
        }
    };
    let text = |t: &Option<String>| t.as_ref().map(|t| Value::from(t.clone()));
    set("gen_ai.response.id", text(&seen.id));
    set(key::RESPONSE_MODEL, text(&seen.model));
    let reason = match &seen.finish {
        Some(reason) => Some(StringValue::from(reason.as_str().to_owned())),
        // A finish reason that was due and never came is `error`, by the unreleased conventions.
        None if failed && semconv == Semconv::Latest => Some("error".into()),
        None => None,
    };
    set("gen_ai.response.finish_reasons", reason.map(|r| Value::Array(Array::String(vec![r]))));
    let Some(usage) = &seen.usage else { return };
    let cache_write = match semconv {
        Semconv::V1_41 => "gen_ai.usage.cache_creation.input_tokens",
        Semconv::Latest => "gen_ai.usage.cache_write.input_tokens",
    };
    for (k, n) in [
        ("gen_ai.usage.input_tokens", usage.input_tokens),
        ("gen_ai.usage.output_tokens", usage.output_tokens),
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens),
        (cache_write, usage.cache_write_tokens),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
    ] {
        set(k, n.map(|n| int(n).into()));
    }
}

/// The `traceparent` of a span (W3C Trace Context, version 00); `None` of one that nobody records.
pub(crate) fn trace_parent(span: &BoxedSpan) -> Option<std::sync::Arc<str>> {
    let context = span.span_context();
    let flags = context.trace_flags().to_u8();
    context.is_valid().then(|| format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()).into())
}

/// An error by code, phase and status. Its text may quote the prompt, so it stays out.
pub(crate) fn describe(error: &Error) -> String {
    let mut text = error.code().as_str().to_owned();
    if let Some(phase) = error.phase() {
        text += &format!(" in {phase}");
    }
    if let Some(status) = error.status() {
        text += &format!(" (HTTP {status})");
    }
    text
}

/// Turns stamps of the call's clock into the wall time that spans carry.
#[derive(Clone, Copy)]
pub(crate) struct Wall {
    pub(crate) start: Timestamp,
    pub(crate) wall: SystemTime,
}

impl Wall {
    pub(crate) fn at(self, stamp: Timestamp) -> SystemTime {
        match stamp.since(self.start) {
            Some(later) => self.wall + later,
            None => self.wall - self.start.saturating_since(stamp),
        }
    }
}

/// What the observer saw: phases of the connection as seconds, turning points as events.
pub(crate) fn timeline(span: &mut BoxedSpan, t: &CallTimeline, wall: Wall) {
    let seconds = |d: Option<Duration>| d.map(|d| Value::F64(d.as_secs_f64()));
    let phase = |s: Option<llms_core::observe::Span>| seconds(s.and_then(|s| s.end.since(s.start)));
    let number = |n: Option<u64>| n.map(|n| Value::I64(int(n)));
    let yes = |b: bool| b.then_some(Value::Bool(true));
    let c = &t.connection;
    let protocol = c.protocol.as_deref().map(|p| match p {
        "h2" | "HTTP/2.0" => "2".to_owned(),
        other => other.trim_start_matches("HTTP/").to_owned(),
    });
    for (k, v) in [
        ("http.response.status_code", t.status.map(|s| Value::I64(i64::from(s)))),
        ("network.protocol.version", protocol.map(Value::from)),
        ("llm.connection.reused", c.reused.map(Value::Bool)),
        ("llm.connection.dns_s", phase(c.dns)),
        ("llm.connection.tcp_s", phase(c.tcp)),
        ("llm.connection.tls_s", phase(c.tls)),
        ("llm.connection.tls_resumed", c.tls_resumed.map(Value::Bool)),
        ("llm.request.bytes", number(t.bytes_out)),
        ("llm.response.bytes", number(t.bytes_in)),
        ("llm.response.reads", number(t.reads.map(u64::from))),
        ("llm.resent", yes(t.resent)),
        ("llm.retries", (!t.retries.is_empty()).then_some(Value::I64(t.retries.len() as i64))),
        ("llm.held_s", (!t.held.is_zero()).then_some(Value::F64(t.held.as_secs_f64()))),
        ("llm.routed.provider", t.routed.as_ref().map(|r| r.0.clone().into())),
        ("llm.routed.model", t.routed.as_ref().map(|r| r.1.clone().into())),
        ("llm.replayed", yes(t.replayed)),
    ] {
        if let Some(v) = v {
            span.set_attribute(KeyValue::new(k, v));
        }
    }
    for (k, v) in &t.reported {
        let value = match v {
            Reported::Number(n) => Value::F64(*n),
            Reported::Text(text) => text.clone().into(),
        };
        span.set_attribute(KeyValue::new(k.clone(), value));
    }
    for (attempt, retry) in t.retries.iter().enumerate() {
        let mut attributes = vec![
            KeyValue::new("llm.attempt", attempt as i64),
            KeyValue::new(key::ERROR_TYPE, retry.code.as_str()),
            KeyValue::new("llm.wait_s", retry.wait.as_secs_f64()),
        ];
        attributes.extend(retry.status.map(|s| KeyValue::new("http.response.status_code", i64::from(s))));
        span.add_event_with_timestamp("llm.retry", wall.at(retry.at), attributes);
    }
    for (name, at) in [
        ("llm.sent", t.sent),
        ("llm.written", t.written),
        ("llm.headers", t.headers.map(|s| s.arrival())),
        ("llm.first_byte", t.first_byte.map(|s| s.arrival())),
    ] {
        if let Some(at) = at {
            span.add_event_with_timestamp(name, wall.at(at), Vec::new());
        }
    }
}
