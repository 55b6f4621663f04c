//! What must hold of the splice after any edits and acknowledgements: it agrees with a list of the receiver's bytes.
//!
//! Two bytes an operation: its kind, and how far or how long.

use super::splice::Splice;

/// The slow and obvious map.
#[derive(Default)]
struct Model {
    /// What the receiver's bytes are: the sender's position, or ours.
    receiver: Vec<Option<u64>>,
    /// Sender's positions up to here are laid out.
    sent: u64,
    cuts: Vec<(u64, u64)>,
    /// Receiver's position up to which everything is acknowledged.
    settled: u64,
}

impl Model {
    fn pass(&mut self, len: u64) {
        self.receiver.extend((self.sent..self.sent + len).map(Some));
        self.sent += len;
    }

    fn check(&self, splice: &Splice) {
        // From the end, so that the next of the sender's bytes is at hand.
        let mut next = None;
        for (r, origin) in self.receiver.iter().enumerate().rev() {
            let r = r as u64;
            if r < self.settled {
                break;
            }
            if let Some(p) = *origin {
                assert_eq!(splice.forward(p), r);
                assert_eq!(splice.skip_cut(p), p);
                let end = splice.run_end(p);
                assert!(end > p);
                if let Some(q) = next.filter(|_| end > p + 1) {
                    assert_eq!((q, splice.forward(q)), (p + 1, r + 1), "they travel together");
                }
                next = *origin;
            }
            // What the receiver misses first, if anything of the sender's follows.
            if let Some(next) = next {
                assert_eq!(splice.backward(r), next);
            }
        }
        for &(from, to) in &self.cuts {
            // A cut is known until what comes before it is acknowledged.
            let place = self.receiver.iter().position(|origin| *origin >= Some(from));
            let place = place.unwrap_or(self.receiver.len()) as u64;
            if place > self.settled {
                for p in from..to {
                    assert_eq!(splice.skip_cut(p), to);
                    assert_eq!(splice.forward(p), place);
                }
            }
        }
    }
}

/// Panics if the splice and the list of bytes ever disagree.
pub(crate) fn check(bytes: &[u8]) {
    let mut splice = Splice::default();
    let mut model = Model::default();
    model.pass(1);
    let mut kind_before = u8::MAX;
    for operation in bytes.as_chunks::<2>().0.iter().take(32) {
        let [kind, amount] = *operation;
        let kind = kind % 4;
        let len = 1 + u64::from(amount % 12);
        match kind {
            0 => model.pass(len),
            1 => {
                // A cut and an insertion never touch: one direction is cut, the other is inserted into.
                if kind_before == 2 {
                    model.pass(1);
                }
                splice.cut(model.sent, len);
                let end = model.sent + len;
                match model.cuts.last_mut() {
                    Some((_, to)) if *to == model.sent => *to = end,
                    _ => model.cuts.push((model.sent, end)),
                }
                model.sent = end;
            }
            2 => {
                if kind_before == 1 {
                    model.pass(1);
                }
                let at = splice.insert(model.sent, len);
                assert_eq!(at, model.receiver.len() as u64);
                model.receiver.extend((0..len).map(|_| None));
            }
            _ => {
                let una = model.receiver.len() as u64 * u64::from(amount) / 255;
                model.settled = model.settled.max(una);
                splice.settle(model.settled);
            }
        }
        if kind != 3 {
            kind_before = kind;
        }
        model.check(&splice);
    }
    model.pass(3);
    model.check(&splice);
    splice.settle(model.receiver.len() as u64);
    assert_eq!(splice.heap_bytes(), 0, "what is acknowledged costs nothing");
}
