//! `consign`: guaranteed, asynchronous, distributed file transfer.

fn main() -> std::process::ExitCode {
    #[cfg(feature = "planted")]
    plant();
    consign::main()
}

/// Plants the bug that `CONSIGN_PLANTED` names, for the tests that must find it.
#[cfg(feature = "planted")]
fn plant() {
    if let Ok(name) = std::env::var("CONSIGN_PLANTED") {
        let bug = name.parse().expect("CONSIGN_PLANTED");
        consign_core::planted::plant(Some(bug));
    }
}
