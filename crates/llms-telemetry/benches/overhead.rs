//! What the wrapper costs: a model that answers at once, alone, wrapped with everything off, with metrics, with
//! metrics and spans. A stream has 100 chunks in 100 reads.
//!
//! The exporters throw everything away; batching, queueing and aggregation are the SDK's own.
#![allow(clippy::unwrap_used)] // a bench that cannot be set up stops

use std::{
    hint::black_box,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use llms_core::{
    CallContext, Capabilities, ChatModel, ChatRequest, ChatResponse, EventSink, FinishReason, ModelInfo,
    Outcome, Result, Stamp, StreamEvent, Usage, health::Health,
};
use llms_telemetry::{Instrumented, Metrics};
use opentelemetry::{metrics::MeterProvider, trace::TracerProvider, trace::noop::NoopTracerProvider};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider},
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};

struct AtOnce {
    info: ModelInfo,
    now: AtomicU64,
}

const USAGE: Usage = Usage {
    input_tokens: Some(12),
    output_tokens: Some(100),
    cache_read_tokens: None,
    cache_write_tokens: None,
    reasoning_tokens: None,
    audio_input_tokens: None,
    audio_output_tokens: None,
    total_tokens: None,
};

#[async_trait]
impl ChatModel for AtOnce {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, _request: &ChatRequest, _ctx: &CallContext) -> Result<ChatResponse> {
        Ok(ChatResponse {
            text: "ok".into(),
            finish_reason: Some(FinishReason::Stop),
            usage: Some(USAGE),
            model: Some("m-1".into()),
            id: Some("r".into()),
            ..ChatResponse::default()
        })
    }

    async fn drive(
        &self,
        _request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let start = ctx.now();
        let start_event = StreamEvent::Start { id: Some("r".into()), model: Some("m-1".into()) };
        sink.event(start_event, Stamp::user(start, 0));
        for read in 0..100 {
            // Stamps as a transport would have made them; reading the clock is not what is measured here.
            let at =
                start + Duration::from_micros(u64::from(read) * 7_000 + self.now.fetch_add(1, Relaxed) % 13);
            sink.event(StreamEvent::Text("token".into()), Stamp::user(at, read));
        }
        sink.event(StreamEvent::Usage(USAGE), Stamp::user(start, 100));
        Ok(Outcome { finish_reason: Some(FinishReason::Stop), ..Outcome::default() })
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        Health::pending(&self.info, ctx)
    }
}

#[derive(Debug)]
struct Away;

impl SpanExporter for Away {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        drop(batch);
        Ok(())
    }
}

struct Ignore;

impl EventSink for Ignore {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        black_box((&event, stamp));
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the model answers at once"),
    }
}

fn bench(c: &mut Criterion) {
    let model = || AtOnce {
        info: ModelInfo {
            provider: "openai".into(),
            model: "m".into(),
            endpoint: Some("http://127.0.0.1:1/v1".into()),
            capabilities: Capabilities::default(),
        },
        now: AtomicU64::new(0),
    };
    let reader =
        PeriodicReader::builder(InMemoryMetricExporter::default()).with_interval(Duration::from_hours(1));
    let meters = SdkMeterProvider::builder().with_reader(reader.build()).build();
    let tracers = SdkTracerProvider::builder().with_batch_exporter(Away).build();
    let meter = meters.meter("bench");
    let metrics = Metrics::new(&meter, NoopTracerProvider::new().tracer("bench")).unwrap();
    let both = Metrics::new(&meter, tracers.tracer("bench")).unwrap();
    let models: [(&str, Box<dyn ChatModel>); 4] = [
        ("bare", Box::new(model())),
        ("noop", Box::new(Instrumented::new(model(), Metrics::noop()))),
        ("metrics", Box::new(Instrumented::new(model(), metrics))),
        ("metrics and spans", Box::new(Instrumented::new(model(), both))),
    ];
    let (ctx, request) = (CallContext::new(), ChatRequest::text("hello").with_max_tokens(100));
    for (name, model) in &models {
        c.bench_function(&format!("generate/{name}"), |b| {
            b.iter(|| ready(model.generate(&request, &ctx)).unwrap());
        });
    }
    for (name, model) in &models {
        c.bench_function(&format!("stream of 100/{name}"), |b| {
            b.iter(|| ready(model.drive(&request, &ctx, &mut Ignore)).unwrap());
        });
    }
    drop(models);
    let _ = (meters.shutdown(), tracers.shutdown());
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = bench
}
criterion_main!(benches);
