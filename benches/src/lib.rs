//! What the benchmarks work on, and the measurements that need no kernel: a worker over plain memory, alone and with a second one,
//! and the memory that connections hold.

pub mod allocation;
pub mod frames;
pub mod memory;
pub mod pair;
pub mod rig;
pub mod table;
