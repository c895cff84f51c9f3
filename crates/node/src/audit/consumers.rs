//! Which consumers are audited, one after the other, and where they are.

use std::collections::{BTreeMap, BTreeSet};

use consign_core::ids::{NodeName, TransferKey};

use super::report::{Line, Totals};
use super::walk::{Broken, Walk};
use super::{Audits, Lines, Request, Stopped, tell};
use crate::catalogue::QueryError;
use crate::driver::snapshot::{Member, Snapshot};

const NO_MEMBER: &str = "it is not a member any more, so it cannot be asked";

/// A consumer that is to be audited, and where it is if it is still a member.
struct Target {
    node: NodeName,
    addr: Result<String, &'static str>,
}

/// What a node that was restored from an old copy has to know.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// Who has what this node would send anew.
    pub(super) held: Vec<(TransferKey, NodeName)>,
    /// Who was to answer, and has not.
    pub(super) silent: Vec<NodeName>,
}

impl Audits {
    /// Audits every consumer that is asked for, one after the other.
    pub(super) async fn consumers(
        &self,
        request: &Request,
        snapshot: &Snapshot,
        lines: &Lines,
        totals: &mut Totals,
        unplaced: &BTreeSet<TransferKey>,
    ) -> Result<Answered, Stopped> {
        let mut answered = Answered::default();
        for target in self.targets(request, snapshot).await? {
            let mut walk = Walk::new(
                &self.reader,
                lines,
                &request.scope,
                &snapshot.node,
                target.node.clone(),
                unplaced,
            );
            let outcome = match &target.addr {
                Ok(addr) => match self.auditor.call(&target.node, addr).await {
                    Ok(call) => walk.beside(call).await,
                    Err(error) => Err(error.into()),
                },
                Err(why) => {
                    walk.sum.gone = true;
                    Err(Broken::Call((*why).to_owned()))
                }
            };
            match outcome {
                Ok(()) => walk.sum.reached = true,
                Err(Broken::Call(why)) => walk.give_up(why).await?,
                Err(Broken::Here(stopped)) => return Err(stopped),
            }
            totals.add_consumer(&walk.sum);
            if !walk.sum.reached && !walk.sum.gone {
                answered.silent.push(target.node.clone());
            }
            let held = walk.held.into_iter();
            answered
                .held
                .extend(held.map(|key| (key, target.node.clone())));
            tell(lines, Line::Consumer(walk.sum)).await?;
        }
        Ok(answered)
    }

    /// The consumers that the ledger names, and the members that may have what it does not know of.
    async fn targets(
        &self,
        request: &Request,
        snapshot: &Snapshot,
    ) -> Result<Vec<Target>, QueryError> {
        let members: BTreeMap<&str, &Member> = snapshot
            .members
            .iter()
            .map(|member| (member.name.as_str(), member))
            .collect();
        let named = self.reader.ledger_consumers().await?;
        let mut names: BTreeSet<&str> = named.iter().map(String::as_str).collect();
        let produced: BTreeSet<&str> = snapshot.produces.iter().map(|own| &*own.feed).collect();
        let consumes = |member: &&Member| {
            let mut feeds = member.feeds.iter();
            // What a feed was delivered to before its configuration changed counts as well.
            feeds.any(|feed| request.reconcile.is_some() || produced.contains(&**feed))
        };
        names.extend(
            snapshot
                .members
                .iter()
                .filter(consumes)
                .map(|one| &*one.name),
        );
        let wanted = |name: &&str| request.to.as_ref().is_none_or(|to| to.as_str() == *name);
        let targets = names.into_iter().filter(wanted).filter_map(|name| {
            let addr = match members.get(name) {
                None => Err(NO_MEMBER),
                // It sends here, and so is in the list of those that are connected.
                Some(member) if member.state == "not listed" => Err(NO_MEMBER),
                Some(member) if member.state == "forgotten" => {
                    Err("it was forgotten, so it is not asked")
                }
                Some(member) => Ok(member.addr.clone()),
            };
            // Names in the catalogue are names.
            let node = NodeName::new(name).ok()?;
            Some(Target { node, addr })
        });
        Ok(targets.collect())
    }
}
