//! `direct`: an own HTTP/1.1 client on a stamped socket. What benchmarks use.
//!
//! `send`: take an idle connection or open one ([`connect`], a clock on each phase) → write and read the head
//! ([`exchange`](mod@exchange)) → a [`body`] that reads in the task that polls it, one stamp per socket read ([`socket`]) →
//! back to the [`pool`]. No HTTP/2, proxy, redirect, compression or retry.
//!
//! Two stamps a read: the kernel's ([`kernel`], on Linux, below TLS too, brought onto the monotonic clock by
//! [`realtime`]) says when the bytes came, the user-space one when this process had them. Where the kernel does not
//! stamp, the connection, [`Transport::info`] and each stamp say so. One system call a read; bytes pass through one
//! buffer per thread ([`scratch`]), so that a stream that waits holds none; what is counted stands in a [`meter`].
//!
//! The kernel's *transmit* stamps were weighed and left out. Measured on loopback, 2 cores, load 11, requests of 600
//! bytes: from a user stamp right before the write to the transmit stamp 9 µs at the median and 39 at p99 (from there to
//! the receiver's kernel stamp 2 and 7). To fetch it takes another system call and a wake-up per request (13 and 53 µs
//! then), which would delay the next read by more than is gained. [`CallEvent::Writing`] is that user stamp.

mod body;
mod connect;
mod exchange;
mod kernel;
mod meter;
mod pool;
mod realtime;
mod scratch;
mod socket;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use async_trait::async_trait;
use http::{Method, Uri, header};
use llms_core::{
    CallContext, Error, ErrorCode, Result,
    observe::{CallEvent, ConnectionInfo},
    time::{SharedClock, real_clock},
    wire::{Prepared, Reply, Transport, TransportCounters, TransportInfo},
};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use self::{
    body::DirectBody,
    connect::Resolved,
    exchange::{Answer, Failure, exchange},
    meter::Meter,
    pool::Pool,
    socket::Socket,
};
use crate::{
    fail,
    http1::write_request_head,
    options::{ConnectionPolicy, Options},
    target::Target,
    tls,
};

/// Connections that [`Transport::open`] opens at a time: enough to be quick, too few to overrun a listen queue.
const OPENED_AT_ONCE: usize = 64;

/// The `direct` transport with default options.
pub fn direct() -> Direct {
    Direct::new(Options::default())
}

/// HTTP/1.1 on stamped sockets, with a clock on every phase. Cheap to clone; clones share their idle
/// connections.
///
/// A connection belongs to the async runtime it was opened on. Runtimes that come and go, or one runtime per
/// core, want a `Direct` each.
#[derive(Clone)]
pub struct Direct(Arc<Shared>);

/// What the connections of one transport have in common.
struct Shared {
    options: Options,
    tls: TlsConnector,
    pool: Pool,
    meter: Arc<Meter>,
}

impl Direct {
    /// With these options.
    pub fn new(options: Options) -> Self {
        let tls = TlsConnector::from(Arc::new(tls::client_config(&options.roots)));
        let pool = Pool::new(options.max_idle_per_host, options.idle_timeout);
        let meter = Arc::new(Meter::new(options.kernel_stamps));
        Self(Arc::new(Shared { options, tls, pool, meter }))
    }

    /// Idle connections kept at present, all hosts together.
    pub fn idle(&self) -> usize {
        self.0.pool.len()
    }

    /// A new connection for a call. Boxed: its states, TLS among them, are no part of every call in flight.
    async fn connect(&self, target: &Target<'_>, ctx: &CallContext) -> Result<(Socket, ConnectionInfo)> {
        ctx.emit(|| CallEvent::Connecting { at: ctx.now() });
        let opening = Box::pin(async {
            let resolved = connect::resolve(target, self.0.options.connect_timeout, &ctx.clock).await?;
            self.connect_to(target, &resolved, &ctx.clock).await
        });
        opening.await
    }

    async fn connect_to(
        &self,
        target: &Target<'_>,
        resolved: &Resolved,
        clock: &SharedClock,
    ) -> Result<(Socket, ConnectionInfo)> {
        let Shared { options, tls, meter, .. } = &*self.0;
        connect::connect(
            target,
            resolved,
            tls,
            (options.connect_timeout, options.receive_buffer),
            clock,
            meter,
        )
        .await
    }

    /// An idle connection that still lives, or a new one.
    async fn obtain(&self, target: &Target<'_>, ctx: &CallContext) -> Result<(Socket, ConnectionInfo)> {
        if self.keeps() {
            while let Some(mut socket) = self.0.pool.take(&target.origin, ctx.now()) {
                if socket.is_alive() {
                    self.0.meter.reused.fetch_add(1, Relaxed);
                    let info = ConnectionInfo {
                        reused: Some(true),
                        protocol: Some(connect::PROTOCOL.to_owned()),
                        stamps: Some(socket.stamps()),
                        ..ConnectionInfo::default()
                    };
                    return Ok((socket, info));
                }
                self.0.meter.found_dead.fetch_add(1, Relaxed);
            }
        }
        self.connect(target, ctx).await
    }

    fn keeps(&self) -> bool {
        self.0.options.policy == ConnectionPolicy::KeepAlive
    }

    /// The answer as the caller sees it; a connection whose answer is complete goes home at once.
    fn reply(
        &self,
        target: &Target<'_>,
        socket: Socket,
        answer: Answer,
        connection: ConnectionInfo,
    ) -> Reply {
        let home = (self.keeps() && answer.head.keep_alive && answer.sent_whole)
            .then(|| (Arc::clone(&self.0), target.origin.clone()));
        let (status, head) = (answer.head.status, answer.stamp);
        let body = DirectBody::new(socket, home, answer.head.framing, answer.rest, answer.stamp);
        Reply { status, headers: answer.head.headers, head, connection, body: Box::new(body) }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for Direct {
    async fn send(&self, request: Prepared, ctx: &CallContext) -> Result<Reply> {
        let Prepared { method, uri, headers, body } = request;
        let target = Target::of(&uri)?;
        let mut head = Vec::with_capacity(512);
        let agent = self.0.options.user_agent.as_ref();
        write_request_head(&mut head, &method, &uri, &headers, agent, body.len(), !self.keeps());
        let to_head = method == Method::HEAD;
        let offered = headers.contains_key(header::ACCEPT_ENCODING);
        // Written down: an answer may be long in coming, and thousands of calls wait at once.
        drop(headers);
        head.shrink_to_fit();

        let (mut socket, mut connection) = self.obtain(&target, ctx).await?;
        ctx.emit(|| CallEvent::Connected(&connection));
        let mut outcome = exchange(&mut socket, &head, &body, to_head, target.authority(), ctx).await;
        if let Err(Failure { silent: true, .. }) = outcome
            && connection.reused == Some(true)
        {
            // Not a byte came back on a connection that had been idle: it had most likely been given up by the
            // server meanwhile. Once more, on a fresh one; only once, because that one is not reused.
            let at = ctx.now();
            self.0.meter.resent.fetch_add(1, Relaxed);
            ctx.emit(|| CallEvent::Resent { at });
            drop(socket);
            (socket, connection) = self.connect(&target, ctx).await?;
            ctx.emit(|| CallEvent::Connected(&connection));
            outcome = exchange(&mut socket, &head, &body, to_head, target.authority(), ctx).await;
        }
        let answer = outcome.map_err(|failure| failure.error)?;
        ctx.emit(|| CallEvent::Head {
            stamp: answer.stamp,
            status: answer.head.status,
            headers: &answer.head.headers,
        });
        fail::check_coding(target.authority(), offered, answer.head.status, &answer.head.headers)?;
        Ok(self.reply(&target, socket, answer, connection))
    }

    fn info(&self) -> TransportInfo {
        TransportInfo {
            name: "direct".into(),
            stamps: self.0.meter.stamps(),
            connections: self.0.options.policy.in_words().into(),
        }
    }

    fn counters(&self) -> Option<TransportCounters> {
        Some(self.0.meter.counters())
    }

    /// Idle connections that exist already count. With a new connection per request there is nothing to open.
    async fn open(&self, uri: &Uri, connections: usize) -> Result<()> {
        let target = Target::of(uri)?;
        if !self.keeps() {
            return Ok(());
        }
        let wanted = connections.min(self.0.options.max_idle_per_host);
        let mut missing = wanted.saturating_sub(self.0.pool.count(&target.origin));
        if missing == 0 {
            return Ok(());
        }
        let clock = real_clock();
        // Asked once for all of them: a resolver is no part of what is to be measured.
        let resolved = connect::resolve(&target, self.0.options.connect_timeout, &clock).await?;
        let mut opening = JoinSet::new();
        loop {
            while missing > 0 && opening.len() < OPENED_AT_ONCE {
                let (this, uri, resolved, clock) =
                    (self.clone(), uri.clone(), resolved.again(), clock.clone());
                opening.spawn(async move { this.connect_to(&Target::of(&uri)?, &resolved, &clock).await });
                missing -= 1;
            }
            let Some(opened) = opening.join_next().await else { return Ok(()) };
            let (socket, _) = opened.map_err(|e| {
                Error::new("http.connect", ErrorCode::NetworkError, "opening a connection was interrupted")
                    .with_source(e)
            })??;
            self.0.pool.put(target.origin.clone(), socket, clock.now());
        }
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("options", &self.0.options).field("idle", &self.idle()).finish()
    }
}
