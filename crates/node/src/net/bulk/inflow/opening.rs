//! Opens the staging file of a transfer, as often as it is ordered to until that succeeds.

use std::sync::{Arc, Mutex};

use consign_core::consumer::{Event, InflowFault, InflowOrder};
use consign_core::disk::Disk;
use consign_core::ids::Attempt;

use super::super::engine::Engine;
use super::super::staged::Staged;
use super::task::Orders;
use super::{Command, Inflow, Inflows, lock};

/// Opens the file: it, and the order under which it was opened. `None` when the transfer was
/// forgotten because it could not be opened; then that is reported.
pub(super) async fn open(
    inflows: &Inflows,
    inflow: &Arc<Inflow>,
    mut order: InflowOrder,
    inbox: &Arc<dyn Disk>,
    orders: &mut Orders,
    attempt: &Mutex<Attempt>,
) -> Option<(Arc<Staged>, InflowOrder)> {
    loop {
        *lock(attempt) = order.attempt;
        let fault = match open_staged(&inflows.engine, inbox, &order).await {
            Ok(staged) => return Some((staged, order)),
            Err(fault) => fault,
        };
        let failed = Event::InflowFailed {
            slot: inflow.slot.clone(),
            attempt: order.attempt,
            fault,
        };
        inflows.engine.shared.tell_consumer(failed).await;
        order = next_reopening(inflows, inflow, orders).await?;
    }
}

async fn open_staged(
    engine: &Arc<Engine>,
    inbox: &Arc<dyn Disk>,
    order: &InflowOrder,
) -> Result<Arc<Staged>, InflowFault> {
    let (with, inbox, order) = (Arc::clone(engine), Arc::clone(inbox), order.clone());
    let open = move || Staged::open(&with, inbox.as_ref(), &order);
    let opened = engine.workers.run(open).await;
    let opened = opened.unwrap_or_else(|panicked| Err(InflowFault::Disk(panicked.to_string())));
    opened.map(Arc::new)
}

/// The next order to open a file that is not open, or `None` when there is nothing more to do.
pub(super) async fn next_reopening(
    inflows: &Inflows,
    inflow: &Arc<Inflow>,
    orders: &mut Orders,
) -> Option<InflowOrder> {
    while !inflows.retire(inflow, orders) {
        if let Some(Command::Reopen(order)) = orders.recv().await {
            return Some(order);
        }
    }
    None
}
