//! Jamba: attention in some blocks and state spaces in the others.

use crate::config::{
    DecoderConfig, Fault, MambaConfig, SpaceBlocks, decoder::Defaults, fields::ConfigFields,
};

pub fn jamba(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let defaults = Defaults {
        kv_heads: Some(8),
        ..Defaults::default()
    };
    let mut config = DecoderConfig::base(fields, &defaults)?;
    if let Some(other) = fields.text(&["hidden_act"])?.filter(|act| *act != "silu") {
        return Err((
            format!("activation `{other}` is not supported in a state-space block"),
            "use a checkpoint with silu",
        ));
    }
    let experts = fields
        .size(&["num_experts", "num_local_experts"])?
        .unwrap_or(16);
    if experts > 1 {
        let layers = every(fields, config.layers, "expert_layer", [2, 1])?;
        let of: Vec<usize> = (0..config.layers).filter(|layer| layers[*layer]).collect();
        if let Some(first) = of.first() {
            return Err((
                format!(
                    "`num_experts` is {experts}: {} of {} layers, the first of them layer {first}, are mixtures of experts, \
                     which are not supported (`expert_layer_period`, `expert_layer_offset`)",
                    of.len(),
                    config.layers
                ),
                "use a Jamba without experts, one of `num_experts` 1",
            ));
        }
    }
    let attention = every(fields, config.layers, "attn_layer", [8, 4])?;
    config.spaces = Some(Box::new(SpaceBlocks {
        config: MambaConfig::within(fields, &config)?,
        of: attention.into_iter().map(|attends| !attends).collect(),
    }));
    Ok(config)
}

/// Which layers a period and an offset mean.
fn every(
    fields: ConfigFields,
    layers: usize,
    what: &str,
    [period, offset]: [usize; 2],
) -> Result<Vec<bool>, Fault> {
    let size =
        |name: &str, usual| -> Result<usize, Fault> { Ok(fields.size(&[name])?.unwrap_or(usual)) };
    let names = [format!("{what}_period"), format!("{what}_offset")];
    let (period, offset) = (size(&names[0], period)?, size(&names[1], offset)?);
    if offset >= period {
        return Err((
            format!(
                "`{}` is {offset}, expected less than `{}` = {period}",
                names[1], names[0]
            ),
            "correct the fields, or fetch the file again",
        ));
    }
    Ok((0..layers).map(|layer| layer % period == offset).collect())
}
