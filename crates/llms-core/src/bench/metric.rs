//! The one table of metrics: name, unit, formula, source, when absent. Columns, JSON keys, SLO names, `explain`
//! and `docs/metrics.md` all come from here.

use serde::{Deserialize, Serialize};

/// Where a latency starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// `sent`: the prepared request is handed to the transport, before any connect.
    Service,
    /// `scheduled`: when the plan wanted it sent.
    Response,
}

/// Which direction is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// Neither: a fact.
    Neither,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct MetricDef {
    /// The name in files, columns and SLOs. Bare latency names follow the headline origin of the load mode;
    /// `_service` and `_response` appended force one.
    pub name: &'static str,
    /// What reports call it.
    pub title: &'static str,
    /// `s`, `1/s`, `tokens`, `bytes`, `1` (a share) or `USD`.
    pub unit: &'static str,
    /// How it is computed from a record.
    pub formula: &'static str,
    /// When it is `None`.
    pub absent: &'static str,
    /// Paper or tool the definition follows.
    pub source: &'static str,
    /// Which direction is good.
    pub better: Better,
    /// One value per request (then it has quantiles), or one per run.
    pub per_request: bool,
    /// Whether the value depends on where the latency starts.
    pub has_origin: bool,
}

const fn latency(
    name: &'static str,
    title: &'static str,
    formula: &'static str,
    absent: &'static str,
    source: &'static str,
    has_origin: bool,
) -> MetricDef {
    MetricDef {
        name,
        title,
        unit: "s",
        formula,
        absent,
        source,
        better: Better::Lower,
        per_request: true,
        has_origin,
    }
}

const fn run(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    formula: &'static str,
    absent: &'static str,
    source: &'static str,
    better: Better,
) -> MetricDef {
    MetricDef { name, title, unit, formula, absent, source, better, per_request: false, has_origin: false }
}

/// Every metric, in the order reports show them.
pub const METRICS: &[MetricDef] = &[
    latency(
        "ttft",
        "TTFT",
        "first token-bearing chunk (text, reasoning or tool-call content of length > 0) − origin",
        "no token-bearing chunk came, or not streamed",
        "MLPerf LoadGen; measurement of the first role-only chunk, as some tools do, is not TTFT",
        true,
    ),
    latency(
        "ttfat",
        "TTFAT",
        "first token-bearing chunk that is not reasoning − origin",
        "never answered, or not streamed",
        "AIPerf calls it time to first output token",
        true,
    ),
    latency(
        "e2e",
        "E2E latency",
        "last token-bearing chunk − origin; not streamed: end of the body − origin",
        "no content",
        "vLLM e2el; a trailing usage or end frame does not move it",
        true,
    ),
    latency(
        "tpot",
        "TPOT",
        "(last token − first token) / (output tokens − 1)",
        "fewer than 2 output tokens, or their number is unknown",
        "MLPerf LoadGen logging.cc; AIPerf calls this ITL",
        false,
    ),
    latency(
        "tpot_adj",
        "TPOT adjusted",
        "(last token − first token) / (output tokens − tokens in the first chunk)",
        "tokens per chunk are unknown, or all came in one chunk",
        "multi-token first chunks (speculative decoding)",
        false,
    ),
    latency(
        "icl",
        "Inter-chunk latency",
        "gaps between consecutive token-bearing chunks, of all requests pooled; gaps inside one read are left out",
        "fewer than 2 chunks",
        "what vLLM calls ITL; a chunk may hold many tokens",
        false,
    ),
    latency(
        "itl",
        "ITL (amortised)",
        "the gap before a chunk of k tokens counts as k gaps of gap/k",
        "tokens per chunk are unknown",
        "AIPerf; measurement by chunk is icl",
        false,
    ),
    latency(
        "max_gap",
        "Longest gap",
        "largest gap between consecutive token-bearing chunks of a request",
        "fewer than 2 chunks",
        "stall analysis, Etalon",
        false,
    ),
    MetricDef {
        name: "stalls",
        title: "Stalls",
        unit: "gaps",
        formula: "gaps of a request above max(200 ms, 5 × its own median gap)",
        absent: "fewer than 2 chunks in different reads",
        source: "stall analysis, Etalon",
        better: Better::Lower,
        per_request: true,
        has_origin: false,
    },
    latency(
        "stall_time",
        "Stall time",
        "Σ (gap − threshold) over the stalls of a request",
        "fewer than 2 chunks in different reads",
        "stall analysis, Etalon",
        false,
    ),
    latency(
        "ttst",
        "Time to second chunk",
        "second − first token-bearing chunk",
        "fewer than 2 chunks",
        "AIPerf time to second token",
        false,
    ),
    latency(
        "ttfb",
        "Time to headers",
        "status and headers complete − sent",
        "no headers came",
        "RFC 9110 exchange",
        false,
    ),
    latency(
        "connect",
        "Connect",
        "DNS + TCP + TLS, when they happened within the request",
        "the connection was reused, or the transport cannot tell",
        "",
        false,
    ),
    latency(
        "cap_wait",
        "Cap wait",
        "released − scheduled",
        "never",
        "wait for a free slot under --max-concurrency",
        false,
    ),
    latency(
        "send_lag",
        "Send lag",
        "sent − released: the client's own lateness",
        "never sent",
        "MLPerf LoadGen schedule lag",
        false,
    ),
    latency(
        "stream_close",
        "Stream close",
        "end of the body − last token-bearing chunk",
        "not streamed",
        "",
        false,
    ),
    MetricDef {
        name: "decode_rate",
        title: "Decode rate",
        unit: "tokens/s",
        formula: "(output tokens − 1) / (last token − first token)",
        absent: "as tpot",
        source: "inverse of TPOT",
        better: Better::Higher,
        per_request: true,
        has_origin: false,
    },
    MetricDef {
        name: "output_tokens",
        title: "Output tokens",
        unit: "tokens",
        formula: "usage report, else tokenizer",
        absent: "neither is known",
        source: "",
        better: Better::Neither,
        per_request: true,
        has_origin: false,
    },
    MetricDef {
        name: "input_tokens",
        title: "Input tokens",
        unit: "tokens",
        formula: "usage report",
        absent: "not reported",
        source: "",
        better: Better::Neither,
        per_request: true,
        has_origin: false,
    },
    MetricDef {
        name: "cost",
        title: "Cost per request",
        unit: "USD",
        formula: "Σ disjoint token class × price",
        absent: "no price, or no usage",
        source: "dated price file",
        better: Better::Lower,
        per_request: true,
        has_origin: false,
    },
    run(
        "error_rate",
        "Error rate",
        "1",
        "failed / (ok + failed) among requests scheduled in the window",
        "no request ended",
        "Wilson interval",
        Better::Lower,
    ),
    run(
        "throughput",
        "Requests/s",
        "1/s",
        "complete answers whose end lies in the window / length of the window",
        "no window",
        "Garwood interval",
        Better::Higher,
    ),
    run(
        "output_token_rate",
        "Output tokens/s",
        "tokens/s",
        "tokens whose stamp lies in the window / length of the window",
        "tokens unknown",
        "",
        Better::Higher,
    ),
    run(
        "goodput",
        "Goodput",
        "1/s",
        "requests scheduled in the window that end well with every SLO met / length of the window",
        "no SLO given",
        "DistServe",
        Better::Higher,
    ),
    run(
        "slo_attainment",
        "SLO attainment",
        "1",
        "requests that end well with every SLO met / requests scheduled in the window",
        "no SLO given",
        "Wilson interval",
        Better::Higher,
    ),
    run(
        "offered_rate",
        "Offered load",
        "1/s",
        "requests scheduled in the window / length of the window",
        "closed loop",
        "",
        Better::Neither,
    ),
];

/// The row of that name; `_service` and `_response` suffixes are accepted where the metric has an origin.
pub fn find(name: &str) -> Option<&'static MetricDef> {
    let exact = METRICS.iter().find(|m| m.name == name);
    exact.or_else(|| {
        let bare = name.strip_suffix("_service").or_else(|| name.strip_suffix("_response"))?;
        METRICS.iter().find(|m| m.name == bare && m.has_origin)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (i, m) in METRICS.iter().enumerate() {
            assert!(METRICS[..i].iter().all(|o| o.name != m.name), "{}", m.name);
            assert_eq!(find(m.name).unwrap().name, m.name);
        }
        assert_eq!(find("ttft_response").unwrap().name, "ttft");
        assert!(find("tpot_response").is_none() && find("speed").is_none());
    }
}
