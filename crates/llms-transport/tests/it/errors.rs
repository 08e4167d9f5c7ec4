//! Failures before an answer: each says where it happened, what it was and what to do.

use std::{net::TcpListener, time::Duration};

use llms_core::{CallPhase, ErrorCode, wire::Transport};
use llms_transport::{Options, direct};

use crate::{
    client::{both, get},
    server::{OK, Server},
};

/// Both transports fail to get `url`, with this code and phase; the message contains `says`, and never the
/// query of the URL.
#[track_caller]
fn check(url: &str, options: &Options, code: ErrorCode, phase: CallPhase, says: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, transport) in both(options) {
        let called = runtime.block_on(get(&*transport, &format!("{url}?key=hunter2")));
        let error = called.result.expect_err(name);
        assert_eq!((error.code(), error.phase()), (code, Some(phase)), "{name}: {error}");
        assert!(error.message().contains(says), "{name}: {error}");
        assert!(!format!("{error} {error:?} {transport:?}").contains("hunter2"), "{name}: {error:?}");
        assert!(!called.timeline.resent, "{name}");
    }
}

#[test]
fn a_refused_connection_names_the_address() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check(
        &format!("http://{address}/"),
        &Options::default(),
        ErrorCode::NetworkError,
        CallPhase::Connect,
        &format!("connection refused by {address}: is the server running?"),
    );
}

#[test]
fn an_unknown_host_is_named() {
    check(
        "http://no-such-host.invalid/",
        &Options::default(),
        ErrorCode::NetworkError,
        CallPhase::Connect,
        "cannot resolve the host name no-such-host.invalid",
    );
}

#[tokio::test]
async fn a_name_is_resolved_with_a_clock_on_it() {
    let server = Server::answering(OK);
    let url = format!("http://localhost:{}/", server.address.port());
    for (name, transport) in both(&Options::default()) {
        // `localhost` may resolve to ::1 first, where nobody listens: all addresses are tried.
        let (_, timeline) = get(&*transport, &url).await.ok();
        if name == "direct" {
            let (dns, tcp) = (timeline.connection.dns.unwrap(), timeline.connection.tcp.unwrap());
            assert!([dns.start, dns.end, tcp.start, tcp.end].is_sorted());
        }
    }
}

/// A listener whose queue is full drops what knocks: nobody answers, as behind a firewall.
#[cfg(target_os = "linux")]
#[test]
fn a_silent_host_is_given_up_in_time() {
    use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, listen, socket};
    let open = || socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let listener = open();
    bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let address: std::net::SocketAddr = getsockname(&listener).unwrap().try_into().unwrap();
    let fill: Vec<_> = (0..2)
        .map(|_| {
            let s = open();
            rustix::io::ioctl_fionbio(&s, true).unwrap();
            let _ = connect(&s, &address);
            s
        })
        .collect();
    let options = Options { connect_timeout: Duration::from_millis(200), ..Options::default() };
    check(
        &format!("http://{address}/"),
        &options,
        ErrorCode::NetworkError,
        CallPhase::Connect,
        &format!("no connection to {address} within 200ms"),
    );
    drop(fill);
}

#[tokio::test]
async fn unusable_urls_are_refused() {
    for (name, transport) in both(&Options::default()) {
        for url in ["/only/a/path", "ftp://h/", "http://me:hunter2@h/"] {
            let error = get(&*transport, url).await.result.expect_err(name);
            assert_eq!(error.code(), ErrorCode::InvalidConfig, "{name} {error}");
        }
    }
}

#[tokio::test]
async fn opening_connections_to_nobody_is_an_error() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = direct().open(&format!("http://{address}").parse().unwrap(), 3).await.unwrap_err();
    assert!(error.message().contains("is the server running?"), "{error}");
}
