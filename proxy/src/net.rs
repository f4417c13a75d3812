//! What every client of ours obeys: which servers it may speak to, whom TLS trusts.

pub(crate) mod connect;
pub(crate) mod origin;
