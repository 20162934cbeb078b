//! Stacks of state spaces: Mamba (Gu and Dao 2023), Mamba-2 (Dao and Gu 2024) and FalconMamba.

mod block;
mod conv;
mod dual;
mod layer;
mod model;
mod start;

pub use block::MambaBlock;
pub use conv::Conv1d;
pub use dual::Mamba2Block;
pub use layer::MambaLayer;
pub use model::{Mamba, MambaModel};
