//! The configuration, read again while the agent runs: members, this node's own zone and weights,
//! the policies of produced feeds and keys take effect at once, the latter by making connections anew.
//! The rest needs a restart, and is named until it is restarted or undone.

use crate::hint;
use consign_core::producer::Event;

use super::{Driver, producing};
use crate::config::{Config, ConsumeConfig, ProduceConfig};
use crate::identity::{Door, Keys};

/// How problems of the file on disk begin.
const ON_DISK: &str = "the configuration on disk";

/// A configuration that was read again, with the keys that it names.
#[derive(Debug)]
pub(crate) struct Reload {
    pub(crate) config: Config,
    pub(crate) keys: Option<Keys>,
    /// Where newcomers are let in, if they are.
    pub(crate) door: Option<Door>,
}

impl Driver {
    /// Takes over what may change. A configuration that is wrong, or of another node, changes
    /// nothing.
    pub(super) fn on_reload(&mut self, read: Result<Reload, String>) {
        self.problems.remove_starting(ON_DISK);
        let Reload {
            mut config,
            keys,
            door,
        } = match read {
            Ok(read) => read,
            Err(why) => return self.stays(&why, "correct it and send SIGHUP again"),
        };
        if config.node.name != self.config.node.name {
            let why = format!("it is that of node {}", config.node.name);
            return self.stays(&why, "restart the agent to give it another name");
        }
        if let Some(list) = keys.as_ref().and_then(|keys| self.net.voids(keys)) {
            let why = format!("the certificate that it names is revoked by list {list}");
            let hint = "`consign keys issue` a new one, and send SIGHUP again";
            return self.stays(&why, hint);
        }
        let fixed = self.fixed_differences(&config);
        for feed in &mut config.produce {
            feed.watch = self.watched_now(feed).and_then(|now| now.watch.clone());
        }
        // Members that are only safe to reach with keys that wait for a restart wait for it as well.
        if protection(&config) == protection(&self.config) {
            self.reload_members(&mut config);
        }
        if let Some(keys) = keys.filter(|_| self.config.tls.keys.is_some()) {
            self.net.renew(keys);
            self.net.set_door(door);
            self.config.tls = config.tls;
        }
        self.config.produce = config.produce;
        let rules = producing::rules_of(&self.config);
        self.produce(Event::Policies(rules));
        self.set_targets();
        tracing::info!("members and produced feeds were read again");
        if !fixed.is_empty() {
            let what = format!(
                "{ON_DISK} changes what needs a restart: {}",
                fixed.join(", ")
            );
            tracing::warn!("{what}; hint: restart the agent, or undo that");
            self.problems
                .add(what, "restart the agent, or undo that".to_owned());
        }
    }

    /// A list takes effect at once, and so does what this node says of itself. Another source needs
    /// a restart.
    fn reload_members(&mut self, config: &mut Config) {
        let now = &self.config.membership;
        if config.membership.source != now.source {
            return;
        }
        self.config.node.zone.clone_from(&config.node.zone);
        self.produce(Event::Zone(config.node.zone.clone()));
        let now = &self.config.membership;
        // The system has chosen a port, or the address needs a restart.
        config.membership.own.addr.clone_from(&now.own.addr);
        config.membership.own.feeds.clone_from(&now.own.feeds);
        if config.membership.own != now.own {
            let own = config.membership.own.clone();
            self.announce(own);
        }
        self.members.source.relist(config.membership.nodes.clone());
        self.config.membership = config.membership.clone();
        let heard = self.members.source.heard().borrow().clone();
        self.on_heard(heard);
    }

    fn stays(&self, why: &str, hint: &str) {
        let (why, hint) = hint::split_or(why, hint);
        let what = format!("{ON_DISK} is not in force: {why}");
        tracing::error!("{what}; hint: {hint}");
        self.problems.add(what, hint.to_owned());
    }

    /// Keys that differ from those in force and cannot change while the agent runs.
    fn fixed_differences(&self, config: &Config) -> Vec<String> {
        // Everything that a section holds is in its `Debug`.
        let differ = |one: &dyn std::fmt::Debug, other: &dyn std::fmt::Debug| {
            format!("{one:?}") != format!("{other:?}")
        };
        let mut listen = config.listen.clone();
        if listen.peer.port == 0 {
            // The system has chosen one.
            listen.peer.port = self.config.listen.peer.port;
        }
        let mut node = config.node.clone();
        if config.membership.source == self.config.membership.source {
            node.zone.clone_from(&self.config.node.zone);
        }
        let sections = [
            ("[node]", differ(&node, &self.config.node)),
            ("[listen]", differ(&listen, &self.config.listen)),
            ("[tls]", protection(config) != protection(&self.config)),
            (
                "[[consume]]",
                differ(&weightless(config), &weightless(&self.config)),
            ),
            (
                "[membership]",
                config.membership.source != self.config.membership.source,
            ),
        ];
        let mut names: Vec<String> = sections
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name.to_owned())
            .collect();
        for feed in &config.produce {
            let now = self.watched_now(feed).map(|now| &now.watch);
            if differ(&now.unwrap_or(&None), &&feed.watch) {
                names.push(format!("watch of feed {}", feed.policy.feed));
            }
        }
        names
    }

    fn watched_now(&self, feed: &ProduceConfig) -> Option<&ProduceConfig> {
        let now = self.config.produce.iter();
        now.into_iter()
            .find(|now| now.policy.feed == feed.policy.feed)
    }
}

/// What is consumed, without the weight: that is only what others are told.
fn weightless(config: &Config) -> Vec<ConsumeConfig> {
    let mut consume = config.consume.clone();
    consume.iter_mut().for_each(|feed| feed.weight = 0);
    consume
}

/// What of `[tls]` cannot change while the agent runs: which keys there are can.
fn protection(config: &Config) -> (bool, bool) {
    (config.tls.plaintext, config.tls.keys.is_some())
}
