//! How a machine without a certificate gets one: under a protocol name of its own in TLS, where nothing
//! else is said.

/// Only frame of a newcomer, said once it has seen the authority's own certificate. Answered by [`Joined`]
/// or [`Rejected`](super::Rejected).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Join {
    /// What its token holds and nobody else knows.
    #[prost(bytes = "vec", tag = "1")]
    pub secret: Vec<u8>,
    /// Its Ed25519 public key, 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// That key's signature, 64 bytes: shows that the newcomer has the private one.
    #[prost(bytes = "vec", tag = "3")]
    pub proof: Vec<u8>,
}

/// Answer to a [`Join`] that is accepted: what makes the newcomer a node is synced already.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Joined {
    /// Its certificate, in DER.
    #[prost(bytes = "vec", tag = "1")]
    pub certificate: Vec<u8>,
}
