//! One `[[produce]]` table.

use std::path::PathBuf;
use std::time::Duration;

use consign_core::ids::FeedName;
use consign_core::name::{Template, TemplateKind};
use consign_core::spec::{After, ProducePolicy, Replicas};
use globset::{Glob, GlobBuilder, GlobSet};

use super::super::error::{ConfigError, Problem};
use super::super::outline::Outline;
use super::super::raw;
use super::super::units::{Interval, Size};
use super::super::{Include, Preserve, ProduceConfig, Watch};
use super::{deadline, paths};

/// Longer than programs pause while they write.
const SETTLE_DEFAULT: Duration = Duration::from_secs(2);

/// Events find most files at once; the scan finds the rest this late.
const SCAN_EVERY_DEFAULT: Duration = Duration::from_secs(5);

/// Shorter, and a large directory would be read without a pause.
const SCAN_EVERY_MIN: Duration = Duration::from_millis(100);

/// Queues have a bound even where nobody chose one.
const MAX_QUEUE_BYTES_DEFAULT: u64 = 500 << 30;

/// Where a watched directory's files are archived unless it is said. Hidden, so that the watcher
/// leaves it alone; in the directory itself, so that it is on the same filesystem.
const ARCHIVE_DIR_DEFAULT: &str = ".consign/archive";

/// Checks one table; `at` is its key.
pub(super) fn check(
    raw: raw::Produce,
    at: &str,
    replace_after: Option<Duration>,
    outline: &Outline<'_>,
) -> Result<ProduceConfig, ConfigError> {
    let key = |name: &str| format!("{at}.{name}");
    let watch = check_watch(&raw, &key, outline)?;
    let (after, archive_dir) = check_after(&raw, watch.as_ref(), &key, outline)?;
    let template = raw.key.as_deref().unwrap_or("{name}");
    let preserve = |attribute| {
        raw.preserve
            .as_ref()
            .is_none_or(|all| all.contains(&attribute))
    };
    Ok(ProduceConfig {
        policy: ProducePolicy {
            feed: FeedName::new(&raw.feed).map_err(|bad| outline.refuse(&key("feed"), bad))?,
            replicas: raw
                .replicas
                .map_or(Replicas::Count(1), |raw::Copies(replicas)| replicas),
            priority: raw.priority.unwrap_or(0),
            replace_after_ms: deadline(raw.replace_after, replace_after).map(whole_ms),
        },
        watch,
        after,
        archive_dir,
        key: Template::parse(template, TemplateKind::Key)
            .map_err(|bad| outline.refuse(&key("key"), bad))?,
        max_queue_bytes: raw
            .max_queue
            .map_or(MAX_QUEUE_BYTES_DEFAULT, |Size(bytes)| bytes),
        preserve: Preserve {
            mtime: preserve(raw::Attribute::Mtime),
            mode: preserve(raw::Attribute::Mode),
        },
    })
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn check_watch(
    raw: &raw::Produce,
    key: &impl Fn(&str) -> String,
    outline: &Outline<'_>,
) -> Result<Option<Watch>, ConfigError> {
    let Some(dir) = &raw.watch else {
        let idle = [
            ("include", raw.include.is_some()),
            ("settle", raw.settle.is_some()),
            ("scan_every", raw.scan_every.is_some()),
        ];
        return match idle.into_iter().find(|(_, is_set)| *is_set) {
            None => Ok(None),
            Some((name, _)) => Err(outline.refuse(&key(name), Problem::Without { needs: "watch" })),
        };
    };
    let interval = |written: Option<Interval>, default| written.map_or(default, |Interval(d)| d);
    let scan_every = interval(raw.scan_every, SCAN_EVERY_DEFAULT);
    if scan_every < SCAN_EVERY_MIN {
        return Err(outline.refuse(&key("scan_every"), Problem::TooShort { min: "100ms" }));
    }
    Ok(Some(Watch {
        dir: paths::absolute(dir, &key("watch"), outline)?,
        include: check_include(raw.include.as_deref())
            .map_err(|problem| outline.refuse(&key("include"), problem))?,
        settle: interval(raw.settle, SETTLE_DEFAULT),
        scan_every,
    }))
}

fn check_include(patterns: Option<&[String]>) -> Result<Include, Problem> {
    let Some(patterns) = patterns else {
        return Ok(Include {
            patterns: Vec::new(),
            set: GlobSet::empty(),
        });
    };
    if patterns.is_empty() {
        return Err(Problem::EmptyList);
    }
    let globs = patterns
        .iter()
        .map(|pattern| glob(pattern))
        .collect::<Result<Vec<_>, _>>()?;
    // Each pattern is good by itself; together they can only be too many.
    let set = GlobSet::new(&globs).map_err(|bad| Problem::Glob {
        pattern: patterns.join(", "),
        why: bad.to_string(),
    })?;
    Ok(Include {
        patterns: patterns.to_vec(),
        set,
    })
}

fn glob(pattern: &str) -> Result<Glob, Problem> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map_err(|bad| Problem::Glob {
        pattern: pattern.to_owned(),
        why: bad.kind().to_string(),
    })
}

fn check_after(
    raw: &raw::Produce,
    watch: Option<&Watch>,
    key: &impl Fn(&str) -> String,
    outline: &Outline<'_>,
) -> Result<(After, Option<PathBuf>), ConfigError> {
    let after = match raw.after {
        None | Some(raw::After::Keep) => After::Keep,
        Some(raw::After::Delete) => After::Delete,
        Some(raw::After::Archive) => After::Archive,
    };
    let archive_dir = match (&raw.archive_dir, after) {
        (None, After::Keep | After::Delete) => None,
        (Some(_), After::Keep | After::Delete) => {
            let problem = Problem::Without {
                needs: "after = \"archive\"",
            };
            return Err(outline.refuse(&key("archive_dir"), problem));
        }
        (Some(dir), After::Archive) => Some(paths::absolute(dir, &key("archive_dir"), outline)?),
        (None, After::Archive) => {
            let watch = watch.ok_or_else(|| outline.refuse(&key("after"), Problem::NoArchive))?;
            Some(watch.dir.join(ARCHIVE_DIR_DEFAULT))
        }
    };
    Ok((after, archive_dir))
}
