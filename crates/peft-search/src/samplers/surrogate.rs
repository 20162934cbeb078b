//! What models an objective.

use serde::{Deserialize, Serialize};

use crate::gp::{Ensemble, FitSettings, Prior, Rows};
use crate::{Counter, SearchError};

/// The surrogate of a modelled objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Surrogate {
    /// One Gaussian process under [`Prior::DimensionScaled`].
    Ard,
    /// The ensemble of [`Prior::Saas`].
    Saas,
    /// Sixteen draws of a SAAS model's hyper-parameters by Hamiltonian Monte Carlo, with the feature `nuts`.
    SaasNuts,
}

impl Surrogate {
    /// Checks that this build has it.
    ///
    /// # Errors
    ///
    /// [`SearchError::Feature`] of [`SaasNuts`](Self::SaasNuts) without the feature `nuts`.
    pub fn check(self) -> Result<(), SearchError> {
        match self {
            #[cfg(not(feature = "nuts"))]
            Self::SaasNuts => Err(absent()),
            _ => Ok(()),
        }
    }

    /// Fits it to observations.
    pub(super) fn fit(
        self,
        rows: &Rows,
        outputs: &[f64],
        groups: &[usize],
        floor: f64,
        counter: &mut Counter,
    ) -> Result<Ensemble, SearchError> {
        let priors = match self {
            Self::Ard => vec![Prior::DimensionScaled],
            Self::Saas => Ensemble::saas(),
            #[cfg(feature = "nuts")]
            Self::SaasNuts => {
                let settings = crate::gp::NutsSettings::default();
                return Ensemble::sample(rows, outputs, groups, floor, &settings, counter);
            }
            #[cfg(not(feature = "nuts"))]
            Self::SaasNuts => return Err(absent()),
        };
        let settings = FitSettings::default();
        Ensemble::fit(rows, outputs, groups, &priors, floor, &settings, counter)
    }
}

#[cfg(not(feature = "nuts"))]
fn absent() -> SearchError {
    SearchError::Feature {
        setting: "surrogate",
        value: "saas-nuts",
        feature: "nuts",
        instead: "`saas`",
    }
}
