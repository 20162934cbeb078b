//! Which entries of the update's spectrum are trained.

mod bands;
mod foreign;
mod hierarchical;
mod list;
mod product;
mod simple;

pub use bands::{Bands, Metric, Reach};
pub use foreign::{fourierft_support, waveft_support};
pub use hierarchical::{Hierarchical, hierarchical};
pub use list::Support;
pub use product::product;
pub use simple::{low_block, low_block_size, random, strongest};
