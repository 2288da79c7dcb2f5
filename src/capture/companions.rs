//! The tasks beside the pipeline, which end with the session.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::acknowledgements::Acknowledgements;
use super::confirmation::Confirmer;
use super::producers::Producers;
use super::stall;
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};

/// The one that writes confirmations, and the one that looks after the producers.
pub(super) struct Companions {
    token: CancellationToken,
    confirmation: JoinHandle<Result<()>>,
    stall: JoinHandle<Error>,
}

impl Companions {
    /// Starts them; the producers' partitions are asked for where nothing moves.
    pub(super) fn start(
        acknowledgements: &Arc<Acknowledgements>,
        confirmer: &Arc<Confirmer>,
        producers: &Producers,
        (kafka, partitions): (&KafkaConfig, Vec<(String, i32)>),
    ) -> Self {
        let token = CancellationToken::new();
        let (confirming, confirmer) = (token.child_token(), Arc::clone(confirmer));
        let watching = stall::watch(Arc::clone(acknowledgements), producers.clone(), kafka.clone(), partitions);
        Self {
            confirmation: tokio::spawn(async move { confirmer.run(confirming).await }),
            stall: tokio::spawn(watching),
            token,
        }
    }

    /// Resolves when one of the tasks, or the one of status updates, has failed.
    pub(super) async fn failure(&mut self, feedback: &mut JoinHandle<Result<()>>) -> Error {
        let ended = tokio::select! {
            ended = feedback => ended,
            ended = &mut self.confirmation => ended,
            stuck = &mut self.stall => stuck.map(Err),
        };
        match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => Error::unavailable("a task of the session ended early"),
            Err(error) => Error::with_source(ErrorKind::System, "a task of the session was interrupted", error),
        }
    }

    pub(super) fn abort(self) {
        self.token.cancel();
        self.confirmation.abort();
        self.stall.abort();
    }
}
