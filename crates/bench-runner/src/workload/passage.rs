//! Long neutral text for long-context prompts, made rather than stored: always the same, and with an answer that
//! can be checked.

use std::fmt::Write as _;

use crate::random::{Purpose, Stream};

/// A report of `stations` numbered measuring stations, a sentence or two each (about 50 tokens). The content
/// depends on the number of stations alone.
pub(super) fn station_report(stations: u32) -> String {
    const SKY: [&str; 5] = ["clear", "overcast", "hazy", "bright with passing clouds", "grey and still"];
    const WIND: [&str; 5] =
        ["a light breeze", "gusts from the west", "no wind", "a steady wind", "a cold draught"];
    const CREW: [&str; 4] = ["One observer", "Two observers", "The night crew", "A visiting engineer"];
    let mut draw = Stream::new(u64::from(stations), Purpose::Prompts, 1);
    let mut pick = |list: &[&'static str]| list[draw.below(list.len() as u64) as usize];
    let mut numbers = Stream::new(u64::from(stations), Purpose::Prompts, 2);
    let mut text = format!("Report of {stations} measuring stations.\n");
    for station in 1..=stations {
        let (whole, tenth) = (numbers.below(900) + 100, numbers.below(10));
        let _ = write!(
            text,
            "\nStation {station} reported a value of {whole}.{tenth} units under a sky that was {} with {}. \
             {} signed the log at {:02}:{:02}",
            pick(&SKY),
            pick(&WIND),
            pick(&CREW),
            numbers.below(24),
            numbers.below(60),
        );
        let fault = numbers.below(9) == 0;
        text.push_str(if fault {
            " and noted a fault of the instrument."
        } else {
            " and noted nothing unusual."
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_fixed_and_grows_with_the_number_of_stations() {
        let (small, large) = (station_report(40), station_report(320));
        assert_eq!(small, station_report(40));
        // About four characters a token.
        assert!((6_000..10_000).contains(&small.len()), "{}", small.len());
        assert!((48_000..80_000).contains(&large.len()), "{}", large.len());
        assert!(!large.starts_with(&small[..40]), "no shared beginning for a prefix cache");
    }
}
