//! A stand-in for AutoPEFT whose exact front is known by enumeration.

use serde::{Deserialize, Serialize};

use crate::hypervolume::hypervolume;
use crate::{AutoPeft, Configuration, pareto};

/// What the accuracy of [`SynthPeft`] depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Later layers count more, `w_i = (i + 1)/78`.
    #[default]
    Plain,
    /// Only the last four layers count: the others must be found irrelevant.
    FourLayers,
    /// The prefix helps where lower layers are active, the adapters where upper ones are.
    Interaction,
}

/// Accuracy in closed form on AutoPEFT's space of BERT-base.
///
/// With `c = Σ_{active} w_i`, `e(D) = log₂(1 + D)/log₂ 769`, `q = 1 − (1 − 0.5 e_S)(1 − 0.6 e_P)(1 − 0.3 e_X)` and the
/// cost `g` in percent: `acc = 0.60 + 0.20 √c q − 0.002 max(0, g − 5)`. Made up for measuring searches: it says
/// nothing of any model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SynthPeft {
    /// The variant.
    pub variant: Variant,
}

impl SynthPeft {
    /// The space.
    pub const SPACE: AutoPeft = AutoPeft::BERT_BASE;
    /// Reference accuracy of the hypervolumes.
    pub const ACCURACY: f64 = 0.60;
    /// Largest hypervolume of (−g, accuracy) of the plain variant, above (−26, 0.60).
    pub const BEST_LINEAR: f64 = 3.615_686_215_4;
    /// Largest hypervolume of (−log₁₀ g, accuracy) of the plain variant, above (−log₁₀ 40, 0.60).
    pub const BEST_LOG: f64 = 0.335_997_475_7;

    /// The accuracy, without noise.
    pub fn accuracy(&self, configuration: &Configuration) -> f64 {
        let described = Self::SPACE.describe(configuration);
        let e = |size: u64| (1.0 + size as f64).log2() / 769f64.log2();
        let share = |from: usize, to: usize| {
            let active = (from..to).filter(|&layer| described.active[layer]);
            let of = |layer: usize| (layer + 1) as f64;
            active.map(of).sum::<f64>() / (from..to).map(of).sum::<f64>()
        };
        let (lower, upper) = match self.variant {
            Variant::Plain => (share(0, 12), share(0, 12)),
            Variant::FourLayers => (share(8, 12), share(8, 12)),
            Variant::Interaction => (share(0, 6), share(6, 12)),
        };
        let miss = |weight: f64, size: u64, share: f64| 1.0 - weight * e(size) * share.sqrt();
        let gain = if self.variant == Variant::Interaction {
            1.0 - miss(0.5, described.serial, upper)
                * miss(0.6, described.parallel, upper)
                * miss(0.3, described.prefix, lower)
        } else {
            let q = 1.0
                - (1.0 - 0.5 * e(described.serial))
                    * (1.0 - 0.6 * e(described.parallel))
                    * (1.0 - 0.3 * e(described.prefix));
            lower.sqrt() * q
        };
        let cost = Self::SPACE.cost(configuration);
        0.60 + 0.20 * gain - 0.002 * (cost - 5.0).max(0.0)
    }

    /// Accuracy after `epoch` of `epochs` on a curve that saturates sooner for small configurations:
    /// `acc · (1 − exp(−t/τ))` with `τ` from 6 to 20 % of the epochs.
    pub fn after(&self, configuration: &Configuration, epoch: u32, epochs: u32) -> f64 {
        let size = (Self::SPACE.cost(configuration).log10() + 3.0) / 5.0;
        let time = f64::from(epochs) * (0.06 + 0.14 * size.clamp(0.0, 1.0));
        self.accuracy(configuration) * (1.0 - (-f64::from(epoch) / time).exp())
    }

    /// Hypervolumes of configurations, by the accuracy without noise: of the linear and of the logarithmic cost.
    pub fn volumes(&self, configurations: &[Configuration]) -> [f64; 2] {
        let rows: Vec<[f64; 2]> = configurations
            .iter()
            .map(|c| [Self::SPACE.cost(c), self.accuracy(c)])
            .collect();
        let linear: Vec<Vec<f64>> = rows.iter().map(|[g, a]| vec![-g, *a]).collect();
        let log: Vec<Vec<f64>> = rows.iter().map(|[g, a]| vec![-g.log10(), *a]).collect();
        [
            hypervolume(&linear, &[-26.0, Self::ACCURACY]),
            hypervolume(&log, &[-40f64.log10(), Self::ACCURACY]),
        ]
    }

    /// The exact front by enumeration of all 5,446,350 configurations: cost and accuracy of each point, cost
    /// ascending.
    ///
    /// # Errors
    ///
    /// None for this space; the type is that of [`AutoPeft::space`].
    pub fn enumerate(&self) -> Result<(usize, Vec<[f64; 2]>), crate::SearchError> {
        let space = Self::SPACE.space()?;
        let (mut count, mut rows) = (0, Vec::new());
        for configuration in space.enumerate() {
            count += 1;
            rows.push(vec![
                -Self::SPACE.cost(&configuration),
                self.accuracy(&configuration),
            ]);
            if rows.len() >= 1 << 16 {
                let kept = pareto::front(&rows);
                rows = kept
                    .into_iter()
                    .map(|index| std::mem::take(&mut rows[index]))
                    .collect();
            }
        }
        let kept = pareto::front(&rows);
        let mut points: Vec<[f64; 2]> = kept.iter().map(|&i| [-rows[i][0], rows[i][1]]).collect();
        points.sort_by(|a, b| a[0].total_cmp(&b[0]));
        Ok((count, points))
    }
}
