use std::collections::{BTreeMap, BTreeSet};

use peft_core::{AdapterError, Site, own_settings, settings_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ComponentsMethod;

/// Sets of components that go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ComponentPreset {
    /// Low-rank updates of the step widths, `B` and `C`, and of `dt_proj`: the paper's "LoRA on SSM".
    #[default]
    Ssm,
    /// Low-rank updates of `in_proj` and `out_proj`.
    Projections,
    /// Low-rank updates of all pieces of all projections.
    All,
    /// Decays, direct paths, step widths, `B`, `C` and the convolution in full.
    SsmFull,
    /// Direct paths and norms in full.
    Norms,
}

/// The settings of tuning by components.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ComponentsConfig {
    /// Which components are trained where neither `full` nor `lora` names any.
    pub preset: ComponentPreset,
    /// Components that are trained in full, such as `A_log`, `D`, `conv1d`, `dt_proj.bias` or `x_proj`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "NAMES")))]
    pub full: Vec<String>,
    /// Components that get low-rank updates: layers (`in_proj`, `x_proj`, `dt_proj`, `out_proj`), or pieces of their outputs
    /// (`in_x`, `in_z`, `x_dt`, `x_B`, `x_C`; in Mamba-2 `in_z`, `in_x`, `in_B`, `in_C`, `in_dt`), each with factors of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "NAMES")))]
    pub lora: Vec<String>,
    /// Rank of every low-rank update.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "rank")))]
    pub r: usize,
    /// Scale of the updates, times the rank.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "alpha")))]
    pub lora_alpha: f64,
    /// Probability with which inputs of the updates are dropped in training.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "adapter-dropout", "x-value" = "P")))]
    pub lora_dropout: f64,
    /// First output and the one behind the last of each piece of a projection; of a run, those of the model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "")))]
    pub pieces: BTreeMap<String, BTreeMap<String, [usize; 2]>>,
}

impl Default for ComponentsConfig {
    fn default() -> Self {
        Self {
            preset: ComponentPreset::Ssm,
            full: Vec::new(),
            lora: Vec::new(),
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            pieces: BTreeMap::new(),
        }
    }
}

/// Layers whose outputs are pieces.
const SPLIT: [&str; 2] = ["in_proj", "x_proj"];

/// Whether a path is of this component.
pub(super) fn is(path: &str, name: &str) -> bool {
    let rest = path.strip_suffix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What the weight of a norm is called among components: families have names of their own.
fn norm(path: &str) -> Option<String> {
    let module = path.strip_suffix(".weight")?;
    let leaf = module.rsplit('.').next()?;
    leaf.contains("norm").then(|| format!("{leaf}.weight"))
}

impl ComponentsConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "preset",
        "full",
        "lora",
        "r",
        "lora_alpha",
        "lora_dropout",
        "pieces",
    ];

    /// LoRAp(X) ([2411.03855](https://arxiv.org/abs/2411.03855)): low-rank updates of the half of `in_proj` that the
    /// convolution reads, of rank 64 and scale 1.
    pub fn lorap_x() -> Self {
        Self {
            lora: vec!["in_x".into()],
            r: 64,
            lora_alpha: 64.0,
            ..Self::default()
        }
    }

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }

    /// The settings of an `adapter_config.json`.
    pub(super) fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config: Self = own_settings(ComponentsMethod::NAME, map, Self::KEYS)?;
        config.check()?;
        Ok(config)
    }

    /// The layer of a piece such as `x_B`, and the piece's name there.
    pub(super) fn piece<'a>(&'a self, name: &'a str) -> Option<(&'a str, &'a str)> {
        let known = SPLIT
            .into_iter()
            .chain(self.pieces.keys().map(String::as_str));
        let found = known.filter_map(|layer| {
            let stem = layer.strip_suffix("_proj").unwrap_or(layer);
            let piece = name.strip_prefix(stem)?.strip_prefix('_')?;
            (!piece.is_empty() && piece != "proj").then_some((layer, piece))
        });
        found.max_by_key(|(layer, _)| layer.len())
    }

    fn check(&self) -> Result<(), AdapterError> {
        let fault = |problem: String, fix: &str| AdapterError::Config {
            method: ComponentsMethod::NAME.into(),
            problem,
            fix: fix.into(),
        };
        if !(1..=1 << 16).contains(&self.r) {
            return Err(fault(format!("r = {}", self.r), "use a rank such as 8"));
        }
        if !self.lora_alpha.is_finite() || !(0.0..1.0).contains(&self.lora_dropout) {
            let problem = format!(
                "lora_alpha = {} and lora_dropout = {}",
                self.lora_alpha, self.lora_dropout
            );
            let fix = "use a finite alpha, and a probability below 1";
            return Err(fault(problem, fix));
        }
        for names in [&self.full, &self.lora] {
            let mut seen = BTreeSet::new();
            if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
                return Err(fault(format!("`{name}` is named twice"), "name it once"));
            }
        }
        for name in &self.lora {
            let Some((whole, _)) = self.piece(name) else {
                if self.full.contains(name) {
                    let problem =
                        format!("`{name}` is to be trained in full and by low-rank updates");
                    return Err(fault(problem, "name it once"));
                }
                continue;
            };
            let mut all = self.lora.iter().chain(&self.full);
            if all.any(|other| other == whole) {
                let problem =
                    format!("`{name}` is a piece of `{whole}`, which is trained as a whole");
                return Err(fault(problem, "name the layer or its pieces"));
            }
        }
        Ok(())
    }

    /// Components trained in full, and those with low-rank updates: those that are named, or the preset's in a model of
    /// this kind.
    pub(super) fn chosen(&self, dual: bool) -> [Vec<String>; 2] {
        if !self.full.is_empty() || !self.lora.is_empty() {
            return [self.full.clone(), self.lora.clone()];
        }
        let (full, lora): (&[&str], &[&str]) = match (self.preset, dual) {
            (ComponentPreset::Ssm, false) => (&[], &["x_dt", "x_B", "x_C", "dt_proj"]),
            (ComponentPreset::Ssm, true) => (&[], &["in_dt", "in_B", "in_C"]),
            (ComponentPreset::Projections, _) => (&[], &["in_proj", "out_proj"]),
            (ComponentPreset::All, false) => (
                &[],
                &["in_x", "in_z", "x_dt", "x_B", "x_C", "dt_proj", "out_proj"],
            ),
            (ComponentPreset::All, true) => {
                (&[], &["in_z", "in_x", "in_B", "in_C", "in_dt", "out_proj"])
            }
            (ComponentPreset::SsmFull, false) => (
                &[
                    "A_log",
                    "D",
                    "x_proj",
                    "dt_proj",
                    "dt_proj.bias",
                    "conv1d",
                    "conv1d.bias",
                ],
                &[],
            ),
            (ComponentPreset::SsmFull, true) => {
                (&["A_log", "D", "dt_bias", "conv1d", "conv1d.bias"], &[])
            }
            (ComponentPreset::Norms, _) => (&["D", "norm.weight", "norm_f.weight"], &[]),
        };
        [full, lora].map(|names| names.iter().map(|name| (*name).to_owned()).collect())
    }
}

/// Pieces of a layer's outputs and how wide they are, in their order.
type Widths = Vec<(&'static str, usize)>;

/// What of the settings follows from a model: its kind's components of the preset, and where the pieces of its projections
/// lie.
pub(super) fn of_model(config: &ComponentsConfig, sites: &[Site]) -> Map<String, Value> {
    let shape = |name: &str| {
        let site = sites.iter().find(|site| is(&site.path, name));
        site.map(|site| site.shape.as_slice())
    };
    let (Some(decays), Some(&[_, outputs])) = (shape("A_log"), shape("in_proj")) else {
        return Map::new();
    };
    let widths: Option<Vec<(&str, Widths)>> = match (decays, shape("x_proj")) {
        (&[channels, states], Some(&[_, narrow])) => (narrow > 2 * states).then(|| {
            vec![
                ("in_proj", vec![("x", channels), ("z", channels)]),
                (
                    "x_proj",
                    vec![("dt", narrow - 2 * states), ("B", states), ("C", states)],
                ),
            ]
        }),
        (&[heads], None) => {
            let channels = shape("out_proj").and_then(|shape| shape.first().copied());
            let wide = channels.and_then(|d| outputs.checked_sub(2 * d + heads));
            channels.zip(wide).map(|(channels, wide)| {
                let pieces = [
                    ("z", channels),
                    ("x", channels),
                    ("B", wide / 2),
                    ("C", wide / 2),
                ];
                let pieces = pieces.into_iter().chain([("dt", heads)]).collect();
                vec![("in_proj", pieces)]
            })
        }
        _ => None,
    };
    let mut pieces = Map::new();
    for (layer, parts) in widths.into_iter().flatten() {
        let mut from = 0;
        let mut ranges = Map::new();
        for (name, width) in parts {
            ranges.insert(name.to_owned(), vec![from, from + width].into());
            from += width;
        }
        pieces.insert(layer.to_owned(), ranges.into());
    }
    let mut all = Map::from_iter([("pieces".to_owned(), Value::Object(pieces))]);
    if config.full.is_empty() && config.lora.is_empty() {
        let [mut full, lora] = config.chosen(decays.len() == 1);
        if config.preset == ComponentPreset::Norms {
            full = vec!["D".to_owned()];
            for name in sites.iter().filter_map(|site| norm(&site.path)) {
                if !full.contains(&name) {
                    full.push(name);
                }
            }
        }
        for (key, names) in [("full", full), ("lora", lora)] {
            if !names.is_empty() {
                all.insert(key.to_owned(), names.into());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn components_are_named_once_and_in_one_way() {
        let read = |settings: Value| {
            let map = settings.as_object().unwrap();
            ComponentsConfig::from_json(map).map_err(|error| error.to_string())
        };
        for (settings, problem) in [
            (json!({ "lora": ["x_B", "x_B"] }), "`x_B` is named twice"),
            (json!({ "full": ["D", "A_log", "D"] }), "`D` is named twice"),
            (json!({ "lora": ["x_B", "x_proj"] }), "a piece of `x_proj`"),
            (
                json!({ "lora": ["x_B"], "full": ["x_proj"] }),
                "a piece of `x_proj`",
            ),
            (
                json!({ "lora": ["dt_proj"], "full": ["dt_proj"] }),
                "in full and by low-rank",
            ),
            (json!({ "r": 0 }), "r = 0"),
            (json!({ "lora_dropout": 1.0 }), "lora_dropout = 1"),
        ] {
            let told = read(settings.clone()).unwrap_err();
            assert!(told.contains(problem), "{settings}: {told}");
        }
        read(json!({ "lora": ["x_B", "x_C"], "full": ["D"] })).unwrap();
    }
}
