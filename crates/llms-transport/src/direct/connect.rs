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
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::{
    meter::Meter,
    socket::{Socket, Tcp},
};
use crate::{fail, target::Target};

/// What every connection of this transport speaks.
pub(super) const PROTOCOL: &str = "HTTP/1.1";

/// The addresses of a target, and when they were asked for if it is by name.
#[derive(Clone)]
pub(super) struct Resolved {
    addresses: Arc<[SocketAddr]>,
    dns: Option<Span>,
}

impl Resolved {
    /// The same for a connection that did not ask itself.
    pub(super) fn again(&self) -> Self {
        Self { addresses: self.addresses.clone(), dns: None }
    }
}

/// Finds the addresses of `target` within `limit`; no look-up where the URL has an address.
pub(super) async fn resolve(target: &Target<'_>, limit: Duration, clock: &SharedClock) -> Result<Resolved> {
    if let Ok(ip) = target.host.parse::<IpAddr>() {
        return Ok(Resolved { addresses: Arc::new([SocketAddr::new(ip, target.port)]), dns: None });
    }
    let start = clock.now();
    let found = before(start + limit, clock, lookup_host((target.host, target.port))).await;
    let found = found.ok_or_else(|| fail::connect_timeout(target.authority(), limit))?;
    let addresses = found.map_err(|e| fail::dns(target.host, e))?.collect();
    Ok(Resolved { addresses, dns: Some(Span { start, end: clock.now() }) })
}

/// Opens a connection to `target`, name resolution included within `limit`, tries all of its addresses, and says when
/// each phase was. Phases that did not happen (no name to resolve, no TLS) are absent.
pub(super) async fn connect(
    target: &Target<'_>,
    resolved: &Resolved,
    tls: &TlsConnector,
    (limit, receive_buffer): (Duration, Option<u32>),
    clock: &SharedClock,
    meter: &Arc<Meter>,
) -> Result<(Socket, ConnectionInfo)> {
    let deadline = resolved.dns.map_or_else(|| clock.now(), |dns| dns.start) + limit;
    let timeout = || fail::connect_timeout(target.authority(), limit);
    let addresses = &resolved.addresses;
    let mut info = ConnectionInfo {
        reused: Some(false),
        dns: resolved.dns,
        protocol: Some(PROTOCOL.to_owned()),
        ..ConnectionInfo::default()
    };

    let start = clock.now();
    let stream = connect_any(addresses, deadline, clock, target, (limit, receive_buffer)).await?;
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
    (limit, receive_buffer): (Duration, Option<u32>),
) -> Result<TcpStream> {
    let mut failed = Vec::new();
    for (tried, &address) in addresses.iter().enumerate() {
        let now = clock.now();
        let share = deadline.saturating_since(now) / (addresses.len() - tried) as u32;
        match before(now + share, clock, open(address, receive_buffer)).await {
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

/// One TCP connection; what its kernel may hold unread is settled before, as the window is announced with the first segment.
async fn open(address: SocketAddr, receive_buffer: Option<u32>) -> io::Result<TcpStream> {
    let Some(bytes) = receive_buffer else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_recv_buffer_size(bytes)?;
    socket.connect(address).await
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
