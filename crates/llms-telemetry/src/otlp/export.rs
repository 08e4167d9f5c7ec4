//! The exporters, made to work on the SDK's threads.
//!
//! The SDK's batch processor and periodic reader drive exporters on threads of their own, without a tokio runtime,
//! while reqwest needs one: polled there as it is, it panics. So each export is polled inside the context of a small
//! runtime of this crate, whose one worker runs the connections. Nothing of it touches the caller's runtimes.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::SpanData,
};
use reqwest::redirect;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::runtime::{Builder, Handle, Runtime};

use super::settings::{Destination, Signal};
use crate::TelemetryError;

/// How long a failed export may take to find out why.
const DIAGNOSIS: Duration = Duration::from_secs(1);

/// The runtime that connections live on. Dropped anywhere, also inside another runtime, it never blocks.
pub(super) struct Reactor(Option<Runtime>);

impl Reactor {
    pub(super) fn start() -> Result<Arc<Self>, TelemetryError> {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("llms-telemetry")
            .enable_all()
            .build()
            .map(|runtime| Arc::new(Self(Some(runtime))))
            .map_err(|e| TelemetryError::SetUp(format!("no thread for it: {e}")))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("invariant: gone only in drop").handle()
    }

    /// Polls `future` where reqwest finds its timers and sockets, on whatever thread this is.
    async fn within<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let _entered = self.handle().enter();
            future.as_mut().poll(cx)
        })
        .await
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What became of exports.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) exports: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Spans taken by the collector.
    pub(super) spans: AtomicU64,
    /// Spans of failed exports.
    pub(super) spans_lost: AtomicU64,
    /// Whether the latest export failed, and why.
    trouble: Mutex<Option<String>>,
    warned: AtomicBool,
}

impl Ledger {
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn settle(&self, trouble: Option<String>, endpoint: &str) {
        self.exports.fetch_add(1, Relaxed);
        if let Some(why) = &trouble {
            self.failures.fetch_add(1, Relaxed);
            if !self.warned.swap(true, Relaxed) {
                let why = why.as_str();
                tracing::warn!(endpoint, why, "telemetry cannot be delivered; the run goes on without");
            }
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// An exporter that is polled within the reactor and keeps a ledger.
pub(super) struct Export<E> {
    exporter: E,
    reactor: Arc<Reactor>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) endpoint: String,
    /// Host and port, to find out what is wrong there.
    host: Option<(String, u16)>,
    timeout: Duration,
}

/// Nothing of the exporter inside: it holds the headers.
impl<E> fmt::Debug for Export<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl<E> Export<E> {
    fn new(exporter: E, to: &Destination, reactor: &Arc<Reactor>) -> Self {
        let port = to.url.port_or_known_default();
        let host = to.url.host().map(|h| match h {
            url::Host::Ipv6(ip) => ip.to_string(),
            other => other.to_string(),
        });
        Self {
            exporter,
            reactor: reactor.clone(),
            ledger: Arc::default(),
            endpoint: to.shown(),
            host: host.zip(port),
            timeout: to.timeout,
        }
    }

    /// Runs one export within the time allowed, retries included: the exporter itself bounds only when it begins one.
    async fn run(&self, export: impl Future<Output = OTelSdkResult>) -> OTelSdkResult {
        let timed = async {
            match tokio::time::timeout(self.timeout, export).await {
                Ok(result) => result,
                Err(_) => Err(OTelSdkError::Timeout(self.timeout)),
            }
        };
        let result = self.reactor.within(timed).await;
        let trouble = match &result {
            Ok(()) => None,
            Err(error) => Some(self.reactor.within(self.explain(error)).await),
        };
        self.ledger.settle(trouble, &self.endpoint);
        result
    }

    /// What is wrong, in words. The exporter keeps the cause of a network error to itself, so a connection is tried.
    async fn explain(&self, error: &OTelSdkError) -> String {
        let OTelSdkError::InternalFailure(why) = error else { return error.to_string() };
        let (Some((host, port)), true) = (&self.host, why.ends_with("network error")) else {
            return why.clone();
        };
        let connecting = tokio::net::TcpStream::connect((host.as_str(), *port));
        match tokio::time::timeout(DIAGNOSIS, connecting).await {
            Err(_) => format!("no connection to {host} port {port} within {DIAGNOSIS:?}"),
            Ok(Err(e)) => format!("no connection to {host} port {port}: {e}"),
            Ok(Ok(_)) => format!(
                "something listens on {host} port {port}, but does not answer as OTLP over HTTP does; is that its \
                 gRPC port (usually 4317, HTTP is 4318), or http for https?"
            ),
        }
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Export<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let n = batch.len() as u64;
        let result = self.run(self.exporter.export(batch)).await;
        if result.is_ok() { &self.ledger.spans } else { &self.ledger.spans_lost }.fetch_add(n, Relaxed);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Export<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.run(self.exporter.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// An exporter of spans.
pub(super) fn spans(
    to: &Destination,
    reactor: &Arc<Reactor>,
) -> Result<Export<SpanExporter>, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client(Signal::Traces, to)?)
        .with_headers(to.headers.iter().cloned().collect())
        .with_endpoint(to.url.as_str())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(to.timeout)
        .build()
        .map_err(|e| TelemetryError::SetUp(e.to_string()))?;
    Ok(Export::new(exporter, to, reactor))
}

/// An exporter of metrics.
pub(super) fn metrics(
    to: &Destination,
    reactor: &Arc<Reactor>,
) -> Result<Export<MetricExporter>, TelemetryError> {
    let exporter = MetricExporter::builder()
        .with_http()
        .with_http_client(client(Signal::Metrics, to)?)
        .with_headers(to.headers.iter().cloned().collect())
        .with_endpoint(to.url.as_str())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(to.timeout)
        .build()
        .map_err(|e| TelemetryError::SetUp(e.to_string()))?;
    Ok(Export::new(exporter, to, reactor))
}

/// reqwest with ring named explicitly (it panics without a process-wide default), no proxy, and no redirects: headers
/// with keys go where the user said.
fn client(signal: Signal, to: &Destination) -> Result<reqwest::Client, TelemetryError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = &to.certificate {
        let fail = |e: String| {
            let setting = format!("the certificate for {}", signal.path());
            TelemetryError::setting(setting, format!("cannot read {file:?}: {e}; expected a PEM file"))
        };
        let certificates = CertificateDer::pem_file_iter(file).map_err(|e| fail(e.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|e| fail(e.to_string()))?;
            roots.add(certificate).map_err(|e| fail(e.to_string()))?;
        }
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("invariant: ring supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .http1_only()
        .tls_backend_preconfigured(tls)
        .timeout(to.timeout)
        .connect_timeout(to.timeout.min(Duration::from_secs(5)))
        .build()
        .map_err(|e| TelemetryError::SetUp(e.to_string()))
}
