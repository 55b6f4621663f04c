//! The cases of Http11Probe (MDA2AV, MIT) through our reader, against a table of our answers.
//!
//! The file is not part of the project; where it is absent the test says SKIPPED.

use std::{collections::BTreeMap, path::Path};

use crate::stream::{Event, whole};

/// Ours: the refusal's name, `accept` for a whole request, or `wait` for one that needs more bytes.
///
/// Where the probe expects one of several answers we give the strict one. STRICTER marks the one kind of case in which
/// the probe wants something served that we refuse; there is none of the opposite kind.
const ANSWERS: &[(&str, &str)] = &[
    ("COMP-BASELINE", "accept"),
    ("RFC9112-2.2-BARE-LF-REQUEST-LINE", "bare-lf"),
    ("RFC9112-5.1-OBS-FOLD", "obs-fold"),
    ("RFC9110-5.6.2-SP-BEFORE-COLON", "space-before-colon"),
    ("RFC9112-3-MULTI-SP-REQUEST-LINE", "request-line-spacing"),
    ("RFC9112-7.1-MISSING-HOST", "host-missing"),
    ("RFC9112-2.3-INVALID-VERSION", "version-unsupported"),
    ("RFC9112-5-EMPTY-HEADER-NAME", "field-name-empty"),
    ("RFC9112-3-MISSING-TARGET", "target-form"),
    ("RFC9112-3.2-FRAGMENT-IN-TARGET", "target-fragment"),
    ("RFC9112-5-HEADER-NO-COLON", "field-colon-missing"),
    ("RFC9110-5.4-DUPLICATE-HOST", "host-repeated"),
    ("RFC9112-6.1-CL-NON-NUMERIC", "length-invalid"),
    ("RFC9112-6.1-CL-PLUS-SIGN", "length-invalid"),
    ("COMP-WHITESPACE-BEFORE-HEADERS", "space-before-fields"),
    ("COMP-DUPLICATE-HOST-SAME", "host-repeated"),
    ("COMP-HOST-WITH-USERINFO", "host-invalid"),
    ("COMP-HOST-WITH-PATH", "host-invalid"),
    ("COMP-OPTIONS-STAR", "accept"),
    ("COMP-UNKNOWN-TE-501", "encoding-unsupported"),
    ("COMP-ABSOLUTE-FORM", "accept"),
    ("COMP-METHOD-CASE", "method-byte"),
    ("COMP-POST-CL-BODY", "accept"),
    ("COMP-POST-CL-ZERO", "accept"),
    ("COMP-POST-NO-CL-NO-TE", "accept"),
    ("COMP-CHUNKED-MULTI", "accept"),
    ("COMP-UPGRADE-POST", "upgrade-invalid"),
    ("COMP-UPGRADE-MISSING-CONN", "upgrade-without-connection"),
    ("COMP-UPGRADE-UNKNOWN", "upgrade-unsupported"),
    ("COMP-METHOD-CONNECT", "connect-method"),
    ("COMP-GET-WITH-CL-BODY", "accept"),
    ("COMP-CHUNKED-EXTENSION", "chunk-extension"),
    ("COMP-METHOD-TRACE", "accept"),
    ("COMP-REQUEST-LINE-TAB", "request-line-spacing"),
    ("COMP-CONNECTION-CLOSE", "accept"),
    ("COMP-HTTP10-DEFAULT-CLOSE", "accept"),
    ("COMP-HTTP10-NO-HOST", "host-missing"),
    ("COMP-HTTP12-VERSION", "version-unsupported"),
    ("COMP-TRACE-WITH-BODY", "trace-content"),
    ("COMP-CHUNKED-TRAILER-VALID", "accept"),
    ("COMP-CHUNKED-HEX-UPPERCASE", "accept"),
    ("SMUG-CL-TE-BOTH", "length-and-encoding"),
    ("SMUG-DUPLICATE-CL", "length-repeated"),
    ("SMUG-CL-LEADING-ZEROS", "length-invalid"),
    ("SMUG-TE-XCHUNKED", "encoding-unsupported"),
    ("SMUG-CLTE-PIPELINE", "length-and-encoding"),
    ("SMUG-TECL-PIPELINE", "length-and-encoding"),
    ("SMUG-TE-DOUBLE-CHUNKED", "encoding-unsupported"),
    ("SMUG-CL-EXTRA-LEADING-SP", "framing-space"),
    ("SMUG-TE-CASE-MISMATCH", "encoding-unsupported"),
    ("SMUG-CL-COMMA-DIFFERENT", "length-invalid"),
    ("SMUG-TE-NOT-FINAL-CHUNKED", "encoding-unsupported"),
    ("SMUG-TE-HTTP10", "encoding-in-http10"),
    ("SMUG-BARE-CR-HEADER-VALUE", "bare-cr"),
    ("SMUG-CL-OCTAL", "length-invalid"),
    ("SMUG-TE-DUPLICATE-HEADERS", "encoding-repeated"),
    ("SMUG-CHUNK-HEX-PREFIX", "chunk-size-invalid"),
    ("SMUG-CL-HEX-PREFIX", "length-invalid"),
    ("SMUG-CL-INTERNAL-SPACE", "length-invalid"),
    ("SMUG-CHUNK-MISSING-TRAILING-CRLF", "chunk-data-end"),
    ("SMUG-CHUNK-EXT-LF", "chunk-extension"),
    ("SMUG-CHUNK-SPILL", "chunk-data-end"),
    ("SMUG-CHUNK-LF-TERM", "chunk-data-end"),
    ("SMUG-CHUNK-EXT-CTRL", "chunk-extension"),
    ("SMUG-CHUNK-EXT-CR", "chunk-extension"),
    ("SMUG-TE-FORMFEED", "field-value-byte"),
    ("SMUG-TE-NULL", "field-value-byte"),
    ("SMUG-CHUNK-LF-TRAILER", "bare-lf"),
    ("SMUG-TE-IDENTITY", "encoding-unsupported"),
    ("SMUG-TRANSFER_ENCODING", "look-alike-name"),
    ("SMUG-CL-COMMA-SAME", "length-invalid"),
    ("SMUG-EXPECT-100-CL", "accept"),
    ("SMUG-TRAILER-CL", "trailer-forbidden"),
    ("SMUG-TRAILER-TE", "trailer-forbidden"),
    ("SMUG-TRAILER-HOST", "trailer-forbidden"),
    ("SMUG-TRAILER-AUTH", "trailer-forbidden"),
    ("SMUG-OPTIONS-CL-BODY", "accept"),
    ("SMUG-CL-DOUBLE-ZERO", "length-invalid"),
    ("SMUG-CL-LEADING-ZEROS-OCTAL", "length-invalid"),
    ("SMUG-TE-OBS-FOLD", "obs-fold"),
    ("SMUG-TE-TRAILING-COMMA", "encoding-unsupported"),
    ("SMUG-TE-TAB-BEFORE-VALUE", "framing-space"),
    ("SMUG-ABSOLUTE-URI-HOST-MISMATCH", "target-authority-not-host"),
    ("SMUG-MULTIPLE-HOST-COMMA", "host-invalid"),
    ("MAL-BINARY-GARBAGE", "not-http"),
    ("MAL-LONG-URL", "request-line-too-long"),
    ("MAL-MANY-HEADERS", "too-many-fields"),
    ("MAL-CONTROL-CHARS-HEADER", "field-value-byte"),
    ("MAL-INCOMPLETE-REQUEST", "wait"),
    ("MAL-LONG-HEADER-NAME", "field-line-too-long"),
    ("MAL-LONG-METHOD", "method-too-long"),
    ("MAL-NON-ASCII-HEADER-NAME", "field-name-byte"),
    ("MAL-CL-OVERFLOW", "length-invalid"),
    ("MAL-WHITESPACE-ONLY-LINE", "request-line-spacing"),
    ("MAL-NUL-IN-HEADER-VALUE", "field-value-byte"),
    ("MAL-H2-PREFACE", "http2-preface"),
    ("MAL-CL-EMPTY", "length-invalid"),
    ("MAL-CL-TAB-BEFORE-VALUE", "framing-space"),
    ("MAL-URL-OVERLONG-UTF8", "target-byte"),
    ("MAL-URL-PERCENT-NULL", "target-escaped-control"),
    ("MAL-URL-PERCENT-CRLF", "target-escaped-control"),
    ("MAL-CHUNK-EXT-64K", "chunk-extension"),
    ("MAL-RANGE-OVERLAPPING", "accept"),
    ("MAL-POST-CL-HUGE-NO-BODY", "wait"),
];

/// The bytes the probe sends. The file keeps the first 8 KiB and shows bytes above 0x7F as `?`; where that changes the
/// case, the case is restored.
fn sent(id: &str, raw: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        raw.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect();
    match id {
        "MAL-LONG-HEADER-NAME" => bytes.extend([b'A'; 100_000]),
        "MAL-URL-OVERLONG-UTF8" => {
            let at = bytes.windows(2).position(|pair| pair == b"??").unwrap();
            bytes.splice(at..at + 2, [0xc0, 0xaf]);
        }
        "MAL-NON-ASCII-HEADER-NAME" => {
            let at = bytes.windows(2).position(|pair| pair == b"??").unwrap();
            bytes.splice(at..at + 2, [0xc3, 0xab]);
        }
        _ => {}
    }
    bytes
}

fn answer(bytes: &[u8]) -> String {
    match whole(bytes).last() {
        Some(Event::Refused(refusal)) => refusal.as_str().to_owned(),
        Some(Event::BodyEnd { at }) if *at == bytes.len() => "accept".to_owned(),
        _ => "wait".to_owned(),
    }
}

/// Whether the probe lets our kind of answer pass.
fn passes(expected: &str, ours: &str) -> bool {
    match ours {
        "accept" => expected.contains('2') && !expected.starts_with("400/close"),
        "wait" => expected.contains("timeout"),
        _ => expected.contains("40") || expected.contains("50") || expected == "!101",
    }
}

#[test]
fn every_probe_case_is_answered_as_tabled_and_never_laxer_than_expected() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/http-cases/http11probe.json"))
        .find(|file| file.is_file());
    let Some(file) = file else {
        println!("SKIPPED: ../shared/http-cases/http11probe.json is absent");
        return;
    };
    let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let answers: BTreeMap<_, _> = ANSWERS.iter().copied().collect();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), answers.len());
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let expected = case["expected"].as_str().unwrap();
        let ours = answer(&sent(id, case["raw"].as_str().unwrap()));
        assert_eq!(Some(&ours.as_str()), answers.get(id), "{id}");
        assert!(passes(expected, &ours), "{id}: expected {expected}, ours {ours}");
    }
    println!("probe cases: {}", cases.len());
}
