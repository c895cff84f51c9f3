//! What nodes tell each other of the members.

/// A letter of the gossip protocol, whose form is its own affair. It is not answered as such, and may
/// be lost.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Gossip {
    /// The letter.
    #[prost(bytes = "vec", tag = "1")]
    pub letter: Vec<u8>,
}
