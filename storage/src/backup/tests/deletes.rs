//! A backup beside a merge that applies deletes.

use futures::FutureExt;

use super::{backed_up, brought_back, settled};
use crate::engine::EngineConfig;
use crate::engine::tests::{Node, config, rows};

#[tokio::test]
async fn a_backup_holds_the_deletes_of_its_version_whatever_is_merged_meanwhile() {
    let scenario = fail::FailScenario::setup();
    let [data, place, fresh] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let mut node = Node::open_with(EngineConfig { background: false, ..config(data.path()) }).await;
    node.write(&[("t", &[("a", 1, 1.0), ("b", 1, 2.0)])]);
    node.engine.flush().await.unwrap();
    node.write(&[("t", &[("b", 2, 3.0)])]);
    node.delete(&["t"], Some("a"), (0, 10));
    // Nothing but its object says of the delete.
    node.engine.shared().log.lock().roll().unwrap();
    node.engine.flush().await.unwrap();
    assert_eq!(node.engine.log_extent().0, 1);

    let (engine, schema, test) = (node.engine.clone(), node.schema("t"), std::thread::current().id());
    let merge = move || {
        // The failpoint is that of every backup.
        if std::thread::current().id() != test {
            return;
        }
        // Whoever has the table's log can change what lies beside it.
        let is_free = engine.shared().tables.take(&schema).now_or_never().is_some();
        if is_free {
            let engine = engine.clone();
            let merging = std::thread::spawn(move || {
                tokio::runtime::Runtime::new().unwrap().block_on(engine.compact(true)).unwrap()
            });
            assert_eq!(merging.join().unwrap(), 1);
        }
    };
    fail::cfg_callback("backup-before-deletes", merge).unwrap();
    backed_up(&node, place.path()).await;
    fail::remove("backup-before-deletes");
    brought_back(place.path(), fresh.path()).await.unwrap();
    let restored = settled(fresh.path()).await;
    assert_eq!(restored.read("t").await, rows(&[("b", 1, 2.0), ("b", 2, 3.0)]));
    scenario.teardown();
}
