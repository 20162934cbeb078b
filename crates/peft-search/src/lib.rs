#![warn(missing_docs)]
//! Multi-objective Bayesian search of mixed, finite spaces, made for configurations of adapters: few and costly trials,
//! an accuracy that is measured with noise, and a size that is known beforehand.
//!
//! * [`Space`]: binary, categorical, ordinal, integer and real parameters with conditions and forbidden combinations;
//!   every one a finite list of levels, so that configurations can be compared, enumerated and written down exactly.
//! * [`Problem`]: the space with its objectives, of which some are known functions and never modelled.
//! * [`Search`]: an [`Optimizer`], ask and tell, for one worker or many. Its whole state is the list of its events: who
//!   replays a journal proposes the same. No random number depends on anything but the seed and a trial's number.
//! * [`Bayes`]: Gaussian processes ([`gp`]) and noisy expected hypervolume improvement with exact known objectives
//!   ([`acquisition`]), maximised by steepest ascent; baselines [`Random`], [`Nsga2`] and [`Motpe`].
//! * [`study`]: a search that outlives its process and that workers share: journal, leases, budgets, reports.
//! * `nuts`, a feature: SAAS surrogates whose hyper-parameters are drawn by Hamiltonian Monte Carlo.
//! * `runs`, a feature: studies whose trials are runs of `peft-run`, and the spaces of their settings.
//! * [`Asha`]: early stopping that compares accuracy among trials of like cost.
//! * [`hypervolume`] and [`pareto`]: sweep, WFG, box decomposition.
//!
//! ```
//! use peft_search::*;
//!
//! let domain = Domain::Integer { low: 1, high: 64, log: true };
//! let space = Space::new(vec![Parameter::new("rank", domain)], vec![])?;
//! let objectives = vec![
//!     Objective::known("values", Goal::Minimise, Scale::Log10),
//!     Objective::measured("accuracy", Goal::Maximise),
//! ];
//! let size = |c: &Configuration| vec![f64::from(c.0[0] + 1) * 768.0];
//! let problem = Problem::new(space, objectives, Some(vec![1e5, 0.5]), size)?;
//! let mut search = Search::new(problem, Bayes { initial: 4, ..Bayes::default() }, 7);
//! for _ in 0..6 {
//!     for proposal in search.ask(1)? {
//!         let rank = f64::from(proposal.configuration.0[0] + 1);
//!         let measured = vec![0.9 - 0.3 / rank];
//!         search.tell(proposal.trial, Outcome::Complete { measured })?;
//!     }
//! }
//! assert!(!search.history().front(search.problem()).is_empty());
//! # Ok::<(), SearchError>(())
//! ```

pub mod acquisition;
mod ascent;
mod autopeft;
mod counter;
mod design;
mod error;
pub mod gp;
mod history;
pub mod hypervolume;
pub mod normal;
mod numbers;
pub mod pareto;
mod problem;
pub mod problems;
mod pruning;
#[cfg(feature = "runs")]
pub mod runs;
mod samplers;
mod search;
mod space;
pub mod study;

pub use autopeft::{AutoPeft, AutoPeftConfiguration};
pub use counter::Counter;
pub use error::SearchError;
pub use history::{Event, History, Origin, Outcome, Trial};
pub use problem::{Goal, Objective, Policy, Problem, Scale, Treatment};
pub use pruning::{Asha, Comparison, Decision};
pub use samplers::{
    Acquisition, Bayes, InitialDesign, Knowledge, Motpe, Nsga2, Random, Settings, Surrogate,
    Transform,
};
pub use search::{Optimizer, Proposal, Sampler, Search};
pub use space::{
    Condition, Configuration, Configurations, Domain, Encoding, Forbidden, Parameter, Space, Value,
};
