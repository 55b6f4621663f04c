//! The committed seeds and regressions of the fuzz targets (whose first byte is a segment size), replayed with the
//! targets' own properties.

use std::path::{Path, PathBuf};

use parser::http::{Body, BodyFraming, Limits, Progress, ResponseTo, read_response};

use crate::stream::{segmented, whole};

/// The files of a corpus, in order.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() > 10, "{} has only {} files", folder.display(), files.len());
    files
}

#[test]
fn heads_of_the_fuzz_corpus_read_alike_in_any_segmentation() {
    for (path, bytes) in corpus("http_head") {
        let Some((_, bytes)) = bytes.split_first() else { continue };
        let expected = whole(bytes);
        for size in [1, 2, 3, 5, 64] {
            assert_eq!(segmented(bytes.chunks(size)), expected, "{}", path.display());
        }
        for to in [ResponseTo::Other, ResponseTo::Head, ResponseTo::WebSocket] {
            if let Ok(Progress::Complete(head)) = read_response(bytes, to, &Limits::default()) {
                assert!(head.head_len <= bytes.len());
            }
        }
    }
}

#[test]
fn bodies_of_the_fuzz_corpus_end_alike_in_any_segmentation() {
    for (path, bytes) in corpus("http_body") {
        let Some((_, bytes)) = bytes.split_first() else { continue };
        let expected = Body::from(BodyFraming::Chunked).advance(bytes);
        let mut body = Body::from(BodyFraming::Chunked);
        let mut consumed = 0;
        let mut refusal = None;
        for byte in bytes {
            match body.advance(&[*byte]) {
                Ok(step) => consumed += step.consumed,
                Err(error) => {
                    refusal = Some(error);
                    break;
                }
            }
        }
        match expected {
            Ok(step) => {
                assert_eq!((step.consumed, refusal), (consumed, None), "{}", path.display())
            }
            Err(error) => assert_eq!(refusal, Some(error), "{}", path.display()),
        }
    }
}
