//! InvokeModel and InvokeModelWithResponseStream: the bodies that the models' makers defined, one module a family.
//!
//! ```text
//! model id or setting -> Family (family.rs)
//! ChatRequest -> body and headers (request.rs, <family>.rs; prompts of the text-only ones in plain.rs)
//! whole body, or the chunks of a stream -> answer (answer.rs, stream.rs, <family>.rs)
//! ```
//! What Bedrock adds to every family's body (`amazon-bedrock-invocationMetrics`, guardrail action and trace) and to the
//! headers (token counts) is read in `answer.rs`. A family that cannot say a part of a request refuses it by name.

mod answer;
mod anthropic;
mod cohere;
mod family;
mod llama;
mod mistral;
mod nova;
mod plain;
mod request;
mod stream;
mod titan;

pub(crate) use answer::whole;
pub use family::Family;
pub(crate) use request::Invocation;
pub(crate) use stream::Decoder;
