//! An allocator that counts: allocations, and bytes that are held.
//!
//! It hands everything on to the system's. A program that wants the figures makes [`Counting`] its global allocator.
#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; this one only counts and hands on"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);

/// The allocator.
#[derive(Debug)]
pub struct Counting;

/// Allocations since the program started.
pub fn allocations() -> usize {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Bytes allocated and not freed yet.
pub fn held() -> usize {
    HELD.load(Ordering::Relaxed)
}

// SAFETY: every method hands its arguments on to the system's allocator unchanged, which keeps the trait's contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is the same one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `pointer` came from `System.alloc` with this layout, for `alloc` above is the only source.
        unsafe { System.dealloc(pointer, layout) }
    }
}
