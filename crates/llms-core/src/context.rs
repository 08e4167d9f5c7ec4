//! What travels with a call besides the request: cancellation, deadline, observer, clock, request id.

use std::{
    borrow::Cow,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    observe::{CallEvent, CallObserver},
    time::{SharedClock, Timestamp, real_clock},
};

/// The surroundings of one call. Cheap to clone.
#[derive(Clone)]
pub struct CallContext {
    /// The clock every stamp of the call is read from.
    pub clock: SharedClock,
    /// Cancelling it ends the call with [`ErrorCode::Cancelled`](crate::ErrorCode::Cancelled).
    pub cancel: CancellationToken,
    /// When the call must be over; [`ErrorCode::DeadlineExceeded`](crate::ErrorCode::DeadlineExceeded) then.
    pub deadline: Option<Timestamp>,
    /// Sent as `x-request-id`, so that both sides' logs can be joined.
    pub request_id: Option<Arc<str>>,
    /// Sent as `traceparent` (W3C Trace Context), so that the server's spans join the caller's. Not sent when it is no
    /// header value.
    pub trace_parent: Option<Arc<str>>,
    /// Told what happens when.
    pub observer: Option<Arc<dyn CallObserver>>,
}

impl CallContext {
    /// Real clock, no deadline, no observer.
    pub fn new() -> Self {
        Self::with_clock(real_clock())
    }

    /// On this clock, no deadline, no observer.
    pub fn with_clock(clock: SharedClock) -> Self {
        Self {
            clock,
            cancel: CancellationToken::new(),
            deadline: None,
            request_id: None,
            trace_parent: None,
            observer: None,
        }
    }

    /// Ends the call `timeout` from now at the latest.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Some(self.clock.now() + timeout);
        self
    }

    /// Ends `grace` from now at the latest; an earlier deadline stands.
    pub fn ending_within(&self, grace: Duration) -> Self {
        let end = self.now() + grace;
        Self { deadline: Some(self.deadline.map_or(end, |d| d.min(end))), ..self.clone() }
    }

    /// Ends the call when `cancel` is cancelled.
    pub fn with_cancel(mut self, cancel: CancellationToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// Reports to `observer`.
    pub fn with_observer(mut self, observer: Arc<dyn CallObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sends `id` along.
    pub fn with_request_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Sends `parent` along as `traceparent`.
    pub fn with_trace_parent(mut self, parent: impl Into<Arc<str>>) -> Self {
        self.trace_parent = Some(parent.into());
        self
    }

    /// The present instant on the call's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Tells the observer, if any. The closure runs only when there is one.
    #[inline]
    pub fn emit<'e>(&self, event: impl FnOnce() -> CallEvent<'e>) {
        if let Some(observer) = &self.observer {
            observer.observe(&event());
        }
    }

    /// Lets `with` report server-stated values to the observer, if any.
    pub fn emit_hooks(&self, with: impl FnOnce(&mut crate::wire::Hooks<'_>)) {
        if let Some(observer) = &self.observer {
            with(&mut |key, value| observer.observe(&CallEvent::Reported { key, value }));
        }
    }

    /// Runs `future` until it completes, the caller cancels, or the deadline passes. Nothing is begun for a caller
    /// who has cancelled or whose deadline has passed already. Cancellation wins over everything that is noticed
    /// with it, a result wins over a deadline that is noticed with it.
    ///
    /// # Errors
    /// What `future` returns, or `Cancelled` / `DeadlineExceeded` for operation `op`.
    pub async fn run<T>(
        &self,
        op: impl Into<Cow<'static, str>>,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let op = op.into();
        let mut future = pin!(future);
        let mut cancelled = pin!(self.cancel.cancelled());
        let mut late = self.deadline.is_some_and(|d| d <= self.clock.now());
        let mut deadline = self.deadline.map(|d| self.clock.sleep_until(d));
        poll_fn(move |cx| {
            if cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Error::cancelled(op.clone())));
            }
            if std::mem::take(&mut late) {
                return Poll::Ready(Err(Error::deadline(op.clone())));
            }
            if let Poll::Ready(out) = future.as_mut().poll(cx) {
                return Poll::Ready(out);
            }
            // The timer alone will not do: a runtime tells a task that has used up its turn to wait without a look at the
            // clock, and a future that always finds something to read uses up every turn.
            let timer = deadline.as_mut().is_some_and(|d| d.as_mut().poll(cx).is_ready());
            if timer || self.deadline.is_some_and(|d| d <= self.clock.now()) {
                return Poll::Ready(Err(Error::deadline(op.clone())));
            }
            Poll::Pending
        })
        .await
    }
}

impl Default for CallContext {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext")
            .field("deadline", &self.deadline)
            .field("cancelled", &self.cancel.is_cancelled())
            .field("request_id", &self.request_id)
            .field("observed", &self.observer.is_some())
            .finish_non_exhaustive()
    }
}
