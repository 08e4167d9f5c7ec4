//! Where a request goes: scheme, host and port of its URL.

use http::{Uri, uri::Authority};
use llms_core::Result;

use crate::fail;

/// What connections are pooled by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    /// As written in the URL: `h` and `h:80` are kept apart, which costs a connection, never a mix-up.
    pub(crate) authority: Authority,
}

#[derive(Clone, Debug)]
pub(crate) struct Target<'u> {
    pub(crate) origin: Origin,
    /// Name or address, without the brackets of IPv6.
    pub(crate) host: &'u str,
    pub(crate) port: u16,
}

impl<'u> Target<'u> {
    /// # Errors
    /// `invalid_config` unless the URL is absolute, http or https, and without user information.
    pub(crate) fn of(uri: &'u Uri) -> Result<Self> {
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => {
                return Err(fail::bad_url(&format!("expected http:// or https://, found {other}://")));
            }
            None => return Err(fail::bad_url("expected an absolute URL beginning with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| fail::bad_url("expected a host in the URL"))?;
        if authority.as_str().contains('@') {
            // Not shown: it may hold a password.
            return Err(fail::bad_url("user information (user:password@) in a URL is not supported"));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(fail::bad_url("expected a host in the URL"));
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { origin: Origin { tls, authority: authority.clone() }, host, port })
    }

    /// For messages.
    pub(crate) fn authority(&self) -> &str {
        self.origin.authority.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &'static str, tls: bool, host: &str, port: u16) {
        let uri = Uri::from_static(url);
        let target = Target::of(&uri).unwrap();
        assert_eq!((target.origin.tls, target.host, target.port), (tls, host, port));
    }

    #[test]
    fn host_and_port_are_read_as_urls_mean_them() {
        check("http://h/x", false, "h", 80);
        check("https://h", true, "h", 443);
        check("http://127.0.0.1:11434/api", false, "127.0.0.1", 11434);
        check("https://[::1]:8443/", true, "::1", 8443);
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_shown() {
        let error = Target::of(&Uri::from_static("http://me:hunter2@h/")).unwrap_err();
        assert!(error.to_string().contains("user information"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(Target::of(&Uri::from_static("/only/a/path")).is_err());
        assert!(Target::of(&Uri::from_static("ftp://h/")).is_err());
    }
}
