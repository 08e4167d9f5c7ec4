//! Entities and traits of benchmarking: what flows from a scenario to a verdict.
//!
//! [`Scenario`] → schedule (drawn by the runner) → [`RequestRecord`]s → [`RunResult`] → [`Analysis`] → report.
//! Plain data with public fields, serialised as it stands; each arrow is implemented in a crate of its own.

pub mod aggregate;
pub mod analysis;
pub mod budget;
pub mod calibration;
pub mod collector;
pub mod comparison;
pub mod duration;
pub mod expect;
pub mod load;
pub mod load_test;
pub mod metric;
pub mod mock;
pub mod optimize;
pub mod performance;
pub mod policy;
pub mod probe;
pub mod rate;
pub mod record;
pub mod result;
pub mod scenario;
pub mod sketch;
pub mod slo;
pub mod slow_reader;
pub mod streaming;
pub mod study;
pub mod summary;
pub mod synthetic;
pub mod trace;
pub mod traits;
pub mod trend;
pub mod usage;
pub mod validity;

pub use aggregate::{
    AggregateOptions, LeftOut, MergedDistribution, MetricAggregate, MetricDigest, OutlierRun,
    QuantileAggregate, ResultAggregator, RunDigest, RunQuantile, TargetAggregate, VarianceComponents,
};
pub use analysis::{
    Analysis, Bound, Bounded, CostSummary, ErrorGroup, Estimate, Measured, MetricSummary, Objective,
    ObjectiveVerdict, QuantileEstimate, TargetAnalysis, Throughput, TokenSummary,
};
pub use budget::{Budget, CostMeter};
pub use calibration::{Calibration, TwinError};
pub use collector::{Collection, CollectionInfo, MetricsCollector, MetricsRecorder, OperationMetrics};
pub use comparison::{Comparison, PairComparison, ProviderComparison, Ranking, Verdict, Winner};
pub use expect::Expect;
pub use load::{Arrivals, Load, ThinkLaw};
pub use load_test::{ErrorRatePoint, LoadTestConfig, LoadTestResult, LoadTester, ThroughputPoint};
pub use metric::{Better, MetricDef, Origin};
pub use mock::{MockConfiguration, MockConfigurator};
pub use optimize::{
    Effort, Evidence, HintCategory, NotJudged, OptimizationEngine, OptimizationReport, Priority, Recheck,
    Recommendation,
};
pub use performance::{
    OptimizationRecommendation, PerformanceAnalysis, PerformanceIssue, ResultAnalyzer, Scores, Severity,
};
pub use policy::{
    Certified, ErrorRateStop, Look, NotCertified, PrecisionStop, Probe, ProbePurpose, RequestJudge,
    SaturationStop, SearchFailure, SearchPolicy, SearchStep, StepEnd, StepReport, StepVerdict, StopReason,
    StopRule,
};
pub use probe::{AllocatorCounters, AllocatorProbe, ClientHealth, ClientProbe};
pub use rate::{Curve, RatePiece};
pub use record::{ChunkStamp, ErrorRecord, RecordOutcome, RequestRecord, RunPhase, TokenCounts};
pub use result::{BuildInfo, EnvironmentInfo, Hashes, RunManifest, RunResult, Seeds, TargetInfo, Window};
pub use scenario::{Order, Prompt, Scenario, Sessions, Warmup};
pub use sketch::{Grid, Hdr};
pub use slo::{Slo, SloLimit};
pub use slow_reader::{PauseRead, ReadFailure, StreamRead};
pub use streaming::{
    BackpressureResult, StreamPoint, StreamingAnalyzer, StreamingMemoryResult, StreamingOptions,
    StreamingThroughputResult, TtftResult,
};
pub use study::{
    ComparisonStudy, Front, FrontPoint, GateOutcome, GateResult, NoiseFloor, PairStudy, RankEstimate,
    StudyOptions, TailRatio, UnpairedEvidence,
};
pub use summary::{BenchmarkResult, CostAnalysis, LatencyMetrics, MemoryMetrics, TokenUsage};
pub use synthetic::{LengthLaw, SharedPrefix, Synthetic, TokenCounter};
pub use trace::{Trace, TraceFormat, TraceInput, TraceRequest, TraceRequests};
pub use traits::{
    BenchmarkRunner, NullSink, PerformanceAnalyzer, Progress, ProgressUpdate, ProviderComparator, RecordSink,
    RecordSource, Summarizer, Target,
};
pub use trend::{
    Annotation, AnnotationKind, ChangePoint, ChangeStatus, Confirmation, ConfirmationPlan, DeclaredChange,
    Fingerprint, MetricTrend, NotCompared, PairUnit, RegressionCheck, RegressionOutcome, RunPoint,
    SecondOpinions, TrendAnalysis, TrendAnalyzer, TrendDirection, TrendInput, TrendOptions, TrendSegment,
    TrendSeries, TrendSlope, WatchAlarm,
};
pub use usage::{
    ClassTotals, CountAgreement, Disagreement, PartShare, PromptBreakdown, PromptPart, UnitCosts,
    UsageAnalysis, UsageAnalyzer, Waste, WastePart,
};
pub use validity::{Finding, Level, Validity};
