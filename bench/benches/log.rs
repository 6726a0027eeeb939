//! Log: encode a batch, write it as a frame, wait for the disk.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::cell::LazyCell;
use std::sync::Arc;

use bench::node::Node;
use bench::{Scale, time_only};
use criterion::{BatchSize, Criterion, Throughput};
use storage::disk::LocalDisk;
use storage::log::{LogWriter, encode_batch, encode_definitions};
use storage::model::{Sequence, WriteBatch};
use tempfile::TempDir;

/// Rows of a group: 44 bytes each (series, time, four fields of 8 bytes), so 150 KB: far from both the cost of a
/// call and the bound of a group.
const ROWS: u32 = 3_400;

/// Bytes of a segment: the engine's default.
const SEGMENT_BYTES: u64 = 64 << 20;

pub(crate) fn run(criterion: &mut Criterion, scale: Scale) {
    let rows = scale.pick(ROWS, 40);
    let batch = LazyCell::new(|| batch(scale, rows));
    let payload = LazyCell::new(|| encode_batch(batch.clone()).expect("a batch is encoded").bytes);
    let mut log = LazyCell::new(|| Log::open(scale));

    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Elements(rows.into()));
    group.bench_function("encode", |b| {
        let encode = |batch| encode_batch(batch).expect("a batch is encoded");
        b.iter_batched(|| batch.clone(), encode, BatchSize::SmallInput);
    });
    group.bench_function("append", |b| {
        let append = |log: &mut Log| log.append(&payload);
        b.iter_custom(|times| time_only(times, LazyCell::force_mut(&mut log), append, Log::recycle));
    });
    group.bench_function("append_sync", |b| {
        let append_sync = |log: &mut Log| {
            log.append(&payload);
            log.sync();
        };
        b.iter_custom(|times| time_only(times, LazyCell::force_mut(&mut log), append_sync, Log::recycle));
    });
    group.finish();
}

/// A batch of so many rows, as the intake made it.
fn batch(scale: Scale, rows: u32) -> WriteBatch {
    let fleet = crate::few_series(scale);
    let body = fleet.bodies(0..rows.div_ceil(fleet.devices), rows as usize).into_iter().next();
    let node = Node::start().expect("a node starts");
    node.write(&[body.expect("there is a body")], 1).expect("the body is written");
    let (_, view) = node.table().expect("the table is there");
    let chunk = view.active.chunks().first().expect("one body is one chunk");
    assert_eq!(chunk.batch.rows(), rows as usize);
    WriteBatch::of(vec![chunk.batch.clone()])
}

/// A log of its own, without an engine.
struct Log {
    writer: LogWriter,
    sequence: Sequence,
    definitions: Vec<u8>,
    _folder: TempDir,
}

impl Log {
    fn open(scale: Scale) -> Self {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let (disk, path) = (Arc::new(LocalDisk), folder.path().to_owned());
        let segment_bytes = scale.pick(SEGMENT_BYTES, 1 << 20);
        let opened = LogWriter::open(disk, path, segment_bytes, &mut |_, _| Ok(()));
        let (writer, sequence) = opened.expect("an empty log opens");
        let definitions = encode_definitions(&[]).expect("nothing is encoded").bytes().to_vec();
        Self { writer, sequence, definitions, _folder: folder }
    }

    /// Writes a frame, as a group of one batch without new definitions.
    fn append(&mut self, payload: &[u8]) {
        self.sequence = Sequence::new(self.sequence.get() + 1);
        self.writer.append(self.sequence, &[&self.definitions, payload]).expect("the log takes a frame");
    }

    fn sync(&mut self) {
        self.writer.sync().expect("the log is synced");
    }

    /// Recycles segments as a flush would have, so that a new one is a renamed old one.
    fn recycle(&mut self) {
        if let [_, .., active] = self.writer.segments().as_slice() {
            let before = storage::model::FrameNumber::new(active.first_frame.get() - 1);
            self.writer.trim(before).expect("segments are recycled");
        }
    }
}
