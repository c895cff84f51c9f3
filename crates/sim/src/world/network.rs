//! Control connections: dialled by producers, admitted by consumers, broken as a whole.

use consign_core::consumer;
use consign_core::ids::Incarnation;
use consign_core::producer::{self, Session};
use consign_core::wire::Message;

use super::happening::{End, Work};
use super::{Happening, World};
use crate::coverage::Subject;

/// A connection from a producer to a consumer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) producer: usize,
    pub(super) consumer: usize,
    producer_life: u32,
    /// The incarnation that its producer introduces itself with.
    incarnation: Incarnation,
    consumer_life: Option<u32>,
    /// Whether it is over, though its ends may not know yet.
    pub(super) broken: bool,
    /// Whether each end (the producer's, the consumer's) has been told that it is up, and not yet
    /// that it is down.
    up: [bool; 2],
    /// Whether what was on its way to each end when it broke still arrives.
    passes: [bool; 2],
    /// Whether what is sent to each end from now on is lost, though nobody knows.
    deaf: [bool; 2],
    /// When the last message to each end arrives.
    last: [u64; 2],
}

/// The end of a link that is a consumer.
const CONSUMER: usize = 1;
/// The end of a link that is a producer.
const PRODUCER: usize = 0;

impl World {
    pub(super) fn is_blocked(&self, a: usize, b: usize) -> bool {
        self.is_deaf_to(a, b) || self.is_deaf_to(b, a)
    }

    /// Whether nothing that the second says reaches the first.
    pub(super) fn is_deaf_to(&self, a: usize, b: usize) -> bool {
        self.blocked.contains(&(b, a))
    }

    /// Dials a consumer, and again whenever there is no link to it.
    pub(super) fn dial(&mut self, node: usize, to: usize) {
        let name = &self.nodes[to].name;
        if self.view.member(name).is_none() || self.life(node).dialled.contains_key(&to) {
            return self.dial_later(node, to);
        }
        let number = self.next_number;
        self.next_number += 1;
        let hello_at = self.now + self.latency(node, to);
        let mut last = [self.now; 2];
        last[CONSUMER] = hello_at;
        let link = Link {
            producer: node,
            consumer: to,
            producer_life: self.life(node).number,
            incarnation: self.life(node).incarnation,
            consumer_life: None,
            broken: false,
            up: [false; 2],
            passes: [true; 2],
            deaf: [false; 2],
            last,
        };
        self.links.insert(number, link);
        self.life(node).dialled.insert(to, number);
        self.at(hello_at, Happening::Hello(number));
    }

    fn dial_later(&mut self, node: usize, to: usize) {
        let delay = 50_000 + self.draw(450_000);
        self.do_after(node, delay, Work::Dial(to));
    }

    /// A producer introduces itself. One that has ended since may have done so before; its successor's
    /// word may even be here already.
    pub(super) fn on_hello(&mut self, number: u64) {
        let Some(link) = self.links.get(&number) else {
            return;
        };
        let (node, to, incarnation) = (link.producer, link.consumer, link.incarnation);
        let ended = !self.is_alive(node, link.producer_life);
        if link.broken && !(ended && link.passes[CONSUMER]) {
            return;
        }
        if !self.lives(to) || self.is_blocked(node, to) {
            return self.refuse_link(number);
        }
        let consumer_life = self.life(to).number;
        let link = self.links.get_mut(&number).expect("looked up above");
        link.consumer_life = Some(consumer_life);
        link.up[CONSUMER] = true;
        let event = consumer::Event::PeerUp {
            node: self.name(node),
            session: Session(number),
            incarnation,
        };
        self.consume(to, event);
    }

    fn refuse_link(&mut self, number: u64) {
        let link = self.links.get_mut(&number).expect("its caller has it");
        link.broken = true;
        let (node, to) = (link.producer, link.consumer);
        let delay = self.latency(node, to);
        self.after(delay, Happening::Refused(number));
    }

    pub(super) fn on_refused(&mut self, number: u64) {
        let Some(link) = self.links.remove(&number) else {
            return;
        };
        if self.is_alive(link.producer, link.producer_life) {
            self.life(link.producer).dialled.remove(&link.consumer);
            self.dial_later(link.producer, link.consumer);
        }
    }

    pub(super) fn admit(&mut self, session: Session) {
        let Some(link) = self
            .links
            .get(&session.0)
            .filter(|link| !link.deaf[PRODUCER])
        else {
            return;
        };
        let (from, to) = (link.consumer, link.producer);
        let at = self.arrival(session.0, PRODUCER, from, to);
        self.at(at, Happening::Welcome(session.0));
    }

    pub(super) fn reject(&mut self, session: Session) {
        if self.links.contains_key(&session.0) {
            self.refuse_link(session.0);
        }
    }

    /// When a message that is sent now arrives: never before the one before it.
    fn arrival(&mut self, number: u64, end: usize, from: usize, to: usize) -> u64 {
        let at = self.now + self.latency(from, to);
        let link = self.links.get_mut(&number).expect("its caller has it");
        link.last[end] = at.max(link.last[end] + 1);
        link.last[end]
    }

    pub(super) fn on_welcome(&mut self, number: u64) {
        let Some(link) = self.links.get(&number) else {
            return;
        };
        let (node, to) = (link.producer, link.consumer);
        let lost = link.broken && !link.passes[PRODUCER];
        if lost || !self.is_alive(node, link.producer_life) {
            return;
        }
        let Some(life) = link.consumer_life.filter(|&life| self.is_alive(to, life)) else {
            return;
        };
        let incarnation = self.life(to).incarnation;
        let _ = life;
        self.links.get_mut(&number).expect("looked up above").up[PRODUCER] = true;
        let event = producer::Event::PeerUp {
            node: self.name(to),
            session: Session(number),
            incarnation,
        };
        self.produce(node, event);
    }

    /// A message goes out on a connection, if that is still the sender's.
    pub(super) fn send(&mut self, session: Session, to_consumer: bool, message: Message) {
        let Some(link) = self.links.get(&session.0).filter(|link| !link.broken) else {
            return;
        };
        let (from, to, end) = match to_consumer {
            true => (link.producer, link.consumer, CONSUMER),
            false => (link.consumer, link.producer, PRODUCER),
        };
        if link.deaf[end] {
            return;
        }
        let at = self.arrival(session.0, end, from, to);
        let deliver = Happening::Deliver {
            link: session.0,
            to_consumer,
            message,
        };
        self.at(at, deliver);
    }

    pub(super) fn on_deliver(&mut self, number: u64, to_consumer: bool, message: Message) {
        let Some(link) = self.links.get(&number) else {
            return;
        };
        let end = usize::from(to_consumer);
        if link.broken && !link.passes[end] || !link.up[end] {
            return;
        }
        self.coverage
            .hit(Subject::Delivered, usize::from(message.kind()));
        if let Message::Refused(refused) = &message {
            self.coverage.hit(Subject::Refused, refused.code as usize);
        }
        let session = Session(number);
        if to_consumer {
            let (node, life) = (link.consumer, link.consumer_life);
            if life.is_some_and(|life| self.is_alive(node, life)) {
                let from = self.name(link.producer);
                let is_old = self.is_replaced(number);
                self.consume_heard(
                    node,
                    is_old,
                    consumer::Event::Message {
                        from,
                        session,
                        message,
                    },
                );
            }
        } else {
            let (node, life) = (link.producer, link.producer_life);
            if self.is_alive(node, life) {
                let from = link.consumer;
                self.produce_heard(node, from, session, message);
            }
        }
    }

    /// Whether its consumer has heard of a later connection of the same producer.
    fn is_replaced(&self, number: u64) -> bool {
        let link = &self.links[&number];
        let mut later = self.links.range(number + 1..).map(|(_, later)| later);
        later.any(|later| {
            let same = (later.producer, later.consumer) == (link.producer, link.consumer);
            same && later.consumer_life == link.consumer_life
        })
    }

    /// Whether a connection is one of this node.
    pub(super) fn is_end_of(&self, number: u64, node: usize) -> bool {
        let link = &self.links[&number];
        link.producer == node || link.consumer == node
    }

    /// Nothing that is sent from now on arrives at one end of a connection.
    pub(super) fn deafen(&mut self, number: u64, end: usize) {
        if let Some(link) = self.links.get_mut(&number) {
            link.deaf[end] = true;
        }
    }

    /// Which end of a connection a node is.
    pub(super) fn end_of(&self, number: u64, node: usize) -> usize {
        match self.links[&number].consumer == node {
            true => CONSUMER,
            false => PRODUCER,
        }
    }

    /// What is sent to one end of a connection from now on is late.
    pub(super) fn stall_link(&mut self, number: u64, end: usize, by_us: u64) {
        let now = self.now;
        if let Some(link) = self.links.get_mut(&number) {
            link.last[end] = link.last[end].max(now + by_us);
        }
    }

    /// Breaks a connection. Each end notices for itself, after at most `notice_us`.
    pub(super) fn break_link(&mut self, number: u64, notice_us: u64) {
        let passes = [self.rng.one_in(2), self.rng.one_in(2)];
        let notice = [self.draw(notice_us), self.draw(notice_us)];
        let now = self.now;
        let Some(link) = self.links.get_mut(&number).filter(|link| !link.broken) else {
            return;
        };
        link.broken = true;
        link.passes = passes;
        let last = link.last;
        for (end, at_consumer) in [(PRODUCER, false), (CONSUMER, true)] {
            let at = (now + notice[end]).max(last[end]) + 1;
            let link = number;
            self.at(at, Happening::Down { link, at_consumer });
        }
    }

    pub(super) fn on_down(&mut self, number: u64, at_consumer: bool) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        let was_up = std::mem::take(&mut link.up[usize::from(at_consumer)]);
        let session = Session(number);
        let (producer, consumer) = (link.producer, link.consumer);
        let (producer_life, consumer_life) = (link.producer_life, link.consumer_life);
        if at_consumer {
            let alive = consumer_life.is_some_and(|life| self.is_alive(consumer, life));
            if was_up && alive {
                let node = self.name(producer);
                self.consume(consumer, consumer::Event::PeerDown { node, session });
            }
        } else if self.is_alive(producer, producer_life) {
            if was_up {
                let node = self.name(consumer);
                self.produce(producer, producer::Event::PeerDown { node, session });
            }
            if self.is_alive(producer, producer_life) {
                self.life(producer).dialled.remove(&consumer);
                self.dial_later(producer, consumer);
            }
        }
    }

    /// All connections of a node that ends break; the others notice soon when its machine runs on.
    pub(super) fn links_end(&mut self, node: usize, end: End) {
        let ended: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, link)| link.producer == node || link.consumer == node)
            .map(|(number, _)| *number)
            .collect();
        let notice = match end {
            End::Kill => 200_000,
            End::PowerCut => 6_000_000,
        };
        for number in ended {
            self.break_link(number, notice);
        }
    }

    /// Forgets links that both ends have done with.
    pub(super) fn sweep_links(&mut self) {
        let now = self.now;
        let nodes = &self.nodes;
        self.links.retain(|number, link| {
            let dialler = nodes[link.producer].life.as_ref();
            let awaited =
                dialler.is_some_and(|life| life.dialled.get(&link.consumer) == Some(number));
            awaited
                || !link.broken
                || link.up != [false; 2]
                || link.last.iter().any(|&at| at + 20_000_000 > now)
        });
    }

    /// Whether a connection is between these two.
    pub(super) fn joins(&self, number: u64, a: usize, b: usize) -> bool {
        let link = &self.links[&number];
        (link.producer, link.consumer) == (a, b) || (link.producer, link.consumer) == (b, a)
    }

    /// The producer at the other end of a connection.
    pub(super) fn producer_of(&self, session: u64) -> Option<usize> {
        self.links.get(&session).map(|link| link.producer)
    }

    /// The consumer at the other end of a connection.
    pub(super) fn consumer_of(&self, session: u64) -> Option<usize> {
        self.links.get(&session).map(|link| link.consumer)
    }

    /// Open connections.
    pub(super) fn open_links(&self) -> Vec<u64> {
        let open = self.links.iter().filter(|(_, link)| !link.broken);
        open.map(|(number, _)| *number).collect()
    }
}
