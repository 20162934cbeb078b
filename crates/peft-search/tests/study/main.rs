//! Studies: kills, lost workers, several workers, budgets, hostile files.

mod budgets;
mod files;
mod kills;
mod toy;
mod workers;
