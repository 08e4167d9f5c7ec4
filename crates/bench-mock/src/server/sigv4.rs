//! AWS signatures: with a secret the request is signed again by AWS's own code and compared, without one only the
//! shape is looked at.
//!
//! What is signed is what the client says it signed; host and date must be among it, the host over HTTP/2 also by its
//! name there, `:authority`, as AWS's JavaScript SDK has it. Signatures in the query are not understood.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign},
    sign::v4,
};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};

use super::{auth::same, read::Request, settings::AwsCredentials};

/// How far the client's clock may be off.
const SKEW: Duration = Duration::from_secs(300);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The host over HTTP/2.
const AUTHORITY: &str = ":authority";

type Refused = (&'static str, String);

/// Checks a signature; `false`: there is none.
///
/// # Errors
/// The exception's name and message.
pub(super) fn check(
    request: &Request,
    credentials: Option<&AwsCredentials>,
    now: OffsetDateTime,
) -> Result<bool, Refused> {
    let Some(fields) = request.header("authorization").and_then(|a| a.strip_prefix(ALGORITHM)) else {
        return Ok(false);
    };
    let field = |name: &'static str| {
        let found = fields.split(',').find_map(|f| f.trim().strip_prefix(name)?.strip_prefix('='));
        let message = format!("Authorization header requires '{name}' parameter.");
        found.filter(|v| !v.is_empty()).ok_or(("IncompleteSignatureException", message))
    };
    let (credential, signed, signature) =
        (field("Credential")?, field("SignedHeaders")?, field("Signature")?);
    let scope: Vec<&str> = credential.split('/').collect();
    let [key, date, region, service, "aws4_request"] = scope.as_slice() else {
        let message = format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. \
             keyid/date/region/service/term, got '{}'",
            scope.iter().skip(1).copied().collect::<Vec<_>>().join("/")
        );
        return Err(("IncompleteSignatureException", message));
    };
    let Some(credentials) = credentials else { return Ok(true) };
    if !same(key, &credentials.access_key_id) {
        return Err(unknown());
    }
    let at = signed_at(request)?;
    let stamp = at.format(format_description!("[year][month][day]")).unwrap_or_default();
    if stamp != *date {
        let message = format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
             from HTTP: '{date}' != '{stamp}'"
        );
        return Err(("InvalidSignatureException", message));
    }
    if (now - at).unsigned_abs() > SKEW {
        let (word, order, limit) = if at < now {
            ("expired", "earlier", now - SKEW)
        } else {
            ("not yet current", "later", now + SKEW)
        };
        let sign = if at < now { '-' } else { '+' };
        let message = format!(
            "Signature {word}: {} is now {order} than {} ({} {sign} 5 min.)",
            compact(at),
            compact(limit),
            compact(now)
        );
        return Err(("InvalidSignatureException", message));
    }
    for needed in ["host", "x-amz-date"] {
        if !signed.split(';').any(|name| name == needed || needed == "host" && name == AUTHORITY) {
            let message = format!("'{needed}' must be a 'SignedHeader' in the Authorization.");
            return Err(("InvalidSignatureException", message));
        }
    }
    let wanted = again(request, credentials, signed, region, service, at);
    if wanted.is_some_and(|wanted| same(&wanted, signature)) {
        return Ok(true);
    }
    let message = "The request signature we calculated does not match the signature you provided. Check your AWS \
                   Secret Access Key and signing method. Consult the service documentation for details.";
    Err(("InvalidSignatureException", message.to_owned()))
}

fn unknown() -> Refused {
    ("UnrecognizedClientException", "The security token included in the request is invalid.".to_owned())
}

fn compact(at: OffsetDateTime) -> String {
    at.format(format_description!("[year][month][day]T[hour][minute][second]Z")).unwrap_or_default()
}

fn signed_at(request: &Request) -> Result<OffsetDateTime, Refused> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let date = request.header("x-amz-date").unwrap_or_default();
    PrimitiveDateTime::parse(date, format).map(PrimitiveDateTime::assume_utc).map_err(|_| {
        let message = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
        ("IncompleteSignatureException", message.to_owned())
    })
}

/// The signature that this request should have.
fn again(
    request: &Request,
    credentials: &AwsCredentials,
    signed: &str,
    region: &str,
    service: &str,
    at: OffsetDateTime,
) -> Option<String> {
    let secret = credentials.secret_access_key.expose_secret();
    if signed.split(';').any(|name| name == AUTHORITY) {
        return Some(with_authority(request, secret, signed, region, service, at));
    }
    let identity = Credentials::new(&credentials.access_key_id, secret, None, None, "mock").into();
    let mut settings = SigningSettings::default();
    settings.excluded_headers = None;
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::from(at))
        .settings(settings)
        .build()
        .ok()?
        .into();
    let names: Vec<&str> = signed.split(';').collect();
    // Every header of a name, also when it comes more than once.
    let headers = request
        .headers
        .iter()
        .filter(|(name, _)| names.contains(&name.as_str()) && name != "x-amz-date")
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let body = match request.header("x-amz-content-sha256") {
        Some("UNSIGNED-PAYLOAD") => SignableBody::UnsignedPayload,
        _ => SignableBody::Bytes(&request.body),
    };
    let host = request.header("host").unwrap_or("localhost");
    let uri = format!("http://{host}{}", request.target);
    let signable = SignableRequest::new(&request.method, uri, headers, body).ok()?;
    Some(sign(signable, &params).ok()?.signature().to_owned())
}

/// The signature where `:authority` is signed, which AWS's own code cannot name as a header.
///
/// # Source
/// AWS, "Create a signed AWS API request": canonical request, string to sign, signature.
fn with_authority(
    request: &Request,
    secret: &str,
    signed: &str,
    region: &str,
    service: &str,
    at: OffsetDateTime,
) -> String {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut canonical = format!("{}\n", request.method);
    // As it came, and encoded once more.
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                canonical.push(byte.into());
            }
            _ => canonical.push_str(&format!("%{byte:02X}")),
        }
    }
    let mut pairs: Vec<String> =
        query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
    pairs.iter_mut().filter(|pair| !pair.contains('=')).for_each(|pair| pair.push('='));
    pairs.sort_unstable();
    canonical.push_str(&format!("\n{}\n", pairs.join("&")));
    for name in signed.split(';') {
        let sent = if name == AUTHORITY { "host" } else { name };
        let values = request.headers.iter().filter(|(header, _)| header == sent);
        let values = values.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "));
        canonical.push_str(&format!("{name}:{}\n", values.collect::<Vec<_>>().join(",")));
    }
    let body = match request.header("x-amz-content-sha256") {
        Some(unsigned @ "UNSIGNED-PAYLOAD") => unsigned.to_owned(),
        _ => hash(&request.body),
    };
    canonical.push_str(&format!("\n{signed}\n{body}"));
    let stamp = compact(at);
    let scope = format!("{}/{region}/{service}/aws4_request", &stamp[..8]);
    let text = format!("{ALGORITHM}\n{stamp}\n{scope}\n{}", hash(canonical.as_bytes()));
    let key = v4::generate_signing_key(secret, SystemTime::from(at), region, service);
    v4::calculate_signature(key, text.as_bytes())
}

fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(secret: &str, at: OffsetDateTime) -> Request {
        let mut request = Request {
            method: "POST".into(),
            target: "/model/anthropic.claude-v1%3A0/converse?x=a%20b".into(),
            path: "/model/anthropic.claude-v1%3A0/converse".into(),
            headers: vec![
                ("host".into(), "127.0.0.1:1234".into()),
                ("content-type".into(), "application/json".into()),
                ("user-agent".into(), "not signed".into()),
                ("x-amz-date".into(), compact(at)),
            ],
            body: b"{\"messages\":[]}".to_vec(),
            ..Request::default()
        };
        let names = "content-type;host;x-amz-date";
        let credentials = AwsCredentials::new("AKID", secret);
        let signature = again(&request, &credentials, names, "us-east-1", "bedrock", at).unwrap();
        let date = at.format(format_description!("[year][month][day]")).unwrap();
        let value = format!(
            "{ALGORITHM} Credential=AKID/{date}/us-east-1/bedrock/aws4_request, SignedHeaders={names}, \
             Signature={signature}"
        );
        request.headers.push(("authorization".into(), value));
        request
    }

    /// AWS's own code and ours agree wherever both can sign: with the host by its other name.
    #[test]
    fn the_host_may_be_signed_by_its_name_in_http2() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        let mut request = signed("secret", now);
        request.headers.push(("x-twice".into(), " a   b ".into()));
        request.headers.push(("x-twice".into(), "c".into()));
        for target in ["/model/m/converse", "/model/a%3Ab%2Fc:0/converse?z=%20&a"] {
            target.clone_into(&mut request.target);
            let names = "host;x-amz-date;x-twice";
            let credentials = AwsCredentials::new("AKID", "secret");
            let theirs = again(&request, &credentials, names, "us-east-1", "bedrock", now).unwrap();
            let ours = with_authority(&request, "secret", names, "us-east-1", "bedrock", now);
            assert_eq!(theirs, ours, "{target}");
        }
    }

    /// What AWS's SDK for JavaScript, 3.1164.0, sent over HTTP/2 to a server of ours.
    #[test]
    fn a_signature_of_the_javascript_sdk_passes() {
        let at = time::macros::datetime!(2026-11-22 19:27:41 UTC);
        let authorization = "AWS4-HMAC-SHA256 Credential=AKID/20261122/us-east-1/bedrock/aws4_request, \
            SignedHeaders=:authority;amz-sdk-invocation-id;amz-sdk-request;content-length;content-type;\
            x-amz-content-sha256;x-amz-date;x-amz-user-agent, \
            Signature=bf41c7c75ab6a82bfa368c3b5deb10b8f8a77340ec6d72f4afc70a51fb49689e";
        let headers = [
            ("host", "127.0.0.1:34409"),
            ("content-type", "application/json"),
            ("content-length", "55"),
            ("x-amz-user-agent", "aws-sdk-js/3.1163.0"),
            ("amz-sdk-invocation-id", "cfbffe06-7688-4021-be3e-eeee62fa5ce9"),
            ("amz-sdk-request", "attempt=1; max=1"),
            ("x-amz-date", "20261122T192741Z"),
            ("x-amz-content-sha256", "fc547f6afbe65321ced6955c0da5dd252eb0a1c4e04d3b871e7e144deb39b067"),
            ("authorization", authorization),
        ];
        let mut request = Request {
            method: "POST".into(),
            target: "/model/anthropic.claude-v1%3A0/converse".into(),
            headers: headers.map(|(name, value)| (name.into(), value.into())).to_vec(),
            body: br#"{"messages":[{"role":"user","content":[{"text":"x"}]}]}"#.to_vec(),
            ..Request::default()
        };
        check_kind(&request, at, Ok(true));
        request.headers[0].1 = "127.0.0.1:34410".into();
        check_kind(&request, at, Err("InvalidSignatureException"));
    }

    #[track_caller]
    fn check_kind(request: &Request, now: OffsetDateTime, expected: Result<bool, &str>) {
        let credentials = AwsCredentials::new("AKID", "secret");
        let found = check(request, Some(&credentials), now).map_err(|(kind, _)| kind);
        assert_eq!(found, expected);
    }

    #[test]
    fn only_the_right_secret_and_the_right_request_pass() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        check_kind(&signed("secret", now), now, Ok(true));
        check_kind(&signed("secret", now), now + time::Duration::minutes(4), Ok(true));
        check_kind(&Request::default(), now, Ok(false));
        check_kind(&signed("other", now), now, Err("InvalidSignatureException"));
        let late = now + time::Duration::minutes(6);
        check_kind(&signed("secret", now), late, Err("InvalidSignatureException"));
        check_kind(&signed("secret", late), now, Err("InvalidSignatureException"));
        let mut changed = signed("secret", now);
        changed.body.push(b' ');
        check_kind(&changed, now, Err("InvalidSignatureException"));
        let mut changed = signed("secret", now);
        changed.target.push('y');
        check_kind(&changed, now, Err("InvalidSignatureException"));
        let stranger = AwsCredentials::new("STRANGER", "secret");
        let refused = check(&signed("secret", now), Some(&stranger), now).unwrap_err();
        assert_eq!(refused.0, "UnrecognizedClientException");
        assert!(!refused.1.contains("secret"));
        let mut cut = signed("secret", now);
        cut.headers.last_mut().unwrap().1.truncate(40);
        check_kind(&cut, now, Err("IncompleteSignatureException"));
        assert_eq!(check(&signed("whatever", now), None, now), Ok(true), "without a secret any will do");
    }
}
