//! Heads: any bytes, any cuts. The first byte chooses the segment size; the rest is the stream.
//!
//! Holds: the scanner and the reader agree in one piece and in segments, also when the reader reads on; views lie within the head; what httparse, the
//! second parser, refuses is never accepted, and what is accepted it takes apart alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use parser::http::{
    HeadScanner, Limits, Progress, ResponseTo, Strictness, read_request, read_request_on,
    read_response,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((size, stream)) = bytes.split_first() else { return };
    let limits = Limits::default();
    let whole = read_request(stream, &limits);

    let mut scanner = HeadScanner::request();
    let mut reader = scanner;
    let mut shape = Ok(Progress::Incomplete);
    let mut end = 0;
    for segment in stream.chunks(usize::from(*size).max(1)) {
        shape = scanner.advance(segment, &limits);
        end += segment.len();
        let read = read_request_on(&mut reader, &stream[..end], &limits, &Strictness::STRICT);
        match (&read, &whole) {
            (Ok(Progress::Incomplete), _) => assert_eq!(shape, Ok(Progress::Incomplete)),
            (Ok(Progress::Complete(head)), Ok(Progress::Complete(whole))) => {
                assert_eq!(format!("{head:?}"), format!("{whole:?}"));
            }
            (Err(refusal), Err(whole)) => assert_eq!(refusal, whole),
            (read, whole) => panic!("{read:?} but {whole:?}"),
        }
        if !matches!(shape, Ok(Progress::Incomplete)) {
            break;
        }
    }
    match (&whole, shape) {
        (Ok(Progress::Complete(head)), Ok(Progress::Complete(length))) => {
            assert_eq!(head.head_len, length);
            assert!(head.target.ends_with(head.path_and_query) || head.path_and_query == "/");
            assert!(head.fields().count() <= limits.fields);
            let mut array = [httparse::EMPTY_HEADER; 128];
            let mut second = httparse::Request::new(&mut array);
            assert_eq!(second.parse(stream), Ok(httparse::Status::Complete(length)));
            assert_eq!((second.method, second.path), (Some(head.method), Some(head.target)));
            let theirs = second.headers.iter().map(|field| (field.name.as_bytes(), field.value));
            assert!(head.fields().map(|field| (field.name, field.value)).eq(theirs));
            let alone = read_request(&stream[..length], &limits);
            assert!(
                matches!(alone, Ok(Progress::Complete(again)) if again.framing == head.framing)
            );
        }
        (Ok(Progress::Incomplete), Ok(Progress::Incomplete)) => {}
        (Err(refusal), Err(shape)) => assert_eq!(*refusal, shape),
        (Err(_), Ok(Progress::Complete(_))) => {}
        (whole, shape) => panic!("{whole:?} but {shape:?}"),
    }

    for to in [ResponseTo::Other, ResponseTo::Head, ResponseTo::WebSocket, ResponseTo::Connect] {
        if let Ok(Progress::Complete(head)) = read_response(stream, to, &limits) {
            assert!(head.head_len <= stream.len());
            assert!(head.ambiguous.is_none() || !(head.persistent || head.switching));
        }
    }
});
