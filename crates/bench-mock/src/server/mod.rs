//! The simulated vendors as a server: OpenAI, Anthropic, Bedrock and Ollama on one port, for anybody's client.
//!
//! It runs on a thread of its own, so that it never waits for the client's tasks. Every write is due at an
//! absolute instant counted from the start of service, is woken by a kernel timer, is one system call, and is
//! stamped on both sides of it; the truth log holds target and stamps.
//!
//! Which profile answers: that of the model's name if there is one ([`ServerConfig::models`], then the built-in
//! names `mock-<preset>`, `mock-fast`, `mock-slow`), else that of the protocol; [`SITUATIONS`](crate::SITUATIONS) lie
//! over it. `mock-missing` never exists, nor do names that begin with `mock-` and are none of these.
//!
//! Paths, below the base URL of each protocol ([`Server::base_url`]):
//!
//! | protocol | paths |
//! | --- | --- |
//! | OpenAI | `/v1/chat/completions`, `/v1/responses`, `/v1/responses/input_tokens`, `/v1/completions`, `/v1/models[/{id}]` |
//! | Azure | `/openai/deployments/{name}/chat/completions`, `…/completions`, `/openai/responses`, `/openai/v1/…` as above |
//! | Anthropic | `/v1/messages`, `/v1/messages/count_tokens`, `/v1/models[/{id}]` with its version header |
//! | Bedrock | `/model/{id}/converse[-stream]`, `/model/{id}/invoke[-with-response-stream]`, `/model/{id}/count-tokens` |
//! | Ollama | `/api/chat`, `/api/generate`, `/api/tags`, `/api/show`, `/api/ps`, `/api/pull`, `/api/embed`, `/api/version` |
//! | ours | `/mock/truth` (the log in memory, JSON lines), `/mock/profiles`, `/mock/config[/{name}]`, `/mock/reset` |
//!
//! HTTP/1.1, HTTP/2 by prior knowledge on the same port, and HTTPS on request ([`ServerConfig::tls`]). While it runs,
//! profiles are changed by their [handles](Server::handle), or over HTTP: `GET`, `PUT` and `PATCH` of `/mock/config`
//! (all, by name) and `/mock/config/{protocol or model}`, with the fields of a [`Profile`](crate::Profile) as JSON;
//! `POST /mock/reset` makes everything as it was at the start.

mod admin;
mod auth;
mod config;
mod conn;
mod dialect;
mod exchange;
mod http2;
mod intake;
mod keys;
mod link;
mod listing;
mod local;
mod pieces;
mod read;
mod recall;
mod respond;
mod route;
mod settings;
mod sigv4;
mod socket;
mod stream;
mod timer;
mod tls;
mod write;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use llms_core::time::{SharedClock, real_clock};
use time::OffsetDateTime;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Notify};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    engine::ProfileHandle,
    truth::{TruthLog, TruthRecord},
};

pub use config::{Protocol, ServerConfig, StartError};
pub use settings::{AwsCredentials, Limits, Tls, WhenFull};

use config::Engines;

/// How long answers in flight may go on after [`Server::shutdown`].
const GRACE: Duration = Duration::from_secs(2);
/// Connections that may wait to be accepted.
#[cfg(unix)]
const BACKLOG: i32 = 4_096;
/// Connections that are told at a time that there is no room, besides those served.
const MAX_REFUSED: usize = 256;
/// How long a look at the truth waits for answers that are just ending.
const SETTLE: Duration = Duration::from_millis(100);

/// What all connections share.
struct Shared {
    config: ServerConfig,
    engines: Engines,
    log: TruthLog,
    clock: SharedClock,
    timer: timer::Timer,
    recall: recall::Recall,
    /// Wall clock less monotonic clock in ns, at the start.
    wall_offset: i128,
    /// Told when the server is to stop: idle connections close, no new ones are taken.
    stop: CancellationToken,
    /// Told when the grace is over.
    abort: CancellationToken,
    /// What makes TLS of connections, where that is wanted.
    acceptor: Option<TlsAcceptor>,
    /// Everything that serves.
    tasks: TaskTracker,
    connections: AtomicUsize,
    /// Told when a connection ends.
    freed: Notify,
    next_conn: AtomicU64,
}

impl Shared {
    /// The wall-clock instant of a monotonic one.
    fn wall(&self, at: llms_core::time::Timestamp) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(self.wall_offset + i128::from(at.as_nanos()))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    certificate: Option<String>,
    log: TruthLog,
    handles: Vec<(String, ProfileHandle)>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl ServerConfig {
    /// Binds the address and starts serving on a thread of its own; serving when it returns.
    ///
    /// # Errors
    /// A profile that is wrong, an address that is not loopback without leave, a file or an address that cannot
    /// be opened.
    pub fn start(self) -> Result<Server, StartError> {
        self.validate()?;
        let listener = TcpListener::bind(self.bind).map_err(|e| {
            StartError::Io(format!("cannot listen on {}: {e}; choose another port", self.bind))
        })?;
        listener.set_nonblocking(true)?;
        // The standard library asks for 128: a burst of connections beyond that would wait for a retransmission.
        #[cfg(unix)]
        rustix::net::listen(&listener, BACKLOG).map_err(io::Error::from)?;
        let addr = listener.local_addr()?;
        let mut log = TruthLog::new(self.truth_capacity);
        if let Some(path) = &self.truth_file {
            log = log.with_file(path).map_err(|e| {
                StartError::Io(format!("cannot create the truth log {}: {e}", path.display()))
            })?;
        }
        let (acceptor, certificate) = match &self.tls {
            Some(settings) => {
                let (acceptor, pem) = tls::acceptor(settings)?;
                (Some(acceptor), Some(pem))
            }
            None => (None, None),
        };
        let engines = Engines::new(&self, &log)?;
        let handles = engines.handles();
        let runtime = runtime(self.threads)?;
        let stop = CancellationToken::new();
        let (stop_inside, log_inside) = (stop.clone(), log.clone());
        let thread = std::thread::Builder::new().name("mock-server".to_owned()).spawn(move || {
            // The truth is complete once every connection is gone, whatever became of serving.
            let _ = runtime.block_on(serve(listener, self, engines, log_inside, acceptor, stop_inside));
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        Ok(Server { addr, certificate, log, handles, stop, thread: Some(thread) })
    }
}

fn runtime(threads: usize) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = if threads > 1 {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("mock-server");
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build()
}

impl Server {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address as a client of this protocol wants it: with `/v1` for OpenAI, bare for the others.
    pub fn base_url(&self, protocol: Protocol) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.addr, protocol.base_path())
    }

    /// The certificate that clients of HTTPS are to trust, as PEM; `None` without TLS.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// What was really sent when, as far as kept in memory, in the order in which answers ended. Waits up to
    /// 100 ms for answers that are just ending ([`TruthLog::settle`] waits longer).
    pub fn truth(&self) -> Vec<TruthRecord> {
        self.log.settle(SETTLE);
        self.log.records()
    }

    /// The truth log itself.
    pub fn truth_log(&self) -> &TruthLog {
        &self.log
    }

    /// The profile that answers `name` (a protocol's or a model's), to be exchanged while the server runs.
    pub fn handle(&self, name: &str) -> Option<&ProfileHandle> {
        self.handles.iter().find(|(n, _)| n == name).map(|(_, handle)| handle)
    }

    /// Stops taking connections, lets answers in flight end (at most 2 s), and finishes the truth file. Blocks
    /// until then.
    ///
    /// # Errors
    /// When the truth file could not be written.
    pub fn shutdown(mut self) -> io::Result<()> {
        self.stop_and_join();
        self.log.close_file()
    }

    fn stop_and_join(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; what is left to do is the same.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_and_join();
        let _ = self.log.close_file();
    }
}

async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    engines: Engines,
    log: TruthLog,
    acceptor: Option<TlsAcceptor>,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    socket::stamp_arrivals(&listener);
    let clock = real_clock();
    let wall_offset = OffsetDateTime::now_utc().unix_timestamp_nanos() - i128::from(clock.now().as_nanos());
    let shared = Arc::new(Shared {
        timer: timer::Timer::start()?,
        recall: recall::Recall::default(),
        config,
        engines,
        log,
        clock,
        wall_offset,
        stop: stop.clone(),
        abort: CancellationToken::new(),
        acceptor,
        tasks: TaskTracker::new(),
        connections: AtomicUsize::new(0),
        freed: Notify::new(),
        next_conn: AtomicU64::new(0),
    });
    let most = shared.config.max_connections;
    let is_full = || shared.connections.load(Relaxed) >= most;
    loop {
        while shared.config.when_full == WhenFull::Queue && is_full() && !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = shared.freed.notified() => {}
            }
        }
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or the client is gone already: let others finish first.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        if is_full() {
            let polite = shared.config.when_full == WhenFull::Refuse && shared.acceptor.is_none();
            // Who floods is not talked to.
            if polite && shared.tasks.len() < most.saturating_add(MAX_REFUSED) {
                refuse(&shared, stream);
            }
            continue;
        }
        shared.connections.fetch_add(1, Relaxed);
        let conn = shared.next_conn.fetch_add(1, Relaxed) + 1;
        let (tasks, shared) = (shared.tasks.clone(), shared.clone());
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = shared.abort.cancelled() => {}
                () = conn::serve(&shared, stream, conn) => {}
            }
            shared.connections.fetch_sub(1, Relaxed);
            shared.freed.notify_one();
        });
    }
    drop(listener);
    let tasks = &shared.tasks;
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        shared.abort.cancel();
        tasks.wait().await;
    }
    Ok(())
}

/// Says that there is no room, and closes; at most half a second.
fn refuse(shared: &Shared, mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
        content-length: 34\r\nconnection: close\r\n\r\nthe server has no room: try again\n";
    shared.tasks.spawn(async move {
        let say = async {
            stream.write_all(ANSWER).await?;
            stream.shutdown().await?;
            // A close with something unread would be a reset, which may overtake the answer.
            let mut sink = Vec::with_capacity(4096);
            while tokio::io::AsyncReadExt::read_buf(&mut stream, &mut sink).await? > 0 {
                sink.clear();
            }
            io::Result::Ok(())
        };
        // Nobody is told when the client does not listen.
        let _ = tokio::time::timeout(Duration::from_millis(500), say).await;
    });
}
