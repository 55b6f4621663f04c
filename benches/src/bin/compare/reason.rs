//! Why a target is missed where it is: what was found, by row. Shown only beside a miss.

/// What was found about a row; nothing where nothing was.
pub(crate) fn of(row: u8) -> Option<&'static str> {
    FOUND.iter().find_map(|(found, reason)| (*found == row).then_some(*reason))
}

const FOUND: [(u8, &str); 3] = [
    (
        8,
        "at an MTU of 1500 every segment is copied into userspace and out of it again, and XDP switches the pods' segmentation offload \
         off; HAProxy, nginx and the bridge move 64 KiB at a time.",
    ),
    (
        9,
        "as row 8: without segmentation offload each 1500 bytes are one trip through the kernel's stack at both ends. testpmd pays the same.",
    ),
    (
        12,
        "a connection keeps both its tuples and its whole verdict, a stream its whole history of numbers, whether used or not.",
    ),
];
