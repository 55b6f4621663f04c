//! Chunked content: any bytes, any cuts. The first byte chooses the segment size; the rest is the stream.
//!
//! Holds: the same end or the same refusal in one piece and in segments, with and without skipping payload; nothing is
//! consumed beyond the end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use parser::http::{Body, BodyFraming};

fuzz_target!(|bytes: &[u8]| {
    let Some((size, stream)) = bytes.split_first() else { return };
    let whole = Body::from(BodyFraming::Chunked).advance(stream);

    let mut body = Body::from(BodyFraming::Chunked);
    let mut consumed = 0;
    let mut segmented = Ok(());
    'stream: for (index, segment) in stream.chunks(usize::from(*size).max(1)).enumerate() {
        let mut rest = segment;
        if index % 2 == 0 {
            let skipped = usize::try_from(body.skip(rest.len() as u64)).unwrap_or(usize::MAX);
            consumed += skipped;
            rest = &rest[skipped..];
        }
        match body.advance(rest) {
            Ok(step) => {
                assert!(step.consumed <= rest.len());
                assert!(step.finished || step.consumed == rest.len());
                consumed += step.consumed;
                if step.finished {
                    break 'stream;
                }
            }
            Err(refusal) => {
                segmented = Err(refusal);
                break 'stream;
            }
        }
    }
    match whole {
        Ok(step) => assert_eq!((step.consumed, step.finished), (consumed, body.is_finished())),
        Err(refusal) => assert_eq!(segmented, Err(refusal)),
    }
});
