//! Signature Version 4 from the server's side, written from AWS's description and checked with two of AWS's own test
//! vectors: a witness that is not the SDK.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    pub method: String,
    pub target: String,
    /// Names in lower case, in the order of the wire.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Arrived {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether the signature in `authorization` is that of this request under `secret`. `encode_path` as every
    /// service but S3 wants it: the path on the wire is encoded once more.
    pub fn is_signed_with(&self, secret: &str, encode_path: bool) -> bool {
        let authorization = self.header("authorization").unwrap();
        let part = |name: &str| {
            authorization.split(name).nth(1).unwrap().split([',', ' ']).next().unwrap().to_owned()
        };
        let (credential, signed) = (part("Credential="), part("SignedHeaders="));
        let scope = credential.split_once('/').unwrap().1;
        let date = self.header("x-amz-date").unwrap();
        let body_hash = hex(&Sha256::digest(&self.body));

        let path = if encode_path { encode(&self.target) } else { self.target.clone() };
        let mut canonical = format!("{}\n{path}\n\n", self.method);
        for name in signed.split(';') {
            writeln!(canonical, "{name}:{}", self.header(name).unwrap().trim()).unwrap();
        }
        write!(canonical, "\n{signed}\n{body_hash}").unwrap();
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));

        let mut key = format!("AWS4{secret}").into_bytes();
        for step in scope.split('/') {
            key = hmac(&key, step.as_bytes());
        }
        hex(&hmac(&key, to_sign.as_bytes())) == part("Signature=")
    }
}

/// Everything but unreserved characters and `/` as `%XX`.
fn encode(path: &str) -> String {
    path.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
            out.push(b as char);
        } else {
            write!(out, "%{b:02X}").unwrap();
        }
        out
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        write!(out, "{b:02x}").unwrap();
        out
    })
}

/// RFC 2104 over SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    let key = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
    block[..key.len()].copy_from_slice(&key);
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

/// Signed requests of AWS's test suite. The path is encoded for the signature, as every service but S3 wants it.
pub fn vectors() -> Vec<(&'static str, Arrived)> {
    [
        ("double-url-encode", include_str!("../../sigv4/double-url-encode.txt")),
        ("get-slashes-unnormalized", include_str!("../../sigv4/get-slashes-unnormalized.txt")),
        ("get-space-unnormalized", include_str!("../../sigv4/get-space-unnormalized.txt")),
        ("get-unreserved", include_str!("../../sigv4/get-unreserved.txt")),
        ("get-utf8", include_str!("../../sigv4/get-utf8.txt")),
        ("get-vanilla", include_str!("../../sigv4/get-vanilla.txt")),
        ("get-vanilla-with-session-token", include_str!("../../sigv4/get-vanilla-with-session-token.txt")),
        ("post-header-key-sort", include_str!("../../sigv4/post-header-key-sort.txt")),
        ("post-header-value-case", include_str!("../../sigv4/post-header-value-case.txt")),
        ("post-sts-header-after", include_str!("../../sigv4/post-sts-header-after.txt")),
        ("post-sts-header-before", include_str!("../../sigv4/post-sts-header-before.txt")),
        ("post-vanilla", include_str!("../../sigv4/post-vanilla.txt")),
        ("post-x-www-form-urlencoded", include_str!("../../sigv4/post-x-www-form-urlencoded.txt")),
        (
            "post-x-www-form-urlencoded-parameters",
            include_str!("../../sigv4/post-x-www-form-urlencoded-parameters.txt"),
        ),
    ]
    .map(|(name, text)| (name, parse(text)))
    .to_vec()
}

/// A request in the form of the test suite.
fn parse(text: &str) -> Arrived {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let headers =
        lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
    Arrived {
        method: method.to_owned(),
        target: target.trim_end_matches(" HTTP/1.1").to_owned(),
        headers: headers.collect(),
        body: body.trim_end_matches('\n').as_bytes().to_vec(),
    }
}

/// AWS's vectors `get-vanilla` and `post-x-www-form-urlencoded`.
pub fn check_with_vectors() {
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let authorization = |headers: &str, signature: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={headers}, Signature={signature}"
        )
    };
    let own =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let (host, date) = (("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z"));
    let signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let get = Arrived {
        method: "GET".to_owned(),
        target: "/".to_owned(),
        headers: own(&[host, date, ("authorization", &authorization("host;x-amz-date", signature))]),
        body: Vec::new(),
    };
    assert!(get.is_signed_with(SECRET, true));
    assert!(!get.is_signed_with("another", true));
    let hash = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";
    let signed = "content-length;content-type;host;x-amz-content-sha256;x-amz-date";
    let signature = "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b";
    let post = Arrived {
        method: "POST".to_owned(),
        target: "/".to_owned(),
        headers: own(&[
            ("content-type", "application/x-www-form-urlencoded"),
            host,
            ("content-length", "13"),
            date,
            ("x-amz-content-sha256", hash),
            ("authorization", &authorization(signed, signature)),
        ]),
        body: b"Param1=value1".to_vec(),
    };
    assert!(post.is_signed_with(SECRET, true));
    assert!(!Arrived { body: b"Param1=value2".to_vec(), ..post }.is_signed_with(SECRET, true));
}
