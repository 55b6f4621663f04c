//! The Star Wars table: with our manifests, with the published ones, with one and two workers, and with a checker
//! that is shown to go red.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::program;
use tests::star_wars::{self, ACTS, Act, Policy, Row};

use crate::Case;

/// How long the last packets of a test may be under way.
const QUIET: Duration = Duration::from_secs(5);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("story::every_row_of_the_table_holds_with_one_worker", || {
            play(&own_manifests(), 1)
        }),
        Case::new("story::every_row_of_the_table_holds_with_two_workers", || {
            play(&own_manifests(), 2)
        }),
        Case::new("story::the_published_manifests_give_the_same_table", || {
            play(&crate::shared().join("policies/cilium-main/examples/minikube"), 1)
        })
        .with_shared(),
        Case::new("story::without_enforcement_the_table_fails", without_enforcement),
    ]
}

/// The Star Wars manifests of this project.
pub(crate) fn own_manifests() -> PathBuf {
    program::project_root().join("examples/star-wars")
}

/// A lab with the Star Wars app and a daemon in it.
pub(crate) fn star_wars_lab(manifests: &Path, workers: usize) -> Result<(Lab, Daemon)> {
    let shape = Shape { workers, ..Shape::default() };
    let lab = Lab::up("test", &shape, &[star_wars::app_file(manifests)?])?;
    let daemon = Daemon::start(&lab)?;
    Ok((lab, daemon))
}

fn play(manifests: &Path, workers: usize) -> Result<()> {
    let (lab, daemon) = star_wars_lab(manifests, workers)?;
    let acts = ACTS
        .iter()
        .map(|act| star_wars::play(&lab, &daemon, manifests, *act))
        .collect::<Result<Vec<Act>>>()?;
    let rows: Vec<Row> = acts.iter().map(|act| act.row.clone()).collect();
    let replicas: Vec<&str> = acts.iter().map(|act| act.replicas.text.as_str()).collect();
    let passed = acts.iter().flat_map(Act::cells).all(|cell| cell.passed);
    ensure!(passed, "\n{}replicas: {replicas:?}", star_wars::table(&rows));
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}

/// Once the last packets are through, every frame is in exactly one place and none is held for a judgement.
pub(crate) fn expect_balance(daemon: &Daemon) -> Result<()> {
    let mut last = None;
    program::wait_for("the ledger's balance", QUIET, || {
        let frames = daemon.status()?.frames;
        last = Some(frames);
        Ok((frames.balanced && frames.held == 0).then_some(()))
    })
    .with_context(|| format!("{last:?}"))
}

/// With nothing in force, the cells that depend on enforcement must fail, and only these.
fn without_enforcement() -> Result<()> {
    let (lab, daemon) = star_wars_lab(&own_manifests(), 1)?;
    for (policy, expected) in
        [(Policy::L4, [true, true, false]), (Policy::L7, [true, false, false])]
    {
        let row = star_wars::ask(&lab, &daemon, "nothing in force", policy)?;
        let passed: Vec<bool> = row.cells.iter().map(|cell| cell.passed).collect();
        ensure!(passed == expected, "{policy:?}:\n{}", star_wars::table(&[row]));
    }
    daemon.stop()?;
    lab.down()
}
