//! Metrics of operations that somebody else runs: counts and sums exact, latencies in sketches, memory bounded.
//!
//! Each collection has a few shards; a recorder writes to the shard it was given, so recorders of different threads
//! seldom meet at a lock. Quantiles are off by less than a thousandth of themselves ([`Hdr`]); counts, sums, least,
//! greatest and mean are exact however many operations there are. A sketch takes 8 kB for each factor of two between the
//! least latency and the greatest, 250 kB at most in practice.
//!
//! # Cost
//! `benches/collector.rs`, two shared processors under load: 58 ns an operation, 53 ns a latency and a token sample together,
//! 0.25 ms a snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use llms_core::{
    CallContext, Error, ErrorCode, Result,
    bench::{
        AllocatorProbe, BenchmarkResult, Collection, CollectionInfo, Grid, Hdr, LatencyMetrics,
        MemoryMetrics, MetricsCollector, MetricsRecorder, OperationMetrics, TokenUsage,
    },
    time::{SharedClock, Timestamp},
};
use time::OffsetDateTime;

use crate::environment;

/// Parts of a collection that are written apart.
const SHARDS: usize = 8;

/// Collects metrics of operations; see the module.
#[derive(Clone, Default)]
pub struct Collector {
    active: Arc<Mutex<BTreeSet<String>>>,
    memory: Option<Arc<dyn AllocatorProbe>>,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("active", &self.active()).finish_non_exhaustive()
    }
}

impl Collector {
    /// Without collections, blind to memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts what is allocated while a collection lasts.
    pub fn with_memory(mut self, probe: Arc<dyn AllocatorProbe>) -> Self {
        self.memory = Some(probe);
        self
    }

    fn allocations(&self) -> Option<u64> {
        Some(self.memory.as_ref()?.counters().value()?.allocations)
    }
}

impl MetricsCollector for Collector {
    fn start(&self, info: CollectionInfo, ctx: &CallContext) -> Result<Box<dyn Collection>> {
        for (what, name) in [
            ("benchmark_id", &info.benchmark_id),
            ("test_name", &info.test_name),
            ("provider_name", &info.provider_name),
            ("model_name", &info.model_name),
            ("scenario_name", &info.scenario_name),
        ] {
            if name.trim().is_empty() {
                return Err(refused("collector.start", format!("expected a {what}, found nothing")));
            }
        }
        if !lock(&self.active).insert(info.benchmark_id.clone()) {
            let message = format!(
                "expected an id that no collection under way has, found {}; stop that one, or choose another",
                info.benchmark_id
            );
            return Err(refused("collector.start", message));
        }
        Ok(Box::new(Running {
            clock: ctx.clock.clone(),
            started: ctx.now(),
            started_at: ctx.clock.wall(),
            allocations: self.allocations(),
            next_shard: AtomicUsize::new(0),
            shards: Arc::new(std::array::from_fn(|_| Mutex::new(Some(Part::default())))),
            collector: self.clone(),
            info,
        }))
    }

    fn active(&self) -> Vec<String> {
        lock(&self.active).iter().cloned().collect()
    }
}

type Shards = [Mutex<Option<Part>>; SHARDS];

/// A collection under way.
struct Running {
    info: CollectionInfo,
    collector: Collector,
    clock: SharedClock,
    started: Timestamp,
    started_at: OffsetDateTime,
    /// Allocations counted before it began.
    allocations: Option<u64>,
    next_shard: AtomicUsize,
    /// `None` in all of them once it has ended.
    shards: Arc<Shards>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for shard in &*self.shards {
            lock(shard).take();
        }
        lock(&self.collector.active).remove(&self.info.benchmark_id);
    }
}

impl Collection for Running {
    fn id(&self) -> &str {
        &self.info.benchmark_id
    }

    fn recorder(&self) -> Arc<dyn MetricsRecorder> {
        let shard = self.next_shard.fetch_add(1, Relaxed) % SHARDS;
        Arc::new(Recorder { id: self.info.benchmark_id.as_str().into(), shards: self.shards.clone(), shard })
    }

    fn snapshot(&self) -> Result<BenchmarkResult> {
        self.result(self.shards.iter().filter_map(|shard| lock(shard).clone()))
    }

    fn stop(self: Box<Self>) -> Result<BenchmarkResult> {
        let parts: Vec<Part> = self.shards.iter().filter_map(|shard| lock(shard).take()).collect();
        self.result(parts.into_iter())
    }
}

impl Running {
    fn result(&self, parts: impl Iterator<Item = Part>) -> Result<BenchmarkResult> {
        let mut all = Part::default();
        for part in parts {
            all.add(part);
        }
        let (ok, failed) = (all.ok, all.failed);
        if ok + failed == 0 {
            let message = format!("expected an operation at least in collection {}, found none", self.id());
            return Err(refused("collector.result", message));
        }
        let duration_s = self.clock.now().saturating_since(self.started).as_secs_f64();
        if duration_s <= 0.0 {
            let message = format!("expected time to pass in collection {}, none did", self.id());
            return Err(refused("collector.result", message));
        }
        let allocated = self.collector.allocations().zip(self.allocations).map(|(now, then)| now - then);
        let mut additional_metrics: BTreeMap<String, serde_json::Value> = BTreeMap::new();
        for (operation, kind) in &all.kinds {
            additional_metrics.insert(format!("operations.{operation}"), kind.operations.into());
            if let Some(p50) = kind.latency.quantile(0.5) {
                additional_metrics.insert(format!("latency_p50_s.{operation}"), seconds(p50).into());
            }
        }
        for (code, n) in &all.errors {
            additional_metrics.insert(format!("errors.{}", code.as_str()), (*n).into());
        }
        if let Some(bytes) = all.bytes {
            additional_metrics.insert("bytes".to_owned(), bytes.into());
        }
        Ok(BenchmarkResult {
            benchmark_id: self.info.benchmark_id.clone(),
            test_name: self.info.test_name.clone(),
            provider_name: self.info.provider_name.clone(),
            model_name: self.info.model_name.clone(),
            timestamp: self.started_at,
            duration_s,
            latency_metrics: all.latency(),
            throughput_rps: Some(ok as f64 / duration_s),
            error_rate: Some(failed as f64 / (ok + failed) as f64),
            memory_usage: allocated
                .map(|n| MemoryMetrics { allocations: Some(n), ..MemoryMetrics::default() }),
            token_usage: all.tokens.usage(duration_s),
            cost_analysis: None,
            operation_count: ok + failed,
            concurrency_level: self.info.concurrency_level,
            successful_ops: ok,
            failed_ops: failed,
            scenario_name: self.info.scenario_name.clone(),
            configuration_hash: String::new(),
            environment: environment::capture_environment(),
            additional_metrics,
            tags: self.info.tags.clone(),
        })
    }
}

/// A recorder of one collection.
struct Recorder {
    id: Arc<str>,
    shards: Arc<Shards>,
    shard: usize,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Recorder {
    fn with(&self, record: impl FnOnce(&mut Part)) -> Result<()> {
        match &mut *lock(&self.shards[self.shard]) {
            Some(part) => {
                record(part);
                Ok(())
            }
            None => Err(refused("collector.record", format!("collection {} has ended", self.id))),
        }
    }
}

impl MetricsRecorder for Recorder {
    fn record_operation(&self, o: &OperationMetrics) -> Result<()> {
        let first = o.first_token.unwrap_or(o.end);
        let (Some(latency), Some(_), Some(ttft)) =
            (o.end.since(o.start), o.end.since(first), first.since(o.start))
        else {
            let message = "expected an operation that starts, has its first token and ends, in this order; are these \
                           instants of one clock?";
            return Err(refused("collector.record_operation", message.to_owned()));
        };
        self.with(|part| {
            if let Some(code) = o.error {
                part.failed += 1;
                *part.errors.entry(code).or_default() += 1;
                part.kind(&o.operation).operations += 1;
            } else {
                part.ok += 1;
                part.latency.add(latency);
                let kind = part.kind(&o.operation);
                kind.operations += 1;
                kind.latency.add(nanos(latency));
                if o.first_token.is_some() {
                    part.ttft.add(nanos(ttft));
                }
            }
            if let Some(usage) = &o.usage {
                part.tokens.add(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens);
            }
            if let Some(bytes) = o.bytes {
                *part.bytes.get_or_insert(0) += bytes;
            }
        })
    }

    fn record_latency(&self, latency: Duration, operation: &str) -> Result<()> {
        self.with(|part| part.kind(operation).latency.add(nanos(latency)))
    }

    fn record_token_usage(&self, usage: &TokenUsage) -> Result<()> {
        usage.validate().map_err(|e| refused("collector.record_token_usage", e.to_string()))?;
        self.with(|part| {
            part.tokens.add(Some(usage.input_tokens), Some(usage.output_tokens), usage.cached_tokens);
        })
    }
}

/// What was recorded in one shard; in the end, in all of them.
#[derive(Clone)]
struct Part {
    ok: u64,
    failed: u64,
    errors: BTreeMap<ErrorCode, u64>,
    /// Of successful operations.
    latency: Spread,
    ttft: Hdr,
    kinds: BTreeMap<String, Kind>,
    tokens: Tokens,
    bytes: Option<u64>,
}

impl Default for Part {
    fn default() -> Self {
        Self {
            ok: 0,
            failed: 0,
            errors: BTreeMap::new(),
            latency: Spread::default(),
            ttft: Hdr::new(Grid::THREE),
            kinds: BTreeMap::new(),
            tokens: Tokens::default(),
            bytes: None,
        }
    }
}

/// Operations of one name.
#[derive(Clone)]
struct Kind {
    operations: u64,
    /// With the samples recorded beside them.
    latency: Hdr,
}

impl Default for Kind {
    fn default() -> Self {
        Self { operations: 0, latency: Hdr::new(Grid::THREE) }
    }
}

impl Part {
    fn kind(&mut self, operation: &str) -> &mut Kind {
        // Not `entry`: it wants a name of its own for every look.
        if !self.kinds.contains_key(operation) {
            self.kinds.insert(operation.to_owned(), Kind::default());
        }
        self.kinds.get_mut(operation).expect("invariant: just made")
    }

    fn add(&mut self, other: Self) {
        let same_grid = "invariant: all sketches have one grid";
        self.ok += other.ok;
        self.failed += other.failed;
        for (code, n) in other.errors {
            *self.errors.entry(code).or_default() += n;
        }
        self.latency.merge(&other.latency);
        self.ttft.merge(&other.ttft).expect(same_grid);
        for (operation, kind) in other.kinds {
            let mine = self.kind(&operation);
            mine.operations += kind.operations;
            mine.latency.merge(&kind.latency).expect(same_grid);
        }
        self.tokens.merge(&other.tokens);
        self.bytes = self.bytes.into_iter().chain(other.bytes).reduce(|a, b| a + b);
    }

    fn latency(&self) -> LatencyMetrics {
        let spread = &self.latency;
        // Failures rank behind all others; a quantile wants a value beyond it, or it is only the greatest there is.
        let n = self.ok + self.failed;
        let quantile = |p: f64| {
            let rank = (p * n as f64).ceil() as u64;
            let shown = 1.0 <= (1.0 - p) * n as f64 + 1e-9 && rank <= self.ok;
            shown.then(|| spread.hdr.at_rank(rank)).flatten().map(seconds)
        };
        // What a sketch says lies in a step of it; the values known exactly bound it.
        let within = |x: f64| x.clamp(seconds(spread.min), seconds(spread.max));
        let known = !spread.hdr.is_empty();
        LatencyMetrics {
            n: self.ok,
            p50: quantile(0.5).map(within),
            p95: quantile(0.95).map(within),
            p99: quantile(0.99).map(within),
            p999: quantile(0.999).map(within),
            mean: known.then(|| spread.sum as f64 / self.ok as f64 / 1e9),
            min: known.then(|| seconds(spread.min)),
            max: known.then(|| seconds(spread.max)),
            standard_deviation: (1 < self.ok).then(|| (spread.squares / (self.ok - 1) as f64).sqrt()),
            time_to_first_token: self.ttft.quantile(0.5).map(seconds),
            time_to_last_token: quantile(0.5).map(within),
            streaming_latency: None,
        }
    }
}

/// Latencies: a sketch, and what is exact beside it.
#[derive(Clone)]
struct Spread {
    hdr: Hdr,
    /// Nanoseconds.
    sum: u128,
    min: u64,
    max: u64,
    /// Running mean in seconds, and the sum of squared distances from it (Welford 1962).
    mean: f64,
    squares: f64,
}

impl Default for Spread {
    fn default() -> Self {
        Self { hdr: Hdr::new(Grid::THREE), sum: 0, min: u64::MAX, max: 0, mean: 0.0, squares: 0.0 }
    }
}

impl Spread {
    fn add(&mut self, latency: Duration) {
        let value = nanos(latency);
        self.hdr.add(value);
        self.sum += u128::from(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let x = seconds(value);
        let off = x - self.mean;
        self.mean += off / self.hdr.len() as f64;
        self.squares += off * (x - self.mean);
    }

    /// Chan, Golub and LeVeque 1979.
    fn merge(&mut self, other: &Self) {
        let (n, m) = (self.hdr.len() as f64, other.hdr.len() as f64);
        if m == 0.0 {
            return;
        }
        let off = other.mean - self.mean;
        self.mean += off * m / (n + m);
        self.squares += other.squares + off * off * n * m / (n + m);
        self.hdr.merge(&other.hdr).expect("invariant: all sketches have one grid");
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Tokens told; exact sums.
#[derive(Clone, Debug, Default)]
struct Tokens {
    told: u64,
    input: u64,
    output: u64,
    cached: Option<u64>,
}

impl Tokens {
    fn add(&mut self, input: Option<u64>, output: Option<u64>, cached: Option<u64>) {
        self.told += 1;
        self.input += input.unwrap_or(0);
        self.output += output.unwrap_or(0);
        self.cached = self.cached.into_iter().chain(cached).reduce(|a, b| a + b);
    }

    fn merge(&mut self, other: &Self) {
        self.told += other.told;
        self.input += other.input;
        self.output += other.output;
        self.cached = self.cached.into_iter().chain(other.cached).reduce(|a, b| a + b);
    }

    fn usage(&self, duration_s: f64) -> Option<TokenUsage> {
        let each = |sum: u64| Some(sum as f64 / self.told as f64);
        (0 < self.told).then(|| TokenUsage {
            input_tokens: self.input,
            output_tokens: self.output,
            total_tokens: self.input + self.output,
            cached_tokens: self.cached,
            efficiency_ratio: (0 < self.input).then(|| self.output as f64 / self.input as f64),
            tokens_per_second: Some(self.output as f64 / duration_s),
            average_input_size: each(self.input),
            average_output_size: each(self.output),
        })
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn refused(op: &'static str, message: String) -> Error {
    Error::new(op, ErrorCode::InvalidInput, message)
}

/// Counts are whole after a panic elsewhere: every change to them is one statement that cannot panic half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
