//! The three kinds of adapter on a small module that has a site of every kind.

mod common;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param},
    tensor::{Device, TensorData},
};
use common::{Bottleneck, Scale, Shift, Toy, TransposedToy, method, values};
use peft_core::{
    AdapterChoice, AdapterContext, AdapterError, AdapterPart, AdapterRoster, AttachOptions,
    NameMap, RowGroups, SiteKind, adapter_tensors, attach, attach_as, load_adapter, read_adapter,
    save_adapter_as, save_parts, set_active, sites,
};
use peft_format::{AdapterConfig, TargetModules, TargetSpec};

fn spec(names: &[&str]) -> TargetSpec {
    TargetSpec::new(TargetModules::List(
        names.iter().map(|&name| name.to_owned()).collect(),
    ))
}

fn options<'a>(targets: &'a TargetSpec, names: &'a NameMap) -> AttachOptions<'a> {
    AttachOptions {
        targets,
        names,
        modules_to_save: &[],
        heads: &[],
        seed: 7,
        gradients: None,
    }
}

fn config(peft_type: &str, targets: &TargetSpec) -> AdapterConfig {
    AdapterConfig::builder(peft_type)
        .target(targets)
        .build()
        .unwrap()
}

/// Adds a number to every value of every adapter: what training might have done.
struct Move(f64);

impl ModuleMapper for Move {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match param.base().is_require_grad() {
            true => param.map(|value| Tensor::from_inner(value.inner() + self.0).require_grad()),
            false => param,
        }
    }
}

fn x(rows: usize, device: &Device) -> Tensor<2> {
    let values = peft_core::kernels::normal(3, rows * 4);
    Tensor::from_data(TensorData::new(values, [rows, 4]), device)
}

#[test]
fn a_module_lists_its_sites_in_order() {
    let toy = Toy::new(&Device::default());
    let found: Vec<(String, SiteKind, Vec<usize>)> = sites(&toy)
        .into_iter()
        .map(|site| (site.path, site.kind, site.shape))
        .collect();
    let wanted = [
        ("table", SiteKind::Embedding, vec![5, 4]),
        ("up", SiteKind::Linear, vec![4, 6]),
        ("up.bias", SiteKind::Parameter, vec![6]),
        ("down", SiteKind::TransposedLinear, vec![6, 4]),
        ("down.bias", SiteKind::Parameter, vec![4]),
        ("a_log", SiteKind::Parameter, vec![4, 3]),
        ("after", SiteKind::Slot, vec![4]),
    ];
    let wanted: Vec<_> = wanted
        .map(|(path, kind, shape)| (path.to_owned(), kind, shape))
        .into();
    assert_eq!(found, wanted);
}

#[test]
fn fresh_adapters_of_every_kind_change_no_bit_and_trained_ones_do() {
    let device = Device::default().autodiff();
    let (names, plain) = (NameMap::identity(), AdapterContext::inference());
    let toy = Toy::new(&device);
    let before = values(toy.forward(x(3, &device), &plain));
    for (targets, method) in [
        (spec(&["up", "down"]), method::scale()),
        (spec(&["a_log", "up.bias"]), method::shift()),
        (spec(&["after"]), method::bottleneck()),
    ] {
        let (fresh, report) = attach(toy.clone(), &method, &options(&targets, &names)).unwrap();
        assert!(report.adapter_parameters > 0);
        assert_eq!(
            values(fresh.forward(x(3, &device), &plain)),
            before,
            "{targets:?}"
        );
        let moved = fresh.map(&mut Move(0.25));
        assert_ne!(
            values(moved.forward(x(3, &device), &plain)),
            before,
            "{targets:?}"
        );
        assert!(matches!(
            attach(moved, &method, &options(&targets, &names)),
            Err(AdapterError::AlreadyAdapted { .. })
        ));
    }
}

#[test]
fn an_implied_bias_is_scaled_in_layers_that_know_adapters_and_in_those_that_do_not() {
    let device = Device::default().autodiff();
    let (names, plain) = (NameMap::identity(), AdapterContext::inference());
    let targets = spec(&["up", "down"]);
    let options = options(&targets, &names);
    let ours = attach(Toy::new(&device), &method::scale(), &options)
        .unwrap()
        .0;
    let foreign = attach(TransposedToy::new(&device), &method::scale(), &options)
        .unwrap()
        .0;
    let [ours, foreign] = [
        values(ours.map(&mut Move(0.5)).forward(x(3, &device), &plain)),
        values(foreign.map(&mut Move(0.5)).forward(x(3, &device))),
    ];
    for (a, b) in ours.iter().zip(&foreign) {
        assert!((a - b).abs() < 1e-6 * a.abs().max(1.0), "{a} {b}");
    }
    // And merged, where the adapters are gone.
    let toy = attach(Toy::new(&device), &method::scale(), &options)
        .unwrap()
        .0;
    let merged = toy.map(&mut Move(0.5)).materialize();
    assert!(sites(&merged).len() == 7 && peft_core::tied_parameters(&merged).is_empty());
    for (a, b) in values(merged.forward(x(3, &device), &plain))
        .iter()
        .zip(&ours)
    {
        assert!((a - b).abs() < 1e-6 * a.abs().max(1.0), "{a} {b}");
    }
}

#[test]
fn adapters_of_several_methods_are_saved_a_part_each_and_come_back() {
    let device = Device::default().autodiff();
    let (names, plain) = (NameMap::identity(), AdapterContext::inference());
    let all = [
        (spec(&["up"]), method::scale()),
        (spec(&["a_log"]), method::shift()),
        (spec(&["after"]), method::bottleneck()),
    ];
    let mut toy = Toy::new(&device);
    for (targets, method) in &all {
        toy = attach(toy, method, &options(targets, &names)).unwrap().0;
    }
    let toy = toy.map(&mut Move(0.125));
    let wanted = values(toy.forward(x(4, &device), &plain));

    // One method's file would leave the others' values out.
    let alone = adapter_tensors(&toy, &all[0].1, &names, &[]).unwrap_err();
    assert!(matches!(alone, AdapterError::NotSaved { .. }), "{alone}");

    let dir = tempfile::tempdir().unwrap();
    let configs = all
        .each_ref()
        .map(|(targets, method)| config(method.peft_type, targets));
    let parts: Vec<AdapterPart> = (all.iter().zip(&configs))
        .map(|((_, method), config)| AdapterPart { method, config })
        .collect();
    assert!(matches!(
        save_parts(&toy, dir.path(), &parts[..2], &names),
        Err(AdapterError::NotSaved { .. })
    ));
    save_parts(&toy, dir.path(), &parts, &names).unwrap();
    let mut again = Toy::new(&device);
    for (_, method) in &all {
        let folder = dir.path().join(method.name);
        let read = read_adapter(&folder, AdapterConfig::read(&folder).unwrap(), method).unwrap();
        again = load_adapter(again, &read, method, &names, &device)
            .unwrap()
            .0;
    }
    assert_eq!(values(again.forward(x(4, &device), &plain)), wanted);
}

#[test]
fn two_modules_of_a_slot_are_switched_and_chosen_by_rows() {
    let device = Device::default().autodiff();
    let (names, plain) = (NameMap::identity(), AdapterContext::inference());
    let (targets, method) = (spec(&["after"]), method::bottleneck());
    let options = options(&targets, &names);
    let toy = attach_as(Toy::new(&device), "a", &method, &options)
        .unwrap()
        .0;
    let toy = attach_as(toy.map(&mut Move(0.5)), "b", &method, &options)
        .unwrap()
        .0;
    let toy = toy.map(&mut Move(0.25));
    let by = |choice: AdapterChoice, rows: Tensor<2>| {
        values(toy.forward(rows, &plain.with_choice(choice)))
    };
    let rows = x(4, &device);
    let [base, a, b] = [
        by(AdapterChoice::base(), rows.clone()),
        by(AdapterChoice::one("a"), rows.clone()),
        by(AdapterChoice::one("b"), rows.clone()),
    ];
    assert!(a != b && a != base && b != base);
    // Row by row, and back to what is active.
    let choices = ["a", "b", "__base__", "b"].map(AdapterChoice::one);
    let groups = RowGroups::new(&choices, &[1; 4], &device);
    let mixed = values(toy.forward(rows.clone(), &plain.with_rows(groups)));
    for (row, whole) in [&a, &b, &base, &b].into_iter().enumerate() {
        assert_eq!(
            mixed[row * 4..row * 4 + 4],
            whole[row * 4..row * 4 + 4],
            "row {row}"
        );
    }
    let roster = AdapterRoster::of(&toy);
    assert!(roster.check(&AdapterChoice::sum(["a", "b"])).is_err());
    let switched = set_active(toy.clone(), &AdapterChoice::one("b")).unwrap();
    assert_eq!(values(switched.forward(rows.clone(), &plain)), b);
    let back = set_active(switched, &AdapterChoice::one("a")).unwrap();
    assert_eq!(values(back.forward(rows, &plain)), a);
    // A file of one of them is that of the only one.
    let dir = tempfile::tempdir().unwrap();
    let saved = config(method.peft_type, &targets);
    save_adapter_as(&toy, "b", dir.path(), &saved, &method, &names).unwrap();
    let read = read_adapter(
        dir.path(),
        AdapterConfig::read(dir.path()).unwrap(),
        &method,
    )
    .unwrap();
    let alone = load_adapter(Toy::new(&device), &read, &method, &names, &device)
        .unwrap()
        .0;
    assert_eq!(values(alone.forward(x(4, &device), &plain)), b);
}

#[test]
fn an_adapter_of_another_kind_than_its_site_is_refused() {
    let device = Device::default();
    let targets = spec(&["after"]);
    let names = NameMap::identity();
    let mut misplaced = method::scale();
    misplaced.kinds = &[SiteKind::Slot];
    let error = attach(Toy::new(&device), &misplaced, &options(&targets, &names)).unwrap_err();
    assert!(matches!(error, AdapterError::WrongKind { .. }), "{error}");
    // Each kind of adapter by its own type.
    assert!(
        peft_core::DynAdapter::new(Scale::of(4, &device))
            .downcast_ref::<Scale>()
            .is_some()
    );
    let shift = peft_core::DynAdapter::of_parameter(Shift::of(4, &device));
    assert!(shift.folds() && shift.downcast_ref::<Shift>().is_some());
    let module = peft_core::DynAdapter::of_slot(Bottleneck::of(4, 2, &device));
    assert!(!module.folds() && module.downcast_ref::<Bottleneck>().is_some());
}
