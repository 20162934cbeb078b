use std::time::Duration;

use peft_search::study::*;
use peft_search::*;

use crate::toy::*;

fn run(budget: Budget, policy: Policy, clock: fn() -> f64) -> (Study, Ending) {
    let folder = tempfile::tempdir().unwrap();
    let description = Description {
        budget,
        policy,
        ..description(0)
    };
    let mut study = begin(folder.path(), description).unwrap().with_clock(clock);
    match study
        .work(&mut train, Duration::from_millis(1), &mut |_| true)
        .unwrap()
    {
        Worked::Ended(ending) => (study, ending),
        Worked::Interrupted => panic!("nobody interrupts"),
    }
}

#[test]
fn a_budget_is_met_and_not_passed() {
    let none = Policy::default();
    for resource in [1, 9, 40, 75] {
        let budget = Budget {
            resource: Some(resource),
            trials: Some(30),
            ..Budget::default()
        };
        let (study, ending) = run(budget, none, || 1.0);
        let spent = study.spent().unwrap();
        assert_eq!(ending, Ending::Spent(Limit::Resource));
        assert!(spent.resource <= resource && spent.resource + u64::from(EPOCHS) > resource);
        assert_eq!(spent.reserved, 0);
    }
    let budget = Budget {
        idle: Some(3),
        ..Budget::default()
    };
    let (study, ending) = run(budget, none, || 1.0);
    assert_eq!(ending, Ending::Spent(Limit::Idle));
    let volumes = study.volumes();
    let (last, before) = (volumes.len() - 1, volumes.len() - 4);
    assert_eq!(volumes[last], volumes[before]);
    assert!(volumes.windows(2).all(|pair| pair[0] <= pair[1]));

    // Every look at the clock is a second.
    fn seconds() -> f64 {
        use std::sync::atomic::{AtomicU64, Ordering};
        static CALLS: AtomicU64 = AtomicU64::new(0);
        CALLS.fetch_add(1, Ordering::Relaxed) as f64
    }
    let budget = Budget {
        seconds: Some(30.0),
        ..Budget::default()
    };
    let (study, ending) = run(budget, none, seconds);
    assert_eq!(ending, Ending::Spent(Limit::Seconds));
    let seconds = study.spent().unwrap().seconds;
    assert!(
        (30.0..30.0 + 2.0 * f64::from(EPOCHS)).contains(&seconds),
        "{seconds}"
    );
}

#[test]
fn a_policy_decides_on_failures() {
    let budget = Budget {
        trials: Some(8),
        ..Budget::default()
    };
    let halt = Policy {
        failed: Treatment::Halt,
        ..Policy::default()
    };
    let (_, ending) = run(budget, halt, || 1.0);
    let reason = "out of memory".to_owned();
    assert_eq!(ending, Ending::Halted { trial: 3, reason });

    let ignore = Policy {
        failed: Treatment::Ignore,
        diverged: Treatment::Ignore,
    };
    let (study, ending) = run(budget, ignore, || 1.0);
    assert_eq!(ending, Ending::Spent(Limit::Trials));
    let diverged = &study.history().trials()[5];
    assert!(
        matches!(diverged.outcome, Some(Outcome::Diverged { .. })),
        "{diverged:?}"
    );
    // Front and best are of complete trials only.
    let best = study.best(1, &[]).unwrap().unwrap();
    assert!(matches!(best.outcome, Some(Outcome::Complete { .. })));
    let bound = Bound {
        objective: 0,
        worst: best.known[0],
    };
    assert_eq!(
        study.best(1, &[bound]).unwrap().unwrap().number,
        best.number
    );
    let bound = Bound {
        objective: 0,
        worst: 1e-9,
    };
    assert_eq!(study.best(1, &[bound]).unwrap(), None);
    assert!(study.best(2, &[]).is_err());
}

#[test]
fn a_study_can_be_prolonged_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let work = |trials: u64| {
        let mut study = begin(folder.path(), description(trials)).unwrap();
        study
            .work(&mut train, Duration::from_millis(1), &mut |_| true)
            .unwrap();
        study.history().trials().len()
    };
    assert_eq!((work(3), work(6)), (3, 6));
    let other = Description {
        seed: 6,
        ..description(6)
    };
    let error = begin(folder.path(), other).err().unwrap().to_string();
    assert!(
        error.contains("the seed of the search was 5, is 6"),
        "{error}"
    );
}
