//! The updates as adapters of Burn modules.

mod bases;
mod c3a;
mod layout;
mod loca;
mod spectral;

pub use c3a::Circulant;
pub use layout::Route;
pub(crate) use layout::{entries_of, support_of};
pub use loca::Loca;
pub(crate) use loca::{places, shares};
pub use spectral::{Spectral, SpectralParts};
