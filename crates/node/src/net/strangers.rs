//! Connections between accepted and known: who holds a place, and who has to give his up.
//!
//! Whoever reaches the port can open as many connections as he likes and say nothing, or next to
//! nothing. None of them may keep a peer out, so a newcomer always gets a place: when there is none
//! left, the address that holds most of them gives up its oldest. A peer says hello at once, and is
//! a stranger for one round trip.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::bounds::REFUSED_TOLD_EVERY;

/// See the module.
#[derive(Debug)]
pub(super) struct Strangers {
    places_max: usize,
    held: Mutex<Held>,
    refusals: Mutex<Refusals>,
}

#[derive(Debug, Default)]
struct Held {
    last: u64,
    /// By address, the places that it holds, the oldest first.
    places: BTreeMap<IpAddr, BTreeMap<u64, oneshot::Sender<()>>>,
    /// The addresses in the order in which they give up places, the next one last.
    crowds: BTreeSet<Crowd>,
    all: usize,
}

/// How many places an address holds, and since when: more of them before fewer, and of as many the
/// older.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crowd {
    places: usize,
    oldest: std::cmp::Reverse<u64>,
    address: IpAddr,
}

#[derive(Debug, Default)]
struct Refusals {
    told: Option<Instant>,
    since: u64,
}

/// A place, given up on drop.
#[derive(Debug)]
pub(super) struct Place {
    strangers: Arc<Strangers>,
    address: IpAddr,
    number: u64,
    wanted: oneshot::Receiver<()>,
}

impl Place {
    /// Waits until a newcomer needs it.
    pub(super) async fn wanted(&mut self) {
        // The sender goes with the place, so this ends by a word or not at all.
        let _ = (&mut self.wanted).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.lock().leave(self.address, self.number);
    }
}

impl Strangers {
    /// At most so many places.
    pub(super) fn new(places_max: usize) -> Arc<Self> {
        Arc::new(Self {
            places_max: places_max.max(1),
            held: Mutex::default(),
            refusals: Mutex::default(),
        })
    }

    /// Gives a newcomer a place, somebody else's if need be.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Place {
        let address = network_of(from);
        let mut held = self.lock();
        if held.all >= self.places_max
            && let Some(most) = held.crowds.last()
        {
            let (address, number) = (most.address, most.oldest.0);
            if let Some(place) = held.leave(address, number) {
                let _ = place.send(());
            }
        }
        held.last += 1;
        let (number, (sender, wanted)) = (held.last, oneshot::channel());
        held.change(address, |places| places.insert(number, sender));
        held.all += 1;
        Place {
            strangers: Arc::clone(self),
            address,
            number,
            wanted,
        }
    }

    /// Counts a connection that was turned away. `Some` when it is time to say so: how many there
    /// were beside this one since the last time.
    pub(super) fn turned_away(&self) -> Option<u64> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if refusals
            .told
            .is_some_and(|told| now.duration_since(told) < REFUSED_TOLD_EVERY)
        {
            refusals.since += 1;
            return None;
        }
        refusals.told = Some(now);
        Some(std::mem::take(&mut refusals.since))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing between two steps here can panic with the sums half changed.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Takes a place away; `None` when it was given up already.
    fn leave(&mut self, address: IpAddr, number: u64) -> Option<oneshot::Sender<()>> {
        let place = self.change(address, |places| places.remove(&number))?;
        self.all -= 1;
        Some(place)
    }

    /// Changes an address's places, and with them its turn.
    fn change<T>(
        &mut self,
        address: IpAddr,
        change: impl FnOnce(&mut BTreeMap<u64, oneshot::Sender<()>>) -> T,
    ) -> T {
        let places = self.places.entry(address).or_default();
        if let Some(crowd) = crowd(address, places) {
            self.crowds.remove(&crowd);
        }
        let result = change(places);
        match crowd(address, places) {
            Some(crowd) => {
                self.crowds.insert(crowd);
            }
            None => {
                self.places.remove(&address);
            }
        }
        result
    }
}

fn crowd(address: IpAddr, places: &BTreeMap<u64, oneshot::Sender<()>>) -> Option<Crowd> {
    Some(Crowd {
        places: places.len(),
        oldest: std::cmp::Reverse(*places.keys().next()?),
        address,
    })
}

/// What counts as one address: of IPv6 a /64, since that is the least that anybody is given.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Whether a newcomer has taken a place.
    fn is_lost(place: &mut Place) -> bool {
        place.wanted.try_recv().is_ok()
    }

    #[test]
    fn a_newcomer_takes_the_oldest_place_of_the_largest_crowd() {
        let strangers = Strangers::new(4);
        let mut first = strangers.enter(address("10.0.0.9"));
        let mut crowd: Vec<_> = (0..3)
            .map(|_| strangers.enter(address("10.0.0.1")))
            .collect();
        let mut newcomer = strangers.enter(address("10.0.0.2"));
        let lost: Vec<_> = crowd.iter_mut().map(is_lost).collect();
        assert_eq!(lost, [true, false, false]);
        // The crowd cannot grow again at the expense of others.
        let mut again = strangers.enter(address("10.0.0.1"));
        let lost: Vec<_> = crowd[1..].iter_mut().map(is_lost).collect();
        assert_eq!(lost, [true, false]);
        for place in [&mut first, &mut newcomer, &mut again] {
            assert!(!is_lost(place), "{place:?}");
        }
    }

    #[test]
    fn among_single_ones_the_oldest_goes() {
        let strangers = Strangers::new(2);
        let mut newer = strangers.enter(address("10.0.0.3"));
        drop(strangers.enter(address("10.0.0.9")));
        let mut newest = strangers.enter(address("10.0.0.1"));
        let _third = strangers.enter(address("10.0.0.2"));
        assert!(is_lost(&mut newer));
        assert!(!is_lost(&mut newest));
    }

    #[test]
    fn a_place_that_was_left_is_free() {
        let strangers = Strangers::new(1);
        for _ in 0..3 {
            drop(strangers.enter(address("10.0.0.1")));
        }
        let mut last = strangers.enter(address("10.0.0.1"));
        assert!(!is_lost(&mut last));
        assert_eq!(strangers.lock().all, 1);
        drop(last);
        let held = strangers.lock();
        assert!(held.places.is_empty() && held.crowds.is_empty() && held.all == 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (one, other) = (address("2001:db8::1"), address("2001:db8::2:3"));
        assert_eq!(network_of(one), network_of(other));
        assert_ne!(network_of(one), network_of(address("2001:db8:0:1::1")));
        assert_eq!(
            network_of(address("::ffff:10.0.0.1")),
            address("10.0.0.1"),
            "or all of IPv4 would be one crowd"
        );
    }

    #[test]
    fn the_log_hears_of_a_flood_once() {
        let strangers = Strangers::new(1);
        assert_eq!(strangers.turned_away(), Some(0));
        assert_eq!(strangers.turned_away(), None);
        assert_eq!(strangers.turned_away(), None);
    }
}
