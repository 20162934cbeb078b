//! Type erasure of the three kinds of adapter.
//!
//! Burn's visitors and mappers have const-generic methods and are not object-safe, so a traversal
//! crosses the erased boundary twice: [`bridge`] erases the rank of every parameter on the way out
//! of the concrete adapter and restores it on the way into the caller's visitor or mapper.

mod bridge;
mod object;

pub(crate) use bridge::{ToMapper, ToVisitor};
pub(crate) use object::{ErasedParameter, ErasedSlot, ErasedWeight};
