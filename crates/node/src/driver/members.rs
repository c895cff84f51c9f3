//! Who the members are: what their source hears is made the view in force, and kept in the log for
//! the next start.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use consign_core::consumer;
use consign_core::ids::NodeName;
use consign_core::producer::Event;
use consign_core::record::Record;
use consign_core::view::{Member, MemberState, Sighting, Silence, View, merge};
use tokio::sync::oneshot;

use super::Driver;
use super::absences::Absences;
use super::orders::{Forgetting, Order};
use crate::config::Source;
use crate::hint;
use crate::membership::{Heard, MembershipSource, Standing};
use crate::problems::Problem;

/// Shortest time between two views: while hundreds of nodes start, each is news, and all that is heard
/// meanwhile makes one view, and one record.
const VIEW_EVERY: Duration = Duration::from_secs(1);

/// Addresses beyond this machine that nobody said may be connected to without TLS.
const BEYOND: &str = "members are at addresses beyond this machine";

/// What the driver knows of its members' source.
#[derive(Debug)]
pub(crate) struct Members {
    /// Where they are learned from.
    pub(crate) source: Box<dyn MembershipSource>,
    /// Whom it named last.
    sighting: Sighting,
    /// How it was then.
    standing: Standing,
    /// Those that others have declared gone for good, and that are connected here still.
    to_forget: BTreeSet<NodeName>,
    /// Those that were forgotten here because others said so, or are about to be.
    forgot: BTreeSet<NodeName>,
    /// Those whose certificates give them no role to take files, whatever is said of them.
    pub(super) unfit: BTreeSet<NodeName>,
    /// Whether it has said anything since the view was last made of it, and when the view changed.
    unmerged: bool,
    changed_at: Option<Instant>,
    /// How long which members have been away.
    pub(super) absences: Absences,
}

impl Members {
    /// Before anything is heard.
    pub(crate) fn new(source: Box<dyn MembershipSource>) -> Self {
        let Heard { sighting, standing } = source.heard().borrow().clone();
        Self {
            source,
            sighting,
            standing,
            to_forget: BTreeSet::new(),
            forgot: BTreeSet::new(),
            unfit: BTreeSet::new(),
            unmerged: false,
            changed_at: None,
            absences: Absences::default(),
        }
    }

    /// How the source is.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether the source hears of a node now; `None` when it cannot tell.
    pub(super) fn is_live(&self, node: &NodeName) -> Option<bool> {
        let is_list = self.sighting.silence == Silence::IsNone;
        let heard = self.sighting.is_live(node);
        match (is_list, self.standing.reachable) {
            (true, _) | (_, false) => None,
            // Who is a member and is not heard of is away.
            (false, true) => Some(heard.unwrap_or(false)),
        }
    }
}

impl Driver {
    /// Takes in what the source of members hears now.
    pub(super) fn on_heard(&mut self, heard: Heard) {
        if let Some(why) = heard.standing.name_taken {
            return self.die(why);
        }
        let Heard { sighting, standing } = heard;
        self.members.standing = standing;
        self.hear_forgotten(&sighting.forgotten);
        self.members.sighting = sighting;
        self.members.unmerged = true;
        self.change_view();
    }

    /// Makes who is heard the view in force, unless the view has only just changed.
    fn change_view(&mut self) {
        let is_list = self.config.membership.source == Source::Static;
        let just_changed = |at: Instant| at.elapsed() < VIEW_EVERY;
        let waits = !is_list && self.members.changed_at.is_some_and(just_changed);
        if waits || !std::mem::take(&mut self.members.unmerged) {
            return;
        }
        let mut members = merge(&self.view, &self.within_reach(&self.members.sighting));
        self.leave_out_the_unfit(&mut members);
        match self.view.successor(members) {
            Ok(Some(view)) => {
                tracing::info!(
                    epoch = view.epoch(),
                    members = view.members().len(),
                    "the members have changed"
                );
                self.members.changed_at = Some(Instant::now());
                self.view = view.clone();
                self.keep_view();
                self.produce(Event::View(view));
                self.set_targets();
            }
            Ok(None) => {}
            // Each was checked by itself, so that together they are too many or have one name: the
            // merge lets neither through.
            Err(error) => tracing::error!("the members cannot be used: {error}"),
        }
    }

    /// Writes down the view before anything is placed by it: a restart that found a placement and not
    /// its consumers among the members would take them for gone, and place the file again.
    pub(super) fn keep_view(&mut self) {
        let mut members = self.view.members().to_vec();
        for member in &mut members {
            if self.members.unfit.contains(&member.name) {
                // A restart finds out anew what its certificate says by then.
                member.state = MemberState::Active;
            }
        }
        let view = View::new(self.view.epoch(), members).expect("only states differ");
        let records = view.records().into_iter().map(Record::ViewSeen);
        let records: Vec<_> = records.collect();
        for record in &records {
            // A crash before the sync loses who joined last, and whatever was placed there.
            self.append_own(record.clone());
        }
        self.log_care.own.replace_view(records);
    }

    /// To this node, those whose certificates give them no role to take files have left.
    fn leave_out_the_unfit(&mut self, members: &mut [Member]) {
        let mut unfit = std::mem::take(&mut self.members.unfit);
        for member in members {
            if unfit.remove(&member.name) {
                member.state = MemberState::Left;
                self.members.unfit.insert(member.name.clone());
            }
        }
        // Those that are no members any more.
        for node in unfit {
            self.problems.remove_starting(&nothing_on(&node));
        }
    }

    /// A member's certificate gives it no role to take files. Whoever says that it consumes, a list,
    /// gossip or etcd, to this node it is as one that has left: nothing is placed on it, and what was
    /// placed goes elsewhere. No source of members is as sure as a certificate, and what is placed there
    /// would be owed until somebody looks.
    pub(super) fn takes_no_files(&mut self, node: NodeName, why: &str) {
        if self.members.unfit.contains(&node) {
            return;
        }
        let (why, hint) = hint::split_or(why, "look at what that machine does");
        let what = format!("{} {why}", nothing_on(&node));
        tracing::warn!(peer = %node, "{what}; hint: {hint}");
        self.problems.add(what, hint.to_owned());
        self.members.unfit.insert(node);
        self.members.unmerged = true;
        self.change_view();
    }

    /// A member is connected, so that it has the role to take files.
    pub(super) fn takes_files(&mut self, node: &NodeName) {
        if self.members.unfit.remove(node) {
            self.problems.remove_starting(&nothing_on(node));
            self.members.unmerged = true;
            self.change_view();
        }
    }

    /// Without TLS, and without a word that this is meant, nothing is sent beyond this machine: so
    /// whoever is there is no member.
    fn within_reach(&self, sighting: &Sighting) -> Sighting {
        self.problems.remove_starting(BEYOND);
        let mut sighting = sighting.clone();
        if self.config.tls.plaintext
            || self.config.tls.keys.is_some()
            || sighting.silence == Silence::IsNone
        {
            return sighting;
        }
        let is_near =
            |addr: &str| crate::config::HostPort::parse(addr).is_ok_and(|addr| addr.is_loopback());
        let all = sighting.members.len();
        sighting.members.retain(|one| is_near(&one.member.addr));
        let beyond = all - sighting.members.len();
        if beyond > 0 {
            let what = format!("{BEYOND}, and are left out: {beyond}");
            let hint = "give this node keys, see `consign keys`, or set tls.plaintext = true to send files unencrypted".to_owned();
            self.problems.add(what, hint);
        }
        sighting
    }

    /// Some are gone for good, as a person has told another node.
    fn hear_forgotten(&mut self, forgotten: &BTreeSet<NodeName>) {
        let own = &self.config.node.name;
        if forgotten.contains(own) {
            let what = format!("{own} was forgotten: it is no member any more, and gets nothing");
            let hint = "stop this agent; to use the machine again, give it another name and an empty data directory".to_owned();
            self.problems.add(what, hint);
        }
        let known: BTreeSet<_> = self.producer.forgotten().cloned().collect();
        let news = forgotten.iter().filter(|node| {
            *node != own && !known.contains(node) && !self.members.forgot.contains(node)
        });
        self.members.to_forget.extend(news.cloned());
        self.forget_heard();
    }

    /// Forgets those that are not connected any more. One that is would lose what is under way.
    fn forget_heard(&mut self) {
        for node in self.members.to_forget.clone() {
            if self.may_forget(&node).is_err() {
                continue;
            }
            self.members.to_forget.remove(&node);
            self.members.forgot.insert(node.clone());
            tracing::info!(peer = %node, "forgotten, as another node was told");
            // Nobody waits for the answer.
            let (reply, _) = oneshot::channel();
            self.begin_to_forget(node, reply);
        }
    }

    /// Forgets a node on both sides.
    pub(super) fn begin_to_forget(
        &mut self,
        node: NodeName,
        reply: oneshot::Sender<Result<(), super::refusal::Refusal>>,
    ) {
        let token = self.order(Order::Forget(Forgetting::new(node.clone(), reply)));
        self.consume(consumer::Event::Forget {
            token,
            node: node.clone(),
        });
        self.produce(Event::Forget { token, node });
    }

    /// What time brings: a view of who was heard lately, and the forgotten that have gone.
    pub(super) fn care_for_members(&mut self) {
        self.forget_heard();
        self.forget_absent();
        self.change_view();
    }

    /// Tells the others what this node is, and how far it takes part.
    pub(super) fn announce(&self, own: Member) {
        let state = self.producer.standing();
        self.members.source.announce(Member { state, ..own });
    }

    /// What is wrong with the source of members.
    pub(super) fn problem_of_members(&self) -> Option<Problem> {
        let standing = &self.members.standing;
        // Who knows of nobody else is rightly alone: a first seed waits to be asked.
        if standing.is_silent() && self.view.members().len() > 1 {
            let what = format!(
                "{} hears no other node, and the members known last stay in force",
                standing.source
            );
            return Some(Problem {
                what,
                hint: "check that the others run and that they reach this node, or name one of them in membership.seeds".to_owned(),
                since: standing.since,
            });
        }
        let (what, hint) = hint::split_or(standing.error.as_deref()?, "check the network");
        let what = match standing.reachable {
            true => what.to_owned(),
            false => format!(
                "{} does not answer, and the members known last stay in force: {what}",
                standing.source
            ),
        };
        Some(Problem {
            what,
            hint: hint.to_owned(),
            since: standing.since,
        })
    }
}

/// How the problem with a member begins that may take no files.
fn nothing_on(node: &NodeName) -> String {
    format!("nothing is placed on {node}:")
}

/// The view that a node begins with: the list, or whom it knew when it was stopped, also if that was by a
/// list.
///
/// # Errors
/// When the list is none; it was checked before.
pub(crate) fn first_view(
    config: &crate::config::Config,
    last: Option<View>,
) -> Result<View, consign_core::view::BadView> {
    match (&config.membership.source, last) {
        (Source::Gossip { .. } | Source::Etcd(_), Some(last)) => Ok(last),
        (_, last) => {
            let last = last.unwrap_or_default();
            let listed = last.successor(config.membership.nodes.clone())?;
            Ok(listed.unwrap_or(last))
        }
    }
}
