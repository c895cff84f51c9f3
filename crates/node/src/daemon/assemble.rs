//! Puts a recovered node together: its inboxes, the first records of this life, the thread of the
//! log, the network, and the driver over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use consign_core::consumer::Consumer;
use consign_core::ids::{Incarnation, NodeName};
use consign_core::log::{Log, Payload, Position};
use consign_core::producer::Producer;
use consign_core::record::{Boot, Record};
use consign_core::view::{Member, View};
use tokio::sync::mpsc;

use super::bounds::NET_EVENTS_WAITING_MAX;
use super::recover::{Own, Recovered};
use super::watchers::{self, Watchers};
use super::{Life, descriptors, random};
use crate::audit::{self, Answering, Audits, Door};
use crate::catalogue::{Applied, Lag, Reader};
use crate::config::{Config, Source};
use crate::driver::Reload;
use crate::driver::handle::DriverEnd;
use crate::driver::log_care::LogCare;
use crate::driver::members::{self, Members};
use crate::driver::old_copy::OldCopy;
use crate::driver::{self, Driver, Ears};
use crate::identity::{self, Keyring};
use crate::inboxes::Inboxes;
use crate::log_writer::{LogStanding, LogWriter};
use crate::membership;
use crate::net::{Asked, Identity, Net, NetConfig, NetEvent, PastLife, Sight};
use crate::outbox::Outbox;
use crate::problems::Problems;
use crate::receipts::Archive;

/// What a node stands on beside its log.
pub(super) struct Ground {
    pub(super) config: Config,
    pub(super) keyring: Option<Arc<Keyring>>,
    pub(super) door: Option<identity::Door>,
    pub(super) life: Life,
    pub(super) outbox: Arc<Outbox>,
    pub(super) problems: Problems,
    pub(super) lag: Arc<Lag>,
    pub(super) archive: Archive,
    pub(super) reader: Reader,
    pub(super) audits: Door,
}

/// A node that is listened to, and waits for its driver to run.
pub(super) struct Assembled {
    pub(super) driver: Driver,
    pub(super) ears: Ears,
    /// They end when this is dropped.
    pub(super) watchers: tokio::task::JoinSet<()>,
}

/// What the log says of this node's own past, and of its peers', for the network.
struct Past {
    lives: Vec<PastLife>,
    reconciled: Incarnation,
    set_apart: bool,
    seen: BTreeMap<NodeName, Sight>,
}

impl Past {
    fn of(own: &Own) -> Self {
        Self {
            lives: own.lives.clone(),
            reconciled: own.of_nodes.reconciled(),
            set_apart: !own.of_nodes.outlived().is_empty(),
            seen: own.of_nodes.sights().collect(),
        }
    }

    /// Adds in which lives the members were heard.
    fn note_members(&mut self, view: &View, consumer: &Consumer) {
        for member in view.members() {
            let sight = self.seen.entry(member.name.clone()).or_default();
            sight.incarnation = sight.incarnation.max(consumer.seen(&member.name));
        }
    }
}

impl Ground {
    /// Does all that must precede the first word to anybody, then listens.
    ///
    /// # Errors
    /// What keeps the node from starting; ends in a hint.
    pub(super) async fn assemble(
        mut self,
        recovered: Recovered,
        end: DriverEnd,
        catalogue: mpsc::Sender<Vec<Applied>>,
        reload: mpsc::Receiver<Result<Reload, String>>,
    ) -> anyhow::Result<Assembled> {
        let inboxes = self.open_inboxes(&recovered)?;
        let boot = self.boot(&recovered.producer, recovered.own.found_to);
        let Recovered {
            mut log,
            mut producer,
            mut consumer,
            own,
            mut marks,
        } = recovered;
        let mut past = Past::of(&own);
        past.lives.push(PastLife {
            incarnation: producer.incarnation(),
            start: self.life.start,
            found_to: Some(own.found_to),
        });
        let set_apart = past.set_apart;
        let view = members::first_view(&self.config, own.view.into_view())?;
        past.note_members(&view, &consumer);
        producer.resume_view(view.clone());
        for (feed, inbox) in inboxes.iter() {
            marks.note_open(feed, &inbox.path, inbox.marker);
        }
        let marked: Vec<_> = marks.records().cloned().map(Record::InboxMarked).collect();
        let (booted, synced) = begin(&mut log, &boot, &marked)?;
        for record in &marked {
            consumer.replay(synced, record);
        }
        // From here on the catalogue reads from the log what it does not have.
        self.lag.note_synced(booted.pack());
        // And so does the archive of receipts.
        self.archive.follow(log.reader(), booted);
        let first = Applied {
            position: booted.pack(),
            record: boot.clone(),
        };
        let _ = catalogue.send(vec![first]).await;
        let own_from = own.from.unwrap_or(synced.segment).min(synced.segment);
        let seen = match self.config.membership.source {
            Source::Static => Vec::new(),
            Source::Gossip { .. } | Source::Etcd(_) => view.records(),
        };
        let seen = seen.into_iter().map(Record::ViewSeen).collect();
        let mut own_records = own.of_nodes;
        own_records.extend([vec![boot], marked, seen].concat());
        let log_care = LogCare::new(LogStanding::of(&log), own_records, own_from);

        let (log_done, log_ears) = mpsc::unbounded_channel();
        let me = self.config.node.name.clone();
        let followers = (self.lag.clone(), self.archive.clone());
        let log = LogWriter::start(me, log, log_done, catalogue, followers)
            .context("cannot start threads; hint: raise the limit of processes")?;
        let (net_events, net_ears) = mpsc::channel(NET_EVENTS_WAITING_MAX);
        let inboxes = Arc::new(inboxes);
        let answering = Arc::new(Answering::new(self.reader.clone(), Arc::clone(&inboxes)));
        let (asked, questions) = mpsc::channel(audit::bounds::ASKED_WAITING_MAX);
        tokio::spawn(audit::answer_all(questions, Arc::clone(&answering)));
        let net = self.listen(&producer, past, net_events, asked).await?;
        let audits = Audits::new(self.reader.clone(), net.auditor(), answering);
        // Set once: this is the only place.
        let _ = self.audits.set(audits);
        let me = membership::Own {
            member: Member {
                state: producer.standing(),
                ..self.config.membership.own.clone()
            },
            incarnation: producer.incarnation(),
            start: self.life.start,
            earlier: own.starts,
        };
        let source = membership::start(
            &self.config.membership,
            me,
            producer.forgotten().cloned().collect(),
            net.mail(),
        );
        let members_ears = source.heard();
        let Watchers { found, running } =
            watchers::start(&self.config, &self.outbox, &self.problems);
        let (worked, worked_ears) = mpsc::unbounded_channel();
        let driver = Driver {
            config: self.config,
            view,
            members: Members::new(source),
            start: self.life.start,
            started_at: self.life.began_at,
            producer,
            consumer,
            log,
            log_care,
            net,
            outbox: self.outbox,
            archive: self.archive,
            inboxes,
            worked,
            snapshot: end.snapshot,
            problems: self.problems,
            tickets: driver::Tickets::default(),
            submissions: driver::submissions::Submissions::default(),
            unreleased: driver::releasing::Unreleased::default(),
            round: driver::Round::default(),
            old_copy: OldCopy::new(set_apart),
            endings: driver::endings::Endings::new(end.endings),
            fatal: None,
        };
        let ears = Ears {
            log: log_ears,
            net: net_ears,
            worked: worked_ears,
            commands: end.commands,
            found,
            reload,
            members: members_ears,
        };
        Ok(Assembled {
            driver,
            ears,
            watchers: running,
        })
    }

    fn open_inboxes(&self, recovered: &Recovered) -> anyhow::Result<Inboxes> {
        let staged = recovered.consumer.feeds_staged();
        let (inboxes, degraded) =
            Inboxes::open(&self.config.consume, &recovered.marks, &staged, random)?;
        self.problems.add_degraded(&degraded);
        for (inbox, now_at) in inboxes.set_aside() {
            let text = format!(
                "files of another node, or of this one with another data directory, were staged in inbox {inbox:?}; they are in {now_at:?} now; hint: if that node is to run again, stop this agent, move them back and give it an inbox of its own; else remove them"
            );
            tracing::warn!("{text}");
            self.problems.add_text(&text);
        }
        Ok(inboxes)
    }

    fn boot(&self, producer: &Producer, found_to: u64) -> Record {
        Record::Boot(Boot {
            node: self.config.node.name.to_string(),
            incarnation: producer.incarnation().0,
            start: self.life.start.0,
            at: self.life.began_at.0,
            found_to,
        })
    }

    /// Opens the network, and notes the port that the system chose.
    async fn listen(
        &mut self,
        producer: &Producer,
        past: Past,
        events: mpsc::Sender<NetEvent>,
        audits: mpsc::Sender<Asked>,
    ) -> anyhow::Result<Net> {
        let config = &mut self.config;
        let wanted = NetConfig {
            me: Identity {
                node: config.node.name.clone(),
                incarnation: producer.incarnation(),
                start: self.life.start,
                lives: past.lives,
                reconciled: past.reconciled,
            },
            keyring: self.keyring.take(),
            listen: config.listen.peer.to_string(),
            seen: past.seen.into_iter().collect(),
            set_apart: past.set_apart,
            spool: config.node.data_dir.join("spool"),
            audits,
            open_files_max: descriptors::raise_limit(),
        };
        let net = Net::start(wanted, events).await?;
        net.set_door(self.door.take());
        let port = net.local_addr().port();
        config.listen.peer.port = port;
        if config.listen.advertise.port == 0 {
            // What others are told, as far as they learn it from this node.
            let mut advertised = config.listen.advertise.clone();
            advertised.port = port;
            config.membership.own.addr = advertised.to_string();
        }
        tracing::info!(
            node = %config.node.name,
            incarnation = producer.incarnation().0,
            listen = %net.local_addr(),
            "ready"
        );
        Ok(net)
    }
}

/// Logs the first records of this life, and syncs them: the incarnation before anybody hears it. A
/// crash before the sync only skips a number.
///
/// Returns where the first lies, and through where the log is synced.
fn begin(log: &mut Log, boot: &Record, marked: &[Record]) -> anyhow::Result<(Position, Position)> {
    let booted = log.append(boot, Payload::None)?;
    for record in marked {
        log.append(record, Payload::None)?;
    }
    Ok((booted, log.commit()?))
}
