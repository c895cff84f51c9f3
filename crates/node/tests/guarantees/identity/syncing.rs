//! What a command has said to be done is on the disk: read off the system calls of the program itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cluster::skipped;

/// The system calls of a command that concern files' names and syncs, one a line, each descriptor with
/// its path. `None`, said aloud, where strace cannot be used.
fn calls_of(dir: &Path, args: &[&str]) -> Option<Vec<String>> {
    let trace = dir.join("trace");
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-y", "-e", "trace=/rename|sync|mkdir"])
        .arg("-o")
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_consign"))
        .args(args)
        .output();
    let Ok(traced) = traced else {
        skipped("the syncs of `consign keys`: there is no strace");
        return None;
    };
    assert!(traced.status.success(), "{traced:?}");
    let text = fs::read_to_string(&trace).unwrap();
    let good = text.lines().filter(|line| line.ends_with("= 0"));
    Some(good.map(str::to_owned).collect())
}

/// The file or directory that a call has synced.
fn synced(call: &str) -> Option<&Path> {
    let at = call.find("sync(")?;
    let (_, path) = call.get(at..)?.split_once('<')?;
    Some(Path::new(path.split_once('>')?.0))
}

/// Which names a call has put in place of which.
fn renamed(call: &str) -> Option<(&Path, &Path)> {
    let mut quoted = call.split('"').skip(1).step_by(2).map(Path::new);
    let is_rename = call.contains("rename");
    is_rename.then(|| Some((quoted.next()?, quoted.next()?)))?
}

/// Each file that came into being: its bytes were synced before it had its name, and its name after.
#[track_caller]
fn check(calls: &[String], files: &[&str]) {
    let mut seen = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        let Some((from, to)) = renamed(call) else {
            continue;
        };
        let (before, after) = calls.split_at(at);
        let is_synced = |calls: &[String], path: &Path| {
            let mut all = calls.iter().filter_map(|call| synced(call));
            all.any(|one| one == path)
        };
        assert!(is_synced(before, from), "{to:?} may be empty: {calls:#?}");
        let dir = to.parent().unwrap();
        assert!(is_synced(after, dir), "{to:?} may be gone: {calls:#?}");
        seen.push(to.file_name().unwrap().to_str().unwrap().to_owned());
    }
    assert_eq!(seen, files, "{calls:#?}");
}

#[test]
fn an_authority_survives_power_loss_with_all_that_it_has_given() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().canonicalize().unwrap();
    let dir = home.join("new/authority");
    let (out, at) = (home.join("cam-7.pem"), dir.to_str().unwrap());
    let keys = |args: &[&str]| calls_of(&home, &[&["keys"], args, &["--dir", at]].concat());
    let Some(made) = keys(&["init"]) else {
        return;
    };
    check(&made, &["ca.key", "ca.pem"]);
    for above in [&home, &home.join("new")] {
        let is_it = |call: &String| synced(call) == Some(above);
        assert!(
            made.iter().any(is_it),
            "the directory may be gone: {made:#?}"
        );
    }
    let to = out.to_str().unwrap();
    let issue = ["issue", "cam-7", "--roles", "producer", "--out", to];
    // The number is used up before anybody can have the certificate.
    check(&keys(&issue).unwrap(), &["issued", "cam-7.pem"]);
    check(&keys(&["revoke", "cam-7"]).unwrap(), &["revoked"]);
    let invite = [
        "invite",
        "cam-8",
        "--roles",
        "producer",
        "--at",
        "127.0.0.1:1",
    ];
    check(&keys(&invite).unwrap(), &["invitations"]);
}
