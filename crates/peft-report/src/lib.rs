#![warn(missing_docs)]
//! Reports as one page of HTML that needs nothing beside it: figures, tables and plots, light and dark.
//!
//! A [`Page`] has [`Section`]s of [`Block`]s. There is no script in it, nothing is loaded from elsewhere, and every text
//! is escaped by the template.

mod page;
mod table;

pub use page::{Block, Page, Section, Tile};
pub use table::{Cell, Column, Table};
