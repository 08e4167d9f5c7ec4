//! Which items of the output a stream has told of, and what of each was delivered already.
//!
//! OpenAI says everything three times: piece by piece, at the end of each item, at the end of the response. Pieces are
//! delivered as they come; the ends only where there were no pieces, which some servers leave out.

/// More items than this in one answer are a server gone wrong.
const MAX_ITEMS: usize = 4096;

/// What an item is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Message, reasoning, or something the server does by itself.
    Other,
    /// A function call, the n-th of the answer.
    Call(u32),
}

/// One item told of.
#[derive(Debug)]
pub(crate) struct Seen {
    /// OpenAI and most others.
    index: Option<u32>,
    /// llama.cpp has nothing else.
    id: String,
    pub(crate) kind: Kind,
    /// Whether pieces of its content were delivered.
    pub(crate) said: bool,
    /// Whether id and name of the call were delivered.
    pub(crate) named: bool,
    pub(crate) done: bool,
}

/// The items of one answer so far.
#[derive(Debug, Default)]
pub(crate) struct Items {
    seen: Vec<Seen>,
    calls: u32,
}

impl Items {
    /// Whether none was told of.
    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Whether a function was called.
    pub(crate) fn called(&self) -> bool {
        self.calls > 0
    }

    /// A new item is announced.
    ///
    /// # Errors
    /// What is wrong, when there are more items than any answer has.
    pub(crate) fn begin(
        &mut self,
        index: Option<u32>,
        id: Option<&str>,
        call: bool,
    ) -> Result<&mut Seen, &'static str> {
        // vLLM has announced items at the index of one that was done.
        let open = self.find(index, id).filter(|at| !self.seen[*at].done && (index, id) != (None, None));
        self.place(open, index, id, call)
    }

    /// The item that an event names by index or id, or, when it names none, the last one; a new one when none was
    /// announced. `call`: it is a function call.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub(crate) fn at(
        &mut self,
        index: Option<u32>,
        id: Option<&str>,
        call: bool,
    ) -> Result<&mut Seen, &'static str> {
        self.place(self.find(index, id), index, id, call)
    }

    fn find(&self, index: Option<u32>, id: Option<&str>) -> Option<usize> {
        match (index, id) {
            // Some gateways draw a new id for each event: the index counts, where there is one.
            (Some(index), _) => self.seen.iter().rposition(|s| s.index == Some(index)),
            (None, Some(id)) => self.seen.iter().rposition(|s| s.id == id),
            (None, None) => self.seen.len().checked_sub(1),
        }
    }

    fn place(
        &mut self,
        known: Option<usize>,
        index: Option<u32>,
        id: Option<&str>,
        call: bool,
    ) -> Result<&mut Seen, &'static str> {
        let at = match known {
            Some(at) => at,
            None if self.seen.len() == MAX_ITEMS => return Err("more than 4096 items in one answer"),
            None => {
                let id = id.unwrap_or_default().to_owned();
                self.seen.push(Seen { index, id, kind: Kind::Other, said: false, named: false, done: false });
                self.seen.len() - 1
            }
        };
        let seen = &mut self.seen[at];
        if call && seen.kind == Kind::Other {
            seen.kind = Kind::Call(self.calls);
            self.calls += 1;
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_known_by_index_else_by_id_else_by_order() {
        let mut items = Items::default();
        for (index, id, call, expected) in [
            (Some(0), Some("m"), false, Kind::Other),
            (Some(1), Some("f"), true, Kind::Call(0)),
            (None, Some("g"), true, Kind::Call(1)),
            (None, None, true, Kind::Call(2)),
            (Some(7), None, true, Kind::Call(3)),
        ] {
            assert_eq!(items.begin(index, id, call).unwrap().kind, expected);
        }
        for (index, id, expected) in [
            (Some(1), Some("another"), Kind::Call(0)),
            (None, Some("g"), Kind::Call(1)),
            (None, None, Kind::Call(3)),
            (Some(0), None, Kind::Other),
        ] {
            assert_eq!(items.at(index, id, expected != Kind::Other).unwrap().kind, expected);
        }
    }

    #[test]
    fn an_index_used_again_after_its_end_is_a_new_item() {
        let mut items = Items::default();
        items.begin(Some(0), Some(""), false).unwrap().done = true;
        assert_eq!(items.begin(Some(0), Some(""), true).unwrap().kind, Kind::Call(0));
        assert_eq!(items.at(Some(0), None, true).unwrap().kind, Kind::Call(0));
    }

    #[test]
    fn the_number_of_items_is_bounded() {
        let mut items = Items::default();
        for _ in 0..MAX_ITEMS {
            items.begin(None, None, false).unwrap();
        }
        assert!(items.begin(None, None, false).is_err());
    }
}
