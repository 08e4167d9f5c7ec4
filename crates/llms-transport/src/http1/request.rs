//! Writes the head of a request.

use http::{HeaderMap, HeaderValue, Method, Uri, header};

/// Headers that frame the message or the connection: this module's business, whatever the caller says.
const FRAMING: [http::HeaderName; 4] =
    [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// Appends the request line and headers, with the empty line at the end, to `out`.
///
/// Adds `host` (unless given), `content-length` (whenever there is a body, or the method usually has one),
/// `connection: close` when `close`, and `user_agent` when `headers` has none. `connection`, `content-length`
/// and `transfer-encoding` in `headers` are left out. The types of `http` admit no line breaks, so nothing can
/// be smuggled in.
pub fn write_request_head(
    out: &mut Vec<u8>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    user_agent: Option<&HeaderValue>,
    content_length: usize,
    close: bool,
) {
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    // `http://host?query` has an empty path, which the request line must not have.
    let root: &[u8] = if path.starts_with('/') || path == "*" { b"" } else { b"/" };
    put(&[method.as_str().as_bytes(), b" ", root, path.as_bytes(), b" HTTP/1.1\r\n"]);

    let given = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = given.or_else(|| uri.authority().map(|a| a.as_str().as_bytes())).unwrap_or_default();
    put(&[b"host: ", host, b"\r\n"]);
    if let Some(agent) = user_agent.filter(|_| !headers.contains_key(header::USER_AGENT)) {
        put(&[b"user-agent: ", agent.as_bytes(), b"\r\n"]);
    }
    for (name, value) in headers.iter().filter(|(name, _)| !FRAMING.contains(name)) {
        put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    if content_length > 0 || [Method::POST, Method::PUT, Method::PATCH].contains(method) {
        put(&[b"content-length: ", content_length.to_string().as_bytes(), b"\r\n"]);
    }
    if close {
        put(&[b"connection: close\r\n"]);
    }
    put(&[b"\r\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, uri: &str, given: &[(&'static str, &'static str)], body: usize, expected: &str) {
        let headers = given
            .iter()
            .map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect();
        let mut out = Vec::new();
        let agent = HeaderValue::from_static("t/1");
        write_request_head(&mut out, &method, &uri.parse().unwrap(), &headers, Some(&agent), body, false);
        assert_eq!(String::from_utf8(out).unwrap(), expected.replace('\n', "\r\n"));
    }

    #[test]
    fn what_goes_on_the_wire() {
        check(Method::GET, "http://h", &[], 0, "GET / HTTP/1.1\nhost: h\nuser-agent: t/1\n\n");
        check(Method::GET, "http://h?a=b", &[], 0, "GET /?a=b HTTP/1.1\nhost: h\nuser-agent: t/1\n\n");
        check(
            Method::POST,
            "https://h:8443/v1/x%3A0?y=%20",
            &[("authorization", "Bearer k"), ("user-agent", "mine")],
            5,
            "POST /v1/x%3A0?y=%20 HTTP/1.1\nhost: h:8443\nauthorization: Bearer k\nuser-agent: mine\n\
             content-length: 5\n\n",
        );
        check(
            Method::POST,
            "http://[::1]:80/",
            &[
                ("host", "signed"),
                ("content-length", "9"),
                ("transfer-encoding", "chunked"),
                ("connection", "x"),
            ],
            0,
            "POST / HTTP/1.1\nhost: signed\nuser-agent: t/1\ncontent-length: 0\n\n",
        );
    }

    #[test]
    fn a_connection_for_one_request_says_so() {
        let mut out = Vec::new();
        write_request_head(
            &mut out,
            &Method::GET,
            &Uri::from_static("http://h/"),
            &HeaderMap::new(),
            None,
            0,
            true,
        );
        assert_eq!(out, b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    }
}
