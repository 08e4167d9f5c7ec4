//! Numbers as people read them: one unit for a value and its interval, three significant digits, `–` for what
//! is absent, `>` for what is only bounded.

use llms_core::bench::{Bound, Bounded, Estimate, Measured};

/// What is absent.
pub(crate) const ABSENT: &str = "–";

/// A unit of display: factor on the stored unit, and suffix.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    factor: f64,
    suffix: &'static str,
}

/// The unit in which `x`, stored in `unit`, reads best.
pub(crate) fn unit_for(unit: &str, x: f64) -> Unit {
    let u = |factor, suffix| Unit { factor, suffix };
    match unit {
        "s" if x.abs() < 999.5e-6 => u(1e6, " µs"),
        "s" if x.abs() < 0.9995 => u(1e3, " ms"),
        "s" => u(1.0, " s"),
        "1" => u(100.0, " %"),
        "1/s" => u(1.0, "/s"),
        "tokens/s" => u(1.0, " tok/s"),
        "USD" => u(1.0, " $"),
        "×" => u(1.0, "×"),
        _ => u(1.0, ""),
    }
}

/// Three significant digits, never in exponent form for ordinary sizes.
pub(crate) fn digits(x: f64) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    if !(1e-6..1e9).contains(&x.abs()) {
        return format!("{x:.2e}");
    }
    let decimals = (2 - x.abs().log10().floor() as i32).clamp(0, 8) as usize;
    let text = format!("{x:.decimals$}");
    // 9.996 rounds to 10.00: one digit too many.
    let significant = text.bytes().filter(u8::is_ascii_digit).skip_while(|b| *b == b'0').count();
    if significant > 3 && decimals > 0 { format!("{x:.*}", decimals - 1) } else { text }
}

/// The digits alone for a finite number, with a unit of its own for what is only bounded.
fn bounded(b: Bounded, shown_in: Unit, unit: &str) -> String {
    match (b.value, b.bound) {
        (Some(v), _) => digits(v * shown_in.factor),
        (None, Some(Bound::Above(limit))) => above(limit, unit),
        (None, None) => ABSENT.to_owned(),
    }
}

fn above(limit: f64, unit: &str) -> String {
    let u = unit_for(unit, limit);
    format!("> {}{}", idle_zeros_cut(&digits(limit * u.factor)), u.suffix)
}

fn idle_zeros_cut(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A number or its bound: `151 ms`, `> 60 s`.
pub(crate) fn bound(b: Bounded, unit: &str) -> String {
    let u = unit_for(unit, b.value.unwrap_or(0.0));
    let suffix = if b.value.is_some() { u.suffix } else { "" };
    format!("{}{suffix}", bounded(b, u, unit))
}

/// `151 ms`.
pub(crate) fn value(e: &Estimate, unit: &str) -> String {
    bound(e.value, unit)
}

/// `151 ms [149, 154]`; without the brackets when there is no interval.
pub(crate) fn with_interval(e: &Estimate, unit: &str) -> String {
    let anchor = e.value.value.or(e.low.and_then(|l| l.value)).unwrap_or(0.0);
    let u = unit_for(unit, anchor);
    let text = value(e, unit);
    match (e.low, e.high) {
        (None, None) => text,
        // Nothing but "more than the limit" is known.
        (Some(low), Some(high))
            if [e.value, low, high].iter().all(|b| b.value.is_none() && b.bound.is_some()) =>
        {
            text
        }
        (low, high) => {
            let side = |b: Option<Bounded>| b.map_or_else(|| ABSENT.to_owned(), |b| bounded(b, u, unit));
            // A value that is only bounded brings no unit for the finite end of its interval.
            let low_suffix =
                if e.value.value.is_none() && low.is_some_and(|l| l.value.is_some()) { u.suffix } else { "" };
            format!("{text} [{}{low_suffix}, {}]", side(low), side(high))
        }
    }
}

/// A measured estimate, or `–`.
pub(crate) fn measured(m: Option<&Measured<Estimate>>, unit: &str) -> String {
    m.and_then(Measured::value).map_or_else(|| ABSENT.to_owned(), |e| value(e, unit))
}

/// A measured estimate with its interval, or `–`.
pub(crate) fn measured_interval(m: Option<&Measured<Estimate>>, unit: &str) -> String {
    m.and_then(Measured::value).map_or_else(|| ABSENT.to_owned(), |e| with_interval(e, unit))
}

/// A plain number in `unit`, or `–`.
pub(crate) fn plain(x: Option<f64>, unit: &str) -> String {
    x.map_or_else(
        || ABSENT.to_owned(),
        |x| {
            let u = unit_for(unit, x);
            format!("{}{}", digits(x * u.factor), u.suffix)
        },
    )
}

/// A share as per cent: `4 %`.
pub(crate) fn percent(x: f64) -> String {
    let text = digits(x * 100.0);
    format!("{} %", idle_zeros_cut(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_in_a_fitting_unit() {
        for (x, unit, text) in [
            (0.1514, "s", "151 ms"),
            (0.99996, "s", "1.00 s"),
            (0.0000415, "s", "41.5 µs"),
            (12.345, "s", "12.3 s"),
            (0.009996, "s", "10.0 ms"),
            (0.012, "1", "1.20 %"),
            (1234.5, "1/s", "1234/s"),
            (0.0, "1", "0 %"),
        ] {
            assert_eq!(plain(Some(x), unit), text, "{x} {unit}");
        }
        assert_eq!(plain(None, "s"), "–");
    }

    #[test]
    fn bounds_and_absence() {
        let mut e = Estimate {
            value: Bounded::finite(0.2),
            low: Some(Bounded::finite(0.19)),
            high: Some(Bounded::above(30.0)),
            confidence: 0.95,
            n: 10,
            ess: None,
            method: String::new(),
            note: None,
        };
        assert_eq!(with_interval(&e, "s"), "200 ms [190, > 30 s]");
        e.value = Bounded::above(30.0);
        assert_eq!(value(&e, "s"), "> 30 s");
        assert_eq!(with_interval(&e, "s"), "> 30 s [190 ms, > 30 s]");
        e.low = Some(Bounded::above(30.0));
        assert_eq!(with_interval(&e, "s"), "> 30 s");
        assert_eq!(measured(Some(&Measured::absent("n too small")), "s"), "–");
    }
}
