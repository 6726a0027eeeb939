//! Tests of the catalog.

use std::sync::Arc;

use super::{Applied, Catalog, Definition, DefinitionQueue, SchemaChange};
use crate::limits;
use crate::model::{DatabaseName, FieldType, TableName, TableSchema};

fn change(base: Option<Arc<TableSchema>>, tags: &[&str], fields: &[(&str, FieldType)]) -> SchemaChange {
    SchemaChange {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        base,
        tags: tags.iter().map(|t| Arc::from(*t)).collect(),
        fields: fields.iter().map(|(n, t)| (Arc::from(*n), *t)).collect(),
        widen: Vec::new(),
    }
}

fn schema(applied: Applied) -> Arc<TableSchema> {
    match applied {
        Applied::Schema(schema) => schema,
        Applied::Stale => panic!("stale"),
    }
}

#[test]
fn a_change_against_an_old_version_is_stale_and_leaves_no_trace() {
    let catalog = Catalog::new(Arc::default());
    let first = schema(catalog.apply(&change(None, &["a"], &[("x", FieldType::Float)])).unwrap());
    let second = schema(catalog.apply(&change(Some(first.clone()), &[], &[("y", FieldType::Text)])).unwrap());
    assert!(second.version > first.version);
    let late = change(Some(first), &[], &[("y", FieldType::Float)]);
    assert!(matches!(catalog.apply(&late).unwrap(), Applied::Stale));
    assert!(matches!(catalog.apply(&change(None, &[], &[])).unwrap(), Applied::Stale));
    assert_eq!(catalog.table("db", "t").unwrap(), second);
}

#[test]
fn definitions_restore_the_same_catalog_and_may_come_twice() {
    let queue = Arc::new(DefinitionQueue::default());
    let catalog = Catalog::new(queue.clone());
    let fields = [("x", FieldType::Integer), ("X", FieldType::Text), ("a b", FieldType::Boolean)];
    let first = schema(catalog.apply(&change(None, &["a", "Time"], &fields)).unwrap());
    let mut widen = change(Some(first), &[], &[]);
    widen.widen = vec![0];
    let widened = schema(catalog.apply(&widen).unwrap());
    let logged: Vec<Definition> = queue.drain();
    for definitions in [logged.clone(), catalog.definitions(), [logged.clone(), logged].concat()] {
        let copy = Catalog::new(Arc::default());
        for definition in &definitions {
            copy.restore(definition).unwrap();
        }
        assert_eq!(*copy.table("db", "t").unwrap(), *widened);
    }
}

#[test]
fn stored_names_are_distinct_up_to_case_and_hold_no_refused_character() {
    let catalog = Catalog::new(Arc::default());
    let names = ["x", "X", "Time", "a b", "a%20b", "µg/m³", "p;{}()=,"];
    let fields: Vec<_> = names.iter().map(|n| (*n, FieldType::Float)).collect();
    let schema = schema(catalog.apply(&change(None, &[], &fields)).unwrap());
    let mut stored: Vec<String> = schema.fields.iter().map(|f| f.narrow.stored_name.to_lowercase()).collect();
    assert!(
        stored.iter().all(|n| !n.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='])),
        "{stored:?}"
    );
    stored.push("time".into());
    stored.sort();
    let all = stored.len();
    stored.dedup();
    assert_eq!(stored.len(), all);
}

#[test]
fn the_column_limit_refuses_the_whole_change() {
    let catalog = Catalog::new(Arc::default());
    let names: Vec<String> = (0..=limits::COLUMNS_PER_TABLE).map(|i| format!("f{i}")).collect();
    let fields: Vec<_> = names.iter().map(|n| (n.as_str(), FieldType::Float)).collect();
    assert!(catalog.apply(&change(None, &[], &fields)).is_err());
    assert!(catalog.table("db", "t").is_none());
}
