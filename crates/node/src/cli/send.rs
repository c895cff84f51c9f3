//! `consign send`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::client::encoded;
use super::command::{Rung, SendArgs};
use super::exit::{Exit, Failure, told};
use super::hearing::Hearing;
use super::human;
use super::session::Session;
use super::wait;
use super::walk::{FoundFile, Walk};
use crate::api::model::Submission;
use crate::driver::handle::Explanation;

/// Files in one request.
const BATCH_FILES_MAX: usize = 1000;
/// Requests under way: while one waits for its sync, the next is being claimed.
const BATCHES_AT_ONCE_MAX: usize = 3;

/// What came of a submission.
#[derive(Debug, Default)]
struct Submitted {
    /// Bytes of each file by its id; kept only when they are waited for.
    sizes: HashMap<String, u64>,
    files: u64,
    bytes: u64,
    refused: u64,
}

pub(super) async fn run(session: &mut Session, args: SendArgs) -> Result<(), Failure> {
    if args.wait == Some(Rung::Processed) {
        return Err(Failure::usage(
            "--wait=processed does not exist yet in this version; hint: --wait=saved waits until \
             every consumer has the files",
        ));
    }
    let walk = Walk::new(&args.files)?;
    if args.name.is_some() && !walk.is_one_file() {
        return Err(Failure::usage(
            "--name is for a single file; hint: without it each file keeps its base name, and in \
             a directory its relative path",
        ));
    }
    refuse_doubles(&args.meta)?;
    if !walk.is_one_file() {
        // Said once, and not for each file.
        let question = format!("/explain?feed={}&key=", encoded(&args.feed));
        let _known: Explanation = session.client.get(&question).await?;
    }
    let began = Instant::now();
    let mut hearing = match args.wait {
        Some(_) => Some(Hearing::begin(&session.client).await),
        None => None,
    };
    let submitted = submit(session, &args, walk).await?;
    if submitted.files + submitted.refused == 0 {
        let places: Vec<_> = args.files.iter().map(|path| format!("{path:?}")).collect();
        return Err(Failure::failed(format!(
            "no file to send in {}; hint: name a file itself to send it whatever its name, or \
             another directory",
            places.join(", ")
        )));
    }
    if let Some(hearing) = &mut hearing {
        let sizes = submitted.sizes;
        let wanted = wait::Wanted {
            timeout: args.timeout,
            json: args.output.json,
            bars: std::io::stderr().is_terminal(),
        };
        let outcome = wait::for_all(session, hearing, sizes, wanted).await?;
        outcome.report(began.elapsed())?;
    } else if submitted.files > 1 {
        eprintln!(
            "{}, {}: submitted",
            human::files(submitted.files),
            human::bytes(submitted.bytes)
        );
    }
    match submitted.refused {
        0 => Ok(()),
        _ => Err(Failure::silent(Exit::Failed)),
    }
}

/// Sends batches, a few at a time, and prints their results in order.
async fn submit(session: &mut Session, args: &SendArgs, walk: Walk) -> Result<Submitted, Failure> {
    let path = format!("/feeds/{}/files", encoded(&args.feed));
    let mut under_way: VecDeque<JoinHandle<Result<Vec<Submission>, Failure>>> = VecDeque::new();
    let mut submitted = Submitted::default();
    let mut batch = Vec::new();
    let mut walk = walk;
    loop {
        let found = walk.next();
        let at_end = found.is_none();
        match found {
            Some(Ok(file)) => batch.push(request(args, file)),
            Some(Err(why)) => {
                submitted.refused += 1;
                eprintln!("consign: not sent: {}", human::printable(&why));
            }
            None => {}
        }
        if batch.len() == BATCH_FILES_MAX || (at_end && !batch.is_empty()) {
            let (client, path) = (session.client.clone(), path.clone());
            let files = std::mem::take(&mut batch);
            let answer = async move { client.post(&path, &files).await };
            under_way.push_back(tokio::spawn(answer));
        }
        while under_way.len() >= BATCHES_AT_ONCE_MAX || (at_end && !under_way.is_empty()) {
            let batch = under_way.pop_front().expect("it was just counted");
            let results = batch.await.unwrap_or_else(|failed| {
                std::panic::resume_unwind(failed.into_panic());
            })?;
            submitted.take(session, args, results)?;
        }
        if at_end {
            if let Some(left_out) = walk.left_out() {
                eprintln!("consign: {left_out}");
            }
            return Ok(submitted);
        }
    }
}

/// One entry of two would be lost.
fn refuse_doubles(meta: &[(String, String)]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    match meta.iter().find(|(key, _)| !seen.insert(key)) {
        None => Ok(()),
        Some((key, _)) => Err(Failure::usage(format!(
            "--meta gives {key:?} two values; hint: give each key once"
        ))),
    }
}

fn request(args: &SendArgs, file: FoundFile) -> Value {
    let mut request = json!({
        "path": file.path,
        "name": args.name.as_ref().unwrap_or(&file.name),
    });
    if let Some(key) = &args.key {
        request["key"] = json!(key);
    }
    if !args.meta.is_empty() {
        let entries = args.meta.iter().cloned();
        request["meta"] = entries.map(|(key, value)| (key, json!(value))).collect();
    }
    request
}

impl Submitted {
    /// Prints a batch's results; what is waited for is printed as JSON when it has ended.
    fn take(
        &mut self,
        session: &mut Session,
        args: &SendArgs,
        results: Vec<Submission>,
    ) -> Result<(), Failure> {
        for result in results {
            match result {
                Submission::Accepted(transfer) => {
                    self.files += 1;
                    self.bytes += transfer.size;
                    match (args.output.json, args.wait) {
                        (true, Some(_)) => {}
                        (true, None) => session.print_json(&transfer)?,
                        (false, _) => session.print(&format!("{}\n", transfer.id))?,
                    }
                    if args.wait.is_some() {
                        self.sizes.insert(transfer.id, transfer.size);
                    }
                }
                Submission::Refused { path, error } => {
                    self.refused += 1;
                    let said = format!("consign: not sent: {path}: {}", told(&error));
                    eprintln!("{}", human::printable(&said));
                }
            }
        }
        // An id is for whoever reads on, as soon as there is one.
        Ok(session.out.flush()?)
    }
}
