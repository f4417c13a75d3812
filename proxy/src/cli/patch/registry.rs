//! Pushes a patched image to a registry: blobs that it lacks first, then manifests, the name last.
//!
//! A blob that another repository of the same registry has is mounted from there, and is not sent.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use backon::{ExponentialBuilder, Retryable as _};
use futures_util::TryStreamExt as _;
use http::HeaderValue;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as Remote, RegistryOperation};
use patchport_config::Config;
use patchport_oci::manifest::Content;
use patchport_oci::{Descriptor, Manifest};

use super::destination::Title;
use super::progress::Display;
use super::tree::{Tree, blobs};
use crate::cli::image::{Written, is_loopback};
use crate::cli::login::{self, Login};

/// How long a registry may take to be reached, and to answer what sends next to nothing.
const CONNECT: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(60);
/// The slowest connection that is waited for, in bytes per second.
const SLOWEST: u64 = 50_000;

/// A registry to push to.
pub(super) struct Registry {
    client: Client,
    auth: RegistryAuth,
    /// Its address.
    host: String,
    /// Its name in references.
    name: String,
}

/// How much was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    blobs: usize,
    bytes: u64,
    mounted: usize,
    there: usize,
}

impl Registry {
    /// The registry of a reference, as the configuration has it, with the credentials of `docker login`.
    ///
    /// # Errors
    /// When its credentials cannot be had or used.
    pub(super) async fn of(written: &Written, config: &Config) -> anyhow::Result<Self> {
        let name = written.host.clone();
        let known = config.upstreams.iter().find(|upstream| upstream.name == name);
        let configured = known.and_then(|known| known.credentials.as_ref());
        let auth = match configured {
            Some(login) => RegistryAuth::Basic(login.username.clone(), login.password.expose().to_owned()),
            None => match login::of(&name).await? {
                Login::User { name, password } => RegistryAuth::Basic(name, password),
                Login::None => RegistryAuth::Anonymous,
                Login::Token => bail!(
                    "`docker login` has an identity token for {name}, which is not supported; log in with a user name and a \
                     password, or an access token as the password"
                ),
            },
        };
        let url = known.map(|known| known.url.as_str().to_owned());
        let (scheme, host) = match url.as_deref().and_then(|url| url.split_once("://")) {
            Some((scheme, rest)) => (scheme.to_owned(), rest.trim_end_matches('/').to_owned()),
            None if is_loopback(&name) => ("http".to_owned(), name.clone()),
            None => ("https".to_owned(), name.clone()),
        };
        let ca = known.and_then(|known| known.ca.as_deref());
        let ca = ca.map(|file| std::fs::read(file).with_context(|| format!("cannot read {}", file.display())));
        let config = ClientConfig {
            protocol: if scheme == "http" {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            // One request for each blob: registries agree best on it.
            use_monolithic_push: true,
            extra_root_certificates: ca
                .transpose()?
                .map(|data| Certificate {
                    encoding: CertificateEncoding::Pem,
                    data,
                })
                .into_iter()
                .collect(),
            connect_timeout: Some(CONNECT),
            user_agent: concat!("patchport/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).with_context(|| format!("cannot speak to {name}"))?;
        Ok(Self {
            client,
            auth,
            host,
            name,
        })
    }

    /// Pushes an image under a name.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub(super) async fn push(
        &self,
        tree: &Tree<'_>,
        repository: &str,
        tag: &str,
        display: &Display,
    ) -> anyhow::Result<Sent> {
        let target = Remote::with_tag(self.host.clone(), repository.to_owned(), tag.to_owned());
        let authenticated = self.client.auth(&target, &self.auth, RegistryOperation::Push);
        let authenticated = within(ANSWER, authenticated).await;
        authenticated.map_err(|error| self.refused(&error, repository))?;
        let mut sent = Sent::default();
        if let Content::Index { manifests } = &tree.root.content {
            for child in manifests.iter() {
                self.child(tree, &target, child, &mut sent, display).await?;
            }
        }
        self.manifest(tree, &target, &tree.root, true, &mut sent, display)
            .await?;
        Ok(sent)
    }

    /// A manifest that the root names; one that stays as it was may be there, with all that belongs to it.
    async fn child(
        &self,
        tree: &Tree<'_>,
        target: &Remote,
        child: &Descriptor,
        sent: &mut Sent,
        display: &Display,
    ) -> anyhow::Result<()> {
        let digest = child.digest.to_string();
        let exact = Remote::with_digest(self.host.clone(), target.repository().to_owned(), digest.clone());
        if !tree.made.contains_key(&child.digest) {
            let asked = within(ANSWER, self.client.fetch_manifest_digest(&exact, &self.auth)).await;
            if asked.is_ok_and(|found| found == digest) {
                sent.there += 1;
                return Ok(());
            }
        }
        let manifest = tree.manifest(&child.digest).await?;
        if let Content::Index { manifests } = &manifest.content {
            for grandchild in manifests.iter() {
                Box::pin(self.child(tree, target, grandchild, sent, display)).await?;
            }
        }
        self.manifest(tree, &exact, &manifest, false, sent, display).await
    }

    /// A manifest after its blobs.
    async fn manifest(
        &self,
        tree: &Tree<'_>,
        target: &Remote,
        manifest: &Manifest,
        is_root: bool,
        sent: &mut Sent,
        display: &Display,
    ) -> anyhow::Result<()> {
        for blob in blobs(manifest) {
            self.blob(tree, target, &blob, sent, display).await?;
        }
        let media_type = HeaderValue::from_static(manifest.media_type);
        let pushed = self
            .client
            .push_manifest_raw(target, manifest.bytes.clone(), media_type);
        let pushed = within(ANSWER, pushed).await;
        let what = if is_root {
            target.whole()
        } else {
            manifest.digest.to_string()
        };
        pushed
            .map_err(|error| self.refused(&error, target.repository()))
            .with_context(|| format!("cannot push {what}"))?;
        Ok(())
    }

    async fn blob(
        &self,
        tree: &Tree<'_>,
        target: &Remote,
        blob: &Descriptor,
        sent: &mut Sent,
        display: &Display,
    ) -> anyhow::Result<()> {
        let digest = blob.digest.to_string();
        let exists = within(ANSWER, self.client.blob_exists(target, &digest)).await;
        if exists.map_err(|error| self.refused(&error, target.repository()))? {
            sent.there += 1;
            return Ok(());
        }
        let place = &tree.place;
        let is_neighbour = *place.site.name == *self.name && place.repository.as_str() != target.repository();
        if is_neighbour {
            let source = Remote::with_tag(
                self.host.clone(),
                place.repository.as_str().to_owned(),
                "latest".to_owned(),
            );
            if within(ANSWER, self.client.mount_blob(target, &source, &digest))
                .await
                .is_ok()
            {
                sent.mounted += 1;
                return Ok(());
            }
        }
        display.say(&format!("pushing {digest} ({} bytes)", blob.size));
        let attempt = || async {
            let stream = tree.stream(blob).await.map_err(|error| other(&format!("{error:#}")))?;
            let stream = stream.map_err(|error| other(&crate::respond::chain(&error)));
            let pushing = self.client.push_blob_stream(target, stream, &digest, Some(blob.size));
            within(ANSWER + Duration::from_secs(blob.size / SLOWEST), pushing).await
        };
        let pushed = attempt
            .retry(
                ExponentialBuilder::new()
                    .with_min_delay(Duration::from_millis(300))
                    .with_max_times(2)
                    .with_jitter(),
            )
            .when(is_transient)
            .await;
        pushed
            .map_err(|error| self.refused(&error, target.repository()))
            .with_context(|| format!("cannot push the blob {digest}"))?;
        sent.blobs += 1;
        sent.bytes += blob.size;
        Ok(())
    }

    /// A registry's error in words that say what to do.
    fn refused(&self, error: &OciDistributionError, repository: &str) -> anyhow::Error {
        let name = &self.name;
        let denied = match error {
            OciDistributionError::AuthenticationFailure(_) | OciDistributionError::UnauthorizedError { .. } => true,
            OciDistributionError::RegistryError { envelope, .. } => envelope
                .errors
                .iter()
                .any(|error| matches!(error.code, OciErrorCode::Unauthorized | OciErrorCode::Denied)),
            OciDistributionError::ServerError { code, .. } => matches!(code, 401 | 403),
            OciDistributionError::RequestError(error) => error
                .status()
                .is_some_and(|status| matches!(status.as_u16(), 401 | 403)),
            _ => false,
        };
        let said = words(error);
        if !denied {
            return anyhow::anyhow!("{name} did not take it: {said}");
        }
        let who = match self.auth {
            RegistryAuth::Anonymous => format!("no credentials for {name} were found; `docker login {name}` first"),
            _ => "the credentials that are there may not push to it".to_owned(),
        };
        anyhow::anyhow!("{name} refuses a push to {repository}: {who} ({said})")
    }
}

impl Sent {
    /// In words.
    pub(super) fn sum(&self) -> String {
        let Self {
            blobs,
            bytes,
            mounted,
            there,
        } = self;
        format!("{blobs} blobs sent ({bytes} bytes), {mounted} mounted, {there} were there")
    }
}

/// Where the push of a title goes.
///
/// # Errors
/// When it has no repository, or none that can be pushed to.
pub(super) fn target(title: &Title, config: &Config) -> anyhow::Result<Written> {
    let mut written = Written::parse(&title.full()?)?;
    let docker_library = config
        .upstreams
        .iter()
        .find(|upstream| upstream.name == written.host)
        .is_some_and(|known| known.docker_library);
    if docker_library && !written.repository.contains('/') {
        written.repository = format!("library/{}", written.repository);
    }
    Ok(written)
}

/// A limit on the whole of a call: the client's own would count the time that it sends.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, OciDistributionError>>,
) -> Result<T, OciDistributionError> {
    let ended = tokio::time::timeout(limit, call).await;
    ended.unwrap_or_else(|_| Err(other(&format!("it did not answer within {limit:?}"))))
}

/// What a registry's error says, without the URL, which may carry what signs it.
fn words(error: &OciDistributionError) -> String {
    let said = match error {
        OciDistributionError::RequestError(error) => match error.status() {
            Some(status) => status.to_string(),
            None => std::error::Error::source(error).map_or_else(|| "no answer".to_owned(), crate::respond::chain),
        },
        OciDistributionError::ServerError { code, message, .. } => format!("status {code}: {message}"),
        OciDistributionError::UnauthorizedError { .. } => "not authorised".to_owned(),
        OciDistributionError::RegistryError { envelope, .. } => envelope.to_string(),
        OciDistributionError::GenericError(Some(text)) => text.clone(),
        other => crate::respond::chain(other),
    };
    super::progress::clean(said.get(..said.floor_char_boundary(500)).unwrap_or_default())
}

fn other(reason: &str) -> OciDistributionError {
    OciDistributionError::GenericError(Some(reason.to_owned()))
}

fn is_transient(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(error) => error.status().is_none_or(|status| status.is_server_error()),
        OciDistributionError::ServerError { code, .. } => *code >= 500,
        _ => false,
    }
}

/// TLS for all clients of this process that bring none of their own.
pub(super) fn provide_tls() {
    // A second call finds it there, which is what is wanted.
    let _: Result<(), Arc<_>> = rustls::crypto::ring::default_provider().install_default();
}
