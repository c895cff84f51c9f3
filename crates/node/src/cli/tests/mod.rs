//! The command line against a served API, and its help as people see it.

mod against_an_agent;

use clap::{CommandFactory as _, Parser as _};
use clap_complete::Shell;

use super::command::Cli;
use super::exit::Exit;
use super::{offered, run};

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_reads_well() {
    // A terminal of any width must give the same text here.
    let mut cli = Cli::command().term_width(100);
    insta::assert_snapshot!("help", cli.render_long_help().to_string());
    let send = cli.find_subcommand_mut("send").unwrap();
    insta::assert_snapshot!("help_send", send.render_long_help().to_string());
}

#[test]
fn what_does_not_exist_yet_is_refused_by_name() {
    for line in [
        "receive --feed images --exec process",
        "pause images",
        "resume images",
        "top",
        "man",
    ] {
        let words = std::iter::once("consign").chain(line.split(' '));
        let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        let failure = run(cli).unwrap_err();
        assert_eq!(failure.exit, Some(Exit::Usage), "{line}");
        let name = line.split(' ').next().unwrap();
        assert!(failure.text.contains(name), "{failure:?}");
        assert!(failure.text.contains("hint: "), "{failure:?}");
    }
}

#[test]
fn completions_offer_only_what_exists() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut offered(), "consign", &mut script);
        let script = String::from_utf8(script).unwrap();
        for word in [
            "transfers",
            "retry",
            "--config",
            "saved",
            "revoke",
            "invite",
            "receipt",
            "verify",
        ] {
            let word = word.trim_start_matches('-');
            assert!(script.contains(word), "{shell} lacks {word}");
        }
        for word in ["pause", "resume", "processed"] {
            assert!(!script.contains(word), "{shell} offers {word}");
        }
    }
}

#[test]
fn an_agent_that_is_not_there_is_said_to_be_away() {
    let dir = tempfile::tempdir().unwrap();
    let agent = format!("unix:{}", dir.path().join("agent.sock").display());
    let cli = Cli::try_parse_from(["consign", "status", "--agent", &agent]).unwrap();
    let failure = run(cli).unwrap_err();
    assert_eq!(failure.exit, Some(Exit::Unreachable));
    assert!(failure.text.contains("hint: "), "{failure:?}");
}

#[test]
fn wrong_usage_is_noticed_before_anything_is_asked() {
    for line in [
        "send a",
        "send --feed images",
        "send a --feed images --timeout 3s",
        "send a --feed images --wait=soon",
        "send a --feed images --wait --timeout soon",
        "send a --feed images --meta novalue",
        "transfers --state broken",
        "retry",
        "retry a --failed",
        "cancel",
        "status --agent ftp://x",
        "demo --producers 0",
        "receipt",
        "receipt a verify b --ca c",
        "receipt verify a",
    ] {
        let words = std::iter::once("consign").chain(line.split(' '));
        let error = Cli::try_parse_from(words).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
