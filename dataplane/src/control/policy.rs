//! The policy in force: reads what changed in the snapshot directory, compiles that, and keeps the last good table when a new
//! snapshot is refused.

use std::{collections::BTreeSet, ffi::OsString, net::IpAddr, sync::Arc};

use policy_table::{
    Compiler, Directory, Refusals, Settings, Snapshot, Table, Update, snapshot::Object,
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

/// The policy in force and what became of the newest snapshot.
#[derive(Debug)]
pub struct Policy {
    directory: Directory,
    enforcement: Enforcement,
    audit: bool,
    compiler: Compiler,
    table: Option<Arc<Table>>,
    epoch: u64,
    policies: usize,
    refused: Vec<String>,
    notices: Vec<String>,
}

impl Policy {
    /// No policy yet: endpoints are not ready, nothing passes.
    pub fn new(config: &Config) -> Self {
        Self {
            directory: Directory::new(&config.snapshot),
            enforcement: config.enforcement,
            audit: config.policy_audit_mode,
            compiler: Compiler::default(),
            table: None,
            epoch: 0,
            policies: 0,
            refused: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Reads what changed. True if all is good; otherwise the table in force stays and the reasons are kept.
    pub fn reload(&mut self, changed: &Changed, host_addresses: &[IpAddr]) -> bool {
        let read = match changed {
            Changed::Anything => self.directory.read(),
            Changed::Files(names) => {
                self.directory.read_files(names.iter().map(OsString::as_os_str))
            }
        };
        match read {
            Ok(update) => {
                self.refused.clear();
                self.notices = self.directory.notices().iter().map(ToString::to_string).collect();
                self.apply(&update, host_addresses);
                true
            }
            Err(Refusals(refusals)) => {
                self.refused = refusals.iter().map(ToString::to_string).collect();
                false
            }
        }
    }

    fn apply(&mut self, update: &Update, host_addresses: &[IpAddr]) {
        let policies = |objects: &[Object]| {
            objects.iter().filter(|object| matches!(object, Object::Policy(_))).count()
        };
        self.policies = self.policies + policies(&update.come) - policies(&update.gone);
        self.epoch += 1;
        self.compiler.set(self.settings(host_addresses));
        self.table = Some(Arc::new(self.compiler.apply(update, self.epoch)));
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
        Some((self.directory.snapshot(), table))
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
