//! Tables that hold what no study writes.

use ::postgres::{Client, NoTls};

use super::*;

/// A schema of its own, and a connection to it.
pub struct Schema {
    pub server: String,
    pub client: Client,
    name: String,
}

impl Schema {
    pub fn new(name: &str) -> Self {
        let server = std::env::var("PEFT_TEST_POSTGRES").expect("PEFT_TEST_POSTGRES is not set");
        let name = format!("{name}_{}", std::process::id());
        let and = if server.contains('?') { '&' } else { '?' };
        let server = format!("{server}{and}options=-csearch_path%3D{name}");
        let mut schema = Self {
            client: Client::connect(&server, NoTls).unwrap(),
            server,
            name,
        };
        schema.clear();
        schema
    }

    fn clear(&mut self) {
        let name = &self.name;
        let make = format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}");
        self.client.batch_execute(&make).unwrap();
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let _ = self
            .client
            .batch_execute(&format!("DROP SCHEMA {} CASCADE", self.name));
    }
}

#[test]
#[ignore = "needs PEFT_TEST_POSTGRES, the URL of a PostgreSQL server; `cargo xtask test --all` starts one"]
fn strange_tables_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut good = begin(folder.path(), description(4)).unwrap();
    work(&mut good);
    let mut schema = Schema::new("hostile");
    let url = with_study(&schema.server, "hostile");
    let mut opened = |change: &str| -> Result<Next, SearchError> {
        schema.clear();
        good.copy_to(&mut *store(&url)).unwrap();
        schema.client.batch_execute(change).unwrap();
        let longer = Description {
            budget: Budget::default(),
            ..description(4)
        };
        begin_at(&url, longer)?.ask()
    };
    assert!(matches!(opened(""), Ok(Next::Run(_))));
    // Numbers below 0 belong to no journal.
    let before = "UPDATE peft_entries_v1 SET number = number; INSERT INTO peft_entries_v1 SELECT study, -1, 'x' FROM \
                  peft_entries_v1 LIMIT 1";
    assert!(opened(before).is_ok());
    let entry =
        |value: &str| format!("UPDATE peft_entries_v1 SET entry = {value} WHERE number = 2");
    let text = |value: &str| format!("UPDATE peft_studies_v1 SET description = {value}");
    for change in [
        "DELETE FROM peft_entries_v1 WHERE number = 1".to_owned(),
        "DELETE FROM peft_entries_v1 WHERE number = 0".to_owned(),
        "UPDATE peft_entries_v1 SET number = 9223372036854775807 WHERE number = 3".to_owned(),
        entry("''"),
        entry("'{}'"),
        entry("repeat('[', 100000)"),
        entry("repeat('x', 2097152)"),
        entry("'{\"at\":-1.0,\"lease\":{\"trial\":0,\"worker\":\"w\",\"token\":0}}'"),
        "UPDATE peft_entries_v1 SET entry = replace(entry, '\"token\":0', '\"token\":7')"
            .to_owned(),
        text("''"),
        text("'{}'"),
        text("repeat('x', 17 * 1024 * 1024)"),
        text("replace(description, '\"version\": 1', '\"version\": 2')"),
        "ALTER TABLE peft_entries_v1 ALTER entry TYPE bytea USING entry::bytea".to_owned(),
        "ALTER TABLE peft_entries_v1 ALTER number TYPE text".to_owned(),
        "ALTER TABLE peft_entries_v1 DROP entry".to_owned(),
        "ALTER TABLE peft_workers_v1 ALTER seen TYPE text".to_owned(),
        "ALTER TABLE peft_studies_v1 ALTER description TYPE bytea USING description::bytea"
            .to_owned(),
        "DROP TABLE peft_entries_v1".to_owned(),
        "DROP TABLE peft_workers_v1".to_owned(),
        "ALTER TABLE peft_studies_v1 RENAME TO peft_studies_v2".to_owned(),
    ] {
        let error = opened(&change).err();
        let error = error
            .unwrap_or_else(|| panic!("{change}: accepted"))
            .to_string();
        assert!(error.len() < 1000, "{change}: {error}");
    }
    // A lease of a worker whose name no worker has: looked at when somebody asks whether it is there.
    let lease = "DELETE FROM peft_entries_v1 WHERE number > 1; UPDATE peft_entries_v1 SET entry = replace(entry, \
                 '\"worker\":\"', '\"worker\":\"../') WHERE number = 1";
    let error = opened(lease).unwrap_err().to_string();
    assert!(error.contains("is no worker's name"), "{error}");
}
