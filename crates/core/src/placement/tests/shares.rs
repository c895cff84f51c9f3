//! Who gets how much, and how much of it moves, over many keys.

use super::*;

const KEYS: usize = 100_000;

#[test]
fn adding_one_of_n_equal_consumers_moves_its_share_of_the_keys_and_only_to_it() {
    for (n, replicas) in [(2, 1), (5, 1), (10, 1), (25, 1), (5, 3), (10, 2)] {
        adding_one_moves_its_share(n, replicas, 0);
    }
}

/// Equal before the new one comes, and equal with it.
#[test]
fn adding_one_of_n_equal_consumers_in_equal_zones_moves_its_share_of_the_keys_and_only_to_it() {
    for (n, replicas, zones) in [(10, 1, 5), (6, 3, 3), (5, 3, 3), (11, 2, 3)] {
        adding_one_moves_its_share(n, replicas, zones);
    }
}

fn adding_one_moves_its_share(n: usize, replicas: usize, zones: usize) {
    let after = members(n + 1, zones);
    let (before, after) = (view(&after[..n]), view(&after));
    let new = node(&format!("store-{n}"));
    let mut moved = 0;
    for key in (0..KEYS).map(|k| format!("file-{k}")) {
        let old = choose(&key, replicas, &before);
        let now = choose(&key, replicas, &after);
        let came: Vec<_> = now.iter().filter(|node| !old.contains(node)).collect();
        assert!(
            came.iter().all(|&node| *node == new),
            "{key}: {old:?} became {now:?}"
        );
        moved += came.len();
    }
    let share = moved as f64 / (KEYS * replicas) as f64;
    let bound = 1.1 / (n + 1) as f64;
    assert!(
        share <= bound,
        "{n} consumers in {zones} zones, {replicas} replicas: moved {share}, bound {bound}"
    );
    assert!(share > 0.0);
}

#[test]
fn consumers_get_their_share_by_weight() {
    let weights = [1, 10, 50, 100, 100, 300];
    let stores = weights.iter().zip(0..);
    let stores: Vec<_> = stores
        .map(|(&w, at)| member(&format!("store-{at}"), w, None))
        .collect();
    shares_are_by_weight(&stores, 1);
}

/// Of one copy each gets what its weight says in any zones. Of as many as there are zones, each zone gets
/// one, which its members share by weight.
#[test]
fn consumers_in_equal_zones_get_their_share_by_weight() {
    let weights = [10, 50, 100, 300];
    let in_zone = |zone: &'static str| {
        let named = move |&w| member(&format!("store-{zone}-{w}"), w, Some(zone));
        weights.iter().map(named)
    };
    let stores: Vec<_> = ["a", "b", "c"].into_iter().flat_map(in_zone).collect();
    for replicas in [1, 3] {
        shares_are_by_weight(&stores, replicas);
    }
}

fn shares_are_by_weight(stores: &[Member], replicas: usize) {
    let all = view(stores);
    let mut counts: BTreeMap<NodeName, u32> = BTreeMap::new();
    for key in (0..KEYS).map(|k| format!("file-{k}")) {
        for node in choose(&key, replicas, &all) {
            *counts.entry(node).or_default() += 1;
        }
    }
    let total: u32 = stores.iter().map(|one| one.weight).sum();
    for Member { name, weight, .. } in stores {
        let count = counts.get(name).copied().unwrap_or_default();
        // How likely it is that a file has a copy there.
        let likely = f64::from(*weight) / f64::from(total) * replicas as f64;
        let expected = KEYS as f64 * likely;
        let sigma = libm::sqrt(expected * (1.0 - likely));
        let off = (f64::from(count) - expected).abs();
        assert!(
            off <= 4.0 * sigma,
            "{replicas} replicas: {name} of weight {weight} got {count}, expected {expected} ± {sigma}"
        );
    }
}
