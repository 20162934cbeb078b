//! State-space models: a recurrence written out, folders of the first implementation, and what is refused.

#[path = "../common/mod.rs"]
mod common;
mod folders;
mod recurrence;
