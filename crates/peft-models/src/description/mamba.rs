//! Stacks of state spaces.

use super::{
    BlockDescription, Description, Flow, HeadKind, InputSlot, Part, PartKind, Role, SlotPart,
};
use crate::{
    MambaConfig, StateSpace,
    work::{Mamba2Flow, MambaFlow},
};

/// The release of the first implementation.
const ALIASES: &[(&str, &str)] = &[("backbone.embeddings.weight", "backbone.embedding.weight")];

pub fn describe(config: &MambaConfig, head: HeadKind) -> Result<Description, String> {
    let model_type = config.model_type();
    if let HeadKind::Sequence { .. } | HeadKind::Tokens { .. } = head {
        return Err(format!(
            "`{model_type}` has no head that scores sequences or words in transformers"
        ));
    }
    let hidden = config.hidden_size;
    let mut after = vec![Part::norm(
        "backbone.norm",
        "backbone.norm_f",
        hidden,
        false,
    )];
    let mut head_modules: &[&str] = &[];
    let mut passed_over: &[&str] = &["lm_head."];
    if !config.tied {
        let widths = [hidden, config.vocab_size];
        after.push(Part::linear("head", "lm_head", Role::Head, widths, false));
        (head_modules, passed_over) = (&["lm_head"], &[]);
    }
    let parts = parts(config);
    let slots = slots(config);
    let block = |index| BlockDescription {
        index,
        path: "backbone.layers.{}".into(),
        name: "backbone.layers.{}".into(),
        parts: parts.clone(),
        slots: slots.clone(),
        flow: flow(config),
    };
    Ok(Description {
        model_type: model_type.into(),
        class: match model_type {
            "mamba2" => "Mamba2",
            "falcon_mamba" => "FalconMamba",
            _ => "Mamba",
        }
        .into(),
        classes: &[],
        prefix: "backbone.".into(),
        head,
        input: config.into(),
        hidden_size: hidden,
        before: vec![Part::table(
            "backbone.embedding",
            "backbone.embeddings",
            Role::Embedding,
            [config.vocab_size, hidden],
        )],
        blocks: (0..config.layers).map(block).collect(),
        depth: config.layers,
        prompt: InputSlot::new("backbone", "backbone.", hidden),
        after,
        embeddings: "backbone.embeddings".into(),
        head_modules,
        aliases: ALIASES,
        passed_over,
    })
}

/// The parts of a block, in the order of its fields.
fn parts(config: &MambaConfig) -> Vec<Part> {
    let (hidden, channels, states) = (config.hidden_size, config.channels, config.states);
    let parameter = |path: &str, name: &str, role, shape: &[usize]| {
        Part::new(path, name, role, PartKind::Parameter, shape, false)
    };
    let mut parts = vec![
        Part::norm("norm", "norm", hidden, false),
        Part::linear(
            "in_proj",
            "mixer.in_proj",
            Role::SsmIn,
            [hidden, config.in_width()],
            config.bias,
        ),
        Part::new(
            "conv",
            "mixer.conv1d",
            Role::SsmConv,
            PartKind::Conv1d,
            &[config.conv_channels(), 1, config.kernel],
            config.conv_bias,
        ),
    ];
    match config.space {
        StateSpace::Selective { step_rank, .. } => parts.extend([
            Part::linear(
                "x_proj",
                "mixer.x_proj",
                Role::SsmX,
                [channels, step_rank + 2 * states],
                false,
            ),
            Part::linear(
                "dt_proj",
                "mixer.dt_proj",
                Role::SsmDt,
                [step_rank, channels],
                true,
            ),
            parameter("a_log", "mixer.A_log", Role::SsmA, &[channels, states]),
            parameter("d", "mixer.D", Role::SsmD, &[channels]),
        ]),
        StateSpace::Dual { heads, .. } => parts.extend([
            parameter("dt_bias", "mixer.dt_bias", Role::SsmStep, &[heads]),
            parameter("a_log", "mixer.A_log", Role::SsmA, &[heads]),
            parameter("d", "mixer.D", Role::SsmD, &[heads]),
            Part::norm("gated_norm", "mixer.norm", channels, false),
        ]),
    }
    parts.push(Part::linear(
        "out_proj",
        "mixer.out_proj",
        Role::SsmOut,
        [channels, hidden],
        config.bias,
    ));
    parts
}

/// The slots of a block. More states can be put beside the block's where every channel and state has a decay of its own.
fn slots(config: &MambaConfig) -> Vec<SlotPart> {
    let (hidden, channels, states) = (config.hidden_size, config.channels, config.states);
    let slot = |name, widths: &[usize]| SlotPart {
        name,
        widths: widths.to_vec(),
    };
    let mut slots = vec![
        slot("before_state", &[hidden]),
        slot("state_start", &[channels, states]),
        slot("conv_start", &[config.kernel - 1, config.conv_channels()]),
    ];
    let (affix, selective) = match config.space {
        StateSpace::Selective { .. } => (channels, true),
        StateSpace::Dual { heads, .. } => (config.conv_channels() + heads, false),
    };
    slots.push(slot("affix", &[affix]));
    if selective {
        slots.push(slot("more_states", &[channels, states]));
    }
    slots.push(slot("state_readout", &[channels, states]));
    slots.push(slot("state_output", &[channels]));
    slots.push(slot("after_state", &[hidden]));
    slots
}

fn flow(config: &MambaConfig) -> Flow {
    let (hidden, channels, states) = (config.hidden_size, config.channels, config.states);
    match config.space {
        StateSpace::Selective { step_rank, .. } => Flow::Mamba(MambaFlow {
            hidden,
            channels,
            states,
            rank: step_rank,
            kernel: config.kernel,
        }),
        StateSpace::Dual { heads, groups, .. } => Flow::Mamba2(Mamba2Flow {
            hidden,
            channels,
            states,
            heads,
            groups,
            kernel: config.kernel,
        }),
    }
}
