//! The binary: evp with its built-in handlers.

use std::process::ExitCode;

fn main() -> ExitCode {
    evp::run(evp::activity::registry())
}
