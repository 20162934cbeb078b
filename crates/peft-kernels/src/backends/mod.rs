//! Fast bodies, one module for each backend that has them, and their backward passes.

#[cfg(feature = "flex")]
mod autodiff;
#[cfg(feature = "cubecl")]
pub mod cubecl;
pub mod dual;
#[cfg(feature = "flex")]
pub mod flex;
mod recurrence;
mod second;
pub mod selective;
#[cfg(feature = "flex")]
mod sine;
