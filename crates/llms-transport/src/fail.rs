//! The errors of both transports: what broke, where, and what to do about it. Never shows a URL's path, query
//! or headers, which may hold keys.

use std::{error::Error as StdError, fmt, io, net::SocketAddr, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use llms_core::{CallPhase, Error, ErrorCode, wire::OWN_LIMIT};

type Source = Box<dyn StdError + Send + Sync>;

fn network(op: &'static str, phase: CallPhase, message: String) -> Error {
    Error::new(op, ErrorCode::NetworkError, message).with_phase(phase)
}

/// The request cannot be sent as it stands.
pub(crate) fn bad_url(what: &str) -> Error {
    Error::new("http.connect", ErrorCode::InvalidConfig, format!("{what}; check the base URL"))
        .with_phase(CallPhase::Prepare)
}

/// Name resolution failed.
pub(crate) fn dns(host: &str, source: impl Into<Source>) -> Error {
    let source = source.into();
    let what = root_cause(&*source);
    let message = format!("cannot resolve the host name {host}: {what}; check its spelling and the resolver");
    network("http.connect", CallPhase::Connect, message).with_source(source)
}

/// The name resolved to nothing.
pub(crate) fn no_address(host: &str) -> Error {
    let message = format!("the host name {host} has no address; check its spelling and the resolver");
    network("http.connect", CallPhase::Connect, message)
}

/// Connecting took too long.
pub(crate) fn connect_timeout(whom: &str, limit: Duration) -> Error {
    let message =
        format!("no connection to {whom} within {limit:?}: is the host up, and no firewall in between?");
    network("http.connect", CallPhase::Connect, message)
}

/// No address accepted a TCP connection. `tried` is not empty; the last error is the source.
pub(crate) fn tcp(mut tried: Vec<(SocketAddr, io::Error)>) -> Error {
    const SHOWN: usize = 4;
    let whom: Vec<_> = tried.iter().take(SHOWN).map(|(addr, _)| addr.to_string()).collect();
    let whom = whom.join(" and ");
    let Some((_, last)) = tried.pop() else { return no_address("of the server") };
    tcp_error(&whom, last.kind(), &last.to_string(), last.raw_os_error()).with_source(last)
}

fn tcp_error(whom: &str, kind: io::ErrorKind, text: &str, os: Option<i32>) -> Error {
    // Numbers of Linux, macOS: EMFILE and ENFILE have no portable kind.
    let out_of_files = cfg!(unix) && matches!(os, Some(23 | 24));
    let message = match kind {
        _ if out_of_files => {
            let limit = open_files().map_or(String::new(), |n| format!(", {n} at present"));
            format!(
                "cannot open a socket to {whom}: {text} ({OWN_LIMIT}); each stream takes one descriptor: raise the limit of open \
                 files (ulimit -n{limit}), or run fewer streams at once"
            )
        }
        io::ErrorKind::ConnectionRefused => {
            format!("connection refused by {whom}: is the server running?")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "no free local port towards {whom} ({OWN_LIMIT}): keep connections alive, or open fewer per second (a closed one holds \
                 its port for a minute; Linux: net.ipv4.ip_local_port_range)"
            )
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("no route to {whom}: {text}; check the network")
        }
        _ => format!("cannot connect to {whom}: {text}; check address and network"),
    };
    network("http.connect", CallPhase::Connect, message)
}

/// Descriptors this process may have open.
fn open_files() -> Option<u64> {
    #[cfg(unix)]
    {
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current
    }
    #[cfg(not(unix))]
    None
}

/// The TLS handshake failed.
pub(crate) fn tls(whom: &str, source: impl Into<Source>) -> Error {
    use rustls::{CertificateError as C, Error as E, InvalidMessage};
    let source = source.into();
    let advice = match find::<rustls::Error>(&*source) {
        Some(E::InvalidCertificate(C::UnknownIssuer)) => {
            "; if it has a private authority, trust that one too (--ca-cert or SSL_CERT_FILE; in a program, Options::roots)"
        }
        Some(E::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. })) => {
            "; use the name the certificate was issued for"
        }
        Some(E::InvalidCertificate(C::Expired | C::ExpiredContext { .. })) => {
            "; renew the certificate, or check this machine's date"
        }
        Some(E::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "; does the server speak plain HTTP? then use http:// in its URL"
        }
        _ => "",
    };
    let what = root_cause(&*source);
    let message = format!("the TLS handshake with {whom} failed: {what}{advice}");
    network("http.connect", CallPhase::Connect, message).with_source(source)
}

/// Connecting failed somewhere inside a library that does not say where.
pub(crate) fn connect(whom: &str, source: Source) -> Error {
    if find::<rustls::Error>(&*source).is_some() {
        return tls(whom, source);
    }
    let error = match find::<io::Error>(&*source) {
        Some(io) => tcp_error(whom, io.kind(), &io.to_string(), io.raw_os_error()),
        None => tcp_error(whom, io::ErrorKind::Other, &root_cause(&*source), None),
    };
    error.with_source(source)
}

/// The connection broke before the request was written.
pub(crate) fn send(whom: &str, source: io::Error) -> Error {
    let message = format!("the connection to {whom} broke while the request was sent: {source}");
    network("http.send", CallPhase::Send, message).with_source(source)
}

/// The connection broke before the head of the answer was complete.
pub(crate) fn headers(whom: &str, source: impl Into<Source>) -> Error {
    let source = source.into();
    let what = root_cause(&*source);
    let message =
        format!("the connection to {whom} broke before an answer came: {what}; see the server's log");
    network("http.headers", CallPhase::Headers, message).with_source(source)
}

/// The connection was closed before the head of the answer was complete.
pub(crate) fn closed_in_headers(whom: &str, received: usize) -> Error {
    let message = match received {
        0 => format!("{whom} closed the connection without an answer; see the server's log"),
        n => format!("{whom} closed the connection within the headers, after {n} bytes; see its log"),
    };
    network("http.headers", CallPhase::Headers, message)
}

/// The head breaks HTTP/1.1.
pub(crate) fn malformed_head(whom: &str, what: impl fmt::Display) -> Error {
    let message = format!("the answer of {whom} is not valid HTTP/1.1: {what}");
    Error::new("http.headers", ErrorCode::MalformedResponse, message).with_phase(CallPhase::Headers)
}

/// A good answer comes in a content coding that the request did not offer: it would have to be undone before anything in
/// it could be timed, and may unfold to any size. A refusal is let through, for the sake of its status.
pub(crate) fn check_coding(whom: &str, offered: bool, status: u16, headers: &HeaderMap) -> Result<(), Error> {
    let coded = |v: &&HeaderValue| {
        let coding = v.as_bytes().trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    };
    match headers.get_all(header::CONTENT_ENCODING).iter().find(coded) {
        Some(coding) if !offered && (200..300).contains(&status) => {
            let shown = &coding.as_bytes()[..coding.len().min(40)];
            let message = format!(
                "{whom} answered with content-encoding {}, which was not asked for; expected none: turn compression off \
                 there, and at every proxy before it",
                shown.escape_ascii()
            );
            Err(Error::new("http.headers", ErrorCode::MalformedResponse, message)
                .with_phase(CallPhase::Headers))
        }
        _ => Ok(()),
    }
}

/// The transfer coding of the body is broken. Without a phase: the reader of the body knows it.
pub(crate) fn malformed_body(what: impl fmt::Display) -> Error {
    let message = format!("the transfer coding of the body is broken: {what}");
    Error::new("http.body", ErrorCode::MalformedResponse, message)
}

/// The body ended too soon; `how` says where.
pub(crate) fn body_cut(how: &str) -> Error {
    let message = format!("the server closed the connection {how}");
    Error::new("http.body", ErrorCode::StreamClosed, message)
}

/// Reading the body failed.
pub(crate) fn body_broke(source: impl Into<Source>) -> Error {
    let source = source.into();
    let what = root_cause(&*source);
    let message = format!(
        "the connection broke within the body: {what}; see the log of the server, or of a proxy before it"
    );
    Error::new("http.body", ErrorCode::StreamClosed, message).with_source(source)
}

/// The body was read again after it had failed.
pub(crate) fn body_spent() -> Error {
    Error::new("http.body", ErrorCode::StreamClosed, "the body failed before; nothing more can be read")
}

/// Whether an I/O error means that the other side has gone, rather than that time ran out.
pub(crate) fn peer_gone(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::NotConnected | K::UnexpectedEof
    )
}

/// The first error of this type in the chain, looking also into the custom payload of I/O errors.
pub(crate) fn find<'e, E: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The text of the innermost error: the outer ones of libraries say "error sending request".
pub(crate) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: io::ErrorKind, says: &str) {
        let error = tcp(vec![(SocketAddr::from(([127, 0, 0, 1], 1)), kind.into())]);
        assert_eq!((error.code(), error.phase()), (ErrorCode::NetworkError, Some(CallPhase::Connect)));
        assert!(error.message().contains(says), "{error}");
    }

    #[test]
    fn each_refusal_of_a_socket_says_what_to_do() {
        check(io::ErrorKind::ConnectionRefused, "connection refused by 127.0.0.1:1: is the server running?");
        check(io::ErrorKind::AddrNotAvailable, "keep connections alive");
        check(io::ErrorKind::NetworkUnreachable, "no route to 127.0.0.1:1");
        let files =
            tcp(vec![(SocketAddr::from(([127, 0, 0, 1], 1)), io::Error::from_raw_os_error(24))]).to_string();
        assert!(!cfg!(unix) || files.contains("ulimit -n"), "{files}");
    }

    #[test]
    fn an_error_is_found_within_io_errors() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        let outer = io::Error::other(inner);
        assert_eq!(find::<rustls::Error>(&outer), Some(&rustls::Error::DecryptError));
        assert!(find::<hyper::Error>(&outer).is_none());
    }
}
