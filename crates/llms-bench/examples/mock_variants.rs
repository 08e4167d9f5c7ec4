//! Develop with the mock: measure one simulated provider, then compare three variants of it.
//!
//! The first is 100 ms to the first token, 2 % errors, 50 tokens/s, 10 MB a request, each ± 30 %; asked 1000 times by 20
//! users. Then variants at 50 ms, at 300 ms, and with 10 % errors are compared with it, interleaved and paired.
//!
//! ```sh
//! cargo run --release -p llms-bench --example mock_variants             # simulated time: some seconds
//! cargo run --release -p llms-bench --example mock_variants -- --real   # real time: three minutes
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bench_analysis::Analyzer;
use bench_mock::{Aspects, Configurator, MockModel, Profile};
use bench_report::{Document, Findings, Style, render_text};
use bench_runner::Runner;
use llms_core::{
    CallContext, ChatModel, ErrorCode,
    bench::{
        BenchmarkRunner, Load, MockConfigurator, NullSink, PerformanceAnalyzer, RunResult, Scenario, Seeds,
        Summarizer, Target, TargetInfo,
    },
    time::VirtualClock,
};

const MB: u64 = 1_000_000;

/// A simulated provider: a first token after about `ttft_ms`, a share `errors` of failures.
fn variant(name: &'static str, ttft_ms: u64, errors: f64) -> Result<(MockModel, Target), Box<dyn Error>> {
    let base = Profile { name: name.to_owned(), ..Profile::default() }.with_output_tokens(20).with_seed(7);
    let configurator = Configurator::new(base, Aspects::default())?;
    configurator.configure_latency(Duration::from_millis(ttft_ms), 0.3)?;
    configurator.configure_error_injection(errors, &[ErrorCode::RateLimit, ErrorCode::Timeout])?;
    configurator.configure_token_generation(50.0, 0.3)?;
    configurator.configure_memory_usage(10 * MB, 1.0)?;
    let model = MockModel::builder().handle(configurator.handle().clone()).name("mock", name).build()?;
    let info = TargetInfo {
        name: name.to_owned(),
        model: model.info().clone(),
        simulated: true,
        transport: None,
        unavailable: None,
    };
    let target = Target { info, model: Some(Arc::new(model.clone())) };
    Ok((model, target))
}

fn scenario(requests: u64) -> Scenario {
    Scenario {
        requests: Some(requests),
        duration: Some(Duration::from_secs(120)),
        load: Load::closed(20),
        seeds: Seeds::from_one(1),
        ..Scenario::new(
            "mock variants",
            ["What is 2+2?", "Write a haiku about technology.", "Explain quantum computing simply."],
        )
    }
}

/// Runs on real or on simulated time; `beside` runs along and is told when it is over.
fn run(real: bool, targets: &[Target], requests: u64, watched: Option<&MockModel>) -> (RunResult, u64) {
    let (peak, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let measure = async |ctx: CallContext| {
        let run = async {
            let result = Runner::new().run(targets, &scenario(requests), &mut NullSink, &ctx).await;
            over.store(true, Relaxed);
            result
        };
        // What the simulated provider holds in memory, looked at every 5 ms.
        let watch = async {
            while let (Some(model), false) = (watched, over.load(Relaxed)) {
                peak.fetch_max(model.held_bytes(), Relaxed);
                ctx.clock.sleep_until(ctx.now() + Duration::from_millis(5)).await;
            }
        };
        tokio::join!(run, watch).0
    };
    let result = if real {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.expect("a runtime can be started").block_on(measure(CallContext::new()))
    } else {
        let clock = VirtualClock::new();
        let ctx = CallContext::with_clock(Arc::new(clock.clone()));
        clock.block_on(measure(ctx))
    };
    (result.expect("the scenario is valid"), peak.load(Relaxed))
}

fn main() -> Result<(), Box<dyn Error>> {
    let real = std::env::args().any(|arg| arg == "--real");
    let analyzer = Analyzer::new();

    let (model, target) = variant("100 ms", 100, 0.02)?;
    let (first, peak) = run(real, &[target], 1_000, Some(&model));
    let result = &analyzer.summarize(&first)?[0];
    println!(
        "one provider: {:.1} requests/s · {:.1} % errors (n {}) · {:.0} MB held at most, 10 MB a request of 20 at once\n",
        result.throughput_rps.unwrap_or(f64::NAN),
        result.error_rate.unwrap_or(f64::NAN) * 1e2,
        result.operation_count,
        peak as f64 / MB as f64,
    );

    let mut targets = Vec::new();
    for (name, ttft_ms, errors) in
        [("100 ms", 100, 0.02), ("50 ms", 50, 0.02), ("300 ms", 300, 0.02), ("10 % errors", 100, 0.10)]
    {
        targets.push(variant(name, ttft_ms, errors)?.1);
    }
    let (compared, _) = run(real, &targets, 1_000, None);
    let analysis = analyzer.analyze(&compared)?;
    let doc = Document {
        manifest: &compared.manifest,
        analysis: &analysis,
        notes: &[],
        files: &[],
        findings: Findings::default(),
    };
    println!("{}", render_text(&doc, &Style::default()));
    Ok(())
}
