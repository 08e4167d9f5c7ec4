//! Opens connections: name resolution, TCP, TLS, each with a clock on it.

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use llms_core::{
    Result,
    observe::{ConnectionInfo, Span},
    time::{SharedClock, Timestamp},
};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::{
    meter::Meter,
    socket::{Socket, Tcp},
};
use crate::{fail, target::Target};

/// What every connection of this transport speaks.
pub(super) const PROTOCOL: &str = "HTTP/1.1";

/// Opens a connection to `target` within `limit`, tries all of its addresses, and says when each phase was.
/// Phases that did not happen (no name to resolve, no TLS) are absent.
pub(super) async fn connect(
    target: &Target<'_>,
    tls: &TlsConnector,
    limit: Duration,
    clock: &SharedClock,
    meter: &Arc<Meter>,
) -> Result<(Socket, ConnectionInfo)> {
    let deadline = clock.now() + limit;
    let timeout = || fail::connect_timeout(target.authority(), limit);
    let mut info = ConnectionInfo {
        reused: Some(false),
        protocol: Some(PROTOCOL.to_owned()),
        ..ConnectionInfo::default()
    };

    let addresses = if let Ok(ip) = target.host.parse::<IpAddr>() {
        vec![SocketAddr::new(ip, target.port)]
    } else {
        let start = clock.now();
        let found = before(deadline, clock, lookup_host((target.host, target.port))).await;
        let found = found.ok_or_else(timeout)?.map_err(|e| fail::dns(target.host, e))?.collect();
        info.dns = Some(Span { start, end: clock.now() });
        found
    };

    let start = clock.now();
    let stream = connect_any(&addresses, deadline, clock, target, limit).await?;
    info.tcp = Some(Span { start, end: clock.now() });
    meter.opened.fetch_add(1, Relaxed);
    let tcp = Tcp::new(stream, clock.clone(), start, meter.clone())
        .map_err(|e| fail::connect(target.authority(), e.into()))?;
    if !target.origin.tls {
        let socket = Socket::Plain(tcp);
        info.stamps = Some(socket.stamps());
        return Ok((socket, info));
    }

    let name = ServerName::try_from(target.host.to_owned())
        .map_err(|_| fail::bad_url("expected a host name that a certificate can be issued for"))?;
    let start = clock.now();
    let stream = before(deadline, clock, tls.connect(name, tcp)).await.ok_or_else(timeout)?;
    let stream = stream.map_err(|e| fail::tls(target.authority(), e))?;
    info.tls = Some(Span { start, end: clock.now() });
    let socket = Socket::Tls(Box::new(stream));
    info.stamps = Some(socket.stamps());
    Ok((socket, info))
}

/// Tries the addresses in the resolver's order, each for its share of the time left, so that a dead one does
/// not use it all up.
async fn connect_any(
    addresses: &[SocketAddr],
    deadline: Timestamp,
    clock: &SharedClock,
    target: &Target<'_>,
    limit: Duration,
) -> Result<TcpStream> {
    let mut failed = Vec::new();
    for (tried, &address) in addresses.iter().enumerate() {
        let now = clock.now();
        let share = deadline.saturating_since(now) / (addresses.len() - tried) as u32;
        match before(now + share, clock, TcpStream::connect(address)).await {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => failed.push((address, error)),
            None => failed.push((address, io::ErrorKind::TimedOut.into())),
        }
    }
    Err(match failed.last() {
        None => fail::no_address(target.host),
        Some((_, last)) if last.kind() == io::ErrorKind::TimedOut => {
            fail::connect_timeout(target.authority(), limit)
        }
        Some(_) => fail::tcp(failed),
    })
}

/// The result of `future`, or `None` when `deadline` passes first.
async fn before<T>(deadline: Timestamp, clock: &SharedClock, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut sleep = clock.sleep_until(deadline);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(out) => Poll::Ready(Some(out)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}
