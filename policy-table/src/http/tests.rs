//! What a port's rules are met by: by hand, and against each pattern of each rule run alone by another engine.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::syntax;

use super::*;

fn pattern(text: &str) -> Option<Pattern> {
    (!text.is_empty()).then(|| Pattern::new(text))
}

fn meets(method: &str, path: &str, host: &str, request: (&str, &str, &str)) -> bool {
    let rule = HttpRule {
        method: pattern(method),
        path: pattern(path),
        host: pattern(host),
        ..HttpRule::default()
    };
    let rules = HttpRules::new(vec![rule].into());
    let mut found = false;
    let request =
        HttpRequest { method: request.0, path: request.1, host: request.2, headers: &|_| {} };
    rules.find(&mut HttpScratch::default(), &request, &mut |_, _| {
        found = true;
    });
    found
}

fn path(pattern: &str, path: &str) -> bool {
    meets("", pattern, "", ("GET", path, "h"))
}

#[test]
fn a_path_must_match_whole_query_included() {
    assert!(path("/public", "/public"));
    assert!(
        !path("/public", "/public/")
            && !path("/public", "/publicx")
            && !path("/public", "/public?x=1")
    );
    assert!(path("/public(\\?.*)?", "/public?x=1"));
    assert!(!path("public", "/public"));
    assert!(
        path(".*public$", "/maybe/public")
            && path("^/public$", "/public")
            && path("\\A/public\\z", "/public")
    );
    assert!(!path("/a|/b", "/ab") && path("/a|/b", "/b"));
    let anchors = format!("{}/a{}", "^".repeat(30_000), "$".repeat(30_000));
    assert!(path(&anchors, "/a") && !path(&anchors, "/ab"));
}

#[test]
fn fields_do_not_run_into_each_other() {
    assert!(!meets("GET", ".*", "b", ("GET", "/a", "ab")));
    assert!(!meets(".*", "/x", "", ("GET", "/y\0/x", "h")), "a field with NUL matches nothing");
    assert!(!meets("", "/[^b]*", "", ("GET", "/a\0\0b", "h")));
    assert!(meets("GET|POST", "/x", "h(:80)?", ("POST", "/x", "h:80")));
    assert!(!meets("^$", "", "", ("GET", "/", "")) && meets("", "", "^$", ("GET", "/", "")));
    assert!(meets("", "", "", ("X", "y", "")), "a rule without fields is met by every request");
}

/// Runs are looked through eight bytes at a time: what ends one does so at each place.
#[test]
fn what_is_in_no_run_ends_it_wherever_it_stands() {
    for (length, place) in (0..20).flat_map(|length| (0..length).map(move |place| (length, place)))
    {
        let mut field = "x".repeat(length);
        assert!(meets(".*", "[^/]*", "", (&field, &field, &field)));
        field.replace_range(place..=place, "\0");
        let field = field.as_str();
        for request in [(field, "x", "x"), ("x", field, "x"), ("x", "x", field)] {
            assert!(!meets(".*", "[^/]*", "", request) && !meets("", ".*", "[^/?]*", request));
            assert!(!meets("", "", "", request));
        }
        for (pattern, end) in [(".*", "\n"), ("[^/]*", "/"), ("[^/?]*", "?"), ("[a-x]*", "\u{e9}")]
        {
            let path = &field.replace('\0', end);
            assert!(!meets("", pattern, "", ("x", path, "x")), "{path:?} of {pattern}");
            let whole = format!("{pattern}{}x*", regex_syntax::escape(end));
            assert!(meets("", &whole, "", ("x", path, "x")), "{path:?} of {whole}");
        }
    }
}

#[test]
fn case_counts_unless_the_pattern_says_otherwise() {
    assert!(
        !meets("get", "", "", ("GET", "/", "h")) && meets("(?i)get", "", "", ("GET", "/", "h"))
    );
    assert!(!meets("(?i)get", "/X", "", ("GET", "/x", "h")), "a flag ends with its field");
}

#[test]
fn classes_are_ascii_as_in_re2() {
    assert!(path("/\\d+", "/12") && !path("/\\d+", "/\u{0661}"));
    assert!(path("/.", "/\u{00e9}") && path("/[[:alpha:]]", "/z"));
    assert!(path("/[a&&b]+", "/a&b") && path("/[[x]+", "/[x"));
    assert!(path("/\\Qa.b\\E", "/a.b") && !path("/\\Qa.b\\E", "/axb"));
    assert!(
        path("/a{,3}", "/a{,3}")
            && path("/\\<", "/<")
            && path("/[\\w.]+", "/a_Z.9")
            && path("/[^\\d]", "/x")
    );
    assert!(
        path("/\\W", "/-")
            && !path("/\\W", "/a")
            && path("/[\\D5]", "/5")
            && !path("/[\\D5]", "/6")
    );
}

#[test]
fn a_bad_pattern_disables_its_rule_and_no_other() {
    let bad = HttpRule { path: pattern("("), ..HttpRule::default() };
    let good = HttpRule { path: pattern("/ok"), ..HttpRule::default() };
    let rules = HttpRules::new(vec![bad, good].into());
    let mut met = Vec::new();
    for path in ["(", "/ok", "/"] {
        let request = HttpRequest { method: "GET", path, host: "", headers: &|_| {} };
        rules.find(&mut HttpScratch::default(), &request, &mut |place, _| {
            met.push(place);
        });
    }
    assert_eq!(met, [1]);
}

#[test]
fn all_rules_a_request_meets_are_found_whatever_their_order() {
    let rule = |text: &&str| HttpRule { path: pattern(text), ..HttpRule::default() };
    let rules = HttpRules::new(["/a.*", "/ab", "/.*", "/b"].iter().map(rule).collect());
    let mut met = Vec::new();
    let request = HttpRequest { method: "GET", path: "/ab", host: "", headers: &|_| {} };
    rules.find(&mut HttpScratch::default(), &request, &mut |place, _| {
        met.push(place);
    });
    met.sort_unstable();
    assert_eq!(met, [0, 1, 2]);
}

#[test]
fn header_fields_of_one_name_are_joined_before_they_are_compared() {
    let fields: [(&str, &[u8]); 3] = [("x-a", b"1"), ("Other", b"z"), ("X-A", b"2")];
    let headers = |each: &mut dyn FnMut(&str, &[u8])| {
        fields.iter().for_each(|(name, value)| each(name, value))
    };
    let request = HttpRequest { method: "GET", path: "/", host: "", headers: &headers };
    let rule = |name: &str, value: Option<&str>| HeaderRule {
        name: name.into(),
        value: value.map(Into::into),
    };
    assert!(holds(&rule("X-a", Some("1,2")), &request) && holds(&rule("x-A", None), &request));
    for value in ["1", "2", "1,", "1,2,", "2,1", ""] {
        assert!(!holds(&rule("X-A", Some(value)), &request), "{value:?}");
    }
    assert!(!holds(&rule("gone", None), &request) && !holds(&rule("X-A:", None), &request));
}

/// Pieces of patterns, and texts that they match or nearly do.
const PIECES: [(&str, &[&str]); 38] = [
    ("a", &["a"]),
    ("ab", &["ab", "a"]),
    ("/", &["/"]),
    ("/v1/", &["/v1/", "/v1"]),
    ("/0123456789", &["/0123456789", "/012345678x", "/012345678", "/0123456x89"]),
    ("\u{e9}", &["\u{e9}", "\u{e8}"]),
    (".", &["x", "\u{e9}", "\n", ""]),
    (".*", &["", "x/y", "b\u{e9}\u{20ac}", "0123456789abcdef/", "a\nb", "a\0b"]),
    (".+", &["", "x", "\u{10ffff}"]),
    (".?", &["", "x", "\u{e9}"]),
    ("[^/]*", &["", "x", "x/y", "\u{e9}x"]),
    ("[^/]+", &["", "ab", "/", "0123456789abcdefg", "01234567/"]),
    ("[^/?#&]+", &["x", "x&y"]),
    ("[^/?#&;]+", &["x", "x;y"]),
    ("[^\u{e9}]*", &["x", "\u{e9}", "\u{e8}"]),
    ("[a-z]+", &["abc", "aBc", ""]),
    ("[0-9]+", &["7", "42", ""]),
    ("[0-9]{2}", &["12", "1", "123"]),
    ("[0-9]{1,3}", &["1", "123", "1234", ""]),
    ("[0-9]{2,}", &["1", "12", "12345"]),
    (".{2}", &["ab", "a\u{e9}", "\u{e9}"]),
    ("[0-9]*", &["", "0"]),
    ("[ab]", &["a", "b", "c"]),
    ("a*", &["", "aaa"]),
    ("[a-z]+[0-9]*x", &["abx", "ab12x", "a1"]),
    ("/?", &["", "/"]),
    ("(?:GET|POST|PUT)", &["GET", "POST", "PU"]),
    ("(?:a|ab|abc)", &["a", "ab", "abc"]),
    ("(?:/.*|\\?x)?", &["", "/", "/z", "?x"]),
    ("(?:/[a-z]+)*", &["/a/b", "", "/"]),
    ("(?i:get)", &["GET", "get", "gEx"]),
    ("(?i:s)", &["s", "S", "\u{17f}"]),
    ("\\b", &["", "x"]),
    ("^", &["", "x"]),
    ("$", &["", "x"]),
    ("\\x00", &["\0", ""]),
    ("[\\x00-\\x20]*", &["\0", " ", ""]),
    ("[[:^ascii:]]+", &["\u{e9}", "x"]),
];

/// A pattern, and a text that may match it.
fn matching() -> impl Strategy<Value = (String, String)> {
    let piece = (select(&PIECES[..]), any::<Index>());
    let pieces = prop::collection::vec(piece, 0..5);
    let branch = pieces.prop_map(|pieces| {
        let texts = pieces.iter().map(|((_, texts), at)| *at.get(texts));
        (pieces.iter().map(|((pattern, _), _)| *pattern).collect::<String>(), texts.collect())
    });
    let branches = prop::collection::vec(branch, 1..3);
    branches.prop_map(|branches: Vec<(String, String)>| {
        let patterns: Vec<&str> = branches.iter().map(|(pattern, _)| pattern.as_str()).collect();
        (patterns.join("|"), branches.into_iter().map(|(_, text)| text).next_back().unwrap())
    })
}

/// A character that is too many in a field, and where.
fn slip() -> impl Strategy<Value = Option<(usize, Index, char)>> {
    prop::option::weighted(
        0.3,
        (0..3_usize, any::<Index>(), select(&['\0', 'a', '/', '\u{e9}'][..])),
    )
}

/// Whether a request meets a rule, by its patterns alone.
fn meets_alone(rule: &HttpRule, fields: [&str; 3]) -> bool {
    let own = [&rule.method, &rule.path, &rule.host];
    own.into_iter().zip(fields).all(|(pattern, field)| {
        let matches = |pattern: &Pattern| {
            let syntax = syntax::Config::new().utf8(false).octal(true);
            let anchored = pattern.anchored();
            anchored.is_some_and(|text| {
                let machine = PikeVM::builder().syntax(syntax).build(&text).unwrap();
                machine.is_match(&mut machine.create_cache(), field)
            })
        };
        !field.contains('\0') && pattern.as_ref().is_none_or(matches)
    })
}

fn met(rules: &HttpRules, [method, path, host]: [&str; 3]) -> Vec<u32> {
    let mut met = Vec::new();
    let request = HttpRequest { method, path, host, headers: &|_| {} };
    rules.find(&mut HttpScratch::default(), &request, &mut |place, _| met.push(place));
    met.sort_unstable();
    met.dedup();
    met
}

fn met_alone(rules: &[HttpRule], fields: [&str; 3]) -> Vec<u32> {
    let places = rules.iter().zip(0..);
    places.filter(|(rule, _)| meets_alone(rule, fields)).map(|(_, place)| place).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn rules_are_met_as_each_of_their_patterns_alone(
        made in prop::collection::vec(prop::array::uniform3(prop::option::of(matching())), 0..6),
        requests in prop::collection::vec((prop::array::uniform3(any::<Index>()), slip()), 6),
    ) {
        let pattern = |made: &Option<(String, String)>| {
            made.as_ref().map(|(pattern, _)| Pattern::new(pattern))
        };
        let rules: Vec<HttpRule> = made.iter().map(|[method, path, host]| HttpRule {
            method: pattern(method),
            path: pattern(path),
            host: pattern(host),
            ..HttpRule::default()
        }).collect();
        let all = HttpRules::new(rules.clone().into());
        for (request, slip) in &requests {
            // Mostly the fields of one rule, sometimes a field of another, sometimes with a character too many.
            let mut texts: [String; 3] = std::array::from_fn(|field| {
                let rule = if request[field].index(4) == 0 { &request[field] } else { &request[0] };
                let made = (!made.is_empty()).then(|| rule.get(&made));
                made.and_then(|made| made[field].as_ref()).map_or("", |(_, text)| text).to_owned()
            });
            if let Some((field, at, slip)) = slip {
                let places: Vec<usize> = (0..=texts[*field].len()).collect();
                let at = *at.get(&places);
                if texts[*field].is_char_boundary(at) {
                    texts[*field].insert(at, *slip);
                }
            }
            let texts = texts.each_ref().map(String::as_str);
            prop_assert_eq!(met(&all, texts), met_alone(&rules, texts), "{:?} under {:?}", texts, &rules);
        }
    }
}

fn rules(paths: impl IntoIterator<Item = String>) -> Vec<HttpRule> {
    let rule = |path: String| HttpRule { path: Some(Pattern::new(&path)), ..HttpRule::default() };
    paths.into_iter().map(rule).collect()
}

#[test]
fn what_people_write_is_plain() {
    let mut runs = Runs::default();
    let mut is_plain = |path: &str| {
        let rule = rules([path.to_owned()]).pop().unwrap();
        plain::ways(&rule, &mut runs).is_some()
    };
    for path in [
        "/public",
        "/v1/.*",
        "/v1/item/[0-9]+",
        "/v1/item/[^/]+/parts",
        "/v1/item/[^/?]*(\\?.*)?",
        "^/(a|b|c)(/.*)?$",
        "/x|/y/[a-z]{2,8}/z",
        "/\\d{4}-\\d{2}-\\d{2}",
        ".*",
        "",
        "/u/[[:alnum:]]+/.+",
    ] {
        assert!(is_plain(path), "{path}");
    }
    // A run could leave something to what follows, or its end is not told by bytes.
    for path in
        ["/a/.*/b", ".*[.]js", "/\\pL+", "(/[a-z]+)*", "/\\bx", "/.{3}", "(", "/[a-z]+[x-z]"]
    {
        assert!(!is_plain(path), "{path}");
    }
}

/// What a program does not take, the automaton finds beside it, or instead of it.
#[test]
fn rules_of_which_many_are_met_at_once_are_found() {
    let nested = (0..200).map(|depth| format!("/{}.*", "a".repeat(depth)));
    let of_runs =
        (0..200).map(|last| format!("/a[b-{}]*[.]x", char::from_u32(0x4e00 + last).unwrap()));
    let classes = (0..90).map(|more| format!("/[a{}]*", char::from(b'!' + more)));
    let rules = rules(nested.chain(of_runs).chain(classes).filter(|path| !path.contains("[a[")));
    let all = HttpRules::new(rules.clone().into());
    for path in ["/", "/aaaaaa", &format!("/{}", "a".repeat(300)), "/abcd.x", "/a\0", "/b"] {
        assert_eq!(met(&all, ["GET", path, ""]), met_alone(&rules, ["GET", path, ""]), "{path}");
    }
}

#[test]
fn ten_thousand_rules_are_told_apart() {
    let all = HttpRules::new(rules((0..10_000).map(|item| format!("/item/{item}(/.*)?"))).into());
    for item in (0..10_000).step_by(97) {
        let place = [u32::try_from(item).unwrap()];
        assert_eq!(met(&all, ["GET", &format!("/item/{item}"), "h"]), place);
        assert_eq!(met(&all, ["GET", &format!("/item/{item}/x"), "h"]), place);
        for path in [format!("/item/{item}x"), format!("/item/{item}\0"), format!("/item/0{item}")]
        {
            assert_eq!(met(&all, ["GET", &path, "h"]), [0_u32; 0], "{path}");
        }
    }
    assert_eq!(met(&all, ["GET", "/item/", "h"]), [0_u32; 0]);
}
