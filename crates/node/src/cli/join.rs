//! `consign join`: makes a machine a node, by a token. Talks to the agent that the token names and to no
//! other.

use std::io::{BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::command::JoinArgs;
use super::exit::Failure;
use crate::identity::{BadToken, Newcomer, NewcomerError, Prepared, Roles, Token};
use crate::net::{NotJoined, ask_to_join};

/// Longest line that is read for a token, in bytes: several times the longest token.
const TOKEN_LINE_BYTES_MAX: u64 = 16 << 10;

/// Runs it.
pub(super) fn run(args: JoinArgs) -> Result<(), Failure> {
    let token: Token = match args.token.as_str() {
        "-" => from_stdin()?.parse()?,
        token => token.parse()?,
    };
    let node = token.node.clone();
    let out = args
        .out
        .unwrap_or_else(|| PathBuf::from(format!("{node}.pem")));
    let roles = match Newcomer::prepare(token, &out)? {
        Prepared::Asks(newcomer) => Some(ask(&newcomer)?),
        Prepared::HasJoined => None,
    };
    let bundle = std::path::absolute(&out).unwrap_or(out);
    let said = match args.output.json {
        true => shown(node.as_str(), roles, &bundle),
        false => told(node.as_str(), roles, &bundle),
    };
    Ok(std::io::stdout().write_all(said.as_bytes())?)
}

/// A line of stdin: an argument is seen by every user of this machine.
fn from_stdin() -> Result<String, Failure> {
    let mut line = String::new();
    let stdin = std::io::stdin().lock();
    stdin.take(TOKEN_LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn ask(newcomer: &Newcomer) -> Result<Roles, Failure> {
    if newcomer.is_again {
        eprintln!(
            "an earlier try has left its key in {}: going on with that",
            newcomer.part().display()
        );
    }
    let runtime = super::runtime()?;
    let (certificate, authority) = runtime.block_on(ask_to_join(newcomer))?;
    Ok(newcomer.complete(certificate, authority)?)
}

fn told(node: &str, roles: Option<Roles>, bundle: &Path) -> String {
    let is = match roles {
        Some(roles) => format!(
            "{} is the bundle of {node}, roles {roles}. Its private key was made here and is nowhere else.",
            bundle.display()
        ),
        None => format!(
            "an earlier try had joined already: {} is the bundle of {node}.",
            bundle.display()
        ),
    };
    format!(
        "{is}\nnext: [node] name = \"{node}\" and [tls] bundle = {bundle:?} in the configuration; the agent must be \
         able to read it\n"
    )
}

fn shown(node: &str, roles: Option<Roles>, bundle: &Path) -> String {
    let roles = roles.map(|roles| roles.iter().map(|role| role.name()).collect::<Vec<_>>());
    let object = json!({"node": node, "roles": roles, "bundle": bundle});
    format!("{object}\n")
}

impl From<BadToken> for Failure {
    fn from(bad: BadToken) -> Self {
        Self::usage(bad.to_string())
    }
}

impl From<NewcomerError> for Failure {
    fn from(error: NewcomerError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<NotJoined> for Failure {
    fn from(error: NotJoined) -> Self {
        match error {
            NotJoined::Connect { .. } => {
                Self::with(super::exit::Exit::Unreachable, error.to_string())
            }
            other => Self::failed(other.to_string()),
        }
    }
}
