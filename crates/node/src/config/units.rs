//! Durations and sizes as people write them: `"10m"`, `"30d"`, `"never"`, `"5GiB"`, `"500GB"`.
//!
//! A number is whole and has one unit, so that nobody has to know whether `1.5h` or `1h30m` works.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use thiserror::Error;

/// Milliseconds in each unit of time.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
];

/// Bytes in each unit of size.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A duration or size that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BadQuantity {
    /// It is no duration.
    #[error(
        "{0:?} is no duration; hint: write a whole number and ms, s, m, h, d or w, such as \"10m\""
    )]
    Duration(String),
    /// It is no size.
    #[error(
        "{0:?} is no size; hint: write a whole number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as \"5GiB\""
    )]
    Size(String),
    /// It does not fit into 64 bits of milliseconds or bytes.
    #[error("{0:?} is too large; hint: use a smaller number")]
    TooLarge(String),
}

/// Reads a duration.
///
/// # Errors
/// [`BadQuantity`] when it is none, or longer than 2⁶⁴ ms.
fn parse_duration(text: &str) -> Result<Duration, BadQuantity> {
    let bad = || BadQuantity::Duration(text.to_owned());
    parse_quantity(text, &DURATION_UNITS, bad).map(Duration::from_millis)
}

/// Reads a size in bytes.
///
/// # Errors
/// [`BadQuantity`] when it is none, or larger than 2⁶⁴ bytes.
fn parse_size(text: &str) -> Result<u64, BadQuantity> {
    parse_quantity(text, &SIZE_UNITS, || BadQuantity::Size(text.to_owned()))
}

fn parse_quantity(
    text: &str,
    units: &[(&str, u64)],
    bad: impl Fn() -> BadQuantity,
) -> Result<u64, BadQuantity> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(&bad)?;
    let (digits, unit) = text.split_at(unit_at);
    let known = units.iter().find(|(name, _)| *name == unit.trim_start());
    let &(_, scale) = known.filter(|_| !digits.is_empty()).ok_or_else(bad)?;
    // Only digits are left, so all that can go wrong is that they are too many.
    let number = digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(scale));
    number.ok_or_else(|| BadQuantity::TooLarge(text.to_owned()))
}

/// A duration in the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval(pub(super) Duration);

/// A duration in the config, or `"never"`, which is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline(pub(super) Option<Duration>);

/// A size in the config, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_str(Text("a duration such as \"10m\""))?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Deadline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text =
            deserializer.deserialize_str(Text("a duration such as \"10m\", or \"never\""))?;
        match text.as_str() {
            "never" => Ok(Self(None)),
            other => parse_duration(other)
                .map(|d| Self(Some(d)))
                .map_err(de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor).map(Self)
    }
}

/// Takes a text; holds what is expected instead of anything else.
struct Text(&'static str);

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// Takes a whole number of bytes, or a text with a unit.
struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"5GiB\", or a number of bytes")
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
        u64::try_from(bytes).map_err(|_| E::custom(BadQuantity::Size(bytes.to_string())))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        parse_size(text).map_err(E::custom)
    }
}

/// Writes a duration in the largest unit that is exact.
pub(super) fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(ms, &DURATION_UNITS)
}

/// Writes a size in the largest unit that is exact.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS)
}

fn show(number: u64, units: &[(&str, u64)]) -> String {
    let exact = units
        .iter()
        .filter(|(_, scale)| number.is_multiple_of(*scale));
    let fitting = exact
        .filter(|(_, scale)| number >= *scale)
        .max_by_key(|(_, scale)| *scale);
    let (unit, scale) = fitting.unwrap_or(&units[0]);
    format!("{}{unit}", number / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_mean_what_they_say() {
        let ms = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("250ms"), Ok(250));
        assert_eq!(ms("2s"), Ok(2_000));
        assert_eq!(ms("10m"), Ok(600_000));
        assert_eq!(ms("30 d"), Ok(2_592_000_000));
        assert_eq!(ms("0s"), Ok(0));
        assert_eq!(parse_size("500GB"), Ok(500_000_000_000));
        assert_eq!(parse_size("5GiB"), Ok(5 << 30));
        assert_eq!(parse_size("7 B"), Ok(7));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            "",
            "10",
            "m",
            "-1s",
            "1.5h",
            "1h30m",
            "10M",
            "10 minutes",
            " 1s",
        ] {
            let text = parse_duration(bad).unwrap_err().to_string();
            assert!(text.contains("; hint: "), "{text}");
        }
        for bad in ["", "5", "5G", "5gb", "5GiB/s", "-5GB", "GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        let huge = "99999999999999999999s";
        assert_eq!(
            parse_duration(huge),
            Err(BadQuantity::TooLarge(huge.to_owned()))
        );
        assert!(parse_size("20000000TiB").is_err());
    }

    #[test]
    fn shown_quantities_read_back_as_themselves() {
        for ms in [0, 1, 999, 2_000, 600_000, 90_000_000, 7 * 86_400_000] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1023, 1024, 5 << 30, 500_000_000_000] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
    }
}
