//! Random numbers as pure functions of a key and an index.

mod key;
mod mt19937;
mod sample;

pub use key::{key_of, mix_key, word};
pub use mt19937::Mt19937;
pub use sample::{Keep, attention_keep, keep, normal, uniform, uniform_within};
