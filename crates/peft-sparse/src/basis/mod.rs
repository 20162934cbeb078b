//! Bases in which gradients are concentrated.

mod eigen;
mod leading;

pub use eigen::eigen;
pub use leading::leading;
