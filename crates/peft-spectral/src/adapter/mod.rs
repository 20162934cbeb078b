//! The updates as adapters of Burn modules.

mod bases;
mod c3a;
mod layout;
mod spectral;

pub use c3a::Circulant;
pub use layout::Evaluation;
pub(crate) use layout::support_of;
pub use spectral::{Spectral, SpectralParts};
