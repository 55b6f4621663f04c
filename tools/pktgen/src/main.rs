//! The command line. Exit codes, as `blastdoor`'s: 0 done; 1 failed, and standard error says on what; 2 the arguments are wrong;
//! 4 a privilege or kernel feature is missing.
#![forbid(unsafe_code)]

mod cli;

use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when standard error is closed.
            let _unheard = writeln!(io::stderr(), "pktgen: {}", failure.reason);
            ExitCode::from(failure.code)
        }
    }
}
