//! Misfortune, at the rates of the plan.

use std::path::Path;

use consign_core::disk::OpenMode;
use consign_core::view::MemberState;

use super::happening::End;
use super::node::inbox_of;
use super::{Happening, World};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Kill,
    PowerCut,
    CrashAtOp,
    BreakLink,
    Partition,
    Rejoin(usize, usize),
    DiskFull,
    DiskRoom(usize),
    SyncError,
    WriteError,
    Cancel,
    Retry,
    Take,
    Squat,
    Drain,
    Undrain(usize),
    ConsumerGone,
    ProducerGone,
    Forget(usize),
    Join(usize),
}

impl World {
    pub(super) fn set_up_faults(&mut self) {
        let every = [
            Fault::Kill,
            Fault::PowerCut,
            Fault::CrashAtOp,
            Fault::BreakLink,
            Fault::Partition,
            Fault::DiskFull,
            Fault::SyncError,
            Fault::WriteError,
            Fault::Cancel,
            Fault::Retry,
            Fault::Take,
            Fault::Squat,
            Fault::Drain,
        ];
        for fault in every {
            self.schedule_fault(fault);
        }
        if let Some(at) = self.plan.faults.consumer_gone_at_ms {
            self.after(at * 1_000, Happening::Fault(Fault::ConsumerGone));
        }
        if let Some(at) = self.plan.faults.producer_gone_at_ms {
            self.after(at * 1_000, Happening::Fault(Fault::ProducerGone));
        }
        for node in 0..self.nodes.len() {
            if self.plan.nodes[node].joins_late {
                let at = self.draw(self.plan.heal_at_ms * 1_000);
                self.after(at, Happening::Fault(Fault::Join(node)));
            }
        }
    }

    fn mean_ms(&self, fault: Fault) -> Option<u64> {
        let faults = &self.plan.faults;
        match fault {
            Fault::Kill => faults.kill,
            Fault::PowerCut => faults.power_cut,
            Fault::CrashAtOp => faults.crash_at_op,
            Fault::BreakLink => faults.break_link,
            Fault::Partition => faults.partition,
            Fault::DiskFull => faults.disk_full,
            Fault::SyncError => faults.sync_error,
            Fault::WriteError => faults.write_error,
            Fault::Cancel => faults.cancel,
            Fault::Retry => faults.retry,
            Fault::Take => faults.take,
            Fault::Squat => faults.squat,
            Fault::Drain => faults.drain,
            Fault::Rejoin(..)
            | Fault::DiskRoom(_)
            | Fault::Undrain(_)
            | Fault::ConsumerGone
            | Fault::ProducerGone
            | Fault::Forget(_)
            | Fault::Join(_) => None,
        }
    }

    fn schedule_fault(&mut self, fault: Fault) {
        if let Some(mean) = self.mean_ms(fault) {
            let delay = self.draw(2_000 * mean);
            self.after(delay, Happening::Fault(fault));
        }
    }

    pub(super) fn on_fault(&mut self, fault: Fault) {
        let lasting = matches!(
            fault,
            Fault::Rejoin(..)
                | Fault::DiskRoom(_)
                | Fault::Undrain(_)
                | Fault::Forget(_)
                | Fault::Join(_)
        );
        if self.healed && !lasting {
            return;
        }
        self.line(|| format!("fault: {fault:?}"));
        let node = self.draw(self.nodes.len() as u64) as usize;
        match fault {
            Fault::Kill => self.end_if_living(node, End::Kill),
            Fault::PowerCut => self.end_if_living(node, End::PowerCut),
            Fault::CrashAtOp => {
                let ops = self.draw(40);
                self.nodes[node].planned_end = self.draw_end();
                self.nodes[node].disk.crash_after(ops);
            }
            Fault::BreakLink => self.break_something(),
            Fault::Partition => self.partition(node),
            Fault::Rejoin(a, b) => drop(self.blocked.remove(&(a, b))),
            Fault::DiskFull => self.fill_disk(node),
            Fault::DiskRoom(node) => self.nodes[node].disk.set_capacity(None),
            Fault::SyncError | Fault::WriteError if !self.lives(node) => {}
            Fault::SyncError => {
                let nth = self.draw(6);
                self.nodes[node].disk.fail_sync(nth);
            }
            Fault::WriteError => {
                let nth = self.draw(12);
                self.nodes[node].disk.fail_write(nth);
            }
            Fault::Cancel => self.cancel(),
            Fault::Retry => self.retry(node),
            Fault::Take => self.take_away(),
            Fault::Squat => self.squat(),
            Fault::Drain => self.drain(node),
            Fault::Undrain(node) => {
                if !self.nodes[node].gone {
                    self.change_member(node, Some(MemberState::Active));
                }
            }
            Fault::ConsumerGone => self.lose_consumer(),
            Fault::ProducerGone => self.lose_producer(),
            Fault::Forget(node) => self.forget(node),
            Fault::Join(node) => self.join(node),
        }
        self.schedule_fault(fault);
    }

    fn end_if_living(&mut self, node: usize, end: End) {
        if self.lives(node) {
            self.end(node, end);
        }
    }

    fn break_something(&mut self) {
        if self.rng.one_in(3) {
            return self.break_some_flow();
        }
        let open = self.open_links();
        if !open.is_empty() {
            let nth = self.draw(open.len() as u64) as usize;
            self.break_link(open[nth], 300_000);
        }
    }

    fn partition(&mut self, a: usize) {
        let b = self.draw(self.nodes.len() as u64) as usize;
        if a == b {
            return;
        }
        let pair = (a.min(b), a.max(b));
        self.blocked.insert(pair);
        for link in self.open_links() {
            if self.joins(link, a, b) {
                self.break_link(link, 8_000_000);
            }
        }
        self.break_flows_between(a, b);
        let lasts = self.draw(8_000_000);
        self.after(lasts, Happening::Fault(Fault::Rejoin(pair.0, pair.1)));
    }

    fn fill_disk(&mut self, node: usize) {
        let left = self.draw(100_000);
        let capacity = self.nodes[node].disk.used_bytes() + left;
        self.nodes[node].disk.set_capacity(Some(capacity));
        let lasts = self.draw(4_000_000);
        self.after(lasts, Happening::Fault(Fault::DiskRoom(node)));
    }

    /// A stranger puts a file where one is expected.
    fn squat(&mut self) {
        let file = self.draw(self.ledger.stories.len() as u64) as usize;
        let plan = &self.plan.files[file];
        let consumers: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| self.plan.nodes[node].consumes.contains(&plan.feed))
            .filter(|&node| self.nodes[node].powered && !self.nodes[node].gone)
            .collect();
        let path = inbox_of(&self.plan.feeds[plan.feed].name).join(&plan.name);
        let nth = self.draw(consumers.len() as u64) as usize;
        let Some(&node) = consumers.get(nth) else {
            return;
        };
        let disk = self.nodes[node].disk.mount();
        let opened = disk.open(&path, OpenMode::CreateNew);
        if let (Ok(file), Some(identity)) = (opened, self.nodes[node].disk.identity(&path)) {
            let written = file.write_all_at(b"not yours", 0);
            let _ = written.and_then(|()| disk.sync_fs(Path::new("/")));
            self.nodes[node].squatters.insert(path, identity);
        }
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

    fn drain(&mut self, node: usize) {
        let name = self.name(node);
        let active = self
            .view
            .member(&name)
            .is_some_and(|member| member.state == MemberState::Active);
        if !active || self.plan.nodes[node].consumes.is_empty() {
            return;
        }
        self.change_member(node, Some(MemberState::Draining));
        let lasts = self.draw(4_000_000);
        self.after(lasts, Happening::Fault(Fault::Undrain(node)));
    }

    fn lose_consumer(&mut self) {
        let consumers: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| !self.plan.nodes[node].produces && !self.plan.nodes[node].joins_late)
            .collect();
        let nth = self.draw(consumers.len() as u64) as usize;
        if let Some(&node) = consumers.get(nth) {
            self.lose_node(node);
        }
    }

    fn lose_producer(&mut self) {
        let producers: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| {
                self.plan.nodes[node].produces && self.plan.nodes[node].consumes.is_empty()
            })
            .collect();
        let nth = self.draw(producers.len() as u64) as usize;
        if let Some(&node) = producers.get(nth) {
            self.lose_node(node);
        }
    }

    /// A machine is gone for good; its operator says so some time later.
    fn lose_node(&mut self, node: usize) {
        self.nodes[node].gone = true;
        self.end_if_living(node, End::PowerCut);
        let patience = self.draw(5_000_000);
        self.after(patience, Happening::Fault(Fault::Forget(node)));
    }

    fn forget(&mut self, node: usize) {
        self.change_member(node, None);
        for other in 0..self.nodes.len() {
            if other != node {
                self.nodes[other].to_forget.insert(node);
            }
        }
    }

    fn join(&mut self, node: usize) {
        if self.view.member(&self.nodes[node].name).is_none() {
            self.change_member(node, Some(MemberState::Active));
            self.after(1, Happening::Start(node));
        }
    }
}
