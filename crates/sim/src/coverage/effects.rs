//! Effects and refusals by number.

use consign_core::consumer;
use consign_core::producer::{self, Refusal};

pub(super) const PRODUCER: [&str; 11] = [
    "Append",
    "Send",
    "SendSmalls",
    "Stream",
    "StreamDigestOnly",
    "StopStream",
    "Fetch",
    "Take",
    "Release",
    "Answer",
    "NeedsFrom",
];

pub(super) const CONSUMER: [&str; 14] = [
    "Append",
    "Admit",
    "Reject",
    "Send",
    "OpenInflow",
    "CloseInflow",
    "Forward",
    "Seal",
    "Look",
    "Stage",
    "Publish",
    "Discard",
    "Forgotten",
    "NeedsFrom",
];

pub(super) const REFUSALS: [&str; 10] = [
    "NoSuchFeed",
    "QueueFull",
    "LogFull",
    "TooLarge",
    "BadName",
    "NotTaken",
    "NoSuchTransfer",
    "AlreadySaved",
    "NoSuchNode",
    "Draining",
];

/// The number of a producer's effect.
#[must_use]
pub fn producer_effect(effect: &producer::Effect) -> usize {
    use producer::Effect;
    match effect {
        Effect::Append(..) => 0,
        Effect::Send { .. } => 1,
        Effect::SendSmalls { .. } => 2,
        Effect::Stream(order) if order.to.is_some() => 3,
        Effect::Stream(_) => 4,
        Effect::StopStream { .. } => 5,
        Effect::Fetch { .. } => 6,
        Effect::Take { .. } => 7,
        Effect::Release(_) => 8,
        Effect::Answer(..) => 9,
        Effect::NeedsFrom { .. } => 10,
    }
}

/// The number of a consumer's effect.
#[must_use]
pub fn consumer_effect(effect: &consumer::Effect) -> usize {
    use consumer::Effect;
    match effect {
        Effect::Append(..) => 0,
        Effect::Admit { .. } => 1,
        Effect::Reject { .. } => 2,
        Effect::Send { .. } => 3,
        Effect::OpenInflow(_) => 4,
        Effect::CloseInflow(_) => 5,
        Effect::Forward { .. } => 6,
        Effect::Seal { .. } => 7,
        Effect::Look(_) => 8,
        Effect::Stage(_) => 9,
        Effect::Publish(_) => 10,
        Effect::Discard { .. } => 11,
        Effect::Forgotten { .. } => 12,
        Effect::NeedsFrom { .. } => 13,
    }
}

/// The number of a refused request's reason.
#[must_use]
pub fn refusal(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::NoSuchFeed { .. } => 0,
        Refusal::QueueFull { .. } => 1,
        Refusal::LogFull => 2,
        Refusal::TooLarge { .. } => 3,
        Refusal::BadName(_) => 4,
        Refusal::NotTaken(_) => 5,
        Refusal::NoSuchTransfer { .. } => 6,
        Refusal::AlreadySaved { .. } => 7,
        Refusal::NoSuchNode { .. } => 8,
        Refusal::Draining => 9,
    }
}
