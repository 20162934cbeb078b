//! Mamba: a stack of selective state spaces (Gu and Dao 2023).

mod block;
mod conv;
mod model;

pub use block::MambaBlock;
pub use conv::Conv1d;
pub use model::{Mamba, MambaModel};
