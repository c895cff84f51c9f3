//! One `[[consume]]` table.

use consign_core::ids::FeedName;
use consign_core::name::{BadPattern, Pattern, Template, TemplateKind};
use consign_core::spec::{ConsumePolicy, OnConflict};

use super::super::error::{ConfigError, Problem};
use super::super::outline::Outline;
use super::super::owner::parse_owner;
use super::super::units::Size;
use super::super::{ConsumeConfig, raw};
use super::{WEIGHT_DEFAULT, paths};

/// Enough that the rest of the machine can still log why it is full.
const MIN_FREE_BYTES_DEFAULT: u64 = 1 << 30;

/// Permission bits that published files may have: none that would make them run as somebody.
const MODE_MAX: u32 = 0o777;

/// Checks one table; `at` is its key.
pub(super) fn check(
    raw: raw::Consume,
    at: &str,
    outline: &Outline<'_>,
) -> Result<ConsumeConfig, ConfigError> {
    let key = |name: &str| format!("{at}.{name}");
    let layout = raw.layout.unwrap_or_else(|| "{name}".to_owned());
    let from =
        check_from(raw.from.as_deref()).map_err(|problem| outline.refuse(&key("from"), problem))?;
    let inbox = paths::absolute(&raw.inbox, &key("inbox"), outline)?.into_os_string();
    let policy = ConsumePolicy {
        feed: FeedName::new(&raw.feed).map_err(|bad| outline.refuse(&key("feed"), bad))?,
        inbox: inbox
            .into_string()
            .expect("TOML is text, and so is its part"),
        layout,
        on_conflict: match raw.on_conflict {
            None | Some(raw::OnConflict::Rename) => OnConflict::Rename,
            Some(raw::OnConflict::Reject) => OnConflict::Reject,
        },
        min_free_bytes: raw
            .min_free
            .map_or(MIN_FREE_BYTES_DEFAULT, |Size(bytes)| bytes),
        from: from.iter().map(ToString::to_string).collect(),
        owner: (raw.owner.as_deref().map(parse_owner).transpose())
            .map_err(|bad| outline.refuse(&key("owner"), bad))?,
        mode: (raw.mode.as_deref().map(parse_mode).transpose())
            .map_err(|problem| outline.refuse(&key("mode"), problem))?,
    };
    let layout = Template::parse(&policy.layout, TemplateKind::Layout)
        .map_err(|bad| outline.refuse(&key("layout"), bad))?;
    Ok(ConsumeConfig {
        policy,
        layout,
        from,
        weight: raw.weight.unwrap_or(WEIGHT_DEFAULT),
    })
}

fn check_from(patterns: Option<&[String]>) -> Result<Vec<Pattern>, Problem> {
    match patterns {
        None => Ok(Vec::new()),
        Some([]) => Err(Problem::EmptyList),
        Some(patterns) => {
            let parsed: Result<_, BadPattern> = patterns.iter().map(|p| Pattern::new(p)).collect();
            Ok(parsed?)
        }
    }
}

fn parse_mode(text: &str) -> Result<u32, Problem> {
    let bits = (text.len() == 4 && text.bytes().all(|digit| digit.is_ascii_digit()))
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten();
    let allowed = bits.filter(|&bits| bits <= MODE_MAX);
    allowed.ok_or_else(|| Problem::Mode {
        value: text.to_owned(),
    })
}
