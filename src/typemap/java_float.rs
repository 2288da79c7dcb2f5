//! `Double.toString` and `Float.toString` of Java up to 18, which are not always the shortest digits.
//!
//! The method is that of Steele and White with a margin of half a unit in the last place, done in machine words where
//! these suffice. Where the margin ends exactly at a digit, words and big integers decide differently, and that is
//! observable, so both ways exist here as they do there.

use std::cmp::Ordering;

use num_bigint::BigUint;

/// Bits of a double's fraction.
const FRACTION_BITS: i64 = 52;
/// Bits that 5^n takes, as far as powers of five fit in 64 bits.
const FIVE_BITS: [i64; 27] =
    [0, 3, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33, 35, 38, 40, 42, 45, 47, 49, 52, 54, 56, 59, 61];
/// No number has more digits.
const DIGITS_MAX: usize = 20;

/// Appends the JSON of a double; what is no number is quoted.
pub(crate) fn write_double(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() {
        return write_special(out, number.is_nan(), number.is_sign_negative());
    }
    let bits = number.to_bits();
    let (fraction, exponent) = (bits & ((1 << FRACTION_BITS) - 1), i64::try_from((bits >> FRACTION_BITS) & 0x7FF));
    let exponent = exponent.unwrap_or_default();
    write_finite(out, number.is_sign_negative(), fraction, exponent, Format { fraction_bits: 52, bias: 1_023 });
}

/// Appends the JSON of a float; what is no number is quoted.
pub(crate) fn write_float(out: &mut Vec<u8>, number: f32) {
    if !number.is_finite() {
        return write_special(out, number.is_nan(), number.is_sign_negative());
    }
    let bits = number.to_bits();
    let (fraction, exponent) = (u64::from(bits & 0x7F_FFFF), i64::from((bits >> 23) & 0xFF));
    write_finite(out, number.is_sign_negative(), fraction, exponent, Format { fraction_bits: 23, bias: 127 });
}

fn write_special(out: &mut Vec<u8>, is_nan: bool, is_negative: bool) {
    let word: &[u8] = match (is_nan, is_negative) {
        (true, _) => b"\"NaN\"",
        (false, false) => b"\"Infinity\"",
        (false, true) => b"\"-Infinity\"",
    };
    out.extend_from_slice(word);
}

struct Format {
    fraction_bits: i64,
    bias: i64,
}

/// The decimal digits of a number 0.d1d2d3… × 10^`point`.
struct Digits {
    digits: [u8; DIGITS_MAX],
    count: usize,
    point: i64,
}

impl Digits {
    fn new() -> Self {
        Self { digits: [0; DIGITS_MAX], count: 0, point: 0 }
    }

    fn push(&mut self, digit: u8) {
        if let Some(place) = self.digits.get_mut(self.count) {
            *place = digit;
            self.count += 1;
        }
    }

    fn round_up(&mut self) {
        for at in (0..self.count).rev() {
            let Some(digit) = self.digits.get_mut(at) else { return };
            if *digit < 9 {
                *digit += 1;
                return;
            }
            *digit = 0;
        }
        self.digits = [0; DIGITS_MAX];
        self.digits[0] = 1;
        self.point += 1;
    }

    fn as_slice(&self) -> &[u8] {
        self.digits.get(..self.count).unwrap_or_default()
    }
}

fn write_finite(out: &mut Vec<u8>, is_negative: bool, fraction: u64, exponent: i64, format: Format) {
    if is_negative {
        out.push(b'-');
    }
    if fraction == 0 && exponent == 0 {
        out.extend_from_slice(b"0.0");
        return;
    }
    let hidden = 1_u64 << format.fraction_bits;
    let (significand, exponent, significant_bits) = if exponent == 0 {
        let bits = 64 - i64::from(fraction.leading_zeros());
        let shift = format.fraction_bits + 1 - bits;
        (fraction << shift, 1 - shift, bits)
    } else {
        (fraction | hidden, exponent, format.fraction_bits + 1)
    };
    let significand = significand << (FRACTION_BITS - format.fraction_bits);
    write_digits(out, &digits(exponent - format.bias, significand, significant_bits));
}

/// The digits of `significand` × 2^(`exponent` − 52), of which so many bits count.
fn digits(exponent: i64, significand: u64, significant_bits: i64) -> Digits {
    let tail_zeros = i64::from(significand.trailing_zeros());
    let fraction_bits = FRACTION_BITS + 1 - tail_zeros;
    let tiny_bits = (fraction_bits - exponent - 1).max(0);
    if tiny_bits == 0 && (-21..=62).contains(&exponent) && fraction_bits < 64 {
        return whole(exponent, significand, significant_bits);
    }
    let estimate = estimated_exponent(significand, exponent);
    let (b5, s5) = ((-estimate).max(0), estimate.max(0));
    let (mut b2, mut s2) = (b5 + tiny_bits + exponent, s5 + tiny_bits);
    let mut m2 = b2 - significant_bits;
    let fraction = significand >> tail_zeros;
    b2 -= fraction_bits - 1;
    let common = b2.min(s2);
    b2 -= common;
    s2 -= common;
    m2 -= common;
    if fraction_bits == 1 {
        // The next smaller number is only half as far away.
        m2 -= 1;
    }
    if m2 < 0 {
        b2 -= m2;
        s2 -= m2;
        m2 = 0;
    }
    let five_bits = |power: i64| {
        usize::try_from(power).ok().and_then(|at| FIVE_BITS.get(at)).copied().unwrap_or(power.saturating_mul(3))
    };
    let start = Start { fraction, b2, b5, s2, s5, m2, estimate };
    match (fraction_bits + b2 + five_bits(b5), s2 + 1 + five_bits(s5 + 1)) {
        (b, s) if b < 32 && s < 32 => in_words(&start, |number| i128::from(low_half(number))),
        (b, s) if b < 64 && s < 64 => in_words(&start, |number| i128::from(low_word(number))),
        _ => in_big_integers(&start),
    }
}

#[allow(clippy::cast_possible_truncation)]
fn low_half(number: i128) -> i32 {
    number as i32
}

#[allow(clippy::cast_possible_truncation)]
fn low_word(number: i128) -> i64 {
    number as i64
}

/// A number without a fraction; digits that its precision does not cover are rounded away.
fn whole(exponent: i64, significand: u64, significant_bits: i64) -> Digits {
    let mut value = if exponent >= FRACTION_BITS {
        significand << (exponent - FRACTION_BITS)
    } else {
        significand >> (FRACTION_BITS - exponent)
    };
    let mut point = 0;
    // floor(log10(2^n)), for the few n that come here.
    let uncovered = if exponent > significant_bits { ((exponent - significant_bits - 1) * 1_233) >> 12 } else { 0 };
    if let Some(power) = u32::try_from(uncovered).ok().filter(|power| *power > 0).map(|power| 10_u64.pow(power)) {
        let residue = value % power;
        value /= power;
        point += uncovered;
        if residue >= power >> 1 {
            value += 1;
        }
    }
    while value != 0 && value.is_multiple_of(10) {
        value /= 10;
        point += 1;
    }
    let mut digits = Digits::new();
    let mut buffer = itoa::Buffer::new();
    buffer.format(value).bytes().for_each(|digit| digits.push(digit - b'0'));
    digits.point = point + i64::try_from(digits.count).unwrap_or_default();
    digits
}

/// An estimate of the decimal exponent that is right or one too large, by a tangent to the logarithm.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
// Rounded as it is there.
#[allow(clippy::approx_constant)]
fn estimated_exponent(significand: u64, exponent: i64) -> i64 {
    let mantissa = f64::from_bits((1_023 << FRACTION_BITS) | (significand & ((1 << FRACTION_BITS) - 1)));
    let logarithm = (mantissa - 1.5) * 0.289_529_654 + 0.176_091_259 + exponent as f64 * 0.301_029_995_663_981;
    logarithm.floor() as i64
}

/// Value b/s with margin m/s, as powers of two and five.
struct Start {
    fraction: u64,
    b2: i64,
    b5: i64,
    s2: i64,
    s5: i64,
    m2: i64,
    estimate: i64,
}

/// Whether more digits than the margin asks for are wanted, because the form with an exponent has two at least.
fn wants_two(exponent: i64) -> bool {
    !(-3..8).contains(&exponent)
}

fn in_words(start: &Start, wrapped: impl Fn(i128) -> i128) -> Digits {
    let power = |five: i64, two: i64| {
        let five = u32::try_from(five).ok().and_then(|five| 5_i128.checked_pow(five)).unwrap_or_default();
        wrapped(five.checked_shl(u32::try_from(two).unwrap_or_default()).unwrap_or_default())
    };
    let mut b = wrapped(i128::from(start.fraction) * power(start.b5, start.b2));
    let (s, mut m) = (power(start.s5, start.s2).max(1), power(start.b5, start.m2));
    let tens = wrapped(s * 10);
    let digit = |quotient: i128| u8::try_from(quotient).unwrap_or(9);
    let step = |b: &mut i128, m: &mut i128| {
        let quotient = *b / s;
        *b = wrapped(10 * (*b % s));
        *m = wrapped(*m * 10);
        // A margin beyond the word is beyond everything else.
        let ends = if *m > 0 { (*b < *m, wrapped(*b + *m) > tens) } else { (true, true) };
        (digit(quotient), ends)
    };
    let drawn = draw(start.estimate, || step(&mut b, &mut m));
    // The difference is small, though its terms may wrap.
    let rest = wrapped((b << 1) - tens).cmp(&0);
    finished(drawn, rest)
}

fn in_big_integers(start: &Start) -> Digits {
    let power = |five: i64, two: i64| {
        BigUint::from(5_u8).pow(u32::try_from(five).unwrap_or_default()) << usize::try_from(two).unwrap_or_default()
    };
    let mut b = power(start.b5, start.b2) * start.fraction;
    let (s, mut m) = (power(start.s5, start.s2), power(start.b5, start.m2));
    let tens = &s * 10_u8;
    let step = |b: &mut BigUint, m: &mut BigUint| {
        let mut quotient = 0;
        while *b >= s && quotient < 9 {
            *b -= &s;
            quotient += 1;
        }
        *b *= 10_u8;
        *m *= 10_u8;
        (quotient, (*b < *m, tens <= &*b + &*m))
    };
    let drawn = draw(start.estimate, || step(&mut b, &mut m));
    let rest = (b << 1_u8).cmp(&tens);
    finished(drawn, rest)
}

/// Digits, as far as they are needed to tell the value from its neighbours.
struct Drawn {
    digits: Digits,
    exponent: i64,
    /// The value is nearer than its lower neighbour, or its higher one.
    low: bool,
    high: bool,
}

/// Draws digits by `step`, which gives the next one and whether the value is told by now from each neighbour.
fn draw(estimate: i64, mut step: impl FnMut() -> (u8, (bool, bool))) -> Drawn {
    let (mut digits, mut exponent) = (Digits::new(), estimate);
    let (first, (mut low, mut high)) = step();
    if first == 0 && !high {
        exponent -= 1;
    } else {
        digits.push(first);
    }
    if wants_two(exponent) {
        (low, high) = (false, false);
    }
    while !low && !high && digits.count < DIGITS_MAX {
        let (next, ends) = step();
        (low, high) = ends;
        digits.push(next);
    }
    Drawn { digits, exponent, low, high }
}

/// Rounds the last digit by what is left of the value.
fn finished(drawn: Drawn, rest: Ordering) -> Digits {
    let Drawn { mut digits, exponent, low, high } = drawn;
    digits.point = exponent + 1;
    let is_odd = digits.as_slice().last().is_some_and(|digit| digit % 2 == 1);
    let rounds_up = high && (!low || rest == Ordering::Greater || (rest == Ordering::Equal && is_odd));
    if rounds_up {
        digits.round_up();
    }
    digits
}

/// Plain between 10^-3 and 10^7, with an exponent beyond.
fn write_digits(out: &mut Vec<u8>, digits: &Digits) {
    let ascii = |digit: &u8| digit + b'0';
    let point = digits.point;
    let all = digits.as_slice();
    let zeros = |count: i64| std::iter::repeat_n(b'0', usize::try_from(count).unwrap_or_default());
    if (1..8).contains(&point) {
        let (whole, rest) = all.split_at(all.len().min(usize::try_from(point).unwrap_or_default()));
        out.extend(whole.iter().map(ascii));
        out.extend(zeros(point - i64::try_from(whole.len()).unwrap_or_default()));
        out.push(b'.');
        out.extend(if rest.is_empty() { [0].iter() } else { rest.iter() }.map(ascii));
    } else if (-2..=0).contains(&point) {
        out.extend_from_slice(b"0.");
        out.extend(zeros(-point));
        out.extend(all.iter().map(ascii));
    } else {
        let (first, rest) = all.split_at(all.len().min(1));
        out.extend(first.iter().map(ascii));
        out.push(b'.');
        out.extend(if rest.is_empty() { [0].iter() } else { rest.iter() }.map(ascii));
        out.push(b'E');
        out.extend_from_slice(itoa::Buffer::new().format(point - 1).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(number: f64) -> String {
        let mut out = Vec::new();
        write_double(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    fn float(number: f32) -> String {
        let mut out = Vec::new();
        write_float(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn every_double_is_read_back(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            prop_assert_eq!(double(number).parse::<f64>().unwrap(), number);
        }

        #[test]
        fn every_float_is_read_back(bits: u32) {
            let number = f32::from_bits(bits);
            prop_assume!(number.is_finite());
            prop_assert_eq!(float(number).parse::<f32>().unwrap(), number);
        }
    }

    /// Printed by OpenJDK 17.
    #[test]
    fn digits_are_those_of_java_17() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (4.0, "4.0"),
            (4.44, "4.44"),
            (0.001, "0.001"),
            (9.9e-4, "9.9E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1e21, "1.0E21"),
            (1e22, "1.0E22"),
            (2e-3, "0.002"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
        ] {
            assert_eq!(double(number), expected);
        }
        assert_eq!(double(f64::from_bits(0x3f65_d79d_ec8d_fb32)), "0.0026662907079634474");
        assert_eq!(double(f64::from_bits(0xbf6e_ddd1_2ba3_00f8)), "-0.0037678799972981035");
        assert_eq!(float(f32::from_bits(0x3d60_fae4)), "0.054926768");
        assert_eq!(float(f32::from_bits(0xa648_bc0f)), "-6.9643806E-16");
        assert_eq!(double(f64::NAN), "\"NaN\"");
        assert_eq!(double(f64::NEG_INFINITY), "\"-Infinity\"");
        assert_eq!(float(3.3), "3.3");
        assert_eq!(float(1e10), "1.0E10");
        assert_eq!(float(f32::MIN_POSITIVE), "1.17549435E-38");
    }
}
