//! The same bytes to our reader and to hyper's client: the same status, headers and payload, or both reject.
//!
//! Where ours is stricter, deliberately, the reason is in [`STRICTER`]; it is never more lenient.

use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use llms_transport::http1::{BodyDecoder, HeadParser};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What hyper lets pass and our reader refuses: by what the refusal says, and why.
const STRICTER: [(&str, &str); 4] = [
    ("the end is ambiguous", "both lengths given: hyper believes transfer-encoding (smuggling)"),
    (
        "chunked alone",
        "a coding we did not offer, or a list with holes: hyper looks at the last element only",
    ),
    ("switched protocols", "hyper offers the upgrade to its caller"),
    ("CRLF at the end of a trailer line", "hyper lets httparse find a bare LF there"),
];

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    payload: Vec<u8>,
}

fn listed(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect()
}

/// Our verdict on `bytes` followed by the end of the connection.
fn ours(bytes: &[u8], method: &Method) -> Result<Answer, String> {
    let mut parser = HeadParser::new(method == Method::HEAD);
    let Some((head, used)) = parser.parse(bytes).map_err(|e| e.to_string())? else {
        return Err("cut in the head".into());
    };
    let mut decoder = BodyDecoder::new(head.framing);
    let mut payload = bytes[used..].to_vec();
    let decoded = decoder.decode(&mut payload);
    payload.truncate(decoded.payload);
    if let Some(fault) = decoder.fault() {
        return Err(fault.to_string());
    }
    decoder.end()?;
    Ok(Answer { status: head.status, headers: listed(&head.headers), payload })
}

/// hyper's.
async fn hypers(bytes: &[u8], method: &Method) -> Result<Answer, String> {
    let (client, mut server) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(client)).await.map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection.with_upgrades());
    let request = http::Request::builder().method(method).uri("/").header("host", "t");
    let answer = sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap());
    let serve = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(server.read_buf(&mut request).await.unwrap() > 0);
        }
        server.write_all(bytes).await.unwrap();
        server.shutdown().await.unwrap();
        // Kept: dropping it would discard what hyper has not read yet.
        server
    };
    let (answer, _server) = tokio::join!(answer, serve);
    let (head, body) = answer.map_err(|e| format!("{e:?}"))?.into_parts();
    let payload = body.collect().await.map_err(|e| format!("{e:?}"))?.to_bytes().to_vec();
    driver.abort();
    Ok(Answer { status: head.status.as_u16(), headers: listed(&head.headers), payload })
}

/// Whether both agree; else what they said.
fn agree(bytes: &[u8], method: &Method) -> Result<(), String> {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().build().unwrap();
    }
    let hypers = RUNTIME.with(|r| r.block_on(hypers(bytes, method)));
    match (ours(bytes, method), hypers) {
        (Ok(a), Ok(b)) if a == b => Ok(()),
        (Err(_), Err(_)) => Ok(()),
        (Err(ours), Ok(_)) if STRICTER.iter().any(|(says, _)| ours.contains(says)) => Ok(()),
        (ours, hypers) => Err(format!("on \"{}\"\nours:  {ours:?}\nhyper: {hypers:?}", bytes.escape_ascii())),
    }
}

#[track_caller]
fn check(answer: &str) {
    for method in [Method::GET, Method::HEAD] {
        if let Err(e) = agree(answer.replace('\n', "\r\n").as_bytes(), &method) {
            panic!("{e}");
        }
    }
}

#[test]
fn on_whole_answers() {
    check("HTTP/1.1 200 OK\ncontent-length: 5\nx: y\nx: z\n\nhello");
    check("HTTP/1.1 200 OK\ncontent-length: 5, 5\n\nhello");
    check("HTTP/1.1 200 OK\ncontent-length: 5\n\nhello and more");
    check("HTTP/1.0 200 OK\nserver: old\n\nhello");
    check("HTTP/1.1 404 Not Found\ncontent-length: 0\n\n");
    check("HTTP/1.1 204 No Content\ncontent-length: 5\n\nhello");
    check("HTTP/1.1 304 Not Modified\n\n");
    check("HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Hints\nlink: x\n\nHTTP/1.1 200 OK\ncontent-length: 2\n\nok");
    check("HTTP/1.1 999 Odd\ncontent-length: 2\n\nok");
    check("HTTP/1.1 200 OK\ntransfer-encoding: Chunked\n\n5;a=b\nhello\n6 \n world\n0\nx: y\n\n");
    check("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n0\n\nrest");
    check("HTTP/1.1 200 OK\ntransfer-encoding: identity\n\nhello");
}

#[test]
fn on_broken_answers() {
    let head = "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n";
    for body in [
        "",
        "5",
        "5\n",
        "5\nhel",
        "5\nhello",
        "5\nhello\n",
        "5\nhello\n0\n",
        "5\nhello0\n\n",
        "x\n",
        "\n",
        "-1\n\n",
        "5\u{a}hello",
        "5;\u{a}hello\n0\n\n",
        "0\nno header\n\n",
        "0\n: x\n\n",
        "0\nx\u{1}: y\n\n",
        "ffffffffffffffff0\n",
        "5 5\nhello\n0\n\n",
        " 5\nhello\n0\n\n",
    ] {
        check(&format!("{head}{body}"));
    }
    for headers in [
        "content-length: 3\ntransfer-encoding: chunked",
        "content-length: x\ntransfer-encoding: identity",
        "transfer-encoding: chunked,",
        "transfer-encoding: , chunked",
        "transfer-encoding: chunked\ntransfer-encoding:",
        "content-length: 3\ncontent-length: 4",
        "content-length: +3",
        "content-length: 3 4",
        "content-length:",
        "content-length: -1",
        "content-length: 18446744073709551615",
        "content-length: 18446744073709551614",
        "content-length: 99999999999999999999999",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding:",
        "no colon",
        " : x",
        "a b: c",
        "x: \u{1}",
    ] {
        check(&format!("HTTP/1.1 200 OK\n{headers}\n\n0\n\n"));
    }
    for answer in [
        "",
        "H",
        "HTTP/1.1",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\n",
        "HTTP/1.1 20 OK\n\n",
        "HTTP/1.1 2000 OK\n\n",
        "HTTP/1.1 099 Low\n\n",
        "HTTP/2 200 OK\n\n",
        "HTTP/1.2 200 OK\n\n",
        "http/1.1 200 ok\n\n",
        "<html>\n\n",
        "HTTP/1.1 101 Switch\nupgrade: x\n\n",
        "HTTP/1.1 100 Continue\n\n",
        "HTTP/1.0 200 OK\ntransfer-encoding: chunked\n\n0\n\n",
        "\n\nHTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    ] {
        check(answer);
    }
}

/// Pieces of which answers, good and bad, are made.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 204 No\r\n",
        "content-length: 5\r\n",
        "Content-Length: 10\r\n",
        "transfer-encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "connection: close\r\n",
        "x: y\r\n",
        "x:\r\n",
        "\r\n",
        "\r\n\r\n",
        "5\r\n",
        "5;q=\"v\"\r\n",
        "5 \r\n",
        "hello",
        "hello\r\n",
        "A\r\n0123456789\r\n",
        "0\r\n",
        "0\r\n\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "0",
        ";",
        ":",
        ",",
        "\u{0}",
        "g",
    ]);
    let tail = prop::collection::vec(piece, 0..10).prop_map(|parts| parts.concat());
    let start = prop::sample::select(vec![
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n",
    ]);
    (start, tail).prop_map(|(start, tail)| [start.as_bytes(), tail.as_bytes()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn on_assembled_answers(bytes in pieces(), head in prop::bool::weighted(0.1)) {
        let method = if head { Method::HEAD } else { Method::GET };
        prop_assert_eq!(agree(&bytes, &method), Ok(()));
    }

    #[test]
    fn on_damaged_answers(
        bytes in pieces(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let mut bytes = bytes;
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        prop_assert_eq!(agree(&bytes, &Method::GET), Ok(()));
    }
}
