//! A [`ChatRequest`] as the bytes of a request, whichever API is spoken.
//!
//! Second step of the flow, before the clock starts. What the wire cannot say is refused by name, never left out
//! silently. Defaults of the configuration are merged here; fields of `extra` win over fields of ours. What stands here
//! is what the APIs share: checks, the merging of `extra`, documents and images; the bodies are written by the modules.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header};
use llms_core::{
    ChatOptions, ChatRequest, ErrorCode, Message, Result,
    chat::{Content, DocumentData, ImageData, ResponseFormat, ToolChoice},
    config::{ConfigErrors, validate_options},
    wire::{Delivery, Prepared},
};
use serde::{Serialize, ser::SerializeMap};
use serde_json::Value;

use crate::{address::Service, api::Api, chat, completions, config::Config, error, responses};

const OP: &str = "openai.encode";

/// Everything a body is written from.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) config: &'a Config,
    pub(crate) request: &'a ChatRequest,
    /// Those of the request, then those of the configuration.
    pub(crate) options: &'a ChatOptions,
    pub(crate) stream: bool,
}

/// The request as bytes.
///
/// # Errors
/// `invalid_request` naming the field that the wire cannot say.
pub(crate) fn encode(config: &Config, request: &ChatRequest, delivery: Delivery) -> Result<Prepared> {
    let options = request.options.clone().or(&config.options);
    let stream = delivery == Delivery::Stream;
    let asked = Asked { config, request, options: &options, stream };
    asked.check()?;
    let body = match config.api {
        Api::Chat => serde_json::to_vec(&chat::request::Body(asked)),
        Api::Responses => serde_json::to_vec(&responses::request::Body(asked)),
        Api::Completions => serde_json::to_vec(&completions::Body(asked)),
    };
    let accept = if stream { "text/event-stream" } else { "application/json" };
    prepared(config, config.endpoint.clone(), accept, body)
}

/// The question how many tokens the request has.
///
/// # Errors
/// `invalid_request` naming the field that the wire cannot say, or the API, which is not that of responses.
pub(crate) fn encode_count(config: &Config, uri: Uri, request: &ChatRequest) -> Result<Prepared> {
    let options = request.options.clone().or(&config.options);
    let asked = Asked { config, request, options: &options, stream: false };
    asked.check()?;
    prepared(config, uri, "application/json", serde_json::to_vec(&responses::request::CountBody(asked)))
}

fn prepared(
    config: &Config,
    uri: Uri,
    accept: &'static str,
    body: serde_json::Result<Vec<u8>>,
) -> Result<Prepared> {
    let body = body.map_err(|e| {
        error::new(OP, ErrorCode::InvalidRequest, format!("the request cannot be written as JSON: {e}"))
    })?;
    let mut headers = config.headers.clone();
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    Ok(Prepared { method: Method::POST, uri, headers, body: Bytes::from(body) })
}

impl Asked<'_> {
    /// Whether the server is OpenAI's or Azure's, whose options are known; others may know more.
    pub(crate) fn is_vendor(&self) -> bool {
        self.config.service != Service::Compatible
    }

    fn check(&self) -> Result<()> {
        let mut errors = ConfigErrors::default();
        self.check_shared(&mut errors);
        match self.config.api {
            Api::Chat => chat::request::check(*self, &mut errors),
            Api::Responses => responses::request::check(*self, &mut errors),
            Api::Completions => completions::check(*self, &mut errors),
        }
        errors
            .into_result()
            .map_err(|e| error::new(OP, ErrorCode::InvalidRequest, e.to_string()).with_source(e))
    }

    fn check_shared(&self, errors: &mut ConfigErrors) {
        let Self { config, request, options, .. } = self;
        validate_options(options, &config.capabilities(), errors);
        errors.check(!request.messages.is_empty(), "messages", "expected at least one message", "none");
        errors.check(
            options.top_k.is_none() || !self.is_vendor(),
            "options.top_k",
            "expected none: OpenAI and Azure have no such option, compatible servers do",
            options.top_k.unwrap_or_default(),
        );
        if let Some(n) = options.extra.get("n") {
            errors.check(*n == 1, "options.extra.n", "expected 1: one answer per request", n);
        }
        if let ToolChoice::Tool(name) = &request.tool_choice {
            errors.check(
                request.tools.iter().any(|t| t.name == *name),
                "tool_choice",
                "expected one of the tools offered",
                name,
            );
        }
        for (m, p, part) in self.parts() {
            if !matches!(part, Content::Text { .. } | Content::Image { .. } | Content::Document { .. }) {
                let field = format!("messages[{m}].content[{p}]");
                errors.push(field, "expected a text, an image or a document", "another kind");
            }
        }
        errors.check(
            matches!(request.format, None | Some(ResponseFormat::Json | ResponseFormat::JsonSchema { .. })),
            "format",
            "expected JSON or a JSON schema",
            "another kind",
        );
        errors.check(
            request.cache.is_empty(),
            "cache",
            "expected no marks: servers of this kind cache prompts by themselves",
            request.cache.len(),
        );
    }

    /// Refuses fields of `extra` that would change what is asked for, or how the answer must be read.
    pub(crate) fn reserve(&self, fields: &[&str], errors: &mut ConfigErrors) {
        for field in fields.iter().filter(|field| self.options.extra.contains_key(**field)) {
            let expected = "expected a field that the request does not set itself";
            errors.push(format!("options.extra.{field}"), expected, field);
        }
    }

    /// Refuses options that an API of OpenAI's does not have; compatible servers may.
    pub(crate) fn refuse_of_vendor(&self, fields: &[(&str, bool)], errors: &mut ConfigErrors) {
        for (field, _) in fields.iter().filter(|(_, given)| *given && self.is_vendor()) {
            let expected = format!("expected none: the {} API has no such option", self.config.api);
            errors.push(format!("options.{field}"), expected, "one");
        }
    }

    /// The parts of all user messages, with their place.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (usize, usize, &Content)> {
        self.request.messages.iter().enumerate().flat_map(|(m, message)| {
            let parts = if let Message::User { content } = message { content.as_slice() } else { &[] };
            parts.iter().enumerate().map(move |(p, part)| (m, p, part))
        })
    }
}

/// A body under way; a field given in `extra` stands in the place of ours, not beside it.
pub(crate) struct Fields<'a, M> {
    pub(crate) map: M,
    pub(crate) extra: &'a BTreeMap<String, Value>,
}

impl<M: SerializeMap> Fields<'_, M> {
    /// A field, unless `extra` has it.
    pub(crate) fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), M::Error> {
        if self.extra.contains_key(name) { Ok(()) } else { self.map.serialize_entry(name, value) }
    }

    /// A field, if there is a value and unless `extra` has it.
    pub(crate) fn some<T: Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: Option<&T>,
    ) -> Result<(), M::Error> {
        value.map_or(Ok(()), |v| self.put(name, v))
    }

    /// The fields of `extra`, those in `but` aside; the end of the body.
    pub(crate) fn end(mut self, but: &[&str]) -> Result<M::Ok, M::Error> {
        for (name, value) in self.extra {
            if !but.contains(&name.as_str()) {
                self.map.serialize_entry(name, value)?;
            }
        }
        self.map.end()
    }
}

/// Asks for the usage at the end of a stream.
#[derive(Serialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
}

/// An image as an address; inline ones as a `data:` URL.
pub(crate) fn image_url(data: &ImageData) -> Cow<'_, str> {
    match data {
        ImageData::Url(url) => url.into(),
        ImageData::Inline { media_type, base64 } => format!("data:{media_type};base64,{base64}").into(),
    }
}

/// The content of a document as a `data:` URL; `None` for one at an address.
pub(crate) fn file_data(data: &DocumentData) -> Option<String> {
    Some(match data {
        DocumentData::Url(_) => return None,
        DocumentData::Inline { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
        DocumentData::Text(text) => format!("data:text/plain;base64,{}", BASE64_STANDARD.encode(text)),
    })
}

/// The name of a document, which the wire wants and goes by.
pub(crate) fn file_name<'a>(name: Option<&'a str>, data: &DocumentData) -> &'a str {
    name.unwrap_or(match data {
        DocumentData::Inline { media_type, .. } if media_type == "application/pdf" => "document.pdf",
        DocumentData::Text(_) => "document.txt",
        _ => "document",
    })
}

/// Arguments as they are sent back. A call without arguments comes as an empty text; sent back as such, servers that
/// parse it choke.
pub(crate) fn arguments(text: &str) -> &str {
    if text.trim().is_empty() { "{}" } else { text }
}
