//! Fast bodies, one module for each backend that has them, and their backward passes.

mod autodiff;
pub mod flex;
mod sine;
