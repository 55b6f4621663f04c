//! The policy in force: reads the snapshot directory, compiles it, and keeps the last good table when a new one is refused.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use policy_table::{Identities, Settings, Snapshot, Table};

use super::status::PolicyStatus;
use crate::config::{Config, Enforcement};

/// The policy in force and what became of the newest snapshot.
#[derive(Debug)]
pub struct Policy {
    directory: PathBuf,
    enforcement: Enforcement,
    identities: Identities,
    /// The last snapshot that was good.
    snapshot: Option<Snapshot>,
    table: Option<Arc<Table>>,
    epoch: u64,
    refused: Vec<String>,
    notices: Vec<String>,
}

impl Policy {
    /// No policy yet: endpoints are not ready, nothing passes.
    pub fn new(config: &Config) -> Self {
        Self {
            directory: config.snapshot.clone(),
            enforcement: config.enforcement,
            identities: Identities::default(),
            snapshot: None,
            table: None,
            epoch: 0,
            refused: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Reads the directory. True if it was good; otherwise the table in force stays and the reasons are kept.
    pub fn reload(&mut self, host_addresses: &[IpAddr]) -> bool {
        match Snapshot::load(&self.directory) {
            Ok(loaded) => {
                self.refused.clear();
                self.notices = loaded.notices.iter().map(ToString::to_string).collect();
                self.snapshot = Some(loaded.snapshot);
                self.compile(host_addresses);
                true
            }
            Err(refusals) => {
                self.refused = refusals.0.iter().map(ToString::to_string).collect();
                false
            }
        }
    }

    /// Compiles the last good snapshot again, because the node's addresses changed.
    pub fn compile(&mut self, host_addresses: &[IpAddr]) {
        let settings = self.settings(host_addresses);
        let Some(snapshot) = &self.snapshot else { return };
        self.epoch += 1;
        self.table =
            Some(Arc::new(Table::compile(snapshot, &settings, &mut self.identities, self.epoch)));
    }

    /// What tables are compiled with besides the snapshot.
    pub fn settings(&self, host_addresses: &[IpAddr]) -> Settings {
        let enforcement = match self.enforcement {
            Enforcement::Default => policy_table::Enforcement::Default,
            Enforcement::Always => policy_table::Enforcement::Always,
            Enforcement::Never => policy_table::Enforcement::Never,
        };
        Settings { enforcement, host_addresses: host_addresses.to_vec() }
    }

    /// The snapshot in force and the table made of it.
    pub fn in_force(&self) -> Option<(&Snapshot, &Arc<Table>)> {
        Some((self.snapshot.as_ref()?, self.table.as_ref()?))
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
            policies: self.snapshot.as_ref().map_or(0, |snapshot| snapshot.policies.len()),
            services: self.table.as_ref().map_or(0, |table| table.services().len()),
            refused: self.refused.clone(),
            notices: self.notices.clone(),
        }
    }
}
