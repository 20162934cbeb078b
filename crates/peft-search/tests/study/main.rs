//! Studies: kills, lost workers, several workers, budgets, hostile files; with the feature `postgres` in databases, too.

mod budgets;
mod files;
mod kills;
#[cfg(feature = "postgres")]
mod postgres;
mod toy;
mod workers;
