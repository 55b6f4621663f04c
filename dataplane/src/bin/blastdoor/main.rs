//! blastdoor.
fn main() {}
