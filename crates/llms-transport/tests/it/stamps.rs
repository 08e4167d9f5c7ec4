//! T011, T016: two stamps on every read, the kernel's below the user's, also under TLS; which was used is said; reads,
//! receive calls and merged reads are counted.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use http::Method;
use llms_core::{
    CallContext, Stamp,
    time::{Clock, RealClock, Sleep, Timestamp},
    wire::{Reply, StampSource, Transport, TransportCounters},
};
use llms_transport::{Direct, Options, direct};

use crate::{
    client::{both, get, observed, request},
    server::Server,
    tls,
};

/// Whether this platform stamps in the kernel, as the library says itself, and must where we know it can.
fn kernel() -> bool {
    let kernel = direct().info().stamps == StampSource::Kernel;
    assert!(kernel || !cfg!(all(target_os = "linux", target_pointer_width = "64")), "expected kernel stamps");
    kernel
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const CHUNKS: usize = 40;

/// Before and after each write.
type Writes = Arc<Mutex<Vec<[Timestamp; 2]>>>;

/// The stamps of all reads of the body, and the payload.
async fn read(mut reply: Reply) -> (Vec<Stamp>, Vec<u8>) {
    let (mut stamps, mut payload) = (Vec::new(), Vec::new());
    while let Some(stamp) = poll_fn(|cx| reply.body.poll_read(cx, &mut payload)).await.unwrap() {
        stamps.push(stamp);
    }
    (stamps, payload)
}

/// A server that writes one chunk each time the client says so, and the instants before and after each write.
fn on_demand() -> (Server, mpsc::Sender<()>, Writes) {
    let (go, wait) = mpsc::channel::<()>();
    let (wait, writes) = (Mutex::new(wait), Arc::new(Mutex::new(Vec::new())));
    let log = writes.clone();
    let server = Server::start(move |peer| {
        let wait = wait.lock().unwrap();
        while peer.request().is_some() {
            for n in 0..CHUNKS {
                let text = if n == 0 { format!("{HEAD}2\r\nab\r\n") } else { "2\r\nab\r\n".to_owned() };
                if n > 0 && wait.recv().is_err() {
                    return;
                }
                let before = RealClock.now();
                peer.send(text);
                log.lock().unwrap().push([before, RealClock.now()]);
            }
            peer.send("0\r\n\r\n");
        }
    });
    (server, go, writes)
}

#[tokio::test]
async fn t011_every_read_carries_the_kernels_stamp_between_the_write_and_the_user_stamp() {
    let kernel = kernel();
    let (server, go, writes) = on_demand();
    let transport = direct();
    let (ctx, timeline) = observed();
    let mut reply = transport.send(request(Method::GET, &server.url("/"), ""), &ctx).await.unwrap();
    let (mut stamps, mut payload) = (vec![], Vec::new());
    while let Some(stamp) = poll_fn(|cx| reply.body.poll_read(cx, &mut payload)).await.unwrap() {
        stamps.push(stamp);
        let _ = go.send(());
    }
    assert_eq!((stamps.len(), payload.len()), (CHUNKS, 2 * CHUNKS));
    let writes = writes.lock().unwrap();
    for (stamp, [before, _]) in stamps.iter().zip(&*writes) {
        assert!(*before <= stamp.user, "{stamp:?}");
        assert_eq!(stamp.kernel.is_some(), kernel, "{stamp:?}");
        if let Some(at) = stamp.kernel {
            // The offset of the two clocks is known to a fraction of a microsecond; allow much more.
            assert!(at <= stamp.user && *before <= at + Duration::from_micros(50), "{stamp:?} {before:?}");
        }
    }
    let t = timeline.take();
    let expected = if kernel { StampSource::Kernel } else { StampSource::User };
    assert_eq!(t.connection.stamps, Some(expected));
    let order = [t.connection.tcp.unwrap().end, t.writing.unwrap(), t.written.unwrap(), stamps[0].user];
    assert!(order.is_sorted(), "{order:?}");
}

/// The pitfall: without care each read costs a second call that finds nothing.
#[tokio::test]
async fn t011_a_read_is_one_receive_call() {
    kernel();
    let (server, go, _) = on_demand();
    let transport = direct();
    let ctx = CallContext::new();
    for answer in 1..=3 {
        let mut reply = transport.send(request(Method::GET, &server.url("/"), ""), &ctx).await.unwrap();
        let mut payload = Vec::new();
        while poll_fn(|cx| reply.body.poll_read(cx, &mut payload)).await.unwrap().is_some() {
            if payload.len() < 2 * CHUNKS {
                go.send(()).unwrap();
            }
        }
        let c = transport.counters().unwrap();
        // The last chunk and the end of the body come in one read or in two.
        let reads = answer * CHUNKS as u64..=answer * (CHUNKS as u64 + 1);
        assert!(reads.contains(&c.reads), "{c:?}");
        assert_eq!(c.receive_calls, c.reads, "{c:?}");
        assert_eq!((c.chunked_reads, c.merged_reads), (answer * CHUNKS as u64, 0), "{c:?}");
    }
    let c = transport.counters().unwrap();
    assert_eq!((c.opened, c.reused, c.found_dead, c.resent), (1, 2, 0, 0), "{c:?}");
    assert_eq!(c.kernel_stamped, if kernel() { c.reads } else { 0 });
    assert_eq!((c.clock_jumps, c.stamps_refused), (0, 0), "{c:?}");
}

#[tokio::test]
async fn reads_that_merged_chunks_are_counted() {
    // Three chunks with the head, then (some time later) two, then one and the end.
    let server = Server::start(|peer| {
        peer.request();
        for part in
            [&format!("{HEAD}1\r\na\r\n1\r\na\r\n1\r\na\r\n"), "1\r\na\r\n1\r\na\r\n", "1\r\na\r\n0\r\n\r\n"]
        {
            peer.send(part);
            std::thread::sleep(Duration::from_millis(60));
        }
        peer.finish();
    });
    let transport = direct();
    let (got, _) = get(&transport, &server.url("/")).await.ok();
    assert_eq!(got.payload, b"aaaaaa");
    let c = transport.counters().unwrap();
    assert!(c.merged_reads >= 2 && c.chunked_reads <= 3, "{c:?}");
    // A body with a length does not tell.
    let server = Server::answering(crate::server::OK);
    let transport = direct();
    get(&transport, &server.url("/")).await.ok();
    let c = transport.counters().unwrap();
    assert_eq!((c.chunked_reads, c.merged_share()), (0, None), "{c:?}");
}

#[tokio::test]
async fn t011_stamps_are_taken_below_tls() {
    let kernel = kernel();
    let body = format!("{HEAD}5\r\nhello\r\n0\r\n\r\n");
    let server = tls::start(body, tls::Goodbye::Never).await;
    let transport = Direct::new(server.options.clone());
    let (ctx, timeline) = observed();
    for _ in 0..2 {
        let sent = ctx.now();
        let reply = transport.send(request(Method::GET, &server.url(), ""), &ctx).await.unwrap();
        let (head, (stamps, payload)) = (reply.head, read(reply).await);
        assert_eq!((payload.as_slice(), stamps.len()), (&b"hello"[..], 1));
        for stamp in [head, stamps[0]] {
            assert_eq!(stamp.kernel.is_some(), kernel, "{stamp:?}");
            assert!(stamp.kernel.is_none_or(|at| sent <= at && at <= stamp.user), "{sent:?} {stamp:?}");
        }
        let expected = if kernel { StampSource::Kernel } else { StampSource::User };
        assert_eq!(timeline.take().connection.stamps, Some(expected));
    }
}

#[tokio::test]
async fn t011_which_stamp_was_used_is_said() {
    let without = Options { kernel_stamps: false, ..Options::default() };
    let server = Server::answering(crate::server::OK);
    for (name, transport) in both(&without) {
        assert_eq!(transport.info().stamps, StampSource::User, "{name}");
        let (got, timeline) = get(&*transport, &server.url("/")).await.ok();
        assert_eq!(timeline.connection.stamps, Some(StampSource::User), "{name}");
        assert!(got.stamps.iter().all(|s| s.kernel.is_none()), "{name}");
    }
    let [(_, direct), (_, pooled)] = both(&Options::default());
    assert_eq!(direct.info().stamps == StampSource::Kernel, kernel());
    assert_eq!(pooled.info().stamps, StampSource::User);
    assert_eq!(pooled.counters(), None::<TransportCounters>);
    assert_eq!(TransportCounters::default().merged_share(), None);
}

/// A clock that is not the machine's: one hour behind it.
#[derive(Debug)]
struct Foreign;

impl Clock for Foreign {
    fn now(&self) -> Timestamp {
        RealClock.now() - Duration::from_secs(3600)
    }

    fn wall(&self) -> time::OffsetDateTime {
        RealClock.wall()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        RealClock.sleep_until(deadline + Duration::from_secs(3600))
    }

    fn is_real(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn on_another_clock_than_the_machines_there_is_no_kernel_stamp() {
    let server = Server::answering(crate::server::OK);
    let transport = direct();
    let reply = transport
        .send(request(Method::GET, &server.url("/"), ""), &CallContext::with_clock(Arc::new(Foreign)))
        .await
        .unwrap();
    assert_eq!(reply.head.kernel, None);
    let c = transport.counters().unwrap();
    assert_eq!((c.kernel_stamped, c.stamps_refused, c.clock_jumps), (0, 0, 0), "{c:?}");
}
