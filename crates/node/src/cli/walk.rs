//! Which files `send` was given: each with its absolute path and its name in the feed.

use std::fs::FileType;
use std::path::{Path, PathBuf};

use super::exit::Failure;
use super::human;

/// A file to send, or why something that was found is not sent.
pub(crate) type Found = Result<FoundFile, String>;

/// A file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundFile {
    /// Absolute.
    pub(crate) path: String,
    /// Its name in the feed.
    pub(crate) name: String,
    /// Its length in bytes when it was found.
    pub(crate) size: u64,
}

/// The files under some arguments, in order, found as they are asked for.
#[derive(Debug)]
pub(crate) struct Walk {
    /// What is still to be looked at, the next one last: a path, and its name in the feed.
    waiting: Vec<(PathBuf, String)>,
    left_out: LeftOut,
}

/// Entries of directories that are not sent because of their names.
#[derive(Debug, Default)]
struct LeftOut {
    count: u64,
    /// The first of them.
    names: Vec<String>,
}

/// Names of entries left out that are told.
const LEFT_OUT_SHOWN: usize = 5;

impl Walk {
    /// Looks at the arguments themselves, so that a mistyped one is noticed before anything is
    /// sent.
    pub(crate) fn new(arguments: &[PathBuf]) -> Result<Self, Failure> {
        let mut waiting = Vec::new();
        for argument in arguments.iter().rev() {
            let path = std::path::absolute(argument);
            let named = "name files and directories that are there and that you may read";
            let path = path.map_err(|error| unusable(argument, &error.to_string(), named))?;
            let there = std::fs::symlink_metadata(&path);
            let there = there.map_err(|error| unusable(argument, &error.to_string(), named))?;
            if let Some((what, hint)) = not_sent(there.file_type()) {
                return Err(unusable(argument, what, hint));
            }
            let name = match there.is_dir() {
                true => String::new(),
                false => base_name(&path).map_err(|why| unusable(argument, why, "rename it"))?,
            };
            waiting.push((path, name));
        }
        Ok(Self {
            waiting,
            left_out: LeftOut::default(),
        })
    }

    /// Whether this is one file, which then may be given another name.
    pub(crate) fn is_one_file(&self) -> bool {
        matches!(self.waiting.as_slice(), [(_, name)] if !name.is_empty())
    }

    /// What was left out so far because of its name: nothing that somebody named is dropped
    /// without a word.
    pub(crate) fn left_out(&self) -> Option<String> {
        let LeftOut { count, names } = &self.left_out;
        let more = match *count > names.len() as u64 {
            true => ", …",
            false => "",
        };
        let entries = match count {
            0 => return None,
            1 => "1 temporary or hidden entry".to_owned(),
            _ => format!("{} temporary or hidden entries", human::count(*count)),
        };
        let names = human::printable(&names.join(", "));
        Some(format!("left out {entries}: {names}{more}"))
    }

    fn look(&mut self, path: PathBuf, name: String) -> Option<Found> {
        let there = match std::fs::symlink_metadata(&path) {
            Ok(there) => there,
            Err(error) => return Some(Err(unreadable(&path, &error))),
        };
        if let Some((what, hint)) = not_sent(there.file_type()) {
            return Some(Err(format!("{path:?}: {what}; hint: {hint}")));
        }
        if there.is_dir() {
            return match self.enter(&path, &name) {
                Ok(()) => None,
                Err(error) => Some(Err(unreadable(&path, &error))),
            };
        }
        let size = there.len();
        Some(match path.into_os_string().into_string() {
            Ok(path) => Ok(FoundFile { path, name, size }),
            Err(path) => Err(format!("{path:?}: its path is not UTF-8; hint: rename it")),
        })
    }

    /// Puts a directory's entries in line, sorted, so that two runs send in the same order.
    fn enter(&mut self, directory: &Path, prefix: &str) -> std::io::Result<()> {
        let mut entries = std::fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()?;
        entries.sort_unstable_by(|a, b| b.cmp(a));
        let mut left_out = Vec::new();
        for path in entries {
            // A name that is no text goes on under a readable one, to be refused by its path.
            let own = path.file_name().unwrap_or_default().to_string_lossy();
            let name = match prefix {
                "" => own.to_string(),
                prefix => format!("{prefix}/{own}"),
            };
            if is_temporary(&own) {
                left_out.push(name);
                continue;
            }
            self.waiting.push((path, name));
        }
        self.left_out.count += left_out.len() as u64;
        let room = LEFT_OUT_SHOWN - self.left_out.names.len();
        self.left_out
            .names
            .extend(left_out.into_iter().rev().take(room));
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        while let Some((path, name)) = self.waiting.pop() {
            if let Some(found) = self.look(path, name) {
                return Some(found);
            }
        }
        None
    }
}

/// Names of files that somebody is still writing, or keeps for himself: the same that a watched
/// directory leaves alone.
fn is_temporary(name: &str) -> bool {
    name.starts_with('.')
        || name.ends_with('~')
        || name.ends_with(".part")
        || name.ends_with(".tmp")
}

fn not_sent(kind: FileType) -> Option<(&'static str, &'static str)> {
    if kind.is_file() || kind.is_dir() {
        return None;
    }
    Some(match kind.is_symlink() {
        true => (
            "it is a symbolic link, and those are not followed",
            "name what it leads to",
        ),
        false => (
            "it is neither a file nor a directory",
            "put what comes out of it into a file, and send that",
        ),
    })
}

fn base_name(path: &Path) -> Result<String, &'static str> {
    let name = path.file_name().ok_or("it has no base name")?;
    let name = name.to_str().ok_or("its name is not UTF-8")?;
    Ok(name.to_owned())
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    let hint = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "let this user read it",
        std::io::ErrorKind::NotFound => "it was moved or deleted meanwhile",
        _ => "look at the state of its filesystem",
    };
    format!("{path:?}: {error}; hint: {hint}")
}

fn unusable(argument: &Path, why: &str, hint: &str) -> Failure {
    Failure::failed(format!(
        "{argument:?}: {why}, nothing was sent; hint: {hint}"
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in [
            "b/x.jpg",
            "b/deep/y.jpg",
            "a.txt",
            ".hidden",
            "c.part",
            "b/z.tmp",
            "d~",
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        dir
    }

    #[test]
    fn a_directory_keeps_its_paths_and_skips_temporary_names() {
        let dir = tree();
        symlink(dir.path().join("a.txt"), dir.path().join("link")).unwrap();
        let walk = Walk::new(&[dir.path().to_owned()]).unwrap();
        assert!(!walk.is_one_file());
        let mut walk = walk;
        let (good, bad): (Vec<_>, Vec<_>) = walk.by_ref().partition(Result::is_ok);
        let left_out = "left out 4 temporary or hidden entries: .hidden, c.part, d~, b/z.tmp";
        assert_eq!(walk.left_out().unwrap(), left_out);
        let names: Vec<_> = good.into_iter().map(|f| f.unwrap().name).collect();
        assert_eq!(names, ["a.txt", "b/deep/y.jpg", "b/x.jpg"]);
        let bad = bad[0].clone().unwrap_err();
        assert!(bad.contains("symbolic") && bad.contains("hint: "), "{bad}");
    }

    #[test]
    fn a_file_goes_by_its_base_name_even_if_that_looks_temporary() {
        let dir = tree();
        let mut walk = Walk::new(&[dir.path().join("c.part")]).unwrap();
        assert!(walk.is_one_file());
        let file = walk.next().unwrap().unwrap();
        assert_eq!((file.name.as_str(), file.size), ("c.part", 1));
        assert!(Path::new(&file.path).is_absolute());
        assert!(walk.next().is_none());
    }

    #[test]
    fn a_wrong_argument_is_noticed_before_anything_is_sent() {
        let dir = tree();
        let link = dir.path().join("link");
        symlink("a.txt", &link).unwrap();
        for bad in [dir.path().join("nothing"), link] {
            let good = dir.path().join("a.txt");
            let failure = Walk::new(&[good, bad]).unwrap_err();
            assert!(failure.text.contains("nothing was sent"), "{failure:?}");
        }
    }
}
