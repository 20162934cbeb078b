//! Random numbers as pure functions of a key and an index.

mod key;
mod sample;

pub use key::{key_of, mix_key, word};
pub use sample::{Keep, attention_keep, keep, normal, uniform};
