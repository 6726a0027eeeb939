//! Tests of the catalog.

use std::sync::Arc;

use super::{Applied, Catalog, Definition, DefinitionQueue, SchemaChange, TableDeclaration};
use crate::error::ErrorKind;
use crate::limits;
use crate::model::{
    DatabaseName, FieldType, Partition, Retention, Scale, SeriesId, TableId, TableName, TableSchema,
};

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
        Applied::Stale | Applied::Unborn => panic!("stale"),
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

fn declaration(hours: Option<u64>, scales: &[(&str, u64)]) -> TableDeclaration {
    TableDeclaration {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        retention: hours.map(retention),
        partition: None,
        scales: scales.iter().map(|(name, k)| (Arc::from(*name), Scale::new(*k).unwrap())).collect(),
    }
}

fn retention(hours: u64) -> Retention {
    Retention::from_nanos(hours * 3_600_000_000_000).unwrap()
}

#[test]
fn the_later_of_two_records_of_a_property_holds_also_when_both_are_met_twice() {
    let queue = Arc::new(DefinitionQueue::default());
    let catalog = Catalog::new(queue.clone());
    let database = DatabaseName::new("db").unwrap();
    assert!(catalog.declare_database(&database, Some(retention(9))).unwrap());
    let by_month = TableDeclaration {
        partition: Some(Partition::Month),
        ..declaration(Some(5), &[("x", 2), ("a b", 0)])
    };
    assert!(catalog.declare_table(&by_month).unwrap().created);
    for hours in [Some(7), None, Some(6)] {
        assert!(!catalog.declare_table(&declaration(hours, &[])).unwrap().created);
    }
    assert!(!catalog.declare_database(&database, Some(retention(8))).unwrap());
    let declared = catalog.table("db", "t").unwrap();
    assert_eq!((declared.partition, declared.retention), (Partition::Month, Some(retention(6))));
    let logged: Vec<Definition> = queue.drain();
    for definitions in [logged.clone(), catalog.definitions(), [logged.clone(), logged].concat()] {
        let copy = Catalog::new(Arc::default());
        for definition in &definitions {
            copy.restore(definition).unwrap();
        }
        assert_eq!(*copy.table("db", "t").unwrap(), *declared);
        assert_eq!(copy.database_retention("db"), Some(Some(retention(8))));
        assert_eq!(copy.retention_of(declared.id), Some(retention(6)));
    }
}

#[test]
fn what_stands_already_refuses_the_whole_declaration() {
    let queue = Arc::new(DefinitionQueue::default());
    let catalog = Catalog::new(queue.clone());
    let made = catalog.apply(&change(None, &["host"], &[("v", FieldType::Float)])).unwrap();
    let before = schema(made);
    queue.drain();
    let by_month = TableDeclaration { partition: Some(Partition::Month), ..declaration(Some(1), &[]) };
    let (of_tag, of_values) =
        (declaration(Some(1), &[("host", 1)]), declaration(Some(1), &[("w", 1), ("v", 1)]));
    for refused in [by_month, of_tag, of_values] {
        assert_eq!(catalog.declare_table(&refused).unwrap_err().kind(), ErrorKind::Conflict);
    }
    for name in ["time", "busbar_x", "a\nb", ""] {
        assert_eq!(
            catalog.declare_table(&declaration(None, &[(name, 1)])).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    assert_eq!(catalog.table("db", "t").unwrap(), before);
    assert!(queue.is_empty());
    // A batch that was built before a retention was declared is not stale; before a field was, it is.
    catalog.declare_table(&declaration(Some(1), &[])).unwrap();
    assert!(matches!(catalog.apply(&change(Some(before.clone()), &[], &[])).unwrap(), Applied::Schema(_)));
    catalog.declare_table(&declaration(Some(1), &[("w", 1)])).unwrap();
    assert!(matches!(catalog.apply(&change(Some(before), &[], &[])).unwrap(), Applied::Stale));
}

#[test]
fn after_a_loss_of_definitions_a_retention_is_known_only_when_it_is_declared_anew() {
    let catalog = Catalog::new(Arc::default());
    let id = catalog.declare_table(&declaration(Some(1), &[])).unwrap().schema.id;
    let copy = Catalog::new(Arc::default());
    copy.restore(&Definition::Given { series: SeriesId::new(0), table: TableId::new(0) }).unwrap();
    for definition in catalog.definitions() {
        copy.restore(&definition).unwrap();
    }
    assert!(catalog.knows_retention_of(id) && !copy.knows_retention_of(id));
    copy.declare_table(&declaration(Some(1), &[])).unwrap();
    assert!(copy.knows_retention_of(id));
    // A table that says nothing is as its database says.
    copy.declare_table(&declaration(None, &[])).unwrap();
    assert!(!copy.knows_retention_of(id));
    copy.declare_database(&DatabaseName::new("db").unwrap(), None).unwrap();
    assert!(copy.knows_retention_of(id));
}

#[test]
fn what_was_declared_after_a_loss_is_known_after_a_restart_until_the_next_loss() {
    let given = |series| Definition::Given { series: SeriesId::new(series), table: TableId::new(0) };
    let queue = Arc::new(DefinitionQueue::default());
    let catalog = Catalog::new(Arc::clone(&queue));
    catalog.restore(&given(5)).unwrap();
    let id = catalog.declare_table(&declaration(Some(1), &[])).unwrap().schema.id;
    let made = match catalog
        .apply(&SchemaChange { table: TableName::new("u").unwrap(), ..change(None, &[], &[]) })
    {
        Ok(Applied::Schema(schema)) => schema.id,
        _ => panic!("stale"),
    };
    let declared = queue.drain();
    for (losses, is_known) in [(vec![given(5)], true), (vec![given(5), given(9)], false)] {
        let copy = Catalog::new(Arc::default());
        for definition in losses.iter().chain(&declared) {
            copy.restore(definition).unwrap();
        }
        assert_eq!([id, made].map(|id| copy.knows_retention_of(id)), [is_known; 2]);
        copy.declare_table(&declaration(Some(1), &[])).unwrap();
        assert!(copy.knows_retention_of(id));
    }
}
