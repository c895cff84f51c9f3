//! Templates of keys and of layouts: text with `{placeholders}` for what is known of a file.
//!
//! A template is parsed once, where the config is read, and every mistake shows there. `{{` and
//! `}}` stand for the braces themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use thiserror::Error;

use super::{BadFileName, FileName};
use crate::ids::{FeedName, NodeName, Sequence, Start, TransferKey};

/// What a template makes, which decides what it may be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateKind {
    /// A key: `{name}`, `{stem}`, `{dir}`, `{producer}` and `{meta.x}`. It may not depend on the
    /// transfer, or else equal files would never go to equal consumers.
    Key,
    /// A path under an inbox: `{name}`, `{stem}`, `{dir}`, `{feed}`, `{producer}` and `{id}`.
    Layout,
}

impl TemplateKind {
    fn allowed(self) -> &'static [&'static str] {
        match self {
            Self::Key => &["name", "stem", "dir", "producer", "meta.x"],
            Self::Layout => &["name", "stem", "dir", "feed", "producer", "id"],
        }
    }
}

impl fmt::Display for TemplateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Layout => "layout",
        })
    }
}

/// A template that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadTemplate {
    /// It is empty.
    #[error("{kind} template is empty; hint: \"{{name}}\" is the file's relative name")]
    Empty {
        /// What it was to make.
        kind: TemplateKind,
    },
    /// A placeholder that does not exist, or not in this kind of template.
    #[error("{{{unknown}}} is not known in a {kind} template; hint: did you mean {{{nearest}}}? There are {}", braced(*.kind))]
    Unknown {
        /// What the template makes.
        kind: TemplateKind,
        /// What stands between the braces.
        unknown: String,
        /// The one that is spelled most like it.
        nearest: &'static str,
    },
    /// A brace without its partner.
    #[error(
        "template {template:?} has a single {brace:?}; hint: write it twice for the character itself"
    )]
    Brace {
        /// The template.
        template: String,
        /// The brace.
        brace: char,
    },
    /// A layout that can make no path under an inbox, whatever the file.
    #[error("layout {template:?} makes no path under an inbox: {source}")]
    Layout {
        /// The template.
        template: String,
        /// What is wrong with what it makes.
        source: BadFileName,
    },
}

fn braced(kind: TemplateKind) -> String {
    let all: Vec<_> = kind
        .allowed()
        .iter()
        .map(|name| format!("{{{name}}}"))
        .collect();
    all.join(" ")
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name,
    Stem,
    Dir,
    Feed,
    Producer,
    Id,
    Meta(String),
}

/// What is known of a file when a template is filled in.
#[derive(Debug, Clone, Copy)]
pub struct TemplateValues<'a> {
    /// Its relative name.
    pub name: &'a FileName,
    /// Its feed.
    pub feed: &'a FeedName,
    /// The node that submits it.
    pub producer: &'a NodeName,
    /// The transfer within that node. A key is made before there is one, and never asks for it.
    pub transfer: Option<TransferKey>,
    /// The user's own entries.
    pub meta: &'a BTreeMap<String, String>,
}

/// Text with placeholders, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

impl Template {
    /// Accepts a template from outside.
    ///
    /// # Errors
    /// [`BadTemplate`] when it holds something unknown, or is a layout that could never make an
    /// acceptable name.
    pub fn parse(text: &str, kind: TemplateKind) -> Result<Self, BadTemplate> {
        if text.is_empty() {
            return Err(BadTemplate::Empty { kind });
        }
        let template = Self {
            text: text.to_owned(),
            parts: parse_parts(text, kind)?,
        };
        match kind {
            TemplateKind::Key => Ok(template),
            TemplateKind::Layout => template.tried(),
        }
    }

    /// The template as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names of the `{meta.x}` entries that it uses: without them it makes keys all the same.
    pub fn meta_names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Meta(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Fills it in. A `{meta.x}` that the file does not have is empty; an empty `{dir}` takes the
    /// `/` behind it along, so that `{dir}/{stem}` is a relative path either way.
    ///
    /// # Panics
    /// When a layout with `{id}` is filled in without a transfer.
    #[must_use]
    pub fn render(&self, values: &TemplateValues<'_>) -> String {
        let mut out = String::new();
        let mut swallow_slash = false;
        for part in &self.parts {
            let value = match part {
                Part::Text(text) if swallow_slash => text.strip_prefix('/').unwrap_or(text),
                Part::Text(text) => text,
                Part::Name => values.name.as_str(),
                Part::Stem => values.name.stem(),
                Part::Dir => values.name.dir(),
                Part::Feed => values.feed.as_str(),
                Part::Producer => values.producer.as_str(),
                Part::Meta(name) => values.meta.get(name).map_or("", String::as_str),
                Part::Id => {
                    let key = values
                        .transfer
                        .expect("a layout is filled in for a transfer");
                    write!(out, "{}.{key}", values.producer).expect("a String always has room");
                    ""
                }
            };
            swallow_slash = *part == Part::Dir && value.is_empty();
            out.push_str(value);
        }
        out
    }

    /// Fills in a layout: the file's path under the inbox.
    ///
    /// # Errors
    /// [`BadFileName`] when the path is not acceptable as a name, most likely for its length.
    pub fn render_name(&self, values: &TemplateValues<'_>) -> Result<FileName, BadFileName> {
        FileName::new(&self.render(values))
    }

    /// The template itself, if it makes acceptable names of short values, with and without a
    /// directory.
    fn tried(self) -> Result<Self, BadTemplate> {
        let node = NodeName::new("n").expect("one letter is a name");
        let tried = ["f", "d/f"].into_iter().try_for_each(|name| {
            let values = TemplateValues {
                name: &FileName::new(name)?,
                feed: &FeedName::new("f").expect("one letter is a name"),
                producer: &node,
                transfer: Some(TransferKey {
                    start: Start(0),
                    seq: Sequence(1),
                }),
                meta: &BTreeMap::new(),
            };
            self.render_name(&values).map(drop)
        });
        match tried {
            Ok(()) => Ok(self),
            Err(source) => Err(BadTemplate::Layout {
                template: self.text,
                source,
            }),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

fn parse_parts(template: &str, kind: TemplateKind) -> Result<Vec<Part>, BadTemplate> {
    let single = |brace| BadTemplate::Brace {
        template: template.to_owned(),
        brace,
    };
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("{{") {
            text.push('{');
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("}}") {
            text.push('}');
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix('{') {
            let (name, behind) = behind.split_once('}').ok_or_else(|| single('{'))?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(parse_placeholder(name, kind)?);
            rest = behind;
        } else {
            return Err(single('}'));
        }
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn parse_placeholder(name: &str, kind: TemplateKind) -> Result<Part, BadTemplate> {
    let known = match (name, kind) {
        ("name", _) => Some(Part::Name),
        ("stem", _) => Some(Part::Stem),
        ("dir", _) => Some(Part::Dir),
        ("producer", _) => Some(Part::Producer),
        ("feed", TemplateKind::Layout) => Some(Part::Feed),
        ("id", TemplateKind::Layout) => Some(Part::Id),
        (_, TemplateKind::Key) => name
            .strip_prefix("meta.")
            .filter(|entry| !entry.is_empty())
            .map(|entry| Part::Meta(entry.to_owned())),
        (_, TemplateKind::Layout) => None,
    };
    known.ok_or_else(|| BadTemplate::Unknown {
        kind,
        unknown: name.to_owned(),
        nearest: nearest(name, kind),
    })
}

fn nearest(name: &str, kind: TemplateKind) -> &'static str {
    let distance = |known: &&&str| strsim::damerau_levenshtein(name, known);
    kind.allowed()
        .iter()
        .min_by_key(distance)
        .expect("every kind allows some")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, kind: TemplateKind, name: &str) -> String {
        let values = TemplateValues {
            name: &FileName::new(name).unwrap(),
            feed: &FeedName::new("images").unwrap(),
            producer: &NodeName::new("cam-7").unwrap(),
            transfer: Some(TransferKey {
                start: Start(0xc0ffee),
                seq: Sequence(42),
            }),
            meta: &BTreeMap::from([("lot".to_owned(), "L9".to_owned())]),
        };
        Template::parse(text, kind).unwrap().render(&values)
    }

    #[test]
    fn keys_are_made_of_what_is_known_before_the_transfer() {
        let key = |text| render(text, TemplateKind::Key, "a/b.tar.gz");
        assert_eq!(key("{name}"), "a/b.tar.gz");
        assert_eq!(
            key("{dir}|{stem}|{producer}|{meta.lot}"),
            "a|b.tar|cam-7|L9"
        );
        assert_eq!(key("{meta.none}"), "");
        assert_eq!(key("{{{stem}}}"), "{b.tar}");
        let template = Template::parse("{meta.lot}{name}{meta.x}", TemplateKind::Key).unwrap();
        assert_eq!(template.meta_names().collect::<Vec<_>>(), ["lot", "x"]);
    }

    #[test]
    fn layouts_are_relative_paths_with_and_without_a_directory() {
        let layout = |text, name| render(text, TemplateKind::Layout, name);
        assert_eq!(
            layout("{feed}/{producer}/{name}", "a/b"),
            "images/cam-7/a/b"
        );
        assert_eq!(
            layout("{dir}/{stem}_{id}", "a/b.c"),
            "a/b_cam-7.0000000000c0ffee.42"
        );
        assert_eq!(layout("{dir}/{stem}", "b.c"), "b");
        assert_eq!(layout("x/{dir}/{stem}", "b.c"), "x/b");
    }

    #[test]
    fn what_a_layout_makes_is_checked_again() {
        let values = TemplateValues {
            name: &FileName::new(&"x".repeat(255)).unwrap(),
            feed: &FeedName::new("f").unwrap(),
            producer: &NodeName::new("p").unwrap(),
            transfer: None,
            meta: &BTreeMap::new(),
        };
        let layout = Template::parse("{name}.new", TemplateKind::Layout).unwrap();
        assert!(matches!(
            layout.render_name(&values),
            Err(BadFileName::LongComponent { .. })
        ));
    }

    #[test]
    fn unknown_placeholders_name_the_nearest_known() {
        let nearest = |text, kind| match Template::parse(text, kind) {
            Err(BadTemplate::Unknown { nearest, .. }) => nearest,
            other => panic!("{other:?}"),
        };
        assert_eq!(nearest("{nmae}", TemplateKind::Key), "name");
        assert_eq!(nearest("{meta}", TemplateKind::Key), "meta.x");
        assert_eq!(nearest("{meta.}", TemplateKind::Key), "meta.x");
        assert_eq!(nearest("x{Feed}", TemplateKind::Layout), "feed");
        assert_eq!(nearest("{}", TemplateKind::Layout), "id");
        let text = Template::parse("{id}", TemplateKind::Key)
            .unwrap_err()
            .to_string();
        assert_eq!(
            text,
            "{id} is not known in a key template; hint: did you mean {dir}? \
             There are {name} {stem} {dir} {producer} {meta.x}"
        );
    }

    #[test]
    fn templates_that_cannot_be_meant_are_refused() {
        use BadTemplate as Bad;
        let key = |text| Template::parse(text, TemplateKind::Key).unwrap_err();
        assert!(matches!(key(""), Bad::Empty { .. }));
        assert!(matches!(key("{name"), Bad::Brace { brace: '{', .. }));
        assert!(matches!(key("name}"), Bad::Brace { brace: '}', .. }));
        for bad in [
            "/{name}",
            "../{name}",
            "{name}/",
            ".consign/{name}",
            "a//{name}",
            "x/{dir}",
            "\n",
        ] {
            let refused = Template::parse(bad, TemplateKind::Layout).unwrap_err();
            assert!(matches!(refused, Bad::Layout { .. }), "{bad}");
            assert!(refused.to_string().contains("; hint: "), "{refused}");
        }
    }
}
