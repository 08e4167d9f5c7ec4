//! A protocol for these tests: every frame is text, `[DONE]` the end; with the framers of the real providers.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method};
use llms_core::{
    CallContext, ChatModel as _, ChatRequest, ChatResponse, Error, ErrorCode, EventSink, ModelInfo, Outcome,
    Result, Stamp, StreamEvent,
    wire::{
        Codec, Decoder, Delivery, Frame, Framer, Hooks, HttpModel, Prepared, Probe, Transport,
        ndjson::NdjsonFramer, sse::SseFramer,
    },
};

/// Longest frame, as small as a provider would ever set it.
pub(crate) const MAX_FRAME: usize = 1 << 20;

struct Plain<F> {
    info: ModelInfo,
    url: String,
    framer: fn() -> F,
}

impl<F> fmt::Debug for Plain<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}

struct Texts {
    complete: bool,
}

impl Decoder for Texts {
    fn frame(&mut self, frame: Frame<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        self.complete |= frame.data == "[DONE]";
        sink.event(StreamEvent::Text(frame.data.into()), stamp);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn finish(&mut self) -> Result<Outcome> {
        if self.complete {
            return Ok(Outcome::default());
        }
        Err(Error::new("plain.stream", ErrorCode::StreamTruncated, "no end"))
    }
}

impl<F: Framer + 'static> Codec for Plain<F> {
    type Framer = F;
    type Decoder = Texts;

    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn encode(&self, _: &ChatRequest, _: Delivery) -> Result<Prepared> {
        let uri = self.url.parse().unwrap();
        Ok(Prepared { method: Method::POST, uri, headers: HeaderMap::new(), body: Bytes::from_static(b"{}") })
    }

    fn framer(&self) -> F {
        (self.framer)()
    }

    fn decoder(&self) -> Texts {
        Texts { complete: false }
    }

    fn decode(&self, body: &[u8], _: &mut Hooks<'_>) -> Result<ChatResponse> {
        Ok(ChatResponse { text: String::from_utf8_lossy(body).into_owned(), ..ChatResponse::default() })
    }

    fn classify(&self, status: u16, _: &HeaderMap, body: &[u8]) -> Error {
        assert!(body.len() <= 2 << 20, "a refusal of {} bytes was read", body.len());
        Error::new("plain.chat", ErrorCode::Internal, "refused").with_status(status)
    }

    fn probe(&self) -> Result<Probe> {
        Ok(Probe {
            request: self.encode(&ChatRequest::text(""), Delivery::Whole)?,
            timeout: Duration::from_secs(5),
        })
    }
}

/// Counts what it is given, keeps nothing.
#[derive(Default)]
pub(crate) struct Counter {
    pub(crate) events: u64,
}

impl EventSink for Counter {
    fn event(&mut self, _: StreamEvent<'_>, _: Stamp) {
        self.events += 1;
    }
}

/// Which frames, and how they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Sse,
    Ndjson,
    /// Not streamed.
    Whole,
}

fn model<F: Framer + 'static>(
    url: String,
    framer: fn() -> F,
    transport: Arc<dyn Transport>,
) -> HttpModel<Plain<F>> {
    let info = ModelInfo {
        provider: "plain".into(),
        model: "m".into(),
        endpoint: None,
        capabilities: llms_core::Capabilities::default(),
    };
    HttpModel::new(Plain { info, url, framer }, transport)
}

/// One call of a model that ends within `deadline`: events delivered, and how it ended.
pub(crate) async fn call(
    way: Way,
    url: String,
    transport: Arc<dyn Transport>,
    deadline: Duration,
) -> (u64, Result<()>) {
    let ctx = CallContext::new().with_timeout(deadline);
    let (mut sink, request) = (Counter::default(), ChatRequest::text("hi"));
    let ended = match way {
        Way::Sse => {
            let model = model(url, || SseFramer::with_max_frame(MAX_FRAME), transport);
            model.drive(&request, &ctx, &mut sink).await.map(drop)
        }
        Way::Ndjson => {
            let model = model(url, || NdjsonFramer::with_max_frame(MAX_FRAME), transport);
            model.drive(&request, &ctx, &mut sink).await.map(drop)
        }
        Way::Whole => model(url, NdjsonFramer::new, transport).generate(&request, &ctx).await.map(drop),
    };
    (sink.events, ended)
}
