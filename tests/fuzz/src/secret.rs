//! The secrets that the configurations under test hold, and the search for them in what comes out.

use llms_core::{
    Error,
    observe::{HookValue, Reported},
};

/// The key. Looks like no key, so that only knowing it helps to keep it out of a message.
pub const KEY: &str = "marmalade";
/// The value of a header that the user added: long enough to be taken for a credential.
pub const HEADER: &str = "quincejamandtoast";

/// More than any message needs, in bytes: the server's text is cut at 1000 characters, hints are added.
const MAX_TEXT: usize = 16 << 10;

fn check(what: &str, text: &str) {
    for secret in [KEY, HEADER] {
        assert!(!text.contains(secret), "{what} shows the secret {secret}: {text}");
    }
    assert!(text.len() <= MAX_TEXT, "{what} of {} bytes", text.len());
}

/// No secret in any form of the error or of its causes, and no message without bound.
pub fn check_error(error: &Error) {
    check("an error (Display)", &error.to_string());
    check("an error (Debug)", &format!("{error:?}"));
    check("an error (Debug, indented)", &format!("{error:#?}"));
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        check("the cause of an error (Display)", &cause.to_string());
        check("the cause of an error (Debug)", &format!("{cause:?}"));
        source = cause.source();
    }
}

/// Nor in what the server reported about itself.
pub fn keep_hook(into: &mut Vec<(&'static str, Reported)>, key: &'static str, value: HookValue<'_>) {
    if let HookValue::Text(text) = value {
        for secret in [KEY, HEADER] {
            assert!(!text.contains(secret), "{key} shows the secret {secret}: {text}");
        }
    }
    into.push((key, value.into()));
}
