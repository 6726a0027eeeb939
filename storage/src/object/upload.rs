//! An upload in parts: the parts go to one temporary file at offsets fixed by the order in which they were
//! begun, and `complete` publishes it like a put.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use parking_lot::Mutex;

use super::blocking;
use super::write::{Publish, Temporary, Writer, failed, generic};

/// One upload. Dropped before `complete`, it leaves nothing.
#[derive(Debug)]
pub(super) struct Upload {
    state: Arc<State>,
    begun_bytes: u64,
}

#[derive(Debug)]
struct State {
    writer: Arc<Writer>,
    target: PathBuf,
    written_bytes: AtomicU64,
    temporary: Mutex<Option<Temporary>>,
}

impl Upload {
    pub(super) fn begin(writer: Arc<Writer>, target: PathBuf) -> Result<Self> {
        let temporary = Mutex::new(Some(writer.begin(&target)?));
        let state = State { writer, target, written_bytes: AtomicU64::new(0), temporary };
        Ok(Self { state: Arc::new(state), begun_bytes: 0 })
    }
}

impl State {
    fn write(&self, payload: &PutPayload, mut offset: u64) -> Result<()> {
        let temporary = self.temporary.lock();
        let temporary = temporary.as_ref().ok_or_else(|| generic("the upload is over".to_owned()))?;
        for bytes in payload {
            let write = temporary.file.write_at(offset, bytes);
            write.map_err(|error| failed(&self.target, error))?;
            offset += bytes.len() as u64;
            self.written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn take(&self) -> Result<Temporary> {
        self.temporary.lock().take().ok_or_else(|| generic("the upload is over".to_owned()))
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let offset = self.begun_bytes;
        self.begun_bytes += data.content_length() as u64;
        let state = Arc::clone(&self.state);
        Box::pin(blocking(move || state.write(&data, offset)))
    }

    /// Fails, and publishes nothing, when a part failed or was never awaited: the file would have a hole.
    async fn complete(&mut self) -> Result<PutResult> {
        let (state, expected) = (Arc::clone(&self.state), self.begun_bytes);
        blocking(move || {
            let temporary = state.take()?;
            if state.written_bytes.load(Ordering::Relaxed) != expected {
                return Err(generic("not every part of the upload was written".to_owned()));
            }
            state.writer.publish(temporary, &state.target, Publish::Overwrite)
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        let state = Arc::clone(&self.state);
        blocking(move || state.take().map(drop)).await
    }
}
