//! What a certificate holds that the verifier does not hand out: since when it is valid, and the
//! common name of its subject.
//!
//! Reads DER that a stranger may have written: every length is checked, and whatever is not
//! understood is no answer.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, in which a certificate says its version.
const VERSION: u8 = 0xa0;
/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

const DAY_SECONDS: u64 = 86_400;

/// Since when a certificate is valid; `None` when it cannot be read. One from before 1970 is valid
/// since then.
pub(super) fn valid_since(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let mut outer = Der(certificate.as_ref());
    let mut signed = Der(Der(outer.expect(SEQUENCE)?).expect(SEQUENCE)?);
    if signed.next_is(VERSION) {
        signed.expect(VERSION)?;
    }
    signed.expect(INTEGER)?;
    signed.expect(SEQUENCE)?;
    signed.expect(SEQUENCE)?;
    let mut validity = Der(signed.expect(SEQUENCE)?);
    let (tag, text) = validity.next()?;
    let seconds = match tag {
        UTC_TIME => {
            let text = std::str::from_utf8(text).ok()?;
            // RFC 5280, 4.1.2.5.1: two digits are of 1950 to 2049.
            let century = if two_digits(text, 0)? >= 50 {
                "19"
            } else {
                "20"
            };
            seconds(&format!("{century}{text}"))?
        }
        GENERALIZED_TIME => seconds(std::str::from_utf8(text).ok()?)?,
        _ => return None,
    };
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

/// The common name in a subject, without its outer header.
pub(super) fn common_name(subject: &[u8]) -> Option<&str> {
    let mut names = Der(subject);
    while let Some((tag, set)) = names.next() {
        if tag != SET {
            return None;
        }
        let mut attribute = Der(Der(set).expect(SEQUENCE)?);
        if attribute.expect(OBJECT_ID)? != COMMON_NAME {
            continue;
        }
        return match attribute.next()? {
            (UTF8_STRING | PRINTABLE_STRING, text) => std::str::from_utf8(text).ok(),
            _ => None,
        };
    }
    None
}

/// A DER sequence of what is in it.
pub(super) fn sequence(inside: &[u8]) -> Vec<u8> {
    let len = (inside.len() as u64).to_be_bytes();
    let skipped = len.iter().take_while(|byte| **byte == 0).count();
    let mut der = vec![SEQUENCE];
    match inside.len() {
        short @ 0..=0x7f => der.push(short as u8),
        _ => {
            der.push(0x80 | (len.len() - skipped) as u8);
            der.extend_from_slice(&len[skipped..]);
        }
    }
    der.extend_from_slice(inside);
    der
}

/// A row of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The content of the next value, if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next_is(tag)
            .then(|| self.next())?
            .map(|(_, body)| body)
    }

    /// The tag and the content of the next value.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Longer than 4 GiB is nothing that anybody sends here.
            0x81..=0x84 => {
                let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let len = len
                    .iter()
                    .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
                (len, rest)
            }
            _ => return None,
        };
        let (body, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, body))
    }
}

fn two_digits(text: &str, at: usize) -> Option<u64> {
    number(text.get(at..at + 2)?)
}

fn number(digits: &str) -> Option<u64> {
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().ok())?
}

/// Seconds since 1970 of `YYYYMMDDhhmmssZ`.
fn seconds(text: &str) -> Option<u64> {
    if text.len() != 15 || !text.ends_with('Z') {
        return None;
    }
    let year = number(text.get(..4)?)?;
    let (month, day) = (two_digits(text, 4)?, two_digits(text, 6)?);
    let (hour, minute, second) = (
        two_digits(text, 8)?,
        two_digits(text, 10)?,
        two_digits(text, 12)?,
    );
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_since_1970(year, month, day);
    Some(days * DAY_SECONDS + hour * 3_600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, 0 if it is earlier: years are counted
/// from March on, so that a leap day is their last (H. Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms").
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 {
        year.saturating_sub(1)
    } else {
        year
    };
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    days.saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            head in proptest::sample::select(vec![vec![], vec![0x30], vec![0x30, 0x81], vec![0x31, 5, 0x30]]),
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [head, rest].concat();
            let _ = common_name(&bytes);
            let _ = valid_since(&CertificateDer::from(bytes));
        }
    }

    #[test]
    fn dates_are_counted_as_the_calendar_does() {
        assert_eq!(seconds("19700101000000Z"), Some(0));
        assert_eq!(seconds("20000101000000Z"), Some(946_684_800));
        assert_eq!(seconds("20240229123456Z"), Some(1_709_210_096));
        assert_eq!(seconds("99991231235959Z"), Some(253_402_300_799));
        assert_eq!(seconds("19500101000000Z"), Some(0));
        for bad in [
            "",
            "20001301000000Z",
            "20000101000000",
            "2000010100000+Z",
            "２０００01",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_sequence_is_read_as_it_is_written() {
        for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x1_0000] {
            let inside = vec![7; len];
            let written = sequence(&inside);
            let mut der = Der(&written);
            assert_eq!(der.next(), Some((SEQUENCE, inside.as_slice())));
            assert!(der.0.is_empty(), "{len}");
        }
    }

    #[test]
    fn what_is_cut_off_or_made_up_is_no_answer() {
        let mut der = Der(&[0x30, 0x82, 0xff, 0xff, 0x00]);
        assert_eq!(der.next(), None);
        assert_eq!(Der(&[0x30, 0x80]).next(), None);
        assert_eq!(Der(&[0x30]).next(), None);
        assert_eq!(
            Der(&[0x04, 0x81, 0x01, 0x07]).next(),
            Some((0x04, [7].as_slice()))
        );
        assert_eq!(common_name(&[0x31, 0x05, 0x30]), None);
        assert_eq!(
            valid_since(&CertificateDer::from(vec![0x30, 0x02, 0x30, 0x00])),
            None
        );
    }
}
