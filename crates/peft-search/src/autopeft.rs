//! AutoPEFT's space (Zhou, Wan, Vulić and Korhonen, arXiv 2301.12132).

use serde::{Deserialize, Serialize};

use crate::{
    Configuration, Domain, Forbidden, Goal, Objective, Parameter, Problem, Scale, SearchError,
    Space,
};

/// The space for a backbone: sizes of a serial adapter, a parallel adapter and a prefix, shared by all active layers,
/// and for each layer whether it is left out.
///
/// Sizes are `width/2ᵏ` for k = 0 … 8, then 1, then 0: absent; of BERT-base 768, 384, 192, 96, 48, 24, 12, 6, 3, 1, 0.
/// A configuration has at least one module and one active layer: of BERT-base 11³·2¹² = 5,451,776 combinations
/// 5,446,350 are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoPeft {
    /// Width of the hidden states, d.
    pub width: u64,
    /// Layers of the backbone, L.
    pub layers: usize,
    /// Parameters of the backbone before any head, N.
    pub parameters: u64,
}

/// A configuration of [`AutoPeft`] in its own terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoPeftConfiguration {
    /// Bottleneck of the serial adapter; 0 where there is none.
    pub serial: u64,
    /// Bottleneck of the parallel adapter; 0 where there is none.
    pub parallel: u64,
    /// Length of the prefix; 0 where there is none.
    pub prefix: u64,
    /// Of each layer whether it has the modules.
    pub active: Vec<bool>,
}

const SIZES: [&str; 3] = ["serial", "parallel", "prefix"];
const ABSENT: u32 = 10;

impl AutoPeft {
    /// bert-base-uncased: 12 layers of 768, 109,482,240 parameters.
    pub const BERT_BASE: Self = Self {
        width: 768,
        layers: 12,
        parameters: 109_482_240,
    };

    /// The eleven sizes, largest first, 0 last.
    pub fn sizes(&self) -> [u64; 11] {
        let mut sizes = [0; 11];
        (0..9).for_each(|k| sizes[k] = self.width >> k);
        sizes[9] = 1;
        sizes
    }

    /// The space: parameters `serial`, `parallel`, `prefix`, then `leave_out_0` and so on.
    ///
    /// # Errors
    ///
    /// [`SearchError::Parameter`] of a backbone without layers, or too narrow for eleven different sizes.
    pub fn space(&self) -> Result<Space, SearchError> {
        if self.layers == 0 || self.width < 1 << 9 {
            return Err(SearchError::Parameter {
                parameter: "serial".to_owned(),
                reason: format!(
                    "{} layers of {}: the space needs a layer, and a width of 512 or more",
                    self.layers, self.width
                ),
            });
        }
        let values: Vec<f64> = self.sizes().iter().map(|size| *size as f64).collect();
        let size = Domain::Ordinal {
            values,
            absent: Some(ABSENT),
        };
        let mut parameters: Vec<Parameter> = SIZES
            .iter()
            .map(|name| Parameter::new(*name, size.clone()))
            .collect();
        let layers: Vec<String> = (0..self.layers).map(|i| format!("leave_out_{i}")).collect();
        parameters.extend(
            layers
                .iter()
                .map(|name| Parameter::new(name, Domain::Binary)),
        );
        let nothing = SIZES
            .iter()
            .map(|name| ((*name).to_owned(), ABSENT))
            .collect();
        let nowhere = layers.into_iter().map(|name| (name, 1)).collect();
        Space::new(parameters, vec![Forbidden(nothing), Forbidden(nowhere)])
    }

    /// A configuration of the space in its own terms.
    pub fn describe(&self, configuration: &Configuration) -> AutoPeftConfiguration {
        let sizes = self.sizes();
        let size = |index: usize| sizes[configuration.0[index].min(ABSENT) as usize];
        let active = configuration.0[3..]
            .iter()
            .map(|level| *level == 0)
            .collect();
        AutoPeftConfiguration {
            serial: size(0),
            parallel: size(1),
            prefix: size(2),
            active,
        }
    }

    /// Stored values added to the backbone, in percent of it: `100 · 2dλ(D_S + D_P + ℓ)/N` with λ active layers.
    /// Biases, and what re-parameterises a prefix while training, are not counted, as in the paper.
    pub fn cost(&self, configuration: &Configuration) -> f64 {
        let AutoPeftConfiguration {
            serial,
            parallel,
            prefix,
            active,
        } = self.describe(configuration);
        let layers = active.iter().filter(|active| **active).count() as u64;
        let values = 2 * self.width * layers * (serial + parallel + prefix);
        100.0 * values as f64 / self.parameters as f64
    }

    /// Accuracy, measured, against [`cost`](Self::cost), known, in logarithms. The reference cost is a little above
    /// the space's largest; the reference accuracy is the user's, the score of the majority class as a rule.
    ///
    /// # Errors
    ///
    /// Those of [`space`](Self::space) and [`Problem::new`].
    pub fn problem(&self, scale: Scale, reference: [f64; 2]) -> Result<Problem, SearchError> {
        let own = *self;
        let objectives = vec![
            Objective::known("cost", Goal::Minimise, scale),
            Objective::measured("accuracy", Goal::Maximise),
        ];
        let known = move |configuration: &Configuration| vec![own.cost(configuration)];
        Problem::new(self.space()?, objectives, Some(reference.to_vec()), known)
    }

    /// Known good configurations to begin with, at the grid's nearest sizes: a serial adapter of d/16 in all layers
    /// (Pfeiffer), a parallel one of d/2 (He et al.), that with a prefix of d/32 (MAM), prefixes of d/64 alone, and
    /// the serial adapter in the upper half of the layers.
    pub fn published(&self) -> Vec<Configuration> {
        let build = |sizes: [u32; 3], skipped: usize| {
            let mut levels = sizes.to_vec();
            levels.extend((0..self.layers).map(|layer| u32::from(layer < skipped)));
            Configuration(levels)
        };
        vec![
            build([4, ABSENT, ABSENT], 0),
            build([ABSENT, 1, ABSENT], 0),
            build([ABSENT, 1, 5], 0),
            build([ABSENT, ABSENT, 6], 0),
            build([4, ABSENT, ABSENT], self.layers / 2),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Costs of published configurations, in percent of BERT-base.
    #[test]
    fn costs_of_reference() {
        let bert = AutoPeft::BERT_BASE;
        let cost = |sizes: [u32; 3], layers: usize| {
            let mut levels = sizes.to_vec();
            levels.extend((0..12).map(|layer| u32::from(layer >= layers)));
            let configuration = Configuration(levels);
            bert.space().unwrap().check(&configuration).unwrap();
            bert.cost(&configuration)
        };
        assert!((cost([4, 10, 10], 12) - 0.808).abs() < 1e-3);
        assert!((cost([10, 1, 10], 12) - 6.465).abs() < 1e-3);
        assert!((cost([9, 10, 10], 1) - 0.001_403_0).abs() < 1e-7);
        assert!((cost([0, 0, 0], 12) - 38.789_24).abs() < 1e-5);
        assert_eq!(bert.sizes(), [768, 384, 192, 96, 48, 24, 12, 6, 3, 1, 0]);
    }

    #[test]
    fn published_configurations_are_valid_and_nothing_is_not() {
        let space = AutoPeft::BERT_BASE.space().unwrap();
        assert_eq!(space.combinations(), 5_451_776.0);
        for configuration in AutoPeft::BERT_BASE.published() {
            space.check(&configuration).unwrap();
        }
        let mut nowhere = vec![0, 0, 0];
        nowhere.extend([1; 12]);
        assert!(space.check(&Configuration(nowhere)).is_err());
        let mut nothing = vec![10; 3];
        nothing.extend([0; 12]);
        assert!(space.check(&Configuration(nothing)).is_err());
        assert!(
            AutoPeft {
                layers: 0,
                ..AutoPeft::BERT_BASE
            }
            .space()
            .is_err()
        );
    }
}
