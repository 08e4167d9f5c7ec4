//! The one table of instruments: names, units, buckets, attributes. `Metrics::new` creates what stands here, the
//! documentation is generated from it.
//!
//! # Sources
//! `llm.*`: the contract, spec section 5.5. `gen_ai.*`: OpenTelemetry's semantic conventions for generative AI, of
//! which two versions are of use: v1.41, the last release (`open-telemetry/semantic-conventions`,
//! `docs/gen-ai/gen-ai-metrics.md`), and the unreleased one in `open-telemetry/semantic-conventions-genai`
//! (`docs/gen-ai/client-inference.md`, `gen-ai-token-metrics.md`, read in November 2026), which renamed them.

/// How values are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever added to.
    Counter,
    /// Goes up and down.
    UpDownCounter,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// The word for it in documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "up-down counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Where a name comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The contract; always created.
    Contract,
    /// GenAI conventions v1.41; created under [`Semconv::V1_41`](crate::Semconv::V1_41).
    GenAi141,
    /// GenAI conventions, unreleased; created under [`Semconv::Latest`](crate::Semconv::Latest).
    GenAiLatest,
}

/// One instrument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instrument {
    /// Its name.
    pub name: &'static str,
    /// How values are combined.
    pub kind: Kind,
    /// UCUM unit: `s`, or what is counted in braces.
    pub unit: &'static str,
    /// What a value is, and when one is recorded.
    pub description: &'static str,
    /// Bucket boundaries in the unit; empty except for histograms.
    pub buckets: &'static [f64],
    /// Keys of its attributes; those after a value's nature (`error.type`, …) only where they apply.
    pub attributes: &'static [&'static str],
    /// Where the name comes from.
    pub family: Family,
}

/// The conventions' boundaries for every duration, in seconds: 0.01 · 2ⁿ.
pub const SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// The conventions' boundaries for token counts: 4ⁿ.
pub const TOKENS: &[f64] = &[
    1., 4., 16., 64., 256., 1024., 4096., 16384., 65536., 262144., 1048576., 4194304., 16777216., 67108864.,
];

/// Keys of attributes.
pub mod key {
    /// Contract: registry name of the provider, on metrics.
    pub const PROVIDER: &str = "provider";
    /// Contract: the model, on metrics.
    pub const MODEL: &str = "model";
    /// Contract: an [`ErrorCode`](llms_core::ErrorCode).
    pub const ERROR_CODE: &str = "error_code";
    /// Contract: a tool that was offered with the request; `_OTHER` for a name the model made up.
    pub const TOOL_NAME: &str = "tool_name";
    /// Contract: requests in a batch.
    pub const BATCH_SIZE: &str = "batch_size";
    /// Contract: `provider.generate`, `provider.stream`; the operation's own name in `record_operation`.
    pub const OPERATION: &str = "operation";
    /// Contract: registry name of the provider, on spans.
    pub const LLM_PROVIDER: &str = "llm.provider";
    /// Contract: the model, on spans.
    pub const LLM_MODEL: &str = "llm.model";
    /// GenAI: `chat`.
    pub const GEN_AI_OPERATION: &str = "gen_ai.operation.name";
    /// GenAI: the conventions' name of the provider.
    pub const GEN_AI_PROVIDER: &str = "gen_ai.provider.name";
    /// GenAI: the model asked for.
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    /// GenAI: the model that answered, where it says so.
    pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
    /// GenAI v1.41: `input` or `output`.
    pub const TOKEN_TYPE: &str = "gen_ai.token.type";
    /// GenAI, unreleased: `unknown`, since providers do not break usage down.
    pub const TOKEN_MODALITY: &str = "gen_ai.token.modality";
    /// Host of the endpoint.
    pub const SERVER_ADDRESS: &str = "server.address";
    /// Port of the endpoint.
    pub const SERVER_PORT: &str = "server.port";
    /// An [`ErrorCode`](llms_core::ErrorCode).
    pub const ERROR_TYPE: &str = "error.type";
}

use key::{
    BATCH_SIZE, ERROR_CODE, ERROR_TYPE, GEN_AI_OPERATION, GEN_AI_PROVIDER, MODEL, PROVIDER, REQUEST_MODEL,
    RESPONSE_MODEL, SERVER_ADDRESS, SERVER_PORT, TOKEN_MODALITY, TOKEN_TYPE, TOOL_NAME,
};

const ON: &[&str] = &[PROVIDER, MODEL];
const ON_ERROR: &[&str] = &[PROVIDER, MODEL, ERROR_CODE];
const GEN_AI: &[&str] =
    &[GEN_AI_OPERATION, GEN_AI_PROVIDER, REQUEST_MODEL, RESPONSE_MODEL, SERVER_ADDRESS, SERVER_PORT];
const GEN_AI_ERROR: &[&str] = &[
    GEN_AI_OPERATION,
    GEN_AI_PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
    ERROR_TYPE,
];
const GEN_AI_TYPE: &[&str] = &[
    GEN_AI_OPERATION,
    GEN_AI_PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
    TOKEN_TYPE,
];
const GEN_AI_MODALITY: &[&str] = &[
    GEN_AI_OPERATION,
    GEN_AI_PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
    TOKEN_MODALITY,
];

macro_rules! table {
    ($($family:ident $kind:ident $id:ident = $name:literal, $unit:literal, $buckets:expr, $attributes:expr,
       $description:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $description)]
            pub const $id: Instrument = Instrument {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                description: $description,
                buckets: $buckets,
                attributes: $attributes,
                family: Family::$family,
            };
        )*

        /// Every instrument, in the order of the documentation.
        pub const INSTRUMENTS: &[Instrument] = &[$($id),*];
    };
}

table! {
    Contract Counter REQUESTS = "llm.requests.total", "{request}", &[], ON,
        "calls begun, whatever became of them";
    Contract Counter SUCCESSFUL = "llm.generations.successful", "{generation}", &[], ON,
        "calls that ended with an answer, streamed or whole";
    Contract Counter FAILED = "llm.generations.failed", "{generation}", &[], ON_ERROR,
        "calls that ended without one, given up by the caller included";
    Contract Counter ERRORS = "llm.errors.total", "{error}", &[], ON_ERROR,
        "errors by code";
    Contract Counter INPUT_TOKENS = "llm.tokens.input", "{token}", &[], ON,
        "prompt tokens as the provider counts them, cached ones included";
    Contract Counter OUTPUT_TOKENS = "llm.tokens.output", "{token}", &[], ON,
        "generated tokens as the provider counts them, reasoning included";
    Contract Counter TOOL_CALLS = "llm.tool_calls.total", "{call}", &[], &[PROVIDER, MODEL, TOOL_NAME],
        "tool calls that answers asked for";
    Contract Counter BATCHES = "llm.batches.total", "{batch}", &[], &[PROVIDER, MODEL, BATCH_SIZE],
        "batches begun";
    Contract Counter STREAMS = "llm.streams.total", "{stream}", &[], ON,
        "streamed calls begun";
    Contract Histogram GENERATION_LATENCY = "llm.generation.latency", "s", SECONDS, ON_ERROR,
        "from call to whole answer, of calls that are not streamed; failed ones carry their code";
    Contract Histogram BATCH_LATENCY = "llm.batch.latency", "s", SECONDS, &[PROVIDER, MODEL, BATCH_SIZE],
        "from the start of a batch to its last answer";
    Contract Histogram STREAM_LATENCY = "llm.stream.latency", "s", SECONDS, ON_ERROR,
        "from call to the end of the stream, of streamed calls; failed ones carry their code";
    Contract UpDownCounter REQUESTS_ACTIVE = "llm.requests.active", "{request}", &[], ON,
        "calls running now";
    Contract UpDownCounter STREAMS_ACTIVE = "llm.streams.active", "{stream}", &[], ON,
        "streamed calls running now";
    GenAi141 Histogram DURATION_141 = "gen_ai.client.operation.duration", "s", SECONDS, GEN_AI_ERROR,
        "duration of the call, equal to its span's";
    GenAi141 Histogram TOKEN_USAGE_141 = "gen_ai.client.token.usage", "{token}", TOKENS, GEN_AI_TYPE,
        "input and output tokens of one call, where the provider reports them";
    GenAi141 Histogram FIRST_CHUNK_141 = "gen_ai.client.operation.time_to_first_chunk", "s", SECONDS, GEN_AI,
        "streamed calls: from the call to the first chunk with generated content";
    GenAi141 Histogram PER_CHUNK_141 = "gen_ai.client.operation.time_per_output_chunk", "s", SECONDS, GEN_AI,
        "streamed calls: from the end of one chunk to the end of the next, one value for each after the first";
    GenAiLatest Histogram DURATION = "gen_ai.client.inference.duration", "s", SECONDS, GEN_AI_ERROR,
        "duration of the call, equal to its span's";
    GenAiLatest Histogram FIRST_CHUNK = "gen_ai.client.inference.time_to_first_chunk", "s", SECONDS, GEN_AI,
        "streamed calls: from the call to the first chunk with generated content";
    GenAiLatest Histogram PER_CHUNK = "gen_ai.client.inference.time_per_output_chunk", "s", SECONDS, GEN_AI,
        "streamed calls: from the end of one chunk to the end of the next, one value for each after the first";
    GenAiLatest Counter USAGE_INPUT = "gen_ai.client.inference.usage.input_tokens", "{token}", &[], GEN_AI_MODALITY,
        "input tokens, cached ones included; 0 for a call without usage";
    GenAiLatest Counter USAGE_OUTPUT = "gen_ai.client.inference.usage.output_tokens", "{token}", &[],
        GEN_AI_MODALITY, "output tokens, reasoning included; 0 for a call without usage";
    GenAiLatest Counter USAGE_CACHE_READ = "gen_ai.client.inference.usage.cache_read.input_tokens", "{token}", &[],
        GEN_AI_MODALITY, "input tokens read from the provider's cache";
    GenAiLatest Counter USAGE_CACHE_WRITE = "gen_ai.client.inference.usage.cache_write.input_tokens", "{token}", &[],
        GEN_AI_MODALITY, "input tokens written to the provider's cache";
    GenAiLatest Counter USAGE_REASONING = "gen_ai.client.inference.usage.reasoning.output_tokens", "{token}", &[],
        GEN_AI_MODALITY, "output tokens spent on reasoning";
    GenAiLatest Histogram OPERATION_INPUT = "gen_ai.client.inference.operation.input_tokens", "{token}", TOKENS,
        GEN_AI_ERROR, "input tokens of one call, where the provider reports them";
    GenAiLatest Histogram OPERATION_OUTPUT = "gen_ai.client.inference.operation.output_tokens", "{token}", TOKENS,
        GEN_AI_ERROR, "output tokens of one call, where the provider reports them";
}

/// The table as Markdown, for the documentation.
pub fn markdown() -> String {
    use std::fmt::Write;

    let mut text =
        String::from("| name | kind | unit | attributes | value |\n| --- | --- | --- | --- | --- |\n");
    for i in INSTRUMENTS {
        let attributes: Vec<_> = i.attributes.iter().map(|a| format!("`{a}`")).collect();
        writeln!(
            text,
            "| `{}` | {} | `{}` | {} | {} |",
            i.name,
            i.kind.as_str(),
            i.unit,
            attributes.join(", "),
            i.description
        )
        .expect("invariant: a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_can_be_an_instrument() {
        for i in INSTRUMENTS {
            assert_eq!(i.buckets.is_empty(), i.kind != Kind::Histogram, "{}", i.name);
            assert!(i.buckets.windows(2).all(|w| w[0] < w[1]), "{}", i.name);
            assert!(!i.attributes.is_empty() && !i.description.is_empty(), "{}", i.name);
        }
        assert!(SECONDS.windows(2).all(|w| (w[1] / w[0] - 2.0).abs() < 1e-9));
        assert!(TOKENS.windows(2).all(|w| w[1] / w[0] == 4.0));
    }

    #[test]
    fn the_table_prints_as_markdown() {
        let text = markdown();
        assert_eq!(text.lines().count(), INSTRUMENTS.len() + 2);
        assert!(
            text.contains("| `llm.errors.total` | counter | `{error}` | `provider`, `model`, `error_code` |")
        );
    }
}
