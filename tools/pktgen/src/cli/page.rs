//! `report`.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use pktgen::page::{self, Report};

use super::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// What `-o json` printed, one report a file
    #[arg(required = true)]
    reports: Vec<PathBuf>,
}

/// Writes the page to standard output.
pub(super) fn report(args: &ReportArgs) -> Result<(), Failure> {
    let read = |path: &PathBuf| {
        let named = |error: String| Failure::wrong(format!("{}: {error}", path.display()));
        let json = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, Report::read(&json).map_err(named)?))
    };
    let reports = args.reports.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    let page = page::page(&reports).map_err(Failure::failed)?;
    io::stdout()
        .lock()
        .write_all(page.as_bytes())
        .map_err(|error| Failure::failed(format!("cannot print the page: {error}")))
}
