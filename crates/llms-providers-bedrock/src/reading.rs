//! One event stream, from the SDK's receiver to the sink: the same loop for ConverseStream and for
//! InvokeModelWithResponseStream.
//!
//! What the events mean is the decoder's affair ([`Decode`]); here are the order of reads, the stamps, the end of the
//! body and what its absence means.

use std::{error::Error as StdError, future::Future, future::poll_fn, pin::pin, time::Duration};

use aws_sdk_bedrockruntime::{error::SdkError, primitives::event_stream::EventReceiver};
use aws_smithy_types::event_stream::RawMessage;
use llms_core::{
    CallContext, EventSink, Outcome, Result, Stamp,
    wire::{
        progress::{Watch, watched},
        refusal::clean_names,
    },
};

use crate::{call::Call, error, hooks::Facts, model::settle};

/// How long a server may take to end the body after the last event before the connection is dropped.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How many bytes it may still send then.
const MAX_REST: u64 = 1 << 20;

/// Reads the events of one stream.
pub(crate) trait Decode: Send {
    /// What the SDK yields.
    type Item: Send;
    /// The event that ends an answer, for the error of a stream without it.
    fn terminal(&self) -> &'static str;
    /// Pushes what one event means, with the stamp of the read that completed its frame.
    fn item(&mut self, item: Self::Item, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()>;
    /// Whether the terminal event has come: the answer is complete.
    fn is_stopped(&self) -> bool;
    /// Whether nothing is to come any more.
    fn is_complete(&self) -> bool;
    /// How the stream ended; `None` without the terminal event.
    fn outcome(&self) -> Option<Outcome>;
    /// What the service says beside the answer.
    fn facts(&self) -> &Facts;
}

/// Opens a stream and reads it to its end.
pub(crate) async fn drive<D, E, F>(
    call: &Call,
    ctx: &CallContext,
    sink: &mut dyn EventSink,
    mut decoder: D,
    open: F,
) -> Result<Outcome>
where
    D: Decode,
    E: StdError + Send + Sync + 'static,
    F: Future<Output = Result<EventReceiver<D::Item, E>>> + Send,
{
    let mut room: Option<Watch<'_>> = None;
    let sink = watched(sink, ctx, &mut room);
    let mut events = None;
    let read = ctx
        .run("bedrock.stream", async {
            let events = events.insert(open.await?);
            read(events, call, &mut decoder, sink).await
        })
        .await;
    if let (Some(events), Ok(true)) = (&mut events, &read) {
        drain(events, call).await;
    }
    let outcome =
        read.and_then(|_| decoder.outcome().ok_or_else(|| error::truncated(call, decoder.terminal())));
    let outcome = outcome.map(|mut outcome| {
        let Outcome { id, model, finish_reason, .. } = &mut outcome;
        clean_names(id, model, finish_reason, call.config().secrets());
        outcome
    });
    call.end();
    ctx.emit_hooks(|report| decoder.facts().report(call.config(), report));
    settle(call, outcome)
}

/// Reads until nothing more is to come (`true`) or the end of the body (`false`).
async fn read<D, E>(
    events: &mut EventReceiver<D::Item, E>,
    call: &Call,
    decoder: &mut D,
    sink: &mut dyn EventSink,
) -> Result<bool>
where
    D: Decode,
    E: StdError + Send + Sync + 'static,
{
    while !decoder.is_complete() {
        match next(events, call, sink).await {
            Ok(Some(item)) => {
                decoder.item(item, call.next_stamp(), sink).map_err(|e| error::with_id(call, e))?;
            }
            Ok(None) => return Ok(false),
            // The answer is complete; that the rest is missing costs the usage, not the answer.
            Err(e) if decoder.is_stopped() && !error::is_exception(&e) => return Ok(false),
            Err(e) => return Err(error::of_stream(call, e)),
        }
    }
    Ok(true)
}

/// The next event, asking the sink before each read that it takes.
async fn next<T, E>(
    events: &mut EventReceiver<T, E>,
    call: &Call,
    sink: &mut dyn EventSink,
) -> Result<Option<T>, SdkError<E, RawMessage>> {
    let mut next = pin!(events.recv());
    poll_fn(|cx| call.poll_with(cx, sink, |cx| next.as_mut().poll(cx))).await
}

/// Reads to the end of the body after the last event, so that the connection can be reused. Whatever goes wrong
/// here, a deadline included, costs the connection, not the answer.
async fn drain<T, E>(events: &mut EventReceiver<T, E>, call: &Call) {
    call.open_gate();
    let limit = call.bytes() + MAX_REST;
    let limited = CallContext { observer: None, ..call.ctx().ending_within(CLOSE_GRACE) };
    let rest = async {
        while let Ok(Some(_)) = events.recv().await {
            call.next_stamp();
            if call.bytes() > limit {
                break;
            }
        }
        Ok(())
    };
    let _ = limited.run("bedrock.drain", rest).await;
}
