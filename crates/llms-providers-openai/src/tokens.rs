//! Counting the tokens of a prompt before it is sent: `POST …/responses/input_tokens`, free of charge.
//!
//! Beside the flow: [`Codec::count_tokens_request`] and [`Codec::count_tokens_answer`] are pure; [`count_tokens`] puts a
//! transport between them. Only for the Responses API; no other has such a question.

use std::future::poll_fn;

use http::{HeaderMap, Uri};
use llms_core::{
    CallContext, CallPhase, ChatRequest, ErrorCode, Result,
    wire::{Prepared, Transport},
};
use serde::Deserialize;

use crate::{api::Api, codec::Codec, error, request};

const OP: &str = "openai.count_tokens";
/// Largest answer read.
const MAX_BODY: usize = 1 << 20;

impl Codec {
    /// The question how many tokens this request has: what makes its prompt, without limits and sampling.
    ///
    /// # Errors
    /// `invalid_config` when another API than that of responses is configured; `invalid_request` naming the field that
    /// the wire cannot say.
    ///
    /// # Source
    /// <https://platform.openai.com/docs/api-reference/responses/input-tokens>
    pub fn count_tokens_request(&self, request: &ChatRequest) -> Result<Prepared> {
        let config = self.config();
        if config.api != Api::Responses {
            let message = format!("expected provider_specific.api = \"responses\", found `{}`", config.api);
            return Err(error::new(OP, ErrorCode::InvalidConfig, message).with_phase(CallPhase::Prepare));
        }
        let endpoint = config.endpoint.to_string();
        let (path, query) = endpoint.split_once('?').map_or((&*endpoint, None), |(p, q)| (p, Some(q)));
        let uri =
            format!("{path}/input_tokens{}{}", if query.is_some() { "?" } else { "" }, query.unwrap_or(""));
        let uri: Uri = uri.parse().expect("invariant: an address with one more segment is an address");
        request::encode_count(config, uri, request)
    }

    /// The number of input tokens that the answer to [`Self::count_tokens_request`] tells.
    ///
    /// # Errors
    /// The classified refusal; `malformed_response`.
    pub fn count_tokens_answer(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<u64> {
        #[derive(Deserialize)]
        struct Count {
            input_tokens: u64,
        }
        if !(200..300).contains(&status) {
            return Err(error::classify(self.config(), status, headers, body));
        }
        let count: Count = serde_json::from_slice(body)
            .map_err(|e| error::malformed(self.config(), OP, "a count of tokens", &e))?;
        Ok(count.input_tokens)
    }
}

/// Asks the service how many input tokens `request` has.
///
/// # Errors
/// Those of [`Codec::count_tokens_request`] and [`Codec::count_tokens_answer`]; those of the transport; cancellation and
/// the deadline of `ctx`, or without one the configured timeout.
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
                    let error = error::new(OP, ErrorCode::MalformedResponse, message);
                    return Err(error.with_phase(CallPhase::Body));
                }
            }
            Ok((reply.status, reply.headers, body))
        })
        .await?;
    codec.count_tokens_answer(status, &headers, &body)
}
