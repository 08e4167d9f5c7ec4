//! From a chat request to its answer: refused, whole, or streamed.

use std::{io::Write as _, sync::Arc};

use super::{
    Shared,
    conn::{After, Connection, Gone},
    dialect::{Again, Limits, Reply, Scene, http_date},
    exchange::Exchange,
    intake::take_in,
    link::Link,
    read::Request,
    route::Target,
    stream,
    write::Framing,
};
use crate::{
    engine::{Admission, Decision},
    pace::Times,
    plan::Ending,
    profile::FaultKind,
    situation::Situation,
    truth::TruthOutcome,
};

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        529 => "Site is overloaded",
        _ => "Unknown",
    }
}

/// Begins an answer: status line and headers, in the wire buffer or with the stream. `length` is that of the body
/// where it is known.
pub(super) fn begin(
    shared: &Shared,
    conn: &mut Connection,
    reply: &Reply,
    length: Option<usize>,
    framing: Framing,
    close: bool,
) {
    let date = http_date(shared.wall(shared.clock.now()));
    if let Link::Stream(stream) = &mut conn.link {
        return stream.begin(reply, date, length);
    }
    let out = &mut conn.buffers.wire;
    let connection = if close { "close" } else { "keep-alive" };
    let _ = write!(
        out,
        "HTTP/1.1 {} {}\r\ndate: {date}\r\ncontent-type: {}\r\n",
        reply.status,
        reason(reply.status),
        reply.content_type,
    );
    let _ = match length {
        Some(length) => write!(out, "content-length: {length}\r\n"),
        None if framing == Framing::Chunked => write!(out, "transfer-encoding: chunked\r\n"),
        None => Ok(()),
    };
    let _ = write!(out, "connection: {connection}\r\nserver: llms-bench-mock (simulated)\r\n");
    for (name, value) in &reply.headers {
        // A request id given by the client comes back in a header: no line may be smuggled in.
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        let _ = write!(out, "{name}: {value}\r\n");
    }
    out.extend_from_slice(b"\r\n");
    conn.buffers.end_head();
}

pub(super) fn after(close: bool) -> After {
    if close { After::Close } else { After::KeepAlive }
}

/// Something that is no HTTP request: says so and closes.
pub(super) async fn refuse_http(
    shared: &Shared,
    conn: &mut Connection,
    status: u16,
    message: &str,
) -> Result<After, Gone> {
    let body = format!("{message}\n").into_bytes();
    let reply = Reply { status, content_type: "text/plain", body, ..Reply::default() };
    begin(shared, conn, &reply, Some(reply.body.len()), Framing::UntilClose, true);
    conn.buffers.wire.extend_from_slice(&reply.body);
    conn.flush().await?;
    Ok(After::Close)
}

/// An answer that is no chat: no delays, no truth.
pub(super) async fn at_once(
    shared: &Shared,
    conn: &mut Connection,
    request: &Request,
    reply: &Reply,
    head_only: bool,
) -> Result<After, Gone> {
    begin(shared, conn, reply, Some(reply.body.len()), Framing::UntilClose, request.close);
    if !head_only {
        conn.buffers.wire.extend_from_slice(&reply.body);
    }
    conn.flush().await?;
    Ok(after(request.close))
}

/// Answers a chat request.
pub(super) async fn chat(
    shared: &Arc<Shared>,
    conn: &mut Connection,
    request: Request,
    target: &Target,
) -> Result<After, Gone> {
    let (api, id) = (target.api, request.id.as_deref());
    let own_id = || format!("req_{:016x}", request.arrival.as_nanos() ^ conn.number << 48);
    let first_id = id.map_or_else(own_id, str::to_owned);
    let (ask, engine) = match take_in(shared, &request, target, &first_id) {
        Ok(taken) => taken,
        Err(reply) if reply.status == 200 => return at_once(shared, conn, &request, &reply, false).await,
        Err(reply) => {
            let engine = shared.engines.of(api.protocol());
            let mut ticket = engine.refused(first_id, conn.number, request.arrival, &shared.clock);
            ticket.stamped(conn.link.stamps());
            let exchange = Exchange::new(shared, conn, ticket, request.close);
            let due = request.arrival;
            return exchange.reply(&reply, due, 0, TruthOutcome::Refused).await;
        }
    };
    let Admission { decision, profile, key, limits, mut ticket } =
        engine.admit(&ask, id, conn.number, request.arrival, &shared.clock);
    ticket.stamped(conn.link.stamps());
    let created = shared.wall(request.arrival);
    let mut limits = Limits {
        levels: limits,
        refused: None,
        input_tokens: ask.input_tokens,
        azure: target.azure,
        at: created,
    };
    let (plan, entry) = match decision {
        Decision::Serve(plan, entry) => (plan, entry),
        Decision::Refuse(refusal) => {
            let mut again = Again { after: refusal.retry_after, short: refusal.short };
            if refusal.kind == FaultKind::RateLimit {
                let wait = refusal.retry_after.unwrap_or_default();
                limits.refused = Some(wait);
                again.short = again.short.or_else(|| limits.used_up(api.protocol(), wait));
            }
            let mut reply = target.refusal(refusal.kind, &ask.model, ticket.request_id(), again);
            if let Some((kind, status)) = ask.situation.and_then(Situation::refusal)
                && kind == refusal.kind
            {
                reply.status = status;
            }
            limits.add(api.protocol(), &mut reply);
            let exchange = Exchange::new(shared, conn, ticket, request.close).cut(&profile.profile, key);
            return exchange.reply(&reply, refusal.at, 0, TruthOutcome::Refused).await;
        }
    };
    let (permit, start) = conn.unless_gone(entry.wait()).await?;
    ticket.begin(permit, start, &profile.profile, &ask, plan.steps.len());
    let request_id = ticket.request_id().to_owned();
    let times = Times::of(&plan);
    let scene = Scene {
        request_id: &request_id,
        key,
        ask: &ask,
        plan: &plan,
        times: &times,
        profile: &profile.profile,
        created,
        queued: start.saturating_since(request.arrival),
        azure: target.azure,
    };
    let framing = conn.framing(request.chunks);
    let exchange = Exchange::new(shared, conn, ticket, request.close).cut(&profile.profile, key).serve(
        start,
        engine.pace(&profile.profile, &plan),
        limits,
    );
    if let Ending::Broken(kind @ (FaultKind::Timeout | FaultKind::Network)) = plan.ending {
        return exchange.fail(api, kind, &scene).await;
    }
    if ask.stream {
        return stream::say(exchange, api, &scene, framing).await;
    }
    exchange.whole(api, &scene).await
}
