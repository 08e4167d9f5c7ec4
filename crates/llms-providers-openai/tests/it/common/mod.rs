//! What the tests of this crate share: codecs, streams played through framer and decoder, recordings.
#![allow(dead_code, reason = "every test binary uses a part")]

use http::{HeaderMap, HeaderName, HeaderValue};
use llms_core::{
    ChatResponse, ErrorCode, EventSink, Outcome, Result, Stamp, StreamEvent, Usage,
    config::ModelConfig,
    event::Collector,
    observe::Reported,
    wire::{Codec as _, Decoder as _, Framer as _},
};
use llms_providers_openai::{Api, Codec, Config};
use serde_json::Value;

/// A codec for `base_url`, without environment.
pub(crate) fn codec(base_url: &str) -> Codec {
    codec_of(ModelConfig::new("openai", "m").with_base_url(base_url))
}

/// A codec for a server on this machine.
pub(crate) fn local() -> Codec {
    codec("http://127.0.0.1:8000/v1")
}

/// A codec for a server on this machine that speaks `api`.
pub(crate) fn local_of(api: Api) -> Codec {
    codec_of(
        ModelConfig::new("openai", "m")
            .with_base_url("http://127.0.0.1:8000/v1")
            .with_specific("api", api.as_str()),
    )
}

/// A codec for OpenAI itself, with a key.
pub(crate) fn vendor_of(api: Api) -> Codec {
    codec_of(ModelConfig::new("openai", "m").with_api_key("sk-replayed").with_specific("api", api.as_str()))
}

/// A codec for Azure, with a key.
pub(crate) fn azure() -> Codec {
    codec_of(
        ModelConfig::new("openai", "m")
            .with_base_url("https://r.openai.azure.com/openai/deployments/m")
            .with_api_key("azure-key-azure-key"),
    )
}

pub(crate) fn codec_of(config: ModelConfig) -> Codec {
    Codec::new(Config::new(&config, &|_| None).unwrap())
}

/// The events of a stream, owned, without stamps.
#[derive(Default)]
pub(crate) struct Events(pub(crate) Vec<StreamEvent<'static>>);

impl EventSink for Events {
    fn event(&mut self, event: StreamEvent<'_>, _stamp: Stamp) {
        self.0.push(event.into_owned());
    }
}

/// Everything that came of a stream.
pub(crate) struct Played {
    pub(crate) events: Vec<StreamEvent<'static>>,
    pub(crate) outcome: Result<Outcome>,
    pub(crate) reported: Vec<(&'static str, Reported)>,
}

impl Played {
    pub(crate) fn collect(&self) -> ChatResponse {
        let mut collector = Collector::default();
        for event in &self.events {
            collector.event(event.clone(), Stamp::default());
        }
        collector.finish()
    }
}

/// Plays a body, given in pieces, as `HttpModel` does.
pub(crate) fn play<'b>(codec: &Codec, pieces: impl IntoIterator<Item = &'b [u8]>) -> Played {
    let (mut framer, mut decoder, mut events) = (codec.framer(), codec.decoder(), Events::default());
    let feed = || -> Result<Outcome> {
        for (read, piece) in pieces.into_iter().enumerate() {
            let stamp = Stamp { read: read as u32, ..Stamp::default() };
            framer.buffer().extend_from_slice(piece);
            while let Some(frame) = framer.next_frame()? {
                decoder.frame(frame, stamp, &mut events)?;
            }
            if decoder.is_complete() {
                break;
            }
        }
        if !decoder.is_complete()
            && let Some(frame) = framer.finish()?
        {
            decoder.frame(frame, Stamp::default(), &mut events)?;
        }
        decoder.finish()
    };
    let outcome = feed();
    let mut reported = Vec::new();
    decoder.hooks(&mut |key, value| reported.push((key, value.into())));
    Played { events: events.0, outcome, reported }
}

/// Plays `data:` lines.
pub(crate) fn play_data(codec: &Codec, data: &[&str]) -> Played {
    let body: String = data.iter().flat_map(|d| ["data: ", d, "\n\n"]).collect();
    play(codec, [body.as_bytes()])
}

/// One recorded exchange and what the vendor's SDK made of it.
pub(crate) struct Recording {
    pub(crate) id: String,
    pub(crate) api: Api,
    pub(crate) codec: Codec,
    pub(crate) stream: bool,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) expected: Value,
}

impl Recording {
    /// The error that the answer is, if it is one although its status is 200; the SDK raises nothing for most.
    pub(crate) fn error_inside(&self) -> Option<ErrorCode> {
        let sdk = &self.expected;
        let code = sdk["error_in_body"]["code"].as_str().or(sdk["error"]["code"].as_str());
        match (code, sdk["finish"].as_str()) {
            _ if self.status != 200 => None,
            (Some("content_filter"), _) => Some(ErrorCode::ContentFiltered),
            (Some("server_error"), _) => Some(ErrorCode::Internal),
            (Some("rate_limit_exceeded"), _) => Some(ErrorCode::RateLimit),
            (Some("insufficient_quota"), _) => Some(ErrorCode::QuotaExceeded),
            (Some(other), _) => panic!("{}: {other}", self.id),
            (None, Some("queued")) => Some(ErrorCode::InvalidResponse),
            (None, None) => Some(ErrorCode::StreamTruncated),
            (None, Some(_)) => None,
        }
    }
}

/// All recordings of all APIs, those of compatible servers too.
pub(crate) fn recordings() -> Vec<Recording> {
    macro_rules! file {
        ($name:literal, $expected:literal, $codec:expr) => {
            read(
                include_str!(concat!("../../recordings/", $name, ".jsonl")),
                include_str!(concat!("../../recordings/", $expected, ".json")),
                &$codec,
            )
        };
    }
    let mut all = file!("openai", "expected", vendor_of(Api::Chat));
    all.extend(file!("compatible", "compatible-expected", local()));
    all.extend(file!("responses", "responses.expected", vendor_of(Api::Responses)));
    all.extend(file!("compatible-responses", "compatible-responses.expected", local_of(Api::Responses)));
    all.extend(file!("completions", "completions.expected", vendor_of(Api::Completions)));
    all.extend(file!(
        "compatible-completions",
        "compatible-completions.expected",
        local_of(Api::Completions)
    ));
    all
}

fn read(lines: &str, expected: &str, codec: &Codec) -> Vec<Recording> {
    let expected: Value = serde_json::from_str(expected).unwrap();
    let read = |line: &str| {
        let r: Value = serde_json::from_str(line).unwrap();
        let id = r["id"].as_str().unwrap().to_owned();
        let headers = r["response"]["headers"].as_object().unwrap().iter().map(|(name, value)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value.as_str().unwrap()).unwrap())
        });
        let path = r["request"]["path"].as_str().unwrap();
        let codec = if path.starts_with("/openai/deployments/") {
            azure()
        } else if path.starts_with("/openai/v1/") {
            let config = ModelConfig::new("openai", "m").with_base_url("https://r.openai.azure.com");
            codec_of(
                config
                    .with_api_key("azure-key-azure-key")
                    .with_specific("api", codec.config().api().as_str()),
            )
        } else {
            codec.clone()
        };
        Recording {
            api: codec.config().api(),
            codec,
            stream: r["stream"].as_bool().unwrap(),
            status: r["response"]["status"].as_u64().unwrap() as u16,
            headers: headers.collect(),
            body: r["response"]["body"].as_str().unwrap().to_owned(),
            expected: expected["recordings"][&id].clone(),
            id,
        }
    };
    lines.lines().map(read).collect()
}

/// The SDK's usage in the core's words.
pub(crate) fn usage_of(sdk: &Value) -> Option<Usage> {
    let either = |a: &str, b: &str| if sdk[a].is_null() { sdk[b].clone() } else { sdk[a].clone() };
    let input = either("prompt_tokens_details", "input_tokens_details");
    let output = either("completion_tokens_details", "output_tokens_details");
    (!sdk.is_null()).then(|| Usage {
        input_tokens: either("prompt_tokens", "input_tokens").as_u64(),
        output_tokens: either("completion_tokens", "output_tokens").as_u64(),
        cache_read_tokens: input["cached_tokens"].as_u64(),
        cache_write_tokens: input["cache_write_tokens"].as_u64(),
        reasoning_tokens: output["reasoning_tokens"].as_u64(),
        audio_input_tokens: input["audio_tokens"].as_u64(),
        audio_output_tokens: output["audio_tokens"].as_u64(),
        total_tokens: sdk["total_tokens"].as_u64(),
    })
}
