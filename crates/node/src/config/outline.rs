//! Which keys a config has and where they stand: it knows the line of every message, and refuses
//! keys that no version or not this one has.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place, Problem};
use super::schema::{self, Keys, Kind};

/// The keys of one config, and where they stand in its text.
#[derive(Debug)]
pub(super) struct Outline<'t> {
    origin: &'t str,
    text: &'t str,
    /// Keys before those under them.
    spots: Vec<Spot>,
}

#[derive(Debug)]
struct Spot {
    /// Such as `produce[1].watch`; tables of one kind are counted from 1.
    key: String,
    line: usize,
    /// Where its value stands.
    value: Range<usize>,
}

impl<'t> Outline<'t> {
    /// Finds the keys of a config and holds them against the schema.
    ///
    /// # Errors
    /// [`ConfigError`] when the text is not TOML, or a key is unknown, not implemented yet, or
    /// missing.
    pub(super) fn parse(text: &'t str, origin: &'t str) -> Result<Self, ConfigError> {
        let mut outline = Self {
            origin,
            text,
            spots: Vec::new(),
        };
        let file = DeTable::parse(text).map_err(|bad| outline.syntax(&bad))?;
        outline.walk(file.get_ref(), schema::FILE, "")?;
        Ok(outline)
    }

    /// The place of a key, or of the nearest one above it that is there.
    pub(super) fn place(&self, key: &str) -> Place {
        let above = |spot: &&Spot| {
            let rest = key.strip_prefix(spot.key.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let spot = self.spots.iter().rfind(above);
        Place {
            file: self.origin.to_owned(),
            line: spot.map(|spot| spot.line),
        }
    }

    /// A failed check of one key's value.
    pub(super) fn refuse(&self, key: &str, problem: impl Into<Problem>) -> ConfigError {
        ConfigError::Value {
            place: self.place(key),
            key: key.to_owned(),
            problem: Box::new(problem.into()),
        }
    }

    /// A value that does not have its key's type.
    pub(super) fn refuse_type(&self, bad: &toml::de::Error) -> ConfigError {
        let span = bad.span().unwrap_or_default();
        let around = |spot: &&Spot| spot.value.start <= span.start && span.end <= spot.value.end;
        let key = self
            .spots
            .iter()
            .rfind(around)
            .map_or("", |spot| &spot.key)
            .to_owned();
        let hint = if bad.message().contains("hint:") {
            ""
        } else {
            "; hint: write what it expects"
        };
        let what = format!("{}{hint}", bad.message());
        ConfigError::Type {
            place: self.place_at(span.start),
            key,
            what,
        }
    }

    fn syntax(&self, bad: &toml::de::Error) -> ConfigError {
        let at = bad.span().map_or(0, |span| span.start);
        ConfigError::Syntax {
            place: self.place_at(at),
            what: bad.message().to_owned(),
            hint: match self.is_bare_mode(at) {
                true => "quote it, such as mode = \"0640\"",
                false => "the config is TOML, correct that line",
            },
        }
    }

    /// Whether the line of a place gives a mode as people write it, with a zero in front, which no
    /// number of TOML has.
    fn is_bare_mode(&self, at: usize) -> bool {
        let from = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        let line = self.text[from..].lines().next().unwrap_or_default();
        let (key, value) = line.split_once('=').unwrap_or_default();
        key.trim() == "mode" && value.trim().starts_with('0')
    }

    fn place_at(&self, at: usize) -> Place {
        Place {
            file: self.origin.to_owned(),
            line: Some(self.line(at)),
        }
    }

    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    fn walk(&mut self, table: &DeTable<'_>, keys: Keys, above: &str) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = join(above, name.get_ref());
            let line = self.line(name.span().start);
            self.spots.push(Spot {
                key: key.clone(),
                line,
                value: value.span(),
            });
            match keys.iter().find(|(known, _)| known == name.get_ref()) {
                Some((_, kind)) => self.enter(key, value, kind)?,
                None => return Err(self.unknown(key, name.get_ref(), keys)),
            }
        }
        keys.iter()
            .filter(|(name, _)| !table.contains_key(*name))
            .try_for_each(|(name, kind)| self.absent(&join(above, name), kind))
    }

    fn enter(
        &mut self,
        key: String,
        value: &Spanned<DeValue<'_>>,
        kind: &Kind,
    ) -> Result<(), ConfigError> {
        match (kind, value.get_ref()) {
            (Kind::Later, _) => Err(ConfigError::Later {
                place: self.place(&key),
                key,
            }),
            (Kind::Only { now, later }, value) => self.only(&key, value, now, later),
            (Kind::Table(keys), DeValue::Table(table)) => self.walk(table, keys, &key),
            (Kind::Tables(keys), DeValue::Array(array)) => {
                (1..).zip(array.iter()).try_for_each(|(count, element)| {
                    let key = format!("{key}[{count}]");
                    let (line, value) = (self.line(element.span().start), element.span());
                    self.spots.push(Spot {
                        key: key.clone(),
                        line,
                        value,
                    });
                    match element.get_ref() {
                        DeValue::Table(table) => self.walk(table, keys, &key),
                        _ => Ok(()),
                    }
                })
            }
            // A value of another type is refused where its type is read.
            (Kind::Required | Kind::Optional | Kind::Table(_) | Kind::Tables(_), _) => Ok(()),
        }
    }

    fn only(
        &self,
        key: &str,
        value: &DeValue<'_>,
        now: &'static str,
        later: &'static [&'static str],
    ) -> Result<(), ConfigError> {
        match value.as_str() {
            Some(value) if value == now => Ok(()),
            Some(value) if later.is_empty() || later.contains(&value) => {
                let (place, key, value) = (self.place(key), key.to_owned(), value.to_owned());
                Err(ConfigError::LaterValue {
                    place,
                    key,
                    value,
                    now,
                })
            }
            Some(value) => Err(self.refuse(
                key,
                Problem::Only {
                    value: value.to_owned(),
                    now,
                },
            )),
            None => {
                let value = format!("a value of type {}", value.type_str());
                Err(self.refuse(key, Problem::Only { value, now }))
            }
        }
    }

    /// Reports what must be there: a missing table is an empty one.
    fn absent(&self, key: &str, kind: &Kind) -> Result<(), ConfigError> {
        match kind {
            Kind::Required => Err(ConfigError::Missing {
                place: self.place(key),
                key: key.to_owned(),
            }),
            Kind::Table(keys) => keys
                .iter()
                .try_for_each(|(name, kind)| self.absent(&join(key, name), kind)),
            Kind::Optional | Kind::Later | Kind::Only { .. } | Kind::Tables(_) => Ok(()),
        }
    }

    fn unknown(&self, key: String, name: &str, keys: Keys) -> ConfigError {
        let distance = |known: &&str| strsim::damerau_levenshtein(name, known);
        let nearest = keys.iter().map(|&(known, _)| known).min_by_key(distance);
        let nearest = nearest.expect("every table of the schema has keys");
        // Half of it may be wrong, or its end; beyond that it is not this key that was meant.
        let begins_alike = nearest
            .bytes()
            .zip(name.bytes())
            .take(2)
            .all(|(a, b)| a == b);
        let is_near = distance(&nearest) * 2 <= nearest.len().max(name.len());
        let guess = match is_near || begins_alike {
            true => format!("did you mean {nearest}?"),
            false => {
                let known: Vec<_> = keys.iter().map(|&(known, _)| known).collect();
                format!("the keys here are {}", known.join(", "))
            }
        };
        ConfigError::Unknown {
            place: self.place(&key),
            key,
            guess,
        }
    }
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() {
        name.to_owned()
    } else {
        format!("{above}.{name}")
    }
}
