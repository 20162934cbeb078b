//! The update as a sandwich of basis rows around a sparse core.

mod core;
mod factored;
mod fast;
mod formed;
mod lanes;
mod layout;
mod side;

pub use core::Core;
pub use factored::Factored;
pub use fast::Fast;
pub use formed::Formed;
pub use layout::Sandwich;
