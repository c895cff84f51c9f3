//! Misfortune, at the rates of the plan, and what ends it.

use std::path::Path;

use consign_core::consumer::state::SlotState;
use consign_core::disk::OpenMode;
use consign_core::view::MemberState;

use super::happening::End;
use super::inflow::staged;
use super::node::{SPOOL, inbox_of};
use super::{Happening, World};
use crate::plan::{Fault, Rate};

/// What follows upon a fault, and happens also when all else is healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aftermath {
    /// Messages from the first to the second arrive again.
    Reach(usize, usize),
    /// A connection that was only half there breaks.
    Break(u64),
    DiskRoom(usize),
    /// A disk is as fast again as it was.
    DiskSpeed(usize),
    Undrain(usize),
    /// A node's own operator takes it back into service.
    TakeBack(usize),
    /// A member is listed with all of its feeds again.
    List(usize),
    Configure(usize),
    Forget(usize),
    Join(usize),
}

impl World {
    pub(super) fn set_up_faults(&mut self) {
        let faults: Vec<(Fault, Rate)> = self.plan.faults.iter().collect();
        for (fault, rate) in faults {
            match rate {
                Rate::Every(_) => self.schedule_fault(fault),
                Rate::At(at_ms) => self.after(at_ms * 1_000, Happening::Fault(fault)),
                Rate::Permille(_) => {}
            }
        }
        for node in 0..self.nodes.len() {
            if self.plan.nodes[node].joins_late {
                let at = self.draw(self.plan.heal_at_ms * 1_000);
                self.after(at, Happening::Aftermath(Aftermath::Join(node)));
            }
        }
    }

    fn schedule_fault(&mut self, fault: Fault) {
        let rate = self.plan.faults.iter().find(|(kind, _)| *kind == fault);
        if let Some((_, Rate::Every(mean_ms))) = rate {
            let delay = self.draw(2_000 * mean_ms);
            self.after(delay, Happening::Fault(fault));
        }
    }

    pub(super) fn on_fault(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        self.line(|| format!("fault: {fault:?}"));
        let node = self.draw(self.nodes.len() as u64) as usize;
        if self.strike(fault, node) {
            self.coverage.fault(fault);
        }
        self.schedule_fault(fault);
    }

    /// Lets a fault strike; false when there was nothing for it to strike.
    fn strike(&mut self, fault: Fault, node: usize) -> bool {
        match fault {
            Fault::Kill => self.end_if_living(node, End::Kill),
            Fault::PowerCut => self.end_if_living(node, End::PowerCut),
            Fault::BreakLink => self.break_something(),
            Fault::Partition => self.partition(node, true),
            Fault::OneWay => self.partition(node, false),
            Fault::HalfOpen => self.half_open_some(),
            Fault::Stall => self.stall_something(),
            Fault::DiskFull => self.fill_disk(node),
            Fault::SlowDisk => self.slow_disk(node),
            Fault::CrashAtOp
            | Fault::NoSpaceCall
            | Fault::SyncError
            | Fault::WriteError
            | Fault::ReadError => self.plan_call(fault, node),
            Fault::Cancel => self.cancel(),
            Fault::Retry if self.rng.one_in(2) => self.retry_one(),
            Fault::Retry => self.retry(node),
            Fault::BadRequest => self.bad_request(node),
            Fault::Take => self.take_away(),
            Fault::Squat => self.squat(),
            Fault::Drain => self.drain(node),
            Fault::Weigh => self.weigh(node),
            Fault::Move => self.move_member(node),
            Fault::Unlist => self.unlist(node),
            Fault::Reconfigure => self.reconfigure(node),
            Fault::RotStaging => self.rot_staging(node),
            Fault::RotSpool => self.rot_spool(node),
            Fault::LoseStaging => self.lose_staging(node),
            Fault::ConsumerGone => self.lose_consumer(),
            Fault::ProducerGone => self.lose_producer(),
            Fault::Leave => self.leave(),
            Fault::Sicken => self.sicken(),
            // They strike where the thing happens that they spoil.
            Fault::CrashInRecovery
            | Fault::SilentLoss
            | Fault::LateFrame
            | Fault::DamageSmall
            | Fault::DamageChunk
            | Fault::ForgeChunk
            | Fault::Withdraw
            | Fault::ClockJump
            | Fault::SlowCall
            | Fault::DamageLog => false,
        }
    }

    pub(super) fn on_aftermath(&mut self, aftermath: Aftermath) {
        self.line(|| format!("fault: {aftermath:?}"));
        match aftermath {
            Aftermath::Reach(from, to) => drop(self.blocked.remove(&(from, to))),
            Aftermath::Break(link) => self.break_link(link, 1_000_000),
            Aftermath::DiskRoom(node) => self.nodes[node].disk.set_capacity(None),
            Aftermath::DiskSpeed(node) => self.nodes[node].drag = 1,
            Aftermath::Undrain(node) => {
                let name = self.name(node);
                let state = self.view.member(&name).map(|member| member.state);
                if state == Some(MemberState::Draining) && !self.nodes[node].gone {
                    self.change_member(node, Some(MemberState::Active));
                }
            }
            Aftermath::TakeBack(node) => self.take_back(node),
            Aftermath::List(node) => self.list(node),
            Aftermath::Configure(node) => {
                self.configure(node);
            }
            Aftermath::Forget(node) => self.forget(node),
            Aftermath::Join(node) => self.join(node),
        }
    }

    pub(super) fn after_ms(&mut self, most_ms: u64, aftermath: Aftermath) {
        let delay = self.draw(most_ms * 1_000);
        self.after(delay, Happening::Aftermath(aftermath));
    }

    fn end_if_living(&mut self, node: usize, end: End) -> bool {
        let lives = self.lives(node);
        if lives {
            self.end(node, end);
        }
        lives
    }

    /// One of the next calls to a node's disk fails: where the node is down, one of its recovery, unless
    /// that would be the crash for which there is a fault of its own.
    fn plan_call(&mut self, fault: Fault, node: usize) -> bool {
        let nth = self.draw(40);
        let end = self.draw_end();
        if !self.lives(node) && fault == Fault::CrashAtOp {
            return false;
        }
        let disk = &self.nodes[node].disk;
        match fault {
            Fault::SyncError => disk.fail_sync(nth / 6),
            Fault::WriteError => disk.fail_write(nth / 3),
            Fault::ReadError => disk.fail_read(nth / 4),
            Fault::NoSpaceCall => disk.fail_growth(nth / 8),
            _ => {
                disk.crash_after(nth);
                self.nodes[node].planned_end = end;
            }
        }
        true
    }

    fn break_something(&mut self) -> bool {
        if self.rng.one_in(3) {
            return self.break_some_flow();
        }
        let Some(link) = self.some_link() else {
            return false;
        };
        self.break_link(link, 300_000);
        true
    }

    fn some_link(&mut self) -> Option<u64> {
        let open = self.open_links();
        let nth = self.draw(open.len() as u64) as usize;
        open.get(nth).copied()
    }

    /// Nothing arrives any more at one end of a connection, and it is long before anybody notices.
    fn half_open_some(&mut self) -> bool {
        let Some(link) = self.some_link() else {
            return false;
        };
        let end = self.draw(2) as usize;
        self.deafen(link, end);
        self.after_ms(20_000, Aftermath::Break(link));
        true
    }

    fn stall_something(&mut self) -> bool {
        let by_us = self.draw(10_000_000);
        if self.rng.one_in(3) {
            return self.stall_some_flow(by_us);
        }
        let Some(link) = self.some_link() else {
            return false;
        };
        let end = self.draw(2) as usize;
        self.stall_link(link, end, by_us);
        true
    }

    /// Nodes cannot reach each other, or one cannot reach the other.
    fn partition(&mut self, a: usize, both_ways: bool) -> bool {
        let b = self.draw(self.nodes.len() as u64) as usize;
        if a == b {
            return false;
        }
        let lasts = 1 + self.draw(8_000);
        self.block(a, b, lasts);
        if both_ways {
            self.block(b, a, lasts);
        }
        for link in self.open_links() {
            if !self.joins(link, a, b) {
                continue;
            }
            if both_ways {
                self.break_link(link, 8_000_000);
            } else {
                let end = self.end_of(link, b);
                self.deafen(link, end);
                self.after_ms(15_000, Aftermath::Break(link));
            }
        }
        self.break_flows_between(a, b);
        true
    }

    fn block(&mut self, from: usize, to: usize, lasts_ms: u64) {
        self.blocked.insert((from, to));
        self.after(
            lasts_ms * 1_000,
            Happening::Aftermath(Aftermath::Reach(from, to)),
        );
    }

    fn fill_disk(&mut self, node: usize) -> bool {
        // Where less is left than a segment of the log takes, its reserve is used up.
        let left = match self.draw(4) {
            0 => 0,
            1 => self.draw(self.plan.segment_bytes),
            _ => self.draw(100_000),
        };
        let capacity = self.nodes[node].disk.used_bytes() + left;
        self.nodes[node].disk.set_capacity(Some(capacity));
        self.after_ms(8_000, Aftermath::DiskRoom(node));
        true
    }

    fn slow_disk(&mut self, node: usize) -> bool {
        self.nodes[node].drag = 5 + self.draw(50);
        self.after_ms(10_000, Aftermath::DiskSpeed(node));
        // Who waits for it for long takes it for dead, and connects anew.
        if self.rng.one_in(2) {
            let links = self.open_links().into_iter();
            let own: Vec<u64> = links.filter(|link| self.is_end_of(*link, node)).collect();
            let nth = self.draw(own.len() as u64) as usize;
            if let Some(&link) = own.get(nth) {
                self.after_ms(3_000, Aftermath::Break(link));
            }
        }
        true
    }

    /// A stranger puts a file where one is expected.
    fn squat(&mut self) -> bool {
        let file = self.draw(self.ledger.stories.len() as u64) as usize;
        let plan = &self.plan.files[file];
        let consumers: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| self.plan.nodes[node].consumes.contains(&plan.feed))
            .filter(|&node| self.nodes[node].powered && !self.nodes[node].gone)
            .collect();
        let path = inbox_of(&self.plan.feeds[plan.feed].name).join(&plan.name);
        let nth = self.draw(consumers.len() as u64) as usize;
        let Some(&node) = consumers.get(nth) else {
            return false;
        };
        let disk = self.nodes[node].disk.mount();
        let opened = disk.open(&path, OpenMode::CreateNew);
        if let (Ok(file), Some(identity)) = (opened, self.nodes[node].disk.identity(&path)) {
            let written = file.write_all_at(b"not yours", 0);
            let _ = written.and_then(|()| disk.sync_fs(Path::new("/")));
            self.nodes[node].squatters.insert(path, identity);
            return true;
        }
        false
    }

    /// Everything that strangers have put somewhere goes away; from a disk that has crashed it does
    /// when its node has noticed.
    pub(super) fn remove_squatters(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        let disk = place.disk.mount();
        place.squatters.retain(|path, identity| {
            let is_there = place.disk.identity(path) == Some(*identity);
            is_there && disk.remove(path).is_err()
        });
        let _ = disk.sync_fs(Path::new("/"));
    }

    /// A feed is taken out of a node's configuration, and comes back.
    fn reconfigure(&mut self, node: usize) -> bool {
        let feed = self.draw(self.plan.feeds.len() as u64) as usize;
        self.nodes[node].unconfigured.insert(feed);
        let restart = self.plan.nodes[node].consumes.contains(&feed);
        self.read_again(node, restart);
        self.after_ms(4_000, Aftermath::Configure(node));
        true
    }

    /// All feeds are in a node's configuration again.
    fn configure(&mut self, node: usize) {
        let back = std::mem::take(&mut self.nodes[node].unconfigured);
        let consumes = &self.plan.nodes[node].consumes;
        let restart = back.iter().any(|feed| consumes.contains(feed));
        if !back.is_empty() {
            self.read_again(node, restart);
        }
    }

    /// A file that is being received at a node: its slot, and how much of it is written.
    fn some_inflow(&mut self, node: usize) -> Option<(consign_core::ids::SlotId, u64)> {
        let life = self.nodes[node].life.as_ref()?;
        let nth = self.rng.below(life.inflows.len().max(1) as u64) as usize;
        let (slot, inflow) = life.inflows.iter().nth(nth)?;
        Some((slot.clone(), inflow.verified))
    }

    /// A byte changes that was verified and will not be looked at again.
    fn rot_staging(&mut self, node: usize) -> bool {
        let Some((slot, verified)) = self.some_inflow(node) else {
            return false;
        };
        let at = self.draw(verified);
        let Some(file) = self.ledger.file_at(node, &slot).filter(|_| verified > 0) else {
            return false;
        };
        let life = self.life(node);
        let order = &life.inflows[&slot].order;
        let path = staged(&order.feed, &order.staging);
        let Some(identity) = self.nodes[node].disk.identity(&path) else {
            return false;
        };
        self.nodes[node].disk.rot(identity, at);
        self.ledger.rotten.insert((node, file));
        true
    }

    /// A staging file goes that nobody was promised yet.
    fn lose_staging(&mut self, node: usize) -> bool {
        let Some((slot, _)) = self.some_inflow(node) else {
            return false;
        };
        let life = self.life(node);
        let entry = life.consumer.entries().find(|(at, _)| *at == slot);
        let unsaved = entry.is_some_and(|(_, entry)| {
            matches!(
                entry.state,
                SlotState::Receiving | SlotState::Received { .. }
            )
        });
        let order = &life.inflows[&slot].order;
        let path = staged(&order.feed, &order.staging);
        if !unsaved || self.nodes[node].disk.identity(&path).is_none() {
            return false;
        }
        let disk = self.nodes[node].disk.mount();
        let removed = disk.remove(&path);
        removed
            .and_then(|()| disk.sync_dir(path.parent().unwrap_or(Path::new("/"))))
            .is_ok()
    }

    /// A byte of a source changes after its digest is synced.
    fn rot_spool(&mut self, node: usize) -> bool {
        let Some(life) = self.nodes[node].life.as_ref() else {
            return false;
        };
        let streams = life.streams.iter().filter(|(key, _)| {
            let file = self.ledger.file_of(node, **key);
            file.is_some_and(|file| self.ledger.stories[file].digested)
        });
        let spools: Vec<_> = streams
            .map(|(_, stream)| Path::new(SPOOL).join(&stream.order.source.spool))
            .collect();
        let nth = self.draw(spools.len() as u64) as usize;
        let disk = &self.nodes[node].disk;
        let identity = spools.get(nth).and_then(|path| disk.identity(path));
        let Some(identity) = identity else {
            return false;
        };
        let len = disk.bytes(&spools[nth]).map_or(0, |bytes| bytes.len());
        let at = self.draw(len as u64);
        self.nodes[node].disk.rot(identity, at);
        self.nodes[node].rotten.push((identity, at));
        true
    }

    /// What changed in the spool is put back from a copy.
    pub(super) fn restore_spool(&mut self, node: usize) {
        for (identity, at) in std::mem::take(&mut self.nodes[node].rotten) {
            self.nodes[node].disk.rot(identity, at);
        }
    }
}
