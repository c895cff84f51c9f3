//! Inboxes that change under what is saved in them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{Cluster, SOON, left_in_staging, random_bytes, until};

/// A directory in which nothing can be made, not even by root, for as long as this lives.
struct Sealed<'a>(&'a Path);

impl<'a> Sealed<'a> {
    /// `None`, said aloud, where this user or filesystem cannot.
    fn new(dir: &'a Path) -> Option<Self> {
        fs::create_dir(dir).unwrap();
        let sealed = chattr("+i", dir).then_some(Self(dir));
        if sealed.is_none() {
            eprintln!("SKIPPED: a directory cannot be made immutable here");
        }
        sealed
    }
}

impl Drop for Sealed<'_> {
    fn drop(&mut self) {
        chattr("-i", self.0);
    }
}

fn chattr(change: &str, path: &Path) -> bool {
    let status = Command::new("chattr").arg(change).arg(path).status();
    status.is_ok_and(|status| status.success())
}

/// A consumer of two feeds, with a file of `files` that is saved and cannot be published, since
/// nothing can be made in its directory; and its inbox, in which that directory is not any more.
fn with_a_saved_file_that_waits(size: usize) -> Option<(Cluster, PathBuf)> {
    with_a_saved_file_that_waits_in(two(), size)
}

/// A producer, and a consumer that takes another feed, too.
fn two() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    let other = cluster.dir().join("cons-1").join("other");
    cluster.consumer(
        "cons-1",
        &format!("layout = \"sub/{{name}}\"\n[[consume]]\nfeed = \"others\"\ninbox = {other:?}"),
    );
    cluster
}

fn with_a_saved_file_that_waits_in(
    mut cluster: Cluster,
    size: usize,
) -> Option<(Cluster, PathBuf)> {
    configure(&cluster);
    cluster.start_one("prod-1");
    cluster.start_one("cons-1");
    let inbox = cluster.node("cons-1").inbox();
    let in_the_way = inbox.join("sub");
    let sealed = Sealed::new(&in_the_way)?;
    let path = cluster.write("file", &random_bytes(1, size));
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    cluster.wait_until_done("prod-1", 1, SOON);
    until("it is staged", SOON, || left_in_staging(&inbox).len() == 1);
    until("it is tried", SOON, || {
        cluster
            .status("cons-1")
            .to_string()
            .contains("cannot be published")
    });
    cluster.stop("cons-1");
    drop(sealed);
    fs::remove_dir(&in_the_way).unwrap();
    Some((cluster, inbox))
}

/// Writes the configs, in which the consumer says of itself that it takes both feeds.
fn configure(cluster: &Cluster) {
    cluster.configure();
    if cluster.has("cons-2") {
        unlist_the_second(cluster);
    }
    rewrite(cluster, &[("[\"files\"]", "[\"files\", \"others\"]")]);
}

/// Replaces words in the config of the consumer.
#[track_caller]
fn rewrite(cluster: &Cluster, changes: &[(&str, &str)]) {
    let path = cluster.node("cons-1").config();
    let mut text = fs::read_to_string(&path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} in {text}");
        text = text.replace(from, to);
    }
    fs::write(path, text).unwrap();
}

#[track_caller]
fn arrives(cluster: &mut Cluster, inbox: &Path, size: usize) {
    configure(cluster);
    cluster.start_one("cons-1");
    let there = inbox.join("sub").join("file");
    until("it is published", SOON, || there.exists());
    assert!(fs::read(there).unwrap() == random_bytes(1, size));
}

const SIZES: [usize; 2] = [1_000, 1 << 20];

#[test]
fn a_saved_file_survives_that_its_inbox_is_given_to_another_feed() {
    for size in SIZES {
        let Some((mut cluster, inbox)) = with_a_saved_file_that_waits(size) else {
            return;
        };
        rewrite(&cluster, &[("\"files\"", "\"renamed\"")]);
        cluster.start_one("cons-1");
        assert_eq!(left_in_staging(&inbox).len(), 1);
        cluster.stop("cons-1");
        arrives(&mut cluster, &inbox, size);
    }
}

#[test]
fn a_saved_file_waits_for_its_inbox_when_its_feed_gets_another_one() {
    for size in SIZES {
        let Some((mut cluster, inbox)) = with_a_saved_file_that_waits(size) else {
            return;
        };
        let (one, other) = ("cons-1/inbox\"", "cons-1/other\"");
        rewrite(&cluster, &[(one, "aside"), (other, one), ("aside", other)]);
        cluster.start_one("cons-1");
        let status = cluster.status("cons-1").to_string();
        assert!(status.contains("give the feed back the inbox"), "{status}");
        assert!(status.contains("is saved, and"), "{status}");
        assert_eq!(left_in_staging(&inbox).len(), 1);
        cluster.stop("cons-1");
        // It waits for as long as it has to.
        cluster.start_one("cons-1");
        cluster.stop("cons-1");
        arrives(&mut cluster, &inbox, size);
    }
}

#[test]
fn inboxes_without_saved_files_may_be_swapped_and_swapped_again() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    let other = cluster.dir().join("cons-1").join("other");
    cluster.consumer(
        "cons-1",
        &format!("[[consume]]\nfeed = \"others\"\ninbox = {other:?}"),
    );
    configure(&cluster);
    cluster.start_one("prod-1");
    cluster.start_one("cons-1");
    let inbox = cluster.node("cons-1").inbox();
    let (one, two) = ("cons-1/inbox\"", "cons-1/other\"");
    for (round, at) in [(1, &other), (2, &inbox)] {
        cluster.stop("cons-1");
        rewrite(&cluster, &[(one, "aside"), (two, one), ("aside", two)]);
        cluster.start_one("cons-1");
        let name = format!("file-{round}");
        let path = cluster.write(&name, b"bytes");
        let args = ["send", path.to_str().unwrap(), "--feed", "files"];
        cluster.ask("prod-1", &args).good();
        until("it is there, and that is logged", SOON, || {
            // The catalogue is filled from what is synced in the log.
            let deliveries = &cluster.status("cons-1")["deliveries"];
            let [one] = &deliveries.as_array().unwrap()[..] else {
                return false;
            };
            at.join(&name).exists() && one["state"] == "published" && one["files"] == round
        });
    }
}

#[test]
fn two_feeds_in_one_directory_are_refused() {
    for copied in [true, false] {
        let mut cluster = Cluster::new();
        let other = cluster.dir().join("other");
        cluster.consumer(
            "cons-1",
            &format!("[[consume]]\nfeed = \"others\"\ninbox = {other:?}"),
        );
        let inbox = cluster.node("cons-1").inbox();
        configure(&cluster);
        if copied {
            cluster.start_one("cons-1");
            cluster.stop("cons-1");
            let marker = |inbox: &Path| inbox.join(".consign/marker");
            fs::copy(marker(&inbox), marker(&other)).unwrap();
        } else {
            fs::create_dir_all(&inbox).unwrap();
            std::os::unix::fs::symlink(&inbox, &other).unwrap();
        }
        let words: &[&str] = match copied {
            true => &["of feed files", "of feed others", "a copy of it"],
            false => &["consume[1].inbox", "consume[2].inbox"],
        };
        cluster.start_in_vain("cons-1").bad(1, words);
    }
}

/// [`two`], and another consumer, whose inbox is that of the first, and to which nobody sends.
fn two_agents_with_one_inbox() -> (Cluster, PathBuf) {
    let mut cluster = two();
    let inbox = cluster.node("cons-1").inbox();
    cluster.consumer_at("cons-2", &inbox, "");
    configure(&cluster);
    (cluster, inbox)
}

/// Writes the configs without the second consumer as a member.
fn unlist_the_second(cluster: &Cluster) {
    for name in ["prod-1", "cons-1", "cons-2"] {
        let path = cluster.node(name).config();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text
            .lines()
            .map(|line| match line.split_once(", { name = \"cons-2\"") {
                Some((others, _)) => format!("{others}]\n"),
                None => format!("{line}\n"),
            });
        fs::write(path, lines.collect::<String>()).unwrap();
    }
}

#[test]
fn an_inbox_has_one_agent_at_a_time() {
    let (mut cluster, inbox) = two_agents_with_one_inbox();
    cluster.start_one("cons-1");
    let refused = cluster.start_in_vain("cons-2");
    refused.bad(1, &["in use by another agent", inbox.to_str().unwrap()]);
    cluster.kill("cons-1");
    cluster.start_one("cons-1");
}

#[test]
fn what_another_agent_staged_in_an_inbox_is_never_removed() {
    for size in SIZES {
        let (cluster, inbox) = two_agents_with_one_inbox();
        let Some((mut cluster, _)) = with_a_saved_file_that_waits_in(cluster, size) else {
            return;
        };
        cluster.start_one("cons-2");
        let status = cluster.status("cons-2").to_string();
        assert!(status.contains(".consign.left-1"), "{status}");
        assert_eq!(left_in_staging(&inbox), [""; 0]);
        cluster.stop("cons-2");
        // It takes nothing for published, whatever became of its staging directory.
        cluster.start_one("cons-1");
        let status = cluster.status("cons-1").to_string();
        assert!(status.contains("is saved, and"), "{status}");
        cluster.stop("cons-1");
        fs::remove_dir_all(inbox.join(".consign")).unwrap();
        fs::rename(inbox.join(".consign.left-1"), inbox.join(".consign")).unwrap();
        arrives(&mut cluster, &inbox, size);
    }
}

#[test]
fn an_agent_finds_its_inbox_lost_after_another_one_had_it() {
    let (mut cluster, _) = two_agents_with_one_inbox();
    for name in ["cons-1", "cons-2"] {
        cluster.start_one(name);
        cluster.stop(name);
    }
    cluster.start_one("cons-1");
    let status = cluster.status("cons-1").to_string();
    let told = "is not the inbox that the files of feed files were staged in";
    assert!(status.contains(told), "{status}");
}

/// What a life did that was killed before it could log that a file is published.
fn publish_by_hand(inbox: &Path) -> PathBuf {
    let sub = inbox.join("sub");
    fs::create_dir(&sub).unwrap();
    let staged = &left_in_staging(inbox)[0];
    fs::rename(inbox.join(".consign").join(staged), sub.join("file")).unwrap();
    sub
}

#[test]
fn a_directory_that_the_application_replaced_keeps_no_agent_from_starting() {
    for size in SIZES {
        for link in [true, false] {
            let Some((mut cluster, inbox)) = with_a_saved_file_that_waits(size) else {
                return;
            };
            let sub = publish_by_hand(&inbox);
            fs::remove_dir_all(&sub).unwrap();
            match link {
                true => std::os::unix::fs::symlink(cluster.dir(), &sub).unwrap(),
                false => fs::write(&sub, b"the application's").unwrap(),
            }
            cluster.start_one("cons-1");
            until("it counts as published", SOON, || {
                cluster.status("cons-1")["problems"] == serde_json::json!([])
            });
            cluster.stop("cons-1");
        }
    }
}

#[test]
fn a_directory_that_may_not_be_read_holds_up_its_own_files_only() {
    let mut cluster = two();
    if !cluster.as_nobody("cons-1") {
        return;
    }
    let Some((mut cluster, inbox)) = with_a_saved_file_that_waits_in(cluster, 1_000) else {
        return;
    };
    let sub = publish_by_hand(&inbox);
    // Names can be looked up in it and made, and it cannot be opened to be synced.
    let allow = |mode| fs::set_permissions(&sub, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o311);
    cluster.start_one("cons-1");
    let problems = |cluster: &Cluster| cluster.status("cons-1")["problems"].to_string();
    until("it is named", SOON, || {
        problems(&cluster).contains("sub/file")
    });
    allow(0o755);
    until("it is tried again", SOON, || problems(&cluster) == "[]");
    cluster.stop("cons-1");
    assert!(left_in_staging(&inbox).is_empty());
}

/// Sends a large file that only its owner may read into an inbox where its path is taken first, with
/// the consumer restarted in between; its path once it is there.
fn send_a_read_only_file(cluster: &mut Cluster, restart: bool) -> PathBuf {
    let inbox = cluster.node("cons-1").inbox();
    cluster.start();
    let there = inbox.join("file");
    fs::write(&there, b"was here").unwrap();
    let bytes = random_bytes(1, 1 << 20);
    let path = cluster.write("file", &bytes);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    until("it has failed", SOON, || {
        cluster.count("prod-1", "failed") == 1
    });
    if restart {
        cluster.kill("cons-1");
        cluster.start_one("cons-1");
    }
    fs::remove_file(&there).unwrap();
    cluster.ask("prod-1", &["retry", "--failed"]).good();
    cluster.wait_until_done("prod-1", 1, SOON);
    until("it is there", SOON, || there.exists());
    assert!(fs::read(&there).unwrap() == bytes);
    there
}

#[test]
fn a_read_only_file_that_was_refused_is_opened_again_by_a_user_without_rights() {
    for restart in [false, true] {
        let mut cluster = Cluster::new();
        cluster.producer("prod-1", "");
        cluster.consumer("cons-1", "on_conflict = \"reject\"");
        if !cluster.as_nobody("cons-1") {
            return;
        }
        let there = send_a_read_only_file(&mut cluster, restart);
        assert_eq!(there.metadata().unwrap().mode() & 0o777, 0o400);
    }
}

#[test]
fn files_are_given_to_their_owner_by_who_may_do_that_and_nothing_else() {
    for restart in [false, true] {
        let mut cluster = Cluster::new();
        cluster.producer("prod-1", "");
        cluster.consumer(
            "cons-1",
            "on_conflict = \"reject\"\nowner = \"12345:12345\"",
        );
        if !cluster.as_nobody_with("cons-1", "+chown") {
            return;
        }
        let path = cluster.write("small", b"small");
        let there = send_a_read_only_file(&mut cluster, restart);
        let args = ["send", path.to_str().unwrap(), "--feed", "files"];
        cluster.ask("prod-1", &args).good();
        let small = there.with_file_name("small");
        until("the small one is there", SOON, || small.exists());
        for path in [there, small] {
            let meta = path.metadata().unwrap();
            assert_eq!((meta.uid(), meta.gid()), (12_345, 12_345));
        }
    }
}

/// An agent tries at its start what the filesystem can do, and may be killed meanwhile.
#[test]
fn scratch_files_of_a_killed_agent_do_not_stay_in_staging() {
    let mut cluster = Cluster::new();
    cluster.consumer("cons-1", "");
    cluster.start();
    cluster.kill("cons-1");
    let scratch = cluster
        .node("cons-1")
        .inbox()
        .join(".consign/.consign-probe-7-a");
    fs::write(&scratch, "").unwrap();
    cluster.start_one("cons-1");
    assert!(!scratch.exists());
}
