//! One call through a transport, with everything there is to know about it.

use std::{future::poll_fn, sync::Arc, time::Duration};

use http::{HeaderMap, Method};
use llms_core::{
    CallContext, Result, Stamp,
    observe::{CallTimeline, Timeline},
    wire::{BodyCounters, Prepared, Reply, Transport},
};
use llms_transport::{Direct, Options, Pooled};

/// What became of a call whose head arrived.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) payload: Vec<u8>,
    /// Stamp of the head, then one per read of the body.
    pub(crate) stamps: Vec<Stamp>,
    pub(crate) counters: BodyCounters,
    /// How the body ended.
    pub(crate) end: Result<()>,
}

/// A call and its timeline.
pub(crate) struct Called {
    pub(crate) result: Result<Got>,
    pub(crate) timeline: CallTimeline,
}

impl Called {
    /// The answer, complete.
    #[track_caller]
    pub(crate) fn ok(self) -> (Got, CallTimeline) {
        let got = self.result.unwrap();
        if let Err(e) = &got.end {
            panic!("the body failed: {e}");
        }
        (got, self.timeline)
    }
}

pub(crate) fn request(method: Method, url: &str, body: impl Into<Vec<u8>>) -> Prepared {
    Prepared { method, uri: url.parse().unwrap(), headers: HeaderMap::new(), body: body.into().into() }
}

/// A context with a watchdog.
pub(crate) fn observed() -> (CallContext, Arc<Timeline>) {
    let timeline = Arc::new(Timeline::new());
    let ctx = CallContext::new().with_timeout(Duration::from_secs(30)).with_observer(timeline.clone());
    (ctx, timeline)
}

/// Reads the body to its end.
pub(crate) async fn drain(mut reply: Reply) -> Got {
    let (mut payload, mut stamps) = (Vec::new(), vec![reply.head]);
    let end = loop {
        match poll_fn(|cx| reply.body.poll_read(cx, &mut payload)).await {
            Ok(Some(stamp)) => stamps.push(stamp),
            Ok(None) => break Ok(()),
            Err(e) => break Err(e),
        }
    };
    let counters = reply.body.counters();
    Got { status: reply.status, payload, stamps, counters, end }
}

pub(crate) async fn send(transport: &dyn Transport, request: Prepared) -> Called {
    let (ctx, timeline) = observed();
    let result = ctx.run("test", async { Ok(drain(transport.send(request, &ctx).await?).await) }).await;
    Called { result, timeline: timeline.take() }
}

pub(crate) async fn get(transport: &dyn Transport, url: &str) -> Called {
    send(transport, request(Method::GET, url, "")).await
}

pub(crate) async fn post(transport: &dyn Transport, url: &str, body: impl Into<Vec<u8>>) -> Called {
    send(transport, request(Method::POST, url, body)).await
}

/// Both transports, by name.
pub(crate) fn both(options: &Options) -> [(&'static str, Arc<dyn Transport>); 2] {
    [
        ("direct", Arc::new(Direct::new(options.clone()))),
        ("pooled", Arc::new(Pooled::new(options.clone()).unwrap())),
    ]
}
