//! Criterion's figures, from where `cargo bench` left them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// One benchmark's result.
#[derive(Clone, Debug)]
pub(crate) struct Micro {
    /// The benchmark's group and name.
    pub(crate) name: String,
    /// Median nanoseconds of one iteration.
    pub(crate) nanoseconds: f64,
}

/// Every result below the target directory, by name.
///
/// # Errors
/// When a result does not read; that there is none is no error.
pub(crate) fn results() -> Result<Vec<Micro>> {
    let own = std::env::current_exe().context("cannot find the running program")?;
    let target = own.ancestors().nth(2).context("not in a target directory")?;
    let mut results = Vec::new();
    collect(&target.join("criterion"), &mut results)?;
    results.sort_by_key(|micro| natural(&micro.name));
    Ok(results)
}

/// Names in an order in which 1000 comes after 20.
fn natural(name: &str) -> (String, u64) {
    let digits = name.len() - name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    let (text, number) = name.split_at(name.len() - digits);
    (text.to_owned(), number.parse().unwrap_or(0))
}

fn collect(directory: &Path, results: &mut Vec<Micro>) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.join("new/benchmark.json").is_file() {
            results.push(read(&path.join("new"))?);
        }
        if path.is_dir() && !path.ends_with("new") && !path.ends_with("base") {
            collect(&path, results)?;
        }
    }
    Ok(())
}

fn read(directory: &Path) -> Result<Micro> {
    let file = |name: &str| -> Result<Value> {
        let path: PathBuf = directory.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{}", path.display()))
    };
    let (benchmark, estimates) = (file("benchmark.json")?, file("estimates.json")?);
    let name = benchmark.pointer("/full_id").and_then(Value::as_str).context("no name")?;
    let median = estimates.pointer("/median/point_estimate").and_then(Value::as_f64);
    let nanoseconds = median.with_context(|| format!("no median of {name}"))?;
    Ok(Micro { name: name.to_owned(), nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_their_order() {
        let mut names = ["hit/1000", "hit/20", "a/5"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["a/5", "hit/20", "hit/1000"]);
    }
}
