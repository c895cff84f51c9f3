//! Crashes: before every single operation, in recoveries too, and at random over many lives.

use consign_core::log::{LogError, LogSettings};
use consign_sim::disk::SimDisk;
use consign_sim::rng::Rng;

use crate::world::{End, Model, Opened, Step, is_crash, new_disk, open};

const SEGMENT: u64 = LogSettings::SEGMENT_BYTES_LEAST;

/// Rolls over several times, by commits, by flushes and amid batches; idles, and drops segments.
const SCRIPT: &[Step] = &[
    Step::Append(3),
    Step::Commit,
    Step::Append(2),
    Step::Flush,
    Step::Append(4),
    Step::Commit,
    Step::Idle,
    Step::Append(9),
    Step::Commit,
    Step::Append(1),
    Step::Flush,
    Step::Append(1),
    Step::Flush,
    Step::Append(6),
    Step::DropAllBut(1),
    Step::Idle,
    Step::Append(14),
    Step::Commit,
    Step::Idle,
    Step::DropAllBut(0),
    Step::Append(2),
    Step::Flush,
    Step::Append(1),
];

/// Runs the script until it ends or the disk crashes.
fn run_script(disk: &SimDisk) -> Model {
    let mut model = Model::new();
    let result = open(disk, SEGMENT).and_then(|mut opened| {
        SCRIPT
            .iter()
            .try_for_each(|&step| model.step(&mut opened.log, step))
    });
    if let Err(error) = result {
        assert!(is_crash(&error), "{error}");
    }
    model
}

fn recover(disk: &SimDisk, model: &Model) -> Opened {
    let opened = open(disk, SEGMENT).unwrap_or_else(|error| panic!("{error}\n{model:?}"));
    model.check(&opened);
    opened.assert_readable();
    opened
}

/// What a recovery has found stays found, whatever happens next.
fn assert_final(disk: &SimDisk, found: &Opened, seed: u64) {
    let disk = disk.fork();
    End::PowerCut(seed).come(&disk);
    let again = open(&disk, SEGMENT).unwrap();
    assert_eq!(
        again.seqs(),
        found.seqs(),
        "after a power cut with seed {seed}"
    );
    assert_eq!(again.recovery.cut_bytes, 0);
}

/// Recovers after a crash before each operation of the recovery itself.
fn crash_every_recovery(disk: &SimDisk, model: &Model, seed: u64) {
    for ops in 0.. {
        let crashed = disk.fork();
        crashed.crash_after(ops);
        match open(&crashed, SEGMENT) {
            Ok(found) => {
                model.check(&found);
                assert_final(&crashed, &found, seed);
                if !crashed.has_crashed() {
                    return;
                }
            }
            Err(error) => assert!(is_crash(&error), "{error}"),
        }
        for end in [End::Kill, End::PowerCut(seed ^ ops << 32)] {
            let crashed = crashed.fork();
            end.come(&crashed);
            let found = recover(&crashed, model);
            assert_final(&crashed, &found, seed + ops);
        }
    }
}

#[test]
fn committed_records_survive_a_crash_before_every_operation_and_in_every_recovery() {
    let whole = new_disk(1);
    run_script(&whole);
    let ops = whole.ops();
    assert!(ops > 60, "the script rolls over: {ops} operations");
    for crash_at in 0..=ops {
        let disk = new_disk(1);
        disk.crash_after(crash_at);
        let model = run_script(&disk);
        for end in [End::Kill, End::PowerCut(crash_at), End::PowerCut(!crash_at)] {
            let disk = disk.fork();
            end.come(&disk);
            crash_every_recovery(&disk, &model, crash_at);
        }
    }
}

#[test]
fn a_killed_log_loses_nothing_that_was_written() {
    let disk = new_disk(1);
    let mut model = Model::new();
    let mut log = open(&disk, SEGMENT).unwrap().log;
    for step in [Step::Append(5), Step::Commit, Step::Append(3), Step::Flush] {
        model.step(&mut log, step).unwrap();
    }
    disk.kill();
    let found = recover(&disk, &model);
    assert_eq!(found.seqs(), (0..8).collect::<Vec<_>>());
    assert_eq!(found.recovery.rewritten_records, 3);
    assert_final(&disk, &found, 1);
}

#[test]
fn opening_again_and_again_changes_nothing_and_takes_little_space() {
    let disk = new_disk(1);
    let model = run_script(&disk);
    disk.kill();
    let first = recover(&disk, &model).seqs();
    for _ in 0..20 {
        disk.kill();
        let again = recover(&disk, &model);
        assert_eq!(again.seqs(), first);
        assert_eq!(again.recovery.rewritten_records, 0);
        assert!(again.log.size_bytes() <= disk.used_bytes());
    }
    // Each start leaves no more than a segment's header behind.
    assert!(
        disk.used_bytes() < 6 * SEGMENT + 20 * 512,
        "{}",
        disk.used_bytes()
    );
}

fn random_step(rng: &mut Rng) -> Step {
    match rng.below(20) {
        0..8 => Step::Append(1 + rng.below(6)),
        8..11 => Step::Flush,
        11..16 => Step::Commit,
        16..18 => Step::Idle,
        18 => Step::DropAllBut(rng.below(4) as u32),
        _ => Step::Reserve,
    }
}

/// One life of a log under a seed: random steps and faults, ended by chance.
fn live(disk: &SimDisk, model: &mut Model, rng: &mut Rng) {
    let segment_bytes = SEGMENT + 512 * rng.below(8);
    match rng.below(8) {
        0 => disk.fail_sync(rng.below(30)),
        1 => disk.fail_write(rng.below(40)),
        2 => disk.set_capacity(Some(disk.used_bytes() + SEGMENT * rng.below(4))),
        3 => disk.set_capacity(None),
        _ => {}
    }
    if !rng.one_in(4) {
        disk.crash_after(rng.below(120));
    }
    let mut opened = match open(disk, segment_bytes) {
        Ok(opened) => opened,
        Err(LogError::Damaged { path, offset, what }) => {
            panic!("false damage in {} at {offset}: {what}", path.display())
        }
        Err(_) => return,
    };
    model.check(&opened);
    model.resume(&opened);
    if disk.has_crashed() {
        return;
    }
    opened.assert_readable();
    for _ in 0..rng.below(60) {
        let step = random_step(rng);
        if model.step(&mut opened.log, step).is_err() {
            return;
        }
    }
}

/// The seeds to run: those in `CONSIGN_SEEDS`, as `from..to`, or some.
fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("CONSIGN_SEEDS").ok();
    let range = given.as_deref().and_then(|given| given.split_once(".."));
    let range = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or(0..400)
}

#[test]
fn committed_records_survive_random_lives() {
    for seed in seeds() {
        println!(
            "again: CONSIGN_SEEDS={seed}..{} cargo test -p consign-sim --test log random_lives",
            seed + 1
        );
        let mut rng = Rng::new(seed);
        let disk = new_disk(seed);
        let mut model = Model::new();
        for _ in 0..12 {
            live(&disk, &mut model, &mut rng);
            match rng.below(3) {
                0 => disk.kill(),
                _ => disk.power_cut(&mut rng),
            }
        }
        disk.set_capacity(None);
        recover(&disk, &model);
    }
}
