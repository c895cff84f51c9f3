//! The order in which the consumers of a placement pass the bytes on.

use std::collections::BTreeMap;

use crate::ids::NodeName;
use crate::view::View;

/// Orders consumers so that bytes cross between zones as seldom as possible: the producer's own
/// zone first, then one zone after the other, each entered once.
///
/// The other zones, and the members of each, stay in the order in which they are given. Placements
/// give them best first, so that every file has its own first zone and no link between zones takes
/// all the traffic. A member without a zone, or that the view no longer has, is a zone of its own.
#[must_use]
pub fn chain_order(
    members: &[NodeName],
    view: &View,
    producer_zone: Option<&str>,
) -> Vec<NodeName> {
    let mut first_of_zone = BTreeMap::new();
    let mut ordered: Vec<_> = members
        .iter()
        .enumerate()
        .map(|(at, node)| {
            let zone = view.zone(node);
            let entered = zone.map_or(at, |zone| *first_of_zone.entry(zone).or_insert(at));
            let is_away = zone.is_none() || zone != producer_zone;
            ((is_away, entered, at), node)
        })
        .collect();
    ordered.sort_unstable_by_key(|&(place, _)| place);
    ordered.into_iter().map(|(_, node)| node.clone()).collect()
}
