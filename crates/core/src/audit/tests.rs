use super::*;
use crate::ids::{Sequence, Start, TransferKey};
use crate::limits::{
    AUDIT_ENTRIES_MAX, AUDIT_ENTRIES_PER_TRANSFER_MAX, FILE_BYTES_MAX, FRAME_HEADER_BYTES_MAX,
    NAME_BYTES_MAX,
};
use crate::wire::{
    AuditAnswer, AuditCopy, AuditEntry, AuditState, FRAME_HEAD_BYTES, Message, encode_frame,
    parse_frame_head,
};

fn key(start: u64, seq: u64) -> TransferKey {
    TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    }
}

fn asked(read: bool) -> Question {
    let scope = Scope {
        read,
        ..Scope::default()
    };
    Question::new(7, key(1, 10), key(3, 5), &scope)
}

fn entry(start: u64, seq: u64) -> AuditEntry {
    AuditEntry {
        start,
        seq,
        state: AuditState::Published.into(),
        size: 100,
        digest: vec![7; 32],
        feed: "images".into(),
        name: "a".into(),
        path: "a".into(),
        submitted_at: 1_000,
        ..AuditEntry::default()
    }
}

fn answer(entries: Vec<AuditEntry>, more: bool) -> AuditAnswer {
    AuditAnswer {
        number: 7,
        entries,
        more,
        ..AuditAnswer::default()
    }
}

#[test]
fn audit_messages_round_trip_and_the_largest_answer_fits_a_frame() {
    let long = "n".repeat(NAME_BYTES_MAX);
    let largest = AuditEntry {
        name: long.clone(),
        path: long.clone() + &long,
        copy: AuditCopy::Rotten.into(),
        ..entry(u64::MAX, u64::MAX)
    };
    let messages = [
        Message::AuditAsk(asked(true).ask().clone()),
        Message::AuditAnswer(AuditAnswer {
            known_from: 5,
            read_bytes: 6,
            trouble: "its catalogue is away; hint: wait".into(),
            ..answer(vec![largest; AUDIT_ENTRIES_MAX], true)
        }),
    ];
    for message in messages {
        assert!(message.encoded_len() < FRAME_HEADER_BYTES_MAX);
        let bytes = encode_frame(&message, 0);
        let head = parse_frame_head(bytes[..FRAME_HEAD_BYTES].try_into().unwrap()).unwrap();
        let frame = head.decode(&bytes[FRAME_HEAD_BYTES..]).unwrap();
        assert_eq!(frame.message, message);
    }
}

#[test]
fn an_answer_in_several_parts_ends_with_its_last() {
    let mut question = asked(false);
    let first = question.hear(answer(vec![entry(1, 10), entry(1, 10)], true));
    assert!(!first.unwrap().is_last);
    let last = question.hear(answer(vec![entry(2, 0), entry(3, 5)], false));
    assert!(last.unwrap().is_last);
    let again = question.hear(answer(Vec::new(), false));
    assert_eq!(again, Err(BadAnswer::Unasked));
}

#[test]
fn answers_to_other_questions_are_refused() {
    let other = AuditAnswer {
        number: 8,
        ..answer(vec![entry(1, 10)], false)
    };
    assert_eq!(asked(false).hear(other), Err(BadAnswer::Unasked));
    let read = AuditAnswer {
        read_bytes: 1,
        ..answer(Vec::new(), true)
    };
    assert_eq!(asked(false).hear(read), Err(BadAnswer::Unasked));
}

#[test]
fn entries_in_disorder_or_outside_the_range_are_refused() {
    for entries in [
        vec![entry(1, 9)],
        vec![entry(3, 6)],
        vec![entry(4, 0)],
        vec![entry(2, 5), entry(2, 4)],
        vec![entry(2, 5), entry(1, 11)],
    ] {
        let heard = asked(false).hear(answer(entries, false));
        assert_eq!(heard, Err(BadAnswer::Disorder));
    }
    let mut question = asked(false);
    question.hear(answer(vec![entry(2, 5)], true)).unwrap();
    let back = question.hear(answer(vec![entry(2, 4)], true));
    assert_eq!(back, Err(BadAnswer::Disorder));
    let scope = Scope {
        feed: "images".into(),
        since: 1_001,
        read: false,
    };
    let mut question = Question::new(7, key(1, 10), key(3, 5), &scope);
    let early = question.hear(answer(vec![entry(1, 10)], false));
    assert_eq!(early, Err(BadAnswer::Disorder));
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_refused() {
    let many = vec![entry(1, 10); AUDIT_ENTRIES_MAX + 1];
    assert_eq!(
        asked(false).hear(answer(many, false)),
        Err(BadAnswer::TooLarge)
    );
    let change = |change: fn(&mut AuditEntry)| {
        let mut bad = entry(1, 10);
        change(&mut bad);
        asked(false).hear(answer(vec![bad], false)).unwrap_err()
    };
    assert_eq!(change(|e| e.name = "n".repeat(9_999)), BadAnswer::TooLarge);
    assert_eq!(change(|e| e.note = "n".repeat(9_999)), BadAnswer::TooLarge);
    assert_eq!(change(|e| e.state = 77), BadAnswer::Senseless);
    assert_eq!(change(|e| e.copy = -1), BadAnswer::Senseless);
    assert_eq!(change(|e| e.digest = vec![1; 31]), BadAnswer::Senseless);
}

#[test]
fn no_answer_goes_on_for_ever() {
    // Nothing, again and again.
    let nothing = asked(true).hear(answer(Vec::new(), true));
    assert_eq!(nothing, Err(BadAnswer::Endless));
    // The same transfer, again and again.
    let mut question = asked(false);
    let mut parts = 0;
    let end = loop {
        match question.hear(answer(vec![entry(2, 2)], true)) {
            Ok(_) => parts += 1,
            Err(bad) => break bad,
        }
    };
    assert_eq!(
        (parts, end),
        (AUDIT_ENTRIES_PER_TRANSFER_MAX, BadAnswer::Endless)
    );
    // A file that is longer than any.
    let mut question = asked(true);
    let reading = AuditAnswer {
        read_bytes: FILE_BYTES_MAX,
        ..answer(Vec::new(), true)
    };
    question.hear(reading.clone()).unwrap();
    assert_eq!(question.hear(reading), Err(BadAnswer::Endless));
}

#[test]
fn a_consumer_that_cannot_answer_says_why() {
    let trouble = AuditAnswer {
        trouble: "x".repeat(100_000),
        ..answer(Vec::new(), true)
    };
    match asked(false).hear(trouble) {
        Err(BadAnswer::Trouble(why)) => assert!(why.len() < 1_000),
        other => panic!("{other:?}"),
    }
}

fn file(belief: Belief) -> LedgerFile {
    LedgerFile {
        belief,
        size: 100,
        digest: vec![7; 32],
    }
}

fn in_state(state: AuditState) -> AuditEntry {
    AuditEntry {
        state: state.into(),
        ..entry(1, 1)
    }
}

fn classes(file: &LedgerFile, said: &[AuditEntry]) -> Vec<Class> {
    let judged = judge(file, said, 500);
    for one in &judged {
        let told = !matches!(one.class, Class::Ok | Class::Owed);
        assert_eq!(told, !one.reason.is_empty(), "{one:?}");
    }
    judged.into_iter().map(|one| one.class).collect()
}

#[test]
fn every_pair_of_belief_and_answer_has_its_class() {
    use AuditState::{Abandoned, Published, Received, Receiving, Saved};
    let (saved, owed, not_placed) = (Belief::Saved { at: 500 }, Belief::Owed, Belief::NotPlaced);
    for state in [Saved, Published] {
        let said = [in_state(state)];
        assert_eq!(classes(&file(saved), &said), [Class::Ok]);
        // Its answer is on the way.
        assert_eq!(classes(&file(owed), &said), [Class::Ok]);
        assert_eq!(classes(&file(not_placed), &said), [Class::Extra]);
    }
    for state in [Receiving, Received, Abandoned] {
        let said = [in_state(state)];
        assert_eq!(classes(&file(saved), &said), [Class::Missing]);
        assert_eq!(classes(&file(owed), &said), [Class::Owed]);
        assert_eq!(classes(&file(not_placed), &said), []);
    }
    assert_eq!(classes(&file(saved), &[]), [Class::Missing]);
    assert_eq!(classes(&file(owed), &[]), [Class::Owed]);
    assert_eq!(classes(&file(not_placed), &[]), []);
}

#[test]
fn what_a_consumer_cannot_know_any_more_is_unknown_and_never_present() {
    let before = file(Belief::Saved { at: 499 });
    assert_eq!(classes(&before, &[]), [Class::Unknown]);
    // It knows enough to say that it gave it up.
    let gave_up = [in_state(AuditState::Abandoned)];
    assert_eq!(classes(&before, &gave_up), [Class::Missing]);
}

#[test]
fn another_file_under_the_same_transfer_is_different() {
    let saved = file(Belief::Saved { at: 500 });
    let other = |change: fn(&mut AuditEntry)| {
        let mut said = entry(1, 1);
        change(&mut said);
        classes(&saved, &[said])
    };
    assert_eq!(other(|e| e.size = 99), [Class::Different]);
    assert_eq!(other(|e| e.digest = vec![8; 32]), [Class::Different]);
    // Nothing to compare with is no proof of anything.
    assert_eq!(other(|e| e.digest = Vec::new()), [Class::Unknown]);
    assert_eq!(
        other(|e| e.copy = AuditCopy::Rotten.into()),
        [Class::Rotten]
    );
    for fine in [AuditCopy::Taken, AuditCopy::Changed, AuditCopy::Intact] {
        let mut said = entry(1, 1);
        said.copy = fine.into();
        assert_eq!(classes(&saved, &[said]), [Class::Ok]);
    }
}

#[test]
fn a_copy_too_many_is_extra_and_a_bad_one_is_both() {
    let saved = file(Belief::Saved { at: 500 });
    let twice = [entry(1, 1), in_state(AuditState::Abandoned), entry(1, 1)];
    assert_eq!(classes(&saved, &twice), [Class::Ok, Class::Extra]);
    let mut rotten = entry(1, 1);
    rotten.copy = AuditCopy::Rotten.into();
    let not_placed = file(Belief::NotPlaced);
    assert_eq!(
        classes(&not_placed, &[rotten]),
        [Class::Extra, Class::Rotten]
    );
}

#[test]
fn a_file_that_the_ledger_does_not_know_is_unknown_here() {
    let stranger = of_stranger(&entry(1, 1), 1_001).unwrap();
    assert!(stranger.class == Class::Unknown && stranger.reason.contains("older"));
    let stranger = of_stranger(&entry(1, 1), 1_000).unwrap();
    assert!(stranger.class == Class::Unknown && stranger.reason.contains("old copy"));
    assert_eq!(of_stranger(&in_state(AuditState::Receiving), 0), None);
}
