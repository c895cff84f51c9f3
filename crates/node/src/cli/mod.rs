//! The command line: what people and scripts use. stdout is data, stderr is talk.
//!
//! It holds no state and does nothing itself: everything but `agent`, `demo` and `completions` is
//! a few HTTP requests to an agent, and their answers in a readable form.

mod act;
pub(crate) mod address;
mod audit;
mod bars;
pub(crate) mod client;
pub(crate) mod command;
mod doctor;
mod drain;
pub(crate) mod exit;
mod explain;
mod feeds;
mod hearing;
pub(crate) mod human;
mod invite;
mod join;
mod keys;
mod nodes;
pub(crate) mod paint;
mod receipt;
mod send;
mod session;
mod show;
mod status;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod transfers;
mod wait;
pub(crate) mod walk;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use client::Client;
use command::{Cli, Command, ConfigCommand, ReceiptArgs, ReceiptCommand, Target};
use exit::{Exit, Failure};
use session::Session;

/// Where an agent's configuration is when nobody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/consign/consign.toml";

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.say();
            failure.code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let target = cli.target;
    match cli.command {
        Command::Demo(args) => crate::demo::run(&args),
        Command::Agent(args) => {
            if args.until_stdin_ends {
                std::thread::spawn(stop_when_stdin_ends);
            }
            Ok(crate::daemon::run(&config_path(target))?)
        }
        Command::Config(args) => match args.command {
            ConfigCommand::Check => check_config(target),
        },
        Command::Doctor(args) => doctor::run(&config_path(target), args),
        Command::Completions(args) => complete(args.shell),
        Command::Send(args) => ask(&target, async |session| send::run(session, args).await),
        Command::Status(output) => ask(&target, async |session| status::run(session, output).await),
        Command::Nodes(output) => ask(&target, async |session| nodes::run(session, output).await),
        Command::Feeds(output) => ask(&target, async |session| feeds::run(session, output).await),
        Command::Transfers(args) => {
            ask(&target, async |session| transfers::run(session, args).await)
        }
        Command::Show(args) => ask(&target, async |session| show::run(session, args).await),
        Command::Explain(args) => ask(&target, async |session| explain::run(session, args).await),
        Command::Retry(args) => ask(&target, async |session| act::retry(session, args).await),
        Command::Cancel(args) => ask(&target, async |session| act::cancel(session, args).await),
        Command::Forget(args) => ask(&target, async |session| act::forget(session, args).await),
        Command::Audit(args) => ask(&target, async |session| audit::run(session, args).await),
        Command::Receive(_) => missing("receive"),
        Command::Pause(_) => missing("pause"),
        Command::Resume(_) => missing("resume"),
        Command::Drain(args) => ask(&target, async |session| drain::run(session, args).await),
        Command::Top(_) => missing("top"),
        Command::Keys(args) => keys::run(args, &config_path(target)),
        Command::Join(args) => join::run(args),
        Command::Receipt(ReceiptArgs {
            command: Some(ReceiptCommand::Verify(args)),
            ..
        }) => receipt::verify(&args),
        Command::Receipt(args) => ask(&target, async |session| {
            receipt::export(session, args).await
        }),
        Command::Man(_) => missing("man"),
    }
}

/// Finds the agent, and runs a command that talks to it.
fn ask(
    target: &Target,
    command: impl AsyncFnOnce(&mut Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let from_env = environment("CONSIGN_AGENT")?;
    let token = environment("CONSIGN_TOKEN")?;
    if let Some(token) = &token
        && !token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Failure::usage(
            "CONSIGN_TOKEN holds more than a token; hint: set it to the one line in api-token",
        ));
    }
    let address = address::resolve(
        target.agent.as_ref(),
        target.config.as_deref(),
        from_env.as_deref(),
    )?;
    let runtime = runtime()?;
    let mut session = Session::new(Client::new(address, token));
    runtime.block_on(command(&mut session))?;
    Ok(session.out.flush()?)
}

/// For a command that speaks to somebody.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::failed(format!(
                "cannot begin: {error}; hint: are there too many processes or open files?"
            ))
        })
}

fn environment(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(format!(
            "{name} is not readable text; hint: unset it, or set it anew"
        ))),
    }
}

fn config_path(target: Target) -> PathBuf {
    target.config.unwrap_or_else(|| DEFAULT_CONFIG.into())
}

fn check_config(target: Target) -> Result<(), Failure> {
    let path = config_path(target);
    match crate::config::Config::load(&path) {
        Ok(in_effect) => Ok(writeln!(std::io::stdout(), "{in_effect}")?),
        Err(error) => Err(Failure::with(Exit::Usage, exit::said(&error.into()))),
    }
}

fn complete(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut offered(), "consign", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}

/// What a shell may offer: what is hidden does not exist yet, and only has a name to be refused by.
fn offered() -> clap::Command {
    let all = Cli::command();
    clap::Command::new("consign")
        .args(all.get_arguments().cloned())
        .subcommands(existing_below(&all))
}

fn existing_below(command: &clap::Command) -> Vec<clap::Command> {
    let existing = command.get_subcommands().filter(|one| !one.is_hide_set());
    let whole = existing.map(|one| match one.has_subcommands() {
        false => one.clone(),
        // It wants names that last: there are a few, and this process prints them and ends.
        true => clap::Command::new(&*one.get_name().to_owned().leak())
            .about(one.get_about().cloned().unwrap_or_default())
            .args(one.get_arguments().cloned())
            .subcommands(existing_below(one)),
    });
    whole.collect()
}

fn missing(command: &str) -> Result<(), Failure> {
    Err(Failure::usage(format!(
        "`consign {command}` does not exist yet in version {}; hint: `consign --help` lists what does",
        env!("CARGO_PKG_VERSION")
    )))
}

/// Asks this process to stop, as SIGTERM does, once stdin ends: it is a pipe whose other end nobody
/// holds but the process that started this one, so not even SIGKILL leaves an orphan.
fn stop_when_stdin_ends() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
}
