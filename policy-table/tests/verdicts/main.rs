//! Policies and their verdicts as tables of cases, answered by the compiled table and by the oracle.

mod audit;
mod connectivity;
mod kubernetes;
mod lab;
mod names;
mod semantics;
