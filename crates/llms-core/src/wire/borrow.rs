//! Text of a JSON frame without a copy.

use std::{borrow::Cow, ops::Deref};

use serde::Deserialize;

/// A text that borrows from the frame unless it holds escapes. A newtype, because serde borrows a [`Cow`] inside an
/// [`Option`] only through one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> Text<'a> {
    /// The text itself.
    pub fn into_inner(self) -> Cow<'a, str> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_borrows_inside_an_option() {
        let plain: Option<Text<'_>> = serde_json::from_str("\"plain\"").unwrap();
        assert!(matches!(plain, Some(Text(Cow::Borrowed("plain")))));
        let escaped: Option<Text<'_>> = serde_json::from_str("\"a\\nb\"").unwrap();
        assert!(matches!(escaped, Some(Text(Cow::Owned(t))) if t == "a\nb"));
    }
}
