//! `consign doctor`.

use std::io::Write as _;
use std::path::Path;

use super::command::DoctorArgs;
use super::exit::{Exit, Failure};
use super::human::printable;
use super::paint::Paint;
use crate::config::Config;
use crate::doctor::{Finding, Request, Verdict, examine};

/// Examines a node that is not running. Exits with 1 when a person should act.
pub(super) fn run(config: &Path, args: DoctorArgs) -> Result<(), Failure> {
    let config = Config::load(config).map_err(anyhow::Error::from)?;
    let request = Request {
        read: args.read,
        salvage: args.salvage,
    };
    let findings = examine(&config, &request)?;
    let text = match args.output.json {
        true => json(&findings),
        false => report(&findings, Paint::for_stdout()),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    let bad = findings
        .iter()
        .any(|finding| finding.verdict == Verdict::Problem);
    match bad {
        true => Err(Failure::silent(Exit::Failed)),
        false => Ok(()),
    }
}

fn json(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| {
        let line = serde_json::to_string(finding);
        line.expect("text and enums can always be written as JSON") + "\n"
    });
    lines.collect()
}

fn report(findings: &[Finding], paint: Paint) -> String {
    let mut text = String::new();
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Problem => paint.bold(format!("{:<8}", finding.verdict.name())),
            Verdict::Sound | Verdict::Note => format!("{:<8}", finding.verdict.name()),
        };
        let what = printable(&finding.what);
        text += &format!("{verdict} {:<10} {what}\n", finding.part);
        if !finding.hint.is_empty() {
            text += &format!("{:20}hint: {}\n", "", finding.hint);
        }
    }
    text
}
