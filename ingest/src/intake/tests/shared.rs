//! Tests of writes to tables that nodes share (KEY-4).

use std::path::Path;
use std::sync::Arc;

use storage::cluster::ClusterConfig;
use storage::engine::EngineConfig;
use storage::model::FieldType;
use storage::object::{DurableLocalStore, FaultyStore, StoreFaults, StoreSettings, TableStore};

use super::{LineProblem, Node, WriteError, config};

/// Two nodes of one store, and what goes wrong with it.
async fn pair(folder: &Path) -> (Node, Node, Arc<StoreFaults>) {
    let objects = Arc::new(DurableLocalStore::open(&folder.join("objects")).unwrap());
    let faults = Arc::new(StoreFaults::new(1));
    let settings = |name: &str| {
        let store = FaultyStore::new(objects.clone(), Arc::clone(&faults));
        let store = StoreSettings { tables: TableStore::Given(Arc::new(store)), ..StoreSettings::default() };
        let cluster = ClusterConfig { shared: true, ..ClusterConfig::default() };
        EngineConfig { store, cluster, background: false, ..config(&folder.join(name)) }
    };
    let (a, b) = (settings("a"), settings("b"));
    (Node::open(a).await, Node::open(b).await, faults)
}

#[tokio::test]
async fn the_first_writer_of_a_column_decides_its_type_for_all_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b, _faults) = pair(folder.path()).await;
    a.write("t,host=a x=1i,y=true 1").await.unwrap();
    // The other node has not heard of it yet: a float is a second column, a text is a conflict.
    let written = b.write("t,host=b x=1.5 1\nt,host=b y=\"no\" 2").await.unwrap();
    assert_eq!((written.rows, written.rejected.len()), (1, 1));
    assert!(matches!(written.rejected[0].problem, LineProblem::TypeConflict { .. }), "{written:?}");
    a.engine.refresh().await.unwrap();
    for node in [&a, &b] {
        let schema = node.schema("t");
        let field = &schema.fields[schema.field("x").unwrap()];
        assert_eq!((field.narrow.field_type, field.wide.is_some()), (FieldType::Integer, true));
    }
}

#[tokio::test]
async fn without_the_store_a_write_that_needs_something_new_is_told_to_come_again_and_others_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (a, _b, faults) = pair(folder.path()).await;
    a.write("t,host=a x=1i 1").await.unwrap();
    faults.set_down(true);
    for new in ["t,host=a z=1i 2", "u,host=a x=1i 2", "t,host=a,floor=1 x=1i 2"] {
        let error = a.write(new).await.unwrap_err();
        assert!(matches!(error, WriteError::Unavailable { .. }), "{new}: {error}");
    }
    assert_eq!(a.write("t,host=a x=2i 2\nt,host=new x=2i 2").await.unwrap().rows, 2);
    faults.set_down(false);
    assert_eq!(a.write("t,host=a z=1i 2").await.unwrap().rows, 1);
}
