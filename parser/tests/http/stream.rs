//! Reads whole client streams, in one piece and in many, and tells what happened in comparable form.

use parser::http::{
    Body, BodyFraming, HeadScanner, HttpRefusal, Limits, Progress, RequestHead, read_request,
};

/// What a stream came to, from its first byte on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Head {
        at: usize,
        head_len: usize,
        method: String,
        view: String,
        host: String,
        framing: BodyFraming,
    },
    BodyEnd {
        at: usize,
    },
    Refused(HttpRefusal),
}

fn head_event(at: usize, head: &RequestHead<'_>) -> Event {
    Event::Head {
        at,
        head_len: head.head_len,
        method: head.method.to_owned(),
        view: head.path_and_query.to_owned(),
        host: head.host.to_owned(),
        framing: head.framing,
    }
}

/// The stream in one piece.
pub(crate) fn whole(bytes: &[u8]) -> Vec<Event> {
    let limits = Limits::default();
    let mut events = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match read_request(&bytes[at..], &limits) {
            Err(refusal) => {
                events.push(Event::Refused(refusal));
                return events;
            }
            Ok(Progress::Incomplete) => return events,
            Ok(Progress::Complete(head)) => {
                events.push(head_event(at, &head));
                at += head.head_len;
                let mut body = Body::from(head.framing);
                match body.advance(&bytes[at..]) {
                    Err(refusal) => {
                        events.push(Event::Refused(refusal));
                        return events;
                    }
                    Ok(step) => {
                        at += step.consumed;
                        if !step.finished {
                            return events;
                        }
                        events.push(Event::BodyEnd { at });
                    }
                }
            }
        }
    }
    events
}

/// The stream as a stream engine sees it: segment by segment, held heads scanned once, payload sometimes skipped.
pub(crate) fn segmented<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let limits = Limits::default();
    let mut events = Vec::new();
    let mut at = 0;
    let mut held: Vec<u8> = Vec::new();
    let mut scanner = HeadScanner::request();
    let mut body: Option<Body> = None;
    for (index, segment) in segments.into_iter().enumerate() {
        let mut rest = segment;
        while !rest.is_empty() {
            if let Some(open) = &mut body {
                if index % 2 == 1 {
                    let skipped = usize::try_from(open.skip(rest.len() as u64)).unwrap();
                    rest = &rest[skipped..];
                    at += skipped;
                }
                match open.advance(rest) {
                    Err(refusal) => {
                        events.push(Event::Refused(refusal));
                        return events;
                    }
                    Ok(step) => {
                        rest = &rest[step.consumed..];
                        at += step.consumed;
                        if step.finished {
                            events.push(Event::BodyEnd { at });
                            body = None;
                        }
                    }
                }
                continue;
            }
            match scanner.advance(rest, &limits) {
                Err(refusal) => {
                    events.push(Event::Refused(refusal));
                    return events;
                }
                Ok(Progress::Incomplete) => {
                    held.extend_from_slice(rest);
                    assert_eq!(scanner.scanned(), held.len());
                    rest = &[];
                }
                Ok(Progress::Complete(head_len)) => {
                    let taken = head_len - held.len();
                    held.extend_from_slice(&rest[..taken]);
                    rest = &rest[taken..];
                    match read_request(&held, &limits) {
                        Err(refusal) => {
                            events.push(Event::Refused(refusal));
                            return events;
                        }
                        Ok(Progress::Incomplete) => panic!("scanner and reader disagree"),
                        Ok(Progress::Complete(head)) => {
                            assert_eq!(head.head_len, head_len);
                            events.push(head_event(at, &head));
                            at += head_len;
                            let open = Body::from(head.framing);
                            if open.is_finished() {
                                events.push(Event::BodyEnd { at });
                            } else {
                                body = Some(open);
                            }
                        }
                    }
                    held.clear();
                    scanner = HeadScanner::request();
                }
            }
        }
    }
    events
}

/// `bytes` cut before each of the ascending positions.
pub(crate) fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut segments = Vec::new();
    let mut begin = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        segments.push(&bytes[begin..end]);
        begin = end;
    }
    segments
}
