//! Whole numbers as JSON may write them: `8`, `8.0`, `1e2` and `1.0E+1` are all integers.

/// The exact integer that a JSON number stands for; `None` if it has a fraction or does not fit.
///
/// Not by way of a double, which has no 9007199254740993.
pub fn integer(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !is_number {
        return None;
    }
    // All digits as one whole number, and how many zeros are to be added to it or taken away.
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let shift = i64::from(exponent).checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let count = usize::try_from(shift.unsigned_abs()).ok()?;
    if shift >= 0 {
        // No integer of 64 bits has more than 19 digits.
        return (count < 20).then(|| format!("{sign}{digits}{}", "0".repeat(count)).parse().ok())?;
    }
    let (kept, dropped) = digits.split_at_checked(digits.len().checked_sub(count)?)?;
    let is_whole = !kept.is_empty() && dropped.bytes().all(|byte| byte == b'0');
    is_whole.then(|| format!("{sign}{kept}").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_an_integer_is_that_integer() {
        for (text, expected) in [
            ("8", 8),
            ("8.0", 8),
            ("-8.00", -8),
            ("1e2", 100),
            ("1.0E+1", 10),
            ("1.5e1", 15),
            ("1200e-2", 12),
            ("0.0", 0),
            ("0e999999", 0),
            ("-0.0", 0),
            ("0.8e1", 8),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("9.223372036854775807e18", i64::MAX),
            ("-9223372036854775808.0", i64::MIN),
        ] {
            assert_eq!(integer(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_has_a_fraction_or_does_not_fit_is_none() {
        for text in [
            "1.5",
            "1e300",
            "1e-1",
            "12e-3",
            "1.00000000000000000000001",
            "4503599627370497.4",
            "9223372036854775808",
            "1e19",
            "1e2147483648",
            "1e-99999999999",
            "",
            "-",
            ".",
            ".5",
            "e1",
            "x",
            "1.0.0",
            "1,0",
            "--1.0",
            "NaN",
        ] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_integer_or_refused(text in "\\PC{0,30}") {
            let _ = integer(&text);
        }

        #[test]
        fn zeros_behind_the_point_change_nothing(number: i64, zeros in 1_usize..30) {
            prop_assert_eq!(integer(&format!("{number}.{}", "0".repeat(zeros))), Some(number));
            prop_assert_eq!(integer(&format!("{number}{}e-{zeros}", "0".repeat(zeros))), Some(number));
        }
    }
}
