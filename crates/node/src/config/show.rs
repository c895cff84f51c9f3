//! A config as it is in effect, defaults filled in: what `consign config check` prints.

use std::fmt;
use std::time::Duration;

use consign_core::spec::{After, OnConflict, Replicas};

use super::units::{show_duration, show_size};
use super::{Config, ConsumeConfig, ProduceConfig, Source, Tls};
use crate::identity::KeyFiles;

impl fmt::Display for Config {
    /// One line for each key, `key = value`, in the form that the config file has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        line(f, "node.name", quoted(&node.name))?;
        optional(f, "node.zone", node.zone.as_ref().map(quoted))?;
        line(f, "node.data_dir", quoted(node.data_dir.display()))?;
        line(f, "node.history", deadline(node.history))?;
        line(f, "listen.peer", quoted(&self.listen.peer))?;
        line(f, "listen.advertise", quoted(&self.listen.advertise))?;
        optional(f, "listen.http", self.listen.http.as_ref().map(quoted))?;
        show_tls(f, &self.tls)?;
        show_source(f, &self.membership.source)?;
        let listed = match self.membership.source {
            Source::Static => self.membership.nodes.as_slice(),
            Source::Gossip { .. } | Source::Etcd(_) => &[],
        };
        for (count, member) in (1..).zip(listed) {
            let key = |name| format!("membership.nodes[{count}].{name}");
            line(f, &key("name"), quoted(&member.name))?;
            line(f, &key("addr"), quoted(&member.addr))?;
            optional(f, &key("zone"), member.zone.as_ref().map(quoted))?;
            line(f, &key("weight"), member.weight)?;
            line(f, &key("feeds"), list(&member.feeds))?;
        }
        line(
            f,
            "membership.replace_after",
            deadline(self.membership.replace_after),
        )?;
        line(
            f,
            "membership.forget_after",
            deadline(self.membership.forget_after),
        )?;
        let mut produce = (1..).zip(&self.produce);
        produce.try_for_each(|(count, table)| show_produce(f, table, count))?;
        let mut consume = (1..).zip(&self.consume);
        consume.try_for_each(|(count, table)| show_consume(f, table, count))
    }
}

fn show_source(f: &mut fmt::Formatter<'_>, source: &Source) -> fmt::Result {
    line(f, "membership.kind", quoted(source.name()))?;
    match source {
        Source::Static => Ok(()),
        Source::Gossip { seeds } => line(f, "membership.seeds", list(seeds)),
        Source::Etcd(etcd) => {
            let path = |path: &std::path::PathBuf| quoted(path.display());
            line(f, "membership.endpoints", list(&etcd.endpoints))?;
            line(f, "membership.prefix", quoted(&etcd.prefix))?;
            if let Some((user, password_file)) = &etcd.login {
                line(f, "membership.user", quoted(user))?;
                line(f, "membership.password_file", path(password_file))?;
            }
            optional(f, "membership.ca", etcd.ca.as_ref().map(path))?;
            if let Some((cert, key)) = &etcd.identity {
                line(f, "membership.cert", path(cert))?;
                line(f, "membership.key", path(key))?;
            }
            Ok(())
        }
    }
}

fn show_tls(f: &mut fmt::Formatter<'_>, tls: &Tls) -> fmt::Result {
    line(f, "tls.plaintext", tls.plaintext)?;
    let mut path = |key, path: &std::path::Path| line(f, key, quoted(path.display()));
    match &tls.keys {
        None => {}
        Some(KeyFiles::Bundle(bundle)) => path("tls.bundle", bundle)?,
        Some(KeyFiles::Apart { ca, cert, key }) => {
            path("tls.ca", ca)?;
            path("tls.cert", cert)?;
            path("tls.key", key)?;
        }
    }
    for (key, named) in [
        ("tls.revoked", &tls.revoked),
        ("tls.authority", &tls.authority),
    ] {
        named.as_ref().map_or(Ok(()), |named| path(key, named))?;
    }
    Ok(())
}

fn show_produce(f: &mut fmt::Formatter<'_>, table: &ProduceConfig, count: u32) -> fmt::Result {
    let key = |name| format!("produce[{count}].{name}");
    let policy = &table.policy;
    line(f, &key("feed"), quoted(&policy.feed))?;
    if let Some(watch) = &table.watch {
        line(f, &key("watch"), quoted(watch.dir.display()))?;
        line(f, &key("include"), list(&watch.include.patterns))?;
        line(f, &key("settle"), quoted(show_duration(watch.settle)))?;
        line(
            f,
            &key("scan_every"),
            quoted(show_duration(watch.scan_every)),
        )?;
    }
    let after = match table.after {
        After::Keep => "keep",
        After::Delete => "delete",
        After::Archive => "archive",
    };
    line(f, &key("after"), quoted(after))?;
    let archive_dir = table.archive_dir.as_ref().map(|dir| quoted(dir.display()));
    optional(f, &key("archive_dir"), archive_dir)?;
    let replicas = match policy.replicas {
        Replicas::Count(count) => count.to_string(),
        Replicas::All => quoted("all"),
    };
    line(f, &key("replicas"), replicas)?;
    line(f, &key("key"), quoted(&table.key))?;
    line(f, &key("priority"), policy.priority)?;
    line(
        f,
        &key("max_queue"),
        quoted(show_size(table.max_queue_bytes)),
    )?;
    let preserve = [
        ("mtime", table.preserve.mtime),
        ("mode", table.preserve.mode),
    ];
    let preserve = preserve
        .iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| name);
    line(f, &key("preserve"), list(preserve))?;
    let replace_after = policy.replace_after_ms.map(Duration::from_millis);
    line(f, &key("replace_after"), deadline(replace_after))
}

fn show_consume(f: &mut fmt::Formatter<'_>, table: &ConsumeConfig, count: u32) -> fmt::Result {
    let key = |name| format!("consume[{count}].{name}");
    let policy = &table.policy;
    line(f, &key("feed"), quoted(&policy.feed))?;
    line(f, &key("inbox"), quoted(&policy.inbox))?;
    line(f, &key("layout"), quoted(&table.layout))?;
    let on_conflict = match policy.on_conflict {
        OnConflict::Rename => "rename",
        OnConflict::Reject => "reject",
    };
    line(f, &key("on_conflict"), quoted(on_conflict))?;
    line(f, &key("weight"), table.weight)?;
    line(
        f,
        &key("min_free"),
        quoted(show_size(policy.min_free_bytes)),
    )?;
    let owner = policy
        .owner
        .map(|(uid, gid)| quoted(format!("{uid}:{gid}")));
    optional(f, &key("owner"), owner)?;
    optional(
        f,
        &key("mode"),
        policy.mode.map(|mode| quoted(format!("{mode:04o}"))),
    )?;
    line(f, &key("from"), list(&table.from))
}

fn line(f: &mut fmt::Formatter<'_>, key: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{key} = {value}")
}

fn optional(f: &mut fmt::Formatter<'_>, key: &str, value: Option<String>) -> fmt::Result {
    value.map_or(Ok(()), |value| line(f, key, value))
}

fn quoted(value: impl fmt::Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

fn list(values: impl IntoIterator<Item: fmt::Display>) -> String {
    let values: Vec<_> = values.into_iter().map(quoted).collect();
    format!("[{}]", values.join(", "))
}

fn deadline(deadline: Option<Duration>) -> String {
    quoted(deadline.map_or_else(|| "never".to_owned(), show_duration))
}
