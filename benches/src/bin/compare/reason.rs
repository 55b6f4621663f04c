//! Why a target is missed where it is: what was found, by row. Shown only beside a miss.

/// What was found about a row; nothing where nothing was.
pub(crate) fn of(row: u8) -> Option<&'static str> {
    FOUND.iter().find_map(|(found, reason)| (*found == row).then_some(*reason))
}

const FOUND: [(u8, &str); 2] = [
    (
        11,
        "of a cpu-clock profile of the turns, about a third is the connection lookup: 4 096 connections lie all over a table made for \
         524 288, so that a lookup misses cache and TLB. Nothing else is above 4 %. `perf record -e cpu-clock` of the benchmark `worker` \
         with `--bench --profile-time 4 '1024 packets/L4'` shows it.",
    ),
    (
        14,
        "ports are taken over one after another: of the first 48, the kernel puts each program into its XDP dispatcher and waits for \
         an RCU grace period while it holds the lock of all interfaces (`bpf_dispatcher_change_prog`, about 10 ms on an idle machine \
         and longer on a busy one), so that taking over several at once would not be faster.",
    ),
];
