//! Several sinks fed as one.

use llms_core::{
    Result,
    bench::{RecordSink, RequestRecord, RunManifest},
};

/// Feeds every sink; an error of one is reported after the others were served.
#[derive(Default)]
pub struct Tee {
    sinks: Vec<Box<dyn RecordSink>>,
}

impl Tee {
    /// A tee without outlets: discards everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an outlet.
    pub fn with(mut self, sink: impl RecordSink + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    fn each(&mut self, mut f: impl FnMut(&mut dyn RecordSink) -> Result<()>) -> Result<()> {
        self.sinks.iter_mut().map(|s| f(s.as_mut())).fold(Ok(()), Result::and)
    }
}

impl std::fmt::Debug for Tee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tee").field("sinks", &self.sinks.len()).finish()
    }
}

impl RecordSink for Tee {
    fn begin(&mut self, manifest: &RunManifest) -> Result<()> {
        self.each(|s| s.begin(manifest))
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        self.each(|s| s.record(record))
    }

    fn finish(&mut self, manifest: &RunManifest) -> Result<()> {
        self.each(|s| s.finish(manifest))
    }
}
