//! The reader against tables of whole answers, and against any split of their bytes.

use proptest::prelude::*;

use super::*;

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Complete { keep_alive: bool, behind: usize },
    CutInHead,
    CutInBody,
    Malformed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    status: u16,
    headers: usize,
    payload: Vec<u8>,
    end: End,
    says: String,
}

/// Reads the pieces as a socket would deliver them, then the end of the connection.
fn read(pieces: &[&[u8]], to_head_request: bool) -> Read {
    let mut out = Read { status: 0, headers: 0, payload: vec![], end: End::CutInHead, says: String::new() };
    let mut parser = HeadParser::new(to_head_request);
    let mut received = Vec::new();
    let mut pieces = pieces.iter();
    let (head, used) = loop {
        match parser.parse(&received) {
            Ok(Some(found)) => break found,
            Ok(None) => {}
            Err(e) => return Read { end: End::Malformed, says: e.to_string(), ..out },
        }
        let Some(piece) = pieces.next() else {
            if let Err(e) = parser.end(&received) {
                return Read { end: End::Malformed, says: e.to_string(), ..out };
            }
            return out;
        };
        received.extend_from_slice(piece);
    };
    (out.status, out.headers) = (head.status, head.headers.len());
    let (mut body, mut twin) = (BodyDecoder::new(head.framing), BodyDecoder::new(head.framing));
    let mut behind = 0;
    let first = received.split_off(used);
    for piece in std::iter::once(first).chain(pieces.map(|p| p.to_vec())) {
        // Both ways to decode agree, whatever comes.
        let (mut piece, mut copied) = (piece, b"before".to_vec());
        let into = twin.decode_into(&piece, &mut copied);
        let decoded = body.decode(&mut piece);
        assert_eq!((into, &copied[6..]), (decoded, &piece[..decoded.payload]));
        assert_eq!((twin.fault(), twin.chunks()), (body.fault(), body.chunks()));
        assert!(decoded.payload <= decoded.used && decoded.used <= piece.len());
        out.payload.extend_from_slice(&piece[..decoded.payload]);
        behind += piece.len() - decoded.used;
        if let Some(fault) = body.fault() {
            return Read { end: End::Malformed, says: fault.to_string(), ..out };
        }
        assert!(decoded.used == piece.len() || body.is_complete());
    }
    match body.end() {
        Ok(()) => Read { end: End::Complete { keep_alive: head.keep_alive, behind }, ..out },
        Err(says) => Read { end: End::CutInBody, says, ..out },
    }
}

/// Reads `answer` whole and byte by byte, demands the same of both, and compares with what is expected.
#[track_caller]
fn check_request(to_head_request: bool, answer: &str, payload: &str, end: End, says: &str) {
    let answer = answer.replace('\n', "\r\n");
    let whole = read(&[answer.as_bytes()], to_head_request);
    let drip: Vec<&[u8]> = answer.as_bytes().chunks(1).collect();
    let drip = read(&drip, to_head_request);
    assert_eq!(
        (String::from_utf8_lossy(&whole.payload), &whole.end),
        (payload.into(), &end),
        "{}",
        whole.says
    );
    assert_eq!((drip.payload, &drip.end), (whole.payload, &end), "dripped: {}", drip.says);
    assert!(whole.says.contains(says), "said: {}", whole.says);
}

#[track_caller]
fn check(answer: &str, payload: &str, end: End, says: &str) {
    check_request(false, answer, payload, end, says);
}

const ALIVE: End = End::Complete { keep_alive: true, behind: 0 };
const CLOSED: End = End::Complete { keep_alive: false, behind: 0 };
const CHUNKED: &str = "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n";

fn chunked(rest: &str) -> String {
    format!("{CHUNKED}{rest}")
}

fn headed(headers: &str, rest: &str) -> String {
    format!("HTTP/1.1 200 OK\n{headers}\n\n{rest}")
}

#[test]
fn bodies_end_where_their_framing_says() {
    check(&headed("Content-Length: 5", "hello"), "hello", ALIVE, "");
    check(&headed("content-length: 5, 5\ncontent-length: 5", "hello"), "hello", ALIVE, "");
    check(&headed("content-length: 0", ""), "", ALIVE, "");
    check(
        &headed("content-length: 5", "helloHTTP"),
        "hello",
        End::Complete { keep_alive: true, behind: 4 },
        "",
    );
    check("HTTP/1.1 200 OK\n\nuntil it closes", "until it closes", CLOSED, "");
    check("HTTP/1.1 200\n\nno reason", "no reason", CLOSED, "");
    check(&headed("transfer-encoding: identity", "x"), "x", CLOSED, "");
    check("HTTP/1.1 204 No Content\ncontent-length: 7\n\n", "", ALIVE, "");
    check("HTTP/1.1 304 Not Modified\ntransfer-encoding: chunked\n\n", "", ALIVE, "");
    check_request(true, &headed("content-length: 5", ""), "", ALIVE, "");
    check_request(true, &chunked(""), "", ALIVE, "");
}

#[test]
fn chunked_bodies_are_decoded() {
    check(&chunked("5\nhello\n0\n\n"), "hello", ALIVE, "");
    check(&chunked("5\nhello\n6\n world\n0\n\n"), "hello world", ALIVE, "");
    check(&chunked("00005\nhello\n000\n\n"), "hello", ALIVE, "");
    check(&chunked("A\n0123456789\na\n0123456789\n0\n\n"), "01234567890123456789", ALIVE, "");
    check(&chunked("0\n\n"), "", ALIVE, "");
    check(&chunked("5;name=value;flag\nhello\n0;last\n\n"), "hello", ALIVE, "");
    check(&chunked("5 \t;x=\"\u{e9}\"\nhello\n0  \n\n"), "hello", ALIVE, "");
    check(&chunked("5\nhello\n0\nExpires: never\nX: y\n\n"), "hello", ALIVE, "");
    check(&chunked("5\nhello\n0\n\nrest"), "hello", End::Complete { keep_alive: true, behind: 6 - 2 }, "");
    check(&headed("Transfer-Encoding:  Chunked ", "2\nok\n0\n\n"), "ok", ALIVE, "");
}

#[test]
fn a_body_that_breaks_off_is_not_complete() {
    check(&headed("content-length: 5", "hel"), "hel", End::CutInBody, "after 3 of 5 bytes");
    check(&chunked(""), "", End::CutInBody, "before the final chunk");
    check(&chunked("5\nhello\n"), "hello", End::CutInBody, "before the final chunk");
    check(&chunked("5\nhel"), "hel", End::CutInBody, "inside a chunk, 2 bytes before its end");
    check(&chunked("5\nhello\n0\n"), "hello", End::CutInBody, "inside the trailer");
    check(&chunked("5\nhello\n0\nX: y\n"), "hello", End::CutInBody, "inside the trailer");
    check("HTTP/1.1 200 OK\nserver: x\n", "", End::CutInHead, "");
    check("HTTP/1.1 100 Continue\n\n", "", End::CutInHead, "");
    check("", "", End::CutInHead, "");
}

#[test]
fn broken_chunks_are_refused_and_shown() {
    let bad = |rest: &str, payload: &str, says: &str| {
        check(&chunked(rest), payload, End::Malformed, says);
    };
    bad("zz\n", "", "expected a chunk size in hexadecimal, found \"zz\\r\\n\"");
    bad("\nhello", "", "expected a chunk size");
    bad("-5\nhello", "", "expected a chunk size");
    bad("5\nhello0\n\n", "hello", "expected CRLF at the end of a chunk, found \"0\\r\\n\\r\\n\"");
    bad("5x\nhello", "", "expected the end of the chunk-size line");
    bad("5 5\nhello", "", "expected the end of the chunk-size line");
    bad("fffffffffffffffff\n", "", "below 2^64");
    bad("0\nno header\n\n", "", "expected header lines in the trailer");
    // A lone LF is where readers begin to differ.
    for rest in ["5\u{a}hello", "5;x\u{a}hello", "0\r\n\u{a}"] {
        let answer = format!("{}{rest}", CHUNKED.replace('\n', "\r\n"));
        assert_eq!(read(&[answer.as_bytes()], false).end, End::Malformed, "{rest:?}");
    }
    bad(&format!("5;{}\n", "x".repeat(20_000)), "", "longer than 16384 bytes");
    bad(&format!("{}5\n", "0".repeat(20_000)), "", "longer than 16384 bytes");
    bad(&format!("0\n{}", "x: y\n".repeat(5_000)), "", "longer than 16384 bytes");
    bad(&format!("0\n{}\n", "x: y\n".repeat(200)), "", "expected header lines in the trailer");
}

#[test]
fn ambiguous_framing_is_refused() {
    let bad = |headers: &str, says: &str| check(&headed(headers, "0\n\n"), "", End::Malformed, says);
    bad("content-length: 3\ntransfer-encoding: chunked", "the end is ambiguous");
    bad("transfer-encoding: chunked\ncontent-length: 3", "the end is ambiguous");
    bad("content-length: 3\ncontent-length: 4", "contradict");
    bad("content-length: 3, 4", "contradict");
    bad("content-length: +3", "expected a content-length, found \"+3\"");
    bad("content-length: 3a", "expected a content-length");
    bad("content-length: 0x3", "expected a content-length");
    bad("content-length:", "expected a content-length");
    bad("content-length: 18446744073709551616", "expected a content-length");
    bad("transfer-encoding: gzip, chunked", "expected transfer-encoding chunked alone, found \"gzip\"");
    bad("transfer-encoding: chunked, chunked", "chunked alone");
    bad("transfer-encoding: xchunked", "chunked alone");
    bad("transfer-encoding:", "chunked alone, found \"\"");
    bad("transfer-encoding: chunked,", "chunked alone");
    check("HTTP/1.0 200 OK\ntransfer-encoding: chunked\n\n0\n\n", "", End::Malformed, "HTTP/1.0");
}

#[test]
fn heads_that_are_none_are_refused() {
    let bad = |answer: &str, says: &str| check(answer, "", End::Malformed, says);
    bad("<html>", "expected an HTTP/1.1 answer, found \"<html>\"");
    bad("SSH-2.0-OpenSSH\n", "expected an HTTP/1.1 answer");
    bad("HTTP/2 200\n\n", "expected HTTP/1.1, found \"HTTP/2 200");
    bad("HTTP/1.1 OK\n\n", "expected an HTTP/1.1 head");
    bad("HTTP/1.1 200 OK\nno colon\n\n", "expected an HTTP/1.1 head");
    bad("HTTP/1.1 200 OK\nspace : x\n\n", "expected an HTTP/1.1 head");
    bad("HTTP/1.1 099 Low\n\n", "expected a status of 100 or more");
    bad("HTTP/1.1 101 Switching Protocols\n\n", "switched protocols (101)");
    bad("\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}F", "use https://");
}

#[test]
fn heads_are_bounded() {
    let long = headed(&format!("x: {}", "y".repeat(MAX_HEAD)), "");
    check(&long, "", End::Malformed, "limit of 65536 bytes");
    check(&long[..MAX_HEAD + 10], "", End::Malformed, "limit of 65536 bytes");
    let many = headed(&vec!["x: y"; MAX_HEADERS + 1].join("\n"), "");
    check(&many, "", End::Malformed, "more than 128 headers");
    let enough = headed(&vec!["x: y"; MAX_HEADERS].join("\n"), "");
    check(&enough, "", CLOSED, "");
    let interim = "HTTP/1.1 100 Continue\n\n".repeat(4_000);
    check(&interim, "", End::Malformed, "limit of 65536 bytes");
}

#[test]
fn interim_answers_are_skipped() {
    let last = headed("content-length: 2", "ok");
    check(&format!("HTTP/1.1 100 Continue\n\n{last}"), "ok", ALIVE, "");
    check(&format!("HTTP/1.1 103 Early Hints\nlink: </x>\n\nHTTP/1.1 102 Wait\n\n{last}"), "ok", ALIVE, "");
}

#[test]
fn a_connection_lives_on_only_when_both_sides_can() {
    let with =
        |version: &str, header: &str| format!("HTTP/{version} 200 OK\ncontent-length: 0\n{header}\n\n");
    check(&with("1.1", "x: y"), "", ALIVE, "");
    check(&with("1.1", "Connection: Keep-Alive"), "", ALIVE, "");
    check(&with("1.1", "Connection: close"), "", CLOSED, "");
    check(&with("1.1", "connection: keep-alive\nconnection: x, Close"), "", CLOSED, "");
    check(&with("1.0", "x: y"), "", CLOSED, "");
    check(&with("1.0", "connection: keep-alive"), "", ALIVE, "");
}

#[test]
fn headers_keep_names_values_and_order() {
    let answer = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-empty:\r\nX-A:  2 \r\nx-odd: caf\xe9\r\n\r\n";
    let (head, used) = HeadParser::new(false).parse(answer).unwrap().unwrap();
    assert_eq!(used, answer.len());
    let all: Vec<_> = head.headers.get_all("x-a").iter().map(|v| v.to_str().unwrap()).collect();
    assert_eq!(all, ["1", "2"]);
    assert_eq!(head.headers["x-empty"].as_bytes(), b"");
    assert_eq!(head.headers["x-odd"].as_bytes(), b"caf\xe9");
}

/// Cuts `bytes` at these places, in order.
fn split<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
    at.sort_unstable();
    at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect()
}

/// A whole answer, chunked with extensions and trailers, or by length, or closed; with interim ones before it.
fn answers() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let chunk =
        (prop::collection::vec(any::<u8>(), 1..40), "(|;[a-z]{0,5}(=\"[a-z ]{0,4}\")?| ?\t?)", any::<bool>());
    let chunks = prop::collection::vec(chunk, 0..6);
    (chunks, 0..3_u8, 0..3_usize, "(|x: y\r\n|a: b\r\nc: d\r\n)").prop_map(
        |(chunks, framing, interim, trailer)| {
            let payload: Vec<u8> = chunks.iter().flat_map(|(data, ..)| data.clone()).collect();
            let mut bytes = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(interim);
            match framing {
                0 => {
                    bytes.extend_from_slice(CHUNKED.replace('\n', "\r\n").as_bytes());
                    for (data, extension, upper) in chunks {
                        let size =
                            if upper { format!("{:X}", data.len()) } else { format!("{:x}", data.len()) };
                        bytes.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
                        bytes.extend_from_slice(&data);
                        bytes.extend_from_slice(b"\r\n");
                    }
                    bytes.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
                }
                1 => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", payload.len());
                    bytes.extend_from_slice(head.as_bytes());
                    bytes.extend_from_slice(&payload);
                }
                _ => {
                    bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nserver: t\r\n\r\n");
                    bytes.extend_from_slice(&payload);
                }
            }
            (bytes, payload)
        },
    )
}

proptest! {
    #[test]
    fn any_split_gives_the_same_payload(
        (bytes, payload) in answers(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = read(&[&bytes], false);
        prop_assert_eq!(&whole.payload, &payload);
        prop_assert!(matches!(whole.end, End::Complete { behind: 0, .. }), "{:?}", whole);
        prop_assert_eq!(read(&split(&bytes, &cuts), false), whole);
    }

    /// Also of broken answers: the verdict never depends on how the bytes were cut.
    #[test]
    fn any_split_of_a_damaged_answer_gives_the_same_verdict(
        (bytes, _) in answers(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        keep in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = bytes;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(keep.index(bytes.len()) + 1);
        let whole = read(&[&bytes], false);
        let parts = read(&split(&bytes, &cuts), false);
        prop_assert_eq!((parts.status, parts.payload, parts.end), (whole.status, whole.payload, whole.end));
    }
}
