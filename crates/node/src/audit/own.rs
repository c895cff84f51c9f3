//! This node's own copies of what others have sent here: what its catalogue says of them and, when it is
//! to read, what its inboxes say. No other node is asked.

use std::sync::Arc;
use std::time::Instant;

use consign_core::audit::{Class, Judged, Question};
use consign_core::ids::NodeName;
use consign_core::wire::{AuditCopy, AuditEntry, AuditState};
use tokio::sync::mpsc;

use super::bounds::PROGRESS_EVERY;
use super::report::{Finding, Line, Progress, Sum, Totals};
use super::walk::{FIRST, LAST, key_of};
use super::{Audits, Lines, Request, Stopped, tell};
use crate::driver::snapshot::Snapshot;
use crate::net::Asked;
use crate::timestamp::Timestamp;

impl Audits {
    /// Examines the copies of every producer that is asked for.
    pub(super) async fn own(
        &self,
        request: &Request,
        snapshot: &Snapshot,
        lines: &Lines,
        totals: &mut Totals,
    ) -> Result<(), Stopped> {
        let producers = self.reader.held_producers().await?;
        let wanted = |name: &String| {
            request
                .from
                .as_ref()
                .is_none_or(|from| from.as_str() == name)
        };
        for producer in producers.iter().filter(|name| wanted(name)) {
            // Names in the catalogue are names.
            let Ok(producer) = NodeName::new(producer) else {
                continue;
            };
            let sum = self.own_of(&producer, request, snapshot, lines).await?;
            totals.add_own(&sum);
            tell(lines, Line::Own(sum)).await?;
        }
        Ok(())
    }

    /// Asks this very node, as its producers do.
    async fn own_of(
        &self,
        producer: &NodeName,
        request: &Request,
        snapshot: &Snapshot,
        lines: &Lines,
    ) -> Result<Sum, Stopped> {
        let mut sum = Sum::new(producer.as_str());
        let mut question = Question::new(1, FIRST, LAST, &request.scope);
        let (answers, mut parts) = mpsc::channel(1);
        let asked = Asked {
            producer: producer.clone(),
            ask: question.ask().clone(),
            answers,
        };
        let answering = Arc::clone(&self.answering);
        tokio::spawn(async move { answering.answer(asked).await });
        let mut told = Instant::now();
        while let Some(part) = parts.recv().await {
            let heard = match question.hear(part) {
                Ok(heard) => heard,
                Err(bad) => {
                    sum.error = Some(bad.to_string());
                    return Ok(sum);
                }
            };
            sum.counts.read_bytes += heard.read_bytes;
            sum.history_from = (heard.known_from > 0).then_some(Timestamp(heard.known_from));
            for entry in &heard.entries {
                if let Some(finding) = count(&mut sum, entry, producer, &snapshot.node) {
                    tell(lines, Line::Finding(finding)).await?;
                }
            }
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                let progress = Progress {
                    node: snapshot.node.clone(),
                    files: sum.counts.files,
                    read_bytes: sum.counts.read_bytes,
                };
                tell(lines, Line::Progress(progress)).await?;
            }
            if heard.is_last {
                sum.reached = true;
                return Ok(sum);
            }
        }
        sum.error = Some("it broke off; hint: see the log of this agent".to_owned());
        Ok(sum)
    }
}

/// Counts one copy; also what is to be told of it.
fn count(sum: &mut Sum, entry: &AuditEntry, producer: &NodeName, here: &str) -> Option<Finding> {
    let class = match (
        AuditState::try_from(entry.state),
        AuditCopy::try_from(entry.copy),
    ) {
        (Ok(AuditState::Abandoned) | Err(_), _) => return None,
        (Ok(AuditState::Receiving | AuditState::Received), _) => Class::Owed,
        (Ok(AuditState::Saved | AuditState::Published), Ok(AuditCopy::Rotten)) => Class::Rotten,
        (Ok(AuditState::Saved | AuditState::Published), _) => Class::Ok,
    };
    let judged = Judged {
        class,
        reason: entry.note.clone(),
        entry: Some(0),
    };
    let said = std::slice::from_ref(entry);
    sum.counts.files += 1;
    sum.counts.count(&judged, said);
    Finding::new(&judged, producer.as_str(), here, key_of(entry), None, said)
}
