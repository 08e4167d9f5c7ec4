//! What every provider's `config.rs` needs to make headers: values that no `Debug` prints, and those the user adds.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::config::ConfigErrors;

/// Headers the transport sets itself.
const OF_THE_TRANSPORT: [&str; 5] =
    ["host", "content-length", "connection", "transfer-encoding", "accept-encoding"];

/// A header value that `Debug` does not print; `None` when no header can carry the text.
pub fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `Bearer` and the key, trimmed; `None` when no header can carry it.
pub fn bearer(key: &SecretString) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {}", key.expose_secret().trim()))
}

/// The headers a user asks for, all sensitive. Refused, by name under `headers.*`: those of the transport, those in
/// `reserved` (lower-case name, what to do instead), and what no header can carry.
pub fn user_headers(
    headers: &BTreeMap<String, String>,
    reserved: &[(&str, &str)],
    errors: &mut ConfigErrors,
) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let field = format!("headers.{name}");
        let Ok(name) = HeaderName::try_from(name.as_str()) else {
            errors.push(field, "expected the name of an HTTP header", name);
            continue;
        };
        if OF_THE_TRANSPORT.contains(&name.as_str()) {
            errors.push(field, "expected a header that the transport does not set itself", name);
        } else if let Some((_, instead)) = reserved.iter().find(|(n, _)| *n == name.as_str()) {
            errors.push(field, *instead, name);
        } else if let Some(value) = sensitive(value) {
            map.insert(name, value);
        } else {
            errors.push(field, "expected visible characters", "others");
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_request_can_carry_is_named() {
        let headers = [("Host", "x"), ("x-version", "1"), ("né", "x"), ("x-bad", "a\nb"), ("X-Team", "prod")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()));
        let mut errors = ConfigErrors::default();
        let map = user_headers(&headers.into(), &[("x-version", "expected api_version")], &mut errors);
        assert_eq!(map.len(), 1);
        assert!(map["x-team"].is_sensitive());
        let mut fields: Vec<_> = errors.errors.iter().map(|e| e.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["headers.Host", "headers.né", "headers.x-bad", "headers.x-version"]);
    }

    #[test]
    fn keys_do_not_show() {
        let value = bearer(&" sk-1 ".to_owned().into()).unwrap();
        assert_eq!(value, "Bearer sk-1");
        assert_eq!(format!("{value:?}"), "Sensitive");
    }
}
