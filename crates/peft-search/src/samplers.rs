//! Rules that choose what to try.

mod bayes;
mod motpe;
mod nsga2;
mod outputs;
mod random;
mod settings;
mod surrogate;

pub use bayes::{Acquisition, Bayes, InitialDesign, Knowledge};
pub use motpe::Motpe;
pub use nsga2::Nsga2;
pub use outputs::Transform;
pub use random::Random;
pub use settings::Settings;
pub use surrogate::Surrogate;
