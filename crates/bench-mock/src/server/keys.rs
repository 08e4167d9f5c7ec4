//! Which key a request carries, wherever the four protocols put it.

use super::read::Request;

/// Keys that begin so are never accepted.
const BAD: &str = "bad-";

/// The key of a request: a bearer token, Anthropic's or Azure's header, or the access key id of AWS's signature.
pub(super) fn key(request: &Request) -> Option<&str> {
    let own = request.header("x-api-key").or_else(|| request.header("api-key"));
    own.or_else(|| {
        let authorization = request.header("authorization")?;
        if let Some((scheme, token)) = authorization.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            return Some(token.trim());
        }
        let credential = authorization.strip_prefix("AWS4-HMAC-SHA256")?.split("Credential=").nth(1)?;
        credential.split('/').next()
    })
}

/// Whether the key is one of those that never work.
pub(super) fn is_bad(request: &Request) -> bool {
    key(request).is_some_and(|key| key.starts_with(BAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, expected: Option<&str>) {
        let mut request = Request::default();
        request.take(name.to_owned(), value.to_owned());
        assert_eq!(key(&request), expected, "{name}");
    }

    #[test]
    fn keys_are_found_where_each_vendor_puts_them() {
        check("authorization", "Bearer sk-1", Some("sk-1"));
        check("authorization", "bearer sk-1", Some("sk-1"));
        check("x-api-key", "sk-2", Some("sk-2"));
        check("api-key", "az-3", Some("az-3"));
        let signed = "AWS4-HMAC-SHA256 Credential=bad-4/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0";
        check("authorization", signed, Some("bad-4"));
        check("authorization", "Basic eDp5", None);
        check("accept", "Bearer x", None);
    }
}
