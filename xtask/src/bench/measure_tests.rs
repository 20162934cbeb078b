//! Turns and figures, with shell scripts for the two sides.

use std::process::Command;

use serde_json::json;

use super::measure::{Budget, added, memory_ratio, overhead, pairs};
use super::server::Server;

/// Answers runs of the slots `adapted` and `frozen` with 30 and 20 ms a step, others with `ms`.
fn fake(name: &'static str, ms: &str) -> Server {
    let script = r#"echo '{"ready":true,"versions":{"burn":"0"}}'
while read line; do case $line in
  *'"op":"setup"'*) echo '{"ok":true,"trainable_parameters":7}';;
  *adapted*) echo '{"ok":true,"times_s":[0.03,0.03],"real_tokens":[10,10]}';;
  *frozen*) echo '{"ok":true,"times_s":[0.02,0.02],"real_tokens":[10,10]}';;
  *'"op":"run"'*) echo '{"ok":true,"times_s":[0.0MS,0.0MS],"real_tokens":[10,10],"rss_anon_peak_bytes":5}';;
  *) exit;; esac; done"#;
    Server::start(
        name,
        Command::new("sh").args(["-c", &script.replace("MS", ms)]),
    )
    .unwrap()
}

#[test]
fn pairs_give_ratio_and_figures() {
    let setup = json!({"op": "setup"});
    let (mut left, mut right) = (fake("peft", "40"), fake("torch", "20"));
    let sides = [(&mut left, &setup), (&mut right, &setup)];
    let found = pairs("case", sides, 2, Budget { pairs: 3 }).unwrap();
    assert!((found.ratio.unwrap().median - 2.0).abs() < 1e-9);
    assert!((found.sides[0].real_tokens_per_s - 250.0).abs() < 1e-6);
    assert!((found.sides[1].steps_per_s - 50.0).abs() < 1e-6);
    assert_eq!(found.sides[0].peak_anonymous_bytes, Some(5));
    assert_eq!(
        right.versions(),
        [("python burn".to_owned(), "0".to_owned())]
    );
}

#[test]
fn overhead_is_a_difference_within_one_process() {
    let setup = json!({"op": "setup"});
    let mut server = fake("peft", "40");
    let found = overhead(
        "case",
        &mut server,
        [&setup, &setup],
        2,
        Budget { pairs: 3 },
    )
    .unwrap();
    assert!((found.difference_ms.unwrap().median - 10.0).abs() < 1e-9);
    assert!((found.ratio.unwrap().p90 - 1.5).abs() < 1e-9);
}

#[test]
fn what_adapters_add_is_compared() {
    let setup = json!({"op": "setup", "adapter": "lora"});
    let starts: [super::measure::Start; 2] =
        [&|| Ok(fake("peft", "40")), &|| Ok(fake("torch", "20"))];
    let (found, versions) =
        added("case", starts, [&setup, &setup], 2, Budget { pairs: 3 }).unwrap();
    let added = found.added.unwrap();
    assert!((added.time_ms[0].median - 10.0).abs() < 1e-9);
    assert!(
        added
            .time_ratio
            .is_some_and(|ratio| (ratio - 1.0).abs() < 1e-9)
    );
    assert_eq!(added.memory_bytes, [Some(0), Some(0)]);
    assert_eq!(added.memory_ratio, None);
    assert_eq!(found.sides[0].name, "peft lora");
    assert_eq!(found.sides[3].name, "torch frozen");
    assert_eq!(versions.len(), 2);
}

#[test]
fn a_process_that_fails_is_named() {
    let error = Server::start("torch", Command::new("sh").args(["-c", "exit 3"]));
    assert!(
        error
            .err()
            .unwrap()
            .to_string()
            .contains("torch ended with")
    );
}

#[test]
fn memory_is_of_what_is_counted_where_it_can_be() {
    let ratio = memory_ratio;
    assert_eq!(ratio([Some(-9), Some(8)], [Some(2), None]), Some(0.25));
    assert_eq!(ratio([Some(4), Some(8)], [Some(2), None]), Some(0.5));
    assert_eq!(ratio([Some(4), Some(-8)], [Some(2), Some(4)]), Some(0.5));
    assert_eq!(ratio([Some(4), Some(-8)], [Some(2), None]), None);
    assert_eq!(ratio([None, None], [None, None]), None);
}
