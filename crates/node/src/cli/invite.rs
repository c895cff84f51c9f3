//! `consign keys invite`: a token for a new machine, from the authority's own files.

use std::path::Path;

use serde_json::{Value, json};

use super::command::InviteArgs;
use super::exit::{self, Exit, Failure};
use super::human;
use super::keys::{line, role_names};
use crate::config::{Config, HostPort};
use crate::identity::{Authority, Invitation, Roles};
use crate::timestamp::Timestamp;

/// Runs it: the token alone is on stdout, so that it can be piped.
pub(super) fn run(dir: &Path, args: InviteArgs, config: &Path) -> Result<String, Failure> {
    let at = match args.at {
        Some(at) => at,
        None => own_door(dir, config)?,
    };
    let roles: Roles = args.roles.into_iter().collect();
    let now = Timestamp::now();
    let valid = u64::try_from(args.valid.as_millis()).unwrap_or(u64::MAX);
    let until = Timestamp(now.0.saturating_add(valid));
    let mut authority = Authority::open(dir)?;
    let token = authority.invite(&args.node, roles, (now, until), &at.to_string())?;
    let node = args.node.as_str();
    if args.output.json {
        let object = json!({
            "node": node,
            "roles": role_names(roles),
            "until": until,
            "at": at.to_string(),
            "token": token.to_string(),
        });
        return Ok(line(&object));
    }
    eprintln!(
        "whoever has this token first can become {node}, roles {roles}, for {}: send it on a way that you trust\n\
         next: on that machine, consign join TOKEN",
        human::span(valid)
    );
    Ok(format!("{token}\n"))
}

/// Where the agent of this machine lets newcomers in, by this authority.
fn own_door(dir: &Path, path: &Path) -> Result<HostPort, Failure> {
    let config = Config::load(path).map_err(|error| {
        let why = exit::said(&error.into());
        let (why, _) = crate::hint::split(&why);
        Failure::with(
            Exit::Usage,
            format!(
                "where is the new machine to ask? {why}; hint: name the configuration of the agent with --config, or its address with --at"
            ),
        )
    })?;
    let Some(authority) = config.tls.authority else {
        return Err(Failure::usage(format!(
            "the agent of {} lets nobody join; hint: set [tls] authority there and send it SIGHUP, or name another agent with --at",
            path.display()
        )));
    };
    let is_it = |one: &Path| std::fs::canonicalize(one).unwrap_or_else(|_| one.to_owned());
    if is_it(&authority) != is_it(dir) {
        return Err(Failure::usage(format!(
            "the agent of {} lets machines in by {}, and not by {}; hint: --dir {}, or another --config",
            path.display(),
            authority.display(),
            dir.display(),
            authority.display()
        )));
    }
    match config.listen.advertise.port {
        0 => Err(Failure::usage(format!(
            "the port of the agent of {} is not known before it runs; hint: name where it listens with --at HOST:PORT",
            path.display()
        ))),
        _ => Ok(config.listen.advertise),
    }
}

/// An invitation that is open, as an object.
pub(super) fn shown(one: &Invitation) -> Value {
    json!({
        "serial": null,
        "node": one.node.as_str(),
        "roles": role_names(one.roles),
        "revoked": false,
        "invited_until": one.until,
    })
}

/// The same, as a row.
pub(super) fn row(one: &Invitation, now: Timestamp) -> Vec<String> {
    vec![
        String::new(),
        one.node.to_string(),
        one.roles.to_string(),
        format!("invited, for {}", human::span(one.until.since(now))),
    ]
}
