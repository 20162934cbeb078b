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
    let slots = slots(config, "");
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
    let mut parts = vec![Part::norm("norm", "norm", config.hidden_size, false)];
    parts.extend(mixer(config, ["", "mixer."], false));
    parts
}

/// The parts behind the norm, in the order of a block's fields, by what comes before their paths and names. Step widths, `B` and
/// `C` may have norms with weights.
pub(super) fn mixer(
    config: &MambaConfig,
    [before_path, before_name]: [&str; 2],
    norms: bool,
) -> Vec<Part> {
    let (hidden, channels, states) = (config.hidden_size, config.channels, config.states);
    let whole =
        |path: &str, name: &str| [before_path.to_owned() + path, before_name.to_owned() + name];
    let part = |path: &str, name: &str, role, kind, shape: &[usize], bias| {
        let [path, name] = whole(path, name);
        Part::new(&path, &name, role, kind, shape, bias)
    };
    let linear = |name: &str, role, [inputs, outputs]: [usize; 2], bias| {
        part(name, name, role, PartKind::Linear, &[outputs, inputs], bias)
    };
    let norm = |path: &str, name: &str, width: usize| {
        part(path, name, Role::Norm, PartKind::Norm, &[width], false)
    };
    let parameter = |path: &str, name: &str, role, shape: &[usize]| {
        part(path, name, role, PartKind::Parameter, shape, false)
    };
    let mut parts = vec![
        linear(
            "in_proj",
            Role::SsmIn,
            [hidden, config.in_width()],
            config.bias,
        ),
        part(
            "conv",
            "conv1d",
            Role::SsmConv,
            PartKind::Conv1d,
            &[config.conv_channels(), 1, config.kernel],
            config.conv_bias,
        ),
    ];
    match config.space {
        StateSpace::Selective { step_rank, .. } => {
            let narrow = step_rank + 2 * states;
            parts.push(linear("x_proj", Role::SsmX, [channels, narrow], false));
            if norms {
                parts.extend([
                    norm("step_norm", "dt_layernorm", step_rank),
                    norm("b_norm", "b_layernorm", states),
                    norm("c_norm", "c_layernorm", states),
                ]);
            }
            parts.extend([
                linear("dt_proj", Role::SsmDt, [step_rank, channels], true),
                parameter("a_log", "A_log", Role::SsmA, &[channels, states]),
                parameter("d", "D", Role::SsmD, &[channels]),
            ]);
        }
        StateSpace::Dual { heads, .. } => parts.extend([
            parameter("dt_bias", "dt_bias", Role::SsmStep, &[heads]),
            parameter("a_log", "A_log", Role::SsmA, &[heads]),
            parameter("d", "D", Role::SsmD, &[heads]),
            norm("gated_norm", "norm", channels),
        ]),
    }
    parts.push(linear(
        "out_proj",
        Role::SsmOut,
        [channels, hidden],
        config.bias,
    ));
    parts
}

/// The slots of a block, by what comes before their names. More states can be put beside the block's where every channel and
/// state has a decay of its own.
pub(super) fn slots(config: &MambaConfig, before: &str) -> Vec<SlotPart> {
    let (hidden, channels, states) = (config.hidden_size, config.channels, config.states);
    let slot = |name: &str, widths: &[usize]| SlotPart::new(&format!("{before}{name}"), widths);
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
    match config.space {
        StateSpace::Selective { norms, .. } => Flow::Mamba(selective(config, norms.is_some())),
        StateSpace::Dual { heads, groups, .. } => Flow::Mamba2(Mamba2Flow {
            hidden: config.hidden_size,
            channels: config.channels,
            states: config.states,
            heads,
            groups,
            kernel: config.kernel,
        }),
    }
}

/// How values flow through a selective state space, maybe with norms of step widths, `B` and `C`.
pub(super) fn selective(config: &MambaConfig, norms: bool) -> MambaFlow {
    let rank = match config.space {
        StateSpace::Selective { step_rank, .. } => step_rank,
        StateSpace::Dual { .. } => 0,
    };
    MambaFlow {
        hidden: config.hidden_size,
        channels: config.channels,
        states: config.states,
        rank,
        kernel: config.kernel,
        norms,
    }
}
