//! What an answer must be like to count as a success, as data.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Conditions on the text of an answer; all of them must hold. An answer that fails one is a failed request with
/// `invalid_response`. Judged when the request is over, outside everything that is timed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Texts that must occur, upper and lower case told apart. One or a list.
    #[serde(with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<String>,
    /// Regular expressions that must match somewhere. One or a list.
    #[serde(with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<String>,
    /// The answer must be JSON (alone, or in one fenced code block) that fits this schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<Value>,
}

impl Expect {
    /// Whether it asks nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

mod one_or_many {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text or a list of texts")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }

    pub(super) fn serialize<S: Serializer>(list: &[String], s: S) -> Result<S::Ok, S::Error> {
        match list {
            [one] => one.serialize(s),
            _ => list.serialize(s),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
        Ok(match OneOrMany::deserialize(d)? {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        })
    }
}
