//! AWS signatures: with a secret the request is signed again by AWS's own code and compared, without one only the
//! shape is looked at.
//!
//! What is signed is what the client says it signed; host and date must be among it. Signatures in the query are not
//! understood.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign},
    sign::v4,
};
use secrecy::ExposeSecret;
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};

use super::{auth::same, read::Request, settings::AwsCredentials};

/// How far the client's clock may be off.
const SKEW: Duration = Duration::from_secs(300);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

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
        if !signed.split(';').any(|name| name == needed) {
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
