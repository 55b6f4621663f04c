//! Searches.

use crate::pair::{MACS, Pair, pktgen, report, skipped};

#[test]
fn every_size_and_goal_has_a_result_and_a_place_on_the_page() {
    if skipped() {
        return;
    }
    let pair = Pair::new();
    let json = report(&format!(
        "search --interface {} --receive-on {} {MACS} --source 10.9.0.1 --destination 10.9.1.1 --sizes 60,1514 --pdr 50 \
         --highest 1000 --seconds 0.1 --trials 1 --repeats 2",
        pair.from(),
        pair.to()
    ));
    let results = json["results"].as_array().unwrap();
    let names: Vec<_> =
        results.iter().map(|result| (result["size"].as_u64(), result["goal"].as_str())).collect();
    let (ndr, pdr) = (Some("ndr"), Some("pdr"));
    assert_eq!(names, [(Some(60), ndr), (Some(60), pdr), (Some(1514), ndr), (Some(1514), pdr)]);
    for result in results {
        // How high they are depends on what else the machine does; that they are consistent does not.
        let rates = result["pps"]["rates"].as_array().unwrap();
        assert_eq!((rates.len(), result["bounds"].as_array().unwrap().len()), (2, 2));
        assert!(result["pps"]["max"].as_u64().unwrap() <= 1000);
        assert!(!result["trials"].as_array().unwrap().is_empty());
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("search.json");
    std::fs::write(&path, json.to_string()).unwrap();
    let page = pktgen(&format!("report {}", path.display()));
    assert!(page.status.success(), "{}", String::from_utf8_lossy(&page.stderr));
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("NDR, 60 bytes") && page.contains("<svg"));
}
