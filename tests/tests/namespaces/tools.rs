//! What people ask a running daemon about its policy: lists, rules that did nothing, and why.

#![expect(
    clippy::indexing_slicing,
    reason = "an absent field of JSON is null, which fails the comparison"
)]

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::client::{Reply, curl};
use tests::lab::Lab;
use tests::program::{self, Answer};
use tests::star_wars::{self, Policy};

use crate::Case;
use crate::operate::{EXHAUST, LANDING, ask, expect_line};
use crate::story::{expect_balance, own_manifests, star_wars_lab};

/// A deny rule, and a rule that nothing ever meets.
const MORE: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: more}
spec:
  endpointSelector: {matchLabels: {org: empire, class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
    toPorts: [{ports: [{port: "9", protocol: TCP}]}]
  ingressDeny:
  - fromEndpoints: [{matchLabels: {org: alliance}}]
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("tools::lists_show_endpoints_identities_and_selectors", lists),
        Case::new("tools::each_rule_shows_what_it_did_and_dead_ones_show", hits),
        Case::new("tools::the_running_daemon_explains_as_its_files_do", explain),
    ]
}

fn json(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    let text = ask(lab, &[arguments, &["-o", "json"]].concat())?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

fn lists() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    star_wars::set_policy(&lab, &daemon, &manifests, Policy::L7)?;
    let endpoints = json(&lab, &["endpoint", "list"])?;
    let rows = endpoints.as_array().context("an array")?;
    let of = |name: &str| rows.iter().find(|row| row["pod"] == *name).context("no such endpoint");
    let tiefighter = of("default/tiefighter")?;
    ensure!(tiefighter["ingress_enforced"] == false, "{tiefighter}");
    let deathstars: Vec<&Value> = rows
        .iter()
        .filter(|row| row["pod"].as_str().is_some_and(|pod| pod.contains("/deathstar")))
        .collect();
    ensure!(
        deathstars.len() == 2 && deathstars.iter().all(|row| row["ingress_enforced"] == true),
        "{endpoints}"
    );
    let text = ask(&lab, &["endpoint", "list"])?;
    let header: Vec<&str> = text.lines().next().unwrap_or_default().split("  ").collect();
    let header: Vec<&str> =
        header.into_iter().map(str::trim).filter(|name| !name.is_empty()).collect();
    ensure!(
        header
            == [
                "ENDPOINT",
                "POLICY (ingress) ENFORCEMENT",
                "POLICY (egress) ENFORCEMENT",
                "IDENTITY",
                "LABELS (source:key[=value])",
                "IPv6",
                "IPv4",
                "STATUS"
            ],
        "{text}"
    );
    ensure!(text.matches(" ready").count() == rows.len(), "{text}");

    let identities = json(&lab, &["identity", "list"])?;
    let identities = identities.as_array().context("an array")?;
    let labels = |id: &Value| {
        let found = identities.iter().find(|row| row["id"] == *id);
        found.map(|row| row["labels"].to_string()).unwrap_or_default()
    };
    ensure!(labels(&Value::from(1)).contains("reserved:host"), "{identities:?}");
    ensure!(labels(&tiefighter["identity"]).contains("k8s:class=tiefighter"), "{identities:?}");

    let selectors = json(&lab, &["policy", "selectors"])?;
    let selectors = selectors.as_array().context("an array")?;
    ensure!(selectors.len() == 1, "{selectors:?}");
    let selected = selectors[0]["identities"].as_array().context("identities")?;
    ensure!(
        selected.contains(&tiefighter["identity"]) && selectors[0]["labels"][0] == "default/rule1",
        "{selectors:?}"
    );
    daemon.stop()?;
    lab.down()
}

fn hits() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, tests::lab::Shape::default().workers)?;
    star_wars::set_policy(&lab, &daemon, &manifests, Policy::L7)?;
    for _ in 0..2 {
        ensure!(curl(&lab, "tiefighter", 3, &["-XPOST", LANDING])?.says("Ship landed"), "landing");
        ensure!(curl(&lab, "tiefighter", 3, &["-XPUT", EXHAUST])?.status() == Some(403), "hit");
    }
    // What was counted stays when another policy comes: the rule is the same.
    daemon.reload(|| lab.put("more.yaml", MORE))?;
    ensure!(curl(&lab, "xwing", 1, &["-XPOST", LANDING])? == Reply::Silence, "xwing landed");
    let rules = json(&lab, &["policy", "get"])?;
    ensure!(rules["revision"] == daemon.epoch()?, "{rules}");
    let rule = |policy: &str, field: &str| {
        let all = rules["rules"].as_array().into_iter().flatten();
        let found = all.into_iter().find(|row| {
            row["rule"]["object"] == format!("CiliumNetworkPolicy default/{policy}").as_str()
                && row["rule"]["field"] == *field
        });
        found.with_context(|| format!("no {policy} {field} in {rules}"))
    };
    let http = rule("rule1", "spec.ingress[0]")?;
    ensure!(
        http["connections"].as_u64() >= Some(4)
            && http["requests"] == 2
            && http["http"][0]["requests"] == 2,
        "{http}"
    );
    let deny = rule("more", "spec.ingressDeny[0]")?;
    ensure!(deny["denied"].as_u64() >= Some(1) && deny["policy"] == "Deny", "{deny}");
    let dead = rule("more", "spec.ingress[0]")?;
    ensure!(dead["connections"] == 0 && dead["requests"] == 0 && dead["denied"] == 0, "{dead}");
    let text = ask(&lab, &["policy", "get"])?;
    ensure!(text.contains("http[0] method \"POST\", path \"/v1/request-landing\""), "{text}");
    ensure!(text.trim_end().ends_with(&format!("Revision: {}", daemon.epoch()?)), "{text}");
    expect_balance(&daemon)?;
    daemon.stop()?;
    lab.down()
}

fn explain() -> Result<()> {
    let manifests = own_manifests();
    let (lab, daemon) = star_wars_lab(&manifests, 1)?;
    star_wars::set_policy(&lab, &daemon, &manifests, Policy::L7)?;
    let snapshot = lab.state().join("snapshot").display().to_string();
    let socket = lab.state().join("blastdoor.sock").display().to_string();
    let explain = |whose: [&str; 2], from: &str, request: &[&str]| -> Result<Answer> {
        let mut command = Command::new(lab.blastdoor());
        command.args(["policy", "explain"]).args(whose);
        command.args(["--from", from, "--to", "default/deathstar", "--port", "80"]);
        program::run(command.args(request))
    };
    let put = ["--method", "PUT", "--path", "/v1/exhaust-port"];
    let post = ["--method", "POST", "--path", "/v1/request-landing"];
    for (from, request, code) in [
        ("default/tiefighter", &put[..], 1),
        ("default/tiefighter", &post[..], 0),
        ("default/xwing", &post[..], 1),
        ("default/deathstar", &["-o", "json"][..], 0),
        ("default/nobody", &post[..], 2),
    ] {
        let live = explain(["--socket", &socket], from, request)?;
        let files = explain(["--snapshot", &snapshot], from, request)?;
        ensure!(live.code == Some(code), "{from} {request:?}: {live}");
        ensure!(
            (live.code, &live.stdout, &live.stderr) == (files.code, &files.stdout, &files.stderr),
            "the daemon says {live}\nits files say {files}"
        );
    }
    let nobody = explain(["--socket", "/no/such/socket"], "default/xwing", &post)?;
    ensure!(nobody.code == Some(5), "{nobody}");

    // What observe says of a denied request is the reference that explain prints.
    curl(&lab, "tiefighter", 3, &["-XPUT", EXHAUST])?;
    let told = explain(["--socket", &socket], "default/tiefighter", &put)?.stdout;
    let by = told.lines().find_map(|line| line.trim().strip_prefix("by ")).context("no rule")?;
    expect_line(&lab, "text", &["http-request DROPPED", &format!("BY {by} (HTTP/1.1 PUT")])?;
    let event = expect_line(&lab, "json", &["exhaust-port", "DROPPED"])?;
    let event: Value = serde_json::from_str(&event)?;
    let rule = &event["flow"]["ingress_denied_by"][0];
    let told = explain(
        ["--socket", &socket],
        "default/tiefighter",
        &[&put[..], &["-o", "json"]].concat(),
    )?;
    let told: Value = serde_json::from_str(&told.stdout)?;
    let place = &told["sides"][1]["rule"];
    for field in ["file", "line", "field"] {
        ensure!(rule[field] == place[field], "{field}: {rule} is not {place}");
    }
    daemon.stop()?;
    lab.down()
}
