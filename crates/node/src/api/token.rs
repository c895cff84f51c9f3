//! The bearer token for changing calls over TCP: `<data_dir>/api-token`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::ListenError;

/// Length of the secret, in bytes; the file has twice as many hexadecimal digits.
const TOKEN_BYTES: usize = 32;

/// The token, as its hash: the text itself is not kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(blake3::Hash);

impl Token {
    fn new(text: &str) -> Self {
        Self(blake3::hash(text.as_bytes()))
    }

    /// Whether `presented` is the token, in a time that does not depend on where they differ:
    /// comparing [`blake3::Hash`]es is constant-time.
    pub(super) fn is(&self, presented: &str) -> bool {
        self.0 == blake3::hash(presented.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Reads the token, or makes one. What is returned need not be synced: a token that a power cut
/// takes away is made again, and who used it has to read the new one.
pub(super) fn load_or_create(data_dir: &Path) -> Result<Token, ListenError> {
    let path = data_dir.join("api-token");
    let failed = |source| ListenError::Io {
        what: format!("use the token file {}", path.display()),
        source,
    };
    match create(&path) {
        Ok(token) => return Ok(token),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let file = File::open(&path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(ListenError::TokenExposed {
            path,
            mode: mode & 0o777,
        });
    }
    let mut text = String::new();
    // One byte more than there may be, to notice that there is more.
    let limit = (2 * TOKEN_BYTES + 2) as u64;
    let read = file.take(limit).read_to_string(&mut text);
    read.map_err(failed)?;
    let text = text.trim_end();
    if text.len() != 2 * TOKEN_BYTES || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ListenError::BadToken { path });
    }
    Ok(Token::new(text))
}

/// Makes a new token file; fails when there is one.
fn create(path: &Path) -> std::io::Result<Token> {
    let mut secret = [0; TOKEN_BYTES];
    getrandom::fill(&mut secret)?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    Ok(Token::new(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path()).unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap(), first);
        let path = dir.path().join("api-token");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(first.is(text.trim()) && !first.is("") && !first.is(&text));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create(dir.path()).unwrap_err().to_string();
        assert!(error.contains("644") && error.contains("hint: "), "{error}");
    }

    #[test]
    fn a_damaged_token_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api-token");
        for bad in ["", "short\n", &"g".repeat(64), &"a".repeat(65)] {
            let _ = std::fs::remove_file(&path);
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .unwrap();
            file.write_all(bad.as_bytes()).unwrap();
            assert!(load_or_create(dir.path()).is_err(), "{bad:?}");
        }
    }
}
