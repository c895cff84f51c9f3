//! Members by name: what a name means is asked at each connection, so that a machine may move.

use std::fs;
use std::path::Path;

use crate::image::tool;
use crate::isolated::isolated;
use crate::machine::{Machine, files_in};
use crate::waiting::{SOON, until};

const PORT: u16 = 7420;

#[test]
fn a_consumer_whose_name_resolves_differently_is_found_without_a_restart() {
    let test = "names::a_consumer_whose_name_resolves_differently_is_found_without_a_restart";
    isolated(test, &["mount"], || {
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        fs::write(&hosts, "").unwrap();
        // In this namespace alone.
        tool("mount", &["--bind", hosts.to_str().unwrap(), "/etc/hosts"]);
        moves(dir.path(), &hosts);
        tool("umount", &["/etc/hosts"]);
    });
}

fn moves(dir: &Path, hosts: &Path) {
    let (producer, consumer) = (Machine::new(dir, "prod-1"), Machine::new(dir, "cons-1"));
    configure(
        &producer,
        "peer = \"127.0.0.1:7420\"",
        "[[produce]]\nfeed = \"files\"\n",
    );
    producer.start();
    for at in ["127.0.0.2", "127.0.0.3"] {
        fs::write(hosts, format!("{at} store.test\n")).unwrap();
        let inbox = consumer.disk.join("inbox");
        let consume =
            format!("[[consume]]\nfeed = \"files\"\ninbox = {inbox:?}\nmin_free = \"1MiB\"\n");
        let listen = format!("peer = \"{at}:{PORT}\"\nadvertise = \"store.test:{PORT}\"");
        configure(&consumer, &listen, &consume);
        consumer.start();
        let source = dir.join(at);
        fs::write(&source, at).unwrap();
        let (sent, _, err) = producer.ask(&["send", source.to_str().unwrap(), "--feed", "files"]);
        assert!(sent, "{err}");
        until("it has the file", SOON, || {
            files_in(&inbox).iter().any(|path| path.ends_with(at))
        });
        consumer.kill();
    }
    producer.kill();
}

fn configure(machine: &Machine, listen: &str, sections: &str) {
    let store =
        format!("{{ name = \"cons-1\", addr = \"store.test:{PORT}\", feeds = [\"files\"] }}");
    let config = format!(
        "[node]\nname = {:?}\ndata_dir = {:?}\n\n[listen]\n{listen}\n\n[tls]\nplaintext = true\n\n\
         [membership]\nnodes = [{store}]\n\n{sections}",
        machine.name,
        machine.data_dir()
    );
    fs::write(machine.config(), config).unwrap();
}
