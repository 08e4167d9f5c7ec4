//! The frame decoders against a naive reference, for any split of the bytes.

use llms_core::{
    ErrorCode,
    wire::{Framer, ndjson::NdjsonFramer, sse::SseFramer},
};
use proptest::prelude::*;

/// Owned frames, and the code of the error that ended them, if any.
type Seen = (Vec<(Option<String>, String)>, Option<ErrorCode>);

/// Feeds `bytes` in pieces that end at `cuts` (any order, any value), taking frames after each.
fn feed(mut framer: impl Framer, bytes: &[u8], cuts: &[usize]) -> Seen {
    let mut ends: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let (mut frames, mut from) = (Vec::new(), 0);
    for end in ends {
        framer.buffer().extend_from_slice(&bytes[from..end]);
        from = end;
        loop {
            match framer.next_frame() {
                Ok(Some(f)) => frames.push((f.event.map(str::to_owned), f.data.to_owned())),
                Ok(None) => break,
                Err(e) => return (frames, Some(e.code())),
            }
        }
    }
    match framer.finish() {
        Ok(Some(f)) => frames.push((f.event.map(str::to_owned), f.data.to_owned())),
        Ok(None) => {}
        Err(e) => return (frames, Some(e.code())),
    }
    assert!(matches!(framer.finish(), Ok(None)), "the end was delivered twice");
    (frames, None)
}

fn one_shot(framer: impl Framer, bytes: &[u8]) -> Seen {
    feed(framer, bytes, &[])
}

fn byte_by_byte(framer: impl Framer, bytes: &[u8]) -> Seen {
    feed(framer, bytes, &(0..bytes.len()).collect::<Vec<_>>())
}

/// The standard, step by step and slowly: normalise line ends, split, fill buffers, dispatch.
fn sse_reference(bytes: &[u8]) -> Seen {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut text = Vec::new();
    for (i, &b) in bytes.iter().enumerate() {
        match b {
            b'\r' => text.push(b'\n'),
            b'\n' if i > 0 && bytes[i - 1] == b'\r' => {}
            _ => text.push(b),
        }
    }
    let mut lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
    lines.pop(); // what no line end follows is no line
    let (mut frames, mut event, mut data) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        if line.is_empty() {
            data.pop();
            if !data.is_empty() {
                let (Ok(name), Ok(text)) =
                    (String::from_utf8(event.clone()), String::from_utf8(data.clone()))
                else {
                    return (frames, Some(ErrorCode::MalformedResponse));
                };
                frames.push(((!name.is_empty()).then_some(name), text));
            }
            event.clear();
            data.clear();
            continue;
        }
        let (name, value) = match line.iter().position(|b| *b == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => event = value.to_vec(),
            b"data" => {
                data.extend_from_slice(value);
                data.push(b'\n');
            }
            _ => {}
        }
    }
    (frames, None)
}

fn ndjson_reference(bytes: &[u8]) -> Seen {
    let mut frames = Vec::new();
    for line in bytes.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            let Ok(text) = std::str::from_utf8(line) else {
                return (frames, Some(ErrorCode::MalformedResponse));
            };
            frames.push((None, text.to_owned()));
        }
    }
    (frames, None)
}

/// `expected`: `(event or "", data)` of each frame.
#[track_caller]
fn check_sse(bytes: impl AsRef<[u8]>, expected: &[(&str, &str)]) {
    let bytes = bytes.as_ref();
    let expected: Vec<_> =
        expected.iter().map(|(e, d)| ((!e.is_empty()).then(|| (*e).to_owned()), (*d).to_owned())).collect();
    let expected = (expected, None);
    assert_eq!(one_shot(SseFramer::new(), bytes), expected, "in one piece");
    assert_eq!(byte_by_byte(SseFramer::new(), bytes), expected, "byte by byte");
    assert_eq!(sse_reference(bytes), expected, "the reference");
}

#[track_caller]
fn check_ndjson(bytes: impl AsRef<[u8]>, expected: &[&str]) {
    let bytes = bytes.as_ref();
    let expected = (expected.iter().map(|d| (None, (*d).to_owned())).collect::<Vec<_>>(), None);
    assert_eq!(one_shot(NdjsonFramer::new(), bytes), expected, "in one piece");
    assert_eq!(byte_by_byte(NdjsonFramer::new(), bytes), expected, "byte by byte");
    assert_eq!(ndjson_reference(bytes), expected, "the reference");
}

#[test]
fn sse_line_ends() {
    check_sse("data: a\n\ndata: b\n\n", &[("", "a"), ("", "b")]);
    check_sse("data: a\r\n\r\ndata: b\r\n\r\n", &[("", "a"), ("", "b")]);
    check_sse("data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]);
    check_sse("data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", &[("", "a"), ("", "b"), ("", "c")]);
    check_sse("\n\r\n\r\rdata: a\n\n\n\n\r\n", &[("", "a")]);
}

#[test]
fn sse_fields() {
    check_sse(
        "data:a\n\ndata: a\n\ndata:  a\n\ndata:\ta\n\n",
        &[("", "a"), ("", "a"), ("", " a"), ("", "\ta")],
    );
    check_sse(
        "event: ping\ndata: {}\n\nevent:pong\ndata: {}\n\ndata: {}\n\n",
        &[("ping", "{}"), ("pong", "{}"), ("", "{}")],
    );
    check_sse("event: a\nevent: b\ndata: x\n\nevent: a\nevent\ndata: x\n\n", &[("b", "x"), ("", "x")]);
    check_sse("data: x\nevent: after\n\n", &[("after", "x")]);
    check_sse(": comment\nid: 7\nretry: 100\ndata: x\n:\nunknown: y\nunknown\n\n", &[("", "x")]);
    check_sse("Data: x\n\ndata : x\n\n data: x\n\ndatax: x\n\neventx: y\ndata: z\n\n", &[("", "z")]);
    check_sse("data: [DONE]\n\n", &[("", "[DONE]")]);
    check_sse("data: a:b: c\n\n", &[("", "a:b: c")]);
}

#[test]
fn sse_data_of_several_lines() {
    check_sse("data: a\ndata: b\ndata\ndata:\ndata: c\n\n", &[("", "a\nb\n\n\nc")]);
    check_sse(
        "data: a\nevent: name-longer-than-data\ndata: bbbbbbbbbbbbbbbbbbbbbbbbbbb\n\n",
        &[("name-longer-than-data", "a\nbbbbbbbbbbbbbbbbbbbbbbbbbbb")],
    );
    check_sse("data:\ndata:\n\n", &[("", "\n")]);
    check_sse(
        "data: a\ndata: b\n\ndata: c\ndata: d\n\ndata: e\n\n",
        &[("", "a\nb"), ("", "c\nd"), ("", "e")],
    );
}

#[test]
fn sse_without_data_is_no_event() {
    check_sse("event: ping\n\ndata: x\n\n", &[("", "x")]);
    check_sse("data:\n\nevent: e\ndata: \n\ndata\n\ndata: x\n\n", &[("", "x")]);
    check_sse(": keep-alive\n\n: keep-alive\n\n", &[]);
}

#[test]
fn sse_unterminated_is_no_event() {
    check_sse("data: a\n\ndata: b\n", &[("", "a")]);
    check_sse("data: a\n\ndata: b", &[("", "a")]);
    check_sse("data: a\r", &[]);
    check_sse("", &[]);
}

#[test]
fn sse_byte_order_mark() {
    check_sse("\u{feff}data: a\n\n", &[("", "a")]);
    check_sse("\u{feff}\u{feff}data: a\n\ndata: b\n\n", &[("", "b")]);
    check_sse("\u{feff}", &[]);
    check_sse("data: \u{feff}a\n\n", &[("", "\u{feff}a")]);
}

#[test]
fn sse_text_of_many_scripts() {
    check_sse("event: grüße\ndata: 日本語 🦀\u{0}\u{2028}\n\n", &[("grüße", "日本語 🦀\u{0}\u{2028}")]);
}

#[test]
fn a_blank_line_of_crlf_dispatches_at_its_cr() {
    let mut framer = SseFramer::new();
    framer.buffer().extend_from_slice(b"data: a\r\n\r");
    assert_eq!(framer.next_frame().unwrap().unwrap().data, "a");
    framer.buffer().extend_from_slice(b"\ndata: b\r\n\r\n");
    assert_eq!(framer.next_frame().unwrap().unwrap().data, "b");
    assert!(framer.next_frame().unwrap().is_none());
}

#[test]
fn ndjson_lines() {
    check_ndjson("{\"a\":1}\n{\"b\":2}\n", &["{\"a\":1}", "{\"b\":2}"]);
    check_ndjson("{}\r\n\r\n\n\n[]\r\n", &["{}", "[]"]);
    check_ndjson("{}\n{\"last\":true}", &["{}", "{\"last\":true}"]);
    check_ndjson("{}\n{\"last\":true}\r", &["{}", "{\"last\":true}"]);
    check_ndjson("\r", &[]);
    check_ndjson("", &[]);
    check_ndjson("\"日本語 🦀\"\n", &["\"日本語 🦀\""]);
}

#[track_caller]
fn check_malformed(seen: Seen, frames_before: usize) {
    assert_eq!(seen.0.len(), frames_before, "{seen:?}");
    assert_eq!(seen.1, Some(ErrorCode::MalformedResponse));
}

#[test]
fn bytes_that_are_not_utf8() {
    for bytes in [&b"data: ok\n\ndata: \xff\n\n"[..], b"data: ok\n\nevent: \xff\ndata: x\n\n"] {
        check_malformed(one_shot(SseFramer::new(), bytes), 1);
        check_malformed(byte_by_byte(SseFramer::new(), bytes), 1);
    }
    // A character cut in half by the line end stays cut.
    check_malformed(one_shot(SseFramer::new(), b"data: \xe6\x97\ndata: \xa5\n\n"), 0);
    // What is skipped is not looked at.
    check_sse(b": \xff\nid: \xff\ndata: x\n\n", &[("", "x")]);
    for bytes in [&b"{}\n\"\xff\"\n"[..], b"{}\n\"\xff\""] {
        check_malformed(one_shot(NdjsonFramer::new(), bytes), 1);
        check_malformed(byte_by_byte(NdjsonFramer::new(), bytes), 1);
    }
}

#[test]
fn the_frame_limit_holds_exactly_and_before_the_frame_is_complete() {
    // Limit 8: `data: ab` fits, `data: abc` does not, complete or not.
    let sse = || SseFramer::with_max_frame(8);
    assert_eq!(one_shot(sse(), b"data: ab\n\ndata: cd\r\n\r\n").0.len(), 2);
    check_malformed(one_shot(sse(), b"data: ab\n\ndata: abc\n\n"), 1);
    check_malformed(one_shot(sse(), b"data: ab\n\ndata: abc"), 1);
    check_malformed(one_shot(sse(), b"data:a\ndata:b\n\n"), 0);
    check_malformed(one_shot(sse(), b":comment without end"), 0);
    // Lines that belong to no event do not add up.
    assert_eq!(one_shot(sse(), ": 3456\n".repeat(9).as_bytes()).1, None);
    let ndjson = || NdjsonFramer::with_max_frame(4);
    assert_eq!(one_shot(ndjson(), b"1234\n1234").0.len(), 2);
    check_malformed(one_shot(ndjson(), b"1234\n12345\n"), 1);
    check_malformed(one_shot(ndjson(), b"1234\n12345"), 1);
    assert_eq!(one_shot(ndjson(), "12\n\n".repeat(9).as_bytes()).0.len(), 9);
}

/// The memory of a long stream is that of its longest frame and a read, not of the stream.
#[test]
fn consumed_bytes_do_not_pile_up() {
    let event = format!("data: {}\n\n", "x".repeat(290));
    let stream = event.repeat(2000);
    let mut framer = SseFramer::new();
    let mut frames = 0;
    for read in stream.as_bytes().chunks(1000) {
        framer.buffer().extend_from_slice(read);
        while framer.next_frame().unwrap().is_some() {
            frames += 1;
        }
    }
    assert_eq!(frames, 2000);
    assert!(framer.buffer().capacity() < 8000, "{}", framer.buffer().capacity());
}

/// A megabyte in one line, delivered in small pieces: quadratic scanning would take minutes.
#[test]
fn an_unfinished_line_is_not_searched_again() {
    let bytes = format!("data: {}\n\n", "x".repeat(1 << 20));
    let seen = byte_by_byte(SseFramer::new(), bytes.as_bytes());
    assert_eq!(seen.0[0].1.len(), 1 << 20);
    let line = format!("{}\n", "x".repeat(1 << 20));
    assert_eq!(byte_by_byte(NdjsonFramer::new(), line.as_bytes()).0.len(), 1);
}

/// Pieces of event streams, so that random streams are mostly meaningful ones.
fn sse_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["data: ", "data:", "data", "event: ", "event:", "id: 1", ": c", "retry: 5"])
            .prop_map(|s| s.as_bytes().to_vec()),
        6 => prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n"])
            .prop_map(|s| s.as_bytes().to_vec()),
        4 => prop::sample::select(vec!["{\"a\":1}", "[DONE]", " ", ":", "é", "日本", "🦀", "\u{feff}", "x\u{0}"])
            .prop_map(|s| s.as_bytes().to_vec()),
        3 => "(event: [a-z]{1,9}\n)?data: ?[a-zé🦀 ]{0,40}\r?\n\r?\n".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|p| p.concat())
}

fn ndjson_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n"]).prop_map(|s| s.as_bytes().to_vec()),
        4 => "(\\{\"[a-zé🦀]{0,9}\":1\\}\r?\n)?".prop_map(String::into_bytes),
        2 => "[a-zé日🦀 ]{0,9}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|p| p.concat())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(any::<usize>(), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sse_any_split_gives_the_frames_of_the_standard(bytes in sse_bytes(), cuts in cuts()) {
        let expected = sse_reference(&bytes);
        prop_assert_eq!(&one_shot(SseFramer::new(), &bytes), &expected);
        prop_assert_eq!(&feed(SseFramer::new(), &bytes, &cuts), &expected);
        prop_assert_eq!(&byte_by_byte(SseFramer::new(), &bytes), &expected);
    }

    #[test]
    fn ndjson_any_split_gives_the_same_lines(bytes in ndjson_bytes(), cuts in cuts()) {
        let expected = ndjson_reference(&bytes);
        prop_assert_eq!(&one_shot(NdjsonFramer::new(), &bytes), &expected);
        prop_assert_eq!(&feed(NdjsonFramer::new(), &bytes, &cuts), &expected);
        prop_assert_eq!(&byte_by_byte(NdjsonFramer::new(), &bytes), &expected);
    }

    #[test]
    fn any_split_meets_the_limit_at_the_same_frame(bytes in sse_bytes(), cuts in cuts(), limit in 0_usize..40) {
        let sse = || SseFramer::with_max_frame(limit);
        prop_assert_eq!(feed(sse(), &bytes, &cuts), one_shot(sse(), &bytes));
        let ndjson = || NdjsonFramer::with_max_frame(limit);
        prop_assert_eq!(feed(ndjson(), &bytes, &cuts), one_shot(ndjson(), &bytes));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), cuts in cuts()) {
        prop_assert_eq!(feed(SseFramer::new(), &bytes, &cuts), sse_reference(&bytes));
        prop_assert_eq!(feed(NdjsonFramer::new(), &bytes, &cuts), ndjson_reference(&bytes));
    }
}
