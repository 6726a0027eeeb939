//! The verified store gives what was written, or an error.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};

use crate::model::{DataFile, FilePlace, Sequence, SequenceRange, TimeRange};
use crate::object::VerifiedStore;

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

fn file(path: &str, content: &[u8]) -> Arc<DataFile> {
    Arc::new(DataFile {
        place: FilePlace::Table,
        path: Path::from(path),
        date: 0,
        rows: 1,
        bytes: content.len() as u64,
        checksum: crc32c::crc32c(content),
        times: TimeRange::ALL,
        sequences: SequenceRange { min: Sequence::ZERO, max: Sequence::ZERO },
        deleted_up_to: Sequence::ZERO,
        stats: String::new(),
    })
}

async fn store(content: &[u8]) -> (Arc<InMemory>, VerifiedStore, Arc<DataFile>) {
    let inner = Arc::new(InMemory::new());
    let file = file("t/a.parquet", content);
    inner.put(&file.path, content.to_vec().into()).await.unwrap();
    let store = VerifiedStore::new(Arc::clone(&inner) as Arc<dyn ObjectStore>);
    store.expect(&file);
    (inner, store, file)
}

#[tokio::test]
async fn ranges_of_a_sound_file_are_what_was_written() {
    for bytes in [1, 100, 65_535, 65_536, 65_537, 300_000] {
        let content = content(bytes);
        let (_, store, file) = store(&content).await;
        let end = bytes as u64;
        let ranges = [0..end, 0..1, end / 2..end, end - 1..end, end / 3..end / 2, 0..0];
        let read = store.get_ranges(&file.path, &ranges).await.unwrap();
        for (range, read) in ranges.iter().zip(read) {
            let (from, to) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
            assert_eq!(read, content[from..to], "{range:?} of {bytes}");
        }
        assert_eq!(store.get(&file.path).await.unwrap().bytes().await.unwrap(), content);
        let suffix = GetOptions { range: Some(object_store::GetRange::Suffix(1)), ..GetOptions::default() };
        let read = store.get_opts(&file.path, suffix).await.unwrap().bytes().await.unwrap();
        assert_eq!(read, content[bytes - 1..]);
    }
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_at_the_first_read_of_any_part() {
    let content = content(200_000);
    for at in [0, 70_000, 199_999] {
        let (inner, store, file) = store(&content).await;
        let mut damaged = content.clone();
        damaged[at] ^= 16;
        inner.put(&file.path, damaged.into()).await.unwrap();
        let error = store.get_range(&file.path, 100..200).await.unwrap_err();
        assert!(error.to_string().contains("a.parquet is damaged"), "{error}");
    }
}

#[tokio::test]
async fn a_bit_that_flips_later_is_an_error_where_it_is_read() {
    let content = content(200_000);
    let (inner, store, file) = store(&content).await;
    store.get_range(&file.path, 0..10).await.unwrap();
    let mut damaged = content.clone();
    damaged[140_000] ^= 1;
    inner.put(&file.path, damaged.into()).await.unwrap();
    assert!(store.get_range(&file.path, 0..10).await.is_ok());
    let error = store.get_range(&file.path, 139_990..139_999).await.unwrap_err();
    assert!(error.to_string().contains("from 131072 on"), "{error}");
}

#[tokio::test]
async fn a_cut_file_is_an_error() {
    let content = content(200_000);
    let (inner, store, file) = store(&content).await;
    inner.put(&file.path, content[..150_000].to_vec().into()).await.unwrap();
    assert!(store.get_range(&file.path, 0..10).await.is_err());
}

#[tokio::test]
async fn a_file_stays_checked_while_any_reader_has_it() {
    let content = content(10);
    let (inner, store, first) = store(&content).await;
    let second = Arc::new(DataFile::clone(&first));
    store.expect(&second);
    drop(first);
    let others: Vec<_> = (0..5_000).map(|n| file(&format!("t/{n}"), &content)).collect();
    others.iter().for_each(|other| store.expect(other));
    inner.put(&second.path, b"0123456789".as_slice().into()).await.unwrap();
    assert!(store.get(&second.path).await.is_err());
}
