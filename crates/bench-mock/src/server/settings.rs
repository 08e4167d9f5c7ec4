//! Parts of a server's configuration: what it reads, how it takes connections, keys, certificates.

use std::{path::PathBuf, time::Duration};

use llms_core::config::ConfigErrors;
use secrecy::SecretString;

/// What a server reads, and how long it waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head, and of the header list of HTTP/2; beyond it 431. Default 64 KiB.
    pub head_bytes: usize,
    /// Headers of a request; beyond it 431. Default 100.
    pub headers: usize,
    /// Bytes of a request's body; beyond it 413. Default 64 MiB: prompts with images.
    pub body_bytes: usize,
    /// From the first byte of a request (or of a TLS handshake) to its last; beyond it 408. Default 60 s.
    pub request_timeout: Duration,
    /// How long a connection may be idle before it is closed; over HTTP/2 before it is asked whether the client is
    /// still there. Default 10 min.
    pub keep_alive: Duration,
    /// Streams at a time of one HTTP/2 connection. Default 1024.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 << 10,
            headers: 100,
            body_bytes: 64 << 20,
            request_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(600),
            streams: 1024,
        }
    }
}

impl Limits {
    pub(super) fn validate(&self, e: &mut ConfigErrors) {
        let head = (256..=16 << 20).contains(&self.head_bytes);
        e.check(head, "limits.head_bytes", "expected a number from 256 to 16777216", self.head_bytes);
        let headers = (1..=10_000).contains(&self.headers);
        e.check(headers, "limits.headers", "expected a number from 1 to 10000", self.headers);
        let body = self.body_bytes <= 1 << 30;
        e.check(body, "limits.body_bytes", "expected at most 1 GiB", self.body_bytes);
        for (field, value) in [("request_timeout", self.request_timeout), ("keep_alive", self.keep_alive)] {
            let field = format!("limits.{field}");
            e.check(!value.is_zero(), &field, "expected a duration above 0", "0");
        }
        e.check(self.streams > 0, "limits.streams", "expected a number ≥ 1", "0");
    }
}

/// What becomes of a connection beyond [`ServerConfig::max_connections`](super::ServerConfig::max_connections).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is closed without a word.
    #[default]
    HangUp,
    /// It is told 503 and closed (over TLS closed without a word).
    Refuse,
    /// It waits until another one ends: connected as far as the kernel is concerned, not yet served.
    Queue,
}

/// The one pair of AWS credentials whose signatures are accepted.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret that signatures are checked with.
    pub secret_access_key: SecretString,
}

impl AwsCredentials {
    /// A pair.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: SecretString::from(secret_access_key.into()),
        }
    }
}

/// HTTPS with a certificate made when the server starts, for `localhost`, `127.0.0.1` and `::1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Where the certificate is written (PEM), for clients to trust: `SSL_CERT_FILE`, `NODE_EXTRA_CA_CERTS`,
    /// `AWS_CA_BUNDLE`, `--cacert`. The key never leaves the process.
    pub certificate_file: Option<PathBuf>,
    /// More host names or addresses that the certificate is for.
    pub names: Vec<String>,
}
