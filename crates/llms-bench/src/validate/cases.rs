//! What is driven, and how the simulated vendors behave for it. Plain data.

use std::time::Duration;

use bench_mock::server::Protocol;
use llms_core::bench::{Load, Order, Prompt, Scenario, Warmup};

/// Profiles by the name of the model. Delays are scripted, so that what is measured is the client.
pub(crate) const PROFILES: &str = r#"
[models.paced]
ttft_ms = { kind = "uniform", low = 40.0, high = 80.0 }
gap_ms = { kind = "constant", value = 20.0 }
output_tokens = { kind = "constant", value = 16.0 }

[models.short]
ttft_ms = { kind = "constant", value = 5.0 }
gap_ms = { kind = "constant", value = 0.0 }
output_tokens = { kind = "constant", value = 1.0 }

[models.long]
ttft_ms = { kind = "constant", value = 2.0 }
gap_ms = { kind = "constant", value = 0.0 }
output_tokens = { kind = "constant", value = 100.0 }
wire = { chunks_per_write = 25 }

[models.coalesced]
ttft_ms = { kind = "constant", value = 40.0 }
gap_ms = { kind = "constant", value = 5.0 }
output_tokens = { kind = "constant", value = 33.0 }
tokens_per_chunk = { kind = "constant", value = 4.0 }

[models.reasoning]
ttft_ms = { kind = "constant", value = 40.0 }
gap_ms = { kind = "constant", value = 10.0 }
output_tokens = { kind = "constant", value = 8.0 }
reasoning = { tokens = { kind = "constant", value = 6.0 } }

[models.stalling]
ttft_ms = { kind = "constant", value = 40.0 }
gap_ms = { kind = "constant", value = 10.0 }
output_tokens = { kind = "constant", value = 16.0 }
faults = [{ kind = "stall", share = 1.0, pause_ms = 300.0 }]

[models.failing]
ttft_ms = { kind = "constant", value = 10.0 }
gap_ms = { kind = "constant", value = 2.0 }
output_tokens = { kind = "constant", value = 12.0 }
faults = [
    { kind = "rate_limit", share = 0.12 },
    { kind = "server", share = 0.12 },
    { kind = "overloaded", share = 0.12 },
    { kind = "stream_error", share = 0.12 },
    { kind = "truncate", share = 0.12 },
    { kind = "reset", share = 0.12 },
    { kind = "close", share = 0.12 },
]

[models.queue]
ttft_ms = { kind = "log_normal", median = 12.0, spread = 0.8 }
gap_ms = { kind = "constant", value = 0.0 }
output_tokens = { kind = "constant", value = 1.0 }
end_gap = false
capacity = { slots = 1 }

[models.slower]
ttft_ms = { kind = "uniform", low = 48.0, high = 96.0 }
gap_ms = { kind = "constant", value = 20.0 }
output_tokens = { kind = "constant", value = 4.0 }

[models.same]
ttft_ms = { kind = "uniform", low = 40.0, high = 80.0 }
gap_ms = { kind = "constant", value = 20.0 }
output_tokens = { kind = "constant", value = 4.0 }
"#;

/// How far a report may lie from the truth, in seconds: at the median, and at the 99th percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tolerance {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

/// Numbers of requests in flight, requests of each protocol, and what is tolerated there.
///
/// The medians are what the design claims (0.1 ms) with room for a shared machine; the tails of two busy cores are
/// slices of their scheduler, and are judged only where the machine had time for this process.
pub(crate) const LEVELS: [(u32, u64, Tolerance); 4] = [
    (1, 8, Tolerance { median: 0.5e-3, p99: 5e-3 }),
    (10, 40, Tolerance { median: 0.5e-3, p99: 5e-3 }),
    (100, 200, Tolerance { median: 0.5e-3, p99: 10e-3 }),
    (1000, 500, Tolerance { median: 2e-3, p99: 50e-3 }),
];

/// Shapes of answers that a client can get wrong, one request after another on each protocol.
pub(crate) const SHAPES: [(&str, &str); 3] = [
    ("coalesced", "four tokens in a chunk"),
    ("reasoning", "reasoning before the answer"),
    ("stalling", "a pause in mid-stream"),
];

/// A scenario of one prompt under this load.
pub(crate) fn scenario(name: &str, load: Load, requests: Option<u64>) -> Scenario {
    let mut scenario = Scenario {
        name: format!("validate-{name}"),
        prompts: vec![Prompt::new("p0", "Count from one to one hundred, in words.")],
        warmup: Warmup { requests: 2, prompts: Vec::new() },
        load,
        requests,
        timeout: Duration::from_secs(30),
        drain: Duration::from_secs(30),
        order: Order::Interleaved,
        ..Scenario::default()
    };
    scenario.options.max_tokens = Some(128);
    scenario.with_ids()
}

/// `model` on every protocol, or on one.
pub(crate) fn on(protocols: &[Protocol], model: &'static str) -> Vec<(String, Protocol, &'static str)> {
    protocols.iter().map(|p| (p.as_str().to_owned(), *p, model)).collect()
}
