//! For `doctor`: an archive that nobody has open, looked at as a whole.

use std::path::{Path, PathBuf};

use consign_core::receipt::{self, HASH_BYTES};
use rusqlite::Connection;

use super::FILE;
use super::bounds::DAMAGED_TOLD_MAX;
use super::schema::open_to_read;
use crate::database::kept_as;

/// What an archive is like.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Receipts in it, and signed batches.
    pub(crate) receipts: u64,
    /// See there.
    pub(crate) batches: u64,
    /// What is wrong with it.
    pub(crate) wrong: Vec<String>,
    /// Archives that were damaged and set aside.
    pub(crate) set_aside: Vec<PathBuf>,
}

/// Examines the archive in a data directory; `None` when there never was one. Changes nothing.
pub(crate) fn examine(data_dir: &Path) -> Option<Examined> {
    let path = data_dir.join(FILE);
    let aside = (1..).map(|n| kept_as(&path, n));
    let mut examined = Examined {
        set_aside: aside.take_while(|path| path.exists()).collect(),
        ..Examined::default()
    };
    if !path.exists() {
        return (!examined.set_aside.is_empty()).then_some(examined);
    }
    let looked = open_to_read(&path).map_err(|unusable| unusable.to_string());
    let looked = looked.and_then(|db| look(&db, &mut examined).map_err(|error| error.to_string()));
    examined.wrong.extend(looked.err());
    examined.path = path;
    Some(examined)
}

fn look(db: &Connection, examined: &mut Examined) -> rusqlite::Result<()> {
    let mut check = db.prepare(&format!("PRAGMA integrity_check({DAMAGED_TOLD_MAX})"))?;
    let said = check.query_map([], |row| row.get::<_, String>(0))?;
    for line in said {
        let line = line?;
        if line != "ok" {
            examined.wrong.push(line);
        }
    }
    let count = "SELECT count(*) FROM receipts";
    examined.receipts = db
        .query_row(count, [], |row| row.get::<_, i64>(0))?
        .unsigned_abs();
    let mut batches = db.prepare("SELECT id, root, leaves FROM batches")?;
    let mut rows = batches.query([])?;
    while let Some(row) = rows.next()? {
        examined.batches += 1;
        let root: Vec<u8> = row.get(1)?;
        let leaves: Vec<u8> = row.get(2)?;
        let (leaves, rest) = leaves.as_chunks::<HASH_BYTES>();
        let is_right = receipt::root(leaves).is_some_and(|it| it.as_slice() == root);
        if (!is_right || !rest.is_empty()) && examined.wrong.len() < DAMAGED_TOLD_MAX {
            let batch: i64 = row.get(0)?;
            let what = format!("batch {batch} does not have the root of its leaves");
            examined.wrong.push(what);
        }
    }
    Ok(())
}
