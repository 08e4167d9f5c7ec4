//! `OLLAMA_HOST` in all its spellings, read as Ollama's own client reads it: `host`, `host:port`, `:port`, an IPv6
//! address with or without brackets, with or without scheme and path.
//!
//! Two departures: what Ollama only warns about (a bad port) is refused, and an address that is good for listening only
//! (`0.0.0.0`, `::`) becomes the loopback address of its family.
//!
//! # Source
//! ollama/ollama, `envconfig/config.go`, functions `Host` and `ConnectableHost`.

use std::net::IpAddr;

use llms_core::config::parse_base_url;
use url::Url;

/// The port without a scheme; with one it is the scheme's.
const DEFAULT_PORT: u16 = 11434;
/// Where no host is named.
const DEFAULT_HOST: &str = "127.0.0.1";

/// The address that the text means.
///
/// # Errors
/// What was expected.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    let (scheme, default_port, rest) = match text.split_once("://") {
        None if text == "ollama.com" => ("https", 443, text),
        None => ("http", DEFAULT_PORT, text),
        Some(("http", rest)) => ("http", 80, rest),
        Some(("https", rest)) => ("https", 443, rest),
        Some((other, _)) => return Err(format!("expected http:// or https://, found {other}://")),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err("expected an address without credentials; the key goes into OLLAMA_API_KEY".to_owned());
    }
    let (host, port) = split(authority)?;
    let port = port.unwrap_or(default_port);
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => DEFAULT_HOST.to_owned(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "[::1]".to_owned(),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ if host.is_empty() => DEFAULT_HOST.to_owned(),
        _ => host.to_owned(),
    };
    parse_base_url(&format!("{scheme}://{host}:{port}/{path}"))
}

/// Host without brackets, and port.
fn split(authority: &str) -> Result<(&str, Option<u16>), String> {
    let port = |text: &str| {
        text.parse::<u16>().map(Some).map_err(|_| format!("expected a port from 0 to 65535, found `{text}`"))
    };
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(p) => Ok((host, port(p)?)),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(format!("expected a port after `[{host}]`, found `{rest}`")),
        };
    }
    // An IPv6 address without brackets has no port.
    if authority.parse::<IpAddr>().is_ok() {
        return Ok((authority, None));
    }
    match authority.split_once(':') {
        Some((host, p)) => Ok((host, port(p)?)),
        None => Ok((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(parse(text).map(String::from).as_deref(), Ok(expected), "{text:?}");
    }

    #[test]
    fn every_spelling_is_read_as_ollama_reads_it() {
        // The cases of ollama/ollama, envconfig/config_test.go, and of ollama-python, `_parse_host`.
        check("", "http://127.0.0.1:11434/");
        check("1.2.3.4", "http://1.2.3.4:11434/");
        check(":1234", "http://127.0.0.1:1234/");
        check("1.2.3.4:1234", "http://1.2.3.4:1234/");
        check("http://1.2.3.4", "http://1.2.3.4/");
        check("https://1.2.3.4", "https://1.2.3.4/");
        check("https://1.2.3.4:1234", "https://1.2.3.4:1234/");
        check("example.com", "http://example.com:11434/");
        check("example.com:1234", "http://example.com:1234/");
        check("http://example.com:1234", "http://example.com:1234/");
        check("https://example.com", "https://example.com/");
        check("example.com/", "http://example.com:11434/");
        check("example.com:1234/ollama", "http://example.com:1234/ollama");
        check("https://example.com/ollama/", "https://example.com/ollama");
        check("[::1]", "http://[::1]:11434/");
        check("[::1]:1337", "http://[::1]:1337/");
        check("::1", "http://[::1]:11434/");
        check("http://[0001:002:003:0004::1]", "http://[1:2:3:4::1]/");
        check(" 1.2.3.4 ", "http://1.2.3.4:11434/");
        check("\"1.2.3.4\"", "http://1.2.3.4:11434/");
        check("'1.2.3.4'", "http://1.2.3.4:11434/");
        check("ollama.com", "https://ollama.com/");
        check("localhost", "http://localhost:11434/");
    }

    #[test]
    fn listening_addresses_become_loopback() {
        check("0.0.0.0", "http://127.0.0.1:11434/");
        check("0.0.0.0:1234", "http://127.0.0.1:1234/");
        check("http://0.0.0.0", "http://127.0.0.1/");
        check("[::]:1234", "http://[::1]:1234/");
        check("::", "http://[::1]:11434/");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["host:99999", "host:x", "[::1]x", "ftp://host", "user:secret@host:1", "host:1:2", "http://h?x=1"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
