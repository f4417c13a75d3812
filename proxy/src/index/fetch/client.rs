//! The HTTP client of a package repository: whom it trusts, and where it may connect to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use patchport_config::Repository;

use super::STALL;
use crate::net::connect::{self, GuardedResolver, TlsError};

const AGENT: &str = concat!("patchport/", env!("CARGO_PKG_VERSION"));

/// A client of one entry: listed repositories may be local.
pub(super) fn client(settings: &Repository) -> anyhow::Result<reqwest::Client> {
    let mut builder = builder(settings.ca.as_deref(), true)?;
    if let Some(proxy) = &settings.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.as_str())?);
    }
    Ok(builder.build()?)
}

/// A client; without `allow_local` it never connects to this machine or its link.
pub(super) fn builder(ca: Option<&std::path::Path>, allow_local: bool) -> Result<reqwest::ClientBuilder, TlsError> {
    Ok(reqwest::Client::builder()
        .user_agent(AGENT)
        .tls_backend_preconfigured(connect::tls(ca)?)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(STALL)
        .pool_idle_timeout(Duration::from_secs(60))
        .no_proxy()
        .dns_resolver(Arc::new(Resolver(GuardedResolver { allow_local }))))
}

struct Resolver(GuardedResolver);

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.0;
        Box::pin(async move {
            let addresses = resolver.resolve(name.as_str().to_owned()).await?;
            Ok(Box::new(addresses.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}
