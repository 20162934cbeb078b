#![warn(missing_docs)]
//! Settings from a file, flags and `key=value` arguments, checked against one definition: a struct
//! with documentation, defaults, serde and a JSON Schema.
//!
//! | item | what it is |
//! |---|---|
//! | [`Document`] | a TOML or YAML file: values, and the line of every key |
//! | [`Setting`], [`Kind`] | a field of the struct: its name, flag, help, default and type |
//! | [`Layers`] | what file, flags and arguments set, the later ones over the earlier |
//! | [`Problem`], [`Origin`] | what is wrong, and where it was written |
//! | [`write()`](fn@write) | settings as TOML that [`Document`] reads back bit for bit |
//!
//! Files are taken for hostile: their size and depth are bounded, aliases of YAML are refused, and
//! whatever is wrong with one is a [`Problem`] with a line, never a panic.

mod document;
mod kind;
mod layers;
mod problem;
mod setting;
mod write;

pub use document::Document;
pub use kind::Kind;
pub use layers::Layers;
pub use problem::{Origin, Problem, Problems};
pub use setting::{Setting, published, schema_of};
pub use write::{value_text, write};
