//! Counting the tokens of a prompt before it is sent: `POST /v1/messages/count_tokens`, free of charge, with a rate
//! limit of its own. The vendor calls the number an estimate: the answer's own usage may differ by a few tokens.
//!
//! [`Codec::count_tokens_request`] and [`Codec::count_tokens_answer`] are pure; [`count_tokens`] puts a transport
//! between them. Nothing is counted here: that needs the vendor's vocabulary.

use std::future::poll_fn;

use http::HeaderMap;
use llms_core::{
    CallContext, CallPhase, ChatRequest, ErrorCode, Result,
    wire::{Prepared, Transport},
};

use crate::{Codec, error, request, wire::TokenCount};

const OP: &str = "anthropic.count_tokens";
/// Longest answer read, in bytes: a number in an object, or a refusal.
const MAX_BODY: usize = 1 << 20;

impl Codec {
    /// The request that asks how many input tokens `request` has: messages, system, tools, thinking and format go into
    /// it, limits and sampling do not.
    ///
    /// # Errors
    /// `invalid_request` naming the field, where [`encode`](llms_core::wire::Codec::encode) would give it too.
    ///
    /// # Source
    /// <https://platform.claude.com/docs/en/api/messages/count_tokens>
    pub fn count_tokens_request(&self, request: &ChatRequest) -> Result<Prepared> {
        request::encode_count(self.config(), request)
    }

    /// The number of input tokens that the answer to [`Self::count_tokens_request`] tells: tools and system prompt
    /// included, cached or not.
    ///
    /// # Errors
    /// The classified refusal for a status outside 200–299 (`not_found` where a compatible server cannot count);
    /// `malformed_response` where there is no number.
    pub fn count_tokens_answer(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<u64> {
        let config = self.config();
        if !(200..300).contains(&status) {
            return Err(error::classify(config, &config.count_tokens, OP, status, headers, body));
        }
        let count: TokenCount = serde_json::from_slice(body)
            .map_err(|e| error::malformed(config, OP, "an object with input_tokens", &e))?;
        Ok(count.input_tokens)
    }
}

/// Asks the service how many input tokens `request` has. Bounded by the deadline of `ctx`, else by the timeout of the
/// configuration.
///
/// # Errors
/// Those of [`Codec::count_tokens_request`] and [`Codec::count_tokens_answer`]; those of the transport; `timeout` and
/// `context_canceled` as the context says.
pub async fn count_tokens<T: Transport + ?Sized>(
    codec: &Codec,
    transport: &T,
    request: &ChatRequest,
    ctx: &CallContext,
) -> Result<u64> {
    let prepared = codec.count_tokens_request(request)?;
    let ctx = match ctx.deadline {
        Some(_) => ctx.clone(),
        None => ctx.clone().with_timeout(codec.config().timeout()),
    };
    let (status, headers, body) = ctx
        .run(OP, async {
            let mut reply = transport.send(prepared, &ctx).await?;
            let mut body = Vec::new();
            while poll_fn(|cx| reply.body.poll_read(cx, &mut body)).await?.is_some() {
                if body.len() > MAX_BODY {
                    let message = format!("expected a body of at most {MAX_BODY} bytes, got a longer one");
                    return Err(
                        error::new(OP, ErrorCode::MalformedResponse, message).with_phase(CallPhase::Body)
                    );
                }
            }
            Ok((reply.status, reply.headers, body))
        })
        .await?;
    codec.count_tokens_answer(status, &headers, &body)
}
