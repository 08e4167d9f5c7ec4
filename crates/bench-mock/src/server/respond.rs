//! From a chat request to its answer: refused, whole, or streamed.

use std::{io::Write as _, sync::Arc};

use llms_core::time::Timestamp;

use super::{
    Shared,
    conn::{After, Connection, Gone, authorized},
    dialect::{Api, Reply, Scene, http_date},
    read::Request,
    route::Target,
    stream,
};
use crate::{
    engine::{Admission, Decision, Ticket},
    plan::Ending,
    profile::FaultKind,
    truth::TruthOutcome,
};

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
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

/// Writes status line and headers; `framing` is the header that tells how the body ends.
pub(super) fn write_head(shared: &Shared, reply: &Reply, framing: &str, close: bool, out: &mut Vec<u8>) {
    let connection = if close { "close" } else { "keep-alive" };
    let _ = write!(
        out,
        "HTTP/1.1 {} {}\r\ndate: {}\r\ncontent-type: {}\r\n{framing}connection: {connection}\r\n\
         server: llms-bench-mock (simulated)\r\n",
        reply.status,
        reason(reply.status),
        http_date(shared.wall(shared.clock.now())),
        reply.content_type,
    );
    for (name, value) in &reply.headers {
        // A request id given by the client comes back in a header: no line may be smuggled in.
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        let _ = write!(out, "{name}: {value}\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_reply(shared: &Shared, conn: &mut Connection, reply: &Reply, close: bool) {
    let length = format!("content-length: {}\r\n", reply.body.len());
    write_head(shared, reply, &length, close, &mut conn.buffers.wire);
}

fn after(close: bool) -> After {
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
    write_reply(shared, conn, &reply, true);
    conn.buffers.wire.extend_from_slice(&reply.body);
    conn.flush(0).await?;
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
    write_reply(shared, conn, reply, request.close);
    if !head_only {
        conn.buffers.wire.extend_from_slice(&reply.body);
    }
    conn.flush(0).await?;
    Ok(after(request.close))
}

/// Answers a chat request.
pub(super) async fn chat(
    shared: &Arc<Shared>,
    conn: &mut Connection,
    request: Request,
    target: &Target,
) -> Result<After, Gone> {
    let (api, protocol) = (target.api, target.api.protocol());
    let id = request.id.as_deref();
    if !authorized(shared, &request) {
        let reply = api.refusal(FaultKind::Auth, "", id.unwrap_or("req_unauthorized"), None);
        return at_once(shared, conn, &request, &reply, false).await;
    }
    let ask = match api.parse(&request, target) {
        Ok(ask) => ask,
        Err(reply) => return at_once(shared, conn, &request, &reply, false).await,
    };
    let Some(engine) = shared.engines.find(protocol, &ask.model) else {
        let reply = api.refusal(FaultKind::NotFound, &ask.model, id.unwrap_or("req_unknown"), None);
        return at_once(shared, conn, &request, &reply, false).await;
    };
    let Admission { decision, profile, key, mut ticket } =
        engine.admit(&ask, id, conn.number, request.arrival, &shared.clock);
    let (plan, entry) = match decision {
        Decision::Serve(plan, entry) => (plan, entry),
        Decision::Refuse(refusal) => {
            let reply = api.refusal(refusal.kind, &ask.model, ticket.request_id(), refusal.retry_after);
            let exchange = Exchange { shared, conn, ticket, close: request.close };
            return exchange.reply(&reply, refusal.at, 0, TruthOutcome::Refused, refusal.at).await;
        }
    };
    let (permit, start) = conn.unless_gone(entry.wait()).await?;
    ticket.begin(permit, start, &profile.profile, &ask, plan.steps.len());
    let request_id = ticket.request_id().to_owned();
    let scene = Scene {
        request_id: &request_id,
        key,
        ask: &ask,
        plan: &plan,
        profile: &profile.profile,
        created: shared.wall(request.arrival),
        queued: start.saturating_since(request.arrival),
        azure: target.azure,
    };
    let exchange = Exchange { shared, conn, ticket, close: request.close };
    if let Ending::Broken(kind @ (FaultKind::Timeout | FaultKind::Network)) = plan.ending {
        return exchange.fail(api, kind, &scene, start).await;
    }
    if ask.stream {
        let framing =
            if request.chunks { super::write::Framing::Chunked } else { super::write::Framing::UntilClose };
        return stream::say(exchange, api, &scene, start, framing).await;
    }
    exchange.whole(api, &scene, start).await
}

/// A request being answered on its connection.
pub(super) struct Exchange<'a> {
    pub shared: &'a Shared,
    pub conn: &'a mut Connection,
    pub ticket: Ticket,
    pub close: bool,
}

impl Exchange<'_> {
    /// Sends what lies in the wire buffer, due at `due`, and logs it; whether the client had to be waited for.
    pub(super) async fn flush(&mut self, due: Timestamp, tokens: u32) -> Result<bool, Gone> {
        let (write, waited) = self.conn.flush(tokens).await?;
        self.ticket.wrote(due, write);
        Ok(waited)
    }

    /// Sends a whole reply at `due`; the slot is free as of `free_at`.
    async fn reply(
        mut self,
        reply: &Reply,
        due: Timestamp,
        tokens: u32,
        outcome: TruthOutcome,
        free_at: Timestamp,
    ) -> Result<After, Gone> {
        write_reply(self.shared, self.conn, reply, self.close);
        self.conn.buffers.wire.extend_from_slice(&reply.body);
        self.conn.until(self.shared, due).await?;
        self.ticket.status(reply.status);
        self.flush(due, tokens).await?;
        self.ticket.end(outcome, free_at);
        Ok(after(self.close))
    }

    async fn whole(mut self, api: Api, scene: &Scene<'_>, start: Timestamp) -> Result<After, Gone> {
        let due = start + std::time::Duration::from_nanos(scene.plan.end_at);
        let mut reply = api.whole(scene, self.shared.wall(due));
        let mut outcome = TruthOutcome::Complete;
        let mut tokens = scene.plan.sent_tokens;
        match scene.plan.ending {
            Ending::Complete => {}
            Ending::Broken(FaultKind::StreamError) => {
                return self.fail(api, FaultKind::Server, scene, start).await;
            }
            Ending::Broken(FaultKind::Truncate) => {
                // Half of the body, politely: its length is announced.
                reply.body.truncate(reply.body.len() / 2);
                (outcome, tokens) = (TruthOutcome::Broken, 0);
            }
            Ending::Broken(kind) => {
                // The head promises more than comes.
                write_reply(self.shared, self.conn, &reply, true);
                self.conn.buffers.wire.extend_from_slice(&reply.body[..reply.body.len() / 2]);
                self.conn.until(self.shared, due).await?;
                self.ticket.status(200);
                self.flush(due, 0).await?;
                if kind == FaultKind::Reset {
                    self.conn.reset();
                }
                self.ticket.end(TruthOutcome::Broken, due);
                return Ok(After::Close);
            }
        }
        self.reply(&reply, due, tokens, outcome, due).await
    }

    /// Ends in a refusal after all, or without a word.
    async fn fail(
        self,
        api: Api,
        kind: FaultKind,
        scene: &Scene<'_>,
        start: Timestamp,
    ) -> Result<After, Gone> {
        let due = start + std::time::Duration::from_nanos(scene.plan.end_at);
        if kind == FaultKind::Network {
            self.conn.until(self.shared, due).await?;
            self.conn.reset();
            self.ticket.end(TruthOutcome::Broken, due);
            return Ok(After::Close);
        }
        let reply = api.refusal(kind, &scene.ask.model, scene.request_id, None);
        self.reply(&reply, due, 0, TruthOutcome::Broken, due).await
    }
}
