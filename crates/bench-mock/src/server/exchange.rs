//! One answer on its way: when its pieces are due, and the record of when they were sent.

use std::time::Duration;

use llms_core::time::Timestamp;

use super::{
    Shared,
    conn::{After, Connection, Gone},
    dialect::{Again, Api, Limits, Reply, Scene},
    pieces::Cutter,
    respond::{after, begin},
    write::Framing,
};
use crate::{
    engine::Ticket,
    pace::Pace,
    plan::Ending,
    profile::{FaultKind, Profile},
    truth::TruthOutcome,
};

/// A request being answered on its connection.
pub(super) struct Exchange<'a> {
    pub shared: &'a Shared,
    pub conn: &'a mut Connection,
    pub ticket: Ticket,
    pub close: bool,
    /// When service started.
    start: Timestamp,
    pace: Option<Pace>,
    limits: Option<Limits>,
    cutter: Option<Cutter>,
    /// When the next piece may be sent: the one before, and its pause.
    clear_at: Timestamp,
    /// Whether the client had to be waited for since it was asked last.
    waited: bool,
    /// Whether it had to be waited for at all.
    kept_waiting: bool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(shared: &'a Shared, conn: &'a mut Connection, ticket: Ticket, close: bool) -> Self {
        Self {
            shared,
            conn,
            ticket,
            close,
            start: Timestamp::ZERO,
            pace: None,
            limits: None,
            cutter: None,
            clear_at: Timestamp::ZERO,
            waited: false,
            kept_waiting: false,
        }
    }

    /// Cuts writes as the profile says.
    pub(super) fn cut(mut self, profile: &Profile, key: u64) -> Self {
        self.cutter = Cutter::of(profile, key);
        self
    }

    /// Service started.
    pub(super) fn serve(mut self, start: Timestamp, pace: Pace, limits: Limits) -> Self {
        (self.start, self.pace, self.limits) = (start, Some(pace), Some(limits));
        self
    }

    /// When what is planned at this offset is due: the instant, and its real offset in ns. Asked in order, each when
    /// the one before has been sent.
    pub(super) fn due(&mut self, planned: u64) -> (Timestamp, u64) {
        let real = self.pace.as_mut().map_or(planned, |pace| pace.real(planned));
        (self.start + Duration::from_nanos(real), real)
    }

    /// A client that reads too slowly is waited for: what is not made yet comes as much later as it made wait.
    pub(super) fn postpone(&mut self, due: Timestamp) {
        self.start = self.start + self.shared.clock.now().saturating_since(due);
    }

    /// Whether what is due at `due` would leave late by more than a machine's own hesitation.
    pub(super) fn is_late(&self, due: Timestamp) -> bool {
        self.shared.clock.now().saturating_since(due) > Duration::from_millis(20)
    }

    /// Whether the client has been waited for since this was asked last.
    pub(super) fn take_waited(&mut self) -> bool {
        self.kept_waiting |= self.waited;
        std::mem::take(&mut self.waited)
    }

    /// Adds the headers that tell how the rate limits stand.
    pub(super) fn limited(&self, api: Api, reply: &mut Reply) {
        if let Some(limits) = &self.limits {
            limits.add(api.protocol(), reply);
        }
    }

    /// Sends what lies in the wire buffer, due at `due`, and logs it. With a status it goes on record with the first
    /// piece.
    pub(super) async fn flush(&mut self, due: Timestamp, status: u16) -> Result<(), Gone> {
        let Some(cutter) = &mut self.cutter else {
            self.conn.until(self.shared, due).await?;
            self.ticket.status(status);
            let tokens = self.conn.buffers.tokens(0, self.conn.buffers.wire.len());
            let (write, waited) = self.conn.link.write(&self.conn.buffers.wire, tokens).await?;
            self.conn.buffers.clear();
            self.waited |= waited;
            self.ticket.wrote(due, write);
            return Ok(());
        };
        let mut from = 0;
        for &(to, pause) in cutter.cut(self.conn.buffers.parts()) {
            let target = due.max(self.clear_at);
            self.conn.until(self.shared, target).await?;
            self.ticket.status(status);
            let tokens = self.conn.buffers.tokens(from, to);
            let (write, waited) = self.conn.link.write(&self.conn.buffers.wire[from..to], tokens).await?;
            self.waited |= waited;
            self.ticket.wrote(target, write);
            (self.clear_at, from) = (target + pause, to);
        }
        self.conn.buffers.clear();
        Ok(())
    }

    /// The answer is over, as was due at `due`. A client that reads too slowly, or is made to by the pieces, keeps its
    /// slot until it has everything.
    pub(super) fn end(self, outcome: TruthOutcome, due: Timestamp) {
        let late = self.waited || self.kept_waiting || self.clear_at > due;
        self.ticket.end(outcome, if late { due.max(self.shared.clock.now()) } else { due });
    }

    /// Sends a whole reply at `due`.
    pub(super) async fn reply(
        mut self,
        reply: &Reply,
        due: Timestamp,
        tokens: u32,
        outcome: TruthOutcome,
    ) -> Result<After, Gone> {
        let close = self.close;
        self.put(reply, reply.body.len(), close);
        self.conn.buffers.mark(tokens);
        self.flush(due, reply.status).await?;
        self.end(outcome, due);
        Ok(after(close))
    }

    /// Puts head and the first `sent` bytes of the body on the wire.
    fn put(&mut self, reply: &Reply, sent: usize, close: bool) {
        let length = Some(reply.body.len());
        begin(self.shared, self.conn, reply, length, Framing::UntilClose, close);
        self.conn.buffers.wire.extend_from_slice(&reply.body[..sent]);
    }

    /// Waits for the end of the plan, chunk by chunk where others set the pace; when it was due.
    async fn reach_end(&mut self, scene: &Scene<'_>) -> Result<Timestamp, Gone> {
        if self.pace.as_ref().is_some_and(|pace| !pace.is_free()) {
            for (i, step) in scene.plan.steps.iter().enumerate() {
                let (due, real) = self.due(step.at);
                if i == 0 {
                    scene.times.set_first(real);
                }
                self.conn.until(self.shared, due).await?;
            }
        }
        let (due, real) = self.due(scene.plan.end_at);
        scene.times.set_end(real);
        Ok(due)
    }

    /// A whole answer.
    pub(super) async fn whole(mut self, api: Api, scene: &Scene<'_>) -> Result<After, Gone> {
        let due = self.reach_end(scene).await?;
        let mut reply = api.whole(scene, self.shared.wall(due));
        self.limited(api, &mut reply);
        let mut outcome = TruthOutcome::Complete;
        let mut tokens = scene.plan.sent_tokens;
        match scene.plan.ending {
            Ending::Complete => {}
            Ending::Broken(FaultKind::StreamError) => {
                let kind = scene.plan.says.unwrap_or(FaultKind::Server);
                return self.fail(api, kind, scene).await;
            }
            Ending::Broken(FaultKind::Truncate) => {
                // Half of the body, politely: its length is announced.
                reply.body.truncate(reply.body.len() / 2);
                (outcome, tokens) = (TruthOutcome::Broken, 0);
            }
            Ending::Broken(kind) => {
                // The head promises more than comes.
                self.put(&reply, reply.body.len() / 2, true);
                self.flush(due, reply.status).await?;
                if kind == FaultKind::Reset {
                    self.conn.link.reset();
                } else {
                    self.conn.link.cut();
                }
                self.end(TruthOutcome::Broken, due);
                return Ok(After::Cut);
            }
        }
        self.reply(&reply, due, tokens, outcome).await
    }

    /// Ends in a refusal after all, or without a word.
    pub(super) async fn fail(mut self, api: Api, kind: FaultKind, scene: &Scene<'_>) -> Result<After, Gone> {
        let (due, _) = self.due(scene.plan.end_at);
        if kind == FaultKind::Network {
            self.conn.until(self.shared, due).await?;
            self.conn.link.reset();
            self.end(TruthOutcome::Broken, due);
            return Ok(After::Cut);
        }
        let mut reply = api.refusal(kind, &scene.ask.model, scene.request_id, Again::default());
        self.limited(api, &mut reply);
        self.reply(&reply, due, 0, TruthOutcome::Broken).await
    }
}
