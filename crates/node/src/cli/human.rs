//! Numbers and times for people: short, and never longer than they are sure.

use std::time::Duration;

use crate::daemon::is_unruly;

/// A size: `0 B`, `1023 B`, `1.5 KiB`, `340 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would print as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(value < 99.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A number with its thousands apart: `1,204,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `2 files`.
pub(crate) fn files(number: u64) -> String {
    match number {
        1 => "1 file".to_owned(),
        _ => format!("{} files", count(number)),
    }
}

/// A span of milliseconds in its two largest units: `250 ms`, `1.2 s`, `3 min 5 s`, `2 h 4 min`.
pub(crate) fn span(ms: u64) -> String {
    let pair = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", seconds, ms % 1000 / 100),
        60..3600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => pair(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

/// How long ago, in one unit: `now`, `5 s`, `3 min`, `2 h`, `4 d`.
pub(crate) fn age(ms: u64) -> String {
    match ms / 1000 {
        0 => "now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Since when something is so: `for 5 s`, `just now`.
pub(crate) fn lasting(ms: u64) -> String {
    match ms / 1000 {
        0 => "just now".to_owned(),
        _ => format!("for {}", age(ms)),
    }
}

/// A part of a whole in percent; 100 only when nothing is missing.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "100%".to_owned(),
        _ => format!("{}%", u128::from(part) * 100 / u128::from(whole)),
    }
}

/// Names and messages come from elsewhere: nothing in them may move the cursor or colour the
/// terminal.
pub(crate) fn printable(text: &str) -> String {
    let shown = text.chars().map(|c| match is_unruly(c) {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    });
    shown.collect()
}

/// Columns of the terminals that text is laid out for.
const COLUMNS: usize = 79;

/// A text as a paragraph that is broken between words; its first line begins with `first`, the
/// others with as many spaces. A word that is longer than a line stays whole, so that it can be
/// copied.
pub(crate) fn paragraph(first: &str, text: &str) -> String {
    let indent = first.chars().count();
    let (mut out, mut used) = (first.to_owned(), indent);
    for word in text.split(' ') {
        let long = word.chars().count();
        if used > indent && used + 1 + long > COLUMNS {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        } else if used > indent {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += long;
    }
    out
}

/// Reads a span as configurations and options have it: `500ms`, `30s`, `10m`, `2h`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let unit_ms = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let ms = number
        .zip(unit_ms)
        .and_then(|(n, unit)| n.checked_mul(unit));
    ms.map(Duration::from_millis).ok_or_else(|| {
        format!("{text:?} is no time span; hint: write it like 500ms, 30s, 10m or 2h")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_do_not_lie() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (340 << 20, "340 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(count(1_204_000), "1,204,000");
        assert_eq!(count(999), "999");
        assert_eq!(percent(999, 1000), "99%");
        assert_eq!(percent(0, 0), "100%");
    }

    #[test]
    fn spans_are_told_in_two_units() {
        for (ms, text) in [
            (250, "250 ms"),
            (1_290, "1.2 s"),
            (185_000, "3 min 5 s"),
            (7_440_000, "2 h 4 min"),
            (86_400_000 * 3, "3 d"),
        ] {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn nothing_in_a_name_moves_what_stands_around_it() {
        let shown = printable("a\u{1b}[2J\nb\u{202e}gpj.c\u{2069}文");
        assert_eq!(shown, "a\u{fffd}[2J\u{fffd}b\u{fffd}gpj.c\u{fffd}文");
        assert_eq!(lasting(999), "just now");
        assert_eq!(lasting(5_000), "for 5 s");
    }

    #[test]
    fn paragraphs_break_between_words_and_keep_long_ones_whole() {
        let path = "/a".repeat(60);
        let text = format!("{} {path} end", "word ".repeat(20).trim_end());
        let told = paragraph("! ", &text);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 4, "{told}");
        assert!(lines[0].starts_with("! word") && lines[0].len() <= 79);
        assert!(lines[1].starts_with("  word"), "{told}");
        assert_eq!(lines[2], format!("  {path}"));
        assert_eq!(lines[3], "  end");
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "30", "s", "1.5s", "-1s", "1w", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }
}
