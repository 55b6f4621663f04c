//! `blastdoor policy` as people and CI meet it: the built binary over examples/star-wars, its output and its exit codes.
//!
//! Arrives: the example's policies and small clusters written into a temporary directory (the example's own pods get
//! addresses only in a lab). Needs no privilege and no daemon.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

const CLUSTER: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: deathstar-a, labels: {org: empire, class: deathstar}}
spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: deathstar-b, labels: {org: empire, class: deathstar}}
spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: tiefighter, labels: {org: empire, class: tiefighter}}
status: {podIP: 10.0.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: xwing, labels: {org: alliance, class: xwing}}
status: {podIP: 10.0.0.4}
---
apiVersion: v1
kind: Pod
metadata: {name: droid-a, labels: {model: r2}}
status: {podIP: 10.0.0.5}
---
apiVersion: v1
kind: Pod
metadata: {name: droid-b, labels: {model: c3po}}
---
apiVersion: v1
kind: Service
metadata: {name: landing}
spec: {clusterIP: 10.96.0.1, selector: {class: deathstar}, ports: [{port: 8080, targetPort: 80}]}
";

/// Line 8 is the item of `ingress`.
const TYPO: &str = r#"apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: typo}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  # Nobody has this label.
  - fromEndpoints: [{matchLabels: {org: empyre}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
"#;

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/star-wars").join(file)
}

/// A directory with the cluster and one of the example's policies.
fn snapshot(policy: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("cluster.yaml"), CLUSTER).unwrap();
    fs::copy(example(policy), directory.path().join("rule.yaml")).unwrap();
    directory
}

fn policy(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blastdoor"));
    command.arg("policy").args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asks `explain` over the cluster with the L7 policy.
fn ask(arguments: &[&str]) -> Output {
    let directory = snapshot("sw_l3_l4_l7_policy.yaml");
    let place = directory.path().to_str().unwrap();
    policy(&[&["explain", "--snapshot", place], arguments].concat())
}

#[test]
fn a_clean_snapshot_passes_the_check() {
    let directory = snapshot("sw_l3_l4_policy.yaml");
    let checked = policy(&["check", directory.path().to_str().unwrap()]);
    assert_eq!((code(&checked), out(&checked)), (0, String::new()));
    assert!(err(&checked).contains("clean: 0 refused, 0 error, 0 warning, 0 info"));
}

#[test]
fn what_bears_no_policy_is_a_notice_and_no_failure() {
    let app = example("app.yaml");
    let checked = policy(&["check", app.to_str().unwrap()]);
    assert_eq!(code(&checked), 0, "{}", err(&checked));
    let line = format!("{}:14: info: Deployment deathstar: bears no policy", app.display());
    assert!(out(&checked).contains(&line), "{}", out(&checked));
}

#[test]
fn a_finding_fails_the_check_with_its_file_and_line() {
    let directory = snapshot("sw_l3_l4_policy.yaml");
    let typo = directory.path().join("typo.yaml");
    fs::write(&typo, TYPO).unwrap();
    let place = directory.path().to_str().unwrap();
    let checked = policy(&["check", place]);
    assert_eq!(code(&checked), 1);
    let told = out(&checked);
    let start = format!(
        "{}:8: warning: CiliumNetworkPolicy default/typo spec.ingress[0]: the peer selects no pod",
        typo.display()
    );
    assert!(told.starts_with(&start) && told.lines().count() == 1, "{told}");
    assert!(told.trim_end().ends_with("[peer-selects-nothing]"), "{told}");

    // A file that is also in a named directory is not taken for a second one.
    let checked = policy(&["check", "-o", "json", place, typo.to_str().unwrap()]);
    assert_eq!(code(&checked), 1);
    let told = json(&checked);
    assert_eq!(told["outcome"], "findings");
    let [finding] = told["findings"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((&finding["line"], &finding["code"]), (&8.into(), &"peer-selects-nothing".into()));
    assert_eq!(finding["object"], "CiliumNetworkPolicy default/typo");
}

#[test]
fn a_bad_pattern_fails_the_check() {
    let directory = snapshot("sw_l3_l4_l7_policy.yaml");
    let rule = directory.path().join("rule.yaml");
    let text = fs::read_to_string(&rule).unwrap();
    fs::write(&rule, text.replace("/v1/request-landing", "\"/v1/(\"")).unwrap();
    let checked = policy(&["check", directory.path().to_str().unwrap()]);
    assert_eq!(code(&checked), 1);
    assert!(out(&checked).contains(": error: CiliumNetworkPolicy"), "{}", out(&checked));
}

/// The example has two policies of one name: they take each other's place, and are never in force together.
#[test]
fn what_cannot_be_enforced_is_refused_with_what_to_do() {
    let directory = example("");
    for (format, word) in [("text", ": refused: "), ("json", "\"outcome\":\"refused\"")] {
        let checked = policy(&["check", "-o", format, directory.to_str().unwrap()]);
        assert_eq!(code(&checked), 3);
        let told = out(&checked);
        assert!(told.contains(word) && told.contains("keep one of them"), "{told}");
        assert!(told.contains("CiliumNetworkPolicy rule1"), "{told}");
    }
    let place = directory.to_str().unwrap();
    let one = "default/tiefighter";
    let told =
        policy(&["explain", "--snapshot", place, "--from", one, "--to", one, "--port", "80"]);
    assert_eq!((code(&told), out(&told)), (3, String::new()));
    let told = policy(&["diff", place, place]);
    assert_eq!(code(&told), 3);
    assert!(err(&told).contains("keep one of them"), "{}", err(&told));
}

#[test]
fn nothing_to_check_is_refused_not_passed() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("missing.yaml");
    for path in [directory.path(), &missing] {
        let checked = policy(&["check", path.to_str().unwrap()]);
        assert_eq!(code(&checked), 3);
        assert!(out(&checked).starts_with(path.to_str().unwrap()), "{}", out(&checked));
    }
    assert_eq!(code(&policy(&["check"])), 2);
}

#[test]
fn a_denied_request_is_explained_with_the_rule_and_its_line() {
    let question = ["--from", "default/tiefighter", "--to", "default/deathstar-a", "--port", "80"];
    let request = ["--method", "PUT", "--path", "/v1/exhaust-port"];
    let told = ask(&[&question[..], &request].concat());
    assert_eq!(code(&told), 1);
    let text = out(&told);
    for part in [
        "default/tiefighter -> default/deathstar-a TCP/80 PUT /v1/exhaust-port: DENIED",
        "EGRESS of default/tiefighter: allowed (no policy is enforced)",
        "INGRESS of default/deathstar-a: request DENIED (403)",
        "by CiliumNetworkPolicy default/rule1 spec.ingress[0] (",
        "rule.yaml:12)",
        "method \"PUT\" is not \"POST\"",
        "to allow it: add `",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }

    let told = ask(&[&question[..], &request, &["-o", "json"]].concat());
    assert_eq!(code(&told), 1);
    let told = json(&told);
    assert_eq!((&told["verdict"], &told["sides"][0]["passes"]), (&"denied".into(), &true.into()));
    let ingress = &told["sides"][1];
    assert_eq!((&ingress["direction"], &ingress["passes"]), (&"INGRESS".into(), &false.into()));
    assert_eq!(ingress["rule"]["line"], 12);
    assert_eq!(ingress["rule"]["object"], "CiliumNetworkPolicy default/rule1");
    assert!(ingress["rule"]["file"].as_str().unwrap().ends_with("rule.yaml"));
    assert_eq!(ingress["misses"][0]["http"], 0);
    assert!(ingress["advice"].as_str().unwrap().contains("PUT"));
}

#[test]
fn an_allowed_request_is_explained_and_the_code_is_zero() {
    let told = ask(&[
        "--from",
        "tiefighter",
        "--to",
        "default/deathstar-b",
        "--port",
        "80",
        "--method",
        "POST",
        "--path",
        "/v1/request-landing",
    ]);
    assert_eq!(code(&told), 0, "{}", err(&told));
    assert!(out(&told).contains("HTTP rule method \"POST\", path \"/v1/request-landing\""));
}

#[test]
fn a_peer_that_no_rule_allows_is_denied_whether_pod_or_address() {
    for from in ["default/xwing", "8.8.8.8"] {
        let told = ask(&["--from", from, "--to", "deathstar-a", "--port", "80"]);
        assert_eq!(code(&told), 1);
        assert!(out(&told).contains("no rule allows it (133"), "{}", out(&told));
    }
    // `never` asks nobody.
    let told =
        ask(&["--from", "xwing", "--to", "deathstar-a", "--port", "80", "--enforcement", "never"]);
    assert_eq!(code(&told), 0);
}

#[test]
fn a_service_is_translated_and_a_workload_stands_for_pods_that_are_alike() {
    let told = ask(&["--from", "tiefighter", "--to", "default/landing", "--port", "8080"]);
    assert_eq!(code(&told), 0, "{}", err(&told));
    let text = out(&told);
    assert!(text.starts_with("Service default/landing port 8080: 2 backends, 0 denied"), "{text}");
    assert!(text.contains("TCP/80: ALLOWED"), "{text}");
    let told = ask(&["--from", "xwing", "--to", "default/landing", "--port", "8080"]);
    assert_eq!(code(&told), 1);
    assert!(out(&told).contains("2 backends, 2 denied"), "{}", out(&told));
    let told = ask(&["--from", "tiefighter", "--to", "default/deathstar", "--port", "80"]);
    assert_eq!(code(&told), 0, "{}", err(&told));
}

#[test]
fn wrong_questions_say_what_to_do() {
    let cases: [(&[&str], &str); 7] = [
        (&["--to", "default/alderaan", "--port", "80"], "there is no such pod; namespace default"),
        (&["--to", "default/droid", "--port", "80"], "not alike (droid-a, droid-b); name one"),
        (&["--to", "default/droid-b", "--port", "80"], "give it `status.podIP`"),
        (&["--to", "default/landing", "--port", "81"], "no port TCP/81, but TCP/8080"),
        (&["--to", "deathstar-a", "--port", "80", "--path", "v1"], "must begin with `/`"),
        (&["--to", "deathstar-a", "--port", "80", "--protocol", "udp", "--path", "/"], "HTTP"),
        (&["--to", "2001:db8::1", "--port", "80"], "no address of the same family"),
    ];
    for (arguments, wanted) in cases {
        let told = ask(&[&["--from", "tiefighter"], arguments].concat());
        assert_eq!((code(&told), out(&told)), (2, String::new()), "{arguments:?}");
        assert!(err(&told).contains(wanted), "{arguments:?}: {}", err(&told));
    }
}

#[test]
fn diff_tells_which_requests_change() {
    let (old, new) = (snapshot("sw_l3_l4_policy.yaml"), snapshot("sw_l3_l4_l7_policy.yaml"));
    let (old, new) = (old.path().to_str().unwrap(), new.path().to_str().unwrap());
    let told = policy(&["diff", old, new]);
    assert_eq!(code(&told), 1);
    let line =
        "default/tiefighter -> default/deathstar-a (and 1 like it) TCP/80: allowed -> inspected";
    assert!(out(&told).lines().any(|told| told == line), "{}", out(&told));

    let told = policy(&["diff", old, new, "-o", "json"]);
    assert_eq!(code(&told), 1);
    let changes = json(&told);
    let change = changes
        .as_array()
        .unwrap()
        .iter()
        .find(|change| {
            change["from"] == "default/tiefighter"
                && change["to"] == "default/deathstar-a"
                && change["method"].is_null()
        })
        .unwrap();
    assert_eq!((&change["first_port"], &change["last_port"]), (&80.into(), &80.into()));
    assert_eq!((&change["before"], &change["after"]), (&"allowed".into(), &"inspected".into()));

    let told = policy(&["diff", old, old]);
    assert_eq!((code(&told), out(&told)), (0, String::new()));
}

#[test]
fn a_compiled_snapshot_is_checked_explained_and_compared_as_its_files() {
    let directory = snapshot("sw_l3_l4_l7_policy.yaml");
    let place = directory.path().to_str().unwrap();
    let file = directory.path().join("policy.blastdoor");
    let file = file.to_str().unwrap();
    let told = policy(&["compile", place, "-o", file]);
    assert_eq!(code(&told), 0, "{}", err(&told));
    assert!(out(&told).starts_with(&format!("{file}: 1 policies, ")), "{}", out(&told));

    assert_eq!(out(&policy(&["check", file])), out(&policy(&["check", place])));
    assert_eq!(code(&policy(&["diff", place, file])), 0);
    let question = ["--from", "default/tiefighter", "--to", "default/deathstar-a", "--port", "80"];
    let ask = |snapshot| {
        let request = ["--method", "PUT", "--path", "/v1/exhaust-port"];
        policy(&[&["explain", "--snapshot", snapshot], &question[..], &request].concat())
    };
    assert_eq!((code(&ask(file)), out(&ask(file))), (1, out(&ask(place))));

    // Damaged: refused with what to do, and nothing of it is believed.
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    let checked = policy(&["check", file]);
    assert_eq!(code(&checked), 3);
    assert!(out(&checked).contains("truncated"), "{}", out(&checked));
}

#[test]
fn what_is_refused_is_not_compiled() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("typo.yaml"), TYPO.replace("ingress", "ingres")).unwrap();
    let file = directory.path().join("policy.blastdoor");
    let told =
        policy(&["compile", directory.path().to_str().unwrap(), "-o", file.to_str().unwrap()]);
    assert_eq!(code(&told), 3);
    assert!(err(&told).contains("typo.yaml") && !file.exists(), "{}", err(&told));
}

#[test]
fn the_exit_codes_are_in_the_help() {
    for command in ["check", "compile", "explain", "diff"] {
        let told = policy(&[command, "--help"]);
        assert_eq!(code(&told), 0);
        let words = out(&told).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("Exit codes: 0") && words.contains("2 wrong arguments"), "{words}");
    }
}
