//! The command line as its users see it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use consign_core::ids::NodeName;

use super::address::Address;
use super::human::parse_duration;
use crate::catalogue::FileState;
use crate::config::HostPort;
use crate::demo::DemoArgs;
use crate::identity::{BadRole, Role};

/// The longest time that a token may be good: it travels by mail or chat, and lies about there.
const INVITATION_SPAN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 it failed, 2 wrong usage or configuration, 3 agent not reachable, \
4 waited in vain.
Environment: CONSIGN_AGENT names the agent to talk to, CONSIGN_TOKEN is sent along over HTTP, \
NO_COLOR keeps the output plain.";

/// Delivers files, guaranteed: hands each to one or more machines, once, whole, whatever crashes.
#[derive(Debug, Parser)]
#[command(name = "consign", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Which agent is meant.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The agent to talk to: unix:PATH or http://HOST:PORT
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "Agent")]
    pub(super) agent: Option<Address>,
    /// The agent's configuration file, to run it or to find it
    #[arg(long, global = true, value_name = "FILE", help_heading = "Agent")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Try it: real agents and files on this machine, each file checked
    Demo(DemoArgs),
    /// Run a node; SIGTERM stops it, SIGHUP reloads its configuration
    Agent(AgentArgs),
    /// Hand over files; returns when they are certain to be delivered
    Send(SendArgs),
    /// Claim delivered files for an application [not in this version]
    #[command(hide = true)]
    Receive(Later),
    /// Am I healthy, what waits and why, what failed and what to do
    Status(Output),
    /// The members of the cluster
    Nodes(Output),
    /// The feeds of this node
    Feeds(Output),
    /// The files that this node sends and receives
    Transfers(TransfersArgs),
    /// Everything that happened to a file that it sends or receives
    Show(ShowArgs),
    /// Where a key goes now, and why
    Explain(ExplainArgs),
    /// Try failed transfers again
    Retry(RetryArgs),
    /// Give up what no consumer has saved yet, and say where its file is
    Cancel(CancelArgs),
    /// Stop sending a feed's files for a while [not in this version]
    #[command(hide = true)]
    Pause(Later),
    /// Send a paused feed's files again [not in this version]
    #[command(hide = true)]
    Resume(Later),
    /// Take this node out of service: it takes nothing new, and finishes what it has
    Drain(DrainArgs),
    /// Declare a node gone for good: what it is owed goes elsewhere
    Forget(ForgetArgs),
    /// Compare what this node knows of its files with what its consumers have
    Audit(AuditArgs),
    /// Examine a node that is not running: log, spool, staging, inboxes
    Doctor(DoctorArgs),
    /// A live view in the terminal [not in this version]
    #[command(hide = true)]
    Top(Later),
    /// Make the cluster's own authority, and certificates for its nodes
    Keys(KeysArgs),
    /// Make this machine a node of a cluster, by a token
    Join(JoinArgs),
    /// Print what consumers have signed for a file, or check such a document
    Receipt(ReceiptArgs),
    /// Look at a configuration file
    Config(ConfigArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page [not in this version]
    #[command(hide = true)]
    Man(Later),
}

/// Arguments of a command that does not exist yet: anything.
#[derive(Debug, Args)]
pub(super) struct Later {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// How a listing is printed.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Output {
    /// Print JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// Stop when stdin ends: when whoever started it is gone
    #[arg(long, hide = true)]
    pub(super) until_stdin_ends: bool,
}

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// Files, and directories whose files keep their path below the directory
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
    /// The feed to send them on
    #[arg(long)]
    pub(super) feed: String,
    /// What is hashed to choose the consumers; by default as the feed says
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Another name for the file; by default its base name
    #[arg(long)]
    pub(super) name: Option<String>,
    /// An entry of your own that travels with the files; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = meta_entry)]
    pub(super) meta: Vec<(String, String)>,
    /// Wait until every consumer has them
    #[arg(long, value_name = "RUNG", num_args = 0..=1, require_equals = true, default_missing_value = "saved")]
    pub(super) wait: Option<Rung>,
    /// How long to wait, like 30s or 10m; by default for ever
    #[arg(long, value_name = "SPAN", value_parser = parse_duration, requires = "wait")]
    pub(super) timeout: Option<Duration>,
    #[command(flatten)]
    pub(super) output: Output,
}

/// What `send --wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Rung {
    /// Every consumer has it, synced, and will show it in its inbox
    Saved,
    /// Every consumer's application has acknowledged it [not in this version]
    #[value(hide = true)]
    Processed,
}

fn meta_entry(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("hint: write it like camera=7".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(super) struct TransfersArgs {
    /// Only those in this state: submitted, placed, done, failed or cancelled of those it sends;
    /// receiving, received, saved, published or abandoned of those it receives
    #[arg(long)]
    pub(super) state: Option<FileState>,
    /// Only those of this feed
    #[arg(long)]
    pub(super) feed: Option<String>,
    /// Only those with this consumer
    #[arg(long, value_name = "NODE")]
    pub(super) to: Option<String>,
    /// Only those of this producer
    #[arg(long, value_name = "NODE")]
    pub(super) from: Option<String>,
    /// Only the newest N of those it sends, and of those it receives; 0 for all. On a terminal 500
    /// unless told otherwise, else all
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The transfer, as `send` and `transfers` print it
    #[arg(value_parser = transfer_id)]
    pub(super) id: String,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct ReceiptArgs {
    /// The transfer, as `send` and `transfers` print it
    #[arg(value_parser = transfer_id, required = true)]
    pub(super) id: Option<String>,
    #[command(flatten)]
    pub(super) output: OneLine,
    #[command(subcommand)]
    pub(super) command: Option<ReceiptCommand>,
}

/// How a document is printed that is JSON in any case.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct OneLine {
    /// Print it on one line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ReceiptCommand {
    /// Check a document, without any agent, network or clock
    Verify(VerifyArgs),
}

const VERIFY_AFTER_HELP: &str = "\
A good receipt proves that whoever had the consumer's key said so, and that the authority made that \
key a consumer of this name. It does not prove that the key was not revoked: offline nobody knows. \
`consign keys list` says what was revoked.
Exit codes: 0 every receipt in it is good, and there is one; 1 otherwise; 2 wrong usage.";

#[derive(Debug, Args)]
#[command(after_help = VERIFY_AFTER_HELP)]
pub(super) struct VerifyArgs {
    /// What `consign receipt ID` printed; - is stdin
    #[arg(value_name = "FILE")]
    pub(super) document: PathBuf,
    /// The certificate of the authority that you trust, PEM
    #[arg(long, value_name = "FILE")]
    pub(super) ca: PathBuf,
    /// A file to compare with what was signed
    #[arg(long, value_name = "DATA")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The feed
    #[arg(long)]
    pub(super) feed: String,
    /// The key: by default a file's name
    #[arg(long)]
    pub(super) key: String,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// The transfers, as `consign transfers --state failed` lists them
    #[arg(value_name = "ID", required_unless_present = "failed", value_parser = transfer_id)]
    pub(super) ids: Vec<String>,
    /// All that failed
    #[arg(long, conflicts_with = "ids")]
    pub(super) failed: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// The transfers, as `send` and `transfers` print them
    #[arg(value_name = "ID", required = true, value_parser = transfer_id)]
    pub(super) ids: Vec<String>,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// The agent's own node; to be sure that it is the right one
    pub(super) node: Option<String>,
    /// Take it back into service
    #[arg(long, conflicts_with = "wait")]
    pub(super) undo: bool,
    /// Return when it has no duty left and may be switched off
    #[arg(long)]
    pub(super) wait: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// The node that will not come back
    pub(super) node: String,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// Only this feed
    #[arg(long)]
    pub(super) feed: Option<String>,
    /// Only this consumer
    #[arg(long, value_name = "NODE")]
    pub(super) to: Option<String>,
    /// Only this node's own copies of what it received from this producer
    #[arg(long, value_name = "NODE", conflicts_with = "to")]
    pub(super) from: Option<String>,
    /// Only what was submitted so long ago or less, like 2h or 7d
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    pub(super) since: Option<Duration>,
    /// Hash the copies that still lie in an inbox, too
    #[arg(long)]
    pub(super) read: bool,
    /// On a node that is set apart since its data directory may be an old copy: have it go on with its
    /// next start, if every consumer answers
    #[arg(long, conflicts_with_all = ["feed", "to", "from", "since"])]
    pub(super) reconcile: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Read and hash every byte in spool and staging, too
    #[arg(long)]
    pub(super) read: bool,
    /// Copy what can still be read into an empty directory
    #[arg(long, value_name = "DIR")]
    pub(super) salvage: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    /// The authority's directory; keep it where no node's intruder gets at it
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "consign-authority"
    )]
    pub(super) dir: PathBuf,
    #[command(subcommand)]
    pub(super) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make an authority, once for a cluster
    Init(InitArgs),
    /// Make a node's bundle: its certificate, its key and the authority's certificate
    Issue(IssueArgs),
    /// Take back every certificate that a node was issued so far, and its invitation
    Revoke(RevokeArgs),
    /// The certificates that were issued, and who was invited
    List(Output),
    /// Print a token with which a new machine makes itself this node, once
    Invite(InviteArgs),
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// What the cluster is called in certificates
    #[arg(long, value_name = "NAME", default_value = "cluster", value_parser = cluster_name)]
    pub(super) cluster: String,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct IssueArgs {
    /// The node, as its configuration names it
    #[arg(value_parser = node_name)]
    pub(super) node: NodeName,
    /// What it may do: producer sends files, consumer receives them, operator acts on the cluster
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',', required = true, value_parser = role)]
    pub(super) roles: Vec<Role>,
    /// Where to write the bundle; by default NODE.pem
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The node
    #[arg(value_parser = node_name)]
    pub(super) node: NodeName,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct InviteArgs {
    /// The node, as its configuration will name it
    #[arg(value_parser = node_name)]
    pub(super) node: NodeName,
    /// What it may do: producer sends files, consumer receives them, operator acts on the cluster
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',', default_value = "producer,consumer", value_parser = role)]
    pub(super) roles: Vec<Role>,
    /// How long the token is good, like 30m or 2d; at most 7d
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = invitation_span)]
    pub(super) valid: Duration,
    /// Where the machine is to ask: an agent with [tls] authority. By default the one of --config
    #[arg(long, value_name = "HOST:PORT", value_parser = peer_address)]
    pub(super) at: Option<HostPort>,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// The token, as `consign keys invite` printed it; `-` reads it from stdin, where no other user of this machine sees it
    pub(super) token: String,
    /// Where to write the bundle; by default NODE.pem
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: Output,
}

fn invitation_span(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text)?;
    match (Duration::from_secs(1)..=INVITATION_SPAN_MAX).contains(&span) {
        true => Ok(span),
        false => Err("hint: use 1s to 7d".to_owned()),
    }
}

fn peer_address(text: &str) -> Result<HostPort, String> {
    let addr = HostPort::parse(text).map_err(|bad| bad.to_string())?;
    match addr.port == 0 || addr.is_wildcard() {
        true => Err("nobody can connect there; hint: write what the new machine can reach, such as 10.0.0.5:7420".to_owned()),
        false => Ok(addr),
    }
}

fn node_name(text: &str) -> Result<NodeName, String> {
    NodeName::new(text).map_err(|bad| bad.to_string())
}

fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|bad: BadRole| bad.to_string())
}

fn cluster_name(text: &str) -> Result<String, String> {
    let is_plain = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    match is_plain && (1..=48).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err("hint: use 1 to 48 plain letters, digits and signs".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    pub(super) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether the file given by --config is right, and what is wrong with it
    Check,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    pub(super) shell: clap_complete::Shell,
}

/// An id as it is typed; whether there is such a transfer is for the agent to say.
fn transfer_id(text: &str) -> Result<String, &'static str> {
    match text.is_empty() {
        true => Err("it is empty; hint: `consign transfers` lists the ids"),
        false => Ok(text.to_owned()),
    }
}
