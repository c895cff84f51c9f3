//! `consign`: guaranteed, asynchronous, distributed file transfer.

fn main() -> std::process::ExitCode {
    consign::main()
}
