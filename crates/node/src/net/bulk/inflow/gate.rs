//! Decides, chunk by chunk, whether what arrives on some connection belongs to a transfer as it
//! was opened last. The one place where an old attempt is fenced off from the bytes.
//!
//! ```text
//!            open                begin
//!   Shut ───────────▶ Ready ───────────▶ Flowing
//!    ▲ ▲               │ ▲                │  │
//!    │ └─────shut──────┘ └──────open──────┘  │
//!    └──────────────────shut─────────────────┘
//! ```
//! In `Flowing` always `next ≤ through`: nothing is taken beyond the credit.

use consign_core::ids::Fence;
use consign_core::producer::Session;

use super::super::buffers::Reserved;
use super::super::chunks::Shape;
use super::upstream::{Refusal, Upstream, not_open};

/// See the module.
#[derive(Debug)]
pub(super) enum Gate {
    Shut,
    Ready {
        fence: Fence,
        shape: Shape,
        next: u64,
    },
    Flowing {
        fence: Fence,
        shape: Shape,
        /// Where the next chunk must begin.
        next: u64,
        /// One past the last byte that the sender may send.
        through: u64,
        /// Memory for what lies between the two; less of it when the sender did not use it in
        /// time.
        reserved: Option<Reserved>,
        upstream: Upstream,
    },
}

impl Gate {
    /// Takes chunks from `next` on under `fence`, and no others.
    pub(super) fn open(&mut self, fence: Fence, shape: Shape, next: u64) {
        *self = Self::Ready { fence, shape, next };
    }

    /// Takes nothing. Answers who was sending.
    pub(super) fn shut(&mut self) -> Option<Upstream> {
        match std::mem::replace(self, Self::Shut) {
            Self::Shut | Self::Ready { .. } => None,
            Self::Flowing { upstream, .. } => Some(upstream),
        }
    }

    /// A sender wants to send from `from` on.
    pub(super) fn begin(
        &mut self,
        fence: Fence,
        from: u64,
        upstream: Upstream,
    ) -> Result<(), Refusal> {
        match self {
            Self::Ready {
                fence: ours,
                shape,
                next,
            } if *ours == fence && *next == from => {
                *self = Self::Flowing {
                    fence,
                    shape: *shape,
                    next: from,
                    through: from,
                    reserved: None,
                    upstream,
                };
                Ok(())
            }
            Self::Ready {
                fence: ours, next, ..
            } => Err(Refusal::Stop(format!(
                "attempt {} from byte {from} does not fit attempt {} from byte {next}; hint: the \
                 producer tries again by itself",
                fence.attempt, ours.attempt
            ))),
            Self::Flowing { .. } => Err(Refusal::Stop(
                "it is being received already; hint: the producer tries again by itself".into(),
            )),
            Self::Shut => Err(not_open()),
        }
    }

    /// A chunk of `len` bytes at `offset` arrives on connection `session`. When it is taken, the
    /// memory that was set aside for it, if it still is.
    pub(super) fn take(
        &mut self,
        fence: Fence,
        session: Session,
        offset: u64,
        len: usize,
    ) -> Result<Option<Reserved>, Refusal> {
        let Self::Flowing {
            fence: ours,
            shape,
            next,
            through,
            reserved,
            upstream,
        } = self
        else {
            return Err(not_open());
        };
        if *ours != fence || upstream.session != session {
            return Err(Refusal::Stop(format!(
                "attempt {} is over; hint: the producer tries again by itself",
                fence.attempt
            )));
        }
        let end = shape.at(offset).map(|(_, end)| end);
        let fits = offset == *next && end.is_some_and(|end| end - offset == len as u64);
        if !fits || end.is_none_or(|end| end > *through) {
            return Err(Refusal::Violation(format!(
                "{} sent {len} bytes at {offset}, expected was the chunk at {next} with credit \
                 through {through}; hint: check that node's version",
                upstream.node
            )));
        }
        *next = offset + len as u64;
        Ok(reserved
            .as_mut()
            .and_then(|all| all.split(shape.chunk_bytes as usize)))
    }

    /// Lets the sender send below `through`, for which `memory` is set aside. Lost when nobody
    /// sends any more.
    pub(super) fn grant(&mut self, more_through: u64, memory: Reserved) {
        if let Self::Flowing {
            through, reserved, ..
        } = self
        {
            *through = more_through;
            match reserved {
                Some(reserved) => reserved.merge(memory),
                None => *reserved = Some(memory),
            }
        }
    }

    /// Gives up the memory that is set aside. The credit stays: a chunk that comes after all is
    /// taken if there is memory then.
    pub(super) fn lend(&mut self) {
        if let Self::Flowing { reserved, .. } = self {
            *reserved = None;
        }
    }

    /// The connection is gone: nothing more comes under this fence.
    pub(super) fn unbind(&mut self, session: Session) {
        if self
            .upstream()
            .is_some_and(|upstream| upstream.session == session)
        {
            *self = Self::Shut;
        }
    }

    /// Who sends.
    pub(super) fn upstream(&self) -> Option<&Upstream> {
        match self {
            Self::Flowing { upstream, .. } => Some(upstream),
            Self::Shut | Self::Ready { .. } => None,
        }
    }

    /// Up to where the sender may send; `None` when nobody sends.
    pub(super) fn through(&self) -> Option<u64> {
        match self {
            Self::Flowing { through, .. } => Some(*through),
            Self::Shut | Self::Ready { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use consign_core::ids::{Attempt, Incarnation, NodeName};
    use consign_core::wire::Leg;

    use super::super::super::buffers::Pool;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn fence(attempt: u32) -> Fence {
        Fence {
            incarnation: Incarnation(1),
            attempt: Attempt(attempt),
        }
    }

    fn upstream(session: u64) -> Upstream {
        Upstream {
            node: NodeName::new("cam-1").unwrap(),
            session: Session(session),
            send_queue: Arc::default(),
            producer: "cam-1".into(),
            leg: Leg::default(),
        }
    }

    fn flowing(through: u64) -> Gate {
        let shape = Shape::new(3 * MIB + 5, MIB).unwrap();
        let mut gate = Gate::Shut;
        gate.open(fence(2), shape, MIB);
        gate.begin(fence(2), MIB, upstream(7)).unwrap();
        let pool = Pool::new(4 << 20);
        let memory = pool.try_reserve((through - MIB) as usize, 0).unwrap();
        gate.grant(through, memory);
        gate
    }

    fn is_stopped<T>(outcome: Result<T, Refusal>) -> bool {
        matches!(outcome, Err(Refusal::Stop(reason)) if reason.contains("hint:"))
    }

    #[test]
    fn only_the_attempt_that_is_open_begins_and_only_where_it_should() {
        let shape = Shape::new(3 * MIB, MIB).unwrap();
        let mut gate = Gate::Shut;
        assert!(is_stopped(gate.begin(fence(1), 0, upstream(1))));
        gate.open(fence(2), shape, MIB);
        assert!(is_stopped(gate.begin(fence(1), MIB, upstream(1))));
        assert!(is_stopped(gate.begin(fence(3), MIB, upstream(1))));
        assert!(is_stopped(gate.begin(fence(2), 0, upstream(1))));
        gate.begin(fence(2), MIB, upstream(1)).unwrap();
        assert!(is_stopped(gate.begin(fence(2), MIB, upstream(2))));
    }

    #[test]
    fn chunks_are_taken_in_order_within_the_credit_and_no_others() {
        let mut gate = flowing(3 * MIB);
        let len = MIB as usize;
        let s = Session(7);
        assert!(is_stopped(gate.take(fence(1), s, MIB, len)));
        assert!(is_stopped(gate.take(fence(2), Session(8), MIB, len)));
        for (offset, len) in [(0, len), (2 * MIB, len), (MIB, len - 1), (MIB + 1, len)] {
            let taken = gate.take(fence(2), s, offset, len);
            assert!(
                matches!(taken, Err(Refusal::Violation(_))),
                "{offset} {len}"
            );
        }
        assert!(gate.take(fence(2), s, MIB, len).unwrap().is_some());
        assert!(gate.take(fence(2), s, 2 * MIB, len).unwrap().is_some());
        let beyond = gate.take(fence(2), s, 3 * MIB, 5);
        assert!(matches!(beyond, Err(Refusal::Violation(_))), "no credit");
    }

    #[test]
    fn a_gate_that_is_shut_or_opened_again_takes_nothing_of_before() {
        let mut gate = flowing(2 * MIB);
        assert_eq!(gate.shut().unwrap().session, Session(7));
        assert!(is_stopped(gate.take(
            fence(2),
            Session(7),
            MIB,
            MIB as usize
        )));
        let mut gate = flowing(2 * MIB);
        gate.open(fence(3), Shape::new(3 * MIB, MIB).unwrap(), MIB);
        assert!(is_stopped(gate.take(
            fence(2),
            Session(7),
            MIB,
            MIB as usize
        )));
        let mut gate = flowing(2 * MIB);
        gate.unbind(Session(8));
        assert!(gate.upstream().is_some());
        gate.unbind(Session(7));
        assert!(gate.upstream().is_none());
    }

    #[test]
    fn memory_that_was_lent_is_not_there_although_the_credit_is() {
        let mut gate = flowing(2 * MIB);
        gate.lend();
        let taken = gate.take(fence(2), Session(7), MIB, MIB as usize);
        assert!(taken.unwrap().is_none());
    }
}
