//! What a user may choose about connections; the same for both transports.

use std::{fmt, time::Duration};

use http::HeaderValue;
use llms_core::{Error, ErrorCode, Result};
use rustls::pki_types::{CertificateDer, pem::PemObject};

/// When connections are opened and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionPolicy {
    /// One request in flight per connection; kept for the next request after a complete answer.
    #[default]
    KeepAlive,
    /// Each request opens its own connection and says `connection: close`.
    NewPerRequest,
}

impl ConnectionPolicy {
    /// In words, for the result file.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive, one request in flight per connection",
            Self::NewPerRequest => "new connection per request",
        }
    }
}

/// Options of a transport. The defaults are what benchmarks want.
#[derive(Clone, Debug)]
pub struct Options {
    /// When connections are opened and kept. Default: keep-alive.
    pub policy: ConnectionPolicy,
    /// Most idle connections kept per scheme, host and port; further ones are closed. Default 16,384: idle
    /// connections were in flight once, so the load bounds them first.
    pub max_idle_per_host: usize,
    /// An idle connection older than this is closed instead of used. Default 90 s.
    pub idle_timeout: Duration,
    /// Longest wait for name resolution, TCP and TLS together. Default 10 s. The only timeout of a transport:
    /// deadlines of calls are the caller's.
    pub connect_timeout: Duration,
    /// Sent as `user-agent` unless the request has one. Default `llms-bench/<version>`.
    pub user_agent: Option<HeaderValue>,
    /// Which certificate authorities are trusted.
    pub roots: Roots,
    /// `direct` only: take the kernel's receive stamp of every read where the platform has it (Linux). Default true;
    /// without, arrival is when the read returned in this process.
    pub kernel_stamps: bool,
    /// `direct` only: bytes that the kernel may hold for a reader that does not read (SO_RCVBUF, set before connecting; Linux
    /// doubles it). Small ones let a server feel a slow reader soon. Default: the system's own measure.
    pub receive_buffer: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: ConnectionPolicy::default(),
            max_idle_per_host: 16_384,
            idle_timeout: Duration::from_secs(90),
            connect_timeout: Duration::from_secs(10),
            user_agent: Some(HeaderValue::from_static(concat!("llms-bench/", env!("CARGO_PKG_VERSION")))),
            roots: Roots::default(),
            kernel_stamps: true,
            receive_buffer: None,
        }
    }
}

/// Trusted certificate authorities: the bundled public ones, and those added here.
#[derive(Clone, Default)]
pub struct Roots {
    pub(crate) extra: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Trusts the certificates in `pem` too: for self-hosted servers with a private authority.
    ///
    /// # Errors
    /// `invalid_config` when `pem` holds no certificate, or a broken one.
    pub fn add_pem(&mut self, pem: &[u8]) -> Result<&mut Self> {
        let invalid = |why: String| Error::new("transport.roots", ErrorCode::InvalidConfig, why);
        let before = self.extra.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate =
                certificate.map_err(|e| invalid(format!("expected PEM certificates: {e:?}")))?;
            self.add_der(certificate.as_ref().to_vec())?;
        }
        if self.extra.len() == before {
            return Err(invalid(
                "expected at least one PEM block \"BEGIN CERTIFICATE\", found none; is it the right file?"
                    .into(),
            ));
        }
        Ok(self)
    }

    /// Trusts one certificate in DER form too.
    ///
    /// # Errors
    /// `invalid_config` when it cannot serve as a root.
    pub fn add_der(&mut self, der: Vec<u8>) -> Result<&mut Self> {
        let certificate = CertificateDer::from(der);
        rustls::RootCertStore::empty().add(certificate.clone()).map_err(|e| {
            let why = format!("the certificate cannot serve as a root: {e}");
            Error::new("transport.roots", ErrorCode::InvalidConfig, why)
        })?;
        self.extra.push(certificate);
        Ok(self)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("bundled", &true).field("extra", &self.extra.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(pem: &str, says: &str) {
        let error = Roots::default().add_pem(pem.as_bytes()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.message().contains(says), "{error}");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        refused("", "found none");
        refused("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "found none");
        refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot serve as a root");
    }
}
