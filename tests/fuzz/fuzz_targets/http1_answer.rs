//! The reader of HTTP/1.1 answers. First byte: bit 0 set for the answer to a HEAD request; all of it seeds the reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llms_bench_fuzz::reads::Reads;
use llms_transport::http1::{BodyDecoder, Framing, HeadParser, MAX_HEAD, MAX_HEADERS};

/// How an answer ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Complete { keep_alive: bool, behind: usize },
    CutInHead,
    CutInBody,
    Malformed,
}

#[derive(Debug, PartialEq, Eq)]
struct Read {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    framing: Option<Framing>,
    payload: Vec<u8>,
    end: End,
}

/// Reads the pieces as a socket would deliver them, then the end of the connection.
fn read(bytes: &[u8], reads: Reads, to_head_request: bool) -> Read {
    let mut out = Read { status: 0, headers: vec![], framing: None, payload: vec![], end: End::CutInHead };
    let mut parser = HeadParser::new(to_head_request);
    let mut received = Vec::new();
    let mut pieces = reads.of(bytes);
    let (head, used) = loop {
        match parser.parse(&received) {
            Ok(Some(found)) => break found,
            Ok(None) => assert!(received.len() <= MAX_HEAD, "a head without bound"),
            Err(e) => {
                assert!(e.to_string().len() < 1000, "a message of {} bytes", e.to_string().len());
                return Read { end: End::Malformed, ..out };
            }
        }
        let Some(piece) = pieces.next() else {
            return if parser.end(&received).is_err() { Read { end: End::Malformed, ..out } } else { out };
        };
        received.extend_from_slice(piece);
    };
    assert!(used <= received.len() && used <= MAX_HEAD && head.headers.len() <= MAX_HEADERS);
    assert!((200..=999).contains(&head.status));
    out.status = head.status;
    out.framing = Some(head.framing);
    out.headers = head.headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
    let mut body = BodyDecoder::new(head.framing);
    let mut behind = 0;
    let first = received.split_off(used);
    for mut piece in std::iter::once(first).chain(pieces.map(<[u8]>::to_vec)) {
        let decoded = body.decode(&mut piece);
        assert!(decoded.payload <= decoded.used && decoded.used <= piece.len());
        out.payload.extend_from_slice(&piece[..decoded.payload]);
        behind += piece.len() - decoded.used;
        if let Some(fault) = body.fault() {
            assert!(fault.to_string().len() < 1000, "a message of {} bytes", fault.to_string().len());
            return Read { end: End::Malformed, ..out };
        }
        assert!(decoded.used == piece.len() || body.is_complete());
    }
    match (head.framing, body.is_complete()) {
        (Framing::Empty, complete) => assert!(complete && out.payload.is_empty()),
        (Framing::Length(n), complete) => assert_eq!(complete, out.payload.len() as u64 == n),
        (Framing::Close, complete) => assert!(!complete && behind == 0),
        (Framing::Chunked, _) => {}
    }
    match body.end() {
        Ok(()) => {
            assert!(body.is_complete());
            Read { end: End::Complete { keep_alive: head.keep_alive, behind }, ..out }
        }
        Err(_) => Read { end: End::CutInBody, ..out },
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let whole = read(bytes, Reads::Whole, seed & 1 == 1);
    for reads in [Reads::Drip, Reads::Drawn(seed)] {
        assert_eq!(read(bytes, reads, seed & 1 == 1), whole, "in reads of {reads:?}, and in one");
    }
});
