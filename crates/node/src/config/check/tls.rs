//! The `[tls]` table: keys in one file or in three, or none at all.

use std::path::PathBuf;

use crate::identity::KeyFiles;

use super::super::error::{ConfigError, Problem};
use super::super::outline::Outline;
use super::super::{Tls, raw};
use super::paths;

/// Checks the table by itself.
pub(super) fn check(raw: raw::Tls, outline: &Outline<'_>) -> Result<Tls, ConfigError> {
    let path = |text: Option<String>, key| {
        let path = text.map(|text| paths::absolute(&text, key, outline));
        path.transpose()
    };
    let bundle = path(raw.bundle, "tls.bundle")?;
    let apart = [
        ("tls.ca", path(raw.ca, "tls.ca")?),
        ("tls.cert", path(raw.cert, "tls.cert")?),
        ("tls.key", path(raw.key, "tls.key")?),
    ];
    let keys = key_files(bundle, apart, outline)?;
    let revoked = path(raw.revoked, "tls.revoked")?;
    if keys.is_some() && raw.plaintext {
        let other = "the keys of [tls]";
        return Err(outline.refuse("tls.plaintext", Problem::Instead { other }));
    }
    let authority = path(raw.authority, "tls.authority")?;
    let of_keys = [("tls.revoked", &revoked), ("tls.authority", &authority)];
    let named = of_keys.iter().find(|(_, path)| path.is_some());
    if let Some((key, _)) = named.filter(|_| keys.is_none()) {
        let needs = "tls.bundle";
        return Err(outline.refuse(key, Problem::Without { needs }));
    }
    Ok(Tls {
        plaintext: raw.plaintext,
        keys,
        revoked,
        authority,
    })
}

fn key_files(
    bundle: Option<PathBuf>,
    apart: [(&'static str, Option<PathBuf>); 3],
    outline: &Outline<'_>,
) -> Result<Option<KeyFiles>, ConfigError> {
    let there = apart.iter().find(|(_, path)| path.is_some());
    let missing = apart.iter().find(|(_, path)| path.is_none());
    match (bundle, there, missing) {
        (Some(_), Some(&(key, _)), _) => {
            let other = "tls.bundle";
            Err(outline.refuse(key, Problem::Instead { other }))
        }
        (Some(bundle), None, _) => Ok(Some(KeyFiles::Bundle(bundle))),
        (None, None, _) => Ok(None),
        (None, Some(&(key, _)), Some(&(needs, _))) => {
            Err(outline.refuse(key, Problem::Without { needs }))
        }
        (None, Some(_), None) => {
            let [ca, cert, key] = apart.map(|(_, path)| path.expect("none is missing"));
            Ok(Some(KeyFiles::Apart { ca, cert, key }))
        }
    }
}
