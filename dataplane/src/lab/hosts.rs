//! A plan and a pod arrive; the pod's /etc/hosts leaves: the lab's stand-in for a cluster's DNS.

use std::fmt::Write;

use super::plan::{Plan, Pod};

/// The hosts file of `pod`: itself, and every service under the names that a cluster's DNS would answer
/// (the bare name only within its own namespace).
pub(crate) fn hosts_file(plan: &Plan, pod: &Pod) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    let mut line = |address: &dyn std::fmt::Display, names: &str| {
        // Writing into a String cannot fail.
        writeln!(text, "{address} {names}").ok();
    };
    line(&pod.ipv4, &pod.name);
    line(&pod.ipv6, &pod.name);
    for service in &plan.services {
        let (name, namespace) = (&service.name, &service.namespace);
        let bare = if *namespace == pod.namespace { format!("{name} ") } else { String::new() };
        let names = format!(
            "{bare}{name}.{namespace} {name}.{namespace}.svc {name}.{namespace}.svc.cluster.local"
        );
        for address in &service.addresses {
            line(address, &names);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::lab::manifest::Manifest;

    #[test]
    fn a_bare_service_name_resolves_only_within_its_namespace() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        let text = "kind: Service\nmetadata: {name: db, namespace: x}\n---\n\
                    kind: Pod\nmetadata: {name: near, namespace: x}\n---\n\
                    kind: Pod\nmetadata: {name: far}\n";
        std::fs::write(&file, text).unwrap();
        let manifest = Manifest::read(&[file]).unwrap();
        let name = "lab".parse().unwrap();
        let plan = Plan::new(&name, 1500, vec![0], &manifest, Path::new("d")).unwrap();
        let near = hosts_file(&plan, &plan.pods[0]);
        let far = hosts_file(&plan, &plan.pods[1]);
        assert!(near.contains("10.96.77.1 db db.x db.x.svc db.x.svc.cluster.local\n"), "{near}");
        assert!(far.contains("10.96.77.1 db.x db.x.svc db.x.svc.cluster.local\n"), "{far}");
    }
}
