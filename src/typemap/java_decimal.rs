//! `BigDecimal.toString` of Java.

/// Appends a decimal whose digits, without needless zeros at their beginning, are those of its unscaled value.
pub(crate) fn write_decimal(out: &mut Vec<u8>, is_negative: bool, digits: &str, scale: i64) {
    if is_negative {
        out.push(b'-');
    }
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let exponent = length.saturating_sub(1).saturating_sub(scale);
    if scale < 0 || exponent < -6 {
        let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
        let point = if rest.is_empty() { "" } else { "." };
        out.extend_from_slice(format!("{first}{point}{rest}E{exponent:+}").as_bytes());
        return;
    }
    let fraction = usize::try_from(scale).unwrap_or_default();
    let zeros = fraction.saturating_add(1).saturating_sub(digits.len());
    let (whole, behind) = digits.split_at_checked(digits.len().saturating_sub(fraction)).unwrap_or((digits, ""));
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole.as_bytes() });
    if fraction > 0 {
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', zeros.saturating_sub(1)));
        out.extend_from_slice(behind.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_plain_unless_it_has_many_zeros_behind_the_point() {
        let text = |is_negative, digits, scale| {
            let mut out = Vec::new();
            write_decimal(&mut out, is_negative, digits, scale);
            String::from_utf8(out).unwrap()
        };
        for (digits, scale, expected) in [
            ("0", 0, "0"),
            ("0", 2, "0.00"),
            ("1234", 2, "12.34"),
            ("34", 2, "0.34"),
            ("4", 2, "0.04"),
            ("1", 6, "0.000001"),
            ("1", 7, "1E-7"),
            ("12", 8, "1.2E-7"),
            ("0", 7, "0E-7"),
            ("12", -3, "1.2E+4"),
            ("1", -3, "1E+3"),
        ] {
            assert_eq!(text(false, digits, scale), expected);
        }
        assert_eq!(text(true, "5", 1), "-0.5");
    }
}
