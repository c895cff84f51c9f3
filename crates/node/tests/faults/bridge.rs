//! Machines with a network each, all on one bridge. It is for the namespaces of [`crate::isolated`],
//! with which everything here goes.

use crate::image::tool;

/// What the test itself, outside of all machines, can be reached by.
pub(crate) const OUTSIDE: &str = "10.77.0.254";

/// A bridge that nothing is plugged into.
pub(crate) fn build() {
    // Names of network namespaces are files, which would outlive the test.
    tool("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    tool("ip", &["link", "add", "bridge", "type", "bridge"]);
    let addr = format!("{OUTSIDE}/24");
    tool("ip", &["addr", "add", &addr, "dev", "bridge"]);
    tool("ip", &["link", "set", "bridge", "up"]);
}

/// Where the agent of the machine at this place listens.
pub(crate) fn peer_addr(at: usize) -> String {
    format!("10.77.0.{at}:7420")
}

/// A network of its own, with a cable to the bridge.
pub(crate) fn plug_in(name: &str, at: usize) {
    let outer = format!("to-{name}");
    tool("ip", &["netns", "add", name]);
    tool(
        "ip",
        &[
            "link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", name,
        ],
    );
    tool("ip", &["link", "set", &outer, "master", "bridge", "up"]);
    let addr = format!("10.77.0.{at}/24");
    tool("ip", &["-n", name, "addr", "add", &addr, "dev", "eth0"]);
    for device in ["lo", "eth0"] {
        tool("ip", &["-n", name, "link", "set", device, "up"]);
    }
}

/// Pulls the cable of a machine out, or puts it in again.
pub(crate) fn plug(name: &str, into: bool) {
    let state = if into { "up" } else { "down" };
    tool("ip", &["link", "set", &format!("to-{name}"), state]);
}

/// What runs a command in the network of a machine.
pub(crate) fn under(name: &str) -> [&str; 4] {
    ["ip", "netns", "exec", name]
}

/// Runs a tool there that must succeed.
pub(crate) fn in_its_network(name: &str, command: &[&str]) -> String {
    tool("ip", &[&under(name)[1..], command].concat())
}
