//! Which entries of a weight are trained.

mod code;
mod select;
mod tiles;

pub use code::code_len;
pub use select::{largest, random, strongest, strongest_tiles, torch_random};
pub use tiles::Support;
