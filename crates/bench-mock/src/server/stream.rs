//! A streamed answer: each chunk is put together before it is due, then sent in one write.

use std::time::Duration;

use llms_core::time::Timestamp;

use super::{
    conn::{After, Gone},
    dialect::{Api, Scene},
    respond::{Exchange, write_head},
    write::Framing,
};
use crate::{engine::Ticket, plan::Ending, profile::FaultKind};

/// Says the plan of `scene`, its service having started at `start`.
pub(super) async fn say(
    mut exchange: Exchange<'_>,
    api: Api,
    scene: &Scene<'_>,
    start: Timestamp,
    framing: Framing,
) -> Result<After, Gone> {
    let shared = exchange.shared;
    let plan = scene.plan;
    let close = exchange.close || framing == Framing::UntilClose;
    let due_at = |offset: u64| start + Duration::from_nanos(offset);
    let (head, mut speaker) = api.stream(scene);
    let coding = if framing == Framing::Chunked { "transfer-encoding: chunked\r\n" } else { "" };
    write_head(shared, &head, coding, close, &mut exchange.conn.buffers.wire);
    if scene.profile.role_chunk {
        speaker.preamble(scene, &mut exchange.conn.buffers.payload);
    }
    let mut waited = false;
    let first_at = plan.steps.first().map_or(plan.end_at, |s| s.at);
    if plan.head_at < first_at {
        let due = due_at(plan.head_at);
        exchange.conn.buffers.frame(framing);
        exchange.conn.until(shared, due).await?;
        exchange.ticket.status(head.status);
        waited |= exchange.flush(due, 0).await?;
    }
    let mut tokens = 0;
    for step in &plan.steps {
        let due = due_at(step.at);
        tokens += step.tokens;
        let buffers = &mut exchange.conn.buffers;
        speaker.step(scene, step, shared.wall(due), &mut buffers.payload);
        buffers.frame(framing);
        if buffers.wire.is_empty() {
            // The protocol holds this piece back until the next one.
            continue;
        }
        exchange.conn.until(shared, due).await?;
        exchange.ticket.status(head.status);
        waited |= exchange.flush(due, std::mem::take(&mut tokens)).await?;
    }
    let due = due_at(plan.end_at);
    let buffers = &mut exchange.conn.buffers;
    let mut after = if close { After::Close } else { After::KeepAlive };
    match plan.ending {
        Ending::Complete => speaker.finish(scene, shared.wall(due), &mut buffers.payload),
        Ending::Broken(FaultKind::StreamError) => speaker.error(scene, &mut buffers.payload),
        Ending::Broken(FaultKind::Truncate) => {}
        Ending::Broken(_) => after = After::Close,
    }
    buffers.frame(framing);
    if !matches!(plan.ending, Ending::Broken(FaultKind::Reset | FaultKind::Close)) {
        buffers.finish(framing);
    }
    exchange.conn.until(shared, due).await?;
    if !exchange.conn.buffers.wire.is_empty() {
        exchange.ticket.status(head.status);
        waited |= exchange.flush(due, tokens).await?;
    }
    if plan.ending == Ending::Broken(FaultKind::Reset) {
        exchange.conn.reset();
    }
    // A client that reads too slowly keeps its slot until it has everything.
    let free_at = if waited { due.max(shared.clock.now()) } else { due };
    exchange.ticket.end(Ticket::outcome(plan.ending), free_at);
    Ok(after)
}
