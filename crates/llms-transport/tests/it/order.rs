//! What a call is told, in which order: on a new connection, on a kept one, and when the request has to go out again.

use std::sync::{Arc, Mutex};

use http::Method;
use llms_core::{
    CallContext,
    observe::{CallEvent, CallObserver},
    time::Timestamp,
    wire::Transport,
};
use llms_transport::direct;

use crate::{
    client::{drain, request},
    server::{OK, Server},
};

/// The names of the events, and the instants of those that have one.
#[derive(Default)]
struct Log(Mutex<(Vec<&'static str>, Vec<Timestamp>)>);

impl CallObserver for Log {
    fn observe(&self, event: &CallEvent<'_>) {
        let (name, at) = match event {
            CallEvent::Connecting { at } => ("connecting", Some(*at)),
            CallEvent::Connected(_) => ("connected", None),
            CallEvent::Writing { at } => ("writing", Some(*at)),
            CallEvent::Written { at, .. } => ("written", Some(*at)),
            CallEvent::Resent { at } => ("resent", Some(*at)),
            CallEvent::Head { stamp, .. } => ("head", Some(stamp.user)),
            other => panic!("{other:?}"),
        };
        let mut log = self.0.lock().unwrap();
        log.0.push(name);
        log.1.extend(at);
    }
}

#[tokio::test]
async fn each_step_is_told_in_its_order() {
    const NEW: [&str; 5] = ["connecting", "connected", "writing", "written", "head"];
    // Drops the third request of the first connection after it has read it.
    let server = Server::start(|peer| {
        for served in 0.. {
            if peer.request().is_none() || (peer.number == 0 && served == 2) {
                return;
            }
            peer.send(OK);
        }
    });
    let transport = direct();
    let again: Vec<_> = NEW[1..4].iter().chain(&["resent"]).chain(&NEW).copied().collect();
    for expected in [&NEW[..], &NEW[1..], &again] {
        let log = Arc::new(Log::default());
        let ctx = CallContext::new().with_observer(log.clone());
        let reply = transport.send(request(Method::GET, &server.url("/"), ""), &ctx).await.unwrap();
        drain(reply).await.end.unwrap();
        let log = log.0.lock().unwrap();
        assert_eq!(log.0, expected);
        assert!(log.1.is_sorted(), "{log:?}");
    }
}
