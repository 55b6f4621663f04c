//! Asking the processor for memory before it is needed.
//!
//! A batch's packets, and the connections they belong to, lie all over memory: read one after the other, each would wait for it.
//! Asked for together, they come together. Nothing depends on it: a processor that does not listen is slower, and that is all.
#![expect(unsafe_code, reason = "an instruction that no safe function offers")]

/// Bytes that a processor fetches at once.
const LINE: usize = 64;

/// Asks for the first `bytes` bytes from `start` on.
#[inline]
pub(crate) fn prefetch<T>(start: *const T, bytes: usize) {
    for offset in (0..bytes).step_by(LINE) {
        line(start.cast::<i8>().wrapping_add(offset));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn line(address: *const i8) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction reads nothing that a program could see, and faults at no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn line(_address: *const i8) {}
