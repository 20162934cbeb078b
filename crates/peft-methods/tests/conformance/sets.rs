//! Several adapters on one layer: a method beside LoRA, and the base.

use burn::{
    Tensor,
    module::Module,
    tensor::{Device, FloatDType, Int, TensorData},
};
use peft_core::{
    AdapterChoice, AdapterContext, AdapterRoster, AttachOptions, NameMap, RowGroups, attach_as,
    kernels::{RowLayout, word},
    remove_adapter, save_adapter, save_adapter_as, set_active,
};
use peft_lowrank::{LoraConfig, LoraMethod};

use crate::{
    files::config,
    gradients::{of_fields, probe},
    model::{Case, Net, assert_close, device, values},
};

const OWN: &str = "own";
const OTHER: &str = "other";

/// The case's method, and LoRA beside it.
fn pair(case: &Case, dtype: FloatDType, device: &Device) -> Net {
    let model = case.base(dtype, device);
    let model = case.attached_as(model, OWN, case.method.as_ref(), device);
    let other = LoraMethod::new(LoraConfig {
        r: 2,
        ..LoraConfig::default()
    });
    let model = case.attached_as(model, OTHER, &other.unwrap(), device);
    case.randomized(model)
}

fn chosen(model: &Net, name: &str) -> Net {
    set_active(model.clone(), &AdapterChoice::one(name)).unwrap()
}

/// A choice for each row, as the seed has it: some cases leave a group empty.
fn assigned(case: &Case) -> Vec<AdapterChoice> {
    let names = [OWN, OTHER, peft_core::BASE];
    let pick = |row| names[(word(case.seed, row) % 3) as usize];
    (0..case.rows as u64)
        .map(|row| AdapterChoice::one(pick(row)))
        .collect()
}

/// The rows that make a choice.
fn rows_of(choices: &[AdapterChoice], choice: &AdapterChoice) -> Vec<i64> {
    let rows = choices.iter().enumerate();
    rows.filter(|(_, one)| *one == choice)
        .map(|(row, _)| row as i64)
        .collect()
}

fn select(x: Tensor<2>, rows: &[i64]) -> Tensor<2> {
    let data = TensorData::new(rows.to_vec(), [rows.len()]);
    let rows = Tensor::<1, Int>::from_data(data, &x.device().inner());
    x.select(0, rows)
}

/// Rows of a batch that every adapter shares are what they are alone.
pub fn mixed_rows(case: &Case) {
    let device = device();
    let model = pair(case, case.dtype(), &device);
    let x = case.input(&device);
    let choices = assigned(case);
    let starts: Vec<usize> = (0..=case.rows).collect();
    let layout = RowLayout::new(starts, &device);
    let roster = AdapterRoster::of(&model);
    assert_eq!(roster.names(), [OTHER, OWN]);
    let rows = roster.rows(&choices, &layout, &device).unwrap();
    let context = AdapterContext::inference().with_rows(rows.tokens);
    let mixed = model.layer.forward(x.clone(), &context);
    for name in [OWN, OTHER, peft_core::BASE] {
        let rows = rows_of(&choices, &AdapterChoice::one(name));
        if rows.is_empty() {
            continue;
        }
        let alone = chosen(&model, name);
        let found = values(select(mixed.clone(), &rows));
        // The same rows in a batch of their own: every bit. Among others, a product may take another
        // kernel.
        let gathered = alone.forward(select(x.clone(), &rows));
        assert_eq!(found, values(gathered), "{} {name}", case.entry.name);
        let whole = values(select(alone.forward(x.clone()), &rows));
        assert_close(name, &found, &whole, case.tolerance());
    }
}

/// To switch and to switch back gives the bits that each adapter gives alone.
pub fn switching(case: &Case) {
    let device = device();
    let x = case.input(&device);
    let model = pair(case, case.dtype(), &device);
    let alone = values(case.trained(case.dtype(), &device).forward(x.clone()));
    let plain = values(case.base(case.dtype(), &device).forward(x.clone()));
    let of = |model: &Net| values(model.forward(x.clone()));
    // The first that came is active.
    assert_eq!(of(&model), alone);
    let other = chosen(&model, OTHER);
    assert_ne!(of(&other), alone);
    assert_eq!(of(&chosen(&other, OWN)), alone);
    assert_eq!(of(&chosen(&other, peft_core::BASE)), plain);
    let merged = chosen(&other, OWN).materialize();
    assert_close("merged", &of(&merged), &alone, case.tolerance());

    let without = remove_adapter(other.clone(), OWN).unwrap();
    assert_eq!(of(&without), of(&other));
    let nothing = remove_adapter(without, OTHER).unwrap();
    assert_eq!(of(&nothing), plain);
    assert!(AdapterRoster::of(&nothing).names().is_empty());
    assert!(remove_adapter(nothing, OWN).is_err());

    // Fresh ones are no-ops, whoever is chosen.
    let fresh = case.base(case.dtype(), &device);
    let fresh = case.attached_as(fresh, OWN, case.method.as_ref(), &device);
    assert_eq!(of(&fresh), plain);
}

/// What is additive can be summed; what is not is refused.
pub fn sums(case: &Case) {
    let device = device();
    let x = case.input(&device);
    let model = pair(case, case.dtype(), &device);
    let additive = model.adapter().as_set().unwrap().get(OWN).unwrap();
    let additive = additive.is_additive();
    let both = set_active(model.clone(), &AdapterChoice::sum([OWN, OTHER]));
    if !additive {
        let error = both.unwrap_err().to_string();
        assert!(error.contains("cannot be summed"), "{error}");
        assert!(["dora", "ia3", "meprop", "prodial", "ssf"].contains(&case.entry.name));
        return;
    }
    let both = both.unwrap();
    let of = |name| values(chosen(&model, name).forward(x.clone()));
    let base = of(peft_core::BASE);
    let each = of(OWN).into_iter().zip(of(OTHER)).zip(base);
    let wanted: Vec<f64> = each
        .map(|((own, other), base)| own + other - base)
        .collect();
    assert_close(
        "sum",
        &values(both.forward(x.clone())),
        &wanted,
        case.tolerance(),
    );
    let merged = both.materialize();
    assert_close(
        "merged",
        &values(merged.forward(x)),
        &wanted,
        case.tolerance(),
    );
}

/// The gradients of a mixed batch are those of batches apart.
pub fn gradients(case: &Case) {
    let device = device().autodiff();
    let model = pair(case, case.dtype(), &device);
    let choices = assigned(case);
    let groups = RowGroups::new(&choices, &vec![1; case.rows], &device);
    let run = |rows: Option<&[i64]>, context: &AdapterContext| {
        let (mut x, mut weights) = (case.input(&device), probe(case, &device));
        if let Some(rows) = rows {
            (x, weights) = (select(x, rows), select(weights, rows));
        }
        let x = x.require_grad();
        let y = model.layer.forward(x.clone(), context);
        let grads = (y * weights).sum().backward();
        (x.grad(&grads).map(values), of_fields(&model, &grads))
    };
    let inference = AdapterContext::inference();
    let (mixed_x, mixed) = run(None, &inference.with_rows(groups));
    let mixed_x = mixed_x.unwrap();
    let mut apart = Vec::new();
    for name in [OWN, OTHER, peft_core::BASE] {
        let choice = AdapterChoice::one(name);
        let rows = rows_of(&choices, &choice);
        if rows.is_empty() {
            continue;
        }
        let (dx, fields) = run(Some(&rows), &inference.with_choice(choice));
        let dx = dx.unwrap();
        for (row, dx) in rows.iter().zip(dx.chunks(case.inputs)) {
            let at = *row as usize * case.inputs;
            let found = &mixed_x[at..at + case.inputs];
            assert_close("dx", found, dx, case.tolerance());
        }
        apart.extend(fields);
    }
    // No row, no gradient: not even zeros.
    assert_eq!(mixed.len(), apart.len());
    for (field, gradient) in mixed {
        let at = apart.iter().position(|(other, one)| {
            *other == field && one.len() == gradient.len() && {
                let scale = one.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
                let pairs = one.iter().zip(&gradient);
                pairs.fold(0.0, |m: f64, (a, b)| m.max((a - b).abs())) <= case.tolerance() * scale
            }
        });
        apart.swap_remove(at.unwrap_or_else(|| panic!("{field} of {}", case.entry.name)));
    }
}

/// One of a set is saved as it would be alone.
pub fn files(case: &Case) {
    let device = device();
    let names = NameMap::identity();
    let [alone, of_set] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (config, method) = (config(case), case.method.as_ref());
    let single = case.trained(FloatDType::F32, &device);
    save_adapter(&single, alone.path(), &config, method, &names).unwrap();
    let model = pair(case, FloatDType::F32, &device);
    save_adapter_as(&model, OWN, of_set.path(), &config, method, &names).unwrap();
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(file)).unwrap();
        assert_eq!(read(&alone), read(&of_set), "{file}");
    }
    let error = save_adapter(&model, of_set.path(), &config, method, &names).unwrap_err();
    assert!(error.to_string().contains("`other`, `own`"), "{error}");
    let error = save_adapter_as(&model, "mine", of_set.path(), &config, method, &names);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`mine`") && error.contains("`other`, `own`"),
        "{error}"
    );
}

impl Case {
    /// A model with one more fresh adapter, under a name.
    fn attached_as(
        &self,
        model: Net,
        name: &str,
        method: &dyn peft_core::Method,
        device: &Device,
    ) -> Net {
        let attached = |options: &AttachOptions| {
            let (model, report) = attach_as(model, name, method, options).unwrap();
            assert_eq!(report.targets.len(), 1);
            let taken = attach_as(model.clone(), name, method, options).unwrap_err();
            assert!(taken.to_string().contains("already"), "{taken}");
            model
        };
        self.with_options(device, attached)
    }
}
