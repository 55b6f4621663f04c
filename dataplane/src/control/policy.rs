//! The policy in force: reads what changed in the snapshot directory and compiles that, or loads a snapshot that is compiled already;
//! keeps the last good table when a new snapshot is refused.

use std::{collections::BTreeSet, ffi::OsString, net::IpAddr, path::PathBuf, sync::Arc};

use policy_table::{
    Compiler, Directory, Refusals, Settings, Snapshot, Table, compiled::Compiled, snapshot::Object,
};

use super::status::PolicyStatus;
use crate::config::{Config, Enforcement};

/// What may be another since the directory was read last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Nobody knows.
    Anything,
    /// These files.
    Files(BTreeSet<OsString>),
}

/// Where snapshots come from.
#[derive(Debug)]
enum Source {
    /// Files as people write them.
    Directory(Box<Written>),
    /// One compiled file, and what of it is in force.
    File { path: PathBuf, compiled: Option<Box<Compiled>> },
}

/// A directory and what follows from its files.
#[derive(Debug)]
struct Written {
    files: Directory,
    compiler: Compiler,
}

/// The policy in force and what became of the newest snapshot.
#[derive(Debug)]
pub struct Policy {
    source: Source,
    enforcement: Enforcement,
    audit: bool,
    table: Option<Arc<Table>>,
    epoch: u64,
    policies: usize,
    refused: Vec<String>,
    notices: Vec<String>,
}

impl Policy {
    /// No policy yet: endpoints are not ready, nothing passes.
    pub fn new(config: &Config) -> Self {
        let source = if config.snapshot.is_file() {
            Source::File { path: config.snapshot.clone(), compiled: None }
        } else {
            let files = Directory::new(&config.snapshot);
            Source::Directory(Box::new(Written { files, compiler: Compiler::default() }))
        };
        Self {
            source,
            enforcement: config.enforcement,
            audit: config.policy_audit_mode,
            table: None,
            epoch: 0,
            policies: 0,
            refused: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Reads what changed. True if all is good; otherwise the table in force stays and the reasons are kept.
    pub fn reload(&mut self, changed: &Changed, host_addresses: &[IpAddr]) -> bool {
        let settings = self.settings(host_addresses);
        let next = self.epoch + 1;
        let made = match &mut self.source {
            Source::Directory(written) => {
                let Written { files, compiler } = written.as_mut();
                let read = match changed {
                    Changed::Anything => files.read(),
                    Changed::Files(names) => {
                        files.read_files(names.iter().map(OsString::as_os_str))
                    }
                };
                read.map_err(|Refusals(refusals)| {
                    refusals.iter().map(ToString::to_string).collect::<Vec<_>>()
                })
                .map(|update| {
                    self.policies = self.policies + policies(&update.come) - policies(&update.gone);
                    self.notices = files.notices().iter().map(ToString::to_string).collect();
                    compiler.set(settings);
                    compiler.apply(&update, next)
                })
            }
            Source::File { path, compiled } => load(path, &settings, next).map(|(read, table)| {
                self.policies = read.policies();
                self.notices = read.notices().to_vec();
                *compiled = Some(Box::new(read));
                table
            }),
        };
        match made {
            Ok(table) => {
                self.refused.clear();
                self.epoch = next;
                self.table = Some(Arc::new(table));
                true
            }
            Err(reasons) => {
                self.refused = reasons;
                false
            }
        }
    }

    /// What tables are compiled with besides the snapshot.
    pub fn settings(&self, host_addresses: &[IpAddr]) -> Settings {
        let enforcement = match self.enforcement {
            Enforcement::Default => policy_table::Enforcement::Default,
            Enforcement::Always => policy_table::Enforcement::Always,
            Enforcement::Never => policy_table::Enforcement::Never,
        };
        Settings { enforcement, host_addresses: host_addresses.to_vec(), audit: self.audit }
    }

    /// The snapshot in force, put together for whoever asks, and the table made of it.
    pub fn in_force(&self) -> Option<(Snapshot, &Arc<Table>)> {
        let table = self.table.as_ref()?;
        let snapshot = match &self.source {
            Source::Directory(written) => written.files.snapshot(),
            Source::File { compiled, .. } => compiled.as_ref()?.snapshot().ok()?.snapshot,
        };
        Some((snapshot, table))
    }

    /// The table in force; none until a first snapshot was good.
    pub fn table(&self) -> Option<&Arc<Table>> {
        self.table.as_ref()
    }

    /// Why the newest snapshot was refused; empty if it is in force.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// What status shows.
    pub fn status(&self) -> PolicyStatus {
        PolicyStatus {
            epoch: self.epoch,
            enforcement: match self.enforcement {
                Enforcement::Default => "default",
                Enforcement::Always => "always",
                Enforcement::Never => "never",
            }
            .to_owned(),
            policies: self.policies,
            services: self.table.as_ref().map_or(0, |table| table.services().len()),
            refused: self.refused.clone(),
            notices: self.notices.clone(),
        }
    }
}

fn policies(objects: &[Object]) -> usize {
    objects.iter().filter(|object| matches!(object, Object::Policy(_))).count()
}

/// Loads a compiled snapshot; or the reasons why not.
fn load(
    path: &std::path::Path,
    settings: &Settings,
    epoch: u64,
) -> Result<(Compiled, Table), Vec<String>> {
    let say = |reason: &dyn std::fmt::Display| vec![format!("{}: {reason}", path.display())];
    let bytes = std::fs::read(path)
        .map_err(|error| say(&format_args!("cannot be read: {error}; keep it in its place")))?;
    let compiled = Compiled::read(&bytes).map_err(|error| say(&error))?;
    let table = compiled.table(settings, epoch).map_err(|refusals| say(&refusals))?;
    Ok((compiled, table))
}
