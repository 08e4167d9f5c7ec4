//! A server that quotes all it is sent, in the words of the protocol that it was asked in.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::http::{Request, answer, serve};

/// Where it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// Everything is refused with 401.
    Refused,
    /// Whole answers are given, streams refused with 401.
    StreamRefused,
    /// Whole answers are given, streams end in an error.
    InStream,
    /// Everything is answered with 200 and a page of what was sent.
    Page,
    /// The answer itself, its id and its model.
    Answered,
}

/// The server, and what it was sent.
pub(crate) struct Echo {
    pub(crate) address: String,
    seen: Arc<Mutex<String>>,
}

impl Echo {
    pub(crate) fn start(quotes: Quotes) -> Self {
        let seen = Arc::<Mutex<String>>::default();
        let kept = seen.clone();
        let address = serve(move |request| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_str(&request.head);
            kept.push('\n');
            reply(request, quotes)
        });
        Self { address, seen }
    }

    /// The heads of all requests.
    pub(crate) fn seen(&self) -> String {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    OpenAi,
    Anthropic,
    Bedrock,
    Ollama,
}

fn reply(request: &Request, quotes: Quotes) -> Vec<u8> {
    let path = request.path();
    let speaks = match path {
        p if p.starts_with("/model/") || p.contains("/foundation-models") => Speaks::Bedrock,
        p if p.starts_with("/api/") => Speaks::Ollama,
        _ if request.header("anthropic-version").is_some() => Speaks::Anthropic,
        _ => Speaks::OpenAi,
    };
    let body = request.text().replace(' ', "");
    let streamed = path.ends_with("-stream")
        || body.contains("\"stream\":true")
        || (speaks == Speaks::Ollama && path == "/api/chat" && !body.contains("\"stream\":false"));
    // All that is secret travels in the head.
    let quote = request.head.lines().skip(1).collect::<Vec<_>>().join(" | ");
    let keys = ["authorization", "x-api-key", "api-key", "x-gateway"];
    let key = keys.iter().find_map(|k| request.header(k)).unwrap_or("none").trim_start_matches("Bearer ");
    match (quotes, streamed) {
        (Quotes::Page, _) => answer(200, "text/html", "", format!("<html>{quote}</html>").as_bytes()),
        (Quotes::Refused, _) | (Quotes::StreamRefused, true) => refused(&quote, key),
        (Quotes::InStream, true) => failing(speaks, &quote),
        (Quotes::Answered, _) => whole(speaks, key, &quote),
        (Quotes::StreamRefused | Quotes::InStream, false) => whole(speaks, "m", "hello"),
    }
}

/// 401 in a form that all four read, also with the key where ids and codes stand.
fn refused(quote: &str, key: &str) -> Vec<u8> {
    let message = format!("wrong key {key}; you sent {quote}");
    let body = json!({"type": "error", "message": message, "request_id": key, "error": {
        "type": key, "code": key, "param": key, "message": message}});
    let more = format!(
        "x-request-id: {key}\r\nrequest-id: {key}\r\nx-amzn-requestid: {key}\r\nx-amzn-errortype: {key}\r\nwww-authenticate: {key}\r\n"
    );
    answer(401, "application/json", &more, body.to_string().as_bytes())
}

fn whole(speaks: Speaks, name: &str, said: &str) -> Vec<u8> {
    let body = match speaks {
        Speaks::OpenAi => {
            json!({"id": name, "object": "chat.completion", "model": name, "system_fingerprint": name,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})
        }
        Speaks::Anthropic => json!({"id": name, "type": "message", "role": "assistant", "model": name,
            "content": [{"type": "text", "text": said}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1}}),
        Speaks::Bedrock => json!({"output": {"message": {"role": "assistant", "content": [{"text": said}]}},
            "stopReason": "end_turn", "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
            "metrics": {"latencyMs": 1}}),
        Speaks::Ollama => {
            json!({"model": name, "created_at": "2026-01-01T00:00:00Z", "done": true, "done_reason": "stop",
            "message": {"role": "assistant", "content": said}, "eval_count": 1, "prompt_eval_count": 1})
        }
    };
    let more = format!(
        "x-request-id: {name}\r\nrequest-id: {name}\r\nx-amzn-requestid: {name}\r\nserver: {name}\r\n"
    );
    answer(200, "application/json", &more, body.to_string().as_bytes())
}

/// A stream that is nothing but an error.
fn failing(speaks: Speaks, quote: &str) -> Vec<u8> {
    let error = json!({"type": "error", "error": {"type": "api_error", "code": "e", "message": quote}});
    match speaks {
        Speaks::OpenAi => answer(200, "text/event-stream", "", format!("data: {error}\n\n").as_bytes()),
        Speaks::Anthropic => {
            answer(200, "text/event-stream", "", format!("event: error\ndata: {error}\n\n").as_bytes())
        }
        Speaks::Ollama => {
            let line = format!("{}\n", json!({ "error": quote }));
            answer(200, "application/x-ndjson", "", line.as_bytes())
        }
        Speaks::Bedrock => {
            let body = json!({ "message": quote }).to_string();
            answer(200, "application/vnd.amazon.eventstream", "", &exception(body.as_bytes()))
        }
    }
}

/// A message of AWS's event stream that says that something went wrong.
fn exception(body: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [
        (":message-type", "exception"),
        (":exception-type", "modelStreamErrorException"),
        (":content-type", "application/json"),
    ] {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let total = (16 + headers.len() + body.len()) as u32;
    let mut frame = [total.to_be_bytes(), (headers.len() as u32).to_be_bytes()].concat();
    frame.extend_from_slice(&crc32(&frame).to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(body);
    frame.extend_from_slice(&crc32(&frame).to_be_bytes());
    frame
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}
