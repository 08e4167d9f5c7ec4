//! Text of a wanted length in tokens, made of common words.
//!
//! Every word here is one token with a blank before it in the vocabularies of the GPT and Llama families (and in most
//! others trained on English), and those vocabularies never join a word with the next, so that n words are n tokens.
//! A [`TokenCounter`] makes sure of it: words it counts as more than one are left out, and the end of the text is
//! mended until the count is exact. Without one the length is approximate, and results say so.

use llms_core::bench::TokenCounter;

use crate::random::Stream;

/// Common English words without double meanings for tokenizers: lower case, three to eight letters.
const WORDS: &str = "able about above across after again air all along also always among and answer any appear area \
    around ask away back base bear beauty because been before began begin behind being below best better between big \
    bird black blue boat body book both bring brought build busy but call came can car care carry cause center \
    certain change check children city class clear close cold color come common complete could country course cover \
    cut dark day decide deep develop did differ direct distance does dog done door down draw dream drive dry during \
    each early earth ease east eat end enough even ever every example eye face fact fall family far farm fast father \
    feel few field figure fill final find fine fire first fish five fly follow food foot for force form found four \
    free friend from front full game gave general get girl give gold good got govern great green ground group grow \
    had half hand hard has have head hear heard heat help her here high him his hold home horse hot hour house how \
    hundred idea inch island just keep kind king knew know land language large last late laugh lead learn leave left \
    less let letter life light like line list listen little live long look love low machine made main make man many \
    map mark may mean measure men might mile mind minute miss money moon more morning most mother mountain move much \
    music must name near need never new next night north note nothing notice noun now number object off often old \
    once one only open order other our out over own page paper part pass pattern people perhaps person picture piece \
    place plain plan plane plant play point port pose possible pound power present press probable problem produce \
    product pull put question quick rain ran reach read ready real record red remember rest right river road rock \
    room round rule run said same saw say school science sea second see seem self sentence serve set several shape \
    she ship short should show side simple since sing sit six size sleep slow small snow some song soon sound south \
    space special spell stand star start state stay step still stood stop story street strong study such sun sure \
    surface system table tail take talk teach tell ten test than that the their them then there these they thing \
    think this those though thought thousand three through time together told took top toward town travel tree true \
    try turn two under unit until upon use usual very voice vowel wait walk want war warm was watch water way week \
    weight well went were west what wheel when where which while white who whole why will wind with wonder wood word \
    work world would write year yes yet you young your";

/// Attempts to mend the length of a text; with words of one token two or three do.
const MENDS: u32 = 64;

/// A vocabulary to write with.
#[derive(Clone, Debug)]
pub(crate) struct Words(Vec<&'static str>);

impl Words {
    /// The words that `counter` counts as one token each; all of them without one (or when it likes none).
    pub(crate) fn new(counter: Option<&dyn TokenCounter>) -> Self {
        let all = || WORDS.split_ascii_whitespace();
        let single = |c: &dyn TokenCounter| {
            // In the middle of a text, and at its beginning.
            all().filter(|w| c.count(&format!("the {w}")) == c.count("the") + 1 && c.count(w) == 1).collect()
        };
        let fitting: Vec<_> = counter.map(single).unwrap_or_default();
        Self(if fitting.is_empty() { all().collect() } else { fitting })
    }

    /// The next word.
    pub(crate) fn draw(&self, draws: &mut Stream) -> &'static str {
        self.0[draws.below(self.0.len() as u64) as usize]
    }

    /// Appends `n` words to `text`, blanks between all of them.
    pub(crate) fn append(&self, text: &mut String, n: u32, draws: &mut Stream) {
        for _ in 0..n {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(self.draw(draws));
        }
    }

    /// Adds words to the end of `text`, or takes some away from it, until `counter` counts `tokens`. A tokenizer to which
    /// these words are foreign may have no exact answer: then the nearest found is kept. At least one word stays.
    pub(crate) fn mend(
        &self,
        text: &mut String,
        tokens: u32,
        counter: &dyn TokenCounter,
        draws: &mut Stream,
    ) {
        let mut best = (u64::MAX, String::new());
        for _ in 0..MENDS {
            let off = i64::from(tokens) - counter.count(text) as i64;
            if off == 0 {
                return;
            }
            if off.unsigned_abs() < best.0 {
                best = (off.unsigned_abs(), text.clone());
            }
            // Half the way, so that words of several tokens do not swing past it for ever.
            let step = u32::try_from(off.unsigned_abs() / 2).unwrap_or(u32::MAX).max(1);
            if off > 0 {
                self.append(text, step, draws);
                continue;
            }
            for _ in 0..step {
                if let Some(at) = text.rfind(' ') {
                    text.truncate(at);
                }
            }
        }
        *text = best.1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::random::Purpose;

    #[test]
    fn words_are_plain_and_listed_once() {
        let all: Vec<_> = WORDS.split_ascii_whitespace().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.iter().all(|w| (3..=9).contains(&w.len()) && w.bytes().all(|b| b.is_ascii_lowercase())));
        assert!(all.len() > 400, "{}", all.len());
    }

    /// Two tokens for each word with an `e`, one for the others; the first word of a text costs one more.
    struct Odd;

    impl TokenCounter for Odd {
        fn name(&self) -> &'static str {
            "odd"
        }

        fn count(&self, text: &str) -> u64 {
            text.split(' ').map(|w| 1 + u64::from(w.contains('e'))).sum::<u64>() + 1
        }
    }

    #[test]
    fn a_counter_makes_the_length_exact_even_where_no_word_is_one_token() {
        let words = Words::new(Some(&Odd));
        for tokens in [3, 10, 512, 5_000] {
            let mut draws = Stream::new(5, Purpose::Words, 0);
            let mut text = String::new();
            words.append(&mut text, tokens, &mut draws);
            words.mend(&mut text, tokens, &Odd, &mut draws);
            assert_eq!(Odd.count(&text), u64::from(tokens));
        }
    }
}
