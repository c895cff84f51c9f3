//! `consign keys`: a cluster's own authority, on the machine of whoever runs the cluster. Talks to no
//! agent.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::command::{InitArgs, IssueArgs, KeysArgs, KeysCommand, Output, RevokeArgs};
use super::exit::Failure;
use super::invite;
use super::paint::Paint;
use super::table::{Listing, numbers, words};
use crate::identity::{Authority, AuthorityError, Issued, Roles};
use crate::timestamp::Timestamp;

/// Runs one of the commands.
pub(super) fn run(args: KeysArgs, config: &Path) -> Result<(), Failure> {
    let dir = &args.dir;
    let said = match args.command {
        KeysCommand::Init(args) => init(dir, &args)?,
        KeysCommand::Issue(args) => issue(dir, args)?,
        KeysCommand::Revoke(args) => revoke(dir, &args)?,
        KeysCommand::List(output) => list(dir, output)?,
        KeysCommand::Invite(args) => invite::run(dir, args, config)?,
    };
    Ok(std::io::stdout().write_all(said.as_bytes())?)
}

fn init(dir: &Path, args: &InitArgs) -> Result<String, AuthorityError> {
    let authority = Authority::init(dir, &args.cluster)?;
    let certificate = authority.path("ca.pem");
    if args.output.json {
        return Ok(line(
            &json!({"dir": dir, "ca": certificate, "cluster": args.cluster}),
        ));
    }
    Ok(format!(
        "{} is the authority of {}.\n\
         Keep it safe and keep a copy: whoever has {} can make nodes of this cluster.\n\
         next: consign keys issue NODE --roles producer,consumer --dir {}\n",
        dir.display(),
        args.cluster,
        authority.path("ca.key").display(),
        dir.display()
    ))
}

fn issue(dir: &Path, args: IssueArgs) -> Result<String, AuthorityError> {
    let node = args.node;
    let roles: Roles = args.roles.into_iter().collect();
    let out = args
        .out
        .unwrap_or_else(|| PathBuf::from(format!("{node}.pem")));
    let serial = Authority::open(dir)?.issue(&node, roles, &out)?;
    if args.output.json {
        let node = node.as_str();
        let roles = role_names(roles);
        return Ok(line(
            &json!({"serial": serial, "node": node, "roles": roles, "bundle": out}),
        ));
    }
    Ok(format!(
        "{} is the bundle of {node}, certificate {serial}, roles {roles}.\n\
         It holds the private key: move it to {node}, readable by the agent alone.\n\
         next: [tls] bundle = \"/etc/consign/{node}.pem\" in its configuration\n",
        out.display()
    ))
}

fn revoke(dir: &Path, args: &RevokeArgs) -> Result<String, AuthorityError> {
    let mut authority = Authority::open(dir)?;
    let path = authority.path("revoked");
    let Some(list) = authority.revoke(&args.node)? else {
        return Ok(withdrawn(args));
    };
    let number = list.number();
    if args.output.json {
        let node = args.node.as_str();
        return Ok(line(
            &json!({"node": node, "list": number, "revoked": path}),
        ));
    }
    Ok(format!(
        "{} is list {number}: no certificate that {} was issued so far is good any more.\n\
         next: copy it to any node that is connected to others, name it there as [tls] revoked, and \
         send its agent SIGHUP; that node tells the others\n",
        path.display(),
        args.node
    ))
}

fn withdrawn(args: &RevokeArgs) -> String {
    let node = args.node.as_str();
    match args.output.json {
        true => line(&json!({"node": node, "list": null, "revoked": null})),
        false => format!(
            "the token for {node} is not good any more; no certificate was issued to {node}, so there is nothing else \
             to revoke\n"
        ),
    }
}

fn list(dir: &Path, output: Output) -> Result<String, AuthorityError> {
    let authority = Authority::open(dir)?;
    let issued = authority.issued();
    let now = Timestamp::now();
    if output.json {
        let issued = issued.iter().map(shown);
        let invited = authority.invited(now).map(invite::shown);
        return Ok(issued.chain(invited).map(|one| line(&one)).collect());
    }
    let rows = issued.iter().map(|issued| {
        let state = if issued.is_revoked { "revoked" } else { "good" };
        vec![
            issued.serial.to_string(),
            issued.node.to_string(),
            issued.roles.to_string(),
            state.to_owned(),
        ]
    });
    let header = [
        numbers("NUMBER"),
        words("NODE"),
        words("ROLES"),
        words("STATE"),
    ];
    let invited = authority.invited(now).map(|one| invite::row(one, now));
    Ok(Listing::new(Paint::for_stdout(), &header).block(rows.chain(invited).collect()))
}

fn shown(issued: &Issued) -> Value {
    json!({
        "serial": issued.serial,
        "node": issued.node.as_str(),
        "roles": role_names(issued.roles),
        "revoked": issued.is_revoked,
    })
}

pub(super) fn role_names(roles: Roles) -> Vec<&'static str> {
    roles.iter().map(|role| role.name()).collect()
}

pub(super) fn line(value: &Value) -> String {
    format!("{value}\n")
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        Self::failed(error.to_string())
    }
}
