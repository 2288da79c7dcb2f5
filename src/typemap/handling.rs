//! The connector's handling modes: what a type becomes where Debezium leaves the choice to its user.

use crate::envelope::Profile;

/// `decimal.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum DecimalMode {
    #[default]
    Precise,
    Double,
    Text,
}

/// `time.precision.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum TimeMode {
    #[default]
    Adaptive,
    AdaptiveTimeMicroseconds,
    Connect,
    IsoText,
    Microseconds,
    Nanoseconds,
}

/// `interval.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum IntervalMode {
    #[default]
    Numeric,
    Text,
}

/// `hstore.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum HstoreMode {
    #[default]
    Json,
    Map,
}

/// `binary.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum BinaryMode {
    #[default]
    Bytes,
    Base64,
    Base64UrlSafe,
    Hex,
}

/// All of them; the defaults are Debezium's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handling {
    /// `decimal.handling.mode`.
    pub decimal: DecimalMode,
    /// Decimals are numbers in the JSON (`decimal.format` of the converter), and not the bytes of their unscaled values.
    pub decimals_are_numbers: bool,
    /// `time.precision.mode`.
    pub time: TimeMode,
    /// `interval.handling.mode`.
    pub interval: IntervalMode,
    /// `hstore.handling.mode`.
    pub hstore: HstoreMode,
    /// `binary.handling.mode`.
    pub binary: BinaryMode,
    /// `money.fraction.digits`.
    pub money_fraction_digits: u16,
    /// `include.unknown.datatypes`.
    pub includes_unknown: bool,
    /// A snapshot brings the values, which Debezium reads in another way than those of the stream.
    pub is_snapshot: bool,
    /// Whose types they are: a release knows more than the one before.
    pub profile: Profile,
}

impl Default for Handling {
    fn default() -> Self {
        Self {
            decimal: DecimalMode::default(),
            decimals_are_numbers: false,
            time: TimeMode::default(),
            interval: IntervalMode::default(),
            hstore: HstoreMode::default(),
            binary: BinaryMode::default(),
            money_fraction_digits: 2,
            includes_unknown: false,
            is_snapshot: false,
            profile: Profile::V3_6,
        }
    }
}

/// The words of a mode in its property, in any case.
pub trait Mode: Copy + Default + 'static {
    /// Property.
    const NAME: &'static str;
    /// Legal values.
    const WORDS: &'static [(&'static str, Self)];

    /// The mode that a word stands for.
    fn from_word(word: &str) -> Option<Self> {
        let word = word.trim();
        Self::WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, mode)| *mode)
    }
}

impl Mode for DecimalMode {
    const NAME: &'static str = "decimal.handling.mode";
    const WORDS: &'static [(&'static str, Self)] =
        &[("precise", Self::Precise), ("double", Self::Double), ("string", Self::Text)];
}

impl Mode for TimeMode {
    const NAME: &'static str = "time.precision.mode";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("adaptive", Self::Adaptive),
        ("adaptive_time_microseconds", Self::AdaptiveTimeMicroseconds),
        ("connect", Self::Connect),
        ("isostring", Self::IsoText),
        ("microseconds", Self::Microseconds),
        ("nanoseconds", Self::Nanoseconds),
    ];
}

impl Mode for IntervalMode {
    const NAME: &'static str = "interval.handling.mode";
    const WORDS: &'static [(&'static str, Self)] = &[("numeric", Self::Numeric), ("string", Self::Text)];
}

impl Mode for HstoreMode {
    const NAME: &'static str = "hstore.handling.mode";
    const WORDS: &'static [(&'static str, Self)] = &[("json", Self::Json), ("map", Self::Map)];
}

impl Mode for BinaryMode {
    const NAME: &'static str = "binary.handling.mode";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("bytes", Self::Bytes),
        ("base64", Self::Base64),
        ("base64-url-safe", Self::Base64UrlSafe),
        ("hex", Self::Hex),
    ];
}
