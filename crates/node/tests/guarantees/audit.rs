//! `consign audit`: what was delivered is found, and what is wrong is named.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, SOON, Said, files_in, random_bytes, until};

/// A producer and two consumers that get every file, with a small and a large one delivered.
fn delivered() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = \"all\"");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    cluster.start();
    deliver(&cluster, &[("small", 1_000), ("dir/large", 3_000_000)]);
    for name in ["cons-1", "cons-2"] {
        wait_for_files(&cluster, name, 2);
    }
    cluster
}

/// It is told that it had more once, and is set apart; audits go on.
fn begins_anew(cluster: &mut Cluster, node: &str) {
    let said = cluster.start_in_vain(node);
    assert!(said.err.contains("is set apart until"), "{}", said.err);
    cluster.start_one(node);
}

fn deliver(cluster: &Cluster, files: &[(&str, usize)]) {
    for (seed, (name, size)) in (1..).zip(files) {
        cluster.write(name, &random_bytes(seed, *size));
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files", "--wait"];
    cluster.ask("prod-1", &args).good();
}

#[track_caller]
fn wait_for_files(cluster: &Cluster, name: &str, files: usize) {
    until("everything is published, and that is logged", SOON, || {
        let published = cluster.transfers(name, &["--state", "published"]);
        published.len() == files
    });
}

/// What an audit tells, by kind; the summary must be its last word.
struct Told {
    said: Said,
    lines: Vec<Value>,
}

impl Told {
    #[track_caller]
    fn by(cluster: &Cluster, name: &str, options: &[&str]) -> Self {
        let args = [&["audit", "--json"], options].concat();
        let said = cluster.ask(name, &args);
        let lines = said.objects();
        let last = lines.last().unwrap_or_else(|| panic!("{said:#?}"));
        assert_eq!(last["kind"], "summary", "{said:#?}");
        assert_eq!(last["sound"], said.code == 0, "{said:#?}");
        Self { said, lines }
    }

    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        let lines = self.lines.iter();
        lines.filter(|line| line["kind"] == kind).collect()
    }

    #[track_caller]
    fn consumer(&self, name: &str) -> &Value {
        let consumers = self.of_kind("consumer").into_iter();
        let mut named = consumers.filter(|line| line["node"] == name);
        named.next().unwrap_or_else(|| panic!("{:#?}", self.said))
    }

    fn summary(&self) -> &Value {
        self.lines.last().unwrap()
    }

    /// The classes of what was found, and the names.
    fn found(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let findings = self.of_kind("finding").into_iter();
        let found = findings.map(|line| {
            for told in ["reason", "hint"] {
                assert!(!text(&line[told]).is_empty(), "{line}");
            }
            (text(&line["class"]), text(&line["name"]))
        });
        let mut found: Vec<_> = found.collect();
        found.sort();
        found
    }
}

fn pair(class: &str, name: &str) -> (String, String) {
    (class.to_owned(), name.to_owned())
}

/// Changes one byte behind the application's back: the modification time stays.
fn rot(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let times = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 500).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 500).unwrap();
    file.set_times(FileTimes::new().set_modified(times))
        .unwrap();
}

/// What a power cut leaves of a file whose disk only said that it was synced.
fn cut_short(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    let times = file.metadata().unwrap().modified().unwrap();
    file.set_len(0).unwrap();
    file.set_times(FileTimes::new().set_modified(times))
        .unwrap();
}

#[test]
fn what_was_delivered_is_found_at_every_consumer() {
    let cluster = delivered();
    for options in [&[][..], &["--read"], &["--since", "1h", "--feed", "files"]] {
        let told = Told::by(&cluster, "prod-1", options);
        assert_eq!(told.found(), []);
        for name in ["cons-1", "cons-2"] {
            let sum = told.consumer(name);
            assert_eq!((&sum["files"], &sum["ok"]), (&2.into(), &2.into()), "{sum}");
            let intact = if options.contains(&"--read") { 2 } else { 0 };
            assert_eq!(sum["intact"], intact, "{sum}");
        }
        assert_eq!(told.summary()["files"], 4);
    }
    let one = Told::by(&cluster, "prod-1", &["--to", "cons-2"]);
    assert_eq!(one.of_kind("consumer").len(), 1);
    let said = cluster.ask("prod-1", &["audit"]).good();
    assert!(said.out.contains("sound: of 4 copies"), "{}", said.out);
    // A name with a typing error must not find everything well.
    for (options, words) in [
        (["--to", "cons-7"], "cons-7 is no member"),
        (["--from", "cons-7"], "nothing was received from cons-7"),
        (["--feed", "filse"], "feed filse is not known"),
    ] {
        let said = cluster.ask("prod-1", &[&["audit"], &options[..]].concat());
        said.bad(1, &[words]);
    }
}

#[test]
fn rot_is_told_from_what_the_application_did() {
    let cluster = delivered();
    deliver(
        &cluster,
        &[
            ("taken", 2_000),
            ("changed", 2_000),
            ("longer", 2_000),
            ("short", 2_000),
        ],
    );
    let inbox = cluster.node("cons-1").inbox();
    // The small and the large file were sent once more, as other transfers.
    wait_for_files(&cluster, "cons-1", 2 + 6);
    rot(&inbox.join("small"));
    cut_short(&inbox.join("short"));
    rot(&inbox.join("dir/large"));
    fs::remove_file(inbox.join("taken")).unwrap();
    fs::write(inbox.join("changed"), random_bytes(9, 2_000)).unwrap();
    fs::write(inbox.join("longer"), random_bytes(9, 2_001)).unwrap();

    let told = Told::by(&cluster, "prod-1", &[]);
    assert_eq!(
        told.found(),
        [],
        "without --read only what is written down is compared"
    );
    let told = Told::by(&cluster, "prod-1", &["--read"]);
    let rotten = ["dir/large", "short", "small"].map(|name| pair("rotten", name));
    assert_eq!(told.found(), rotten);
    assert_eq!(told.said.code, 1);
    let sum = told.consumer("cons-1");
    let counts = ["rotten", "taken", "changed", "intact"].map(|count| sum[count].as_u64());
    assert_eq!(counts, [Some(3), Some(1), Some(2), Some(2)], "{sum}");
    assert_eq!(told.consumer("cons-2")["rotten"], 0);

    // Whoever has the bad copy finds it too, without asking anybody.
    let own = Told::by(&cluster, "cons-1", &["--read"]);
    assert_eq!(own.found(), rotten);
    assert_eq!(own.of_kind("consumer").len(), 0);
    assert_eq!(own.of_kind("own")[0]["node"], "prod-1");
    let said = cluster.ask("cons-1", &["audit", "--read"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("this node's own copies"), "{}", said.out);
}

#[test]
fn a_path_that_another_file_has_now_is_not_rot() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "preserve = []");
    cluster.consumer("cons-1", "");
    cluster.start();
    let inbox = cluster.node("cons-1").inbox();
    for round in 1..=2 {
        // The same name and length, and other bytes; the application takes the first.
        cluster.write("report", &random_bytes(round, 1_000));
        let own = cluster.dir().join("own/report");
        let args = ["send", own.to_str().unwrap(), "--feed", "files", "--wait"];
        cluster.ask("prod-1", &args).good();
        wait_for_files(&cluster, "cons-1", round as usize);
        if round == 1 {
            fs::remove_file(inbox.join("report")).unwrap();
        }
    }
    // As old as the first: so only its bytes tell.
    let file = File::options()
        .write(true)
        .open(inbox.join("report"))
        .unwrap();
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.set_times(FileTimes::new().set_modified(old)).unwrap();
    let told = Told::by(&cluster, "prod-1", &["--read"]);
    assert_eq!(told.found(), []);
    let sum = told.consumer("cons-1");
    assert_eq!(
        (&sum["taken"], &sum["intact"]),
        (&1.into(), &1.into()),
        "{sum}"
    );
}

#[test]
fn a_consumer_that_has_lost_everything_is_found_out() {
    let mut cluster = delivered();
    cluster.stop("cons-1");
    fs::remove_dir_all(cluster.node("cons-1").data_dir()).unwrap();
    fs::remove_dir_all(cluster.node("cons-1").inbox()).unwrap();
    begins_anew(&mut cluster, "cons-1");
    let told = Told::by(&cluster, "prod-1", &[]);
    assert_eq!(told.said.code, 1);
    let missing = [pair("missing", "dir/large"), pair("missing", "small")];
    assert_eq!(told.found(), missing);
    assert_eq!(told.consumer("cons-2")["ok"], 2);
    let said = cluster.ask("prod-1", &["audit"]);
    assert_eq!(said.code, 1);
    for word in [
        "MISSING AT",
        "never heard of it",
        "hint: ",
        "not sound: of 4 copies, 2 missing",
    ] {
        assert!(said.out.contains(word), "{word} in {}", said.out);
    }
}

#[test]
fn a_producer_that_has_lost_its_ledger_says_what_it_does_not_know() {
    let mut cluster = delivered();
    cluster.stop("prod-1");
    fs::remove_dir_all(cluster.node("prod-1").data_dir()).unwrap();
    begins_anew(&mut cluster, "prod-1");
    let told = Told::by(&cluster, "prod-1", &[]);
    assert_eq!(
        told.said.code, 0,
        "nothing that it promised is known to be missing"
    );
    assert_eq!(told.found().len(), 4);
    assert_eq!(told.consumer("cons-1")["unknown"], 2);
    let finding = told.of_kind("finding")[0];
    assert!(
        finding["reason"].as_str().unwrap().contains("old copy"),
        "{finding}"
    );
}

#[test]
fn a_consumer_that_is_down_is_not_reached_and_the_others_are_audited() {
    let mut cluster = delivered();
    cluster.kill("cons-1");
    let told = Told::by(&cluster, "prod-1", &[]);
    assert_eq!(told.said.code, 1);
    let away = told.consumer("cons-1");
    assert_eq!(
        (&away["reached"], &away["unknown"]),
        (&false.into(), &2.into())
    );
    assert!(away["error"].as_str().unwrap().contains("hint: "), "{away}");
    assert_eq!(told.summary()["not_reached"], 1);
    assert_eq!(told.consumer("cons-2")["ok"], 2);
    let said = cluster.ask("prod-1", &["audit"]);
    assert!(
        said.out.contains("cons-1 could not be audited"),
        "{}",
        said.out
    );
    assert!(said.out.contains("1 node not reached"), "{}", said.out);
}

#[test]
fn a_copy_of_a_consumer_that_was_replaced_is_extra_and_no_error() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    cluster.membership("replace_after = \"1s\"");
    let link = cluster.proxy("cons-1");
    // It has saved the file, and nobody hears that.
    link.cut_at(22);
    cluster.start();
    let goes_to = |key: &str| {
        let args = ["explain", "--feed", "files", "--key", key, "--json"];
        let explained = cluster.ask("prod-1", &args).good().objects().remove(0);
        explained["chain"][0].as_str().unwrap().to_owned()
    };
    let mut names = (0..).map(|at| format!("file-{at}"));
    let name = names.find(|name| goes_to(name) == "cons-1").unwrap();
    deliver(&cluster, &[(&name, 1_000)]);
    assert!(link.is_cut(), "it was replaced after it had saved the file");
    for consumer in ["cons-1", "cons-2"] {
        wait_for_files(&cluster, consumer, 1);
    }
    link.mend();
    until("it is back, and owed nothing", SOON, || {
        let node = cluster.member("prod-1", "cons-1");
        node["connected"] == true && node["owed_files"] == 0
    });
    let told = Told::by(&cluster, "prod-1", &["--read"]);
    assert_eq!(told.said.code, 0);
    assert_eq!(told.found(), [pair("extra", &name)]);
    let (returned, second) = (told.consumer("cons-1"), told.consumer("cons-2"));
    assert_eq!(
        (&returned["files"], &returned["extra"]),
        (&0.into(), &1.into())
    );
    assert_eq!((&second["ok"], &second["extra"]), (&1.into(), &0.into()));
}

#[test]
fn an_audit_of_files_under_way_finds_nothing_wrong() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = \"all\"");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    cluster.start();
    for at in 0..3_000 {
        cluster.write(&format!("f{at}"), &random_bytes(at, 2_000));
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files"];
    std::thread::scope(|scope| {
        scope.spawn(|| cluster.ask("prod-1", &args).good());
        let (mut audits, mut early) = (0, 0);
        until("all are done, and were audited meanwhile", SOON * 3, || {
            let told = Told::by(&cluster, "prod-1", &[]);
            assert_eq!(told.found(), [], "{:#?}", told.summary());
            audits += 1;
            let ok = told.summary()["ok"].as_u64().unwrap();
            early += u32::from(ok > 0 && ok < 6_000);
            ok == 6_000
        });
        assert!(
            audits > 1 && early > 0,
            "{audits} audits, {early} while files flowed"
        );
    });
}

#[test]
fn audits_run_one_at_a_time_and_end_with_who_asked() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    let link = cluster.proxy("cons-1");
    cluster.start();
    deliver(&cluster, &[("a", 1_000)]);
    // Whoever asks the consumer waits.
    link.hold_at(0);
    let socket = cluster.node("prod-1").data_dir().join("agent.sock");
    let mut asking: Vec<_> = (0..2)
        .map(|_| {
            Command::new(env!("CARGO_BIN_EXE_consign"))
                .args(["audit", "--agent", &format!("unix:{}", socket.display())])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut refused = None;
    until("one of them is refused", SOON, || {
        let ended = |child: &mut Child| child.try_wait().unwrap().is_some();
        refused = (0..2).find(|&at| ended(&mut asking[at]));
        refused.is_some()
    });
    let refused = asking.remove(refused.unwrap()).wait_with_output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        told.contains("another audit is running") && told.contains("hint: "),
        "{told}"
    );
    // Who goes away takes the audit along, long before the consumer is given up.
    let mut holder = asking.remove(0);
    holder.kill().unwrap();
    holder.wait().unwrap();
    link.go_on();
    until("there is room for another audit", SOON, || {
        cluster.ask("prod-1", &["audit"]).code == 0
    });
}

#[test]
fn ten_thousand_files_are_audited_within_seconds_and_little_memory() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    for at in 0..10_000 {
        cluster.write(&format!("f{at}"), &at.to_string().into_bytes());
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files", "--wait"];
    cluster.ask("prod-1", &args).good();
    until("everything is published", SOON, || {
        cluster.status("cons-1")["consumes"][0]["published_total"] == 10_000
    });
    let peaks = || ["prod-1", "cons-1"].map(|name| cluster.node(name).memory_peak());
    let before = peaks();
    let began = Instant::now();
    let told = Told::by(&cluster, "prod-1", &[]);
    let took = began.elapsed();
    assert_eq!(told.consumer("cons-1")["ok"], 10_000);
    let grown = [0, 1].map(|at| (peaks()[at] - before[at]) >> 20);
    println!("10,000 files: {took:?}, memory grown by {grown:?} MiB from {before:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(grown.iter().all(|&mib| mib < 24), "{grown:?} MiB");
    assert_eq!(files_in(&cluster.node("cons-1").inbox()).len(), 10_000);
}
