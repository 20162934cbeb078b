//! Random numbers as pure functions of a key and an index.

mod key;
mod sample;

pub use key::{key_of, mix_key};
pub use sample::{Keep, attention_keep, keep, normal, uniform};
