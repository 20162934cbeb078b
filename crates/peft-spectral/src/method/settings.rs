use indexmap::IndexMap;
use peft_core::{AdapterError, settings_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{check_factor, fault, is_default};
use crate::{
    Route,
    support::{Hierarchical, Metric, Reach},
};

/// Which coefficients are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// By distance bands: in each the strongest of the pre-trained weight's spectrum, and others at
    /// random. The paper's.
    #[default]
    Hier,
    /// The strongest of the pre-trained weight's spectrum.
    Energy,
    /// At random.
    Random,
    /// The lowest frequencies.
    LowBlock,
    /// By distance bands among the crossings of `max_rows` rows and `max_cols` columns: an update of low
    /// rank that is as cheap as LoRA's.
    Product,
    /// The strongest of the spectrum of the loss's gradient at the start: the entries along which
    /// the loss falls fastest.
    Grad,
}

/// How far an entry of the spectrum is from the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Distance {
    /// From the constant term, in entries.
    #[default]
    Corner,
    /// From the constant term, each axis scaled to 1.
    Normalized,
    /// From the middle of the grid, as MaCP's released code.
    Centre,
}

/// Where the last band ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Farthest {
    /// At the farthest entry.
    #[default]
    Grid,
    /// At `√((M/2)² + (N/2)²)`, as the paper; what lies beyond belongs to the last band.
    Paper,
}

/// How coefficients start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CoefficientInit {
    /// At zero: the adapted layer computes what the base does.
    #[default]
    Zeros,
    /// Standard normal, as MaCP's released code.
    Normal,
    /// Uniform on `±1/√n` (Kaiming with a = √5 on a row of `n`).
    Uniform,
}

/// The settings of the methods that choose their coefficients from the weight: sDCTFT and SSH.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SelectedConfig {
    /// Coefficients `n` of each module.
    pub n_frequency: usize,
    /// Numbers of coefficients of single modules, by name or regular expression.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub n_frequency_pattern: IndexMap<String, usize>,
    /// Which coefficients are trained.
    pub select: Selection,
    /// Share of a band's coefficients that goes to its strongest entries.
    pub delta: f64,
    /// Distance bands.
    pub bands: u32,
    /// The distance.
    pub metric: Distance,
    /// Where the last band ends.
    pub d_max: Farthest,
    /// Rows of the spectrum with coefficients, at most, for `select = "product"`.
    pub max_rows: usize,
    /// Columns of the spectrum with coefficients, at most, for `select = "product"`.
    pub max_cols: usize,
    /// The factor `γ` on the orthonormal transform.
    pub gamma: f64,
    /// How coefficients start.
    pub init: CoefficientInit,
    /// How updates are applied.
    #[serde(skip_serializing_if = "is_default")]
    pub evaluation: Route,
    /// Whether the learning rate is one for 1,200 coefficients on 384 outputs, and every module's own
    /// follows from its numbers. Concerns training only.
    #[serde(skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "schema", schemars(extend("x-default" = "true where the learning rate is left to the method")))]
    pub scale_rate: bool,
}

impl SelectedConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "n_frequency",
        "n_frequency_pattern",
        "select",
        "delta",
        "bands",
        "metric",
        "d_max",
        "max_rows",
        "max_cols",
        "gamma",
        "init",
        "evaluation",
        "scale_rate",
    ];

    /// sDCTFT's: three bands, seven tenths of each by energy.
    pub fn sdctft() -> Self {
        Self::default()
    }

    /// SSH's: one band.
    pub fn ssh() -> Self {
        Self {
            n_frequency: 750,
            bands: 1,
            ..Self::default()
        }
    }

    /// The settings of the banded selection.
    pub fn hierarchical(&self) -> Hierarchical {
        Hierarchical {
            bands: self.bands,
            energy_share: self.delta,
            metric: match self.metric {
                Distance::Corner => Metric::Corner,
                Distance::Normalized => Metric::Normalized,
                Distance::Centre => Metric::Centre,
            },
            reach: match self.d_max {
                Farthest::Grid => Reach::Grid,
                Farthest::Paper => Reach::Paper,
            },
        }
    }

    pub(super) fn check(&self, method: &str) -> Result<(), AdapterError> {
        check_factor(method, "gamma", self.gamma)?;
        if !(0.0..=1.0).contains(&self.delta) {
            let problem = format!("delta = {} is no share", self.delta);
            return Err(fault(method, problem, "use 0 to 1"));
        }
        if !(1..=64).contains(&self.bands) {
            let problem = format!("bands = {}", self.bands);
            return Err(fault(method, problem, "use 1 to 64"));
        }
        if self.max_rows == 0 || self.max_cols == 0 {
            let problem = "max_rows or max_cols is 0";
            return Err(fault(method, problem, "use 1 or more"));
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> Map<String, Value> {
        let mut map = settings_json(self);
        // What does nothing is left out.
        if self.select != Selection::Product {
            map.remove("max_rows");
            map.remove("max_cols");
        }
        map
    }
}

impl Default for SelectedConfig {
    fn default() -> Self {
        Self {
            n_frequency: 700,
            n_frequency_pattern: IndexMap::new(),
            select: Selection::Hier,
            delta: 0.7,
            bands: 3,
            metric: Distance::Corner,
            d_max: Farthest::Grid,
            max_rows: 32,
            max_cols: 32,
            gamma: 1.0,
            init: CoefficientInit::Zeros,
            evaluation: Route::Auto,
            scale_rate: false,
        }
    }
}
