//! Who may ask: keys, and AWS signatures where a secret is configured.
//!
//! Any key or none is fine unless one is configured; a key that begins with `bad-` never is.

use secrecy::ExposeSecret;
use serde_json::json;

use super::{Shared, config::Protocol, dialect::Reply, keys, read::Request, sigv4};

/// A client is not who it should be.
#[derive(Debug)]
pub(super) enum Denied {
    /// In the vendor's usual words.
    Key,
    /// In AWS's words.
    Signature(Reply),
}

/// Checks a request's key or signature.
pub(super) fn check(shared: &Shared, protocol: Protocol, request: &Request) -> Result<(), Denied> {
    if keys::is_bad(request) {
        return Err(Denied::Key);
    }
    let signs =
        request.header("authorization").is_none_or(|a| !a.to_ascii_lowercase().starts_with("bearer "));
    if protocol == Protocol::Bedrock && signs && request.header("x-api-key").is_none() {
        let credentials = shared.config.aws_credentials.as_ref();
        let wall = shared.wall(request.arrival);
        return match sigv4::check(request, credentials, wall) {
            Ok(true) => Ok(()),
            Ok(false) if credentials.is_none() && shared.config.api_key.is_none() => Ok(()),
            Ok(false) => Err(refused("MissingAuthenticationTokenException", "Missing Authentication Token")),
            Err((kind, message)) => Err(refused(kind, &message)),
        };
    }
    match &shared.config.api_key {
        Some(wanted) if !keys::key(request).is_some_and(|key| same(key, wanted.expose_secret())) => {
            Err(Denied::Key)
        }
        _ => Ok(()),
    }
}

fn refused(kind: &str, message: &str) -> Denied {
    let reply = Reply::json(403, &json!({"message": message}));
    Denied::Signature(reply.with("x-amzn-errortype", kind))
}

/// Whether two secrets are the same, in a time that tells nothing but their lengths.
pub(super) fn same(a: &str, b: &str) -> bool {
    let differ = a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}
