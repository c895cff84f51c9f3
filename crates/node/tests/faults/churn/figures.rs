//! What a fleet costs while it runs: memory and connections of each agent, read from the outside.

use crate::bridge::in_its_network;
use crate::machine::Machine;

/// Of one agent, now.
#[derive(Debug, Clone, Copy)]
struct Cost {
    resident_kib: u64,
    peak_kib: u64,
    /// TCP connections in its network, both directions.
    connections: usize,
}

/// Prints the median and the most of agents that run, by what their names begin with.
pub(super) fn tell<'a>(kind: &str, machines: impl Iterator<Item = &'a Machine>) {
    let costs: Vec<_> = machines.filter(|one| one.runs()).map(cost).collect();
    let of = |what: fn(&Cost) -> u64| {
        let mut values: Vec<_> = costs.iter().map(what).collect();
        values.sort_unstable();
        let middle = values[values.len() / 2];
        format!("{middle} (at most {})", values[values.len() - 1])
    };
    println!(
        "          {} {kind}: resident {} MiB, peak {} MiB, connections {}",
        costs.len(),
        of(|cost| cost.resident_kib >> 10),
        of(|cost| cost.peak_kib >> 10),
        of(|cost| cost.connections as u64),
    );
}

fn cost(machine: &Machine) -> Cost {
    let status = std::fs::read_to_string(format!("/proc/{}/status", machine.pid())).unwrap();
    let of = |what: &str| {
        let line = status.lines().find(|line| line.starts_with(what));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse().unwrap()
    };
    let listed = ["ss", "-Htn", "state", "established"];
    Cost {
        resident_kib: of("VmRSS:"),
        peak_kib: of("VmHWM:"),
        connections: in_its_network(&machine.name, &listed).lines().count(),
    }
}
