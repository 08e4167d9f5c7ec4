//! Out of descriptors: a test binary of its own, because the limit is the process's.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use http::{HeaderMap, Method};
use llms_core::{
    CallContext, CallPhase, ErrorCode,
    wire::{Prepared, Transport},
};
use llms_transport::{direct, pooled};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Opened in advance or for a request: the message has the limit and what to do, and once there is room again the
/// transport works on.
#[test]
fn t034_the_limit_of_open_files_is_named() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let request = || Prepared {
            method: Method::POST,
            uri: url.parse().unwrap(),
            headers: HeaderMap::new(),
            body: "{}".into(),
        };
        let transports: [Box<dyn Transport>; 2] = [Box::new(direct()), Box::new(pooled().unwrap())];
        let allowed = getrlimit(Resource::Nofile);
        // The lowest number that a new descriptor would get: none is below the limit then.
        let next = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap()) as u64;
        setrlimit(Resource::Nofile, Rlimit { current: Some(next), ..allowed }).unwrap();
        let mut errors = vec![transports[0].open(&url.parse().unwrap(), 3).await.unwrap_err()];
        for transport in &transports {
            errors.push(transport.send(request(), &CallContext::new()).await.unwrap_err());
        }
        assert_eq!(transports[0].counters().unwrap().opened, 0);
        setrlimit(Resource::Nofile, allowed).unwrap();
        for error in errors {
            assert_eq!((error.code(), error.phase()), (ErrorCode::NetworkError, Some(CallPhase::Connect)));
            let says = format!("(ulimit -n, {next} at present), or run fewer streams at once");
            assert!(error.message().contains(&says), "{error}");
        }
        transports[0].open(&url.parse().unwrap(), 3).await.unwrap();
    });
}
