//! A streamed answer: each chunk is put together before it is due, then sent in one write, unless the profile's wire
//! settings have it otherwise.

use std::time::Duration;

use super::{
    conn::{After, Gone},
    dialect::{Api, Scene},
    exchange::Exchange,
    respond::{after, begin},
    write::{Framing, ends_write},
};
use crate::{
    engine::Ticket,
    plan::Ending,
    profile::{FaultKind, SlowReader},
    truth::TruthOutcome,
};

/// How long a client may make a server wait that kills slow readers.
const PATIENCE: Duration = Duration::from_millis(500);

/// Says the plan of `scene`.
pub(super) async fn say(
    mut exchange: Exchange<'_>,
    api: Api,
    scene: &Scene<'_>,
    framing: Framing,
) -> Result<After, Gone> {
    let shared = exchange.shared;
    let (plan, wire) = (scene.plan, &scene.profile.wire);
    let close = exchange.close || framing == Framing::UntilClose;
    if let Some(bytes) = wire.send_buffer {
        exchange.conn.link.send_buffer(bytes as usize);
    }
    let mut skipped = false;
    let (head_due, real) = exchange.due(plan.head_at);
    scene.times.set_head(real);
    let (mut head, mut speaker) = api.stream(scene);
    exchange.limited(api, &mut head);
    begin(shared, exchange.conn, &head, None, framing, close);
    if scene.profile.role_chunk {
        speaker.preamble(scene, &mut exchange.conn.buffers.payload);
    }
    let first_at = plan.steps.first().map_or(plan.end_at, |s| s.at);
    let mut begun = plan.head_at < first_at;
    if begun {
        exchange.conn.buffers.frame(framing, 0);
        exchange.flush(head_due, head.status).await?;
    }
    let mut tokens = 0;
    for (i, step) in plan.steps.iter().enumerate() {
        let (due, real) = exchange.due(step.at);
        if i == 0 {
            scene.times.set_first(real);
        }
        // Asked of what was written before; one that is behind leaves out what is due, and looks again when it is not.
        if wire.slow_reader == SlowReader::Drop && begun && (skipped || exchange.take_waited()) {
            skipped = exchange.is_late(due);
            if skipped {
                continue;
            }
        }
        tokens += step.tokens;
        let buffers = &mut exchange.conn.buffers;
        speaker.step(scene, step, shared.wall(due), &mut buffers.payload);
        if !buffers.payload.is_empty() {
            buffers.frame(framing, std::mem::take(&mut tokens));
        }
        if buffers.wire.is_empty() || !ends_write(wire, i) {
            // Until the next one: the protocol holds this piece back, or several share a write.
            exchange.conn.until(shared, due).await?;
            continue;
        }
        begun = true;
        if wire.slow_reader == SlowReader::Kill {
            let until_due = due.saturating_since(exchange.shared.clock.now());
            let flushed = tokio::time::timeout(until_due + PATIENCE, exchange.flush(due, head.status)).await;
            let Ok(flushed) = flushed else {
                exchange.conn.link.reset();
                exchange.end(TruthOutcome::Broken, due);
                return Ok(After::Cut);
            };
            flushed?;
            continue;
        }
        exchange.flush(due, head.status).await?;
        if wire.slow_reader == SlowReader::Pause && exchange.take_waited() {
            exchange.postpone(due);
        }
    }
    let (due, real) = exchange.due(plan.end_at);
    scene.times.set_end(real);
    let buffers = &mut exchange.conn.buffers;
    match plan.ending {
        Ending::Complete => speaker.finish(scene, shared.wall(due), &mut buffers.payload),
        Ending::Broken(FaultKind::StreamError) => speaker.error(scene, &mut buffers.payload),
        Ending::Broken(_) => {}
    }
    buffers.frame(framing, tokens);
    if !matches!(plan.ending, Ending::Broken(FaultKind::Reset | FaultKind::Close)) {
        buffers.finish(framing);
    }
    if begun && exchange.conn.buffers.wire.is_empty() {
        exchange.conn.until(shared, due).await?;
    } else {
        exchange.flush(due, head.status).await?;
    }
    let after = match plan.ending {
        Ending::Broken(FaultKind::Reset) => {
            exchange.conn.link.reset();
            After::Cut
        }
        Ending::Broken(FaultKind::Close) => {
            exchange.conn.link.cut();
            After::Cut
        }
        _ => after(close),
    };
    exchange.end(Ticket::outcome(plan.ending), due);
    Ok(after)
}
