//! One `Write` call: BuildKit sends STAT, pieces and COMMIT, and waits for our answer to each.
//! The ingest is dropped, and with it what was written, unless the commit succeeds.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, Streaming};

use super::{check_digest, to_wire};
use crate::session::content::{Content, Ingest};
use crate::session::health::Pulse;
use crate::session::wire::{WriteAction, WriteRequest, WriteResponse};

/// The longest ingest name, in bytes; BuildKit's are a prefix and a digest.
const REFERENCE_LIMIT: usize = 1024;

pub(super) struct Writer {
    content: Arc<dyn Content>,
    ingests: Arc<Semaphore>,
    pulse: Pulse,
    requests: Streaming<WriteRequest>,
    stage: Stage,
}

enum Stage {
    Fresh,
    Open(Open),
    Committed,
}

struct Open {
    ingest: Box<dyn Ingest>,
    digest: String,
    size: u64,
    written: u64,
    _permit: OwnedSemaphorePermit,
}

impl Writer {
    pub(super) fn new(
        content: Arc<dyn Content>,
        ingests: Arc<Semaphore>,
        pulse: Pulse,
        requests: Streaming<WriteRequest>,
    ) -> Self {
        Self {
            content,
            ingests,
            pulse,
            requests,
            stage: Stage::Fresh,
        }
    }

    /// The answer to the next request; `None` once BuildKit has said its last.
    pub(super) async fn step(mut self) -> Result<Option<(WriteResponse, Self)>, Status> {
        let Some(request) = self.requests.message().await? else {
            return Ok(None);
        };
        self.pulse.beat();
        let action = WriteAction::try_from(request.action)
            .map_err(|_| Status::invalid_argument(format!("action {} is not known", request.action)))?;
        let open = match std::mem::replace(&mut self.stage, Stage::Committed) {
            Stage::Fresh => Open::start(self.content.as_ref(), &self.ingests, &request).await?,
            Stage::Open(open) => open,
            Stage::Committed => {
                return Err(Status::failed_precondition("the blob is committed already"));
            }
        };
        let (reply, stage) = match action {
            WriteAction::Stat => (open.reply(action)?, Stage::Open(open)),
            WriteAction::Write => {
                let open = open.write(request).await?;
                (open.reply(action)?, Stage::Open(open))
            }
            WriteAction::Commit => (open.commit(request).await?, Stage::Committed),
        };
        self.stage = stage;
        Ok(Some((reply, self)))
    }
}

impl Open {
    async fn start(content: &dyn Content, ingests: &Arc<Semaphore>, request: &WriteRequest) -> Result<Self, Status> {
        if request.reference.is_empty() || request.reference.len() > REFERENCE_LIMIT {
            return Err(Status::invalid_argument("the first message must name the ingest"));
        }
        check_digest(&request.expected)?;
        let size = u64::try_from(request.total)
            .ok()
            .filter(|size| *size > 0)
            .ok_or_else(|| Status::invalid_argument("the first message must state the blob's size"))?;
        let permit = Arc::clone(ingests)
            .try_acquire_owned()
            .map_err(|_| Status::unavailable("too many blobs are being written"))?;
        let ingest = content.ingest(&request.expected, size).await?;
        Ok(Self {
            ingest,
            digest: request.expected.clone(),
            size,
            written: 0,
            _permit: permit,
        })
    }

    async fn write(mut self, request: WriteRequest) -> Result<Self, Status> {
        let Self {
            digest, size, written, ..
        } = &self;
        if u64::try_from(request.offset) != Ok(*written) {
            let text = format!("blob {digest}: offset {} follows {written} bytes", request.offset);
            return Err(Status::out_of_range(text));
        }
        let length = request.data.len() as u64;
        if length > size - written {
            return Err(Status::resource_exhausted(format!(
                "blob {digest}: more than the stated {size} bytes"
            )));
        }
        if length > 0 {
            self.ingest.write(request.data).await?;
            self.written += length;
        }
        Ok(self)
    }

    async fn commit(self, request: WriteRequest) -> Result<WriteResponse, Status> {
        let Self {
            digest, size, written, ..
        } = &self;
        let other_digest = !request.expected.is_empty() && request.expected != *digest;
        let other_size = request.total != 0 && u64::try_from(request.total) != Ok(*size);
        if other_digest || other_size || written != size || !request.data.is_empty() {
            let text = format!("blob {digest}: commit does not fit the {size} bytes stated and {written} written");
            return Err(Status::failed_precondition(text));
        }
        let reply = WriteResponse {
            digest: digest.clone(),
            ..self.reply(WriteAction::Commit)?
        };
        self.ingest.commit(&self.digest, self.size).await?;
        Ok(reply)
    }

    fn reply(&self, action: WriteAction) -> Result<WriteResponse, Status> {
        Ok(WriteResponse {
            action: action.into(),
            offset: to_wire(self.written)?,
            total: to_wire(self.size)?,
            digest: String::new(),
        })
    }
}
