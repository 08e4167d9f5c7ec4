//! JSON values as the SDK's `Document` and back, and the order of members that the SDK forgets in between.

use std::collections::HashMap;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::{Document, Number, body::SdkBody};
use serde_json::Value;

/// A JSON value as the SDK carries it.
pub(crate) fn document(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(b) => Document::Bool(*b),
        Value::Number(n) => Document::Number(match (n.as_u64(), n.as_i64()) {
            (Some(n), _) => Number::PosInt(n),
            (None, Some(n)) => Number::NegInt(n),
            (None, None) => Number::Float(n.as_f64().unwrap_or_default()),
        }),
        Value::String(s) => Document::String(s.clone()),
        Value::Array(a) => Document::Array(a.iter().map(document).collect()),
        Value::Object(o) => {
            Document::Object(o.iter().map(|(k, v)| (k.clone(), document(v))).collect::<HashMap<_, _>>())
        }
    }
}

/// The SDK's value as JSON. The SDK forgets the order of members: they come out sorted by name. A float that JSON
/// cannot write becomes null.
pub(crate) fn value(document: &Document) -> Value {
    let mut value = unsorted(document);
    value.sort_all_objects();
    value
}

fn unsorted(document: &Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(b) => Value::Bool(*b),
        Document::Number(Number::PosInt(n)) => Value::from(*n),
        Document::Number(Number::NegInt(n)) => Value::from(*n),
        Document::Number(Number::Float(n)) => Value::from(*n),
        Document::String(s) => Value::String(s.clone()),
        Document::Array(a) => Value::Array(a.iter().map(unsorted).collect()),
        Document::Object(o) => Value::Object(o.iter().map(|(k, v)| (k.clone(), unsorted(v))).collect()),
    }
}

/// Sorts the members of every object of a request's body by name. The SDK writes documents (tool schemas, tool
/// arguments, model fields) in the order of its hash maps, which is another in every request: the same request must
/// be the same bytes, and providers' prompt caches want so too.
pub(crate) fn sort_members(request: &mut HttpRequest) {
    let Some(mut body) = request.body().bytes().and_then(|b| serde_json::from_slice::<Value>(b).ok()) else {
        return;
    };
    body.sort_all_objects();
    let sorted = body.to_string();
    request.headers_mut().insert("content-length", sorted.len().to_string());
    *request.body_mut() = SdkBody::from(sorted);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str) {
        let before: Value = serde_json::from_str(json).unwrap();
        assert_eq!(value(&document(&before)).to_string(), before.to_string());
    }

    #[test]
    fn nothing_is_lost_on_the_way_and_back() {
        check(r#"{"a":[1,-2,2.5,7006652.0,1e300,18446744073709551615,-9223372036854775808],"b":{"c":null}}"#);
        check(r#""é \" \\ \n""#);
        check("[true,false,[],{}]");
    }
}
