//! Studies: kills, stops, lost workers, several workers, budgets, times, hostile files; with the feature `postgres` in databases, too.

mod budgets;
mod files;
mod kills;
#[cfg(feature = "postgres")]
mod postgres;
mod stops;
mod times;
mod toy;
mod workers;
