//! The layers that the paper's theory and its synthetic experiments are about.

mod s4;
mod s6;

pub use s4::S4Layer;
pub use s6::S6Layer;
