//! What the tests of this crate share: codecs, streams played through framer and decoder, recordings.
#![allow(dead_code, reason = "every test binary uses a part")]

use http::{HeaderMap, HeaderName, HeaderValue};
use llms_core::{
    ChatResponse, EventSink, Outcome, Result, Stamp, StreamEvent, Usage,
    config::ModelConfig,
    event::Collector,
    observe::Reported,
    wire::{Codec as _, Decoder as _, Framer as _},
};
use llms_providers_openai::{Codec, Config};
use serde_json::Value;

/// A codec for `base_url`, without environment.
pub(crate) fn codec(base_url: &str) -> Codec {
    codec_of(ModelConfig::new("openai", "m").with_base_url(base_url))
}

/// A codec for a server on this machine.
pub(crate) fn local() -> Codec {
    codec("http://127.0.0.1:8000/v1")
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
    pub(crate) codec: Codec,
    pub(crate) stream: bool,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) expected: Value,
}

/// All recordings, those of compatible servers too.
pub(crate) fn recordings() -> Vec<Recording> {
    let mut all = read(
        include_str!("../recordings/openai.jsonl"),
        include_str!("../recordings/expected.json"),
        &codec_of(ModelConfig::new("openai", "m").with_api_key("sk-replayed")),
    );
    all.extend(read(
        include_str!("../recordings/compatible.jsonl"),
        include_str!("../recordings/compatible-expected.json"),
        &local(),
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
        let on_azure = r["request"]["path"].as_str().unwrap().starts_with("/openai/deployments/");
        Recording {
            codec: if on_azure { azure() } else { codec.clone() },
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
    (!sdk.is_null()).then(|| Usage {
        input_tokens: sdk["prompt_tokens"].as_u64(),
        output_tokens: sdk["completion_tokens"].as_u64(),
        cache_read_tokens: sdk["prompt_tokens_details"]["cached_tokens"].as_u64(),
        cache_write_tokens: sdk["prompt_tokens_details"]["cache_write_tokens"].as_u64(),
        reasoning_tokens: sdk["completion_tokens_details"]["reasoning_tokens"].as_u64(),
        total_tokens: sdk["total_tokens"].as_u64(),
        ..Usage::default()
    })
}
