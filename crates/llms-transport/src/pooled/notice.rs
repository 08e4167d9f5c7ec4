//! Notices whether a request opened its connection itself, which reqwest does not tell: a layer around its
//! connector sets a mark in the task that waits for the request.
//!
//! No mark: the connection came out of the pool. A mark: a connection was opened for this request, and save for
//! a race of a few microseconds inside hyper's pool, used by it.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

tokio::task_local! {
    static CONNECTED: Cell<bool>;
}

/// Runs `request`; says beside its output whether a connection was opened on the way.
pub(super) async fn watch<F: Future>(request: F) -> (F::Output, bool) {
    CONNECTED
        .scope(Cell::new(false), async {
            let output = request.await;
            (output, CONNECTED.with(Cell::get))
        })
        .await
}

/// The layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoticeConnects;

/// The connector with the layer around it.
#[derive(Clone, Debug)]
pub(super) struct Noticed<S>(S);

impl<S> Layer<S> for NoticeConnects {
    type Service = Noticed<S>;

    fn layer(&self, inner: S) -> Noticed<S> {
        Noticed(inner)
    }
}

impl<S, Target> Service<Target> for Noticed<S>
where
    S: Service<Target>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, target: Target) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move {
            let connection = connecting.await;
            if connection.is_ok() {
                // Fails when hyper moved the connecting to a task of its own, because an idle connection became
                // available first: then this is not the request's connection.
                let _ = CONNECTED.try_with(|connected| connected.set(true));
            }
            connection
        })
    }
}
