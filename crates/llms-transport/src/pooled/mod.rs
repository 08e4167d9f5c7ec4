//! `pooled`: reqwest, as applications use it, with the defaults that falsify benchmarks switched off (system
//! proxy, redirects, retries, referer). What it cannot show is absent: no connect phases, and no `Written`;
//! `Connected` is reported with the head, when it is known.
//!
//! Stamps are taken when a frame of the body reaches the reading task, after hyper's own task has read and
//! decoded it; under load that is later than `direct`'s stamps, which is part of what this transport shows.

mod body;
mod notice;

use std::{error::Error as StdError, fmt, io};

use async_trait::async_trait;
use http::{HeaderValue, Uri, header};
use llms_core::{
    CallContext, Error, ErrorCode, Result,
    event::Stamp,
    observe::{CallEvent, ConnectionInfo},
    wire::{Prepared, Reply, StampSource, Transport, TransportCounters, TransportInfo},
};
use reqwest::redirect;

use self::{body::PooledBody, notice::NoticeConnects};
use crate::{
    fail,
    options::{ConnectionPolicy, Options},
    target::Target,
    tls,
};

/// The `pooled` transport with default options.
///
/// # Errors
/// See [`Pooled::new`].
pub fn pooled() -> Result<Pooled> {
    Pooled::new(Options::default())
}

/// reqwest behind [`Transport`]. Cheap to clone; clones share their idle connections.
#[derive(Clone)]
pub struct Pooled {
    client: reqwest::Client,
    /// The same without a pool: for the second copy of a request, which needs a fresh connection.
    fresh: reqwest::Client,
    options: Options,
}

impl Pooled {
    /// With these options.
    ///
    /// # Errors
    /// `invalid_config` when reqwest refuses them.
    pub fn new(options: Options) -> Result<Self> {
        let keep = match options.policy {
            ConnectionPolicy::KeepAlive => options.max_idle_per_host,
            ConnectionPolicy::NewPerRequest => 0,
        };
        Ok(Self { client: client(&options, keep)?, fresh: client(&options, 0)?, options })
    }

    /// One attempt, and whether it opened a connection itself.
    async fn attempt(
        client: &reqwest::Client,
        request: reqwest::Request,
    ) -> (Result<reqwest::Response, reqwest::Error>, bool) {
        let (response, connected) = notice::watch(client.execute(request)).await;
        (response.map_err(reqwest::Error::without_url), connected)
    }
}

fn client(options: &Options, max_idle_per_host: usize) -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        .tls_backend_preconfigured(tls::client_config(&options.roots))
        .pool_max_idle_per_host(max_idle_per_host)
        .pool_idle_timeout(options.idle_timeout)
        .connect_timeout(options.connect_timeout)
        .connector_layer(NoticeConnects)
        .build()
        .map_err(|e| {
            let what = fail::root_cause(&e);
            let message = format!("reqwest cannot be set up: {what}; check the transport's options");
            Error::new("transport.pooled", ErrorCode::InvalidConfig, message).with_source(e)
        })
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for Pooled {
    async fn send(&self, request: Prepared, ctx: &CallContext) -> Result<Reply> {
        let uri = request.uri.clone();
        let target = Target::of(&uri)?;
        let offered = request.headers.contains_key(header::ACCEPT_ENCODING);
        let request = self.build(request)?;
        let again = request.try_clone();

        let (mut outcome, mut connected) = Self::attempt(&self.client, request).await;
        if let (Err(error), false, Some(again)) = (&outcome, connected, again)
            && is_silent_end(error)
        {
            let at = ctx.now();
            ctx.emit(|| CallEvent::Resent { at });
            (outcome, connected) = Self::attempt(&self.fresh, again).await;
        }
        let response = match outcome {
            Ok(response) => response,
            Err(error) => return Err(self.explain(error, &target)),
        };
        let head = Stamp::user(ctx.now(), 0);
        let connection = ConnectionInfo {
            reused: Some(!connected),
            protocol: Some(format!("{:?}", response.version())),
            stamps: Some(StampSource::User),
            ..ConnectionInfo::default()
        };
        ctx.emit(|| CallEvent::Connected(&connection));
        let status = response.status().as_u16();
        ctx.emit(|| CallEvent::Head { stamp: head, status, headers: response.headers() });
        fail::check_coding(target.authority(), offered, status, response.headers())?;
        let headers = response.headers().clone();
        let body = Box::new(PooledBody::new(response, ctx.clock.clone()));
        Ok(Reply { status, headers, head, connection, body })
    }

    fn info(&self) -> TransportInfo {
        TransportInfo {
            name: "pooled".into(),
            stamps: StampSource::User,
            connections: self.options.policy.in_words().into(),
        }
    }

    /// reqwest keeps no such books.
    fn counters(&self) -> Option<TransportCounters> {
        None
    }

    /// reqwest opens connections when it needs them; there is nothing to do.
    async fn open(&self, _uri: &Uri, _connections: usize) -> Result<()> {
        Ok(())
    }
}

impl Pooled {
    fn build(&self, prepared: Prepared) -> Result<reqwest::Request> {
        let mut request = http::Request::new(prepared.body);
        *request.method_mut() = prepared.method;
        *request.uri_mut() = prepared.uri;
        *request.headers_mut() = prepared.headers;
        if let Some(agent) = &self.options.user_agent {
            request.headers_mut().entry(header::USER_AGENT).or_insert_with(|| agent.clone());
        }
        if self.options.policy == ConnectionPolicy::NewPerRequest {
            request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reqwest::Request::try_from(request)
            .map_err(|e| fail::bad_url("the URL cannot be used").with_source(e.without_url()))
    }

    fn explain(&self, error: reqwest::Error, target: &Target<'_>) -> Error {
        let whom = target.authority();
        if error.is_dns() {
            fail::dns(target.host, error)
        } else if error.is_connect() && error.is_timeout() {
            fail::connect_timeout(whom, self.options.connect_timeout).with_source(error)
        } else if error.is_connect() {
            fail::connect(whom, error.into())
        } else if is_malformed(&error) {
            fail::malformed_head(whom, fail::root_cause(&error)).with_source(error)
        } else if is_incomplete(&error) {
            fail::closed_in_headers(whom, 0).with_source(error)
        } else {
            fail::headers(whom, error)
        }
    }
}

/// Whether the connection ended before an answer. hyper says the same of a head that was cut short, which it
/// alone has seen; `direct` tells the two apart.
fn is_silent_end(error: &reqwest::Error) -> bool {
    let gone = |e: &io::Error| fail::peer_gone(e.kind());
    !error.is_connect() && (is_incomplete(error) || fail::find::<io::Error>(error).is_some_and(gone))
}

fn is_incomplete(error: &(dyn StdError + 'static)) -> bool {
    fail::find::<hyper::Error>(error).is_some_and(hyper::Error::is_incomplete_message)
}

/// Whether the other side does not speak HTTP/1.1.
fn is_malformed(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind as K;
    fail::find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse)
        || fail::find::<io::Error>(error)
            .is_some_and(|e| matches!(e.kind(), K::InvalidInput | K::InvalidData))
}

impl fmt::Debug for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled").field("options", &self.options).finish_non_exhaustive()
    }
}
