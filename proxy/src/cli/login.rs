//! Who a person is to a registry: what `docker login` or `podman login` left behind, credential helpers included.
//!
//! Nothing of it is ever shown, not even what a helper complains, for a helper may print what it keeps.

use std::time::Duration;

use anyhow::bail;
use docker_credential::{CredentialRetrievalError, DockerCredential};

/// How long a credential helper may take: it may ask its user.
const PATIENCE: Duration = Duration::from_secs(60);
/// What Docker calls its Hub in its own files.
const HUB: &str = "https://index.docker.io/v1/";

/// Credentials of a person.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// There are none.
    None,
    /// A user name and a password.
    User {
        /// The name.
        name: String,
        /// The password.
        password: String,
    },
    /// An identity token, which only OAuth takes.
    Token,
}

/// The credentials for a registry.
///
/// # Errors
/// When there are some that cannot be had.
pub(super) async fn of(host: &str) -> anyhow::Result<Login> {
    let server = if host == "docker.io" { HUB } else { host }.to_owned();
    let asked = tokio::task::spawn_blocking(move || look(&server));
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(found) => match found? {
            Ok(login) => Ok(login),
            Err(reason) => bail!("the credentials of `docker login` for {host} cannot be used: {reason}"),
        },
        Err(_) => bail!("the credential helper for {host} gave no answer within {PATIENCE:?}"),
    }
}

/// Docker's file first, then Podman's.
fn look(server: &str) -> Result<Login, String> {
    let docker = login(docker_credential::get_credential(server))?;
    if docker != Login::None {
        return Ok(docker);
    }
    login(docker_credential::get_podman_credential(server))
}

fn login(found: Result<DockerCredential, CredentialRetrievalError>) -> Result<Login, String> {
    match found {
        Ok(DockerCredential::UsernamePassword(name, password)) => Ok(Login::User { name, password }),
        Ok(DockerCredential::IdentityToken(_)) => Ok(Login::Token),
        Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError,
        ) => Ok(Login::None),
        // This is how a helper says that it has none.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            Ok(Login::None)
        }
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => Err(format!("{helper} failed")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_helper_says_is_never_shown() {
        let failure = |stdout: &str| {
            Err(CredentialRetrievalError::HelperFailure {
                helper: "docker-credential-kit".into(),
                stdout: stdout.into(),
                stderr: "canary".into(),
            })
        };
        assert!(login(failure("credentials not found in native keychain")) == Ok(Login::None));
        let text = login(failure("canary")).err().unwrap();
        assert_eq!(text, "docker-credential-kit failed");
        assert!(login(Err(CredentialRetrievalError::NoCredentialConfigured)) == Ok(Login::None));
        let user = login(Ok(DockerCredential::UsernamePassword("a".into(), "b".into())));
        assert!(matches!(user, Ok(Login::User { .. })));
    }
}
