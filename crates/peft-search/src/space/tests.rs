use std::collections::BTreeSet;

use super::*;
use crate::Counter;

fn mixed() -> Space {
    let ordinal = Domain::Ordinal {
        values: vec![8.0, 4.0, 2.0, 0.0],
        absent: Some(3),
    };
    let choices = ["a", "b", "c"].map(str::to_owned).to_vec();
    Space::new(
        vec![
            Parameter::new("on", Domain::Binary),
            Parameter::new("size", ordinal).when("on", vec![1]),
            Parameter::new("kind", Domain::Categorical { choices }).when("size", vec![0, 1]),
            Parameter::new(
                "rate",
                Domain::Real {
                    low: 1e-4,
                    high: 1e-2,
                    log: true,
                    levels: 101,
                },
            ),
            Parameter::new(
                "depth",
                Domain::Integer {
                    low: 2,
                    high: 4,
                    log: false,
                },
            ),
        ],
        vec![Forbidden(vec![("on".into(), 0), ("depth".into(), 2)])],
    )
    .unwrap()
}

#[test]
fn enumeration_holds_each_configuration_once() {
    let space = mixed();
    let all: Vec<Configuration> = space.enumerate().collect();
    // on=0: 101·2 depths; on=1: sizes 0 and 1 with 3 kinds, 2 and 3 with one, times 101·3.
    assert_eq!(all.len(), 101 * 2 + (2 * 3 + 2) * 101 * 3);
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(
        all.iter()
            .all(|c| space.check(c).is_ok() && space.canonical(c.clone()) == *c)
    );
}

#[test]
fn values_and_levels_are_inverse() {
    let space = mixed();
    let mut counter = Counter::new(1, 0, 0);
    for _ in 0..200 {
        let drawn = space.random(&mut counter).unwrap();
        assert_eq!(space.configuration(&space.values(&drawn)).unwrap(), drawn);
        space.check(&drawn).unwrap();
    }
}

#[test]
fn neighbours_are_one_exchange_away_and_mutual() {
    let space = mixed();
    let start = space
        .configuration(&[
            ("on", Value::Flag(true)),
            ("size", Value::Number(4.0)),
            ("kind", Value::Choice("b".into())),
            ("rate", Value::Number(1e-3)),
            ("depth", Value::Integer(3)),
        ])
        .unwrap();
    let near = space.neighbours(&start);
    // 1 + 3 + 2 + (±1, ±2, ±4, ±8, ±16, ±32 around 50) + 2.
    assert_eq!(near.len(), 1 + 3 + 2 + 12 + 2);
    let distinct: BTreeSet<_> = near.iter().collect();
    assert_eq!(distinct.len(), near.len());
    assert!(near.iter().all(|other| space.check(other).is_ok()));
    let ordinary = near.iter().filter(|c| c.0[0] == 1 && c.0[1] < 2);
    assert!(ordinary.clone().count() > 10);
    assert!(
        ordinary
            .clone()
            .all(|other| space.neighbours(other).contains(&start))
    );
}

#[test]
fn encoding_marks_absence_and_activity() {
    let space = mixed();
    let encoding = Encoding::new(&space);
    assert_eq!(encoding.groups(), [0, 1, 2, 3, 4, 4, 4, 5, 6, 7]);
    assert_eq!(encoding.owners(), [0, 1, 1, 1, 2, 2, 3, 4]);
    let row = |values: &[(&str, Value)]| {
        let mut row = Vec::new();
        encoding.row(&space, &space.configuration(values).unwrap(), &mut row);
        row
    };
    let off = row(&[("rate", Value::Number(1e-2)), ("depth", Value::Integer(3))]);
    assert_eq!(off, [0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5]);
    let on = row(&[
        ("on", Value::Flag(true)),
        ("kind", Value::Choice("c".into())),
        ("rate", Value::Number(1e-4)),
    ]);
    let half = std::f64::consts::FRAC_1_SQRT_2;
    assert_eq!(on, [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, half, 1.0, 0.0, 0.0]);
}

#[test]
fn descriptions_are_checked_and_read_back() {
    let space = mixed();
    let text = serde_json::to_string(&space).unwrap();
    assert_eq!(serde_json::from_str::<Space>(&text).unwrap(), space);
    let twice = Space::new(vec![Parameter::new("a", Domain::Binary); 2], vec![]);
    assert!(matches!(twice, Err(SearchError::Parameter { parameter, .. }) if parameter == "a"));
    let later = vec![
        Parameter::new("a", Domain::Binary).when("b", vec![1]),
        Parameter::new("b", Domain::Binary),
    ];
    assert!(Space::new(later, vec![]).is_err());
    let unknown = vec![Forbidden(vec![("z".into(), 0)])];
    assert!(Space::new(vec![Parameter::new("a", Domain::Binary)], unknown).is_err());
    assert!(space.check(&Configuration(vec![0, 1, 0, 0, 0])).is_err());
    assert!(space.check(&Configuration(vec![0, 0, 0, 0, 2])).is_err());
    assert!(space.check(&Configuration(vec![0])).is_err());
}

#[test]
fn a_chain_of_conditions_may_be_long() {
    const LENGTH: usize = 200_000;
    let parameter = |index: usize| {
        let parameter = Parameter::new(index.to_string(), Domain::Binary);
        match index {
            0 => parameter,
            _ => parameter.when((index - 1).to_string(), vec![1]),
        }
    };
    let space = Space::new((0..LENGTH).map(parameter).collect(), vec![]).unwrap();
    let mut levels = vec![1; LENGTH];
    assert!(space.is_active(&Configuration(levels.clone()), LENGTH - 1));
    levels[0] = 0;
    assert!(!space.is_active(&Configuration(levels), LENGTH - 1));
}
