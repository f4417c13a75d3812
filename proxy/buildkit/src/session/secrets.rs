//! Secrets of one solve, handed to BuildKit when a command that mounts them starts. They are no part of the graph, of a cache key or
//! of what is logged; an id that the solve does not name is not found.

use std::collections::BTreeMap;
use std::fmt;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::health::Pulse;

/// The path of the one method.
pub(crate) const READ: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";

/// The largest secret that BuildKit takes, in bytes (`session/secrets`, `MaxSecretSize`).
pub const MAX_SECRET: usize = 500 * 1024;

/// Secrets by their ids. `Debug` shows how many there are.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, Bytes>);

impl Secrets {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl FromIterator<(String, Bytes)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Bytes)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

/// What a session serves of them.
pub(crate) struct SecretsService {
    secrets: Secrets,
    pulse: Pulse,
}

impl SecretsService {
    pub(crate) fn new(secrets: Secrets, pulse: Pulse) -> Self {
        Self { secrets, pulse }
    }
}

#[tonic::async_trait]
impl secrets_server::Secrets for SecretsService {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        self.pulse.beat();
        let id = request.into_inner().id;
        let unknown = || {
            let shown: String = id.chars().take(128).collect();
            Status::not_found(format!("secret {shown:?}: not found"))
        };
        let data = self.secrets.0.get(&id).ok_or_else(unknown)?.to_vec();
        Ok(Response::new(GetSecretResponse { data }))
    }
}

#[cfg(test)]
mod tests {
    use super::secrets_server::Secrets as _;
    use super::*;

    #[tokio::test]
    async fn only_what_the_solve_names_is_given_out_and_nothing_shows_it() {
        let secrets: Secrets = [("a".to_owned(), Bytes::from_static(b"hunter2"))].into_iter().collect();
        assert_eq!(format!("{secrets:?}"), "1 secrets");
        let service = SecretsService::new(secrets, Pulse::default());
        let ask = async |id: &str| {
            let request = GetSecretRequest {
                id: id.to_owned(),
                ..GetSecretRequest::default()
            };
            service.get_secret(Request::new(request)).await
        };
        assert_eq!(ask("a").await.unwrap().into_inner().data, b"hunter2");
        assert_eq!(ask("b").await.unwrap_err().code(), tonic::Code::NotFound);
    }
}
