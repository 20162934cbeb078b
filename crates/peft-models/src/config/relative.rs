//! How encoders see how far apart tokens are.

use super::{Fault, fields::ConfigFields};

/// What an attention knows of the distances of tokens, beside a table of positions or instead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelativePositions {
    /// A number for each head and each [bucket](RelativePositions::bucket) of distances, added to the scores of all layers (MPNet,
    /// as T5: Raffel et al. 2020).
    Bias,
    /// Vectors of distances, which score with the contents of tokens (DeBERTa: He et al. 2021).
    Disentangled(Disentangled),
}

/// Disentangled attention: `(q kᵀ + q P_kᵀ + k P_qᵀ) / √(D · parts)`, where `P_k` and `P_q` are keys and queries of distances,
/// read at that of query and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disentangled {
    /// Half of the table's rows: distance 0 is at this row.
    pub span: usize,
    /// Distances beyond half of these buckets share their rows by logarithm; none where each distance has its own.
    pub buckets: Option<usize>,
    /// The distance of the last bucket.
    pub max_distance: usize,
    /// Whether queries score with keys of distances (`c2p`).
    pub content_to_position: bool,
    /// Whether keys score with queries of distances (`p2c`).
    pub position_to_content: bool,
    /// Whether the table goes through a norm.
    pub normed: bool,
}

/// Buckets of MPNet's distances, half of them for tokens on either side.
const BUCKETS: usize = 32;
/// Distances from here on share MPNet's last bucket.
const FARTHEST: f64 = 128.0;

impl RelativePositions {
    /// Rows of the table.
    pub fn entries(self) -> usize {
        match self {
            Self::Bias => BUCKETS,
            Self::Disentangled(own) => 2 * own.span,
        }
    }

    /// The row of the table for a query that is `distance` tokens behind its key.
    pub fn bucket(self, distance: i64) -> usize {
        match self {
            Self::Bias => {
                let half = BUCKETS / 2;
                let exact = half / 2;
                let far = usize::try_from(distance.unsigned_abs()).unwrap_or(usize::MAX);
                // In single precision and in this order, as the reference.
                let ratio = (far as f32 / exact as f32).ln();
                let most = (FARTHEST / exact as f64).ln() as f32;
                let by_logarithm = exact + (ratio / most * (half - exact) as f32) as usize;
                let bucket = if far < exact { far } else { by_logarithm };
                bucket.min(half - 1) + if distance < 0 { half } else { 0 }
            }
            Self::Disentangled(own) => {
                let place = own.logarithmic(distance).saturating_add(own.span as i64);
                place.clamp(0, 2 * own.span as i64 - 1) as usize
            }
        }
    }
}

impl Disentangled {
    /// Divisor of the scores' width: the parts that a score has.
    pub fn parts(self) -> usize {
        1 + usize::from(self.content_to_position) + usize::from(self.position_to_content)
    }

    fn logarithmic(self, distance: i64) -> i64 {
        let Some(buckets) = self.buckets else {
            return distance;
        };
        let middle = buckets / 2;
        let far = distance.unsigned_abs();
        if far <= middle as u64 {
            return distance;
        }
        // In single precision and in this order, as the reference.
        let ratio = (far as f32 / middle as f32).ln();
        let most = ((self.max_distance as f64 - 1.0) / middle as f64) as f32;
        let steps = (ratio / most.ln() * (middle - 1) as f32).ceil();
        let place = (steps + middle as f32) as i64;
        if distance < 0 { -place } else { place }
    }

    /// What DeBERTa's fields say.
    pub(super) fn read(fields: ConfigFields, max_positions: usize) -> Result<Self, Fault> {
        const FIX: &str = "use a checkpoint of DeBERTa-v3, or of DeBERTa-v2 without these parts";
        if !fields.flag("relative_attention", false)? {
            return Err((
                "`relative_attention` is false: such an attention is not supported".into(),
                FIX,
            ));
        }
        if !fields.flag("share_att_key", false)? {
            return Err((
                "`share_att_key` is false: projections of the distances' own are not supported"
                    .into(),
                FIX,
            ));
        }
        if fields.size(&["conv_kernel_size"])?.unwrap_or(0) > 0 {
            return Err((
                "`conv_kernel_size` is set: the convolution behind the first layer is not supported"
                    .into(),
                FIX,
            ));
        }
        let kinds = kinds(fields)?;
        let buckets = fields.number("position_buckets")?.unwrap_or(-1.0);
        let distances = fields.number("max_relative_positions")?.unwrap_or(-1.0);
        let whole = |name: &str, value: f64| match value {
            value if value < 1.0 => Ok(None),
            value if value.fract() == 0.0 && value < f64::from(1 << 28) => Ok(Some(value as usize)),
            value => Err((format!("`{name}` is {value}, expected a whole number"), FIX)),
        };
        let buckets = whole("position_buckets", buckets)?;
        let max_distance = whole("max_relative_positions", distances)?.unwrap_or(max_positions);
        if let Some(few) = buckets.filter(|buckets| *buckets < 4) {
            return Err((
                format!("`position_buckets` is {few}, expected 4 at least"),
                FIX,
            ));
        }
        let norms = fields.text(&["norm_rel_ebd"])?.unwrap_or("none");
        let mut norms = norms.split('|').map(|norm| norm.trim().to_lowercase());
        if let Some(other) = norms
            .clone()
            .find(|norm| norm != "layer_norm" && norm != "none")
        {
            return Err((
                format!("`norm_rel_ebd` names `{other}`"),
                "supported are layer_norm and none",
            ));
        }
        Ok(Self {
            span: buckets.unwrap_or(max_distance),
            buckets,
            max_distance,
            content_to_position: kinds.iter().any(|kind| kind == "c2p"),
            position_to_content: kinds.iter().any(|kind| kind == "p2c"),
            normed: norms.any(|norm| norm == "layer_norm"),
        })
    }
}

/// `pos_att_type`, a list or names with bars between them.
fn kinds(fields: ConfigFields) -> Result<Vec<String>, Fault> {
    const FIX: &str = "supported are c2p and p2c";
    let names: Vec<String> = match fields.0.get("pos_att_type") {
        Some(serde_json::Value::String(names)) => names.split('|').map(str::to_owned).collect(),
        Some(serde_json::Value::Array(names)) => {
            let text = |name: &serde_json::Value| name.as_str().map(str::to_owned);
            let all: Option<Vec<String>> = names.iter().map(text).collect();
            all.ok_or_else(|| ("`pos_att_type` holds what is no name".into(), FIX))?
        }
        _ => Vec::new(),
    };
    let names: Vec<String> = names
        .iter()
        .map(|name| name.trim().to_lowercase())
        .collect();
    match names.iter().find(|name| *name != "c2p" && *name != "p2c") {
        Some(other) => {
            let other = peft_format::shorten(other);
            Err((format!("`pos_att_type` names `{other}`"), FIX))
        }
        None => Ok(names),
    }
}
