//! `cloudctl register WORKER IP:PORT`

use shared::view::RegisterWorkerRequest;

use super::Session;
use crate::args::RegisterArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Registers a worker of the first generation, which the master dials.
pub(super) async fn run(args: &RegisterArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let (Some(worker_id), Some(address)) = (args.worker.clone(), args.address.clone()) else {
        return Err(CtlError::usage("it is not known where the worker listens", "give its name and IP:PORT"));
    };
    let request = RegisterWorkerRequest { worker_id, address };
    Ok(View::Admitted(session.client.register_worker(&request).await?).into())
}
